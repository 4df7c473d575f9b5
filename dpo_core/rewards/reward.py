"""What every reward is, and what is required of the numbers that it gives."""

import math
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from dpo_core.data.digests import prompt_digest
from dpo_core.data.pairs import Message
from dpo_core.errors import InputError

FLAT = 100  # prompts that a reward may tell nothing of, from the first on
SHOWN = 60  # characters of a prompt in a message


@runtime_checkable
class Reward(Protocol):
    """Says how good answers to one prompt are."""

    name: str

    def score(self, prompt: Sequence[Message], answers: Sequence[str], wanted: Mapping[str, object]) -> list[float]:
        """One finite number an answer, in their order; higher is better.

        `wanted`: what the prompt's own row asks (`Wishes`, IFEval's instructions, columns of the user's own). Raises
        `Unscored` where this prompt has no scores, any other InputError where no prompt would have them.
        """


class Unscored(InputError):
    """The answers to one prompt have no scores: it is left out, and others go on."""


class Watched:
    """A reward whose every number is looked at, and which is known to tell nothing if it does so for long."""

    def __init__(self, reward: Reward) -> None:
        self.reward, self.name = reward, reward.name
        self.prompts = 0  # with two answers or more
        self.told = 0  # of these: whose answers did not all have one score

    def score(self, prompt: Sequence[Message], answers: Sequence[str], wanted: Mapping[str, object]) -> list[float]:
        """See Reward. Raises Unscored, with reward and prompt, for a wrong count and for what is no finite number."""
        scores = self.reward.score(prompt, answers, wanted)
        require_scores(scores, len(answers), self.name, place_of(prompt, wanted))
        if len(answers) > 1:
            self.prompts += 1
            self.told += len(set(scores)) > 1
        return [float(score) for score in scores]

    @property
    def flat(self) -> bool:
        """Whether the first FLAT prompts' answers had one score each: nothing can be chosen by it."""
        return self.prompts >= FLAT and not self.told

    def require_informative(self) -> None:
        """Raise InputError where it is flat."""
        if self.flat:
            says = (
                f"the reward {self.name} gave all answers to a prompt the same score, for all of {self.prompts} prompts"
            )
            do = "look at some answers: the rule is met by all or by none; ask for less, or for more, or sample hotter"
            raise InputError(says, where=f"rewards: {self.name}", do=do)


def require_scores(scores: object, count: int, name: str, where: str) -> None:
    """Raise Unscored unless these are `count` finite numbers."""
    do = f"look at what {name} does with this prompt's answers; the prompt is left out"
    several = isinstance(scores, Sequence) and not isinstance(scores, str | bytes)
    if not isinstance(scores, Sequence) or not several or len(scores) != count:
        found = f"{len(scores)} scores" if isinstance(scores, Sequence) and several else f"a {type(scores).__name__}"
        raise Unscored(f"the reward {name} gave {found} for {count} answers", where=where, do=do)
    for place, score in enumerate(scores, 1):
        if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
            raise Unscored(f"the reward {name} gave {score!r} to answer {place} of {count}", where=where, do=do)


def place_of(prompt: Sequence[Message], wanted: Mapping[str, object]) -> str:
    """Which prompt it is, in words: the file and line that `wanted` knows as `where`, else how it begins."""
    if isinstance(wanted.get("where"), str) and wanted["where"]:
        return str(wanted["where"])
    text = " ".join(last_text(prompt).split())
    return f"prompt {prompt_digest(prompt)[:12]} ({text[:SHOWN]}{'...' if len(text) > SHOWN else ''})"


def last_text(prompt: Sequence[Message]) -> str:
    """What the user said last."""
    said = [message["content"] for message in prompt if message["role"] == "user"]
    return said[-1] if said else ""
