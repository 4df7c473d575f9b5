"""What one curation has spent at an endpoint, counted from the store, so that a restart or a second process goes on.

Below `endpoint/spent/SCOPE/` each call holds a numbered place before it is sent, `000001`; create-only, so that no two
calls hold one and there are never more places than the budget has calls. `000001.TOKENS.LOST` settles it.
"""

import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from infra.errors import InfraError, ObjectMissing
from infra.store.base import Store
from infra.store.retry import retry_unavailable

FOLDER = "endpoint/spent"
Result = TypeVar("Result")


@dataclass(frozen=True)
class Budget:
    """The most that one curation may spend: calls that go out, tokens of prompts and answers together."""

    calls: int
    tokens: int


class Spent(NamedTuple):
    """Calls and tokens spent so far, in all runs.

    `in_doubt`: of the calls, those that may have been sent and have no reply; they count with their estimate, and are
    asked again under the same Idempotency-Key. `lost`: how often a call that has a reply now was sent before it in
    vain; an endpoint that does not heed the key may have billed each of these once more.
    """

    calls: int
    tokens: int
    in_doubt: int
    lost: int


class BudgetSpent(InfraError):
    """The next call could pass the budget. What was paid for is kept."""


@dataclass(frozen=True)
class _Place:
    """One call: by its estimate until it is settled."""

    digest: str
    tokens: int
    lost: int
    settled: bool


Paid = Callable[[str], tuple[int, int] | None]  # tokens and lost tries of a call, by its digest, if it has a reply


class Purse:
    """The places of one scope. Safe for threads and, as to calls, for processes."""

    def __init__(self, store: Store, scope: str, budget: Budget, paid: Paid, *, patience_s: float) -> None:
        self.scope, self.budget = scope, budget
        self._store, self._paid, self._patience_s = store, paid, patience_s
        self._prefix = f"{FOLDER}/{hashlib.sha256(scope.encode()).hexdigest()[:16]}"
        self._places: dict[int, _Place] = {}
        self._open: dict[str, int] = {}  # places that are not settled, by the digest of their call
        self._tokens = self._lost = 0
        self._flying: set[int] = set()
        self._lowest = 1  # no place below it is free
        self._changed = threading.Condition()
        with self._changed:
            self._look()

    def reserve(self, digest: str, estimate: int, *, again: bool = False) -> int:
        """The place of a call that is about to be sent. Waits while calls under way may free what it needs.

        `again`: it was claimed before, so that it may hold a place which this process has not seen. Raises BudgetSpent.
        """
        with self._changed:
            if again and digest not in self._open:
                self._look()
            while (mine := self._open.get(digest)) is None:
                if not self._over(estimate):
                    self._take(_Place(digest, estimate, 0, settled=False))
                elif self._flying:
                    self._changed.wait()
                else:
                    self._look()  # another process may have freed some
                    if digest not in self._open and (over := self._over(estimate)):
                        raise self._spent_error(over, estimate)
            self._flying.add(mine)
            return mine

    def settle(self, place: int, tokens: int, lost: int) -> None:
        """The call has its reply."""
        with self._changed:
            self._settle(place, tokens, lost)
            self._landed(place)

    def release(self, place: int) -> None:
        """The call was not sent, or the endpoint refused it: nothing is spent."""
        with self._changed:
            self._wait(lambda: self._store.delete(self._key(place)))
            self._put(place, None)
            self._landed(place)

    def leave(self, place: int) -> None:
        """Nobody knows whether it was paid for: it stays counted, until it is asked again."""
        with self._changed:
            self._landed(place)

    def spent(self) -> Spent:
        """As far as this process has seen."""
        with self._changed:
            in_doubt = sum(number not in self._flying for number in self._open.values())
            return Spent(len(self._places), self._tokens, in_doubt, self._lost)

    def _over(self, estimate: int) -> str:
        if len(self._places) >= self.budget.calls or self._free() > self.budget.calls:
            return "calls"
        return "tokens" if self._tokens + estimate > self.budget.tokens else ""

    def _spent_error(self, what: str, estimate: int) -> BudgetSpent:
        calls, tokens = f"{len(self._places)} of {self.budget.calls}", f"{self._tokens} of {self.budget.tokens}"
        more = f"; the next call could take {estimate} tokens more" if what == "tokens" else ""
        says = f"the budget is spent: {calls} calls, {tokens} tokens{more}"
        do = f"raise the budget's {what} and run the same command: what was paid for is kept, and not asked again"
        return BudgetSpent(says, where=f"{self.scope}, budget.{what}", do=do)

    def _take(self, place: _Place) -> None:
        """Give it a number, unless another process was faster, whose places are counted from now on."""
        number = self._free()
        data = json.dumps({"digest": place.digest, "tokens": place.tokens, "scope": self.scope}).encode()
        key = self._key(number)
        if not self._wait(lambda: self._store.put_bytes(key, data, create_only=True)):
            self._look()
            return
        self._put(number, place)

    def _put(self, number: int, place: _Place | None) -> None:
        """Count `place` as the number's, in the stead of what was."""
        if before := self._places.pop(number, None):
            self._tokens -= before.tokens
            self._lost -= before.lost
            self._open.pop(before.digest, None)
        if place is None:
            self._lowest = min(self._lowest, number)
            return
        self._places[number] = place
        self._tokens += place.tokens
        self._lost += place.lost
        if not place.settled:
            self._open[place.digest] = number

    def _free(self) -> int:
        while self._lowest in self._places:
            self._lowest += 1
        return self._lowest

    def _look(self) -> None:
        """Read the places; one without a note that it is settled may have its reply all the same."""
        names = self._wait(lambda: [key.rpartition("/")[2] for key in self._store.list(f"{self._prefix}/")])
        settled = {int(parts[0]): parts[1:] for name in names if len(parts := name.split(".")) == 3}
        there = {int(name) for name in names if "." not in name}
        for number in self._places.keys() - there - self._flying:
            self._put(number, None)
        for number in there - self._flying:
            if number in settled:
                tokens, lost = map(int, settled[number])
                self._put(number, _Place("", tokens, lost, settled=True))
            elif number not in self._places and (place := self._read(number)):
                self._put(number, place)
                if paid := self._paid(place.digest):
                    self._settle(number, *paid)

    def _read(self, number: int) -> _Place | None:
        try:
            document = json.loads(self._wait(lambda: self._store.get_bytes(self._key(number))))
        except ObjectMissing:  # released since
            return None
        return _Place(str(document["digest"]), int(document["tokens"]), 0, settled=False)

    def _settle(self, number: int, tokens: int, lost: int) -> None:
        self._wait(lambda: self._store.put_bytes(f"{self._key(number)}.{tokens}.{lost}", b"{}"))
        self._put(number, _Place("", tokens, lost, settled=True))

    def _landed(self, number: int) -> None:
        self._flying.discard(number)
        self._changed.notify_all()

    def _key(self, number: int) -> str:
        return f"{self._prefix}/{number:06}"

    def _wait(self, call: Callable[[], Result]) -> Result:
        return retry_unavailable(call, self._patience_s, f"store {self._store.url}")
