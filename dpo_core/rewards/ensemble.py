"""Several rewards as one: the mean of their standardised scores, or a vote."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dpo_core.data.pairs import Message
from dpo_core.rewards.reward import Reward, place_of, require_scores

Floats = NDArray[np.float64]


class Ensemble:
    """Rewards with weights. A prompt that one of them cannot score has no scores.

    `mean`: each reward's scores among a prompt's answers less their mean, over their standard deviation (all 0 where
    they do not differ); then the weighted mean. `vote`: of the other answers, the share that a reward prefers an answer
    to, a tie one half; then the weighted mean.
    """

    def __init__(
        self,
        members: Sequence[Reward],
        *,
        by: Literal["mean", "vote"] = "mean",
        weights: Mapping[str, float] | None = None,
        name: str = "ensemble",
    ) -> None:
        self.members, self.name, self._by = list(members), name, by
        given = weights or {}
        self._weights = np.array([given.get(member.name, 1.0) for member in members], dtype=np.float64)

    def score(self, prompt: Sequence[Message], answers: Sequence[str], wanted: Mapping[str, object]) -> list[float]:
        """See Reward."""
        rows = []
        for member in self.members:
            scores = member.score(prompt, answers, wanted)
            require_scores(scores, len(answers), member.name, place_of(prompt, wanted))
            rows.append(np.asarray(scores, dtype=np.float64))
        apart = _standardised if self._by == "mean" else _votes
        table = np.stack([apart(row) for row in rows])
        return [float(score) for score in self._weights @ table / self._weights.sum()]


def _standardised(scores: Floats) -> Floats:
    spread = scores.std()
    if not spread > 1e-12 * max(1.0, float(np.abs(scores).max(initial=0.0))):
        return np.zeros_like(scores)
    return np.asarray((scores - scores.mean()) / spread, dtype=np.float64)


def _votes(scores: Floats) -> Floats:
    if len(scores) < 2:
        return np.full(len(scores), 0.5)
    against = scores[:, None] - scores[None, :]
    won = (against > 0).sum(axis=1) + 0.5 * ((against == 0).sum(axis=1) - 1)
    return np.asarray(won / (len(scores) - 1), dtype=np.float64)
