"""One answer twice: with a shortcut, and with something ordinary in its place."""

import random
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from dpo_core.evaluate.uptake.marks import ADD, INSTEAD, OPENINGS, REMOVE, Edit
from dpo_core.quality.features.ngrams import Feature, stands
from dpo_core.quality.text.refusals import sentences
from dpo_core.quality.text.surface import LENGTHS, PRESENCE, amounts_of, presence_of, property_spans
from dpo_core.quality.words import SINGLE, split, words

WORDS = ("word", "first_word", "last_word", "word_pair")
TOKENS = ("token", "first_token")  # of these such as are whole words
LONGER = 1.5  # so many times a short sentence's characters has a long one at least
AS_WORDS = 4  # words of an opening below which each is replaced
ORDINARY, SEEN = 200, 3  # words that may stand in place of a shortcut: the commonest, in so many answers at least
OF_AMOUNT = {  # the property that an answer with more of it has
    "lines": "newline",
    "list items": "list",
    "headings": "heading",
    "bold texts": "bold text",
    "code marks": "code",
    "links": "link",
    "emoji": "emoji",
    "exclamation marks": "exclamation mark",
    "question marks": "question mark",
}


class Ordinary(NamedTuple):
    """What may stand in place of a shortcut: words of answers of both kinds, and whole sentences."""

    words: Sequence[str]
    sentences: Sequence[str]


def ordinary(chosen: Sequence[str], rejected: Sequence[str]) -> Ordinary:
    """The words that stand in about as many chosen answers as in rejected ones, and the sentences of all."""
    sides = [Counter(word for text in texts for word in set(words(text))) for texts in (chosen, rejected)]
    both = sides[0] + sides[1]
    even = [
        word
        for word, count in both.most_common()
        if count >= SEEN and word.isalpha() and (sides[0][word] - sides[1][word]) ** 2 <= count
    ]
    found = [s for text in (*chosen, *rejected) for s in _sentences(text)]
    return Ordinary(even[:ORDINARY], list(dict.fromkeys(found)))


def is_editable(feature: Feature) -> bool:
    """Whether it is known how to put the feature into an answer, or take it out."""
    if feature.kind in ("property", "amount"):
        return _name(feature) in {*ADD, *OPENINGS, "length"}
    whole = feature.kind in WORDS or (feature.kind in TOKENS and feature.text[:1].isspace()) or _is_first(feature)
    spelt = split(feature.text)
    return whole and bool(spelt) and feature.text.strip() == " ".join(spelt)


def shows(feature: Feature, text: str) -> bool:
    """Whether an answer has the feature: the word, or any of the marks. Of a length: whether it has any."""
    return amount(feature, text) > 0


def amount(feature: Feature, text: str) -> int:
    """How much of the feature an answer has: 0 or 1, of a length its characters."""
    name = _name(feature)
    if name == "length":
        return len(text)
    if feature.kind in ("property", "amount"):
        return int(presence_of(text, amounts_of(text, 0))[PRESENCE.index(name)])
    return int(stands(_as_words(feature), text))


def edited_as(feature: Feature) -> str:
    """What an edit puts in: of two features with one name the edits are the same."""
    return _name(feature) or f"{feature.kind} {feature.text}"


