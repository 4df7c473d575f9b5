"""Pairs from what people said of served answers: a curation without prompts of its own."""

import logging
import time
from collections import Counter
from collections.abc import Mapping

from prefect import task
from prefect.cache_policies import NO_CACHE

from dpo_core.curate.remarks import RemarkRules
from dpo_core.errors import InputError
from infra.settings import load_settings
from infra.store import open_store
from infra.tracking.runs import attach_run
from tasks.curate.feedback import pairs_of_traces
from tasks.curate.pair import pair_output
from tasks.curate.records import CurationPlan, Paired
from tasks.curate.ways.grow import latest
from tasks.records import Stage

log = logging.getLogger("dpo.curate")


@task(name="pair", cache_policy=NO_CACHE)
def pair_feedback(plan: CurationPlan) -> Paired:
    """The pairs of all traces that no version holds yet, behind those of the latest version."""
    start = time.monotonic()
    feedback = plan.curation.feedback
    assert feedback is not None, "the recipe asks for feedback"
    store = open_store(load_settings(), patient=True)
    found = pairs_of_traces(
        store,
        feedback.traces,
        personal_data=feedback.personal_data,
        rules=RemarkRules(scale=feedback.scale),
        experiment=feedback.experiment,
    )
    before = latest(plan, store)
    made = found.made
    dropped = Counter(item.reason for item in (*made.quarantined, *made.dropped))
    dropped.update(trace.reason for trace in found.refused)
    run = attach_run(plan.run_id)
    run.json("traces_left_out.json", found.left_out())
    if before is None and not made.pairs:
        says = "; ".join(f"{count}: {reason}" for reason, count in dropped.most_common()) or "there is no feedback yet"
        do = "leave feedback or an expectation on some traces, on MLflow's page or through its API (docs/serving.md)"
        raise InputError(f"no pair came of the traces ({says})", where=f"traces of {feedback.traces}", do=do)
    told = {"dropped": dict(dropped), "notes": _notes(made.counts), "trace_ids": list(made.used)}
    output = pair_output(store, before, made.pairs, told)
    run.metrics({"pairs": output.pairs, "pairs/new": output.new})
    log.info("feedback_paired pairs=%d new=%d left_out=%d", output.pairs, output.new, sum(dropped.values()))
    return Paired(**dict(output), stage=Stage(name="pair", cached=False, seconds=time.monotonic() - start))


def _notes(counts: Mapping[str, int]) -> list[str]:
    """What gave no pair for want of a remark that counts: nobody shall wonder where it went."""
    told = ("waiting", "remarks", "neither")
    return [
        f"{what}: {count}" for what, count in sorted(counts.items()) if count and any(word in what for word in told)
    ]
