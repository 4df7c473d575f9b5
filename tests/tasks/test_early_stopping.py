"""`training.early_stopping` in the training process, and the pairs that it measures."""

import json
import math

import pytest
from safetensors.torch import load_file

from dpo_core.data.pairs import Pair, write_examples
from dpo_core.errors import InputError
from dpo_core.model.load import load_model
from dpo_core.model.score import score
from dpo_core.recipe import Recipe, Training
from dpo_core.train.loop import sequences_of
from infra.settings import Settings
from tasks.preflight.disk import disk_use
from tasks.preflight.records import Volume
from tasks.records import WorkOrder
from tasks.runtime.aside import set_aside
from tests.tasks.online_life import Tracker, figures, train_in
from tests.tiny import scored_examples

SETTINGS = {"learning_rate": 3e-3, "train_batch_size": 4, "num_train_epochs": 6, "save_steps": 5, "beta": 0.1}
WANTED = {"eval_steps": 2, "patience": 2}


@pytest.fixture(scope="module")
def examples(tiny_model):
    """Eight to train on; set aside are four of them with their sides swapped, which learning makes worse."""
    found = scored_examples(tiny_model, 12)
    swapped = [
        type(e)(f"s{e.id}", e.prompt_ids, e.rejected_ids, e.chosen_ids, e.ref_rejected_logps, e.ref_chosen_logps)
        for e in found[:4]
    ]
    return found[:8], swapped


def work(folder, model, examples, **training):
    folder.mkdir()
    for name, rows in zip(("examples", "aside"), examples, strict=True):
        write_examples(rows, folder / f"{name}.jsonl")
    known = {"model_folder": str(model), "from_reference": True, "trusted_code": None, "seed": 0, "threads": 1}
    order = WorkOrder(**known, training=Training(**SETTINGS | training), run_id="r")
    (folder / "order.json").write_text(order.model_dump_json())
    return folder


def result(folder):
    return json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, tiny_model, examples):
    """A training whose pairs set aside get worse from the first measurement on, and what its run was told."""
    tracker = Tracker()
    folder = work(tmp_path_factory.mktemp("stopped") / "run", tiny_model, examples, early_stopping=WANTED)
    train_in(folder, tracker)
    return folder, tracker


def test_training_ends_where_the_pairs_set_aside_get_worse(stopped):
    found = result(stopped[0])
    record = found["early_stopping"]
    assert record["best"]["step"] == 2
    assert (record["last"]["step"], record["planned"], record["stopped"], record["pairs"]) == (6, 12, True, 4)
    assert found["steps"] == 6
    assert record["last"]["value"] > record["best"]["value"]


def test_the_weights_are_those_of_the_best_measurement(stopped, examples):
    folder, record = stopped[0], result(stopped[0])["early_stopping"]
    model, aside = load_model(folder / "model"), examples[1]
    sums = {i: values.double().sum().item() for i, values in score(model, sequences_of(aside))}
    margins = [
        0.1 * ((sums[2 * i] - e.ref_chosen_logps) - (sums[2 * i + 1] - e.ref_rejected_logps))
        for i, e in enumerate(aside)
    ]
    measured = result(folder)["history"][1]
    assert record["best"]["value"] == measured["tuning_loss"]
    assert sum(margins) / 4 == pytest.approx(measured["tuning_rewards/margins"], rel=1e-3)
    assert sum(margins) / 4 != pytest.approx(result(folder)["history"][5]["tuning_rewards/margins"], rel=1e-2)


def test_what_is_measured_is_told_to_the_run_under_trls_names(stopped):
    rows = stopped[1].rows
    assert [step for step in rows if "tuning_loss" in rows[step]] == [2, 4, 6]
    assert {"tuning_loss", "tuning_rewards/accuracies", "tuning_rewards/margins", "tuning_logps/chosen"} <= rows[
        2
    ].keys()


@pytest.mark.parametrize("dies_at", [1, 4, 6])
def test_a_training_that_dies_goes_on_to_the_same_choice_and_the_same_bits(
    tmp_path, tiny_model, examples, stopped, dies_at
):
    folder = work(tmp_path / "run", tiny_model, examples, early_stopping=WANTED, save_steps=3)
    with pytest.raises(KeyboardInterrupt):
        train_in(folder, Tracker(dies_at=dies_at))
    train_in(folder, Tracker())
    ours, theirs = (load_file(place / "model/model.safetensors") for place in (folder, stopped[0]))
    assert all(bool((ours[name] == theirs[name]).all()) for name in theirs)
    assert result(folder)["early_stopping"] == result(stopped[0])["early_stopping"]
    assert figures(folder) == figures(stopped[0])