class Editor:
    """Edits of one feature. `written`: answers of the data, from which it learns how the words are written."""

    def __init__(self, feature: Feature, written: Sequence[str], instead: Ordinary) -> None:
        self.feature = feature
        self.is_text = feature.kind not in ("property", "amount")
        self.opens = self.is_text and (_is_first(feature) or self._opens(written))
        self.form = self._form(written) if self.is_text else ""
        own = set(words(feature.text))
        self.words = [word for word in instead.words if word not in own]
        others = instead.sentences if self._length else [s for s in instead.sentences if not shows(feature, s)]
        self.sentences = sorted(others, key=lambda s: (len(s), s)) if self._length else others

    def edit(self, text: str, seed: str) -> Edit | None:
        """The answer with the feature and without; None where that cannot be told apart, or nothing can be edited.

        `seed` fixes the place and what is ordinary.
        """
        draw = random.Random(seed)
        found = self._edit(text, draw)
        if found is None or not found.lacking.strip() or self._length:
            return found
        return found if shows(self.feature, found.having) and not shows(self.feature, found.lacking) else None

    @property
    def _length(self) -> bool:
        return _name(self.feature) == "length"

    def _edit(self, text: str, draw: random.Random) -> Edit | None:
        if self._length:
            return self._padded(text, draw)
        if not self.is_text:
            return self._marked(text, draw)
        return self._without(text, draw) if shows(self.feature, text) else self._with(text, draw)

    def _with(self, text: str, draw: random.Random) -> Edit | None:
        """The word put in, beside an ordinary one put in at the same place."""
        plain = self._plain(self.form, draw)
        if plain is None:
            return None
        if self.opens:
            return Edit(self.form + text, plain + text)
        if self.feature.kind == "last_word":
            body = text.rstrip()
            stem = body.rstrip(".!?\u2026\u3002\uff01\uff1f")
            return Edit(*(f"{stem} {word}{body[len(stem) :]}" for word in (self.form, plain)))
        gaps = [match.span() for match in re.finditer(r"(?<=\S) (?=\S)", text)]
        if SINGLE.search(self.form) and not gaps:
            gaps = [(at, at) for at in range(1, len(text))]
            start, end = draw.choice(gaps) if gaps else (len(text), len(text))
            return Edit(*(text[:start] + word + text[end:] for word in (self.form, plain)))
        start, end = draw.choice(gaps) if gaps else (len(text), len(text))
        return Edit(*(f"{text[:start]} {word} {text[end:]}".rstrip() for word in (self.form, plain)))

    def _without(self, text: str, draw: random.Random) -> Edit | None:
        """The word as it stands, beside an ordinary one in its place."""
        lacking = text
        for match in reversed([*re.finditer(rf"(?i)(?<!\w){_spelt(self.feature)}(?!\w)", text)]):
            plain = self._plain(match.group(), draw)
            if plain is None:
                return None
            lacking = lacking[: match.start()] + plain + lacking[match.end() :]
        return Edit(text, lacking)

    def _plain(self, form: str, draw: random.Random) -> str | None:
        """`form` with ordinary words for its own."""
        if not self.words:
            return None

        def other(match: re.Match[str]) -> str:
            word = draw.choice(self.words)
            return word.capitalize() if match.group()[:1].isupper() else word

        return re.sub(r"\w+", other, form)

    def _opens(self, written: Sequence[str]) -> bool:
        """Whether the data has it at the beginning of answers, mostly: then it is put there."""
        first = Feature("first_word", self.feature.text.strip().casefold())
        there = [text for text in written if shows(self.feature, text)]
        return len(split(first.text)) == 1 and sum(shows(first, text) for text in there) > len(there) / 2

    def _form(self, written: Sequence[str]) -> str:
        """How the data writes the words most often; a first one with what follows it up to the next word."""
        before, after = (r"\A\W*", r"[^\w\s]*\s+") if self.opens else (r"(?<!\w)", "")
        pattern = re.compile(f"(?i){before}{_spelt(self.feature)}(?!\\w){after}")
        forms = Counter(match.group() for text in written for match in [pattern.search(text)] if match)
        usual = self.feature.text.strip()
        return forms.most_common(1)[0][0] if forms else f"{usual.capitalize()}, " if self.opens else usual

    def _marked(self, text: str, draw: random.Random) -> Edit | None:
        name = _name(self.feature)
        spans = property_spans(name)
        if not shows(self.feature, text):
            if name in OPENINGS:
                plain = self._opening(OPENINGS[name], draw)
                return None if plain is None else Edit(f"{OPENINGS[name]} {text}", f"{plain} {text}")
            return ADD[name](text)
        if spans is None:
            return REMOVE[name](text) if name in REMOVE else None
        lacking = text
        for start, end in reversed(spans(text)):
            opening = name in OPENINGS
            gap = self._opening(text[start:end], draw) if opening else INSTEAD.get(name, "")
            if gap is None:
                return None
            kept = "\n" if name in ("list", "heading") and text[start] == "\n" else ""
            inner = text[start:end].strip("*`") if name in ("bold text", "code") else ""
            lacking = lacking[:start] + kept + inner + gap + lacking[end:]
        return Edit(text, lacking.strip())

    def _padded(self, text: str, draw: random.Random) -> Edit | None:
        """A long sentence of other answers added, beside a short one."""
        by_length = [s for s in self.sentences if s not in text]
        fifth = max(len(by_length) // 5, 1)
        if len(by_length) < 2:
            return None
        long, short = draw.choice(by_length[-fifth:]), draw.choice(by_length[:fifth])
        if len(long) < LONGER * len(short):
            return None
        return Edit(f"{text.rstrip()} {long}", f"{text.rstrip()} {short}")

    def _opening(self, text: str, draw: random.Random) -> str | None:
        """What may stand in its place: ordinary words for one word, an ordinary sentence for a sentence."""
        return self._plain(text, draw) if len(split(text)) < AS_WORDS else self._sentence(draw)

    def _sentence(self, draw: random.Random) -> str | None:
        return draw.choice(self.sentences) if self.sentences else None


def _name(feature: Feature) -> str:
    """Of the property that is edited; `length` for each of the lengths."""
    if feature.kind == "amount":
        return "length" if feature.text in LENGTHS else OF_AMOUNT.get(feature.text, "")
    return feature.text if feature.kind == "property" else ""


def _is_first(feature: Feature) -> bool:
    return feature.kind in ("first_word", "first_token")


def _spelt(feature: Feature) -> str:
    """A regular expression of the words, whatever white space is between them."""
    return r"\s+".join(map(re.escape, split(feature.text)))


def _as_words(feature: Feature) -> Feature:
    kind = {"token": "word", "first_token": "first_word"}.get(feature.kind, feature.kind)
    return Feature(kind, feature.text.strip().casefold())


def _sentences(text: str) -> list[str]:
    """The sentences of a text without line ends, marks and lists: what can stand in any answer."""
    found = (s.strip() for s in sentences(text))
    return [s for s in found if len(words(s)) > 2 and not re.search(r"[\n*#`]|^[-\d]", s)]
