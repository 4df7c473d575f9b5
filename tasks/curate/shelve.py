"""The checked pairs as a version of the data set, and the curation as one document."""

import logging

from prefect import task
from prefect.cache_policies import NO_CACHE

from dpo_core.data.digests import digest_json
from dpo_core.rewards.reward_file import ENDPOINT
from infra.datasets.manifest import DatasetSource, DatasetVersion, MadeBy
from infra.settings import load_settings
from infra.store import open_store
from infra.store.base import Store
from infra.tracking.runs import attach_run
from tasks.curate.documents import CurateDocument, SpentLine
from tasks.curate.endpoints import open_endpoint
from tasks.curate.feedback import mark_used
from tasks.curate.records import Answered, CurationPlan, Gathered, Paired, PairsChecked, ShelvedVersion
from tasks.curate.ways.grow import CURATE, latest
from tasks.datasets.write import put_version
from tasks.documents import StageLine
from tasks.runtime.pairs import stored_pairs
from tasks.runtime.provenance import user

log = logging.getLogger("dpo.curate")
DATASET = "dpo.dataset_made"  # tag of a run


@task(name="shelve", cache_policy=NO_CACHE)
def shelve(plan: CurationPlan, paired: Paired, checked: PairsChecked) -> ShelvedVersion:
    """The pairs as the next version of the data set; the version that holds exactly them, where there is one.

    Only then are traces that they were made of used up.
    """
    store = open_store(load_settings(), patient=True)
    pairs = stored_pairs(store, checked.rows_key)
    digest, way = digest_json(plan.content), plan.curation.way
    made = MadeBy(user=user(), how=CURATE, way=way, curation_sha256=digest, run_id=plan.run_id)

    def complete(draft: DatasetVersion) -> DatasetVersion:
        sources = tuple(
            DatasetSource(source=name or plan.name, rows=rows, licence=plan.curation.licence)
            for name, rows in draft.by_source.items()
        )
        return draft.model_copy(update={"sources": sources})

    before = latest(plan, store)
    parents = [before] if before is not None else []
    notes = f"{plan.curation.way}; answers of {plan.model}"
    version, new = put_version(store, plan.name, pairs, parents=parents, made_by=made, notes=notes, complete=complete)
    if plan.curation.feedback is not None and plan.curation.feedback.traces is not None:
        kept = {trace for pair in pairs for trace in pair.meta.get("traces", ())}  # not those that the check refused
        mark_used(store, plan.curation.feedback.traces, kept & set(paired.trace_ids), version.ref)
    run = attach_run(plan.run_id)
    run.tags({DATASET: version.ref})
    run.json("dataset.json", version.model_dump(mode="json"))
    log.info("shelved dataset=%s rows=%d new=%d", version.ref, version.rows, new)
    return ShelvedVersion(ref=version.ref, number=version.number, rows=version.rows, sha256=version.sha256, new=new)


def document_of(
    plan: CurationPlan,
    gathered: Gathered | None,
    answered: Answered | None,
    paired: Paired,
    checked: PairsChecked,
    shelved: ShelvedVersion,
) -> CurateDocument:
    """The document of `dpo curate --json`."""
    stages = [part.stage for part in (gathered, answered, paired, checked) if part is not None]
    return CurateDocument(
        dataset=shelved.ref,
        changed=shelved.new,
        rows=shelved.rows,
        new=paired.new,
        way=plan.curation.way,
        model=plan.model,
        prompts=gathered.prompts if gathered else paired.new + sum(paired.dropped.values()),
        answers=answered.answers if answered else len(paired.trace_ids) + paired.judged,
        pilot=answered.pilot if answered else "",
        left_out=gathered.left_out if gathered else {},
        dropped=paired.dropped,
        notes=paired.notes,
        facts=paired.facts,
        changes=paired.changes,
        judges=paired.judges,
        spent=_spent(plan, open_store(load_settings(), patient=True)),
        verdict=checked.verdict,
        report=checked.report,
        mlflow_run_id=plan.run_id,
        stages=[StageLine.of(stage) for stage in stages],
    )


def _spent(plan: CurationPlan, store: Store) -> list[SpentLine]:
    """Of each endpoint that the recipe uses; what they spend is counted together."""
    used = {model for model in plan.curation.models.values() if model.startswith(ENDPOINT)}
    lines = []
    for model in sorted(used):
        endpoint = open_endpoint(plan.reach, store, model)
        spent = endpoint.spent()
        endpoint.close()
        name = model.removeprefix(ENDPOINT)
        lines.append(SpentLine(endpoint=name, calls=spent.calls, tokens=spent.tokens, in_doubt=spent.in_doubt))
    return lines
