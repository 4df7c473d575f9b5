"""The prompts that a curation leaves alone: what the run that trains on its pairs asks afterwards, or holds out."""

from collections.abc import Mapping
from pathlib import Path

from dpo_core.curate.curation import Curation
from dpo_core.curate.prompt_set import KeptOut
from dpo_core.curate.prompts import read_items
from dpo_core.data.digests import digest_file, digest_json
from dpo_core.data.pairs import Pair
from dpo_core.data.readers import stream_rows
from dpo_core.data.splits import SplitSides
from dpo_core.errors import InputError
from dpo_core.evaluate.behaviour import read_checks
from dpo_core.quality.postings import PromptIndex
from dpo_core.quality.prompts.index import HELD_OUT, index_prompts
from dpo_core.recipe import Recipe
from dpo_core.recipe_file import load_recipe
from infra.registry.versions import parse
from infra.settings import load_settings
from infra.store.base import Store
from tasks.curate.records import CurationPlan
from tasks.data_check.sides import recorded_sides
from tasks.runtime.sources import local_source, version_of_source


def run_of(curation: Curation) -> Recipe | None:
    """The run that trains on the pairs, where the recipe names it. Raises InputError."""
    run = load_recipe(curation.run).recipe if curation.run else None
    for name, path in (run.evaluation.suites if run else {}).items():
        if not Path(path).is_file():
            do = f"check the path; it is meant from the folder of {curation.run}"
            raise InputError("a suite of the run that trains on the pairs is missing", where=f"{name}: {path}", do=do)
    return run


def kept_out_by(curation: Curation, run: Recipe, model: str, store: Store) -> dict[str, str]:
    """Digests of what a run keeps out; they change when that does. `model`: who answers."""
    found = {name: digest_file(Path(path)) for name, path in run.evaluation.suites.items()}
    if run.data.eval is None:
        return found
    record = _record(curation, run, model, store)
    found["record"] = digest_json(record.keys[record.held_out].tolist())
    return found | {"eval": version_of_source(run.data.eval)}


def kept_out(plan: CurationPlan, store: Store) -> KeptOut:
    """What the curation names, and what its run keeps.

    The record counts where the run has held-out pairs of its own: else these are a tenth of what is curated here.
    """
    prompts, run = plan.curation.prompts, plan.run
    assert prompts is not None, "the recipe asks for prompts"
    named = named_indexes(prompts.keep_out)
    if run is None:
        return KeptOut(named)
    asked = suite_indexes(run.evaluation.suites)
    if run.data.eval is None:
        return KeptOut([*named, *asked])
    rows = stream_rows(local_source(run.data.eval, load_settings().home))
    held_out = index_prompts(HELD_OUT, (row.prompt for row in rows if isinstance(row, Pair)))
    return KeptOut([held_out, *named, *asked], _record(plan.curation, run, plan.model, store))


def suite_indexes(suites: Mapping[str, str]) -> list[PromptIndex]:
    """The questions of a run's suites."""
    return [
        index_prompts(f"suite_{name}", (check.prompt for check in read_checks(file))) for name, file in suites.items()
    ]


def named_indexes(files: Mapping[str, str]) -> list[PromptIndex]:
    """The prompts of `keep_out`."""
    read = {name: read_items(file).items for name, file in files.items()}
    return [index_prompts(f"benchmark_{name}", (item.prompt for item in items)) for name, items in read.items()]


def _record(curation: Curation, run: Recipe, model: str, store: Store) -> SplitSides:
    """Of the run's model, and of the one that it starts from: in rounds the one that answers."""
    start = model if curation.rounds else run.model
    names = [run.name, *([parse(start)[0]] if start.startswith("models:/") else [])]
    return recorded_sides(store, list(dict.fromkeys(names)))[0]
