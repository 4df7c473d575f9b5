"""What several sampled answers a question are worth, by simulation, into docs/evaluation.md.

make bench-sampled. A question is answered right with a chance of its own, from a beta distribution whose draws for two
answers to one question are correlated by one half; 1,000 pairs of models a cell.
"""

from pathlib import Path

import numpy as np

from dpo_core.evaluate.gate import Scores, decide
from dpo_core.evaluate.intervals import mean_interval
from dpo_core.recipe_release import Gate

PAGE = Path(__file__).parent.parent / "docs/evaluation.md"
BEGIN, END = "<!-- bench-sampled -->", "<!-- end sampled -->"
PAIRS, RIGHT, ANSWERS = 1_000, 0.7, (1, 2, 4, 8)
CELLS = ((0.0, 72), (0.0, 200), (0.05, 200), (0.1, 72), (0.1, 200))


def cell(gain: float, questions: int, answers: int, rng: np.random.Generator) -> tuple[float, float, float]:
    """Share promoted for a gain, share of intervals that hold the challenger's truth, their mean width."""
    names, rules = [str(i) for i in range(questions)], Gate(improve=["behaviour/m"])
    promoted = held = width = 0.0
    for _ in range(PAIRS):
        before = rng.beta(RIGHT, 1 - RIGHT, size=questions)
        after = before + (1 - before) * gain / (1 - RIGHT)
        old, new = (rng.binomial(answers, chance) / answers for chance in (before, after))
        models = [{"behaviour/m": Scores(values.tolist(), names)} for values in (new, old)]
        promoted += decide(*models, rules).verdict == "promote"
        found = mean_interval(new.tolist(), names, shares=True)
        held += found.low <= RIGHT + gain <= found.high
        width += found.high - found.low
    return promoted / PAIRS, held / PAIRS, width / PAIRS


def main() -> None:
    """Write the table."""
    head = ["true gain, questions", *(f"{k} answer{'s' * (k > 1)} each" for k in ANSWERS)]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for seed, (gain, questions) in enumerate(CELLS):
        found = [cell(gain, questions, k, np.random.default_rng([seed, k])) for k in ANSWERS]
        cells = [f"{promoted:.3f} · {held:.3f} · {width:.3f}" for promoted, held, width in found]
        lines.append(f"| {100 * gain:g} points, {questions} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
