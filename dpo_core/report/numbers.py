"""Numbers and their names as people read them."""

import math
from collections.abc import Iterable

from dpo_core.recipe_release import BREVITY, LENGTH

LABELS = {
    "chosen_only": "chosen only",
    "rejected_only": "rejected only",
    "purity": "purity",
    "purity_low": "purity, lower bound",
    "coverage": "share of pairs",
    "accuracy": "accuracy as a rule",
    "z": "z",
    "q": "q (false discovery)",
    "low": "lower bound (95 %)",
    "high": "upper bound (95 %)",
    "p_family": "p (whole family)",
    "p": "p",
    "longer_wins": "longer wins",
    "more_wins": "the side with more wins",
    "z_adjusted": "z given length",
    "share_needed": "share needed",
}
RATES = (
    "behaviour/",
    "retention/",
    "generations/",
    "rewards/accuracies",
    "uptake/",
    "answers/win_rate",
    "lm_eval/",
)  # shares of right answers
UNRATED = ("retention/neutral_text", LENGTH, BREVITY)  # though they begin like these
SHARES = frozenset(
    "share purity coverage accuracy low high wins found power recall before after accepted now".split()  # noqa: SIM905
)


def number(value: object) -> str:
    """A number as people read it: counts whole, others with three or four significant digits."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int) or (math.isfinite(value) and value == int(value) and abs(value) < 1e6):
        return f"{int(value):,}"
    return f"{value:.2e}" if value and abs(value) < 1e-3 else f"{value:,.4g}"


def percent(value: float) -> str:
    """A share as a percentage, with the digits that it needs."""
    size = abs(100 * value)
    if size in (0, 100):
        return f"{100 * value:.0f} %"
    return f"{100 * value:.{3 if size < 0.1 else 2 if size < 1 else 1}f} %"


def is_share(name: str, value: object) -> bool:
    """Whether a statistic or column of this name holds shares, as far as this value of it shows."""
    return isinstance(value, float) and 0 <= value <= 1 and bool(SHARES & set(name.replace("_", " ").lower().split()))


def share_or_number(value: object, name: str) -> str:
    """A value as its name asks for: a percentage or a number."""
    return percent(value) if isinstance(value, float) and is_share(name, value) else number(value)


def is_rate(metric: str, values: Iterable[float]) -> bool:
    """Whether a metric of a run is a share of right answers, as far as these values of it show."""
    rated = metric.startswith(RATES) and metric not in UNRATED
    return rated and all(0 <= value <= 1 for value in values)


def rate_or_number(value: float, metric: str) -> str:
    """A metric's value: a share of right answers as a percentage."""
    return percent(value) if is_rate(metric, [value]) else number(value)


def change(difference: float, metric: str, values: Iterable[float]) -> str:
    """How far a metric moved, with its sign: in points of a hundred where its `values` are shares of right answers."""
    return f"{100 * difference:+.1f} points" if is_rate(metric, values) else f"{difference:+.4g}"


def sentence(text: str) -> str:
    """Words as a sentence: a capital at the start, a full stop at the end."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?", "…")) else ".")


def measured(value: float, limits: Iterable[float | None]) -> str:
    """A measure or one of its limits: a percentage where a limit between 0 and 1 tells that it is a share."""
    share = any(limit is not None and 0 < limit < 1 for limit in limits) and 0 <= value <= 1
    return percent(value) if share else number(value)


def labelled(name: str) -> str:
    """A statistic's or check's name in words."""
    words = LABELS.get(name, name.replace("_", " "))
    return f"{words}, lower bound of its accuracy" if name.rpartition("/")[2].startswith("probe_") else words
