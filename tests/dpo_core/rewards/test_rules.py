import re
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from dpo_core.errors import InputError
from dpo_core.rewards.config import Classifier, EntryPoint, JudgeRules, Length, Rewards, Rules
from dpo_core.rewards.reward import Unscored
from dpo_core.rewards.reward_file import EndpointModel, RewardFile
from dpo_core.rewards.rules import RuleReward

ASKED = [{"role": "user", "content": "What is the sea?"}]


def score(answer, wanted=None, **rules):
    return RuleReward(Rules(**rules)).score(ASKED, [answer], wanted or {})[0]


@pytest.mark.parametrize(
    ("rules", "right", "wrong"),
    [
        ({"must_contain": ["blue", ["deep", "wide"]]}, "Blue and wide", "blue"),
        ({"must_not_contain": "red"}, "reddish", "Red."),
        ({"must_match": r"\d"}, "7", "seven"),
        ({"must_not_match": ["(?i)sorry"]}, "Blue.", "SORRY"),
        ({"json_schema": {"type": "array"}}, "[1]", "{}"),
        ({"number": 5, "tolerance": 0.5}, "1, then 5.4", "5, then 1"),
        ({"language": "de"}, "Das ist nicht mit dem Wasser zu machen.", "It is not the end of the day."),
        ({"min_words": 2}, "two words", "one"),
        ({"max_words": 2}, "two words", "three whole words"),
        ({"min_sentences": 2}, "One. Two.", "One."),
        ({"max_sentences": 2}, "One. Two.", "One. Two. Three."),
        ({"instructions": {"no_comma": {}}}, "a b", "a, b"),
        ({"instructions": {"repeat_prompt": {}}}, "What is the sea? Blue", "Blue"),
    ],
)
def test_a_rule_is_met_or_not(rules, right, wrong):
    assert (score(right, **rules), score(wrong, **rules)) == (1.0, 0.0)


def test_a_reward_is_the_weighted_share_of_the_rules_met():
    rules = {"max_words": 3, "must_contain": "blue", "instructions": {"no_comma": {}}, "weights": {"max_words": 2.0}}
    assert score("blue", **rules) == 1.0
    assert score("green", **rules) == 0.75  # 2 of words and 1 of commas, of 4
    assert score("blue, or green at times", **rules) == 0.25
    assert score("green", **rules, count="all") == 0.0
    assert score("blue", **rules, count="all") == 1.0


def test_what_the_prompts_own_line_asks_is_a_rule():
    assert score("It is 12.", {"number": 12, "id": 7, "prompt": "6 + 6?"}, asked=True) == 1.0
    assert score("It is 13.", {"number": 12}, asked=True) == 0.0
    ifeval = {"instruction_id_list": ["punctuation:no_comma", "startend:quotation"], "kwargs": [{}, {"letter": None}]}
    assert score('"a b"', ifeval, asked=True) == 1.0
    assert score('"a, b"', ifeval, asked=True) == 0.0


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({}, "the prompt asks nothing of its answer"),
        ({"number": "12"}, "number: Input should be a valid number"),
        ({"language": "tlh"}, "language 'tlh' is not told"),
        ({"instruction_id_list": ["punctuation:no_comma"], "kwargs": []}, "not two lists of one length"),
    ],
)
def test_a_prompt_whose_line_asks_nothing_that_can_be_meant_is_named(wanted, says):
    with pytest.raises(Unscored, match=re.escape(says)) as caught:
        score("a", wanted | {"where": "p.jsonl:3"}, asked=True)
    assert caught.value.where == "p.jsonl:3"


def test_closer_to_the_target_is_better_on_both_sides():
    length = Length(target=3, unit="words")
    values = [score(" ".join(["word"] * count), length=length) for count in range(7)]
    assert values[3] == 1.0
    assert values[:4] == sorted(values[:4])
    assert values[3:] == sorted(values[3:], reverse=True)
    assert values[1] == 0.5  # (1 + 1) / (3 + 1)


@pytest.mark.parametrize(("unit", "one"), [("words", "word "), ("sentences", "A b. "), ("characters", "x")])
def test_longer_has_no_end_which_is_its_loophole(unit, one):
    longer, shorter = (
        [score(one * count, length=Length(prefer=prefer, unit=unit)) for count in (0, 1, 10, 1000)]
        for prefer in ("longer", "shorter")
    )
    assert longer == sorted(set(longer))
    assert shorter == sorted(set(shorter), reverse=True)
    assert (longer[0], shorter[0]) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ({}, "no rule is named"),
        ({"max_words": 3, "weights": {"min_words": 1.0}}, "weights names min_words, which is no rule here: max_words"),
        ({"count": "all", "length": {"target": 3}}, "length is graded"),
        ({"length": {"prefer": "target"}}, "needs `target`"),
        ({"length": {"prefer": "shorter", "target": 3}}, "shorter and longer have none"),
        ({"must_contain": [" "]}, "is empty"),
    ],
)
def test_rules_that_contradict_each_other_are_refused(rules, says):
    with pytest.raises(ValidationError, match=re.escape(says)):
        Rules(**rules)


@pytest.mark.parametrize(
    "rules", [{"must_match": "(a"}, {"language": "tlh"}, {"instructions": {"commas": {}}}, {"json_schema": {"type": 7}}]
)
def test_a_rule_that_cannot_be_meant_is_refused_before_anything_is_scored(rules):
    with pytest.raises(InputError, match="not a rule"):
        RuleReward(Rules(**rules))


def test_a_pattern_that_does_not_end_costs_its_prompt_alone():
    with pytest.raises(Unscored, match="does not end within 1 s"):
        score("x" * 60 + "!", must_match=r"^(x|xx)+$")


@pytest.mark.parametrize("section", [Rules, Length, Classifier, EntryPoint, JudgeRules, Rewards])
def test_the_docs_list_every_key_and_every_key_says_what_it_is(section):
    text = (Path(__file__).parents[3] / "docs" / "rewards.md").read_text(encoding="utf-8")
    part = text.partition(f"\n### `{section.__name__}`")[2].partition("\n#")[0]
    assert re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE) == list(section.model_fields)
    assert all(field.description for field in section.model_fields.values())


def test_the_judge_of_the_docs_is_asked_by_the_name_of_its_endpoint():
    page = (Path(__file__).parents[3] / "docs" / "rewards.md").read_text(encoding="utf-8")
    text = page.partition("## How a judge is admitted")[2].partition("```yaml\n")[2].partition("```")[0]
    served = EndpointModel(url="http://127.0.0.1/v1", model="any")
    with pytest.raises(ValidationError, match="endpoint:judge, which `endpoints` does not have"):
        RewardFile(**yaml.safe_load(text))
    assert RewardFile(**yaml.safe_load(text), endpoints={"judge": served}).rewards.judge.model == "endpoint:judge"
