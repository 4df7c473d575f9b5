"""What a search may try: its axes, its rungs, and spaces and limits that no search can have."""

import pytest
import yaml

from dpo_core.errors import InputError
from dpo_core.recipe import Lora, Recipe, Training
from dpo_core.recipe_file import checked_recipe, load_as, load_recipe
from dpo_core.tune.rungs import RUNGS, goes_on, pairs_of_trial, pairs_seen, shortened
from dpo_core.tune.space import Axis, default_space, setting_of, space_of, with_settings
from dpo_core.tune.winner import winner_recipe

RATE, BETA, EPOCHS = "training.learning_rate", "training.beta", "training.num_train_epochs"


def recipe(tune, **more):
    values = {"name": "m", "model": "m", "data": {"train": "t"}, "tune": tune, **more}
    return checked_recipe(values, {}, "run.yaml")


@pytest.mark.parametrize(
    ("training", "parameters", "rates", "betas"),
    [
        (Training(), 7_000_000_000, (1e-7, 1e-5), (0.01, 0.6)),
        (Training(), 135_000_000, (1e-6, 1e-4), (0.01, 0.6)),
        (Training(lora=Lora()), 7_000_000_000, (1e-6, 2e-4), (0.01, 0.6)),
        (Training(loss="sigmoid_norm", beta=5.0), 7_000_000_000, (1e-7, 1e-5), (2.0, 10.0)),
        (Training(learning_rate=3e-4, beta=0.9), 135_000_000, (1e-6, 3e-4), (0.01, 0.9)),
    ],
    ids=["full", "small", "lora", "normalised", "its own lies outside"],
)
def test_the_default_space_is_that_of_the_kind_of_run_and_holds_the_recipes_own(training, parameters, rates, betas):
    space = default_space(training, rows=10_000, parameters=parameters)
    assert (space[RATE].low, space[RATE].high) == rates
    assert (space[BETA].low, space[BETA].high) == betas
    assert all(axis.holds(setting_of(training, key)) for key, axis in space.items())


def test_few_pairs_leave_no_batch_of_which_an_epoch_has_hardly_any_steps():
    assert default_space(Training(), rows=600, parameters=1)["training.train_batch_size"].choices == [8, 16, 32]
    assert "training.train_batch_size" not in default_space(Training(), rows=100, parameters=1)


@pytest.mark.parametrize(
    ("tune", "says"),
    [
        ({"space": {}}, "the space is empty"),
        ({"space": {"training.learning_rte": [1e-6, 1e-5]}}, "did you mean 'training.learning_rate'?"),
        ({"space": {"training.dtype": ["bfloat16", "float32"]}}, "no search over 'training.dtype'"),
        ({"space": {BETA: [0.1]}}, "one value is no choice"),
        ({"space": {BETA: {"low": 0.5, "high": 0.1}}}, "low 0.5 is not below high 0.1"),
        ({"space": {BETA: {"low": 0.0, "high": 0.1, "log": True}}}, "asks for a low above 0"),
        ({"constraints": {"length": [2.0, 0.5]}}, "no ratio is at least 2 and at most 0.5"),
        ({"constraints": {"retention/facts": 0.1}}, "there is no 'retention/facts'"),
        ({"constraints": {"retention/neutral_text": 0.1}}, "there is no 'retention/neutral_text'"),
        ({"constraints": {"rewards/accuracies": 0.1}}, "spends its worth"),
        ({"minutes": 0}, "greater than 0"),
        ({"trials": 0}, "greater than or equal to 1"),
    ],
)
def test_a_search_that_cannot_be_is_refused_as_the_recipe_is_read(tune, says):
    with pytest.raises(InputError) as caught:
        recipe(tune)
    assert says in str(caught.value)
    assert "tune" in str(caught.value)


def test_a_suite_that_the_gate_keeps_and_looks_for_a_gain_on_is_no_limit_unless_it_is_written():
    suites = {"evaluation": {"behaviour": {"polite": "polite.jsonl"}}}
    gate = {"gate": {"improve": ["behaviour/polite"], "keep": {"behaviour/polite": 0.05}}}
    found = recipe({}, **suites, **gate)
    assert set(found.tune.limits(found.gate, found.evaluation.asked_of)) == {"drift", "length"}
    with pytest.raises(InputError, match="spends its worth"):
        recipe({"constraints": {"behaviour/polite": 0.05}}, **suites, **gate)


