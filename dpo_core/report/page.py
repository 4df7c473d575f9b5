"""Typed results to one self-contained HTML page: inline style and SVG, no network, light and dark."""

import functools
import math
from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def render(template: str, **context: Any) -> str:
    """A template of this package with its context, every value escaped."""
    return _environment().get_template(template).render(**context)


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("dpo_core.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "percent": percent}
    environment.globals |= {"whisker": whisker, "split_bar": split_bar, "curves": curves, "histogram": histogram}
    return environment


def number(value: object) -> str:
    """A number as people read it: counts whole, others with three or four significant digits."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int) or (math.isfinite(value) and value == int(value) and abs(value) < 1e6):
        return f"{int(value):,}"
    return f"{value:.2e}" if value and abs(value) < 1e-3 else f"{value:,.4g}"


def percent(value: float) -> str:
    """A share as a percentage."""
    return f"{100 * value:.1f} %"


def whisker(rows: Sequence[tuple[float, float, float, str]], low: float, high: float) -> Markup:
    """Dots with their intervals on a common scale; rows are (value, low, high, CSS class)."""
    span = (high - low) or 1.0

    def x(value: float) -> float:
        return 4 + 192 * (min(max(value, low), high) - low) / span

    marks = "".join(
        f'<line class="{kind}" x1="{x(lo):.1f}" x2="{x(hi):.1f}" y1="{y}" y2="{y}"/>'
        f'<circle class="{kind}" cx="{x(value):.1f}" cy="{y}" r="3.5"/>'
        for y, (value, lo, hi, kind) in zip(range(7, 99, 11), rows, strict=False)
    )
    return Markup(f'<svg class="whisker" viewBox="0 0 200 {11 * len(rows) + 3}" role="img">{marks}</svg>')


def split_bar(left: float, right: float) -> Markup:
    """Two shares to either side of a middle line: chosen only, rejected only."""
    total = max(left + right, 1e-12)
    a, b = 98 * left / total, 98 * right / total
    body = (
        f'<rect class="chosen" x="{100 - a:.1f}" y="2" width="{a:.1f}" height="8"/>'
        f'<rect class="rejected" x="100" y="2" width="{b:.1f}" height="8"/><line x1="100" x2="100" y1="0" y2="12"/>'
    )
    return Markup(f'<svg class="split" viewBox="0 0 200 12" role="img">{body}</svg>')


def curves(lines: Sequence[tuple[str, Sequence[float], str]], steps: Sequence[float]) -> Markup:
    """Line chart of named series over the same steps; (name, values, CSS class)."""
    values = [v for _, series, _ in lines for v in series if math.isfinite(v)]
    if not values:
        return Markup("<p class='quiet'>nothing was recorded</p>")
    low, high = min(*values, 0.0), max(*values, 0.0)
    span, last = (high - low) or 1.0, max(steps[-1], 1)

    def point(step: float, value: float) -> str:
        return f"{40 + 550 * step / last:.1f},{190 - 175 * (value - low) / span:.1f}"

    zero = 190 - 175 * (0 - low) / span
    ticks = "".join(
        f'<text x="36" y="{190 - 175 * i / 4 + 4:.0f}" text-anchor="end">{low + span * i / 4:.3g}</text>'
        for i in range(5)
    )
    paths = "".join(
        f'<polyline class="{kind}" points="{" ".join(map(point, steps, series))}"><title>{Markup.escape(name)}</title></polyline>'
        for name, series, kind in lines
    )
    legend = "".join(f'<span class="key {kind}">{Markup.escape(name)}</span>' for name, _, kind in lines)
    axis = f'<line class="axis" x1="40" x2="590" y1="{zero:.1f}" y2="{zero:.1f}"/><text x="590" y="206" text-anchor="end">step {last:.0f}</text>'
    return Markup(
        f'<figure><svg class="curves" viewBox="0 0 600 212" role="img">{axis}{ticks}{paths}</svg><figcaption>{legend}</figcaption></figure>'
    )


def histogram(left: Sequence[int], right: Sequence[int], unit: str, bins: int = 24) -> Markup:
    """Two distributions of lengths, one up, one down; `unit` is the plural of what was counted."""
    if not left or not right:
        return Markup("")
    top = max(*left, *right, 1)
    counts = [[0] * bins, [0] * bins]
    for side, values in zip(counts, (left, right), strict=True):
        for value in values:
            side[min(bins - 1, value * bins // (top + 1))] += 1
    tallest, width = max(*counts[0], *counts[1], 1), 560 / bins
    up = "".join(
        f'<rect class="chosen" x="{20 + i * width:.1f}" y="{70 - 64 * n / tallest:.1f}" width="{width - 2:.1f}" height="{64 * n / tallest:.1f}"/>'
        for i, n in enumerate(counts[0])
    )
    down = "".join(
        f'<rect class="rejected" x="{20 + i * width:.1f}" y="72" width="{width - 2:.1f}" height="{64 * n / tallest:.1f}"/>'
        for i, n in enumerate(counts[1])
    )
    label = f'<text x="580" y="150" text-anchor="end">{top} {unit}</text><text x="20" y="150">0</text>'
    key = '<span class="key chosen">chosen</span><span class="key rejected">rejected</span>'
    return Markup(
        f'<figure><svg class="histogram" viewBox="0 0 600 154" role="img">{up}{down}{label}</svg><figcaption>{key}</figcaption></figure>'
    )
