"""From a version of a data set to a registered model that names it; and a row that is forgotten on the way."""

import json

import pytest

from dpo_core.data.pairs import Pair
from flows.cli.app import run
from infra.registry import versions
from infra.settings import load_settings
from infra.store import open_store
from tests.data_sets import write_version
from tests.recipes import NOUNS, pair, tiny_recipe

pytestmark = pytest.mark.usefixtures("prefect_server")
ROWS = [pair(NOUNS[i % 12], i, "say") for i in range(64)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on the latest version of two; a row of it forgotten; the same command again. Folder and documents."""
    from flows.retrain import retrain
    from tasks.datasets.forget import forget_id

    folder = tmp_path_factory.mktemp("datasets")
    data = {"train": "dataset:pairs@latest", "eval": "dataset:held-out"}
    less = {"behaviour": {}, "retention": {}, "neutral_text": None, "samples": 0, "uptake_pairs": 0}
    gate = {"improve": [], "keep": {}, "floor": {"rewards/accuracies": 0.5}}
    recipe = str(tiny_recipe(folder, data=data, training={"num_train_epochs": 0.5}, evaluation=less, gate=gate))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DPO_HOME", str(folder / "home"))
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        store = open_store(load_settings())
        write_version(store, "held-out", [pair(NOUNS[i % 12], i, "tell") for i in range(24)])
        write_version(store, "pairs", ROWS[:40])
        write_version(store, "pairs", ROWS)
        first = retrain(recipe).document
        again = retrain(recipe).document
        row = json.loads(next(iter(rows_of(store, first))))["id"]
        before = forget_id(store, row, why="asked to", who="ada")
        second = retrain(recipe).document
        yield store, first, again, row, before, second


def lineage(store, document):
    return json.loads(store.get_bytes(f"lineage/tiny/{document.weights_sha256}.json"))


def rows_of(store, document):
    return store.get_bytes(lineage(store, document)["data"]["train"]).splitlines()


def test_run_version_lineage_and_card_name_the_version_that_latest_meant(trained):
    store, first, again, *_ = trained
    assert again.changed is False
    tags = versions.by_number("tiny", first.version).tags
    assert (tags["dpo.dataset"], tags["dpo.dataset_eval"]) == ("dataset:pairs@2", "dataset:held-out@1")
    record = lineage(store, first)
    assert record["recipe"]["data"]["train"] == "dataset:pairs@2"
    assert set(record["data"]["files"]) >= {"dataset:pairs@2", "dataset:held-out@1"}
    from mlflow import MlflowClient

    client = MlflowClient()
    assert client.get_run(first.mlflow_run_id).data.tags["dpo.dataset"] == "dataset:pairs@2"
    assert "dataset:pairs@2" in client.get_model_version("tiny", str(first.version)).description


def test_a_row_that_is_forgotten_names_the_models_that_have_had_it_and_no_other(trained, capfd):
    store, first, _, row, before, second = trained
    assert {held.dataset for held in before.held_by} - {"dataset:pairs@1"} == {"dataset:pairs@2"}
    assert [(m.model, m.version, m.data) for m in before.models] == [("tiny", first.version, "dataset:pairs@2")]
    assert second.changed
    assert second.version != first.version
    assert row not in {Pair.from_row(json.loads(line)).id for line in rows_of(store, second)}
    assert len(rows_of(store, second)) == len(rows_of(store, first)) - 1
    assert run(["data", "forget", row, "--json"]) == 0
    again = json.loads(capfd.readouterr().out)
    assert again["new"] is False
    assert [model["version"] for model in again["models"]] == [first.version]
    assert run(["data", "show", "pairs@2", "--json"]) == 0
    shown = json.loads(capfd.readouterr().out)
    assert shown["forgotten_since"] == 1
    assert [(m["version"], m["through"]) for m in shown["models"]] == [(first.version, ""), (second.version, "")]


def test_a_version_is_evaluated_on_by_name(trained, capfd):
    _, first, *_ = trained
    assert run(["evaluate", f"models:/tiny/{first.version}", "dataset:held-out@1", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["pairs"] == 24
