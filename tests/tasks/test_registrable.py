"""Nothing is registered that a new process does not load, or that computes something else there."""

import math
import sys

import pytest
from safetensors.torch import load_file, save_file

from dpo_core.data.pairs import EncodedPair, Pair
from dpo_core.errors import Diverged
from dpo_core.model.load import load_model
from dpo_core.model.score import score
from dpo_core.recipe import Recipe
from infra.errors import InfraError
from tasks.evaluation.registrable import require_finite, require_registrable
from tasks.records import MeasureOutput
from tests.tiny import build_tiny_model

PAIRS = [EncodedPair(Pair((), (), (), where=f"eval.jsonl:{n}"), (5, 6), (7, 8 + n, 1), (9, 1)) for n in range(6)]


@pytest.fixture
def folder(tmp_path):
    return build_tiny_model(tmp_path / "model")


@pytest.fixture
def register(folder, make_plan, forkserver, monkeypatch):
    """What the evaluation measured of the model as it was made, held against what its folder holds now."""
    monkeypatch.setattr(sys, "executable", str(forkserver.python))
    sums = dict(
        score(load_model(folder), [(p.prompt_ids, ids) for p in PAIRS for ids in (p.chosen_ids, p.rejected_ids)])
    )
    values = [float(sums[i].double().sum()) for i in range(8)]
    plan = make_plan(recipe=Recipe(name="n", model="m", data={"train": "t"}), model_folder=str(folder))
    return lambda: require_registrable(folder, plan, PAIRS, {"chosen": values[::2], "rejected": values[1::2]})


def test_weights_that_give_what_was_measured_are_registered(register):
    register()


def test_weights_that_give_something_else_are_not(register, folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"] *= 1.01
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        InfraError, match="are not those that were evaluated: the log-prob of a chosen answer"
    ) as caught:
        register()
    assert "eval.jsonl:0" in caught.value.where
    assert "nothing was registered" in caught.value.do


def test_weights_that_do_not_load_are_not(register, folder):
    (folder / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(InfraError, match="do not load in a new process: "):
        register()


@pytest.mark.parametrize(
    ("chosen", "uptake", "nll", "says"),
    [
        ([-math.inf, math.nan, -1.0], [-1.0], 2.0, "2 of 3 held-out pairs"),
        ([-1.0] * 3, [math.nan], 2.0, "1 of 1 held-out answers with a shortcut"),
        ([-1.0] * 3, [-1.0], math.inf, "1 of 1 paragraphs of evaluation.neutral_text"),
    ],
)
def test_weights_that_compute_no_finite_number_are_not(chosen, uptake, nll, says):
    measured = MeasureOutput(answers={}, logps=None, nll={"a": nll}, uptake={"with": uptake, "without": [-1.0]})
    with pytest.raises(Diverged, match=f"the trained model computes no finite number on {says}") as caught:
        require_finite(measured, (chosen, [-1.0] * 3), "abc")
    assert "nothing was registered: lower training.learning_rate" in caught.value.do
