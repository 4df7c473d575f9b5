"""From the journal to MLflow: in order, each entry once, whatever breaks on the way."""

import json
import logging
import os
import threading
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

import infra.tracking.delivery
from infra.errors import InfraError, Rejected, Unavailable
from infra.settings import load_settings
from infra.tracking.entries import MetricsEntry, OpenedEntry
from infra.tracking.journal import Journal, journals
from infra.tracking.runs import attach_run, connect, open_run, waiting


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A spool of the test's own, beside the session's database."""
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(infra.tracking.delivery, "_retry_at", {})
    return tmp_path / "home"


def opened(key):
    return open_run("delivery", run_key=key, run_name="a run", artifact_root=os.environ["DPO_HOME"])


@pytest.fixture
def run(home, request):
    return opened(request.node.name)


class Outage:
    """MLflow as it is when nobody answers: every request fails, until `ends`."""

    def __init__(self, monkeypatch):
        self._patch = monkeypatch
        self.requests = 0

    def begins(self):
        def fail(*args, **kwargs):
            self.requests += 1
            raise MlflowException("API request failed: connection refused")

        for name in ("log_batch", "log_artifact", "log_inputs", "set_terminated", "update_run"):
            self._patch.setattr(MlflowClient, name, fail)

    def ends(self):
        self._patch.undo()
        infra.tracking.delivery._retry_at.clear()  # as if RETRY_S had passed


@pytest.fixture
def outage():
    with pytest.MonkeyPatch.context() as patch:
        yield Outage(patch)


def read(run):
    return connect().get_run(run.id)


def history(run, name="loss"):
    return [(point.step, point.value) for point in connect().get_metric_history(run.id, name)]


def test_what_is_logged_during_an_outage_arrives_later_in_order_once_with_its_own_time(run, outage, tmp_path, caplog):
    run.metrics({"loss": 3.0}, step=1)
    outage.begins()
    report = tmp_path / "report.html"
    report.write_text("as it was")
    with caplog.at_level(logging.WARNING, "dpo.tracking"):
        run.metrics({"loss": 2.0}, step=2)
        run.tags({"verdict": "early"})
        run.artifact(report, "reports")
        run.metrics({"loss": 1.0}, step=3)
        run.params({"beta": 0.1})
        run.tags({"verdict": "late"})
    assert outage.requests == 1  # then it is left alone for a while
    [warning] = [record.getMessage() for record in caplog.records]
    assert warning.startswith("mlflow_away reason='MLflow could not log metrics")
    assert str(run.journal.folder) in warning
    report.write_text("changed since")
    times = [entry.time for entry, _ in run.journal.waiting() if entry.kind == "metrics"]
    assert history(run) == [(1, 3.0)]

    outage.ends()
    run.metrics({"loss": 0.5}, step=4)
    assert history(run) == [(1, 3.0), (2, 2.0), (3, 1.0), (4, 0.5)]
    assert [point.timestamp for point in connect().get_metric_history(run.id, "loss")][1:3] == times
    assert read(run).data.tags["verdict"] == "late"
    assert (Path(read(run).info.artifact_uri) / "reports/report.html").read_text() == "as it was"
    assert waiting() == {}


@pytest.mark.parametrize("where", ["after MLflow took it", "before it was sent"])
def test_a_sender_that_is_killed_loses_nothing_and_doubles_nothing(run, outage, where):
    outage.begins()
    for step in range(1, 6):
        run.metrics({"loss": float(step)}, step=step)
    run.tags({"after": "all"})
    outage.ends()

    def killed(*_):
        raise KeyboardInterrupt

    place = (Journal, "mark") if where.startswith("after") else (infra.tracking.delivery, "_send")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(*place, killed)
        with pytest.raises(KeyboardInterrupt):
            run.tags({"more": "1"})
    assert len(history(run)) == (5 if where.startswith("after") else 0)
    opened(read(run).data.tags["dpo.run_key"])  # the same command again
    assert history(run) == [(step, float(step)) for step in range(1, 6)]
    assert {"after": "all", "more": "1"}.items() <= read(run).data.tags.items()


def test_an_answer_that_gets_lost_leaves_one_point(run, outage):
    log_batch = MlflowClient.log_batch

    def lost(*args, **kwargs):
        log_batch(*args, **kwargs)
        raise MlflowException("API request failed: connection reset")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", lost)
        run.metrics({"loss": 1.0}, step=1)
    assert waiting() == {run.journal.folder: 1}
    outage.ends()
    run.metrics({"loss": 0.5}, step=2)
    assert history(run) == [(1, 1.0), (2, 0.5)]


def test_what_mlflow_will_never_take_is_told_and_kept_and_holds_up_nothing(run, outage, caplog):
    outage.begins()
    run.tags({"a" * 251: "beta"})  # a character more than MLflow's names have
    run.metrics({"loss": 1.0}, step=1)
    outage.ends()
    with pytest.raises(Rejected, match="MLflow could not set tags"):
        run.metrics({"loss": 0.5}, step=2)
    assert history(run) == [(1, 1.0), (2, 0.5)]
    [line] = (run.journal.spool / "refused" / f"{run.id}.jsonl").read_text().splitlines()
    assert json.loads(line)["values"] == {"a" * 251: "beta"}
    assert waiting() == {}


def test_of_a_param_that_the_run_has_the_first_value_stays_and_the_others_arrive(run, caplog):
    run.params({"model": "a/model", "beta": 0.1})
    run.params({"model": "b/model", "beta": 0.1, "seed": 1})
    run.metrics({"loss": 1.0}, step=1)
    assert read(run).data.params == {"model": "a/model", "beta": "0.1", "seed": "1"}
    assert history(run) == [(1, 1.0)]
    [warning] = [text for text in caplog.messages if text.startswith("mlflow_params_kept")]
    assert "params=['model']" in warning
    assert not (run.journal.spool / "refused").exists()


def test_wrong_credentials_wait_for_a_person_and_nobody_waits_for_them(run, outage):
    def denied(*args, **kwargs):
        raise MlflowException("no", error_code=PERMISSION_DENIED)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", denied)
        run.metrics({"loss": 1.0}, step=1)
        with pytest.raises(InfraError, match="1 entries wait in") as caught:
            run.settle(3600)
    assert not isinstance(caught.value, Unavailable)
    outage.ends()
    run.settle(0)
    assert history(run) == [(1, 1.0)]


def test_the_end_of_a_run_waits_too_and_the_next_command_delivers_it(run, outage, caplog):
    outage.begins()
    run.metrics({"loss": 1.0}, step=1)
    run.finish("FINISHED")
    assert "mlflow_waiting entries=2" in caplog.text
    assert read(run).info.status == "RUNNING"
    [end] = [entry.time for entry, _ in run.journal.waiting() if entry.kind == "status"]
    outage.ends()
    opened("another run")
    assert (read(run).info.status, read(run).info.end_time) == ("FINISHED", end)
    assert run.journal.folder not in [journal.folder for journal in journals(run.journal.spool)]


def test_a_failed_end_that_waits_does_not_end_the_run_that_goes_on(run, outage, request):
    outage.begins()
    run.finish("FAILED")
    outage.ends()
    again = opened(request.node.name)
    assert (again.id, read(run).info.status) == (run.id, "RUNNING")


@pytest.fixture
def killed_a_week_ago(run):
    """A run that nobody has logged to for eight days; when that was, in ms."""
    then = int(time.time()) - 8 * 86400
    os.utime(run.journal.folder / "journal.jsonl", (then, then))
    return then * 1000


def test_a_run_that_was_killed_and_not_gone_on_with_for_a_week_is_told_as_killed(run, killed_a_week_ago):
    opened("the next command")
    assert (read(run).info.status, read(run).info.end_time) == ("KILLED", killed_a_week_ago)
    assert not run.journal.exists()


def test_a_run_that_is_worked_on_is_not_ended_though_it_has_logged_nothing_for_a_week(run, killed_a_week_ago):
    with run.at_work(), run.at_work():  # two processes
        opened("the next command")
    assert (read(run).info.status, run.journal.exists()) == ("RUNNING", True)


def test_a_run_that_another_machine_goes_on_with_is_not_ended(run, killed_a_week_ago, request, home, monkeypatch):
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("DPO_HOME", f"{home}-two")
        opened(request.node.name)
    opened("the next command")
    assert read(run).info.status == "RUNNING"
    assert not run.journal.exists()


def test_a_run_that_is_logged_to_elsewhere_is_not_ended(run, killed_a_week_ago, home, monkeypatch):
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("DPO_HOME", f"{home}-two")
        attach_run(run.id).metrics({"loss": 1.0}, step=1)
        theirs = attach_run(run.id).journal
    opened("the next command")
    assert read(run).info.status == "RUNNING"
    long_ago = killed_a_week_ago // 1000
    os.utime(theirs.folder / "journal.jsonl", (long_ago, long_ago))
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("DPO_HOME", f"{home}-two")
        opened("a command of theirs")  # who joined a run does not know whether it is over
    assert (read(run).info.status, theirs.exists()) == ("RUNNING", False)


def test_an_mlflow_that_is_away_is_told_of_a_killed_run_later(run, killed_a_week_ago, monkeypatch):
    def away(*_):
        raise MlflowException("API request failed: connection refused")

    with monkeypatch.context() as outage:
        outage.setattr(MlflowClient, "get_run", away)
        opened("the next command")
    assert (read(run).info.status, run.journal.exists()) == ("RUNNING", True)
    opened("one more")
    assert read(run).info.status == "KILLED"


def test_a_journal_of_another_server_is_left_alone(run):
    other = Journal(run.journal.spool, "0" * 32)
    other.append(OpenedEntry(time=1, server="http://elsewhere", steps={}, tags={}))
    other.append(MetricsEntry(time=2, step=1, values={"loss": 1.0}))
    opened("the next command")
    assert waiting() == {other.folder: 2}


@pytest.mark.parametrize("machine", ["the same machine", "another machine"])
def test_a_run_that_goes_on_from_a_checkpoint_logs_no_step_twice(run, request, home, monkeypatch, machine):
    for step in (1, 2, 3):
        run.metrics({"loss": float(step)}, step=step)
    run.metrics({"entropy": 1.0}, step=2)
    if machine == "another machine":
        monkeypatch.setenv("DPO_HOME", f"{home}-two")
    again = attach_run(opened(request.node.name).id)
    for step in (2, 3, 4):
        again.metrics({"loss": float(step), "entropy": 1.0}, step=step)
    assert history(run) == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]
    assert history(run, "entropy") == [(2, 1.0), (3, 1.0), (4, 1.0)]


def test_a_step_does_not_wait_for_an_mlflow_that_hangs(run, monkeypatch):
    hangs, answers = threading.Event(), threading.Event()
    log_batch = MlflowClient.log_batch

    def slow(*args, **kwargs):
        hangs.set()
        assert answers.wait(60)
        log_batch(*args, **kwargs)

    monkeypatch.setattr(infra.tracking.run, "EVERY_S", 0.01)
    monkeypatch.setattr(MlflowClient, "log_batch", slow)
    with run.in_background():
        run.metrics({"loss": 1.0}, step=1)
        assert hangs.wait(60)
        for step in range(2, 40):
            run.metrics({"loss": 1.0}, step=step)
        assert history(run) == []
        answers.set()
    assert [step for step, _ in history(run)] == list(range(1, 40))


def test_whatever_the_client_throws_training_goes_on(run, caplog):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", lambda *args, **kwargs: 1 / 0)
        with run.in_background():
            run.metrics({"loss": 1.0}, step=1)
    assert "mlflow_not_logged" in caplog.text
    run.settle(0)
    assert history(run) == [(1, 1.0)]


def test_a_file_that_was_damaged_while_it_waited_is_not_delivered(run, outage, tmp_path):
    (tmp_path / "a.txt").write_text("whole")
    outage.begins()
    run.artifact(tmp_path / "a.txt")
    [(entry, _)] = run.journal.waiting()
    run.journal.file(entry).write_text("damaged")
    outage.ends()
    with pytest.raises(Rejected, match="gone or damaged"):
        run.metrics({"loss": 1.0})
    assert connect().list_artifacts(run.id) == []


def test_no_secret_is_written_to_the_spool(outage, home, request, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-key")
    run = opened(request.node.name)
    outage.begins()
    run.params({"data": {"train": "https://me:canary@host/pairs.jsonl"}})
    run.tags({"weights": "https://me:canary@host/x"})
    run.json("recipe.json", {"train": "https://me:canary@host/pairs.jsonl"})
    run.dataset(name="d", sha256="0" * 64, source="https://me:canary@host/pairs.jsonl")
    written = [path.read_bytes() for path in (home / "spool").rglob("*") if path.is_file()]
    assert any(b"host/pairs.jsonl" in data for data in written)
    assert not any(b"canary" in data for data in written)


def test_many_points_travel_a_thousand_a_request(run, monkeypatch):
    for step in range(1, 126):
        values = {f"m{number}": 1.0 for number in range(20)}
        run.journal.append(MetricsEntry(time=step, step=step, values=values))
    log_batch, sizes = MlflowClient.log_batch, []

    def counted(*args, metrics=(), **kwargs):
        sizes.append(len(metrics))
        return log_batch(*args, metrics=metrics, **kwargs)

    monkeypatch.setattr(MlflowClient, "log_batch", counted)
    run.settle(0)
    assert sizes == [1000, 1000, 500]
    assert [step for step, _ in history(run, "m19")] == list(range(1, 126))


def test_doctor_counts_what_waits(run, outage):
    from tasks.commands.doctor import _spool

    assert list(_spool(load_settings())) == []
    outage.begins()
    run.metrics({"loss": 1.0}, step=1)
    [finding] = _spool(load_settings())
    assert finding.status == "warn"
    assert finding.says.startswith("1 entries of 1 runs wait for MLflow in")
