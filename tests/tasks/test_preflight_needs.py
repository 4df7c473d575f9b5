"""What a run needs before it begins: its longest pair, the answers of a training online, every seed and answer."""

import pytest
import yaml

from dpo_core.data.pairs import Example
from dpo_core.model.logprobs import Method
from dpo_core.preflight.answers import Asking
from dpo_core.recipe import Lora, Recipe, Training
from dpo_core.recipe_file import load_recipe
from infra.settings import load_settings
from tasks.preflight import estimate
from tasks.preflight.estimate import Estimator
from tasks.preflight.findings import told
from tasks.preflight.machine import Launch, Machine, this_machine
from tasks.preflight.needs import Needs
from tasks.preflight.online import Answering, answering_of
from tasks.preflight.probe import Probed
from tasks.preflight.records import PhaseMemory
from tasks.preflight.rows import Rows
from tests.dpo_core.preflight.test_memory import WEIGHTS, on_meta
from tests.recipes import NOUNS, tiny_recipe, write_jsonl
from tests.tasks.online_life import CURATION

MACHINE, LAUNCH = Machine("cpu", 1 << 40, 1 << 40), Launch(1, sharded=False)
ONLINE = {"curation": "curate.yaml"}


def online_recipe(folder):
    """12 prompts in 2 passes, and 96 pairs that are not trained on."""
    write_jsonl(folder / "asked.jsonl", [{"prompt": f"say {noun}"} for noun in NOUNS])
    (folder / "curate.yaml").write_text(yaml.safe_dump(CURATION))
    online = ONLINE | {"every": 2, "passes": 2}
    return tiny_recipe(folder, training={"online": online, "train_batch_size": 3, "num_train_epochs": 1.0})


def pair(tokens):
    ids = tuple(range(9, 9 + tokens))
    return Example("id", ids, (5, 6), (5, 7), 0.0, 0.0)


def needs(train, answering=None, **values):
    recipe = Recipe(name="n", model="m", data={"train": "t"}, **values)
    rows = Rows(train, [], len(train), 0, 0, 0.0)
    return Needs(on_meta, rows, recipe, Method("packed", head=True), MACHINE, LAUNCH, 0, answering)


def test_the_longest_pair_is_counted_whichever_step_it_comes_in():
    train = [pair(10) for _ in range(2000)]
    train.insert(700, pair(300))  # in none of the 64 steps that are looked at
    rows = needs(train).largest_rows(Training(train_batch_size=8, tokens_per_row=256))
    assert [max(len(prompt) for prompt, _ in row) for row in rows] == [300, 10]  # others of its step beside it
    [alone] = needs(train).largest_rows(Training(train_batch_size=1))
    assert max(len(prompt) for prompt, _ in alone) == 300
    online = needs(train, Answering(1, Asking([(1, 2)], 400, 1))).largest_rows(Training(online=ONLINE))
    assert [len(answer) for _, answer in online[0]] == [400, 400]


@pytest.mark.parametrize(
    ("reference", "training", "models"),
    [
        (None, {}, 2),
        (None, {"lora": Lora(r=4)}, 1),  # its adapters off are the reference
        ("other", {"lora": Lora(r=4)}, 2),
        (None, {"loss": "simpo"}, 1),
    ],
)
def test_a_training_online_holds_a_second_model_where_it_cannot_be_its_own_reference(reference, training, models):
    answering = Answering(1, Asking([], 1, 1))
    found = needs([pair(9)], answering, reference=reference).training(Training(**training, online=ONLINE))
    assert found.weights // (4 * WEIGHTS) == models
    assert found.process > found.weights + found.optimizer


def test_keys_and_values_of_answers_count_where_they_are_more_than_a_step_keeps():
    answering = Answering(1, Asking([(1, 2, 3)] * 128, 2000, 128))
    found = needs([pair(9)], answering).training(Training(online=ONLINE))
    keys_and_values = 2 * 3 * 2 * 8 * 4  # bytes a token: both, in 3 layers, of 2 heads of 8, in fp32
    assert found.process > found.weights + 128 * 2000 * keys_and_values


def test_steps_online_are_those_that_its_prompts_make_and_not_its_pairs(tmp_path, monkeypatch):
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    settings = load_settings()
    path = online_recipe(tmp_path)
    for override, steps in (("seed=0", 8), ("training.max_steps=5", 5)):  # 4 drawings of 6 prompts, 2 steps on each
        recipe = load_recipe(path, [override]).recipe
        answering = answering_of(recipe, tmp_path / "model", None, settings)
        rows = Rows([pair(9)], [], 96, 0, 0, 0.0)
        run = Estimator(recipe, tmp_path, None, settings, rows, MACHINE, LAUNCH, answering=answering)
        assert run.steps == steps
        assert len(answering.asked.prompts) == 6 * CURATION["answers"]["samples"]


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """The preflight of a tiny run: no memory is counted, and a step of answers takes a second."""
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    speed = Probed(program=0, peak=0, mode="shared", head=True, answer_step_s=1.0)
    monkeypatch.setattr(Estimator, "speed", speed)
    monkeypatch.setattr(Estimator, "memory", [])
    recipe = str(tiny_recipe(tmp_path / "run"))
    return lambda *overrides: estimate.preflight(recipe, overrides, load_settings())


def test_each_seed_is_trained_evaluated_and_kept_and_every_answer_counted(quick):
    asked = ("evaluation.answers=10", "evaluation.kl=5", "evaluation.again=20")
    one, three = (quick(f"training.seeds={seeds}", *asked) for seeds in (1, 3))
    # answers of 8 tokens: 23 likeliest ones in one batch of 128, 200 drawn ones in two, 20 again in two of 10; the new
    # models draw 5 more. One new model and another: 2 (8 + 16 + 16) + 8; three: 4 * 40 + 3 * 8
    assert (one.seconds.evaluation, three.seconds.evaluation) == (88, 184)
    assert (one.seeds, three.seeds) == (1, 3)
    assert one.disk.kept > 3 * one.disk.model  # and the log-probs of the reference
    assert three.disk.kept - one.disk.kept == three.disk.peak - one.disk.peak == 2 * 2 * one.disk.model
    [says] = [line.says for line in told(three, 3600) if line.check == "time"]
    assert " s for 3 seeds, " in says


def test_a_run_that_starts_from_the_champion_is_told_that_it_may_train_on_less(quick):
    for start, count in (("base", 0), ("champion", 1)):
        notes = quick(f"retrain.start={start}").notes
        assert len([note for note in notes if note.startswith("retrain.start")]) == count


def test_a_phase_that_does_not_fit_is_told_with_a_setting_of_its_own(quick, monkeypatch):
    """The training fits: what makes it smaller would leave the evaluation as it is, and a trial can be made."""
    free = this_machine().available
    fits, not_at_all = (
        PhaseMemory(phase=phase, peak=peak, process=peak, program=0, weights=0)
        for phase, peak in (("training", free // 2), ("evaluation", 4 * free))
    )
    monkeypatch.setattr(Estimator, "memory", [fits, not_at_all])
    found = quick()
    training, evaluation = (line for line in told(found, 3600) if line.check == "memory")
    assert (training.status, evaluation.status, found.remedies) == ("ok", "fail", [])
    assert evaluation.remedy.startswith("set evaluation.batch_size lower")
    assert "training." not in evaluation.remedy
