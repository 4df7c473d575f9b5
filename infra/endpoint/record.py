"""The record of calls: who asks what, how it ended, what came back. It decides that a call is paid for once.

Below `endpoint/calls/DIGEST/` lie `intent-N` (somebody asks), one of `refused-N`, `unanswered-N`, `unsent-N` (that
ended without a reply) and `reply`. Intents and replies are create-only: of several processes one asks, the others wait.
"""

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple, TypeVar

from infra.endpoint.owner import is_gone, this_process
from infra.errors import Damaged, InfraError, ObjectMissing
from infra.store.base import Store
from infra.store.retry import retry_unavailable

log = logging.getLogger("dpo.endpoint")
FOLDER = "endpoint/calls"
FIRST_LOOK_S, LONGEST_LOOK_S = 0.05, 2.0  # between two looks for what another process asks
End = Literal["refused", "unanswered", "unsent"]
Result = TypeVar("Result")


@dataclass(frozen=True)
class CallReply:
    """What one call gave. Tokens None: not told. `lost`: times it was sent and no answer came, before the one."""

    texts: list[str]
    finish_reasons: list[str]
    prompt_tokens: int | None
    completion_tokens: int | None
    tokens: int  # that the budget counts: as told, else as estimated
    tries: int
    lost: int


class Claim(NamedTuple):
    """The right to ask, this process's alone. `lost`: how often the call was sent before with no answer kept."""

    digest: str
    number: int
    lost: int


class _State(NamedTuple):
    """What the store has of one call."""

    intents: int
    ends: dict[int, str]
    replied: bool


class CallRecord:
    """The record in one store. An intent older than `lease_s` may be taken over, one of a dead process at once."""

    def __init__(self, store: Store, *, lease_s: float, patience_s: float) -> None:
        self._store, self._lease_s, self._patience_s = store, lease_s, patience_s

    def claim(self, digest: str, stop: threading.Event) -> Claim | CallReply | None:
        """The reply, if there is one now or another process gets it; else the right to ask. None: stopped meanwhile."""
        seen: dict[int, float] = {}
        pause = FIRST_LOOK_S
        while True:
            state = self._state(digest)
            if state.replied:
                return self.reply(digest)
            last = state.intents - 1
            if last < 0 or last in state.ends or self._abandoned(digest, last, seen.setdefault(last, time.monotonic())):
                if self._create(f"{FOLDER}/{digest}/intent-{last + 1:03}", self._intent()):
                    lost = sum(state.ends.get(number, "unanswered") == "unanswered" for number in range(last + 1))
                    return Claim(digest, last + 1, lost)
                continue
            if stop.wait(pause):
                return None
            pause = min(2 * pause, LONGEST_LOOK_S)

    def begun(self, digest: str) -> bool:
        """Whether the call was answered, or may have been sent and is to be asked again as it is."""
        state = self._state(digest)
        return state.replied or any(state.ends.get(n, "unanswered") == "unanswered" for n in range(state.intents))

    def renew(self, claim: Claim) -> None:
        """The claim's lease begins anew: it is about to be sent once more."""
        self._patiently(lambda: self._store.put_bytes(_intent_key(claim.digest, claim.number), self._intent()))

    def end(self, claim: Claim, how: End) -> None:
        """The claim is given up; a store that is away is told in the log, the lease runs out all the same."""
        try:
            self._patiently(lambda: self._store.put_bytes(f"{FOLDER}/{claim.digest}/{how}-{claim.number:03}", b"{}"))
        except InfraError as error:
            log.warning("call_end_unrecorded digest=%.12s how=%s reason=%r", claim.digest, how, error.says)

    def keep(self, claim: Claim, reply: CallReply) -> CallReply:
        """Store what came back; of two processes that asked the first one's counts, for both."""
        key = f"{FOLDER}/{claim.digest}/reply"
        data = _written({"intent": claim.number, **asdict(reply)})
        return reply if self._create(key, data) else self.reply(claim.digest)

    def reply(self, digest: str) -> CallReply:
        """The reply that is there. Raises Damaged, ObjectMissing."""
        key = f"{FOLDER}/{digest}/reply"
        try:
            document = json.loads(self._patiently(lambda: self._store.get_bytes(key)))
            return CallReply(**{name: document[name] for name in CallReply.__dataclass_fields__})
        except (ValueError, KeyError, TypeError):
            do = "delete it, then the call is made, and paid for, once more"
            raise Damaged("the recorded reply cannot be read", where=f"{self._store.url}/{key}", do=do) from None

    def tokens(self, digest: str) -> tuple[int, int] | None:
        """Tokens and lost tries of a call that has a reply; None if it has none."""
        try:
            reply = self.reply(digest)
        except ObjectMissing:
            return None
        return reply.tokens, reply.lost

    def _state(self, digest: str) -> _State:
        names = self._patiently(lambda: [key.rpartition("/")[2] for key in self._store.list(f"{FOLDER}/{digest}/")])
        pairs = [name.partition("-")[::2] for name in names]
        ends = {int(number): kind for kind, number in pairs if kind in ("refused", "unanswered", "unsent")}
        return _State(sum(kind == "intent" for kind, _ in pairs), ends, "reply" in names)

    def _abandoned(self, digest: str, number: int, seen: float) -> bool:
        """Whether nobody waits for this intent's answer. Clocks differ: its age is also what we saw pass."""
        key = _intent_key(digest, number)
        try:
            intent = json.loads(self._patiently(lambda: self._store.get_bytes(key)))
            age = max(time.time() - float(intent["at"]), time.monotonic() - seen)
            return is_gone(intent["owner"]) or age > float(intent["lease_s"])
        except (ValueError, KeyError, TypeError):
            do = "delete it; if it was sent, its endpoint may bill it twice"
            raise Damaged("the intent of a call cannot be read", where=f"{self._store.url}/{key}", do=do) from None

    def _intent(self) -> bytes:
        return _written({"lease_s": self._lease_s, "owner": this_process()})

    def _create(self, key: str, data: bytes) -> bool:
        """Write it if nobody did. A store that went away meanwhile may have it: the bytes tell whose they are."""
        if self._patiently(lambda: self._store.put_bytes(key, data, create_only=True)):
            return True
        return self._patiently(lambda: self._store.get_bytes(key)) == data

    def _patiently(self, call: Callable[[], Result]) -> Result:
        return retry_unavailable(call, self._patience_s, f"store {self._store.url}")


def _intent_key(digest: str, number: int) -> str:
    return f"{FOLDER}/{digest}/intent-{number:03}"


def _written(content: dict[str, object]) -> bytes:
    """A document that no other writer writes alike."""
    return json.dumps({"format": 1, "at": time.time(), "writer": uuid.uuid4().hex, **content}).encode()
