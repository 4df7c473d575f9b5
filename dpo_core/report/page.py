"""Typed results to one self-contained HTML page: inline style and SVG, no network, light and dark."""

import functools

from jinja2 import Environment, PackageLoader, StrictUndefined

from dpo_core.report import charts, figures
from dpo_core.report.numbers import labelled, measured, number, percent, rate_or_number, sentence, share_or_number
from dpo_core.report.text import marked


def render(template: str, **context: object) -> str:
    """A template of this package with its context, every value escaped."""
    return environment().get_template(template).render(**context)


@functools.cache
def environment() -> Environment:
    """The templates of this package, with what they may call."""
    found = Environment(
        loader=PackageLoader("dpo_core.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "number": number,
        "percent": percent,
        "rate": rate_or_number,
        "quantity": share_or_number,
        "measured": measured,
        "label": labelled,
        "sentence": sentence,
        "marked": marked,
    }
    for module in (charts, figures):
        found.globals |= {name: getattr(module, name) for name in module.__all__}
    return found
