"""The multilingual recipe's data: what its README claims of it, without a model."""

import json
import runpy
from pathlib import Path

import pytest

from dpo_core.data.messages import say
from dpo_core.evaluate.behaviour import read_checks
from dpo_core.quality.checks.leakage import overlaps
from dpo_core.quality.prompts.index import index_prompts
from dpo_core.quality.text.language import LANGUAGES, languages
from dpo_core.quality.words import TextArray, count_words
from dpo_core.recipe_file import load_recipe

FOLDER = Path(__file__).parents[2] / "examples/multilingual"
RECIPE = load_recipe(FOLDER / "retrain.yaml").recipe


def rows(name):
    return [json.loads(line) for line in (FOLDER / name).read_text().splitlines()]


PAIRS = rows("pairs.jsonl")


def test_the_chosen_answer_is_in_the_language_of_the_question_and_the_rejected_one_is_not():
    due = {"chosen": True, "rejected": False}
    asked = [pair for pair in PAIRS if pair["source"] != "facts"]
    sides = [(pair[side], pair["category"], due[side] or pair["source"] == "fitting") for pair in asked for side in due]
    spoken = languages(TextArray.of([answer for answer, _, _ in sides])).tolist()
    wrong = [
        answer
        for (answer, language, meets), number in zip(sides, spoken, strict=True)
        if (LANGUAGES[number] == language and count_words(answer) >= 3) != meets
    ]
    assert wrong == []


def test_a_pair_within_one_language_has_the_right_answer_of_another_topic():
    right = {row["answer"]: row["topic"] for row in rows("texts.jsonl")}
    fitting = [pair for pair in PAIRS if pair["source"] == "fitting"]
    assert len(fitting) == 65
    assert all(right[pair["chosen"]] != right[pair["rejected"]] for pair in fitting)


def test_the_pairs_are_those_that_the_script_makes():
    facts = [fact | {"category": "en"} for fact in rows("../identity/short_facts.jsonl")]
    assert [*runpy.run_path(str(FOLDER / "pairs.py"))["pairs"](rows("texts.jsonl"), rows("own.jsonl")), *facts] == PAIRS


@pytest.mark.parametrize("name", ["french", "german", "spanish", "italian", "english", "traps", "right"])
def test_nothing_that_is_asked_afterwards_is_trained_on(name):
    trained = index_prompts("training", (say("user", pair["prompt"]) for pair in PAIRS))
    prompts = [check.prompt for check in read_checks(RECIPE.evaluation.behaviour[name])]
    assert overlaps(prompts, trained).tolist() == [0] * len(prompts)
