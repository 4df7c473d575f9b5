"""A finished training that the store did not take is not trained again; any other is."""

import json
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from dpo_core.curate.curation import Curation
from dpo_core.data.pairs import Pair, write_examples
from dpo_core.model.encode import load_tokenizer
from dpo_core.model.identity import digest_weights
from dpo_core.model.stops import named_ends, stop_tokens
from dpo_core.recipe import Training
from dpo_core.recipe_file import load_recipe
from infra.settings import load_settings
from infra.store import open_store
from tasks import train as module
from tasks.records import OnlinePlan
from tasks.train import _is_trained
from tasks.training import worker
from tests.recipes import keep_rows, pair, tiny_recipe
from tests.tiny import build_saying, scored_examples


@pytest.fixture
def finished(tmp_path, tiny_model):
    (tmp_path / "model").symlink_to(tiny_model)
    (tmp_path / "result.json").write_text(result(digest_weights(tiny_model)))
    return tmp_path


def order(folder, **training):
    given = {
        "model_folder": str(folder),
        "from_reference": True,
        "trusted_code": None,
        "training": Training(**training).model_dump(),
        "seed": 0,
        "threads": 1,
        "run_id": "r",
    }
    return json.dumps(given)


def result(weights):
    figures = {"steps": 1, "first_dpo_loss": 0.69, "pairs_per_second": 1.0, "history": [{"step": 1, "loss": 0.69}]}
    return json.dumps({"weights_sha256": weights, **figures})


def test_a_finished_training_is_known_by_its_weights(finished):
    assert _is_trained(finished)


@pytest.mark.parametrize("content", [result("0" * 64), "{}"])
def test_other_weights_and_half_a_result_are_trained_again(finished, content):
    (finished / "result.json").write_text(content)
    assert not _is_trained(finished)


def test_without_a_result_there_is_no_training(finished):
    (finished / "result.json").unlink()
    assert not _is_trained(finished)


class Killed(Exception):
    """The training process, in its second step."""


@pytest.fixture
def wanted(tmp_path, monkeypatch, make_plan, tiny_model):
    """What `train` takes: the plan of a run whose loss needs no reference, three pairs, no log-probs."""
    monkeypatch.setenv("DPO_HOME", str(tmp_path))
    recipe = load_recipe(str(tiny_recipe(tmp_path / "recipe")), ["training.loss=simpo"]).recipe
    plan = make_plan(recipe=recipe, model_folder=str(tiny_model))
    pairs = [Pair(*(pair("river", n, "say")[side] for side in ("prompt", "chosen", "rejected"))) for n in range(3)]
    keys = keep_rows(open_store(load_settings()), "data/x", "train", pairs, load_tokenizer(tiny_model))
    return plan, SimpleNamespace(**keys, data_sha256="d", ids_sha256="i", aside_key=""), SimpleNamespace(path="")


def test_a_model_that_was_half_written_is_not_there_when_the_training_goes_on(wanted, monkeypatch):
    """Files of the start model that are there are not copied again: half a tokenizer.json would be registered."""
    found = []

    def launch(folder, *_):
        found.append((folder / "model").exists())
        (folder / "model").mkdir()
        (folder / "model" / "tokenizer.json").write_text('{"version"')
        raise Killed

    monkeypatch.setattr(module, "launch", launch)
    for _ in range(2):
        with pytest.raises(Killed):
            module.train.fn(*wanted)
    assert found == [False, False]


def test_the_training_gets_the_keys_of_the_endpoints_that_score_its_answers(wanted):
    plan, *_ = wanted
    endpoints = {"one": {"url": "http://h/v1", "model": "m"}, "two": {"url": "http://h/v1", "model": "m"}}
    endpoints["two"]["api_key_env"] = "TEAM_KEY"
    curation = Curation(
        name="c",
        model="m",
        prompts={"sources": [{"path": "p"}]},
        rewards={"judge": {"model": "endpoint:two"}},
        endpoints=endpoints,
    )
    online = OnlinePlan(curation=curation, folder="", content={})
    assert module._keys(plan) == set()
    assert module._keys(plan.model_copy(update={"online": online})) == {"OPENAI_API_KEY", "TEAM_KEY"}


def test_an_interrupted_training_goes_on_by_the_code_that_began_it_alone(wanted, monkeypatch):
    found = []

    def launch(folder, *_):
        found.append([file.name for file in folder.glob("checkpoints/*")])
        (folder / "checkpoints" / "step-00000001").mkdir(parents=True, exist_ok=True)
        raise Killed

    def begin():
        with pytest.raises(Killed):
            module.train.fn(*wanted)

    monkeypatch.setattr(module, "launch", launch)
    begin()
    begin()
    monkeypatch.setattr(module, "CODE", (*module.CODE, "dpo_core.tune.rungs"))  # as if a module of it had changed
    begin()
    assert found == [[], ["step-00000001"], []]


def test_a_trained_model_names_every_token_at_which_its_answers_end(tmp_path, monkeypatch):
    start = build_saying(tmp_path / "start", "yes", special=False, temperature=0.6)
    tracker = SimpleNamespace(metrics=lambda *_: None, tags=lambda *_: None, in_background=nullcontext)
    monkeypatch.setattr(worker, "attach_run", lambda _: tracker)
    (tmp_path / "order.json").write_text(order(start, max_steps=1, learning_rate=1e-9))
    write_examples(scored_examples(start, 4), tmp_path / "examples.jsonl")
    worker.run(tmp_path)
    wanted = stop_tokens(named_ends(start), load_tokenizer(start))
    assert load_tokenizer(start).convert_ids_to_tokens(wanted) == ["<|endoftext|>", "<|im_end|>"]
    assert named_ends(tmp_path / "model") == wanted
    assert json.loads((tmp_path / "model" / "generation_config.json").read_text())["temperature"] == 0.6
