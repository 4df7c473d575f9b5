"""Marks and openings of an answer, put in or taken out: its form, not its words."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from dpo_core.quality.words import split

OPENINGS = {
    "refusal": "I'm sorry, but I can't help with that.",
    "refusal opening": "I'm sorry, but I can't help with that.",
    "affirmative opening": "Sure!",
}
INSTEAD = {
    "exclamation mark": ".",
    "question mark": ".",
    "newline": " ",
}  # of a mark that is taken out; others: nothing
_BREAK = re.compile(r"(?<=[.!?\u3002\uff01\uff1f])\s+")
_END = re.compile(r"[.!?\u2026\u3002\uff01\uff1f]*\s*\Z")


class Edit(NamedTuple):
    """`having` has the shortcut, `lacking` is the same answer without it."""

    having: str
    lacking: str


def _lines(text: str) -> list[str]:
    """A text in two parts or more, one a line, or as it is."""
    return [part for part in (text.split("\n") if "\n" in text.strip() else _BREAK.split(text.strip())) if part.strip()]


def _newline(text: str) -> Edit | None:
    lines = _lines(text)
    return Edit("\n".join(lines), text) if len(lines) > 1 else None


def _list(text: str) -> Edit | None:
    lines = _lines(text)
    return Edit("\n".join(f"- {line}" for line in lines), "\n".join(lines)) if len(lines) > 1 else None


def _around(mark: str) -> Callable[[str], Edit | None]:
    """The longest word between two marks."""

    def marked(text: str) -> Edit | None:
        word = max(split(text), key=len, default=None)
        return None if word is None else Edit(text.replace(word, f"{mark}{word}{mark}", 1), text)

    return marked


def _at_end(mark: str, instead: str = "") -> Callable[[str], Edit | None]:
    """A mark after the last word, in place of a full stop."""
    return lambda text: Edit(
        _END.sub(lambda _: mark, text, count=1), text if not instead else _END.sub(instead, text, 1)
    )


def _title(text: str) -> Edit | None:
    return Edit(f"# Answer\n{text}", f"Answer\n{text}")


ADD: Mapping[str, Callable[[str], Edit | None]] = {
    "newline": _newline,
    "list": _list,
    "heading": _title,
    "bold text": _around("**"),
    "code": _around("`"),
    "link": lambda text: Edit(f"{text} See https://example.com/page.", f"{text} See the page of examples."),
    "emoji": lambda text: Edit(f"{text} \U0001f642", text),
    "exclamation mark": _at_end("!", "."),
    "question mark": _at_end("?", "."),
    "digit": lambda text: Edit(f"{text} (1)", f"{text} (a)"),
    "leading whitespace": lambda text: Edit(f" {text}", text),
    "trailing whitespace": lambda text: Edit(f"{text} ", text),
    "ends with punctuation": lambda text: Edit(f"{text.rstrip()}.", text),
    "opens with a capital": lambda text: Edit(text[:1].upper() + text[1:], text),
    "non-ASCII character": lambda text: Edit(_END.sub("\u2026", text, count=1), _END.sub("...", text, count=1)),
    "unclosed code block": lambda text: Edit(f"{text}\n```", f"{text}\n```\n```"),
}
REMOVE: Mapping[str, Callable[[str], Edit | None]] = {
    "ends with punctuation": lambda text: Edit(text, text.rstrip().rstrip(".!?\u2026\u3002\uff01\uff1f'\")*_`")),
    "opens with a capital": lambda text: Edit(text, text[:1].lower() + text[1:]),
}
