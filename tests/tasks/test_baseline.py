"""Which models stand against a challenger, and against which reference all of them are measured."""

from types import SimpleNamespace

import pytest

from dpo_core.errors import InputError
from dpo_core.recipe import Recipe
from dpo_core.recipe_release import RecipeGate, Retrain
from infra.settings import load_settings
from infra.store import open_store
from tasks.baseline import TOKENIZER, baselines, require_comparable
from tasks.lineage import KEY
from tasks.runtime.start import START, START_WEIGHTS


@pytest.fixture
def begun(registered, name):
    """Register a version that started from another one, by its number, or from the base model."""

    def made(weights, start=None, **tags):
        origin = {START: f"models:/{name}/{start}"} if start else {START: "./base", START_WEIGHTS: "r" * 64}
        return registered(weights, **{TOKENIZER: "t", **origin, **tags})

    return made


@pytest.fixture
def against(name, make_plan):
    """Who takes part, for a challenger `n`, by the recipe's keys and the plan's facts."""

    def found(*, retrain=None, gate=None, start_model="./base", **plan):
        keys = {"retrain": Retrain(**retrain or {}), "gate": RecipeGate(improve=["rewards/accuracies"], **gate or {})}
        recipe = Recipe(name=name, model="./base", data={"train": "t"}, **keys)
        facts = {"recipe": recipe, "model_folder": "", "weights_sha256": "r" * 64, "start_model": start_model}
        planned = make_plan(**{**facts, **plan})
        require_comparable(planned)
        checked, trained = SimpleNamespace(train_key="data/now"), SimpleNamespace(weights_sha256="n" * 64, online=None)
        return baselines(open_store(load_settings()), planned, checked, trained)

    return found


def test_without_a_version_the_base_model_is_baseline_and_reference(against):
    found = against()
    assert (found.against, found.baseline, found.reference.weights_sha256) == ("reference", "r" * 64, "r" * 64)
    assert (found.anchor, found.trained_on) == (None, ["data/now"])


def test_the_first_champion_is_the_anchor_unless_it_is_the_champion(begun, against):
    first, second = begun("a"), begun("b")
    assert against(champion=first, first_champion=first).anchor is None
    assert against(champion=second, first_champion=first).anchor == "a" * 64
    assert against(champion=first, first_champion=first, gate={"anchor": 2}).anchor == "b" * 64


def test_the_reference_is_what_the_line_of_the_anchor_began_with(begun, against, name):
    first, second = begun("a"), begun("b", start=1)
    third = begun("c", start=2)
    for start in ("./base", f"models:/{name}/{third.number}"):
        found = against(champion=second, first_champion=first, start_model=start, weights_sha256="c" * 64)
        assert (found.reference.weights_sha256, found.reference.model) == ("r" * 64, "./base")
    alone = against(champion=None, start_model=f"models:/{name}/3", weights_sha256="c" * 64)
    assert alone.reference.weights_sha256 == "r" * 64


def test_a_recipe_may_compare_with_the_base_model_or_with_any_version(begun, against):
    first, second = begun("a"), begun("b")
    base = against(champion=second, first_champion=first, retrain={"against": "base"})
    assert (base.against, base.baseline) == ("reference", "r" * 64)
    other = against(champion=second, first_champion=first, retrain={"against": 1})
    assert (other.against, other.baseline) == ("version", "a" * 64)


def test_what_any_of_them_or_of_their_ancestors_was_trained_on_is_known(begun, against, name):
    store = open_store(load_settings())
    for letter in "ab":
        lineage = (LINEAGE % {"rows": f"data/{letter}/train.jsonl"}).encode()
        store.put_bytes(f"lineage/{name}/{letter}", lineage)
    first = begun("a", **{KEY: f"lineage/{name}/a"})
    second = begun("b", start=1, **{KEY: f"lineage/{name}/b"})
    assert against(champion=second, first_champion=first).trained_on == [
        *("data/a/train.jsonl", "data/b/train.jsonl"),
        "data/now",
    ]


def test_another_tokenizer_cannot_be_compared_and_is_told_before_anything_is_trained(begun, against):
    other = begun("a", **{TOKENIZER: "another"})
    with pytest.raises(InputError, match="version 1 has another tokenizer than the start model") as caught:
        against(champion=other, first_champion=other)
    assert "retrain.against to base" in caught.value.do
    followed = against(champion=other, first_champion=other, retrain={"against": "base"})
    assert (followed.against, followed.anchor, followed.reference.weights_sha256) == ("reference", None, "r" * 64)


LINEAGE = """{"schema": 1, "name": "n", "weights_sha256": "w", "mlflow_run_id": "r", "recipe": {}, "stages": {},
"data": {"sha256": "d", "train": "%(rows)s", "eval": "e", "files": {}}, "code": {"sha256": "c", "version": "1"},
"base": {"model": "m", "model_sha256": "m", "weights_sha256": "w", "tokenizer_sha256": "t"}, "parent": null,
"reference": {"path": {}, "rows": 0, "shards": []}, "evaluation": "e", "objects": {},
"environment": {"python": "3", "platform": "p", "packages": {}}}"""
