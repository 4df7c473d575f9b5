"""The page of a run: what the gate asked in words that are true, and answers sorted by what became of them."""

import re

import pytest

from dpo_core.report.answers import filters, shown_suites
from dpo_core.report.conditions import shown_conditions
from dpo_core.report.documents import EvaluationEvidence
from dpo_core.report.model_card import base_name
from dpo_core.report.retrain import spent
from tests.dpo_core.report import run_data


@pytest.mark.parametrize(
    ("rule", "verdict", "asked", "headline"),
    [
        ("improve", "promote", 0.0, "Better than the champion, beyond chance."),
        ("improve", "promote", 0.02, "Better than the champion by more than 2 points, beyond chance."),
        ("improve", "reject_regression", 0.0, "Worse than the champion, beyond chance."),
        ("improve", "hold_no_gain", 0.0, "It is not shown to be better than the champion."),
        ("improve", "hold_underpowered", 0.0, "Too few to tell whether it is better than the champion."),
        ("keep", "promote", 0.125, "Not worse than the champion by more than 12.5 points."),
        ("keep", "reject_regression", 0.1, "Worse than the champion by more than 10 points."),
        ("keep", "hold_underpowered", 0.1, "It is not ruled out that it is worse than the champion by more than 10 points."),  # noqa: E501
        ("floor", "promote", 0.85, "At least 85 %, as asked."),
        ("floor", "hold_no_gain", 0.85, "Below the 85 % asked for."),
        ("floor", "hold_underpowered", 0.85, "It is not shown that it reaches 85 %."),
        ("uptake", "promote", 0.65, "An answer is preferred for this alone with a chance of 65 % at most."),
    ],
)  # fmt: skip
def test_each_outcome_of_a_condition_has_its_sentence(rule, verdict, asked, headline):
    condition = run_data.condition("behaviour/x", rule, verdict, (0.4, 0.5), (0.02, 0.2), asked)
    [shown] = shown_conditions([condition.model_dump()], "champion")
    assert shown.headline == headline
    assert bool(shown.aside) == (verdict != "promote"), "what does not simply hold is said in full"


def test_figures_are_percentages_and_points_where_a_metric_is_a_share_and_numbers_where_it_is_none():
    facts, text = [
        dict(c.figures) for c in shown_conditions([c.model_dump() for c in run_data.CONDITIONS[1:3]], "champion")
    ]
    assert facts == {
        "before": "64.0 %", "now": "47.0 %", "change": "-17.0 points (-21.0 to -13.0)", "items": "319 of 317 prompts",
        "left out, as trained on": "12", "better, worse on": "40, 18",
    }  # fmt: skip
    assert (text["before"], text["now"], text["change"]) == ("-3.41", "-3.52", "-0.11 (-0.2 to +0.02)")


@pytest.mark.parametrize(
    ("bounds", "change"),
    [
        ((-0.1, None), "+10.0 points (at least -10.0)"),
        ((None, 0.3), "+10.0 points (at most +30.0)"),
        ((None, None), "+10.0 points"),
    ],
)
def test_a_change_that_few_items_bound_on_one_side_alone_is_shown_with_that_side(bounds, change):
    condition = run_data.condition("behaviour/x", "keep", "hold_underpowered", (0.4, 0.5), bounds, 0.02)
    [shown] = shown_conditions([condition.model_dump()], "champion")
    assert dict(shown.figures)["change"] == change


def test_a_shortcuts_figures_are_the_chance_to_prefer_it_one_minus_what_the_gate_tests():
    condition = run_data.condition("uptake/x", "uptake", "promote", (0.5, 0.41), (0.38, 0.44), 0.65)
    [shown] = shown_conditions([condition.model_dump()], "champion")
    assert dict(shown.figures)["now"] == "59.0 %"


def test_what_was_not_measured_is_said_and_what_failed_comes_first():
    shown = shown_conditions([c.model_dump() for c in run_data.CONDITIONS], "reference")
    assert [c.word for c in shown] == ["fails", "fails", "open", "open", "holds", "holds"]
    assert shown[3].headline == "It could not be measured."
    assert "the base model" in shown[0].headline
    assert "the anchor" in shown[2].headline


def test_each_answer_is_counted_by_what_became_of_it_also_where_a_prompt_is_asked_twice():
    twice = {**run_data.EVIDENCE, "checks": {"behaviour/identity": [run_data.LOST, run_data.LOST, run_data.WON]}}
    suite, samples = shown_suites(EvaluationEvidence.model_validate(twice), "champion")
    assert [a.outcome for a in suite.answers] == ["lost", "missed", "won"]  # one flip: the other was wrong before
    assert [a.outcome for a in samples.answers] == ["sample"]
    assert filters([suite, samples]) == [
        ("lost", "right before, wrong now", 1), ("won", "wrong before, right now", 1), ("missed", "wrong now", 2),
        ("unsound", "empty or unsound", 1), ("all", "all", 4),
    ]  # fmt: skip


