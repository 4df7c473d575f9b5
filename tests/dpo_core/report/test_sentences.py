"""The sentences about a run's numbers, each against the numbers that it may be said of."""

import pytest

from dpo_core.report.documents import AgainRecord, Estimate
from dpo_core.report.sentences import OUTCOMES, drift_sentence, measured_against, noise_sentence


@pytest.mark.parametrize(
    ("chosen", "rejected", "says"),
    [
        (0.0, 0.0, "Nothing moved"),
        (0.04, -0.04, "Nothing moved"),  # both are shown as 0.0
        (3.0, -5.0, "the model learned them"),
        (3.0, 1.0, "became likelier, and more so than the rejected ones"),
        (3.0, 3.0, "The rejected answers gained as much as the chosen ones, or more"),
        (3.0, 9.0, "The rejected answers gained as much as the chosen ones, or more"),
        (0.0, -5.0, "the chosen ones are as likely as before"),
        (-3.0, -50.0, "The chosen answers became LESS likely"),
        (-3.0, -1.0, "taught nothing useful"),
        (0.0, 2.0, "taught nothing useful"),
    ],
)
def test_learning_is_told_from_unlearning_and_from_nothing(chosen, rejected, says):
    assert says in drift_sentence(chosen, rejected)


@pytest.mark.parametrize("chosen", [-9.0, -0.1, 0.0, 0.1, 9.0])
@pytest.mark.parametrize("rejected", [-9.0, -0.1, 0.0, 0.1, 9.0])
def test_learned_is_said_only_where_the_chosen_answers_rose_and_the_margin_with_them(chosen, rejected):
    says = drift_sentence(chosen, rejected)
    assert ("learned them" in says) == (chosen > 0.05 and rejected < 0.05 and chosen - rejected > 0.05)
    assert ("LESS likely" in says) == (chosen < -0.05 and chosen - rejected > 0.05)


def test_what_was_compared_with_is_what_was():
    assert "the base model" in measured_against("reference", is_champion=True)
    assert measured_against("champion", is_champion=False).endswith("against the champion.")
    assert measured_against("champion", is_champion=True).endswith("against the champion before it.")


def test_no_headline_says_more_than_every_way_to_its_verdict():
    """A floor that is not reached holds a model that gained; a shortcut rejects one that is not shown to be worse."""
    assert "gain" not in OUTCOMES["hold_no_gain"].headline
    assert "a level" in OUTCOMES["hold_no_gain"].sentence
    assert "a shortcut was learnt" in OUTCOMES["reject_regression"].sentence


def test_what_changes_when_a_model_is_asked_again_is_held_against_all_answers():
    none = AgainRecord(asked=20, changed=Estimate(value=0.0, low=0.0, high=0.168), flipped=0)
    assert "0 of 20 answers changed, 0 of them from right to wrong or back (at most 17%" in noise_sentence(
        {"challenger": none}
    )
    assert noise_sentence({}) == ""
