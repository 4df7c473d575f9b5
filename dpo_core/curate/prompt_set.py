"""Which prompts are answered: none twice, none that is held out or of a benchmark, a share a source, by a hash.

What is drawn depends on a prompt's own text and the seed: prompts that are added move no other, but for the last ones
under a cap.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from dpo_core.curate.personal import PersonalData
from dpo_core.curate.prompts import PromptItem
from dpo_core.data.digests import digest_json
from dpo_core.data.pairs import Message
from dpo_core.data.splits import Keys, SplitSides
from dpo_core.errors import InputError
from dpo_core.quality.checks.leakage import EXACT, NEAR, overlaps
from dpo_core.quality.postings import PromptIndex
from dpo_core.quality.prompts.groups import group_prompts, sketches
from dpo_core.quality.prompts.identity import compared_key, digests, prompt_key, split_key
from dpo_core.quality.prompts.index import HELD_OUT
from dpo_core.recipe_release import Fraction, Section

BLOCK = 250  # prompts compared with an index at once (memory)
EQUAL = "the same prompt as an earlier one"
NEARLY = "nearly the same prompt as an earlier one"
ON_RECORD = "held out by the record of an earlier run"
TRACES = "traces:"  # begins a source that is no path


class PromptSource(Section):
    """Where prompts come from. Paths are relative to the recipe's folder."""

    path: str = Field(
        description="prompts, questions, conversations or pairs: a file (also .txt, a prompt a line), a folder, a "
        "pattern, a Hugging Face data set, dataset:NAME, or traces:NAME (what served versions of a model were asked)"
    )
    name: str = Field("", description="what the source is called in counts; unset: the file's name")
    share: Fraction = Field(1.0, description="share of its prompts, by lot")
    cap: int | None = Field(None, ge=1, description="most of its prompts, by lot; unset: all")
    experiment: str | None = Field(None, description="of traces: their MLflow experiment; unset: the model's own")
    days: int | None = Field(None, ge=1, description="of traces: those of the last so many days (UTC); unset: all")
    personal_data: PersonalData = Field(
        "mask", description="of traces: e-mail, phone and the like in prompts are masked, the prompt refused, or kept"
    )

    @model_validator(mode="after")
    def _days_of_traces(self) -> "PromptSource":
        if self.days is not None and not self.path.startswith(TRACES):
            raise ValueError("days is of traces: leave it out")
        return self


class PromptDraw(Section):
    """Which prompts of all sources are answered."""

    count: int | None = Field(None, ge=1, description="most prompts in all, by lot; unset: all")
    near: Literal["one", "all"] = Field(
        "one", description="prompts that ask nearly the same, whatever the system message: keep the first, or all"
    )
    seed: int = Field(0, ge=0, description="the lot that is drawn")


@dataclass(frozen=True)
class KeptOut:
    """What must not be trained on: prompts as the data check has them, and those that a record holds out."""

    indexes: Sequence[PromptIndex] = ()
    record: SplitSides = field(default_factory=SplitSides.none)


@dataclass(frozen=True)
class PromptSet:
    """Prompts to answer, in the order read; and the others, each with the reason."""

    items: tuple[PromptItem, ...]
    left_out: tuple[tuple[PromptItem, str], ...]

    @property
    def reasons(self) -> dict[str, int]:
        """Prompts left out, by reason, most first."""
        return dict(Counter(reason for _, reason in self.left_out).most_common())

    @property
    def sources(self) -> dict[str, int]:
        """Prompts to answer, by source."""
        return dict(Counter(item.source for item in self.items).most_common())


def gather(
    read: Sequence[tuple[PromptSource, Sequence[PromptItem]]], draw: PromptDraw, out: KeptOut | None = None
) -> PromptSet:
    """The prompts of all sources that are answered, without those that are kept out.

    Of equal or nearly equal prompts the first one, by source, stays. Raises InputError where none is left.
    """
    items = [(source, item) for source, given in read for item in given]
    reasons, out = [""] * len(items), out or KeptOut()
    for step in (_kept_out, _repeated, _nearly_repeated, _not_drawn):
        left = [row for row, reason in enumerate(reasons) if not reason]
        for row, reason in zip(left, step([items[row] for row in left], draw, out), strict=True):
            reasons[row] = reason
    found = PromptSet(
        tuple(item for (_, item), reason in zip(items, reasons, strict=True) if not reason),
        tuple((item, reason) for (_, item), reason in zip(items, reasons, strict=True) if reason),
    )
    if not found.items:
        told = "; ".join(f"{count}: {reason}" for reason, count in found.reasons.items()) or "no source has any"
        where = ", ".join(source.path for source, _ in read) or "the prompts' sources"
        raise InputError(f"no prompt is left of {len(items)} ({told})", where=where, do="add prompts that are new")
    return found


