"""Figures with axes, as SVG of fluid width: positions across are per cent, heights are pixels, letters keep their size."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup, escape

__all__ = ["curves", "histogram", "plane", "scatter"]

# The rule that fails and the one that warns (Scores in quality/features/feature_tests.py): least purity bound and least coverage.
FAILS, WARNS, RULE = (0.90, 0.02), (0.75, 0.005), 0.60
HEIGHT = 300  # of the scatter
PLOT, LEFT = 210, 9  # of the curves: pixels of height, per cent of the width for the marks at the left


class Point(NamedTuple):
    """A feature in the plane of shortcuts: share of pairs that differ in it, lower bound of its purity."""

    number: int
    name: str
    coverage: float
    purity_low: float
    kind: str  # fail, warn, intended


def scatter(points: Sequence[Point]) -> Markup:
    """Purity against coverage (log scale), with the regions in which a feature warns and fails."""
    dots = []
    for point in reversed(points):  # the gravest is drawn last, on top
        dots.append(
            Markup(
                '<g class="{}"><title>{}: {:.1%} of all pairs, purity at least {:.1%}</title>'
                '<circle cx="{:.2f}%" cy="{:.1f}" r="9"/><text x="{:.2f}%" y="{:.1f}" text-anchor="middle">{}</text></g>'
            ).format(
                point.kind,
                point.name,
                point.coverage,
                point.purity_low,
                _x(point.coverage),
                _y(point.purity_low),
                _x(point.coverage),
                _y(point.purity_low) + 3.5,
                point.number,
            )
        )
    said = f"{len(points)} features by how many pairs they differ in and how purely they point to one side"
    return Markup(
        '<figure class="scatter"><svg width="100%" height="{}" role="img" aria-label="{}">{}{}{}</svg><figcaption><span>'
        "Across: share of pairs that differ in the feature. Up: lower bound of the share that points one way. "
        'Numbers are those of the findings below.</span><span class="key fail">fails</span><span class="key warn">warns'
        '</span><span class="key intended">declared as the aim</span></figcaption></figure>'
    ).format(HEIGHT + 26, said, Markup(_regions()), Markup(_axes()), Markup("").join(dots))


def _x(coverage: float) -> float:
    """Per cent of the width: 0.1 % to 100 % on a log scale."""
    return 7 + 88 * (3 + math.log10(min(max(coverage, 0.001), 1.0))) / 3


def _y(purity_low: float) -> float:
    return 14 + (HEIGHT - 28) * (1 - min(max(purity_low, 0.5), 1.0)) / 0.5


def _regions() -> str:
    """Two areas: pure and common enough, or so common that the rule alone is right too often."""
    covered = [0.2 * 1.1**i for i in range(17)] + [1.0]
    rule = [(_x(c), _y(0.5 + (RULE - 0.5) / c)) for c in covered]
    top, right = _y(1.0) - 8, _x(1.0) + 4
    corner = (RULE - 0.5) / (FAILS[0] - 0.5)  # from this coverage on the rule fails what is less pure, too
    fails = [(_x(FAILS[1]), top), (_x(FAILS[1]), _y(FAILS[0])), (_x(corner), _y(FAILS[0]))]
    fails += [p for p in rule if p[1] > _y(FAILS[0])]
    fails += [(right, rule[-1][1]), (right, top)]
    warns = [(_x(WARNS[1]), top), (_x(WARNS[1]), _y(WARNS[0])), (right, _y(WARNS[0])), (right, top)]
    shapes = "".join(
        f'<polygon class="{kind}" points="{" ".join(f"{x:.2f},{y:.1f}" for x, y in points)}"/>'
        for kind, points in (("warn", warns), ("fail", fails))
    )
    return f'<svg viewBox="0 0 100 {HEIGHT}" preserveAspectRatio="none" width="100%" height="{HEIGHT}">{shapes}</svg>'


def _axes() -> str:
    across = "".join(
        f'<line class="grid" x1="{_x(c):.2f}%" x2="{_x(c):.2f}%" y1="6" y2="{HEIGHT - 6}"/>'
        f'<text x="{_x(c):.2f}%" y="{HEIGHT + 14}" text-anchor="middle">{100 * c:g} %</text>'
        for c in (0.001, 0.01, 0.1, 1.0)
    )
    up = "".join(
        f'<line class="grid" x1="7%" x2="99%" y1="{_y(p):.1f}" y2="{_y(p):.1f}"/>'
        f'<text x="0" y="{_y(p) + 4:.1f}">{100 * p:.0f} %</text>'
        for p in (0.5, 0.75, 0.9, 1.0)
    )
    names = (
        f'<text class="fail" x="98.5%" y="22" text-anchor="end">fails</text>'
        f'<text class="warn" x="{_x(WARNS[1]) + 1:.2f}%" y="{_y(WARNS[0]) - 8:.1f}">warns</text>'
    )
    return across + up + names


def histogram(lengths: Mapping[str, Any]) -> Markup:
    """Lengths of both sides over common bins (`length_bins`): chosen upwards, rejected downwards, medians dashed."""
    chosen, rejected, edges, unit = (lengths[name] for name in ("chosen", "rejected", "edges", "unit"))
    tallest = max([*chosen, *rejected, 0])
    if not tallest:
        return Markup("")
    width, middle = 100 / len(chosen), 92
    bars = "".join(
        f'<rect class="{side}" x="{i * width:.3f}%" width="{max(width - 0.25, 0.1):.3f}%" rx="1" '
        f'y="{middle - 1 - height if up else middle + 1:.1f}" height="{height:.1f}">'
        f"<title>{edges[i]:,} to {edges[i + 1] - 1:,} {escape(unit)}: {count:,} {side}</title></rect>"
        for side, counts, up in (("chosen", chosen, True), ("rejected", rejected, False))
        for i, count in enumerate(counts)
        if (height := max(86 * count / tallest, 0.8 if count else 0.0))
    )
    step = edges[1] - edges[0]
    medians = "".join(
        f'<line class="{side}" x1="{at:.2f}%" x2="{at:.2f}%" y1="{4 if side == "chosen" else middle}" y2="{middle if side == "chosen" else 180}"/>'
        for side, median in lengths["median"].items()
        if (at := min(median / step * width, 99.5)) is not None
    )
    marks = sorted({0, len(chosen) // 3, 2 * len(chosen) // 3})
    ticks = "".join(f'<text x="{i * width:.2f}%" y="198">{edges[i]:,}</text>' for i in marks)
    ticks += f'<text x="100%" y="198" text-anchor="end">{edges[-2]:,} and more</text>'
    keys = Markup("").join(
        Markup('<span class="key {}">{}, median {:,.0f}</span>').format(side, side, median)
        for side, median in lengths["median"].items()
    )
    said = f"Lengths in {unit}: " + ", ".join(f"{side} median {m:,.0f}" for side, m in lengths["median"].items())
    return Markup(
        '<figure class="histogram"><svg width="100%" height="202" role="img" aria-label="{}">{}<line class="axis" x1="0" '
        'x2="100%" y1="92" y2="92"/>{}{}</svg><figcaption><span>Pairs by length of the answer, in {}.</span>{}</figcaption></figure>'
    ).format(said, Markup(bars), Markup(medians), Markup(ticks), unit, keys)


def curves(lines: Sequence[tuple[str, Sequence[float], str]], steps: Sequence[float], words: str) -> Markup:
    """Line chart of named series over the same steps, (name, values, CSS class); `words` say what goes up and why."""
    values = [v for _, series, _ in lines for v in series if math.isfinite(v)]
    if not values:
        return Markup("<p class='quiet'>nothing was recorded</p>")
    low, high = min(*values, 0.0), max(*values, 0.0)
    span, last = (high - low) or 1.0, max(steps[-1], 1)

    def y(value: float) -> float:
        return PLOT - 12 - (PLOT - 24) * (value - low) / span

    paths = "".join(
        f'<polyline class="{kind}" points="{points}"/>'
        for _, series, kind in lines
        if (
            points := " ".join(f"{100 * s / last:.2f},{y(v):.1f}" for s, v in zip(steps, series, strict=True) if v == v)
        )
    )
    up = "".join(
        f'<line class="{"axis" if mark == 0 else "grid"}" x1="{LEFT}%" x2="100%" y1="{y(mark):.1f}" y2="{y(mark):.1f}"/>'
        f'<text x="0" y="{y(mark) + 4:.1f}">{mark:g}</text>'
        for mark in round_marks(low, high)
    )
    across = "".join(
        f'<text x="{LEFT + (100 - LEFT) * mark / last:.2f}%" y="{PLOT + 16}" '
        f'text-anchor="{"end" if mark > 0.9 * last else "middle"}">{"step " if mark == 0 else ""}{mark:,g}</text>'
        for mark in round_marks(0, last)
    )
    plot = (
        f'<svg x="{LEFT}%" width="{100 - LEFT}%" height="{PLOT}" viewBox="0 0 100 {PLOT}" preserveAspectRatio="none">'
        f"{paths}</svg>"
    )
    keys = Markup("").join(Markup('<span class="key {}">{}</span>').format(kind, name) for name, _, kind in lines)
    said = f"{words}; over {last:,.0f} steps: {', '.join(name for name, _, _ in lines)}"
    return Markup(
        '<figure class="curves"><figcaption><span>{}</span>{}</figcaption><svg width="100%" height="{}" role="img" '
        'aria-label="{}">{}{}{}</svg></figure>'
    ).format(words, keys, PLOT + 22, said, Markup(up), Markup(across), Markup(plot))


def plane(points: Sequence[tuple[int, float, float, str]], across: str, up: str) -> Markup:
    """Numbered dots, (number, x, y, CSS class), with an axis each; the last ones are drawn on top."""
    if not points:
        return Markup("<p class='quiet'>nothing was measured</p>")
    left, right = _ends([point[1] for point in points])
    low, high = _ends([point[2] for point in points])

    def x(value: float) -> float:
        return 12 + 84 * (value - left) / (right - left)

    def y(value: float) -> float:
        return HEIGHT - 16 - (HEIGHT - 32) * (value - low) / (high - low)

    grid = "".join(
        f'<line class="grid" x1="9%" x2="100%" y1="{y(mark):.1f}" y2="{y(mark):.1f}"/>'
        f'<text x="0" y="{y(mark) + 4:.1f}">{mark:g}</text>'
        for mark in round_marks(low, high)
    )
    grid += "".join(
        f'<text x="{x(mark):.2f}%" y="{HEIGHT + 14}" text-anchor="middle">{mark:g}</text>'
        for mark in round_marks(left, right)
    )
    dots = Markup("").join(
        Markup(
            '<g class="{}"><title>trial {}: {:.3g}, {:.3g}</title><circle cx="{:.2f}%" cy="{:.1f}" r="10"/>'
            '<text x="{:.2f}%" y="{:.1f}" text-anchor="middle">{}</text></g>'
        ).format(kind, number, a, b, x(a), y(b), x(a), y(b) + 3.5, number)
        for number, a, b, kind in points
    )
    said = f"{len(points)} trials; across: {across}; up: {up}"
    return Markup(
        '<figure class="scatter"><svg width="100%" height="{}" role="img" aria-label="{}">{}{}</svg><figcaption><span>'
        "Across: {}. Up: {}.</span></figcaption></figure>"
    ).format(HEIGHT + 22, said, Markup(grid), dots, across, up)


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """Smallest and largest, apart in any case."""
    low, high = min(values), max(values)
    return (low, high) if high - low > 1e-9 * max(abs(low), abs(high), 1e-9) else (low - 0.5, high + 0.5)


def round_marks(low: float, high: float) -> list[float]:
    """Two to five multiples of 1, 2 or 5 times a power of ten, from `low` to `high`."""
    power = 10.0 ** math.floor(math.log10((high - low) / 2 or 1.0))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if (high - low) / step < 5)
    return [round(i * step, 12) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
