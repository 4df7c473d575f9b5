"""An answer cut after whole sentences."""

import re

_END = re.compile(r"(?<!\bDr)(?<!\bMr)(?<!\bMrs)[.!?](?=\s|$)")


def whole_sentences(answer: str) -> list[str]:
    """The answer cut after its first, second, ... whole sentence, as far as its first line goes."""
    ends = [match.end() for match in _END.finditer(answer)]
    return [answer[:end].strip() for end in ends if "\n" not in answer[:end].strip()]
