"""Answers of `mlflow models serve` as traces in a real MLflow server, and what people say of them there."""

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from typing import NamedTuple

import mlflow
import psutil
import pytest
from mlflow import MlflowClient
from mlflow.entities import AssessmentSource

from infra import traces
from infra.errors import ObjectMissing, Unavailable
from infra.registry import versions
from infra.registry.logged_model import SERVED_TRACES
from infra.registry.served_traces import Traces
from infra.store.folder import FolderStore
from infra.traces import RefusedTrace, ServedAnswer, served_answers
from infra.tracking.client import client_of
from infra.tracking.runs import open_run
from tasks.curate.feedback import mark_used, pairs_of_traces, used
from tests.tiny import build_saying

NAME, PATIENCE_S = "athene", 240
ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who are you?"}]
HERE = {"MLFLOW_TRACE_SAMPLING_RATIO": "1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}


class Served(NamedTuple):
    """A version that answers at `url`."""

    url: str
    process: subprocess.Popen

    def ask(self, **body):
        data = json.dumps(body).encode()
        sent = urllib.request.Request(f"{self.url}/invocations", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(sent, timeout=PATIENCE_S) as answer:
            return json.loads(answer.read())

    def chat(self, text="Who are you?", **more):
        return self.ask(messages=[{"role": "user", "content": text}], **{"max_tokens": 6, **more})


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def running(command, health, environment, log):
    """A server of a group of its own, once it answers."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, process_group=0)
    try:
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                urllib.request.urlopen(health, timeout=5).close()
                break
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                assert process.poll() is None, log.read_text()[-2000:]
                assert time.monotonic() < end, log.read_text()[-2000:]
                time.sleep(0.2)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def end_of(process, number, patience_s=60):
    """What is left of a server and its children after it was told to end."""
    group = [other for other in psutil.process_iter() if _group(other) == process.pid]
    assert len(group) > 1, "the server itself is no child"
    os.killpg(process.pid, number)
    return psutil.wait_procs(group, timeout=patience_s)[1]


def _group(process):
    with contextlib.suppress(ProcessLookupError):
        return os.getpgid(process.pid)
    return None


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("traces")


@pytest.fixture(scope="module")
def python(forkserver, place):
    """An interpreter, and beside it a `uvicorn` of it, which MLflow starts by name."""
    (place / "bin").mkdir()
    (place / "bin" / "uvicorn").write_text(f'#!/bin/sh\nexec {shlex.quote(str(forkserver.python))} -m uvicorn "$@"\n')
    (place / "bin" / "uvicorn").chmod(0o755)
    return forkserver.python


@pytest.fixture(scope="module")
def tracking(python, place):
    """A tracking server that the environment of this process points to."""
    url = f"http://127.0.0.1:{free_port()}"
    command = [
        *(str(python), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", url.rpartition(":")[2]),
        *("--workers", "1", "--backend-store-uri", f"sqlite:///{place}/server.db"),
        *("--artifacts-destination", f"{place}/artifacts"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "MLFLOW_TRACKING_URI": url,
            "DPO_HOME": str(place / "home"),
            **HERE,
        }.items():
            patch.setenv(name, value)
        with running(command, f"{url}/health", dict(os.environ), place / "server.log") as process:
            mlflow.tracing.reset()  # this process has other traces to make than those of no tests
            yield url, process
            mlflow.tracing.reset()


@pytest.fixture(scope="module")
def version(tracking, place):
    """A registered version that says "redwolf", whatever it is asked: its weights' digest."""
    run = open_run("train", run_key="traces", run_name="run", artifact_root=None).id
    folder = build_saying(place / "model", "redwolf")
    weights = versions.weights_digest(folder)
    versions.register(NAME, run_id=run, weights_sha256=weights, model_folder=folder, tags={})
    return weights


@contextlib.contextmanager
def serving(python, place, model=f"models:/{NAME}/1", **environment):
    url = f"http://127.0.0.1:{free_port()}"
    command = [str(python), "-m", "mlflow", "models", "serve", "-m", model, "--env-manager", "local"]
    command += ["--port", url.rpartition(":")[2]]
    told = {name: value for name, value in os.environ.items() if name != "MLFLOW_HTTP_REQUEST_MAX_RETRIES"}
    told = {**told, "PATH": f"{place / 'bin'}:{os.environ['PATH']}", **environment}
    with running(command, f"{url}/ping", told, place / "serve.log") as process:
        yield Served(url, process)


@pytest.fixture(scope="module")
def served(python, place, version):
    with serving(python, place) as answering:
        first = answering.chat("warm up")  # until the server was found, an answer leaves no trace
        while not first["id"].startswith("tr-"):
            time.sleep(0.1)
            first = answering.chat("warm up")
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
            if answer.trace_id == trace_id and isinstance(answer, ServedAnswer):
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
    disliked, liked = (served.chat("Sea?", max_tokens=24, stop=stop)["id"] for stop in ([], "wolf"))
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
    assert [by_way["votes"].to_row()[side][0]["content"] for side in ("chosen", "rejected")] == ["red", "redwolf"]
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


def test_a_model_without_traces_and_a_server_that_is_away_are_told(tracking):
    with pytest.raises(ObjectMissing, match="there is no experiment 'nobody served'"):
        list(served_answers("nobody"))
    away = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(Unavailable, match="MLflow could not look up the experiment"):
        list(served_answers(NAME, uri=away))
    client_of.cache_clear()


@pytest.mark.parametrize(
    ("config", "sample", "sends"),
    [({}, "1", True), ({}, "0.1", True), ({}, "0", False), ({"traces": False}, "1", False), ({"name": ""}, "1", False)],
)
def test_traces_are_off_by_a_setting(tracking, tmp_path, monkeypatch, config, sample, sends):
    monkeypatch.setenv("MLFLOW_TRACE_SAMPLING_RATIO", sample)
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false")  # as they set it, and taken back afterwards
    before = set(threading.enumerate())
    Traces(tmp_path, {"name": NAME, **config})
    assert [thread.name for thread in set(threading.enumerate()) - before] == ["dpo-traces"] * sends


def test_without_an_address_nothing_is_sent_anywhere(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACE_SAMPLING_RATIO", "1")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    before = set(threading.enumerate())
    assert Traces(tmp_path, {"name": NAME}).record({"messages": []}, {}, 0) == ""
    assert set(threading.enumerate()) <= before


def test_a_served_version_without_traces_answers_as_ever(version):
    loaded = mlflow.pyfunc.load_model(f"models:/{NAME}/1", model_config={"traces": False})
    reply = loaded.predict({"messages": ASKED, "max_tokens": 6})
    assert re.fullmatch("chatcmpl-[0-9a-f]{32}", reply["id"])
    assert reply["choices"][0]["message"]["content"] == "redwol"


def test_a_tracking_server_that_was_never_there_takes_nothing_from_an_answer(python, place, version, tmp_path):
    folder = mlflow.artifacts.download_artifacts(artifact_uri=f"models:/{NAME}/1", dst_path=str(tmp_path))
    away = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}"}
    with serving(python, place, folder, **away) as answering:
        replies = [answering.chat() for _ in range(3)]
        assert all(reply["id"].startswith("chatcmpl-") for reply in replies)
        assert {reply["choices"][0]["message"]["content"] for reply in replies} == {"redwol"}
        assert end_of(answering.process, signal.SIGTERM) == []


PROGRAM = """
import runpy, sys, time
from pathlib import Path
traces = runpy.run_path(sys.argv[1])["Traces"](Path("nowhere"), {"name": "athene"})
while not (first := traces.record({"messages": []}, {}, time.time_ns())):
    time.sleep(0.05)
print(first, flush=True)
input()
print(*(traces.record({"messages": []}, {}, time.time_ns()) for _ in range(10)), flush=True)
"""


def test_a_tracking_server_that_goes_away_takes_nothing_from_an_answer_nor_from_the_end(
    python, place, tracking, served
):
    """The last one: the server is gone afterwards. MLflow's own queue would keep the program for minutes."""
    text = served.chat()["choices"]
    command = [sys.executable, "-c", PROGRAM, str(SERVED_TRACES)]
    told = {name: value for name, value in os.environ.items() if name != "MLFLOW_HTTP_REQUEST_MAX_RETRIES"}
    with subprocess.Popen(command, env=told, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        try:
            assert program.stdout.readline().startswith("tr-")
            os.killpg(tracking[1].pid, signal.SIGKILL)
            tracking[1].wait()
            assert [served.chat()["choices"] for _ in range(5)] == [text] * 5
            said, _ = program.communicate("go on\n", timeout=60)
        finally:
            program.kill()
    assert (program.returncode, said.count("tr-")) == (0, 10)
    assert end_of(served.process, signal.SIGINT) == []
