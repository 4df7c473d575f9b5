"""From answers, or from feedback, to pairs: by the one way that the recipe names."""

import logging
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256

from prefect import task
from prefect.cache_policies import NO_CACHE

from dpo_core.curate.prompts import PromptItem
from dpo_core.data.pairs import Pair, lines_of
from infra.datasets.manifest import DatasetVersion
from infra.settings import load_settings
from infra.store import open_store
from infra.store.base import Store
from infra.tracking.runs import attach_run
from tasks.curate.answer_store import AnswerStore, StoredAnswer
from tasks.curate.prompts import stored_prompts
from tasks.curate.records import Answered, CurationPlan, Gathered, Paired, PairOutput
from tasks.curate.ways.choose import chosen_pairs
from tasks.curate.ways.correct import corrected_pairs
from tasks.curate.ways.grow import grown, latest
from tasks.runtime.stages import remembered

log = logging.getLogger("dpo.curate")
CODE = ("tasks.curate.pair",)
Known = Mapping[tuple[str, int], StoredAnswer]
Maker = Callable[[CurationPlan, Store, Sequence[PromptItem], Known], tuple[list[Pair], dict[str, object]]]
MAKERS: dict[str, Maker] = {"rewards": chosen_pairs, "correction": corrected_pairs}


@task(name="pair", cache_policy=NO_CACHE)
def pair_answers(plan: CurationPlan, gathered: Gathered, answered: Answered) -> Paired:
    """Make the pairs, and count what gave none. Raises InputError where none comes of it."""
    store = open_store(load_settings(), patient=True)
    before = latest(plan, store)
    inputs = {"content": plan.content, "prompts": gathered.key, "answers": [answered.path, answered.sha256]}
    inputs |= {"grown_from": before.sha256} if before else {}

    def compute() -> PairOutput:
        items = stored_prompts(store, gathered.key)
        shelf = AnswerStore(store, answered.path)
        pairs, told = MAKERS[plan.curation.way](plan, store, items, shelf.read())
        return pair_output(store, before, pairs, {**told, "answers": shelf.folder})

    output, stage = remembered(
        store,
        "pair",
        inputs,
        compute,
        output=PairOutput,
        code=CODE,
        force=plan.force,
        there=lambda output: store.exists(output.key),
        lasting=lambda output: not output.refused,
    )
    for note in output.notes:
        log.warning("choice says='%s'", note)
    run = attach_run(plan.run_id)
    run.metrics({"pairs": output.pairs, **({} if output.facts is None else _watched(output))})
    run.json("choice.json", output.model_dump(mode="json"))
    log.info("paired pairs=%d without=%d", output.pairs, sum(output.dropped.values()))
    return Paired(**dict(output), stage=stage)


def pair_output(
    store: Store, before: DatasetVersion | None, pairs: Sequence[Pair], told: Mapping[str, object]
) -> PairOutput:
    """Store the pairs, behind those of the version that they are added to."""
    held, fresh = grown(before, pairs)
    data, _ = lines_of([*held, *fresh])
    key = f"data/{sha256(data).hexdigest()}/pairs.jsonl"
    store.put_bytes(key, data)
    return PairOutput(key=key, pairs=len(held) + len(fresh), new=len(fresh), **told)


def _watched(output: PairOutput) -> dict[str, float]:
    assert output.facts is not None
    found = output.facts.model_dump(exclude={"number", "answers"})
    return {f"answers/{name}": value for name, value in found.items() if value == value}
