"""Short excerpts of the rows behind a finding, with addresses and keys masked."""

from collections.abc import Iterable

from dpo_core.data.pairs import Pair, text_of
from dpo_core.quality.text.redaction import redact
from dpo_core.report.results import Evidence

WIDTH = 120  # characters
SHOWN = 3


def evidence_of(pairs: Iterable[Pair], around: str = "") -> tuple[Evidence, ...]:
    """The first few of `pairs`, each side cut to a window round the first place where `around` stands."""
    shown = [pair for pair, _ in zip(pairs, range(SHOWN), strict=False)]
    return tuple(
        Evidence(
            pair.where or pair.id[:12], excerpt(text_of(pair.chosen), around), excerpt(text_of(pair.rejected), around)
        )
        for pair in shown
    )


def excerpt(text: str, around: str = "") -> str:
    """At most about 120 characters of `text`, redacted; the beginning if `around` is not in it.

    Masked before it is cut, so that no half of a key is left over.
    """
    text = redact(text)
    at = text.casefold().find(around.casefold()) if around else 0
    start = max(0, at - WIDTH // 2) if at + len(around) > WIDTH else 0
    end = start + WIDTH
    return ("…" if start else "") + text[start:end] + ("…" if end < len(text) else "")
