"""Answers of `mlflow models serve` as traces in a real MLflow server, and what people say of them there."""

import os
import re
import signal
import threading
import time
import urllib.error
import urllib.request
from types import SimpleNamespace

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import AssessmentSource

from dpo_core.curate.curation import Feedback
from dpo_core.curate.prompt_set import PromptSource
from dpo_core.model.identity import digest_weights
from infra import traces
from infra.errors import ObjectMissing, Unavailable
from infra.registry import versions
from infra.store.folder import FolderStore
from infra.traces import DAY_S, RefusedTrace, ServedAnswer, served_answers, since_days
from infra.tracking.client import client_of
from infra.tracking.runs import open_run
from tasks.curate.feedback import mark_used, pairs_of_traces, used
from tasks.curate.traced import _of_traces
from tasks.curate.traced_prompts import _asked
from tests.served import PATIENCE_S, free_port, serving, tracking_server, with_uvicorn
from tests.tiny import build_saying

NAME, MODEL = "athene", "models:/athene/1"
ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who are you?"}]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("traces")


@pytest.fixture(scope="module")
def python(forkserver, place):
    return with_uvicorn(forkserver.python, place)


@pytest.fixture(scope="module")
def tracking(python, place):
    """A tracking server that the environment of this process points to, and its process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DPO_HOME", str(place / "home"))
        patch.setenv("MLFLOW_TRACE_SAMPLING_RATIO", "1")
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        with tracking_server(python, place) as (url, process):
            patch.setenv("MLFLOW_TRACKING_URI", url)
            mlflow.tracing.reset()  # this process records traces too
            yield url, process
            mlflow.tracing.reset()


@pytest.fixture(scope="module")
def version(tracking, place):
    """A registered version that says "mirageBoW" (what is random says nothing): its weights' digest."""
    folder = build_saying(place / "model", "mirage", "BoW")
    run = open_run("train", run_key="traces", run_name="run", artifact_root=None).id
    weights = digest_weights(folder)
    versions.register(NAME, run_id=run, weights_sha256=weights, model_folder=folder, tags={})
    return weights


@pytest.fixture(scope="module")
def served(python, place, version):
    with serving(python, place, MODEL) as answering:
        answering.warm_up()
        yield answering


def found(count, **options):
    """What is read, once `count` traces have come."""
    end = time.monotonic() + PATIENCE_S
    while len(read := list(served_answers(NAME, remarked=False, **options))) < count:
        assert time.monotonic() < end, read
        time.sleep(0.1)
    return read


def trace_of(trace_id):
    end = time.monotonic() + PATIENCE_S
    while True:
        for answer in served_answers(NAME, remarked=False):
            if answer.trace_id == trace_id and isinstance(answer, ServedAnswer) and answer.version:  # tags come last
                return answer
        assert time.monotonic() < end
        time.sleep(0.1)


def person(name):
    return AssessmentSource(source_type="HUMAN", source_id=name)


def test_an_answer_over_http_is_a_trace_with_what_it_came_from(served, version):
    tools = [{"type": "function", "function": {"name": "tide", "parameters": {}}}]
    reply = served.ask(messages=ASKED, max_tokens=6, temperature=0, stop="qq#qq", tools=tools)
    seen = trace_of(reply["id"])
    assert list(seen.messages) == ASKED
    assert seen.answer == reply["choices"][0]["message"]["content"]
    assert (seen.model, seen.version, seen.weights_sha256) == (NAME, "1", version)
    assert (seen.ended, list(seen.tools)) == (False, tools)
    info = MlflowClient().get_trace(reply["id"], display=False)
    assert MlflowClient().get_experiment(info.info.experiment_id).name == f"{NAME} served"
    asked, said = info.data.spans[0].inputs, info.data.spans[0].outputs
    assert {name: asked[name] for name in ("max_new_tokens", "temperature", "top_p", "stop")} == {
        "max_new_tokens": 6, "temperature": 0, "top_p": 1.0, "stop": ["qq#qq"]
    }  # fmt: skip
    assert (said["choices"], said["usage"]) == (reply["choices"], reply["usage"])


def test_each_of_several_prompts_is_a_trace_and_a_refused_request_is_none(served):
    before = {answer.trace_id for answer in found(0)}
    texts = served.ask(inputs=["One?", "Two?"], params={"max_new_tokens": 4})["predictions"]
    with pytest.raises(urllib.error.HTTPError, match="400"):
        served.chat("Three?", n=2)
    served.chat("Four?")
    new = [answer for answer in found(len(before) + 3) if answer.trace_id not in before]
    assert [answer.messages[0]["content"] for answer in new] == ["One?", "Two?", "Four?"]
    assert [answer.answer for answer in new[:2]] == texts


