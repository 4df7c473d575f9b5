"""Excerpts as a page shows them: the words that matter highlighted, and what no eye would see made visible."""

import re
import unicodedata
from collections.abc import Iterable

from markupsafe import Markup, escape

from dpo_core.report.results import Finding

EDGE = re.compile(r"^\s+|\s+$")
QUOTED = re.compile(r"""(['"])(?P<text>.+)\1$""")


def marks_of(finding: Finding) -> tuple[str, ...]:
    """What to highlight where the evidence does not say: the word in quotes at the end of the feature's name."""
    found = QUOTED.search(finding.feature)
    return tuple(piece for piece in found["text"].split() if piece.strip("<>")) if found else ()


def title_of(finding: Finding) -> tuple[str, str]:
    """What the finding is about, and its kind: a piece of text stands without the quotes of the feature's name."""
    kind = finding.check.partition("/")[2].replace("_", " ")
    found = QUOTED.search(finding.feature)
    if found:
        return found["text"], finding.feature[: found.start()].strip() or kind
    return finding.feature or kind, "" if finding.feature in ("", kind) or kind == "property" else kind


def marked(text: str, marks: Iterable[str] = ()) -> Markup:
    """`text` as HTML, escaped: `marks` highlighted whatever their case; blank edges and invisible characters shown."""
    wanted = sorted({mark.strip() for mark in marks if mark.strip()}, key=len, reverse=True)
    pattern = re.compile("|".join(re.escape(mark) for mark in wanted) or r"(?!)", re.IGNORECASE)
    parts, last = [], 0
    edges = [match.span() for match in EDGE.finditer(text)]
    spans = sorted([*((*match.span(), False) for match in pattern.finditer(text)), *((*span, True) for span in edges)])
    for start, end, blank in spans:
        if start < last:
            continue
        parts.append(_seen(text[last:start]))
        parts.append(_blank(text[start:end]) if blank else Markup("<mark>{}</mark>").format(_seen(text[start:end])))
        last = end
    return Markup("").join([*parts, _seen(text[last:])])


def _blank(text: str) -> Markup:
    return Markup('<mark class="unseen" title="{} blank characters">{}</mark>').format(
        len(text), text.replace(" ", "␣").replace("\n", "↵").replace("\t", "⇥")
    )


def _seen(text: str) -> Markup:
    """Escaped, with each control or format character (zero-width ones too) as its code point."""
    if text.isascii() and text.isprintable():
        return escape(text)
    hidden = (
        char if _visible(char) else Markup('<mark class="unseen">U+{:04X}</mark>').format(ord(char)) for char in text
    )
    return Markup("").join(hidden)


def _visible(char: str) -> bool:
    return char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn")