def test_a_limit_that_is_looser_than_the_gates_is_refused():
    suites = {"evaluation": {"retention": {"facts": "facts.jsonl"}}, "gate": {"keep": {"retention/facts": 0.1}}}
    with pytest.raises(InputError, match=r"may lose 0\.2 here and 0\.1 in gate\.keep"):
        recipe({"constraints": {"retention/facts": 0.2}}, **suites)
    limits = recipe({}, **suites)
    assert limits.tune.limits(limits.gate, limits.evaluation.asked_of) == {
        "drift": [float("-inf"), 0.5],
        "length": [0.5, 2.0],
        "retention/facts": [float("-inf"), 0.1],
    }


@pytest.mark.parametrize(
    ("space", "training", "says"),
    [
        ({BETA: {"low": -1.0, "high": 0.5}}, {}, "training.beta: -1.0 cannot be"),
        ({RATE: [1e-5, 2e-5]}, {}, "own training.learning_rate is 1e-06, which is not in the space"),
        ({"training.lora.r": [8, 16]}, {}, "the recipe has no training.lora"),
        ({EPOCHS: [1.0, 2.0]}, {"max_steps": 5}, "no effect beside training.max_steps"),
    ],
)
def test_values_that_the_recipe_could_not_have_are_refused_before_anything_is_trained(space, training, says):
    with pytest.raises(InputError, match=says):
        space_of(recipe({"space": space}, training=training), rows=100, parameters=1)


def test_numbers_are_those_of_the_recipe_however_yaml_reads_them():
    found = space_of(recipe({"space": {RATE: ["1e-6", 2e-6, 1], EPOCHS: [1, 2]}}), rows=100, parameters=1)
    assert found[RATE].choices == [1e-6, 2e-6, 1.0]
    assert [type(value) for value in found[EPOCHS].choices] == [float, float]


def test_settings_are_set_and_a_place_lies_between_nothing_and_one():
    lora: Recipe = recipe({}, training={"lora": {"r": 8}})
    tried = with_settings(lora, {RATE: 3e-5, "training.lora.r": 32})
    assert (tried.training.learning_rate, tried.training.lora.r, tried.training.lora.lora_alpha) == (3e-5, 32, 32)
    axis = Axis(low=1e-6, high=1e-4, log=True)
    assert [axis.place(value) for value in (1e-6, 1e-5, 1e-4)] == pytest.approx([0, 0.5, 1])
    assert [Axis(choices=["a", "b", "c"]).place(value) for value in "abc"] == [0, 0.5, 1]


def test_a_rung_is_a_training_of_its_own_on_an_eighth_a_quarter_a_half_or_all_of_the_pairs():
    epochs, steps = Training(num_train_epochs=2), Training(max_steps=100, train_batch_size=4)
    assert [pairs_seen(shortened(epochs, eighths), 400) for eighths in RUNGS] == [100, 200, 400, 800]
    assert [shortened(steps, eighths).max_steps for eighths in RUNGS] == [13, 25, 50, 100]
    assert pairs_of_trial(epochs, 400, seeds=3) == 100 + 200 + 400 + 3 * 800


@pytest.mark.parametrize(
    ("value", "others", "goes"),
    [(1, [], True), (1, [2], False), (2, [1], True), (2, [1, 3], True), (1, [2, 3], False), (1, [1, 1, 1], True)],
)
def test_the_better_half_goes_on(value, others, goes):
    assert goes_on(value, others) is goes


@pytest.mark.parametrize(
    ("training", "loss", "weight"),
    [
        ({"loss": "sigmoid"}, "orpo", 1.0),
        ({"loss": "orpo"}, "sigmoid", 0.0),
        ({"loss": "sigmoid", "sft_weight": 0.0}, "orpo", 0.0),
        ({"loss": "orpo", "sft_weight": 1.0}, "sigmoid", 1.0),
        ({}, "orpo", 1.0),
    ],
)
def test_a_trial_trains_what_the_winners_recipe_of_its_settings_loads_as(tmp_path, training, loss, weight):
    path, tune = tmp_path / "run.yaml", {"space": {"training.loss": ["sigmoid", "orpo"]}}
    values = {"name": "m", "model": "m", "data": {"train": "t"}, "training": training, "tune": tune}
    path.write_text(yaml.safe_dump(values))
    measured = with_settings(load_recipe(path).recipe, {"training.loss": loss}).training
    written, _ = load_as(Recipe, path)
    (tmp_path / "winner.yaml").write_text(winner_recipe(written, tmp_path, {"training.loss": loss}, "trial 1"))
    assert load_recipe(tmp_path / "winner.yaml").recipe.training == measured
    assert (measured.loss, measured.sft_weight) == (loss, weight)


def test_a_loss_without_a_reference_is_not_searched_in_a_recipe_that_names_one():
    named = recipe({"space": {"training.loss": ["sigmoid", "orpo"]}}, reference="base")
    with pytest.raises(InputError, match=r"training\.loss: orpo cannot be: reference names the frozen model"):
        space_of(named, rows=100, parameters=1)
