"""The pairs of a run as it would train on them: read, split and encoded as the data check does, many of them by lot."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpo_core.data.pairs import EncodedPair, Example, examples_of
from dpo_core.data.splits import held_out_rows
from dpo_core.errors import InputError
from dpo_core.evaluate.unseen import count_groups
from dpo_core.recipe import Recipe
from infra.registry.versions import parse
from infra.settings import Settings
from infra.store import open_store
from tasks.data_check.encoding import encode
from tasks.data_check.rows import Normalised, Quarantine, normalise_sources
from tasks.data_check.sides import recorded_sides
from tasks.runtime.scratch import scratch_folder
from tasks.runtime.sources import local_source

ENCODED = 4096  # pairs of a side that are encoded; of more, so many evenly spaced ones
LONGEST = 32  # and the longest ones
AT_MOST = (
    "retrain.start: champion: the training is taken to be that of a first run, on all pairs; over a champion it is on "
    "the pairs new to it, and on retrain.replay of the others"
)


@dataclass(frozen=True)
class Rows:
    """The pairs that are trained on and held out, or a sample of them; `pairs` and `held_out_pairs` are of all.

    `left_out`: share of the sample that is too long, or that no template writes.
    """

    train: list[Example]
    held_out: list[Example]
    pairs: int
    held_out_pairs: int
    held_out_prompts: int
    left_out: float


def rows_of(recipe: Recipe, tokenizer: Path, trusted_code: str | None, settings: Settings) -> Rows:
    """Raises InputError for pairs that cannot be used."""
    named = [name for name in (recipe.data.train, recipe.data.eval) if name is not None]
    names = [local_source(name, settings.home) for name in named]
    with scratch_folder(settings.home) as scratch:
        quarantine, workers = Quarantine(scratch / "quarantine.jsonl"), settings.num_threads
        data = normalise_sources(names, scratch, quarantine, workers=workers, turns=recipe.data.text == "turns")
        held_out = _held_out(data, recipe, settings)
        sides = []
        for rows in (np.flatnonzero(~held_out), np.flatnonzero(held_out)):
            some = _sample(rows, np.diff(data.spool.offsets))
            pairs = data.spool.pairs(some.tolist())
            encoded = encode(pairs, recipe.encoding, str(tokenizer), trusted_code)[0]
            sides.append((rows, some, encoded))
        (train, tried, encoded), (kept_out, _, asked) = sides
        if not encoded:
            do = "see `dpo check` on this recipe: it names the reason of each row"
            raise InputError("no row is left to train on", where=recipe.data.train, do=do)
        fits = len(encoded) / len(tried)
        prompts = count_groups([pair.prompt for pair in data.spool.pairs(kept_out.tolist())])
    counts = {"pairs": round(len(train) * fits), "held_out_pairs": len(kept_out), "held_out_prompts": prompts}
    return Rows(_examples(encoded), _examples(asked), left_out=1 - fits, **counts)


def from_champion(recipe: Recipe) -> list[str]:
    """What to know of a run that starts from the version in use: its rows are at most these."""
    return [AT_MOST] if recipe.retrain.start == "champion" else []


def _examples(encoded: Sequence[EncodedPair]) -> list[Example]:
    """As the training process reads them; who takes a step has them scored first."""
    nothing = [[0.0] * len(encoded)] * 2
    return examples_of(encoded, nothing, nothing)


def _held_out(data: Normalised, recipe: Recipe, settings: Settings) -> NDArray[np.bool_]:
    if recipe.data.eval is not None:
        return np.asarray(data.origins == 1)
    start = [parse(recipe.model)[0]] if recipe.model.startswith("models:/") else []
    known, _ = recorded_sides(open_store(settings), list(dict.fromkeys([recipe.name, *start])))
    return held_out_rows(data.questions, data.groups.first, known)


def _sample(rows: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Some of the rows, in their order."""
    if len(rows) <= ENCODED:
        return rows
    spaced = rows[np.linspace(0, len(rows) - 1, ENCODED).round().astype(np.int64)]
    longest = rows[np.argsort(lengths[rows])[-LONGEST:]]
    return np.union1d(spaced, longest)
