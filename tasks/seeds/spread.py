"""How far seeds of one recipe lie apart, in the metrics of its gate."""

from collections.abc import Sequence
from statistics import median, stdev

from tasks.records import Gated, Plan
from tasks.seeds.records import DivergedSeed, SeedLine, SeedModel, SpreadLine


def seed_lines(plan: Plan, tried: Sequence[SeedModel | DivergedSeed], chosen: int) -> list[SeedLine]:
    """What each seed came to; none where there is one alone."""
    return [_line(plan, one, chosen) for one in tried] if len(tried) > 1 else []


def _line(plan: Plan, one: SeedModel | DivergedSeed, chosen: int) -> SeedLine:
    if isinstance(one, DivergedSeed):
        return SeedLine(seed=one.seed, weights_sha256="", metrics={}, chosen=False, diverged=one.says)
    return SeedLine(
        seed=one.seed,
        weights_sha256=one.trained.weights_sha256,
        metrics={name: one.evaluated.metrics[name].value for name in _asked(plan, one)},
        chosen=one.seed == chosen,
    )


def spreads(lines: Sequence[SeedLine]) -> dict[str, SpreadLine]:
    """Of each metric of the gate that all seeds have: least, median, most, and the standard deviation over seeds.

    Seeds that diverged are not among them.
    """
    lines = [line for line in lines if not line.diverged]
    names = [name for name in (lines[0].metrics if lines else ()) if all(name in line.metrics for line in lines)]
    by_metric = {name: [line.metrics[name] for line in lines] for name in names}
    return {
        name: SpreadLine(low=min(values), median=median(values), high=max(values), deviation=stdev(values))
        for name, values in by_metric.items()
    }


def unstable(gated: Gated, lines: Sequence[SeedLine]) -> str:
    """In words, where seeds differ by more than was gained, or one diverged; else empty."""
    said = [f"seed {line.seed} diverged ({line.diverged})" for line in lines if line.diverged]
    count = len(lines) - len(said)
    for name, spread in spreads(lines).items():
        gain = next((c.difference for c in gated.conditions if c.metric == name and c.rule == "improve"), None)
        width = spread.high - spread.low
        if gain is not None and width > gain:
            said.append(f"{name} differs by {width:.3g} between {count} seeds, and {gain:.3g} is gained")
    return f"{'; '.join(said)}: another seed may lose it, and the middle one was gated" if said else ""


def first_metric(plan: Plan) -> str:
    """What seeds are ordered by: the first metric that the gate looks for a gain of."""
    gains = [metric for metric in plan.recipe.gate.gains if "[" not in metric]  # parts of the pairs are no headline
    return gains[0] if gains else "rewards/margins"


def _asked(plan: Plan, one: SeedModel) -> list[str]:
    gate = plan.recipe.gate
    names = dict.fromkeys([first_metric(plan), *gate.gains, *gate.keep, *gate.floor])
    return [name for name in names if name in one.evaluated.metrics]
