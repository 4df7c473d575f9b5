"""How many looks a year of candidates may take at one set of held-out items: each is made at a smaller alpha.

The candidates of a year are compared with one champion on the same items. Dunnett (J. Am. Stat. Assoc. 1955, 50,
1096-1121): of `looks` equal ones
the best exceeds z with probability 1 - integral of phi(x) Phi(x + sqrt(2) z)^looks dx.
"""

import math
from functools import lru_cache

import numpy as np
from scipy import integrate, optimize, special


def any_promoted(z: float, looks: int) -> float:
    """P that the best of `looks` candidates, all as good as the champion, exceeds `z`."""

    def one(x: float) -> float:
        density = math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
        return density * float(-np.expm1(looks * special.log_ndtr(x + math.sqrt(2) * z)))

    return float(integrate.quad(one, -12, 12, epsabs=1e-13, epsrel=1e-11, limit=400)[0])


@lru_cache
def alpha_of_a_look(alpha_year: float, looks: int) -> float:
    """The one-sided alpha of each of `looks` looks that together promote an equal candidate in `alpha_year` at most."""
    z = optimize.brentq(lambda z: any_promoted(z, looks) - alpha_year, -8, 12, xtol=1e-12)
    return float(special.ndtr(-z))
