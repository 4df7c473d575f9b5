"""What a test can show with so many items: the smallest effect it finds, and how many items an effect takes.

All of it by the normal approximation and at 80 % power: the numbers say "about".
"""

import math

from scipy import special

POWER = 0.8


def reach(alpha: float) -> float:
    """Standard errors between the limit of a test and a truth that it finds with 80 % power."""
    return float(special.ndtri(1 - alpha) + special.ndtri(POWER))


def detectable(error: float, alpha: float) -> float:
    """The smallest true difference that is found with 80 % power."""
    return reach(alpha) * error


def items_needed(items: int, error: float, gap: float, alpha: float) -> int | None:
    """Items like these with which a truth `gap` beyond the limit is found with 80 % power; None: no number does."""
    return math.ceil(items * (reach(alpha) * error / gap) ** 2) if gap > 0 else None


def unchanged_items_needed(margin: float, alpha: float) -> int:
    """Items without any change that rule out a loss of more than `margin`, above 0: (1 - margin) ** n is alpha."""
    return math.ceil(math.log(alpha) / math.log1p(-margin)) if margin < 1 else 1


def fewest_groups(alpha: float) -> int:
    """Groups of which a gain can be shown at all, were each of them won: 0.5 to their power is alpha."""
    return math.ceil(-math.log2(alpha))


def joint_power(metrics: int) -> float:
    """Probability that so many independent metrics are all found better, each with 80 % power."""
    return float(POWER**metrics)