def test_measuring_changes_no_weight_where_the_last_step_is_the_best(tmp_path, tiny_model, examples):
    same = (examples[0], examples[0][:4])  # trained on, too: they get better to the end
    plain = work(tmp_path / "plain", tiny_model, same)
    watched = work(tmp_path / "watched", tiny_model, same, early_stopping=WANTED)
    for folder in (plain, watched):
        train_in(folder, Tracker())
    assert result(watched)["early_stopping"]["best"]["step"] == 12
    assert result(watched)["weights_sha256"] == result(plain)["weights_sha256"]
    assert result(plain)["early_stopping"] is None


def asked(text):
    said = [{"role": "assistant", "content": "yes"}], [{"role": "assistant", "content": "no"}]
    return Pair([{"role": "user", "content": text}], *said)


def test_equal_questions_are_set_aside_together_and_nobody_moves_when_pairs_come():
    first = [asked(f"what is the number {n} of?") for n in range(60)]
    grown = [*first, *first[:30], *(asked(f"who has the number {n}?") for n in range(20))]
    (trained, aside, _), (_, later, _) = (set_aside(pairs, 0.3, lot="l", key="k") for pairs in (first, grown))
    assert {*trained, *aside} == {*range(60)}
    assert 8 <= len(aside) <= 30
    assert {n for n in later if n < 60} == {*aside}
    assert {n - 60 for n in later if 60 <= n < 90} == {n for n in aside if n < 30}


def test_too_few_questions_to_set_aside_are_told_with_the_key():
    with pytest.raises(InputError, match=r"the pairs set aside have \d different questions of 10 pairs") as error:
        set_aside([asked(f"what is {n}?") for n in range(10)], 0.1, lot="l", key="training.early_stopping.share")
    assert error.value.where == "training.early_stopping.share: 0.1"


def test_a_measurement_that_is_not_finite_ends_no_training_and_is_never_best(
    tmp_path, tiny_model, examples, monkeypatch
):
    """The run refuses what is not finite, as MLflow does: it is told what is."""
    from tasks.training import best

    class Strict(Tracker):
        def metrics(self, values, step=0):
            assert all(math.isfinite(value) for value in values.values())
            super().metrics(values, step)

    values = iter([0.5, math.nan, 0.4, math.inf, math.nan])
    monkeypatch.setattr(best, "measure", lambda *given, **more: {"tuning_loss": next(values)})
    folder = work(tmp_path / "run", tiny_model, examples, early_stopping=WANTED)
    train_in(folder, Strict())
    assert result(folder)["early_stopping"]["best"] == {"step": 6, "value": 0.4}


def test_it_changes_no_name_of_what_was_trained_without_it_and_has_no_part_in_online_training():
    assert "early_stopping" not in Training().decisive
    assert Training(early_stopping={}).decisive["early_stopping"]["patience"] == 3
    with pytest.raises(ValueError, match="early_stopping has no effect beside online"):
        Recipe(name="n", model="m", data={"train": "t"}, training={"online": {"curation": "c"}, "early_stopping": {}})


def test_the_disk_of_a_run_has_room_for_the_best_weights_beside_and_in_each_checkpoint(tmp_path):
    """4 bytes a weight more in each of the 3 checkpoints that may be there, and 2 files of that beside them."""
    counts = dict.fromkeys(("steps", "pairs", "held_out_pairs", "held_out_prompts", "tokens", "computed"), 1000)
    volume = Volume(**counts, left_out=0.0, longest_row=1, responses=0, answer_tokens=0)
    plain = Recipe(name="n", model="m", data={"train": "t"})
    stopping = plain.model_copy(update={"training": Training(early_stopping={})})
    settings = Settings(home=tmp_path)
    without, beside = (
        disk_use(recipe, weights=10, trained=1000, volume=volume, settings=settings) for recipe in (plain, stopping)
    )
    assert (without.checkpoint, beside.checkpoint) == (12_000, 16_000)
    assert beside.peak - without.peak == (3 + 2) * 4000
    assert beside.kept == without.kept
