"""Likelihood displacement: margins grow while the chosen answers themselves become less likely.

Razin et al. 2024 (arXiv:2410.08847): DPO can move probability from chosen answers to ones that nobody asked for.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean

WINDOW = 10  # steps whose mean is looked at
LIMIT = 0.5  # nats a token below the reference: such an answer of 20 tokens is e^10 times less likely than it was


def displaced(history: Sequence[Mapping[str, float]]) -> str | None:
    """A warning at the first step whose window is past LIMIT while margins rise; None before and after."""
    if not _past_limit(history) or _past_limit(history[:-1]):
        return None
    fallen = fmean(step["displacement"] for step in history[-WINDOW:])
    return (
        f"chosen answers are {fallen:.2f} nats a token less likely than under the reference while margins rise: the "
        "model moves to answers that are in no pair. Raise training.beta or training.sft_weight, or lower "
        "training.learning_rate."
    )


def _past_limit(history: Sequence[Mapping[str, float]]) -> bool:
    if len(history) < 2 * WINDOW or "displacement" not in history[-1]:  # a loss without reference has none
        return False
    now, before = history[-WINDOW:], history[-2 * WINDOW : -WINDOW]
    rising = fmean(s["rewards/margins"] for s in now) > fmean(s["rewards/margins"] for s in before)
    return rising and fmean(s["displacement"] for s in now) > LIMIT