def place(item: PromptItem, seed: int) -> float:
    """Where a prompt's lot lies, in [0, 1): by its text alone, case and spacing aside."""
    return int(digest_json([seed, compared_key(item.prompt)])[:13], 16) / 16**13


def drawn_evenly(items: Sequence[PromptItem], size: int, seed: int) -> list[PromptItem]:
    """So many prompts by lot, each source with its share of them: few tell of all what all would."""
    counts, drawn = Counter(item.source for item in items), Counter[str]()

    def turn(item: PromptItem) -> float:
        drawn[item.source] += 1
        return (drawn[item.source] - 0.5) / counts[item.source]

    return sorted(sorted(items, key=lambda item: place(item, seed)), key=turn)[:size]


Given = Sequence[tuple[PromptSource, PromptItem]]


def record_keys(items: Sequence[PromptItem]) -> Keys:
    """Of each prompt the key by which the record knows it."""
    return digests(split_key(item.prompt) for item in items)


def _kept_out(items: Given, draw: PromptDraw, out: KeptOut) -> list[str]:
    prompts = [item.prompt for _, item in items]
    reasons = [""] * len(items)
    for index in out.indexes:
        what = "a held-out prompt" if index.name == HELD_OUT else f"a prompt of {index.name.replace('_', ' ', 1)}"
        hows = {0: "", EXACT: f"equals {what}", NEAR: f"nearly equals {what}"}
        for row, kind in enumerate(_kinds(prompts, index)):
            reasons[row] = reasons[row] or hows.get(kind, f"holds most of {what}")
    held_out = out.record.of_rows(record_keys([item for _, item in items]))[1].tolist()
    return [reason or (ON_RECORD if mine else "") for reason, mine in zip(reasons, held_out, strict=True)]


def _kinds(prompts: Sequence[Sequence[Message]], index: PromptIndex) -> Iterator[int]:
    for start in range(0, len(prompts), BLOCK):
        yield from overlaps(prompts[start : start + BLOCK], index).tolist()


def _repeated(items: Given, draw: PromptDraw, out: KeptOut) -> list[str]:
    seen = set[str]()
    reasons = []
    for _, item in items:
        key = compared_key(item.prompt)
        reasons.append(EQUAL if key in seen else "")
        seen.add(key)
    return reasons


def _nearly_repeated(items: Given, draw: PromptDraw, out: KeptOut) -> list[str]:
    if draw.near == "all" or not items:
        return [""] * len(items)
    prompts = [item.prompt for _, item in items]
    groups = group_prompts(digests(prompt_key(prompt) for prompt in prompts), sketches(prompts))
    return ["" if first == row else NEARLY for row, first in enumerate(groups.first.tolist())]


def _not_drawn(items: Given, draw: PromptDraw, out: KeptOut) -> list[str]:
    """Shares and caps of each source, then the count of all."""
    places = np.array([place(item, draw.seed) for _, item in items])
    reasons = [""] * len(items)
    by_source = sorted(range(len(items)), key=lambda row: (_id(items[row][0]), places[row]))
    for _, same in groupby(by_source, key=lambda row: _id(items[row][0])):
        rows = list(same)
        source = items[rows[0]][0]
        for rank, row in enumerate(rows):
            if places[row] >= source.share:
                reasons[row] = f"beyond the share of {source.name or source.path}"
            elif source.cap is not None and rank >= source.cap:
                reasons[row] = f"beyond the cap of {source.name or source.path}"
    kept = sorted((row for row, reason in enumerate(reasons) if not reason), key=lambda row: places[row])
    for row in kept[draw.count :] if draw.count is not None else []:
        reasons[row] = "beyond the count of prompts"
    return reasons


def _id(source: PromptSource) -> tuple[str, str]:
    return source.path, source.name
