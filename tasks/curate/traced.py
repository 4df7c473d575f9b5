"""Pairs from what people said, of served answers or on a page: a curation without prompts of its own."""

import logging
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from dpo_core.curate.curation import Feedback
from dpo_core.curate.judged import pairs_of_judgements
from dpo_core.curate.remarks import RemarkRules
from dpo_core.data.pairs import Pair
from dpo_core.errors import InputError
from dpo_core.judging.lines import read_judged
from infra.settings import load_settings
from infra.store import open_store
from infra.store.base import Store
from infra.traces import since_days
from infra.tracking.run import Run
from infra.tracking.runs import attach_run
from tasks.curate.feedback import pairs_of_traces
from tasks.curate.pair import pair_output
from tasks.curate.records import CurationPlan, Paired
from tasks.curate.ways.grow import latest
from tasks.records import Stage

log = logging.getLogger("dpo.curate")


@task(name="pair", cache_policy=NO_CACHE)
def pair_feedback(plan: CurationPlan) -> Paired:
    """The pairs of what people said; of traces those that no version holds yet, behind those of the latest version."""
    start = time.monotonic()
    feedback = plan.curation.feedback
    assert feedback is not None, "the recipe asks for feedback"
    store, run = open_store(load_settings(), patient=True), attach_run(plan.run_id)
    before = latest(plan, store)
    pairs, told = _of_judgements(feedback) if feedback.judgements else _of_traces(feedback, store, run)
    if before is None and not pairs:
        counts = Counter(told["dropped"]).most_common()
        says = "; ".join(f"{count}: {reason}" for reason, count in counts) or "there is no feedback yet"
        where, do = f"traces of {feedback.traces}", "leave feedback or an expectation on some traces, on MLflow's page "
        do += "or through its API (docs/serving.md)"
        if feedback.judgements:
            where, do = ", ".join(feedback.judgements), "judge on with `dpo judge`, or settle what people disagree on"
        raise InputError(f"no pair came of the feedback ({says})", where=where, do=do)
    output = pair_output(store, before, pairs, told)
    run.metrics({"pairs": output.pairs, "pairs/new": output.new})
    left_out = sum(told["dropped"].values())
    log.info("feedback_paired pairs=%d new=%d left_out=%d", output.pairs, output.new, left_out)
    return Paired(**dict(output), stage=Stage(name="pair", cached=False, seconds=time.monotonic() - start))


def _of_judgements(feedback: Feedback) -> tuple[tuple[Pair, ...], dict[str, Any]]:
    made = pairs_of_judgements(read_judged(feedback.judgements), personal_data=feedback.personal_data)
    return made.pairs, {"dropped": made.dropped, "notes": [], "judged": made.answers}


def _of_traces(feedback: Feedback, store: Store, run: Run) -> tuple[tuple[Pair, ...], dict[str, Any]]:
    assert feedback.traces is not None, "the recipe names traces"
    found = pairs_of_traces(
        store,
        feedback.traces,
        personal_data=feedback.personal_data,
        rules=RemarkRules(scale=feedback.scale),
        experiment=feedback.experiment,
        since=since_days(feedback.days),
    )
    made = found.made
    dropped = Counter(item.reason for item in (*made.quarantined, *made.dropped))
    dropped.update(trace.reason for trace in found.refused)
    run.json("traces_left_out.json", found.left_out())
    return made.pairs, {"dropped": dict(dropped), "notes": _notes(made.counts), "trace_ids": list(made.used)}


def _notes(counts: Mapping[str, int]) -> list[str]:
    """What gave no pair for want of a remark that counts: nobody shall wonder where it went."""
    told = ("waiting", "remarks", "neither")
    return [
        f"{what}: {count}" for what, count in sorted(counts.items()) if count and any(word in what for word in told)
    ]
