"""What rewards and judges make of two models' answers to held-out prompts, for people to read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from dpo_core.evaluate.intervals import mean_interval
from dpo_core.evaluate.judges.win_rate import at_equal_length, even_in_length
from dpo_core.evaluate.unseen import Items
from dpo_core.report.documents import Estimate, PreferredRecord

JUDGED = "judged"  # among the names of suites: the held-out prompts whose answers have a score
EVEN = "judged, even in length"  # of these


@dataclass(frozen=True)
class JudgedBy:
    """Who judged: names of rewards, of judges what they were worth beside people, and why a prompt has no score."""

    names: Sequence[str]
    reports: Mapping[str, object] = field(default_factory=dict)
    unscored: str = ""


class JudgedAnswers(Protocol):
    """One model: its answers, how far each is better than the baseline's, and its reward where it has one."""

    @property
    def answers(self) -> Mapping[str, Sequence[str]]:
        """By suite."""

    @property
    def wins(self) -> Sequence[float | None]:
        """1, 0, or between."""

    @property
    def rewards(self) -> Sequence[float | None]:
        """Empty where there are none."""


def judged_items(items: Items, models: Mapping[str, JudgedAnswers]) -> Items:
    """Of the held-out prompts those for which every model's answer has a score."""
    told = [all(model.wins[place] is not None for model in models.values()) for place in items.places]
    return items.only(told)


def even_items(items: Items, models: Mapping[str, JudgedAnswers], samples: str) -> Items:
    """Of the judged prompts those on which the challenger's answers are as long as the baseline's, on the whole."""
    texts = ([models[who].answers[samples][place] for place in items.places] for who in ("challenger", "baseline"))
    return items.only(even_in_length(*texts))


def preferred(
    by: JudgedBy, models: Mapping[str, JudgedAnswers], samples: str, asked: Items, items: Items
) -> PreferredRecord:
    """The challenger's answers against the baseline's; `asked`: all prompts that may be compared."""
    challenger, baseline = models["challenger"], models["baseline"]
    wins = [float(challenger.wins[place] or 0.0) for place in items.places]
    texts = ([model.answers[samples][place] for place in items.places] for model in (challenger, baseline))
    more = np.array([len(ours) - len(theirs) for ours, theirs in zip(*texts, strict=True)], dtype=np.float64)
    rate = mean_interval(wins, items.clusters, shares=True) if wins else None
    several = len(set(items.clusters)) > 1
    return PreferredRecord(
        by=list(by.names),
        prompts=len(wins),
        unscored=len(asked.places) - len(items.places),
        why=by.unscored,
        tied=wins.count(0.5) / len(wins) if wins else 0.0,
        win_rate=Estimate.of(rate) if rate else None,
        at_equal_length=Estimate.of(at_equal_length(np.array(wins), more, items.clusters, rate))
        if rate and several
        else None,
        reward={
            who: Estimate.of(mean_interval([float(model.rewards[p] or 0.0) for p in items.places], items.clusters))
            for who, model in models.items()
            if len(model.rewards) and items.places
        },
        judges=dict(by.reports),
    )
