"""One small search on the tiny model: two settings, of which one cannot be trained."""

import json
import uuid
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from dpo_core.errors import InputError
from dpo_core.recipe_file import load_recipe
from flows.retrain import retrain
from flows.tune import tune
from infra.ledger.chain import Chain
from infra.settings import load_settings
from infra.store import open_store
from tasks.check import check
from tasks.plan import plan
from tasks.runtime.pairs import stored_pairs
from tasks.tune import study as studies
from tasks.tune.study import begun_trials, only_search
from tests.faults.searching import Searched, keeps_its_promises
from tests.postgres_server import PASSWORD
from tests.recipes import tiny_recipe

pytestmark = pytest.mark.usefixtures("prefect_server")
LIMITS = {"retention/facts": 0.4, "drift": 5.0}
SPACE = {"training.learning_rate": [3e-3, 1e30]}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tune")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DPO_HOME", str(folder / "home"))
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.setattr("tasks.tune.begin.room_for", lambda parameters: 1)
        tuned = {"trials": 9, "share": 0.2, "space": SPACE, "constraints": LIMITS, "answers": 2}
        yield str(tiny_recipe(folder / "recipe", tune=tuned, training={"max_steps": 12}))


@pytest.fixture(scope="module")
def found(place):
    return tune(place)


@pytest.fixture(scope="module")
def study(found):
    return studies.open_study("tiny")


def test_what_cannot_be_trained_is_pruned_with_its_reason_and_the_own_settings_stay(found):
    own, wild = found.trials
    assert (own.state, own.settings, own.reason) == ("finished", {"training.learning_rate": 3e-3}, "")
    assert [(rung.eighths, rung.seed) for rung in own.rungs] == [(1, 0), (2, 0), (4, 0), (8, 0), (8, 1)]
    assert wild.state == "pruned"
    assert wild.reason.startswith("diverged on 1/8 of the pairs: step 2: loss or gradient is not finite")
    assert (found.state, found.recommended, found.peak, found.gain_half_width) == ("own_settings", 0, 0, None)


def test_each_rung_sees_twice_the_pairs_of_the_one_before_and_the_spent_pairs_are_their_sum(found):
    assert [rung.pairs for rung in found.trials[0].rungs] == [16, 24, 48, 96, 96]  # of 12 steps of 8 pairs, rounded up
    assert found.spent["pairs"] == sum(rung.pairs for trial in found.trials for rung in trial.rungs)
    assert [rung.eighths for rung in found.trials[0].rungs if "retention/facts" in rung.metrics] == [4, 8, 8]


def test_no_pair_that_the_search_looked_at_is_one_that_the_gate_looks_at(found, study, place):
    """From the study's own record: each training of each trial names the rows that judged it."""
    store = open_store(load_settings())
    judged = {
        pair.id
        for trial in study.trials
        for record in trial.user_attrs.get(studies.RECORDS, [])
        for pair in stored_pairs(store, record["measures"]["judged"])
    }
    of_run = check(plan(place, [], force=False, kind="quality"))
    held_out = {pair.id for pair in stored_pairs(store, of_run.eval_key)}
    trained = {pair.id for pair in stored_pairs(store, of_run.train_key)}
    assert len(judged) == found.split["judged_on"]
    assert judged < trained
    assert not judged & held_out
    assert len(held_out) == 36


def test_the_reference_is_asked_in_the_first_training_alone(found):
    forwards = [rung.forwards for trial in found.trials for rung in trial.rungs]
    assert forwards[0] == 192, "both answers of 96 pairs"
    assert set(forwards[1:]) == {0}


def test_trials_are_nested_runs_and_their_trainings_nested_in_them(found):
    client = MlflowClient()
    experiment = client.get_experiment_by_name("tiny").experiment_id
    runs = client.search_runs([experiment])
    below = {run.info.run_id: run.data.tags.get("mlflow.parentRunId") for run in runs}
    names = {run.info.run_id: run.info.run_name for run in runs}
    trials = [run for run, parent in below.items() if parent == found.mlflow_run_id]
    assert sorted(names[run] for run in trials) == ["trial 0", "trial 1"]
    assert sorted(names[run] for run, parent in below.items() if parent in trials)[:2] == [
        "trial 0, 1/8, seed 0",
        "trial 0, 2/8, seed 0",
    ]


def test_no_weights_of_a_trial_are_left(found):
    assert list(open_store(load_settings()).list("models/")) == []


def test_the_winner_is_a_recipe_of_the_same_run_wherever_it_lies(found, place):
    ours, theirs = load_recipe(found.recipe).recipe, load_recipe(place).recipe
    assert ours == theirs
    assert yaml.safe_load(Path(found.recipe).read_text())["training"]["learning_rate"] == 3e-3


def test_page_and_document_say_what_was_found(found):
    page = Path(found.report).read_text()
    assert "The recipe&#39;s own settings stay" in page
    assert "diverged on 1/8 of the pairs" in page
    assert json.loads(Path(found.report).with_name("tune.json").read_text()) == found.to_json()


