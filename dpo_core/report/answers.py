"""The answers of a run side by side, sorted by what became of them: what the page's filter chooses from."""

from collections import Counter
from typing import NamedTuple

from dpo_core.report.documents import CheckAnswers, EvaluationEvidence, SampleAnswers

KINDS = {  # of an answer, the gravest first: how the filter calls it
    "lost": "right before, wrong now",
    "won": "wrong before, right now",
    "missed": "wrong now",
    "unsound": "empty or unsound",
}
ORDER = {"lost": 0, "missed": 1, "won": 2, "right": 3, "sample": 4}


class ShownAnswer(NamedTuple):
    """One prompt with the answers of the old and of the new model. `kinds`: all that it is, for the filter."""

    prompt: str
    before: str
    after: str
    kinds: tuple[str, ...]
    fault: str  # of the new answer: that it is empty, repeats itself, is in another language, does not end
    sampled: tuple[tuple[str, bool], ...] = ()  # further answers of the new model, and whether each is right
    counted: str = ""  # how many of them are, and how many of the old model's

    @property
    def outcome(self) -> str:
        """lost, won, missed, right; sample: nothing says what is right."""
        return self.kinds[0]


class ShownSuite(NamedTuple):
    """The answers to one set of prompts, the gravest first."""

    name: str
    answers: list[ShownAnswer]

    @property
    def sampled(self) -> int:
        """How many further answers each question has."""
        return max((len(answer.sampled) for answer in self.answers), default=0)

    def count(self, kind: str) -> int:
        """How many of its answers are of a kind."""
        return sum(kind in answer.kinds for answer in self.answers)


def shown_suites(evidence: EvaluationEvidence, baseline: str) -> list[ShownSuite]:
    """Each suite of prompts with right and wrong answers, then the held-out samples."""
    faults = {(row.prompt, row.answer): row.fault for row in evidence.unsound}
    suites = [_suite(name, rows, evidence, baseline, faults) for name, rows in evidence.checks.items()]
    samples = [_shown(row, baseline, "sample", faults) for row in evidence.samples]
    return [*suites, ShownSuite("held-out prompts", samples)] if samples else suites


def filters(suites: list[ShownSuite]) -> list[tuple[str, str, int]]:
    """Kind, words and count of each choice that shows something; the first is the one that a reader finds chosen."""
    counts = [(kind, words, sum(suite.count(kind) for suite in suites)) for kind, words in KINDS.items()]
    every = sum(len(suite.answers) for suite in suites)
    return [*(choice for choice in counts if choice[2]), ("all", "all", every)]


def _suite(
    name: str,
    rows: list[CheckAnswers],
    evidence: EvaluationEvidence,
    baseline: str,
    faults: dict[tuple[str, str], str],
) -> ShownSuite:
    flips = evidence.flips.get(name)
    lost = Counter((flip.prompt, flip.after) for flip in (flips.lost if flips else ()))
    won = Counter((flip.prompt, flip.after) for flip in (flips.won if flips else ()))
    answers = []
    for row in rows:
        asked = (row.prompt, row.challenger)
        flipped = won if row.passes else lost
        outcome = "right" if row.passes else "missed"
        if flipped[asked]:
            flipped[asked] -= 1
            outcome = "won" if row.passes else "lost"
        answers.append(_shown(row, baseline, outcome, faults))
    return ShownSuite(name, sorted(answers, key=lambda answer: ORDER[answer.outcome]))


def _shown(
    row: CheckAnswers | SampleAnswers, baseline: str, outcome: str, faults: dict[tuple[str, str], str]
) -> ShownAnswer:
    fault = faults.get((row.prompt, row.challenger), "" if row.challenger.strip() else "empty")
    kinds = [outcome, *(["missed"] if outcome == "lost" else []), *(["unsound"] if fault else [])]
    before = row.reference if baseline == "reference" else row.baseline
    shown = ShownAnswer(row.prompt, before, row.challenger, tuple(kinds), fault)
    if not isinstance(row, CheckAnswers) or not row.sampled:
        return shown
    new, old = (row.right[who] for who in ("challenger", "reference" if baseline == "reference" else "baseline"))
    counted = f"{len(new)} sampled answers: {sum(old)} right before, {sum(new)} right now"
    return shown._replace(sampled=tuple(zip(row.sampled["challenger"], new, strict=True)), counted=counted)