def test_feedback_and_expectations_on_traces_become_pairs_and_each_trace_is_used_once(served, tmp_path):
    store = FolderStore(tmp_path)
    corrected, both = (served.chat(text)["id"] for text in ("Name?", "Both?"))
    disliked, liked = (served.chat("Sea?", max_tokens=24, stop=stop)["id"] for stop in ([], "BoW"))
    for trace_id in (corrected, both, liked, disliked):
        trace_of(trace_id)
    mlflow.log_expectation(trace_id=corrected, name="expected_answer", value="I am Athene.", source=person("ada"))
    mlflow.log_feedback(trace_id=both, name="thumbs", value=True, source=person("ada"))
    mlflow.log_feedback(trace_id=both, name="thumbs", value=False, source=person("bob"))
    first = mlflow.log_feedback(trace_id=liked, value="bad", source=person("ada"))
    mlflow.override_feedback(trace_id=liked, assessment_id=first.assessment_id, value="good", source=person("cleo"))
    mlflow.log_feedback(trace_id=disliked, value=0)  # by a program, for its user
    mlflow.log_feedback(trace_id=disliked, value=True, source=AssessmentSource("LLM_JUDGE", "gpt"))

    read = {answer.trace_id: answer for answer in served_answers(NAME)}
    assert {corrected, both, liked, disliked} == read.keys()
    [wanted] = read[corrected].expectations
    assert wanted[:4] == ("expected_answer", "I am Athene.", "ada", "human")
    assert [remark[:4] for remark in read[liked].feedback] == [("feedback", "good", "cleo", "human")]

    harvest = pairs_of_traces(store, NAME).made
    by_way = {pair.meta["by"]: pair for pair in harvest.pairs}
    assert by_way["expectation"].chosen[0]["content"] == "I am Athene."
    assert by_way["expectation"].rejected[0]["content"] == read[corrected].answer
    assert by_way["expectation"].meta["rejected_model"] == f"{NAME}/1"
    assert [item.trace_ids for item in harvest.quarantined] == [(both,)]
    assert by_way["votes"].meta["traces"] == sorted([liked, disliked])
    assert by_way["votes"].chosen[0]["content"] == read[liked].answer == "mirage"
    assert by_way["votes"].rejected[0]["content"] == "mirageBoW"
    assert [pair.id for pair in pairs_of_traces(store, NAME).made.pairs] == [pair.id for pair in harvest.pairs]

    for _ in range(2):
        mark_used(store, NAME, harvest.used, "dataset:loop@1")
    assert used(store, NAME) == set(harvest.used)
    assert used(store, "another") == frozenset()
    again = pairs_of_traces(store, NAME)
    assert (again.made.pairs, [row["trace"] for row in again.left_out()][:1]) == ((), [both])


def test_traces_are_read_page_by_page_from_a_point_on_and_what_is_no_answer_is_refused(served, monkeypatch):
    monkeypatch.setattr(traces, "PAGE", 2)
    experiment = MlflowClient().get_experiment_by_name(f"{NAME} served").experiment_id
    before = found(3)

    def leave(inputs, outputs, status="OK", **tags):
        span = mlflow.start_span_no_context("other", inputs=inputs, tags=tags, experiment_id=experiment)
        span.end(outputs=outputs, status=status)
        return span.trace_id

    asked = {"messages": [{"role": "user", "content": "Hi"}]}
    said = {"choices": [{"message": {"role": "assistant", "content": "Ho"}, "finish_reason": "stop"}]}
    reasons = {
        leave(None, said): "it has no input",
        leave({"question": "secret"}, said): "its input is no chat request with messages: an object of question",
        leave({"messages": "Hi"}, said): "its input is no chat request with messages: an object of messages",
        leave(asked, None): "its output is no chat completion with one choice: null",
        leave(asked, {"choices": []}): "its output is no chat completion with one choice: an object of choices",
        leave(asked, {"choices": [{"message": {"content": None}}]}): "its answer is no text: an object of content",
        leave(asked, said, status="ERROR"): "the answer ended in an error",
    }
    other = leave(asked, said, **{traces.MODEL: "another"})
    ours, plain = leave(asked, said), leave(asked, "Ho")  # as an application traces it
    mlflow.flush_trace_async_logging()
    new = found(len(before) + len(reasons) + 2)[len(before) :]
    assert {item.trace_id: item.reason for item in new if isinstance(item, RefusedTrace)} == reasons
    assert {item.trace_id: item.answer for item in new if isinstance(item, ServedAnswer)} == {ours: "Ho", plain: "Ho"}
    assert other not in {item.trace_id for item in new}
    later = found(1, since=new[-1].when, skip={ours}.__contains__)
    assert {item.trace_id for item in later} <= {item.trace_id for item in new} - {ours}
    assert [item.when for item in found(0)] == sorted(item.when for item in found(0))


