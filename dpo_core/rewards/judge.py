"""A language model as judge: of one answer by a number, of two in both orders, where a disagreement is a tie."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from dpo_core.data.pairs import Message
from dpo_core.errors import InputError
from dpo_core.rewards.config import JudgeRules
from dpo_core.rewards.questions_to_judges import Choice, ask_to_compare, ask_to_score, read_score, read_verdict
from dpo_core.rewards.reward import Unscored, place_of

Ask = Callable[[Sequence[Sequence[Message]]], Sequence[str | None]]  # conversations; a reply each, None where refused
FEWEST = 20  # replies from which on a share of them says something
_WORTH = {"first": 1.0, "tie": 0.5, "second": 0.0}
_SWAPPED: dict[Choice, Choice] = {"first": "second", "second": "first", "tie": "tie"}


class Match(NamedTuple):
    """Two answers to one prompt."""

    prompt: Sequence[Message]
    first: str
    second: str


class Verdict(NamedTuple):
    """What a judge says of a match: asked with the first answer in the first place, and in the second place.

    Both name answers, not places; None: the reply could not be read.
    """

    straight: Choice | None
    swapped: Choice | None

    @property
    def choice(self) -> Choice:
        """The better answer; a tie where the two orders disagree, or one could not be read."""
        return self.straight if self.straight is not None and self.straight == self.swapped else "tie"

    @property
    def value(self) -> float:
        """Of the first answer: 1 won, 0.5 tied, 0 lost."""
        return _WORTH[self.choice]

    @property
    def place(self) -> int:
        """1: the first place was preferred in both orders, -1: the second, 0: neither, or it could not be read."""
        return {("first", "second"): 1, ("second", "first"): -1}.get((str(self.straight), str(self.swapped)), 0)

    @property
    def read(self) -> bool:
        """Whether both replies could be read."""
        return self.straight is not None and self.swapped is not None


class Judge:
    """Asks a model through `ask`, and counts the replies that it cannot read."""

    def __init__(self, ask: Ask, config: JudgeRules, *, name: str = "judge") -> None:
        self.name, self.config, self._ask = name, config, ask
        self.asked = self.unread = 0  # replies so far

    def verdicts(self, matches: Sequence[Match]) -> list[Verdict]:
        """Two questions a match, all asked at once; of mode `score`, which number is higher.

        Raises InputError where too many replies cannot be read.
        """
        if self.config.mode == "score":
            found = self.numbers([(match.prompt, answer) for match in matches for answer in match[1:]])
            higher = [_higher(*both) for both in zip(found[::2], found[1::2], strict=True)]
            return [Verdict(choice, choice) for choice in higher]
        questions = [self._comparison(match.prompt, match.first, match.second) for match in matches]
        questions += [self._comparison(match.prompt, match.second, match.first) for match in matches]
        read = [read_verdict(reply) for reply in self._replies(questions)]
        self._count(read)
        swapped = [None if choice is None else _SWAPPED[choice] for choice in read[len(matches) :]]
        return [Verdict(*both) for both in zip(read[: len(matches)], swapped, strict=True)]

    def numbers(self, asked: Sequence[tuple[Sequence[Message], str]]) -> list[float | None]:
        """A number an answer (to its prompt), None where none can be read. Raises InputError where too many cannot."""
        rubric, low, high, explain = self.config.rubric, self.config.low, self.config.high, self.config.explain
        questions = [
            ask_to_score(prompt, answer, rubric=rubric, low=low, high=high, explain=explain) for prompt, answer in asked
        ]
        replies = self._replies(questions)
        read = [read_score(reply, low=low, high=high) for reply in replies]
        self._count(read)
        return read

    def _comparison(self, prompt: Sequence[Message], first: str, second: str) -> list[Message]:
        return ask_to_compare(prompt, first, second, rubric=self.config.rubric, explain=self.config.explain)

    def _replies(self, questions: Sequence[Sequence[Message]]) -> Sequence[str | None]:
        replies = self._ask(questions) if questions else []
        if len(replies) != len(questions):
            says = f"{len(replies)} replies came to {len(questions)} questions"
            raise InputError(
                says, where=f"judge {self.name}", do="look at the endpoint: it must reply to each question"
            )
        return replies

    def _count(self, read: Sequence[object]) -> None:
        self.asked += len(read)
        self.unread += sum(found is None for found in read)
        if self.asked >= FEWEST and self.unread > self.config.max_unread * self.asked:
            form = "VERDICT: A" if self.config.mode == "compare" else "SCORE: 7"
            raise InputError(
                f"{self.unread} of {self.asked} replies of the judge do not end with a verdict that can be read",
                where=f"judge {self.name}: {self.config.model}",
                do=f"look at some replies: each must end with a line like {form}, and have one such line; allow more "
                "tokens, take a larger model, or raise max_unread",
            )


def _higher(first: float | None, second: float | None) -> Choice | None:
    if first is None or second is None:
        return None
    return "tie" if first == second else "first" if first > second else "second"


class JudgeReward:
    """A judge as a reward: its number, or the share of other answers that an answer is found better than.

    In comparisons each answer meets the `opponents` that follow it in a circle (so each is met by as many), or all.
    """

    def __init__(self, judge: Judge) -> None:
        self.judge, self.name = judge, judge.name

    def score(self, prompt: Sequence[Message], answers: Sequence[str], wanted: Mapping[str, object]) -> list[float]:
        """See Reward. Raises Unscored where the judge gave one of the answers no number."""
        if self.judge.config.mode == "score":
            found = self.judge.numbers([(prompt, answer) for answer in answers])
            read = [score for score in found if score is not None]
            if len(read) < len(found):
                says = f"the judge gave {len(found) - len(read)} of {len(found)} answers no number that can be read"
                raise Unscored(says, where=place_of(prompt, wanted), do="look at its replies; the prompt is left out")
            return read
        return self._compared(prompt, answers, wanted)

    def _compared(self, prompt: Sequence[Message], answers: Sequence[str], wanted: Mapping[str, object]) -> list[float]:
        different = list(dict.fromkeys(answers))  # one that stands twice is asked about once
        meetings = met_by(len(different), self.judge.config.opponents)
        verdicts = self.judge.verdicts([Match(prompt, different[i], different[j]) for i, j in meetings])
        if not any(verdict.read for verdict in verdicts) and verdicts:
            says = f"none of the judge's {len(verdicts)} comparisons can be read"
            raise Unscored(says, where=place_of(prompt, wanted), do="look at its replies; the prompt is left out")
        points, played = dict.fromkeys(different, 0.0), dict.fromkeys(different, 0)
        for (i, j), verdict in zip(meetings, verdicts, strict=True):
            for text, value in ((different[i], verdict.value), (different[j], 1 - verdict.value)):
                points[text] += value
                played[text] += 1
        return [points[text] / played[text] if played[text] else 0.5 for text in answers]


def met_by(answers: int, opponents: int | None) -> list[tuple[int, int]]:
    """Which of so many answers meet: each the `opponents` after it in a circle, nobody twice; None: everybody."""
    reach = answers - 1 if opponents is None else opponents
    pairs = ((i, (i + step) % answers) for step in range(1, min(reach, answers - 1) + 1) for i in range(answers))
    return list(dict.fromkeys((min(pair), max(pair)) for pair in pairs))
