"""Which step's weights are kept, by pairs that are set aside."""

import math
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from dpo_core.model.load import load_model
from dpo_core.model.modes import scoring
from dpo_core.recipe import EarlyStopping, Training
from dpo_core.train.early_stopping import is_due, measure, stop_record
from tests.tiny import scored_examples


def history(*values, every=2, name="tuning_loss"):
    """Steps of which every second one was measured."""
    return [
        {"step": step, "loss": 9.0} | ({name: values[step // every - 1]} if step % every == 0 else {})
        for step in range(1, every * len(values) + 1)
    ]


@pytest.mark.parametrize(
    ("values", "best", "stopped"),
    [
        ((0.6, 0.5, 0.4), 6, False),
        ((0.6, 0.4, 0.5), 4, False),  # one without a better one, two are allowed
        ((0.6, 0.4, 0.5, 0.45), 4, True),
        ((0.4, 0.4, 0.4), 2, True),  # of equal ones the first
        ((math.nan, 0.7, math.inf), 4, False),
        ((math.nan, math.nan, math.nan), 2, True),
    ],
)
def test_the_smallest_loss_is_best_and_training_ends_when_none_came_after_it_for_long(values, best, stopped):
    record = stop_record(history(*values), EarlyStopping(eval_steps=2, patience=2), pairs=7, total=100)
    assert (record.best.step, record.stopped, record.last.step) == (best, stopped, 2 * len(values))


def test_of_accuracies_and_margins_the_largest_is_best():
    name = "rewards/margins"
    steps = history(0.1, 0.3, 0.2, name=f"tuning_{name}")
    record = stop_record(steps, EarlyStopping(metric=name, eval_steps=2), pairs=7, total=6)
    assert (record.metric, record.best.step, record.best.value) == ("tuning_rewards/margins", 4, 0.3)


def test_a_training_that_came_to_its_end_was_not_stopped():
    record = stop_record(history(0.1, 0.2, 0.3), EarlyStopping(eval_steps=2, patience=1), pairs=7, total=6)
    assert not record.stopped


def test_the_last_step_is_measured_whatever_eval_steps_says():
    wanted = EarlyStopping(eval_steps=4)
    assert [step for step in range(1, 11) if is_due(step, 10, wanted)] == [4, 8, 10]


@pytest.mark.parametrize("options", [{}, {"loss": "aot"}, {"loss": "simpo"}, {"use_weighting": True}], ids=str)
def test_what_is_measured_is_the_mean_over_pairs_of_dpos_loss_and_margin(tiny_model, options):
    """Against sequences forwarded one by one, with a reference that is wrong on purpose: no margin is zero."""
    found = scored_examples(tiny_model, 7)
    examples = [
        replace(e, ref_chosen_logps=e.ref_chosen_logps - n, ref_rejected_logps=e.ref_rejected_logps + 1)
        for n, e in enumerate(found)
    ]
    training = Training(beta=0.2, train_batch_size=3, tokens_per_row=50, **options)
    AcceleratorState._reset_state(reset_partial_state=True)
    model = load_model(tiny_model)
    with scoring(model) as scorer:
        measured = measure(scorer, examples, training, Accelerator(cpu=True), method=scorer.method)
    AcceleratorState._reset_state(reset_partial_state=True)
    margins = [0.2 * (n + 1.0) for n in range(7)]  # the policy is the model that scored them
    if training.loss == "simpo":
        assert measured["tuning_rewards/margins"] != pytest.approx(sum(margins) / 7, rel=1e-3)  # none of a reference
    else:
        assert measured["tuning_rewards/margins"] == pytest.approx(sum(margins) / 7, rel=1e-4)
        assert measured["tuning_rewards/accuracies"] == 1.0
    if training.loss == "sigmoid":
        assert measured["tuning_loss"] == pytest.approx(sum(math.log1p(math.exp(-m)) for m in margins) / 7, rel=1e-4)
    assert not any(torch.is_tensor(value) for value in measured.values())