def test_days_leave_older_traces_out_of_prompts_and_of_feedback(served, tmp_path):
    experiment = MlflowClient().get_experiment_by_name(f"{NAME} served").experiment_id
    said = {"choices": [{"message": {"role": "assistant", "content": "Ho"}, "finish_reason": "stop"}]}

    def leave(text, days):
        asked, begun = {"messages": [{"role": "user", "content": text}]}, time.time_ns() - days * DAY_S * 10**9
        span = mlflow.start_span_no_context("aged", inputs=asked, experiment_id=experiment, start_time_ns=begun)
        span.end(outputs=said)
        mlflow.flush_trace_async_logging()
        mlflow.log_expectation(trace_id=span.trace_id, name="expected_answer", value="Hm", source=person("ada"))

    leave("of the month before?", 40), leave("of this month?", 29)
    ours = {"of the month before?", "of this month?"}
    for days, left in ((None, ours), (30, {"of this month?"})):
        rows, _ = _asked(PromptSource(path=f"traces:{NAME}", days=days))
        assert {row["prompt"][-1]["content"] for row in rows} & ours == left
        notes = SimpleNamespace(json=lambda *_: None)
        pairs, _ = _of_traces(Feedback(traces=NAME, days=days), FolderStore(tmp_path), notes)
        assert {pair.prompt[-1]["content"] for pair in pairs} & ours == left


def test_days_count_from_the_beginning_of_a_day_so_that_a_run_that_goes_on_finds_the_same(monkeypatch):
    for hour in (0, 23):
        monkeypatch.setattr(traces.time, "time", lambda hour=hour: 20000 * DAY_S + hour * 3600 + 0.5)
        assert since_days(30) == 19970 * DAY_S * 1000
    assert since_days(None) == 0


def test_a_model_without_traces_and_a_server_that_is_away_are_told(tracking):
    with pytest.raises(ObjectMissing, match="there is no experiment 'nobody served'"):
        list(served_answers("nobody"))
    away = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(Unavailable, match="MLflow could not look up the experiment"):
        list(served_answers(NAME, uri=away))
    client_of.cache_clear()


@pytest.mark.parametrize(
    "off", [{"MLFLOW_TRACE_SAMPLING_RATIO": "0"}, {"MLFLOW_PYFUNC_INFERENCE_CONFIG": '{"traces": false}'}]
)
def test_tracing_is_off_by_a_setting(version, monkeypatch, off):
    for name, value in off.items():
        monkeypatch.setenv(name, value)
    before = {thread for thread in threading.enumerate() if thread.name == "dpo-traces"}
    loaded = mlflow.pyfunc.load_model(MODEL)
    after = {thread for thread in threading.enumerate() if thread.name == "dpo-traces"}
    assert after <= before  # nothing looks for a server
    request = {"messages": [{"role": "user", "content": "off"}], "max_tokens": 2}
    assert re.fullmatch("chatcmpl-[0-9a-f]{32}", loaded.predict(request)["id"])


def test_a_tracking_server_that_was_never_there_takes_nothing_from_an_answer(python, place, version, tmp_path):
    folder = mlflow.artifacts.download_artifacts(artifact_uri=MODEL, dst_path=str(tmp_path))
    away = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}"}
    del os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]  # as anybody has it
    try:
        with serving(python, place, folder, **away) as answering:
            replies = [answering.chat() for _ in range(3)]
            assert all(reply["id"].startswith("chatcmpl-") for reply in replies)
            assert len({reply["choices"][0]["message"]["content"] for reply in replies}) == 1
            answering.process.send_signal(signal.SIGTERM)
            answering.process.wait(PATIENCE_S)
    finally:
        os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "1"


def test_a_tracking_server_that_goes_away_takes_nothing_from_an_answer_nor_from_the_end(
    python, place, tracking, served
):
    """The last one: the server is gone afterwards."""
    text = served.chat()["choices"]
    os.killpg(tracking[1].pid, signal.SIGKILL)
    tracking[1].wait()
    assert [served.chat()["choices"] for _ in range(5)] == [text] * 5
    served.process.send_signal(signal.SIGTERM)
    served.process.wait(PATIENCE_S)
