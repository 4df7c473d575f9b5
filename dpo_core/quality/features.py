"""Surface features of an answer, and which side of each pair has them.

A feature is a (kind, text): a word, a token of the training tokenizer, the first or last word, or a property of the
raw text, taken before anything is stripped from it.
"""

import re
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from scipy import sparse

from dpo_core.data.pairs import EncodedPair, Message, text_of

Feature = tuple[str, str]
_CJK = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
CJK = re.compile(f"[{_CJK}]")
RUN = re.compile(rf"[{_CJK}]+|(?:(?![{_CJK}])\w)+")
REFUSAL = (
    r"(?i)\A\W*(?:i(?:['\u2019]m| am) (?:sorry|unable|not able)|sorry\b"
    r"|i (?:can(?:['\u2019]t|not)|won['\u2019]t)|as an ai\b)"
)
PROPERTIES: dict[str, re.Pattern[str]] = {
    "leading whitespace": re.compile(r"\A\s"),
    "trailing whitespace": re.compile(r"\s\Z"),
    "newline": re.compile(r"\n"),
    "ends with punctuation": re.compile(r"[.!?\u2026\u3002\uff01\uff1f]['\"\u201d\u2019)\]]*\s*\Z"),
    "exclamation mark": re.compile(r"[!\uff01]"),
    "question mark": re.compile(r"[?\uff1f]"),
    "digit": re.compile(r"\d"),
    "bold text": re.compile(r"\*\*[^*\n]+\*\*"),
    "list": re.compile(r"(?m)^[ \t]*(?:[-*•]|\d+[.)])[ \t]"),
    "heading": re.compile(r"(?m)^#{1,6} "),
    "code": re.compile(r"`"),
    "link": re.compile(r"https?://|\]\("),
    "emoji": re.compile(r"[\u2600-\u27bf\U0001f300-\U0001faff]"),
    "refusal opening": re.compile(REFUSAL),
    "affirmative opening": re.compile(r"(?i)\A\W*(?:sure|certainly|of course|absolutely)\b"),
}


@dataclass(frozen=True)
class FeatureTable:
    """`d`: (pairs, features), 1 where only the chosen side has the feature, -1 where only the rejected side has."""

    features: list[Feature]
    d: sparse.csr_array


def words(text: str) -> list[str]:
    """Case-folded words in order; a run of Chinese, Japanese or Korean is one item."""
    return RUN.findall(text.casefold())


def text_features(text: str, phrases: Iterable[str] = ()) -> set[Feature]:
    """Words (CJK: characters and pairs of them), boundary words and properties; `phrases` count as words too."""
    runs = words(text)
    found: set[Feature] = set()
    for run in set(runs):
        if CJK.match(run):
            found.update(("word", character) for character in run)
            found.update(("word", run[at : at + 2]) for at in range(len(run) - 1))
        else:
            found.add(("word", run))
    if runs:
        found |= {("first word", _edge(runs[0], 0)), ("last word", _edge(runs[-1], -1))}
    found.update(("property", name) for name, pattern in PROPERTIES.items() if pattern.search(text))
    found.update(("word", phrase) for phrase in phrases if phrase in text.casefold())
    return found


def _edge(run: str, at: int) -> str:
    return run[at] if CJK.match(run) else run


def feature_table(
    pairs: Sequence[EncodedPair],
    *,
    token_text: Callable[[int], str] | None,
    phrases: Sequence[str] = (),
    least: int = 1,
) -> FeatureTable:
    """The features that differ in at least `least` pairs. `phrases`: case-folded texts looked for as they stand."""
    numbers: defaultdict[Feature | int, int] = defaultdict(count().__next__)
    column, lengths = array("i"), array("q")  # of chosen-only features and of rejected-only ones, in turn
    for pair in pairs:
        chosen = _side(pair.pair.chosen, pair.chosen_ids if token_text else (), phrases)
        rejected = _side(pair.pair.rejected, pair.rejected_ids if token_text else (), phrases)
        for only in (chosen - rejected, rejected - chosen):
            column.extend(map(numbers.__getitem__, only))
            lengths.append(len(only))
    ends = np.cumsum(lengths)[1::2]
    value = np.repeat(np.tile(np.array([1, -1], dtype=np.int8), len(pairs)), lengths)
    d = sparse.csr_array(
        (value, np.array(column, dtype=np.int32), np.array([0, *ends])), shape=(len(pairs), len(numbers))
    )
    return _often(d, list(numbers), token_text, least)


def _side(messages: Iterable[Message], ids: Iterable[int], phrases: Sequence[str]) -> set[Feature | int]:
    """Features of one answer; tokens by their id."""
    return {*text_features(text_of(messages), phrases), *ids}


def _often(
    d: sparse.csr_array, keys: list[Feature | int], token_text: Callable[[int], str] | None, least: int
) -> FeatureTable:
    """Columns with enough entries, sorted by name: set order must not show."""
    counts = np.bincount(d.indices, minlength=len(keys))
    named: list[tuple[Feature, int]] = []
    for number in np.flatnonzero(counts >= least).tolist():
        key = keys[number]
        if not isinstance(key, int):
            named.append((key, number))
        elif token_text is not None:
            named.append((("token", token_text(key)), number))
    named.sort()
    order = [number for _, number in named]
    return FeatureTable([feature for feature, _ in named], sparse.csr_array(d[:, order]))
