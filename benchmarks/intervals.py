"""How often the intervals of the reports hold the truth, by simulation, into docs/evaluation.md.

make bench-intervals. 2,000 data sets a cell; 20, 72 and 200 prompts with one item each, or one to four.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpo_core.evaluate.generations import length_ratios
from dpo_core.evaluate.intervals import mean_interval

Draw = Callable[[np.random.Generator, NDArray[np.int64]], tuple[NDArray[np.float64], float]]
PAGE = Path(__file__).parent.parent / "docs/evaluation.md"
BEGIN, END = "<!-- bench-intervals -->", "<!-- end intervals -->"
SETS, PROMPTS, ICC = 2_000, (20, 72, 200), 0.5


def answers(share: float) -> Draw:
    """Right or wrong; half of a prompt's answers go together."""

    def draw(rng: np.random.Generator, owners: NDArray[np.int64]) -> tuple[NDArray[np.float64], float]:
        common = rng.random(owners.max() + 1) < share
        own = rng.random(len(owners)) < share
        return np.where(rng.random(len(owners)) < np.sqrt(ICC), common[owners], own).astype(float), share

    return draw


def margins(rng: np.random.Generator, owners: NDArray[np.int64]) -> tuple[NDArray[np.float64], float]:
    """Normal, intraclass correlation one half."""
    common, own = rng.normal(size=owners.max() + 1), rng.normal(size=len(owners))
    return 1 + np.sqrt(ICC) * common[owners] + np.sqrt(1 - ICC) * own, 1.0


def skewed(rng: np.random.Generator, owners: NDArray[np.int64]) -> tuple[NDArray[np.float64], float]:
    """Mostly small, a few large: exponential."""
    common, own = rng.exponential(size=owners.max() + 1), rng.exponential(size=len(owners))
    return ICC * common[owners] + (1 - ICC) * own, 1.0


def ties(rng: np.random.Generator, owners: NDArray[np.int64]) -> tuple[NDArray[np.float64], float]:
    """Answers against others': a win is 1, a tie one half; half of a prompt's items go together."""
    common, own = (rng.choice([0.0, 0.5, 1.0], p=[0.3, 0.3, 0.4], size=n) for n in (owners.max() + 1, len(owners)))
    return np.where(rng.random(len(owners)) < np.sqrt(ICC), common[owners], own), 0.55


def sampled(rng: np.random.Generator, owners: NDArray[np.int64]) -> tuple[NDArray[np.float64], float]:
    """Share of four sampled answers that is right; how hard a question is, is its prompt's: uniform."""
    return rng.binomial(4, rng.random(owners.max() + 1)[owners]) / 4, 0.5


def lengths(rng: np.random.Generator, owners: NDArray[np.int64]) -> tuple[NDArray[np.float64], float]:
    """Words of an answer: log-normal, its deviation 0.8."""
    return 40 * _factors(rng, owners), 40 * float(np.exp(0.32))


def ratios(rng: np.random.Generator, owners: NDArray[np.int64]) -> tuple[NDArray[np.float64], float]:
    """Words of two models' answers, where those of one are 0.7 times as long: what each prompt does to the ratio."""
    topic = np.exp(0.5 * rng.normal(size=owners.max() + 1))[owners]
    own, others = (np.rint(scale * topic * _factors(rng, owners)).astype(int) for scale in (70, 100))
    return np.array(length_ratios(own.tolist(), others.tolist(), [str(owner) for owner in owners])), 0.7


def _factors(rng: np.random.Generator, owners: NDArray[np.int64]) -> NDArray[np.float64]:
    common, own = rng.normal(size=owners.max() + 1), rng.normal(size=len(owners))
    found: NDArray[np.float64] = np.exp(0.8 * (np.sqrt(ICC) * common[owners] + np.sqrt(1 - ICC) * own))
    return found


KINDS: dict[str, Draw] = {
    "answers, 50 % right": answers(0.5),
    "answers, 90 % right": answers(0.9),
    "numbers, normal": margins,
    "numbers, skewed": skewed,
    "wins, ties and losses": ties,
    "shares of four answers": sampled,
    "words an answer, log-normal": lengths,
    "ratio of two models' words": ratios,
}


def coverage(draw: Draw, prompts: int, most: int, seed: int) -> float:
    """Share of the data sets whose interval holds the truth."""
    rng, held = np.random.default_rng(seed), 0
    for _ in range(SETS):
        owners = np.repeat(np.arange(prompts), rng.integers(1, most + 1, size=prompts))
        values, truth = draw(rng, owners)
        found = mean_interval(values.tolist(), [str(owner) for owner in owners], shares=draw is sampled)
        held += found.low <= truth <= found.high
    return held / SETS


def main() -> None:
    """Write the table."""
    head = ["items", *(f"{n} prompts, {per}" for n in PROMPTS for per in ("one each", "1 to 4 each"))]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for seed, (kind, draw) in enumerate(KINDS.items()):
        cells = [f"{coverage(draw, n, most, seed):.3f}" for n in PROMPTS for most in (1, 4)]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
