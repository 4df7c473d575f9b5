"""Settings outside what was shown to work, each with who showed it."""

from pathlib import Path

from dpo_core.preflight.ranges import EVIDENCE, outside
from dpo_core.recipe import Lora, Training
from dpo_core.recipe_file import load_recipe

BILLION = 1_000_000_000
DEMO = Path(__file__).parents[3] / "examples/identity/retrain.yaml"


def keys(training, weights=7 * BILLION, pairs=10_000):
    return [found.key for found in outside(training, weights=weights, pairs=pairs)]


def test_the_demo_and_the_defaults_are_within():
    assert keys(load_recipe(DEMO).recipe.training, weights=134_515_008, pairs=794) == []
    assert keys(Training()) == []


def test_a_rate_is_judged_by_the_size_of_the_model_and_by_what_is_trained():
    [found] = outside(Training(learning_rate=5e-5), weights=7 * BILLION, pairs=10_000)
    assert (found.key, found.value, found.high) == ("learning_rate", 5e-5, 1e-5)
    assert "Olmo 3" in found.source
    assert keys(Training(learning_rate=5e-5, lora=Lora())) == []


def test_a_beta_is_judged_by_its_loss():
    assert keys(Training(loss="sigmoid_norm", beta=0.1)) == ["beta"]
    assert keys(Training(loss="sigmoid", beta=5.0)) == ["beta"]
    assert keys(Training(loss="ipo", beta=5.0)) == []  # nothing was found that tried it


def test_epochs_are_those_that_are_done():
    assert keys(Training(max_steps=10_000), pairs=8_000) == ["num_train_epochs"]
    assert keys(Training(max_steps=2_000, num_train_epochs=9.0), pairs=8_000) == []


def test_each_entry_names_who_showed_it():
    assert all(known.source and known.low < known.high for known in EVIDENCE)
