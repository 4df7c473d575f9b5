"""`dpo doctor RUN.yaml`: a run before it begins, with steps that are really taken."""

import json

import pytest

from flows.cli.app import run
from infra.settings import load_settings
from tasks.preflight import estimate
from tasks.preflight.machine import Machine
from tasks.preflight.needs import FLOW
from tests.recipes import tiny_recipe
from tests.tasks.test_preflight_needs import online_recipe

MIB = 1 << 20


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """Its learning rate was never shown to work, and eight prompts cannot show what it keeps."""
    return tiny_recipe(tmp_path_factory.mktemp("run"), gate={"keep": {"retention/facts": 0.1}})


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return tmp_path / "home"


def test_a_run_is_told_before_it_begins_and_nothing_of_the_trial_stays(recipe, home, capfd):
    assert run(["doctor", str(recipe), "--trial", "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    found, says = document["preflight"], {f["check"]: f["says"] for f in document["findings"]}
    volume, trial = found["volume"], found["trial"]
    assert (volume["pairs"], volume["held_out_pairs"], volume["steps"]) == (96, 36, 24)
    assert (found["mode"], trial["steps"]) == ("shared", 10)
    training = next(phase for phase in found["memory"] if phase["phase"] == "training")
    assert training["process"] == pytest.approx(trial["peak"], rel=0.15)
    assert min(found["seconds"]["training"], trial["training"]) > 0
    assert "learning_rate is 0.003" in says["settings"]
    assert says["gate"].startswith("keep retention/facts: 8 prompts cannot show it")
    assert list(home.glob("scratch-*")) == []
    assert not (home / "runs").exists()


def test_a_run_that_learns_from_its_own_answers_is_told_by_its_prompts(tmp_path, monkeypatch):
    monkeypatch.setattr(estimate.Estimator, "speed", None)
    found = estimate.preflight(str(online_recipe(tmp_path)), [], load_settings())
    assert found.volume.steps == 8  # its 96 pairs would make 32
    assert next(phase for phase in found.memory if phase.phase == "training").weights // found.weights == 8
    assert [note for note in found.notes if note.startswith("training.online")]


@pytest.mark.campaign  # counts a step of 96 pairs twice over
def test_a_machine_that_is_too_small_is_a_failure_that_names_what_fits(recipe, capfd, monkeypatch):
    room = FLOW + estimate.PROGRAM + 12 * MIB  # activations of all pairs in one row take 22
    small = Machine("cpu", available=room, total=room)
    monkeypatch.setattr(estimate, "this_machine", lambda: small)
    monkeypatch.setattr(estimate.Estimator, "speed", None)
    row = "training.train_batch_size=96", "training.tokens_per_row=100000"
    options = [part for value in row for part in ("--set", value)]
    assert run(["doctor", str(recipe), "--json", *options]) == 2
    document = json.loads(capfd.readouterr().out)
    [failed] = [f for f in document["findings"] if f["status"] == "fail"]
    assert failed["says"].startswith("training needs")
    assert "training.tokens_per_row: " in failed["remedy"]
    fits = [remedy["fits"] for remedy in document["preflight"]["remedies"]]
    assert fits == [True]
