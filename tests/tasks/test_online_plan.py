"""Before a model answers while it is trained: which curation it may use, which prompts it may be asked."""

from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from dpo_core.curate.prompt_set import ON_RECORD
from dpo_core.data.pairs import Pair, lines_of
from dpo_core.data.splits import SplitSides
from dpo_core.errors import InputError
from dpo_core.quality.prompts.identity import digests, split_key
from dpo_core.recipe_file import load_recipe
from infra.settings import load_settings
from infra.store import open_store
from tasks.data_check.sides import record_sides, recorded_sides
from tasks.online.plan import online_plan
from tasks.online.prompts import online_prompts, record_asked
from tests.recipes import write_jsonl
from tests.tasks.online_life import CURATION
from tests.tiny import build_tiny_model

TEXTS = (
    "Praise a river|Mourn the last stone|Tell me of windows|Where do gardens end|Who wrote this letter|Cross a bridge"
)
OWN = TEXTS.split("|")
HELD_OUT, SUITE, EARLIER = "Which candle burns longest", "How clear is a mirror", "What fits into a basket"


def asks(text):
    return ({"role": "user", "content": text},)


def keys(*texts):
    return np.asarray(digests(split_key(asks(text)) for text in texts))


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """Write a recipe with a curation beside it, and load it; keywords change the curation's keys."""
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    write_jsonl(tmp_path / "asked.jsonl", [{"prompt": text} for text in (*OWN, HELD_OUT, SUITE, EARLIER)])
    write_jsonl(tmp_path / "suite.jsonl", [{"prompt": SUITE, "must_contain": "clear"}])
    values = {
        "name": "n",
        "model": "m",
        "data": {"train": "p.jsonl"},
        "training": {"train_batch_size": 2, "online": {"curation": "curate.yaml", "every": 1}},
        "evaluation": {"behaviour": {"s": "suite.jsonl"}},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(values))

    def loaded(*overrides, **changes):
        (tmp_path / "curate.yaml").write_text(yaml.safe_dump(CURATION | changes))
        return load_recipe(tmp_path / "run.yaml", overrides).recipe

    return loaded


@pytest.mark.parametrize(
    ("changes", "overrides", "says"),
    [
        (
            {"model": "endpoint:x", "endpoints": {"x": {"url": "http://127.0.0.1:9", "model": "m"}}},
            [],
            "can be trained",
        ),
        (
            {"rewards": None, "correction": {"rules": {"rules": [{"name": "x", "replace": {"a": "b"}}]}}},
            [],
            "correction",
        ),
        ({}, ["training.online.curation=gone.yaml"], "the recipe of the curation is missing"),
        ({}, ["training.num_train_epochs=2.0"], "num_train_epochs has no effect beside online"),
        ({}, ["training.online.offline_share=0.1"], "0.1 of 2 pairs is none"),
        ({}, ["training.online.offline_share=1.0"], "less than 1"),
        ({"rewards": {"rules": {"must_mach": "a"}}}, [], "did you mean 'must_match'"),
    ],
)
def test_what_cannot_be_meant_is_told_before_anything_is_asked(recipe, changes, overrides, says):
    with pytest.raises(InputError, match=says):
        online_plan(recipe(*overrides, **changes), open_store(load_settings()))


def test_a_reward_model_that_was_retrained_in_its_folder_is_another_for_the_run(recipe, tmp_path):
    wanted, store = recipe(rewards={"classifier": {"model": "./reward"}}), open_store(load_settings())

    def content(seed):
        build_tiny_model(tmp_path / "reward", seed=seed)
        return online_plan(wanted, store).content

    first = content(0)
    assert content(1) != first
    assert content(0) == first


@pytest.fixture
def asked(recipe, make_plan):
    """The prompts of a run whose held-out pairs ask one of the file, and whose suite another."""

    def of(*overrides):
        found, store = recipe(*overrides), open_store(load_settings())
        pair = Pair(asks(HELD_OUT), ({"role": "assistant", "content": "a"},), ({"role": "assistant", "content": "b"},))
        store.put_bytes("data/x/eval.jsonl", lines_of([pair])[0])
        plan = make_plan(recipe=found, model_folder="", online=online_plan(found, store))
        return online_prompts(store, plan, SimpleNamespace(eval_key="data/x/eval.jsonl"))

    return of


def test_no_prompt_is_asked_that_is_held_out_now_or_was_ever_or_that_a_suite_asks(asked, recipe):
    earlier = SplitSides.of(keys(EARLIER), np.ones(1, np.bool_))
    recipe()
    record_sides(open_store(load_settings()), "n", earlier, base=0, data_sha256="d")
    items, left_out = asked()
    assert [item.prompt[0]["content"] for item in items] == OWN
    assert left_out == {"equals a held-out prompt": 1, "equals a prompt of suite behaviour/s": 1, ON_RECORD: 1}


def test_what_is_asked_is_on_record_as_trained_on_and_once(asked):
    items, _ = asked()
    store = open_store(load_settings())
    for _ in range(2):
        record_asked(store, "n", items, data_sha256="d")
    known, entries = recorded_sides(store, ["n"])
    is_known, held_out = known.of_rows(keys(*OWN))
    assert is_known.all()
    assert not held_out.any()
    assert entries == 1


def test_more_steps_than_the_prompts_are_enough_for_are_told_with_the_numbers(asked):
    with pytest.raises(InputError, match="5 steps ask 10 prompts, and 7 in 1 passes are 7"):
        asked("training.max_steps=5")
    assert len(asked("training.max_steps=5", "training.online.passes=2.0")[0]) == 7