def test_the_same_command_again_trains_nothing_and_says_the_same(found, place, monkeypatch):
    monkeypatch.setattr("tasks.tune.trial._train", None)
    again = tune(place)
    assert again.model_dump(exclude={"mlflow_run_id"}) == found.model_dump(exclude={"mlflow_run_id"})


def test_the_winner_is_made_of_what_was_searched_also_where_the_recipe_was_edited_meanwhile(found, place, monkeypatch):
    recipe, winner = Path(place), Path(found.recipe).read_text()
    text = recipe.read_text()

    def edited(search):
        recipe.write_text(text.replace("num_train_epochs: 2.0", "num_train_epochs: 3.0"))
        return begun_trials(search)

    monkeypatch.setattr("flows.tune.begun_trials", edited)
    try:
        again = tune(place)
        assert recipe.read_text() != text
    finally:
        recipe.write_text(text)
    assert Path(again.recipe).read_text() == winner


def test_a_second_search_in_a_study_is_refused_and_leaves_the_run_of_the_first_alone(found, place):
    with (
        only_search(load_recipe(place).recipe),
        pytest.raises(InputError, match="another `dpo tune` searches in the study 'tiny'") as caught,
    ):
        tune(place)
    assert "tune.study" in caught.value.do
    assert MlflowClient().get_run(found.mlflow_run_id).info.status == "FINISHED"


def test_a_study_of_another_recipe_is_refused_by_what_differs(found, place):
    with pytest.raises(
        InputError, match=r"there is a study 'tiny', of another recipe: training\.beta differ"
    ) as caught:
        tune(place, ["training.beta=0.3"])
    assert "tune.study" in caught.value.do


def test_another_search_of_the_recipe_is_another_run_and_leaves_that_of_the_first_as_it_ended(found, place):
    with pytest.raises(InputError, match=r"there is a study 'tiny', of another recipe: tune\.objective differ"):
        tune(place, ["tune.objective=rewards/margins"])
    client = MlflowClient()
    assert client.get_run(found.mlflow_run_id).info.status == "FINISHED"
    experiment = client.get_experiment_by_name("tiny").experiment_id
    refused = client.search_runs([experiment], "attributes.status = 'FAILED'")
    assert "rewards/margins" in {run.data.params.get("recipe.tune.objective") for run in refused}


@pytest.mark.parametrize(
    ("asked", "says", "where", "do"),
    [
        ("tune.pairs=10", "10 pairs is smaller than one trial: the recipe's own settings take 280", "10", "1,120"),
        ("tune.trials=1", "there is nothing to compare them with", "tune.trials: 1", "10 or more"),
        (
            "tune.minutes=0.000001",
            "smaller than one trial: it was spent when the recipe's own settings",
            "1e-06",
            "it goes on",
        ),
    ],
)
def test_a_budget_that_holds_no_trial_is_refused_with_what_one_takes(found, place, asked, says, where, do):
    with pytest.raises(InputError, match=says) as caught:
        tune(place, [asked, "tune.study=brief"])
    assert where in caught.value.where
    assert do in caught.value.do


@pytest.mark.campaign  # two searches each; faults/test_tune_kills.py has 20 kills, infra/test_studies.py the server
@pytest.mark.parametrize("database", ["file", "postgresql"])
def test_a_search_that_was_killed_ends_as_one_that_nobody_disturbed(
    found, place, tmp_path, forkserver, request, database
):
    extra = {}
    if database == "postgresql":
        extra["DPO_STUDY_URL"] = request.getfixturevalue("postgres").make(uuid.uuid4().hex)
    search = Searched(tmp_path / "searched", Path(place), forkserver, **extra)
    assert search.killed(trainings=5, seconds=0), "within the third training"
    keeps_its_promises(search, search.complete(), found.to_json())
    assert (search.folder / "home/studies.db").exists() is (database == "file")
    assert PASSWORD.encode() not in b"".join(file.read_bytes() for file in search.folder.rglob("*") if file.is_file())


@pytest.mark.campaign  # two trainings more; what is chosen among seeds has tests of its own
def test_the_found_settings_meet_the_gate_once_and_of_two_seeds_the_middle_one(found):
    done = retrain(found.recipe, ["training.seeds=2"]).document
    assert [line.seed for line in done.seeds] == [0, 1]
    assert [line.weights_sha256 for line in done.seeds if line.chosen] == [done.weights_sha256]
    low = min(line.metrics["rewards/accuracies"] for line in done.seeds)
    assert done.metrics["rewards/accuracies"].value == low
    assert done.spread["rewards/accuracies"].low == low
    looks = Chain(open_store(load_settings()), "looks/tiny").entries()
    assert len(looks) == 1, "what the search tried and the other seed are no looks"
    version = MlflowClient().get_model_version("tiny", str(done.version))
    assert version.tags["dpo.seed"] == next(str(line.seed) for line in done.seeds if line.chosen)
