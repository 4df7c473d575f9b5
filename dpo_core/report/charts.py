"""Charts of rows: text in HTML, marks in SVG of fluid width, so that a phone scales the marks and not the letters."""

from collections.abc import Callable, Sequence

from markupsafe import Markup

__all__ = ["changes", "gauge", "intervals", "parts", "sides", "split_bar", "whisker"]

IntervalRow = tuple[str, float, float, float, str]  # label, value, low, high, the value in words


def intervals(rows: Sequence[IntervalRow], low: float, high: float, reference: float | None, words: str) -> Markup:
    """Dots with their intervals on one scale; `reference` is where nothing would be going on."""
    x = _scale(low, high)
    base = (
        "" if reference is None else f'<line class="reference" x1="{x(reference)}" x2="{x(reference)}" y1="0" y2="22"/>'
    )
    marks = [
        (
            label,
            f'{base}<line class="span" x1="{x(lo)}" x2="{x(hi)}" y1="11" y2="11"/><circle cx="{x(value)}" cy="11" r="4.5"/>',
            said,
        )
        for label, value, lo, hi, said in rows
    ]
    return _rows("intervals", marks, words)


def sides(rows: Sequence[tuple[str, float, float, str]], words: str) -> Markup:
    """Chosen to the left of a middle line, rejected to the right; rows are (label, chosen, rejected, in words)."""
    top = max([*(max(a, b) for _, a, b, _ in rows), 1e-12])
    marks = [(label, _both_ways(a / top, b / top), said) for label, a, b, said in rows]
    key = Markup('<span class="key chosen">chosen</span><span class="key rejected">rejected</span>')
    return _rows("sides", marks, words, key)


def changes(rows: Sequence[tuple[str, float, float, str]], words: str) -> Markup:
    """What was before as a hollow dot, what is now as a full one; rows are (label, before, after, in words)."""
    x = _scale(0.0, max([*(max(a, b) for _, a, b, _ in rows), 1e-12]))
    marks = [
        (
            label,
            f'<line class="span" x1="{x(a)}" x2="{x(b)}" y1="11" y2="11"/><circle class="before" cx="{x(a)}" cy="11" r="4"/>'
            f'<circle cx="{x(b)}" cy="11" r="4.5"/>',
            said,
        )
        for label, a, b, said in rows
    ]
    return _rows(
        "changes", marks, words, Markup('<span class="key before">before</span><span class="key">after</span>')
    )


def parts(rows: Sequence[tuple[str, float, float, str]], words: str) -> Markup:
    """How much of a whole was reached, as a filled bar; rows are (label, whole, part, in words)."""
    marks = [
        (
            label,
            '<rect class="rail" y="3" width="100%" height="8" rx="2"/>'
            f'<rect class="chosen" y="3" width="{min(max(part / whole, 0.0), 1.0) if whole else 0:.2%}" height="8" rx="2"/>',
            f"{part:,.0f} of {whole:,.0f}",
        )
        for label, whole, part, _ in rows
    ]
    return _rows("parts", marks, words)


def gauge(value: float, warn_above: float | None, fail_above: float | None, outcome: str) -> Markup:
    """A measure as a bar, with a tick where it warns and where it fails."""
    limits = [limit for limit in (warn_above, fail_above) if limit is not None]
    top = 1.2 * max([value if value == value else 0.0, *limits, 1e-12])
    ticks = "".join(
        f'<line class="{kind}" x1="{limit / top:.2%}" x2="{limit / top:.2%}" y1="1" y2="15"/>'
        for kind, limit in (("warns", warn_above), ("fails", fail_above))
        if limit is not None
    )
    width = min(max(value / top, 0.004), 1.0) if value == value else 0.0
    return Markup(
        '<svg class="gauge" width="100%" height="16" aria-hidden="true"><rect class="rail" y="5" width="100%" height="6" rx="3"/>'
        f'<rect class="{outcome}" y="5" width="{width:.2%}" height="6" rx="3"/>{ticks}</svg>'
    )


def split_bar(chosen: float, rejected: float) -> Markup:
    """How the pairs that differ in a feature divide: in the chosen answer only, in the rejected one only."""
    share = 100 * chosen / max(chosen + rejected, 1e-12)
    bars = (
        f'<rect class="chosen" y="2" width="{share:.2f}%" height="10" rx="1.5"/>'
        f'<rect class="rejected" x="{share:.2f}%" y="2" width="{100 - share:.2f}%" height="10" rx="1.5"/>'
    )
    said = f"{chosen:,.0f} pairs have it in the chosen answer only, {rejected:,.0f} in the rejected one only"
    return Markup(
        '<div class="split" role="img" aria-label="{}"><span>{} chosen only</span><svg width="100%" height="14">{}</svg>'
        "<span>{} rejected only</span></div>"
    ).format(said, f"{chosen:,.0f}", Markup(bars), f"{rejected:,.0f}")


def whisker(rows: Sequence[tuple[float, float, float, str]], low: float, high: float) -> Markup:
    """Dots with their intervals on a common scale; rows are (value, low, high, CSS class)."""
    x = _scale(low, high)
    marks = "".join(
        f'<line class="{kind}" x1="{x(lo)}" x2="{x(hi)}" y1="{y}" y2="{y}"/><circle class="{kind}" cx="{x(value)}" cy="{y}" r="3.5"/>'
        for y, (value, lo, hi, kind) in zip(range(7, 99, 11), rows, strict=False)
    )
    return Markup(f'<svg class="whisker" width="100%" height="{11 * len(rows) + 3}" aria-hidden="true">{marks}</svg>')


def _scale(low: float, high: float) -> Callable[[float], str]:
    """Where a value lies between the ends, in per cent of the width with a little room at both."""
    span = (high - low) or 1.0
    return lambda value: f"{3 + 94 * (min(max(value, low), high) - low) / span:.2f}%"


def _both_ways(chosen: float, rejected: float) -> str:
    a, b = 49 * chosen, 49 * rejected
    return (
        f'<rect class="chosen" x="{50 - a:.2f}%" y="2" width="{a:.2f}%" height="10" rx="1.5"/>'
        f'<rect class="rejected" x="50%" y="2" width="{b:.2f}%" height="10" rx="1.5"/>'
        '<line class="middle" x1="50%" x2="50%" y1="0" y2="14"/>'
    )


def _rows(kind: str, marks: Sequence[tuple[str, str, str]], words: str, key: Markup | None = None) -> Markup:
    height = 14 if kind in ("sides", "parts") else 22
    body = Markup("").join(
        Markup(
            '<li><span class="name">{}</span><svg width="100%" height="{}" aria-hidden="true">{}</svg><span class="n">{}</span></li>'
        ).format(label, height, Markup(mark), said)
        for label, mark, said in marks
    )
    caption = Markup("<figcaption><b>{}</b>{}</figcaption>").format(words, key or "")
    return Markup('<figure class="rows {}">{}<ul>{}</ul></figure>').format(kind, caption, body)
