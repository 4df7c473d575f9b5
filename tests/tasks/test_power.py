"""What a gate will be able to tell, said before anything is trained."""

import json

import pytest

from dpo_core.recipe import Recipe
from tasks.power import detectable


@pytest.fixture
def recipe(tmp_path):
    """Asks for a gain on 40 questions, two of which are one, and keeps 319 facts."""
    asked = {"b": [f"question {n}" for n in range(39)] + ["Question  7"], "f": [f"fact {n}" for n in range(319)]}
    for name, prompts in asked.items():
        lines = [json.dumps({"prompt": prompt, "must_contain": ["x"]}) for prompt in prompts]
        (tmp_path / name).write_text("\n".join(lines))

    def made(sealed_from=600, **gate):
        suites = {"behaviour": {"b": str(tmp_path / "b")}, "retention": {"f": str(tmp_path / "f")}}
        asked = {**suites, "sealed_from": sealed_from}
        return Recipe(name="n", model="m", data={"train": "t"}, evaluation=asked, gate=gate)

    return made


def test_the_effect_is_that_of_the_normal_approximation_with_a_fifth_of_the_answers_changed(recipe):
    [kept] = detectable(recipe(improve=[], keep={"retention/f": 0.1}))
    assert kept.prompts == 319
    assert kept.effect == pytest.approx(2.4865 * (0.2 / 319) ** 0.5, abs=1e-4)  # z of .95 plus z of .8


def test_a_gain_is_looked_for_at_the_alpha_of_a_look_and_wordings_count_once(recipe):
    [gain] = detectable(recipe(improve=["behaviour/b"], keep={}))
    assert gain.prompts == 39
    assert gain.effect == pytest.approx((2.605 + 0.8416) * (0.2 / 39) ** 0.5, rel=2e-3)  # .0046 one-sided: 52 looks


def test_held_out_pairs_that_nobody_has_counted_are_told_of_by_examples(recipe):
    found = detectable(recipe(keep={}))
    assert [(f.metric, f.prompts, f.assumed) for f in found] == [
        ("rewards/accuracies", n, True) for n in (100, 400, 1600)
    ]
    assert "100 held-out prompts would show a true difference of 0.15 or more" in found[0].says
    [counted] = detectable(recipe(keep={}), 50)
    assert (counted.prompts, counted.assumed) == (50, False)
    assert "rewards/accuracies: 50 prompts show" in counted.says


def test_the_default_rules_are_told_of_as_written_ones_are(recipe):
    # sound answers are to 39 + 319 questions, and to 32 held-out prompts, or as many as there are
    for held_out, sound in ((50, 390), (10, 368)):
        found = {(f.rule, f.metric): f.prompts for f in detectable(recipe(), held_out)}
        assert found == {("improve", "rewards/accuracies"): held_out, ("keep", "generations/sound"): sound}
    no_questions = Recipe(name="n", model="m", data={"train": "t"})
    assert [f.prompts for f in detectable(no_questions, 50)] == [50, 32]
    assert [f.metric for f in detectable(no_questions, 50, answers=False)] == ["rewards/accuracies"]


def test_prompts_that_are_sealed_from_the_gate_show_it_nothing(recipe):
    [kept] = detectable(recipe(improve=[], keep={"retention/f": 0.1}, sealed_from=300))
    assert kept.prompts == 319 - 106


def test_a_condition_that_no_outcome_could_meet_is_told(recipe):
    found = detectable(recipe(improve=["behaviour/b"], keep={"retention/f": 0.005}, floor={"behaviour/b": 0.95}))
    needed = {condition.rule: condition.needed for condition in found}
    # .5 ** 8 = .0039 is below .0046; .995 ** 598 and .95 ** 59 are the first powers below .05
    assert needed == {"improve": 8, "keep": 598, "floor": 59}
    assert [bool(condition.obstacle) for condition in found] == [False, True, True]
