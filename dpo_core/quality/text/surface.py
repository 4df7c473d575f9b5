"""What an answer looks like: facts of its raw characters, taken before anything is stripped or tokenised.

Two kinds: PRESENCE, which an answer has or has not, and AMOUNTS, of which it has more or less.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import numpy as np

from dpo_core.quality.table import Block, Columns
from dpo_core.quality.text.refusals import Span, opening_sentence, opens, refuses, refusing_sentences, sentence
from dpo_core.quality.words import count_words

AFFIRMATIVE = re.compile(r"(?i)\A\W*(?:sure|certainly|of course|absolutely|definitely|great question|\u5f53\u7136)\b")
ENDS = re.compile(r"[.!?\u2026\u3002\uff01\uff1f]['\"\u201d\u2019)\]*_`]*\Z")
LIST_ITEM = re.compile(r"\n[ \t]*(?:[-*•]|\d{1,3}[.)])[ \t]")
HEADING = re.compile(r"\n#{1,6} ")
BOLD = re.compile(r"\*\*[^*\n]+\*\*")
LINK = re.compile(r"https?://|\]\(")
EMOJI = re.compile(r"[\u2600-\u27bf\U0001f300-\U0001faff]")
MARKER = re.compile(r"<\|\w+\|>|</?s>|<(?:start|end)_of_turn>|\[/?INST\]|<eos>|<pad>|\n\n(?:Human|Assistant):")
_UPPER, _DIGITS = bytes(range(65, 91)), b"0123456789"
_CONTROL = bytes({*range(32), 127} - {9, 10, 13})

AMOUNTS = (
    "characters",
    "words",
    "tokens",
    "lines",
    "list items",
    "headings",
    "bold texts",
    "code marks",
    "links",
    "emoji",
    "exclamation marks",
    "question marks",
    "digits",
    "capital letters",
)
LENGTHS = ("characters", "words", "tokens")
PRESENCE = (
    *("newline", "list", "heading", "bold text", "code", "link", "emoji", "exclamation mark", "question mark", "digit"),
    *("leading whitespace", "trailing whitespace", "ends with punctuation", "zero-width or control character"),
    *("non-ASCII character", "special token or role marker", "refusal", "refusal opening", "affirmative opening"),
    *("opens with a capital", "opens with I", "unclosed code block"),
)


def surface_columns(block: Block) -> Columns:
    """Facts of N pairs, each the chosen side's minus the rejected side's.

    `presence`: (N, len(PRESENCE)) int8 in {-1, 0, 1}; `amounts`: (N, len(AMOUNTS)) int32; and
    `log_length`: (N,) float32, the log of the ratio of lengths in tokens (words without a tokenizer).
    """
    amounts = np.empty((len(block), 2, len(AMOUNTS)), dtype=np.int32)
    presence = np.empty((len(block), 2, len(PRESENCE)), dtype=np.int8)
    for row, pair in enumerate(block.pairs):
        for side, ids in enumerate((pair.chosen_ids, pair.rejected_ids)):
            text = block.strings[3 * row + 1 + side]
            counted = amounts_of(text, len(ids))
            amounts[row, side] = counted
            presence[row, side] = presence_of(text, counted)
    tokens = len(block) > 0 and bool(block.pairs[0].chosen_ids)
    length = np.log1p(amounts[:, :, AMOUNTS.index("tokens" if tokens else "words")])
    return {
        "presence": presence[:, 0] - presence[:, 1],
        "amounts": amounts[:, 0] - amounts[:, 1],
        "log_length": (length[:, 0] - length[:, 1]).astype(np.float32),
    }


def amounts_of(text: str, tokens: int) -> list[int]:
    """AMOUNTS of one answer, in order."""
    raw = text.encode("utf-8", "surrogatepass")
    count = text.count
    lines = count("\n")
    ascii_only = text.isascii()
    return [
        len(text),
        count_words(text),
        tokens,
        lines,
        _lines(LIST_ITEM, text, lines),
        _lines(HEADING, text, lines) if "#" in text else 0,
        len(BOLD.findall(text)) if "**" in text else 0,
        count("`"),
        len(LINK.findall(text)) if "://" in text or "](" in text else 0,
        0 if ascii_only else len(EMOJI.findall(text)),
        count("!") + (0 if ascii_only else count("\uff01")),
        count("?") + (0 if ascii_only else count("\uff1f")),
        len(raw) - len(raw.translate(None, _DIGITS)),
        len(raw) - len(raw.translate(None, _UPPER)),
    ]


def presence_of(text: str, amounts: Sequence[int]) -> list[bool]:
    """PRESENCE of one answer, in order; `amounts` are its AMOUNTS."""
    _, _, _, lines, items, headings, bold, code, links, emoji, exclaims, asks, digits, _ = amounts
    return [
        *(bool(n) for n in (lines, items, headings, bold, code, links, emoji, exclaims, asks, digits)),
        text[:1].isspace(),
        text[-1:].isspace(),
        ENDS.search(text.rstrip()[-12:]) is not None,
        _unusual(text),
        not text.isascii(),
        ("<" in text or "[" in text or "\n\n" in text) and MARKER.search(text) is not None,
        refuses(text),
        opens(text),
        AFFIRMATIVE.match(text) is not None,
        text.lstrip()[:1].isupper(),
        text.lstrip()[:2] in ("I ", "I'", "I\u2019"),
        text.count("```") % 2 == 1,
    ]


def property_spans(name: str) -> Callable[[str], list[Span]] | None:
    """Where in a text the words or marks stand that a property consists of; None for one that has no place."""
    if name in OWN_TEXT:
        return OWN_TEXT[name]
    pattern = OWN_MARKS.get(name)
    return None if pattern is None else lambda text: [match.span() for match in pattern.finditer(text)]


def _affirmative_sentence(text: str) -> list[Span]:
    return [sentence(text, 0)] if AFFIRMATIVE.match(text) else []


OWN_TEXT: Mapping[str, Callable[[str], list[Span]]] = {
    "refusal": refusing_sentences,
    "refusal opening": opening_sentence,
    "affirmative opening": _affirmative_sentence,
}
OWN_MARKS = {
    "newline": re.compile(r"\n"),
    "list": re.compile(r"(?:\A|\n)[ \t]*(?:[-*•]|\d{1,3}[.)])[ \t]"),
    "heading": re.compile(r"(?:\A|\n)#{1,6} "),
    "bold text": BOLD,
    "code": re.compile("`+"),
    "link": re.compile(r"https?://\S*|\]\(\S*"),
    "emoji": EMOJI,
    "exclamation mark": re.compile("[!\uff01]"),
    "question mark": re.compile("[?\uff1f]"),
    "digit": re.compile(r"\d"),
    "leading whitespace": re.compile(r"\A\s+"),
    "trailing whitespace": re.compile(r"\s+\Z"),
    "non-ASCII character": re.compile(r"[^\x00-\x7f]"),
    "special token or role marker": MARKER,
}


def _lines(pattern: re.Pattern[str], text: str, lines: int) -> int:
    """Matches of a pattern that begins with a line end, the first line included."""
    found = len(pattern.findall(text)) if lines else 0
    return found + (pattern.match("\n" + text[:80]) is not None)


def _unusual(text: str) -> bool:
    if text.isascii():
        return len(text.encode().translate(None, _CONTROL)) != len(text)
    return any(_is_unusual(character) for character in set(text))


@lru_cache(4096)
def _is_unusual(character: str) -> bool:
    """Format, private, surrogate and unassigned characters, other controls and the replacement character.

    Joiners inside emoji and variation selectors are usual.
    """
    if character in "\t\n\r\u200d\ufe0f":
        return False
    return unicodedata.category(character) in {"Cc", "Cf", "Co", "Cs", "Cn"} or character == "\ufffd"
