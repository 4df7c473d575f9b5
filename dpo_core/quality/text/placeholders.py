"""Personal data in a row replaced by placeholders: one value is one placeholder, wherever it stands."""

import re
from collections import Counter

from dpo_core.quality.text.redaction import KINDS, Kind

AS_WRITTEN = ("private key", "key")  # kinds of which another case is another value
NUMBERS = ("IBAN", "card", "phone")  # kinds whose spaces and signs say nothing


class Placeholders:
    """The placeholders of one row: `[e-mail]` for the first address in it, `[e-mail 2]` for the next."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, str], str] = {}

    def masked(self, text: str) -> str:
        """`text` without what the check of personal data counts; again until nothing is found, as `redact` does."""
        while True:
            before = text
            for kind in KINDS:
                text = self._without(kind, text)
            if text == before:
                return text

    @property
    def found(self) -> dict[str, int]:
        """Different values of each kind that were replaced so far."""
        return dict(Counter(kind for kind, _ in self._names))

    def _without(self, kind: Kind, text: str) -> str:
        if not kind.hint(text):
            return text
        parts, last = [], 0
        for start, end in kind.find(text):
            if start >= last:
                parts += [text[last:start], self._name(kind.name, text[start:end])]
                last = end
        return "".join([*parts, text[last:]])

    def _name(self, kind: str, value: str) -> str:
        same = value if kind in AS_WRITTEN else value.casefold()
        if kind in NUMBERS:
            same = re.sub(r"\W", "", same)
        number = sum(known == kind for known, _ in self._names) + 1
        return self._names.setdefault((kind, same), f"[{kind}]" if number == 1 else f"[{kind} {number}]")


def kinds_in(text: str) -> list[str]:
    """Names of the kinds of personal data that a text holds."""
    return [kind.name for kind in KINDS if kind.stands_in(text)]
