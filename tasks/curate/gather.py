"""The prompts of a curation: read, none twice, none that is kept out, a share a source."""

import logging
from hashlib import sha256

from prefect import task
from prefect.cache_policies import NO_CACHE

from dpo_core.curate.prompt_set import TRACES, PromptDraw, PromptSet, PromptSource, gather
from dpo_core.curate.prompts import read_items
from dpo_core.quality.text.redaction import redact
from infra.settings import load_settings
from infra.store import open_store
from infra.tracking.runs import attach_run
from tasks.curate.kept_out import kept_out
from tasks.curate.prompts import prompt_lines, put_prompts
from tasks.curate.records import CurationPlan, Gathered, GatherOutput
from tasks.curate.traced_prompts import prompts_file
from tasks.runtime.stages import remembered

log = logging.getLogger("dpo.curate")
CODE = ("tasks.curate.gather",)
UNREADABLE = "the row is no prompt"


@task(name="gather", cache_policy=NO_CACHE)
def gather_prompts(plan: CurationPlan) -> Gathered:
    """Read every source, and draw. What is left out is written down with its reason, beside the run."""
    prompts = plan.curation.prompts
    assert prompts is not None, "the recipe asks for prompts unless feedback gives them"
    store = open_store(load_settings(), patient=True)
    inputs = {"prompts": plan.content["prompts"], "seed": plan.curation.seed}
    inputs |= {"kept_out": plan.kept_out} if plan.kept_out else {}

    def compute() -> GatherOutput:
        home = load_settings().home
        files = [prompts_file(source, plan.sources[source.path], home) for source in prompts.sources]
        named = zip(prompts.sources, files, strict=True)
        read = [(source, read_items(file, source.name or _named(source))) for source, file in named]
        draw = PromptDraw(count=prompts.count, near=prompts.near, seed=plan.curation.seed)
        found = gather([(source, given.items) for source, given in read], draw, kept_out(plan, store))
        bad = [row for _, given in read for row in given.quarantined]
        rows = [{"where": row.where, "reason": row.reason, "row": redact(row.row)} for row in bad]
        rows += [{"where": item.where, "reason": reason} for item, reason in found.left_out]
        attach_run(plan.run_id).json("prompts_left_out.json", rows)
        key = _key(found)
        put_prompts(store, key, found.items)
        left_out = found.reasons | ({UNREADABLE: len(bad)} if bad else {})
        return GatherOutput(key=key, prompts=len(found.items), by_source=found.sources, left_out=left_out)

    output, stage = remembered(
        store,
        "gather",
        inputs,
        compute,
        output=GatherOutput,
        code=CODE,
        force=plan.force,
        there=lambda output: store.exists(output.key),
    )
    log.info("prompts_gathered prompts=%d left_out=%d", output.prompts, sum(output.left_out.values()))
    return Gathered(**dict(output), stage=stage)


def _named(source: PromptSource) -> str:
    """Of prompts that were traces; the name of a file is the file's own."""
    return source.path if source.path.startswith(TRACES) else ""


def _key(found: PromptSet) -> str:
    rows = ([item.key, item.source, item.where, dict(item.wanted)] for item in found.items)
    return f"data/{sha256(prompt_lines(rows)).hexdigest()}/prompts.jsonl"
