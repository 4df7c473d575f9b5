"""Answers that decline: how they open, and which of their sentences say so. English and Chinese."""

import re
from collections.abc import Iterator

LOOKED_AT = 600  # characters from the start in which a refusal is looked for
_I, _NOT = "(?:i|we)", "(?:n['\u2019]t| not)"
_DECLINES = (
    f"{_I}(?:['\u2019]m|['\u2019]re| am| are) (?:\\w+ )?(?:sorry|unable|not able|not programmed|not comfortable)"
    "|i(?:['\u2019]m| am) just an ai\\b"
    f"|{_I} (?:can(?:['\u2019]t|not| not)|won['\u2019]t|will not|apologi[sz]e|(?:must|have to) (?:decline|refuse))"
    f"|{_I} do{_NOT} (?:\\w+ )?(?:feel comfortable"
    "|have (?:\\w+ ){0,2}(?:access|ability|information|knowledge|details|personal|real))"
    "|as an? (?:\\w+ ){0,3}(?:ai|language model|assistant)\\b"
)
_JUDGES = (
    "(?:is|are|would be|be) (?:not|never) (?:\\w+ ){0,2}(?:appropriate|ethical|acceptable|advisable|legal)\\b"
    "|(?:illegal|unethical|inappropriate)\\b"
)
_CHINESE = "\u62b1\u6b49|\u5bf9\u4e0d\u8d77"
_ANYWHERE = f"\\b(?=[iwabu])(?:{_DECLINES}|{_JUDGES})|{_CHINESE}|\u65e0\u6cd5"
OPENING = re.compile(f"(?i)\\A\\W*(?:{_DECLINES}|sorry\\b|my apologies|unfortunately,? {_I}\\b|{_CHINESE})")
REFUSES = re.compile(f"(?i){_ANYWHERE}")
_REFUSES_LOWER = re.compile(_ANYWHERE)  # five times as fast as REFUSES
_END = re.compile("[.!?\u3002\uff01\uff1f]+(?=\\s|\\Z)|\n")
Span = tuple[int, int]


def opens(text: str) -> bool:
    """Whether an answer begins by declining."""
    return OPENING.match(text) is not None


def refuses(text: str) -> bool:
    """Whether an answer declines, at its beginning or soon after."""
    return opens(text) or _REFUSES_LOWER.search(text[:LOOKED_AT].lower()) is not None


def sentence(text: str, at: int) -> Span:
    """The sentence that the character at `at` is part of."""
    start = max((end.end() for end in _END.finditer(text, 0, at)), default=0)
    end = _END.search(text, at)
    return start, end.end() if end else len(text)


def sentences(text: str) -> Iterator[str]:
    """The sentences of a text in order, as they stand."""
    at = 0
    while at < len(text):
        end = sentence(text, at)[1]
        yield text[at:end]
        at = max(end, at + 1)


def opening_sentence(text: str) -> list[Span]:
    """Where the sentence that an answer declines with at its beginning stands."""
    return [sentence(text, 0)] if opens(text) else []


def refusing_sentences(text: str) -> list[Span]:
    """Where the sentences stand that decline, in order."""
    if not refuses(text):
        return []
    spans = opening_sentence(text)
    for match in REFUSES.finditer(text[:LOOKED_AT]):
        if not spans or match.start() >= spans[-1][1]:
            spans.append(sentence(text, match.start()))
    return spans
