"""The documents that `--json` prints, as types: what a program may rely on."""

import json

import pytest

from flows.cli.app import run
from flows.cli.documents import (
    DoctorReport,
    Document,
    EffectiveConfig,
    GarbageReport,
    StoreListing,
    StoreUsage,
    StoreVerification,
)
from infra.settings import load_settings
from infra.store import open_store


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    store = open_store(load_settings())
    store.put_bytes("reports/a/retrain.html", bytes(1_500_000))
    return store


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["store", "ls"], StoreListing),
        (["store", "du"], StoreUsage),
        (["store", "verify"], StoreVerification),
        (["store", "gc"], GarbageReport),
        (["doctor"], DoctorReport),
    ],
)
def test_a_document_has_the_fields_of_its_type_in_their_order_and_no_other(store, capfd, arguments, kind):
    assert run([*arguments, "--json"]) == 0
    printed = json.loads(capfd.readouterr().out)
    assert list(printed) == ["schema", *list(kind.model_fields)[1:]]
    assert kind.model_validate(printed).to_json() == printed


def test_a_config_has_the_fields_of_its_type(tmp_path, capfd):
    recipe = tmp_path / "run.yaml"
    recipe.write_text("name: athene\nmodel: ./model\ndata: {train: pairs.jsonl}\n")
    assert run(["config", str(recipe), "--json"]) == 0
    printed = json.loads(capfd.readouterr().out)
    assert list(printed) == ["schema", "recipe", "origins", "settings", "detectable"]
    assert EffectiveConfig.model_validate(printed).to_json() == printed


@pytest.mark.parametrize("kind", Document.__subclasses__(), ids=lambda kind: kind.__name__)
def test_every_document_says_that_it_is_of_schema_1(kind):
    assert kind.model_json_schema()["properties"]["schema"]["const"] == 1


def test_people_read_sizes_in_units(store, capfd):
    assert run(["store", "ls"]) == 0
    assert capfd.readouterr().out.startswith("    1.5 MB  ")
