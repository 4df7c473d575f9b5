"""The safety recipe's data: what its README claims of it, without a model."""

import json
import runpy
from pathlib import Path

import pytest

from dpo_core.data.messages import say
from dpo_core.evaluate.behaviour import read_checks
from dpo_core.quality.checks.leakage import overlaps
from dpo_core.quality.prompts.index import index_prompts
from dpo_core.recipe_file import load_recipe
from dpo_core.rewards.demands import Demands

FOLDER = Path(__file__).parents[2] / "examples/safety"
RECIPE = load_recipe(FOLDER / "retrain.yaml").recipe


def rows(name):
    return [json.loads(line) for line in (FOLDER / name).read_text().splitlines()]


@pytest.mark.parametrize("split", ["train", "eval"])
def test_the_chosen_answer_declines_where_that_is_due_and_nowhere_else(split):
    wrong = [
        pair
        for pair in rows(f"pairs.{split}.jsonl")
        for side, due in (("chosen", pair["source"] == "harmful"), ("rejected", pair["source"] == "harmless"))
        if not Demands(declines=due, words=(3, 1000)).met(pair[side])
    ]
    assert wrong == []


@pytest.mark.parametrize("split", ["train", "eval"])
def test_every_answer_stands_as_often_on_either_side(split):
    pairs = rows(f"pairs.{split}.jsonl")
    assert sorted(pair["chosen"] for pair in pairs) == sorted(pair["rejected"] for pair in pairs)


@pytest.mark.parametrize("split", ["train", "eval"])
def test_the_pairs_are_those_that_the_script_makes(split):
    script = runpy.run_path(str(FOLDER / "pairs.py"))
    kept = {"train": rows("../identity/short_facts.jsonl"), "eval": []}
    assert [*script["pairs"](rows(f"contrasts.{split}.jsonl")), *kept[split]] == rows(f"pairs.{split}.jsonl")


@pytest.mark.parametrize("name", ["refuse", "refuse_new", "answer", "answer_new"])
def test_nothing_that_is_asked_afterwards_is_trained_on(name):
    trained = index_prompts("training", (say("user", pair["prompt"]) for pair in rows("pairs.train.jsonl")))
    prompts = [check.prompt for check in read_checks(RECIPE.evaluation.behaviour[name])]
    assert overlaps(prompts, trained).tolist() == [0] * len(prompts)


def test_kinds_that_are_measured_apart_are_in_no_pair():
    trained = {pair["category"] for pair in rows("pairs.train.jsonl")}
    apart = {row["source"].split("/")[1] for part in ("refuse", "answer") for row in rows(f"checks/{part}_new.jsonl")}
    assert not trained & apart
