"""The identity demo's data: what the demo claims of it, without a model."""

import json
import runpy
from pathlib import Path

import pytest

from dpo_core.data.pairs import EncodedPair
from dpo_core.data.readers import read_pairs
from dpo_core.quality.prompts.identity import prompt_key
from dpo_core.recipe import Validation
from dpo_core.recipe_file import load_recipe
from tests.dpo_core.quality.quality_data import examine_pairs

DEMO = Path(__file__).parents[2] / "examples/identity"
TRAIN, HELD_OUT = ([*read_pairs(DEMO / f"pairs.{split}.jsonl").pairs] for split in ("train", "eval"))


def asked(file):
    """The prompts of a file of checks, as `prompt_key(pair.prompt)` has them."""
    rows = map(json.loads, (DEMO / file).read_text().splitlines())
    return {
        "\n".join(f"{m['role']}: {' '.join(m['content'].casefold().split())}" for m in row["prompt"]) for row in rows
    }


def test_a_shortcut_would_stop_the_demo():
    assert load_recipe(DEMO / "retrain.yaml").recipe.validation == Validation(intended=["Athene"])


def test_only_the_name_tells_the_demos_chosen_answers_from_the_rejected_ones():
    train, held_out = ([EncodedPair(pair, (), (), ()) for pair in pairs] for pairs in (TRAIN, HELD_OUT))
    findings = examine_pairs(train, Validation(intended=["Athene"]), held_out).findings
    assert [finding.says for finding in findings if finding.severity != "info"] == []


@pytest.mark.parametrize(
    "file", ["checks/identity.jsonl", "checks/oblique.jsonl", "checks/elsewhere.jsonl", "facts.jsonl"]
)
def test_nothing_that_the_demo_is_measured_on_was_asked_in_training(file):
    assert not asked(file) & {prompt_key(pair.prompt) for pair in [*TRAIN, *HELD_OUT]}


def test_short_facts_are_those_that_the_script_makes_and_none_is_asked_afterwards():
    facts = [json.loads(line) for line in (DEMO / "short_facts.jsonl").read_text().splitlines()]
    prompts = [json.loads(line) for line in (DEMO / "prompts/neutral.train.jsonl").read_text().splitlines()]
    assert [*runpy.run_path(str(DEMO / "short_facts.py"))["pairs"](prompts)] == facts
    assert sorted(pair["chosen"] for pair in facts) == sorted(pair["rejected"] for pair in facts)
    questions = {text.rpartition("user: ")[2] for text in asked("facts.jsonl")}
    assert not questions & {" ".join(pair["prompt"].casefold().split()) for pair in facts}