def test_an_empty_answer_is_said_to_be_empty_on_either_side():
    page = run_data.full_run_page()
    assert len(re.findall('<i class="quiet">an empty answer</i>', page)) == 2  # the sample before; "Who made you?" now
    assert '<span class="tag warn">empty</span>' in page


def test_a_loss_of_one_term_is_drawn_once_and_its_unused_term_not_at_all(monkeypatch):
    for row in run_data.HISTORY:
        monkeypatch.setitem(row, "loss", row["losses/dpo"])
    page = run_data.full_run_page()
    assert '<span class="key one">loss</span>' in page
    assert "preference term" not in page
    assert "SFT term" not in page


def test_of_a_loss_without_reference_rewards_are_drawn_and_nothing_is_said_of_a_reference(monkeypatch):
    for row in run_data.HISTORY:
        for side in ("chosen", "rejected"):
            monkeypatch.setitem(row, f"rewards/{side}", row[f"logratios/{side}"])
            monkeypatch.delitem(row, f"logratios/{side}")
    monkeypatch.setitem(run_data.DOCUMENT, "reference", {"rows": 0, "hits": 0, "forwards": 0})
    monkeypatch.setitem(run_data.DOCUMENT["training"], "loss", "simpo")
    page = run_data.full_run_page()
    assert "Rewards of a step&#39;s answers" in page
    assert "likelier than under the reference" not in page
    assert "none: the loss has no reference" in page
    assert "Loss of a step&#39;s pairs (simpo)" in page
    assert "ln 2" not in page


def test_a_reason_that_is_no_condition_stands_beside_them_and_one_that_is_stands_once():
    page = run_data.full_run_page().split('<nav aria-label="Sections">')[0]
    assert page.count("The year&#39;s looks are spent.") == 1
    assert page.count("retention/facts: 0.64 -&gt; 0.47") == 1


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("pypi:small==1.0/small/small-135M.gguf#sha256=ab", "small-135M.gguf"),
        ("org/base", "base"),
        ("./my-model/", "my-model"),
        ("models:/athene@champion", "models:/athene@champion"),
    ],
)
def test_a_start_model_is_called_by_its_last_name(model, name):
    assert base_name(model) == name


@pytest.mark.parametrize(("seconds", "words"), [(12.4, "12 s"), (754.0, "13 min"), (7200.0, "2.0 h")])
def test_time_is_told_in_the_unit_that_it_needs(seconds, words):
    assert spent(seconds) == words


def test_the_step_whose_weights_were_kept_is_on_the_page_beside_what_was_measured():
    page = run_data.full_run_page()
    kept = "The weights are those of step 60 of 120: tuning_loss was lowest then, 0.4312 on 32 pairs set aside"
    assert f"Measured on pairs set aside: {kept}; after step 108, where the training stopped, 0.4571." in page


def test_a_step_that_jumped_is_on_the_page_with_its_rows():
    page = run_data.full_run_page()
    assert "Where it jumped" in page
    assert "41 to 43" in page
    assert "pairs.jsonl, row 17" in page
    assert "and 7 more" in page


def test_several_seeds_are_on_the_page_with_the_one_that_was_gated_and_what_it_may_be_worth():
    page = run_data.full_run_page()
    assert "seed 1, gated" in page
    assert "seed 2, gated" not in page
    assert "another seed may lose it" in page


def test_a_seed_that_diverged_is_on_the_page_without_a_figure(monkeypatch):
    lost = {"seed": 3, "metrics": {}, "chosen": False, "diverged": "step 3: not finite"}
    monkeypatch.setitem(run_data.DOCUMENT, "seeds", [*run_data.DOCUMENT["seeds"], lost])
    assert '<td class="n" data-label="seed 3">diverged</td>' in run_data.full_run_page()


def test_beside_each_accuracy_stands_what_rules_reach_that_understand_nothing():
    evidence = EvaluationEvidence.model_validate(run_data.EVIDENCE)
    metrics = ("rewards/accuracies", "rewards/accuracies[language=de]", "rewards/margins")
    conditions = [run_data.condition(name, "floor", "promote", (0.5, 0.8), (0.2, 0.4), 0.6) for name in metrics]
    shown = shown_conditions([c.model_dump() for c in conditions], "champion", evidence)
    rules = [{key: value for key, value in c.figures if key in evidence.trivial} for c in shown]
    assert rules == [
        {"longer answer": "61.0 %", "bag of words": "72.0 %"},  # of all pairs
        {"longer answer": "51.0 %", "bag of words": "50.0 %"},  # of the German ones
        {},
    ]
    page = run_data.full_run_page()
    before_and_after, parts = page.split('id="moved"')[1], page.split('id="parts"')[1]
    assert "longer answer: 61.0 %, bag of words: 72.0 %" in before_and_after.split("</section>")[0]
    assert "35.0 %" in parts.split("</section>")[0]  # the longer of the long answers


def test_a_shortcut_that_was_not_looked_for_is_named_with_why():
    page = run_data.full_run_page().split('id="uptake"')[1].split("</section>")[0]
    assert "Whether 2 features of the data were learnt is not known" in page
    assert "word &#39;zebra&#39; (beyond the 8 strongest); opens with I (no edit is known for it)." in page
