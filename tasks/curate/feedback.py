"""Pairs from the traces of a served version, and which traces are used up.

A trace counts as used from when the data set version that holds its pair is complete: `mark_used` comes after it. What
is killed between the two makes the same pairs of the same traces again, which are the version that is there already.
"""

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

from dpo_core.curate.feedback import FeedbackPairs, TracedAnswer, pairs_of_feedback
from dpo_core.curate.personal import PersonalData
from dpo_core.curate.remarks import RemarkRules, Said
from dpo_core.quality.text.redaction import redact
from infra.store.base import Store
from infra.traces import RefusedTrace, ServedAnswer, served_answers

log = logging.getLogger("dpo.curate")


@dataclass(frozen=True)
class TracedFeedback:
    """The pairs of a model's traces, and the traces that are no answers."""

    made: FeedbackPairs
    refused: tuple[RefusedTrace, ...]

    def left_out(self) -> list[dict[str, str]]:
        """Every trace without a pair and why, as it is written down beside a run; no personal data."""
        aside = [*self.made.quarantined, *self.made.dropped]
        rows = [(name, item.reason) for item in aside for name in item.trace_ids]
        rows += [(trace.trace_id, trace.reason) for trace in self.refused]
        return [{"trace": name, "reason": redact(reason)} for name, reason in rows]


def pairs_of_traces(
    store: Store,
    name: str,
    *,
    personal_data: PersonalData = "mask",
    rules: RemarkRules | None = None,
    experiment: str | None = None,
    since: int = 0,
) -> TracedFeedback:
    """Pairs from what people said of the answers of the registered model `name`, where MLFLOW_TRACKING_URI points.

    Traces that an earlier version of a data set holds are left out. Raises ObjectMissing where nothing was recorded.
    """
    used_before = used(store, name)
    answers: list[TracedAnswer] = []
    refused: list[RefusedTrace] = []
    for found in served_answers(name, experiment=experiment, since=since, skip=used_before.__contains__):
        if isinstance(found, RefusedTrace):
            refused.append(found)
        else:
            answers.append(_traced(found))
    made = pairs_of_feedback(answers, source=f"traces:{name}", rules=rules, personal_data=personal_data)
    says = "feedback_read traces=%d pairs=%d quarantined=%d refused=%d used_before=%d"
    log.info(says, len(answers), len(made.pairs), len(made.quarantined), len(refused), len(used_before))
    return TracedFeedback(made, tuple(refused))


def used(store: Store, name: str) -> frozenset[str]:
    """Traces of the model that some version of a data set holds."""
    return frozenset(
        trace for key in store.list(f"{_place(name)}/") for trace in json.loads(store.get_bytes(key))["traces"]
    )


def mark_used(store: Store, name: str, trace_ids: Iterable[str], version: str) -> None:
    """Put on record that the finished data set version `version` (dataset:NAME@NUMBER) holds pairs of these traces.

    Done again it changes nothing.
    """
    record = {"version": version, "traces": sorted(set(trace_ids))}
    if record["traces"]:
        key = f"{_place(name)}/{quote(version, safe='')}.json"
        store.put_bytes(key, json.dumps(record, sort_keys=True).encode())


def _place(name: str) -> str:
    return f"curate/traces/{quote(name, safe='')}"


def _traced(answer: ServedAnswer) -> TracedAnswer:
    return TracedAnswer(
        trace_id=answer.trace_id,
        when=answer.when,
        messages=answer.messages,
        answer=answer.answer,
        model=f"{answer.model}/{answer.version}" if answer.version else answer.model,
        ended=answer.ended,
        tools=answer.tools,
        feedback=tuple(Said(*remark) for remark in answer.feedback),
        expectations=tuple(Said(*remark) for remark in answer.expectations),
    )
