"""Two models' answers before the rewards and judges of a recipe: who is better, and by how much where one can tell."""

from collections.abc import Mapping, Sequence

from dpo_core.data.digests import prompt_digest
from dpo_core.data.pairs import Message
from dpo_core.evaluate.judges.win_rate import Contest, wins_of
from dpo_core.rewards.judge import JudgeReward
from dpo_core.rewards.reward import Reward, Unscored, require_scores

Prompts = Sequence[Sequence[Message]]
Numbers = list[float | None]  # None: the prompt's answers have no score


class Panel:
    """One reward, or several that vote by their weights. What it is asked twice it says from memory.

    Every answer is scored by itself; judges that compare are asked in both orders, where a disagreement is a tie.
    """

    def __init__(self, members: Sequence[Reward], weights: Mapping[str, float]) -> None:
        self._members, self._weights = members, weights
        self._known: dict[tuple[str, str, str], float | None] = {}
        self.unscored = ""  # why a prompt has no scores: the last reason

    def wins(self, prompts: Prompts, ours: Sequence[str], theirs: Sequence[str]) -> Numbers:
        """Of each prompt how far our answer is better: 1, 0, 0.5 a tie; of several the weighted share of votes.

        Equal answers tie, and nobody is asked. Raises InputError where too many replies of a judge cannot be read.
        """
        votes = [self._votes(member, prompts, ours, theirs) for member in self._members]
        weights = [self._weights.get(member.name, 1.0) for member in self._members]
        found: Numbers = []
        for row in zip(*votes, strict=True):
            told = [vote for vote in row if vote is not None]
            whole = len(told) == len(row)
            voted = sum(weight * vote for weight, vote in zip(weights, told, strict=True)) if whole else 0.0
            found.append(voted / sum(weights) if whole else None)
        return found

    def scores(self, prompts: Prompts, answers: Sequence[str]) -> Numbers:
        """Each answer's number, of a panel whose one reward gives such."""
        [member] = self._members
        return self._scores(member, prompts, answers)

    def _votes(self, member: Reward, prompts: Prompts, ours: Sequence[str], theirs: Sequence[str]) -> Numbers:
        if isinstance(member, JudgeReward) and member.judge.config.mode == "compare":
            contests = [Contest(*row) for row in zip(prompts, ours, theirs, strict=True)]
            return list(wins_of(member.judge, contests))
        both = (self._scores(member, prompts, answers) for answers in (ours, theirs))
        return [_better(one, other) for one, other in zip(*both, strict=True)]

    def _scores(self, member: Reward, prompts: Prompts, answers: Sequence[str]) -> Numbers:
        keys = [(member.name, prompt_digest(prompt), text) for prompt, text in zip(prompts, answers, strict=True)]
        missing = dict(zip(keys, prompts, strict=True))
        missing = {key: prompt for key, prompt in missing.items() if key not in self._known}
        if isinstance(member, JudgeReward):
            numbers = member.judge.numbers([(prompt, text) for (*_, text), prompt in missing.items()])
            self._known |= dict(zip(missing, numbers, strict=True))
        else:
            self._known |= {key: self._score(member, prompt, key[-1]) for key, prompt in missing.items()}
        return [self._known[key] for key in keys]

    def _score(self, member: Reward, prompt: Sequence[Message], answer: str) -> float | None:
        try:
            scores = member.score(prompt, [answer], {})
            require_scores(scores, 1, member.name, "")
        except Unscored as error:
            self.unscored = error.says
            return None
        return float(scores[0])


def _better(ours: float | None, theirs: float | None) -> float | None:
    if ours is None or theirs is None:
        return None
    return 0.5 if ours == theirs else float(ours > theirs)
