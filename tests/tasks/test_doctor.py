"""`dpo doctor`: what is wrong with a machine, and the remedy."""

import json

import httpx
import pytest
from prefect.settings import PREFECT_API_KEY, PREFECT_API_URL, temporary_settings

from flows.cli.app import run
from infra.settings import load_settings
from tasks.commands.doctor import _prefect
from tasks.preflight.findings import RunChecks, _time, _trial
from tasks.preflight.records import Duration, Preflight, Trial
from tests.recipes import tiny_recipe
from tests.tiny import build_saying


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return tmp_path / "home"


def findings(capfd, code, *options):
    assert run(["doctor", "--json", *options]) == code
    document = json.loads(capfd.readouterr().out)
    return {finding["check"]: finding for finding in document["findings"]}


def test_this_machine_is_ready_and_the_probe_leaves_no_object(home, capfd):
    found = findings(capfd, 0)
    assert {name for name, finding in found.items() if finding["status"] == "fail"} == set()
    assert found["store"]["says"] == f"{home}/store: put, get, create-only, delete"
    assert [path for path in (home / "store").rglob("*") if path.is_file()] == []


def test_a_dead_tracking_server_is_exit_2_with_a_remedy_and_the_other_checks_still_run(home, capfd, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hunter2@127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    found = findings(capfd, 2)
    assert found["mlflow"]["status"] == "fail"
    assert "MLFLOW_TRACKING_URI" in found["mlflow"]["remedy"]
    assert found["store"]["status"] == "ok"
    assert "hunter2" not in json.dumps(found)


@pytest.mark.parametrize(
    ("key", "broken", "status", "says", "remedy"),
    [
        ("right", None, "ok", "answers", ""),
        ("wrong", None, "fail", "HTTP 401", "PREFECT_API_KEY"),
        ("right", "refused", "fail", "ConnectError", "start it with `prefect server start`, or unset PREFECT_API_URL"),
        ("right", "CERTIFICATE_VERIFY_FAILED", "fail", "not trusted", "PREFECT_API_SSL_CERT_FILE"),
    ],
)
def test_prefects_server_is_asked_with_prefects_key(home, monkeypatch, key, broken, status, says, remedy):
    def answer(transport, request):
        if broken:
            raise httpx.ConnectError(broken, request=request)
        assert request.url == "https://prefect.example.com/api/health"
        return httpx.Response(200 if request.headers.get("Authorization") == "Bearer right" else 401, request=request)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", answer)
    with temporary_settings({PREFECT_API_URL: "https://prefect.example.com/api", PREFECT_API_KEY: key}):
        [found] = _prefect(load_settings())
    assert found.status == status
    assert says in found.says
    assert remedy in found.remedy


def test_a_store_that_ignores_create_only_fails(home, capfd, monkeypatch):
    from infra.store.folder import FolderStore

    put = FolderStore.put_bytes
    monkeypatch.setattr(FolderStore, "put_bytes", lambda self, key, data, create_only=False: put(self, key, data))
    assert findings(capfd, 2)["store"]["remedy"].startswith("use a store that heeds If-None-Match")


def test_a_package_outside_its_range_is_named(home, capfd, monkeypatch):
    import tasks.commands.doctor

    monkeypatch.setattr(
        tasks.commands.doctor, "requires", lambda name: ["typer>=99", "nosuchpackage", "later; extra == 'x'"]
    )
    says = findings(capfd, 2)["packages"]["says"]
    assert "is outside >=99" in says
    assert "nosuchpackage is missing" in says
    assert "later" not in says


def test_a_home_that_is_a_file_is_exit_2(home, capfd):
    home.write_text("")
    assert run(["doctor"]) == 2
    assert "DPO_HOME cannot be used: File exists" in capfd.readouterr().err


def test_of_a_model_it_says_at_which_tokens_answers_end(home, capfd, tmp_path):
    folder = build_saying(tmp_path / "model", "yes", special=False)
    says = findings(capfd, 0, "--model", str(folder))["model"]["says"]
    assert says == f"{folder}: answers end at <|endoftext|> (0), <|im_end|> (2)"
    (folder / "chat_template.jinja").unlink()
    assert "no chat template" in findings(capfd, 0, "--model", str(folder))["model"]["says"]


def test_a_model_that_cannot_be_read_is_a_finding_with_a_remedy(home, capfd, tmp_path):
    folder = build_saying(tmp_path / "model", "yes", eos_token_id="</s>")
    found = findings(capfd, 2, "--model", str(folder))["model"]
    assert "eos_token_id is </s>" in found["says"]
    assert found["remedy"] == "write the number of the token that ends a turn, or a list of such numbers"


def test_a_recipe_whose_prompts_are_too_few_for_its_gate_is_told_before_it_runs(tmp_path, monkeypatch):
    recipe = tiny_recipe(tmp_path, gate={"improve": ["behaviour/words"], "keep": {}, "min_items": 20})
    [found] = RunChecks(str(recipe), [], trial=False).gate(load_settings())
    assert (found.status, found.says.split(":")[0]) == ("warn", "improve behaviour/words")
    assert "12 prompts" in found.says
    assert "ask 20 different prompts or more" in found.remedy


def test_a_training_that_would_be_ended_for_its_time_is_told_with_the_setting():
    def told(training, limit_s):
        seconds = Duration(reference=1.0, training=training, step=1.0, evaluation=1.0)
        trial = Trial(steps=10, step=1.0, training=training, peak=1, program=1)
        found = Preflight.model_construct(seconds=seconds, trial=trial)
        return [(line.status, line.remedy) for line in (_time(found, limit_s), _trial(found, limit_s))]

    assert told(21_600.0, 21_600) == [("ok", "")] * 2
    remedy = "set DPO_TRAIN_TIMEOUT_S higher: a training is ended after 21600 s"
    assert told(21_601.0, 21_600) == [("warn", remedy)] * 2


def test_the_run_checks_go_by_the_time_that_is_set_on_this_machine(monkeypatch):
    limits = []
    monkeypatch.setattr("tasks.preflight.estimate.preflight", lambda *_, **__: None)
    monkeypatch.setattr("tasks.preflight.findings.told", lambda _, limit_s: limits.append(limit_s) or [])
    monkeypatch.setenv("DPO_TRAIN_TIMEOUT_S", "77")
    assert list(RunChecks("run.yaml", [], trial=False).run(load_settings())) == []
    assert limits == [77]
