"""Answers in slots: one that ended leaves at once and the next one enters, so that no row is decoded for nothing."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from numpy.random import Philox
from torch import Tensor

from dpo_core.model.answers.decoding import Decoding, Effort, Made, Query, Tell
from dpo_core.model.answers.sampling import choose, stream
from dpo_core.model.answers.slots import Beginning, Slots

PROMPT_TOKENS = 1024  # of prompts computed together


@dataclass(eq=False)
class _Row:
    """An answer in work."""

    asked: int
    sample: int
    end: int  # tokens of the prompt and of the longest answer to it
    limit: int
    stream: Philox
    ids: list[int] = field(default_factory=list)
    close: list[int] = field(default_factory=list)


def order(asked: Sequence[Query]) -> list[int]:
    """Longest prompts first, by powers of two; within these, prompts that begin alike together.

    So rows in work at one time are of similar length, and what needs most memory comes first.
    """
    return sorted(range(len(asked)), key=lambda i: (-len(asked[i].ids).bit_length(), asked[i].ids))


class Continuous:
    """Answers to `asked`, at most `width` in work; each is drawn by its own random numbers."""

    def __init__(
        self,
        slots: Slots,
        asked: Sequence[Query],
        how: Decoding,
        stops: frozenset[int],
        width: int,
        counts: Effort,
        tell: Tell | None = None,
    ) -> None:
        self._slots, self._how, self._stops, self._width, self._counts = slots, how, stops, width, counts
        self._tell = tell
        self._asked = asked
        self._later = deque(order(asked))
        self._ready: deque[tuple[_Row, Beginning]] = deque()  # of prompts that are computed
        self._rows: list[_Row] = []

    def run(self) -> Iterator[Made]:
        """In the order in which they end. Between two of them the model is as it was before."""
        while self._rows or self._ready or self._later:
            done: list[Made] = []
            with self._slots.at_work():
                while not done and (self._rows or self._ready or self._later):
                    done += self._admit()
                    done += self._step() if self._rows else []
            yield from done

    def _admit(self) -> list[Made]:
        """Fill the rows that are free."""
        done: list[Made] = []
        while self._ready or self._later:
            if not self._ready:
                if len(self._rows) >= self._width:
                    break
                self._compute()
            if not (entering := self._next()):
                break
            rows = [row for row, _ in entering]
            logits = entering[0][1].computed.logits[[entry.number for _, entry in entering]]
            over = dict(self._chosen(rows, logits))
            done += over.values()
            if staying := [pair for i, pair in enumerate(entering) if i not in over]:
                self._slots.enter([entry for _, entry in staying])
                self._rows += [row for row, _ in staying]
        return done

    def _compute(self) -> None:
        """The next prompts, together."""
        numbers = [self._later.popleft()]
        tokens = len(self._asked[numbers[0]].ids)
        while self._later and (tokens := tokens + len(self._asked[self._later[0]].ids)) <= PROMPT_TOKENS:
            numbers.append(self._later.popleft())
        computed = self._slots.compute([self._asked[number].ids for number in numbers])
        for place, number in enumerate(numbers):
            ids, samples, limit = self._asked[number]
            for sample in samples:
                bits = stream(self._how.seed, ids, sample)
                row = _Row(number, sample, len(ids) + limit, limit, bits)
                self._ready.append((row, Beginning(computed, place)))

    def _next(self) -> list[tuple[_Row, Beginning]]:
        """Those that come next, of prompts computed together, as many as there is room for."""
        entering: list[tuple[_Row, Beginning]] = []
        longest = max((row.end for row in self._rows), default=0)
        while self._ready and (rows := len(self._rows) + len(entering)) < self._width:
            row, entry = self._ready[0]
            longest = max(longest, row.end)
            if rows and (rows + 1) * longest > self._slots.budget:
                break
            if entering and entry.computed is not entering[0][1].computed:
                break
            entering.append(self._ready.popleft())
        return entering

    def _step(self) -> list[Made]:
        """One token more of every row; those that end leave."""
        logits = self._slots.step([row.ids[-1] for row in self._rows])
        over = self._chosen(self._rows, logits)
        if over:
            self._rows = [self._rows[i] for i in self._slots.leave([i for i, _ in over])]
        return [made for _, made in over]

    def _chosen(self, rows: Sequence[_Row], logits: Tensor) -> list[tuple[int, Made]]:
        """Give each row its next token. Returns those that ended by it, with their places."""
        over = []
        for i, (token, close) in enumerate(choose(logits, [row.stream for row in rows], self._how)):
            row = rows[i]
            if close:
                row.close.append(len(row.ids))
            if ended := token in self._stops:
                self._counts.tokens += 1
            else:
                row.ids.append(token)
                if self._tell is not None:
                    self._tell(token)
            if ended or len(row.ids) == row.limit:
                self._counts.tokens += len(row.ids)
                self._counts.close += len(row.close)
                end = token if ended else None
                over.append((i, Made(row.asked, row.sample, tuple(row.ids), end, tuple(row.close))))
        return over
