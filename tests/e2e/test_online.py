"""A whole run that learns from its own answers: what it asks, and what is kept of it. The parts: tests/tasks."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from dpo_core.quality.prompts.identity import digests, split_key
from flows.retrain import retrain
from infra.registry import versions
from infra.settings import load_settings
from infra.store import open_store
from tasks.ancestry import training_rows
from tasks.commands.lineage import trace
from tasks.data_check.sides import recorded_sides
from tasks.runtime.pairs import stored_pairs
from tests.recipes import NOUNS, pair, tiny_recipe, write_jsonl
from tests.tasks.online_life import CURATION, OFF
from tests.tiny import build_talking_model

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.campaign]
OWN = [f"Write letters that {verb} a {noun}" for noun in NOUNS for verb in ("praise", "mourn")]
HELD_OUT = [pair(NOUNS[i % 12], i, "tell")["prompt"][0]["content"] for i in range(6)]
SUITE = ["say river", "say stone"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("online")
    training = {"num_train_epochs": 1.0, "train_batch_size": 4, "learning_rate": 3e-3}
    online = {"curation": "curate.yaml", "every": 2, "offline_share": 0.25, "stop": OFF}
    recipe = tiny_recipe(folder, training={**training, "online": online})
    values = yaml.safe_load(recipe.read_text())
    recipe.write_text(yaml.safe_dump({**values, "evaluation": {"behaviour": {"words": "behaviour.jsonl"}}, "gate": {}}))
    build_talking_model(folder / "model")
    write_jsonl(folder / "asked.jsonl", [{"prompt": text} for text in (*OWN, *HELD_OUT, *SUITE)])
    (folder / "curate.yaml").write_text(yaml.safe_dump(CURATION))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DPO_HOME", str(folder / "home"))
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        yield folder


@pytest.fixture(scope="module")
def done(folder):
    return retrain(str(folder / "retrain.yaml")).document


def rows_of(done):
    store = open_store(load_settings())
    keys = training_rows(store, [versions.by_number("tiny", done.version)])
    (online,) = (key for key in keys if key.endswith("/online.jsonl"))
    return store, stored_pairs(store, online)


def test_held_out_prompts_and_those_of_suites_are_never_asked_and_the_others_are_on_record(done):
    store, pairs = rows_of(done)
    asked = {row.prompt[0]["content"] for row in pairs}
    assert asked <= set(OWN)
    assert len(pairs) == done.training.online.pairs > 0
    known, _ = recorded_sides(store, ["tiny"])
    keys = digests(split_key(({"role": "user", "content": text},)) for text in OWN)
    is_known, held_out = known.of_rows(np.asarray(keys))
    assert is_known.all()
    assert not held_out.any()


def test_the_lineage_leads_to_the_pairs_and_to_their_log_probs(done):
    found = trace(open_store(load_settings()), "tiny", done.version)
    links = {link.what: link for link in found.links}
    assert found.verdict == "pass"
    assert links["online"].status == "verified"


def test_the_page_shows_the_curves_and_the_second_run_is_a_look_up(done, folder):
    page = Path(done.report).read_text()
    assert "Its own answers, as it learned from them" in page
    assert "Their mean length, in tokens" in page
    again = retrain(str(folder / "retrain.yaml")).document
    assert again.weights_sha256 == done.weights_sha256
    assert again.training.online == done.training.online
    assert all(stage.cached for stage in again.stages)
