"""`dpo evaluate`: models that cannot be compared, pairs that cannot be scored, a beta that is none."""

import json
import math

import pytest

from dpo_core.errors import InputError
from dpo_core.recipe_file import recipe_of_evaluation
from tasks.commands.evaluate_model import evaluate_model
from tests.tiny import CHAT_TEMPLATE, build_tiny_model


@pytest.fixture
def evaluated(tmp_path, tiny_model, monkeypatch):
    """An evaluation of the tiny model, or another, on the rows given."""
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))

    def evaluate(*rows, model=tiny_model, reference=None):
        (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        rules = recipe_of_evaluation(str(model), str(tmp_path / "pairs.jsonl"), [])
        return evaluate_model.fn(rules, reference and str(reference), 0.1)

    return evaluate


def pair(prompt="a"):
    return {"prompt": prompt, "chosen": " b", "rejected": " c"}


def test_a_reference_with_another_vocabulary_is_refused(evaluated, tmp_path):
    other = build_tiny_model(tmp_path / "other")
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(InputError, match="the reference has another vocabulary than the model") as caught:
        evaluated(pair(), reference=other)
    assert str(other) in caught.value.where


def test_a_pair_fits_both_models(evaluated, tmp_path):
    short = build_tiny_model(tmp_path / "short", max_positions=8)
    found = evaluated(pair(), pair("a much longer one"), reference=short)
    assert (found.pairs, found.rows_quarantined) == (1, 1)
    with pytest.raises(InputError, match=r"^none of 1 pairs can be scored; 1 of them: over-length") as caught:
        evaluated(pair("a much longer one"), reference=short)
    assert "encoding.max_length 8" in caught.value.says
    assert caught.value.do == "shorten the pairs, or take a model with a longer context"


def test_where_no_pair_can_be_scored_the_commonest_reason_is_told(evaluated, tmp_path):
    strict = build_tiny_model(tmp_path / "strict")
    refusing = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system here') }}{% endif %}"
    (strict / "chat_template.jinja").write_text(refusing + CHAT_TEMPLATE)
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    answers = {side: [{"role": "assistant", "content": side}] for side in ("chosen", "rejected")}
    rows = [{"prompt": turns, **answers}] * 2 + [{"prompt": turns, "chosen": answers["chosen"]}]
    with pytest.raises(InputError, match=r"none of 3 pairs can be scored; 2 of them: .*no system here"):
        evaluated(*rows, model=strict)


@pytest.mark.parametrize("beta", [-0.1, 0.0, math.nan, math.inf])
def test_a_beta_that_is_no_number_above_0_is_refused(beta):
    with pytest.raises(InputError, match=f"and beta is {beta:g}") as caught:
        recipe_of_evaluation("model", "pairs.jsonl", [], beta)
    assert "a number above 0" in caught.value.do
