"""What came, what went and what moved between two versions, in numbers and in sentences."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median

from dpo_core.data.digests import prompt_digest
from dpo_core.data.pairs import Pair, text_of
from dpo_core.errors import InputError
from dpo_core.quality.words import count_words, words
from infra.datasets.manifest import DatasetVersion
from infra.datasets.names import parse
from infra.datasets.shelf import find
from infra.store.base import Store
from tasks.datasets.records import DatasetDiff, NumberMove
from tasks.runtime.datasets import rows_left

SIDES = ("prompt", "chosen", "rejected")
WORDS = 12  # that moved most
LEAST = 0.01  # share of pairs that a word moves by, to be told


@dataclass
class Contents:
    """What is counted of a version. `by_prompt`: ids of the rows of each prompt; `words`: pairs whose chosen has it."""

    rows: Counter[str] = field(default_factory=Counter)
    by_prompt: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    sources: Counter[str] = field(default_factory=Counter)
    words: Counter[str] = field(default_factory=Counter)
    lengths: dict[str, list[int]] = field(default_factory=lambda: {side: [] for side in SIDES})
    longer: float = 0.0  # pairs whose chosen answer is the longer one; a tie is half a pair

    def add(self, pair: Pair) -> None:
        """Count a pair."""
        self.rows[pair.id] += 1
        self.by_prompt[prompt_digest(pair.prompt)].add(pair.id)
        self.sources[pair.source] += 1
        texts = [text_of(getattr(pair, side)) for side in SIDES]
        self.words.update(set(words(texts[1])))
        sizes = [count_words(text) for text in texts]
        for side, size in zip(SIDES, sizes, strict=True):
            self.lengths[side].append(size)
        self.longer += 0.5 if sizes[1] == sizes[2] else float(sizes[1] > sizes[2])

    @property
    def total(self) -> int:
        """Rows, repeated ones counted as often as they occur."""
        return self.rows.total()


def diff_versions(store: Store, before: str, after: str) -> DatasetDiff:
    """Compare two versions, of one data set or of two; rows that were forgotten since are in neither."""
    first, second = (find(store, parse(named)) for named in (before, after))
    old, new = (_contents(version) for version in (first, second))
    both = old.by_prompt.keys() & new.by_prompt.keys()
    diff = DatasetDiff(
        before=first.ref,
        after=second.ref,
        rows=NumberMove(name="rows", before=old.total, after=new.total),
        rows_new=len(new.rows.keys() - old.rows.keys()),
        rows_gone=len(old.rows.keys() - new.rows.keys()),
        rows_same=len(old.rows.keys() & new.rows.keys()),
        prompts=NumberMove(name="prompts", before=len(old.by_prompt), after=len(new.by_prompt)),
        prompts_new=len(new.by_prompt.keys() - both),
        prompts_gone=len(old.by_prompt.keys() - both),
        prompts_changed=sum(old.by_prompt[prompt] != new.by_prompt[prompt] for prompt in both),
        sources=list(_sources(old, new)),
        lengths=list(_lengths(old, new)),
        words=_words(old, new),
        says=[],
    )
    return diff.model_copy(update={"says": list(_sentences(diff))})


def _contents(version: DatasetVersion) -> Contents:
    found = Contents()
    for pair in rows_left(version):
        if pair is not None:
            found.add(pair)
    if not found.total:
        says, do = "every row of it was forgotten: there is nothing to compare", "compare another version"
        raise InputError(says, where=version.ref, do=do)
    return found


def _sources(old: Contents, new: Contents) -> Iterator[NumberMove]:
    for name in sorted(old.sources.keys() | new.sources.keys()):
        if old.sources[name] != new.sources[name]:
            yield NumberMove(name=name, before=old.sources[name], after=new.sources[name])


def _lengths(old: Contents, new: Contents) -> Iterator[NumberMove]:
    for side in SIDES:
        yield NumberMove(
            name=f"{side}, median words", before=median(old.lengths[side]), after=median(new.lengths[side])
        )
    name = "chosen is longer, share of pairs"
    yield NumberMove(name=name, before=old.longer / old.total, after=new.longer / new.total)


def _words(old: Contents, new: Contents) -> list[NumberMove]:
    """Words of the chosen answers, those first whose share moved most."""
    moves = (
        NumberMove(name=word, before=old.words[word] / old.total, after=new.words[word] / new.total)
        for word in old.words.keys() | new.words.keys()
    )
    told = [move for move in moves if abs(move.after - move.before) >= LEAST]
    return sorted(told, key=lambda move: (-abs(move.after - move.before), move.name))[:WORDS]


def _sentences(diff: DatasetDiff) -> Iterator[str]:
    if not (diff.rows_new or diff.rows_gone or diff.rows.before != diff.rows.after):
        yield "the same rows"
        return
    yield f"{diff.rows_new} rows came, {diff.rows_gone} went, {diff.rows_same} are in both"
    changed = f"{diff.prompts_changed} have other answers than before"
    yield f"{diff.prompts_new} prompts came, {diff.prompts_gone} went, {changed}"
    for move in diff.lengths:
        if move.before != move.after:
            yield f"{move.name}: {move.before:.4g} before, {move.after:.4g} now"
