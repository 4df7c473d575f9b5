"""The answers that a served version gave, as MLflow recorded them, with what people said of them.

`infra/registry/served_traces.py` writes such traces; what an application of one's own records through MLflow's tracing
of OpenAI's client has the same shape.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from infra.errors import ObjectMissing
from infra.secrets import without_secrets
from infra.tracking.client import client_of, mlflow_errors, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Assessment, TraceInfo

PAGE = 200  # traces a request
AT_ONCE = 8  # requests for what a trace holds: MLflow gives that one by one
DAY_S = 24 * 3600
MODEL, VERSION, WEIGHTS = "dpo.model", "dpo.version", "dpo.weights_sha256"  # tags of a trace


class Remark(NamedTuple):
    """What somebody said of an answer: feedback or an expected answer. `when`: ms since 1970, of its last change."""

    name: str
    value: object
    by: str
    kind: str  # human, code or llm_judge
    when: int


@dataclass(frozen=True)
class ServedAnswer:
    """One trace: the prompt as it was sent, the answer, the version that gave it, and what was said of it.

    `when`: ms since 1970. `ended` is false where the answer was cut off by the length that was asked for.
    """

    trace_id: str
    when: int
    messages: tuple[Mapping[str, object], ...]
    answer: str
    model: str
    version: str
    weights_sha256: str
    ended: bool = True
    tools: tuple[Mapping[str, object], ...] = ()
    feedback: tuple[Remark, ...] = ()
    expectations: tuple[Remark, ...] = ()


class RefusedTrace(NamedTuple):
    """A trace that is no answer to a prompt, and why."""

    trace_id: str
    when: int
    reason: str


def experiment_of(name: str) -> str:
    """The experiment that a served version of this registered model records in, unless its environment names one."""
    return f"{name} served"


def since_days(days: int | None) -> int:
    """The beginning of the day (UTC) so many days before today, in ms since 1970: the same all day. None: 0."""
    today = time.time() // DAY_S
    return 0 if days is None else int(today - days) * DAY_S * 1000


def served_answers(
    name: str,
    *,
    uri: str | None = None,
    experiment: str | None = None,
    since: int = 0,
    remarked: bool = True,
    skip: Callable[[str], bool] = lambda trace_id: False,
) -> Iterator[ServedAnswer | RefusedTrace]:
    """The traces of a registered model's answers from `since` (ms since 1970) on, oldest first.

    `when` of the last one is where to go on. Of traces for which `skip` is true, and with `remarked` of those that
    nobody said anything of, only the entry is read and nothing is returned. Traces of other models in the experiment
    are passed over. Raises ObjectMissing where the experiment (default: `experiment_of`) is not there.
    """
    client, title = client_of(uri or tracking_uri()), experiment or experiment_of(name)
    with mlflow_errors(f"look up the experiment {title}"):
        found = client.get_experiment_by_name(title)
    if found is None:
        do = "serve a version with MLFLOW_TRACKING_URI set, or name the experiment that holds its traces"
        raise ObjectMissing(f"there is no experiment {title!r}", where=without_secrets(client.tracking_uri), do=do)

    def wanted(info: "TraceInfo") -> bool:
        ours = info.tags.get(MODEL, name) == name and not skip(info.trace_id)
        return ours and (not remarked or bool(_remarks(info)))

    def read(info: "TraceInfo") -> ServedAnswer | RefusedTrace:
        with mlflow_errors(f"read the trace {info.trace_id}"):
            return _answer_of(client, info, name)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for page in _pages(client, str(found.experiment_id), since):
            yield from pool.map(read, filter(wanted, page))


def _pages(client: "MlflowClient", experiment: str, since: int) -> Iterator[list["TraceInfo"]]:
    """Entries without spans, page by page, oldest first: what comes meanwhile comes at the end."""
    token = None
    while True:
        with mlflow_errors("list the traces"):
            page = client.search_traces(
                locations=[experiment],
                filter_string=f"trace.timestamp_ms >= {since}",
                order_by=["timestamp_ms ASC"],
                max_results=PAGE,
                page_token=token,
                include_spans=False,
            )
        yield [trace.info for trace in page]
        token = page.token
        if not token:
            return


def _remarks(info: "TraceInfo") -> list["Assessment"]:
    """What was said and not taken back."""
    return [remark for remark in info.assessments or [] if remark.valid is not False]


def _answer_of(client: "MlflowClient", info: "TraceInfo", name: str) -> ServedAnswer | RefusedTrace:
    remarks = _remarks(info)
    state = str(getattr(info.state, "value", info.state))
    if state != "OK":
        said = {"ERROR": "the answer ended in an error", "IN_PROGRESS": "the answer has not ended, or its end was lost"}
        return RefusedTrace(info.trace_id, info.request_time, said.get(state, f"its state is {state}"))
    root = _root(client, info.trace_id)
    if root is None:
        return RefusedTrace(info.trace_id, info.request_time, "it has no root span: its content was never delivered")
    inputs, outputs = root
    try:
        messages, tools = _asked(inputs)
        answer, ended = _said(outputs)
    except _OtherSchema as other:
        return RefusedTrace(info.trace_id, info.request_time, str(other))
    return ServedAnswer(
        trace_id=info.trace_id,
        when=info.request_time,
        messages=messages,
        answer=answer,
        model=info.tags.get(MODEL, name),
        version=info.tags.get(VERSION, ""),
        weights_sha256=info.tags.get(WEIGHTS, ""),
        ended=ended,
        tools=tools,
        feedback=tuple(
            _remark(r, r.feedback.value) for r in remarks if r.feedback is not None and not r.feedback.error
        ),
        expectations=tuple(_remark(r, r.expectation.value) for r in remarks if r.expectation is not None),
    )


class _OtherSchema(ValueError):
    """Why inputs or outputs of a trace are no prompt or no answer."""


def _root(client: "MlflowClient", trace_id: str) -> tuple[object, object] | None:
    """Inputs and outputs of the span that has no parent."""
    from mlflow.exceptions import MlflowTraceDataException

    try:
        spans = client.get_trace(trace_id, display=False).data.spans
    except MlflowTraceDataException:  # the entry is there, the content is not, or is damaged
        return None
    return next(((span.inputs, span.outputs) for span in spans if span.parent_id is None), None)


def _asked(inputs: Any) -> tuple[tuple[Mapping[str, object], ...], tuple[Mapping[str, object], ...]]:
    """Messages and tools, as a chat request has them."""
    if not inputs:
        raise _OtherSchema("it has no input")
    messages = inputs.get("messages") if isinstance(inputs, Mapping) else None
    if not isinstance(messages, list) or not messages or not all(isinstance(turn, Mapping) for turn in messages):
        raise _OtherSchema(f"its input is no chat request with messages: {_short(inputs)}")
    tools = inputs.get("tools") or []
    if not isinstance(tools, list) or not all(isinstance(tool, Mapping) for tool in tools):
        raise _OtherSchema(f"its tools are no list of objects: {_short(tools)}")
    return tuple(messages), tuple(tools)


def _said(outputs: object) -> tuple[str, bool]:
    """The text of a chat completion, and whether it ended by itself."""
    if isinstance(outputs, str):
        return outputs, True
    choices = outputs.get("choices") if isinstance(outputs, Mapping) else None
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], Mapping):
        raise _OtherSchema(f"its output is no chat completion with one choice: {_short(outputs)}")
    message = choices[0].get("message")
    text = message.get("content") if isinstance(message, Mapping) else None
    if not isinstance(text, str) or (isinstance(message, Mapping) and message.get("tool_calls")):
        raise _OtherSchema(f"its answer is no text: {_short(message)}")
    return text, choices[0].get("finish_reason") != "length"


def _short(value: object) -> str:
    """What kind of thing it is; never its words, which may be a person's."""
    if isinstance(value, Mapping):
        return f"an object of {', '.join(sorted(map(str, value)))[:100] or 'nothing'}"
    return "null" if value is None else type(value).__name__


def _remark(assessment: "Assessment", value: object) -> Remark:
    source = assessment.source
    kind = str(source.source_type).lower()
    return Remark(assessment.name, value, source.source_id or "default", kind, assessment.last_update_time_ms or 0)
