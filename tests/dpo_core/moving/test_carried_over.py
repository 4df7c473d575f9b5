"""Early stopping and the warm-up are carried where a recipe can say them; axolotl's later keys are told."""

import json
from pathlib import Path

import pytest

from dpo_core.moving.axolotl_keys import OF_TRL, TABLE
from dpo_core.moving.read import Given, read_config
from dpo_core.recipe import EarlyStopping

AXOLOTL = {
    "base_model": "org/m",
    "rl": "dpo",
    "learning_rate": 1e-6,
    "micro_batch_size": 2,
    "gradient_accumulation_steps": 4,
    "datasets": [{"path": "org/p"}],
}
LLAMA_FACTORY = {"stage": "dpo", "model_name_or_path": "org/m", "finetuning_type": "full", "dataset_dir": "ONLINE"}
LLAMA_FACTORY |= {"dataset": "org/p"}
TRL = {"model_name_or_path": "org/m", "dataset_name": "org/p", "loss_type": "sigmoid"}
BASES = {"axolotl": AXOLOTL, "llama-factory": LLAMA_FACTORY, "trl": TRL}
PATIENCE = {
    "axolotl": "early_stopping_patience",
    "llama-factory": "early_stopping_steps",
    "trl": "early_stopping_patience",
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def imported(values, **given):
    """The recipe of a config, and what became of each key."""
    Path("c.json").write_text(json.dumps(values))
    draft = read_config("c.json", Given(**given))
    return draft.check("c.json"), {line.key: line for line in draft.lines}


@pytest.mark.parametrize("tool", BASES)
def test_early_stopping_is_carried_with_its_steps_and_its_metric(place, tool):
    asked = {PATIENCE[tool]: 4, "eval_steps": 25, "metric_for_best_model": "eval_rewards/accuracies"}
    asked |= {"greater_is_better": True, "load_best_model_at_end": True}
    recipe, lines = imported(BASES[tool] | asked)
    assert recipe.training.early_stopping == EarlyStopping(metric="rewards/accuracies", eval_steps=25, patience=4)
    assert {lines[key].outcome for key in asked} == {"taken"}
    assert "set aside" in lines[PATIENCE[tool]].says


@pytest.mark.parametrize("tool", BASES)
def test_what_early_stopping_cannot_say_is_told_key_by_key(place, tool):
    asked = {"eval_steps": 0.2, "metric_for_best_model": "eval_f1", "greater_is_better": True}
    recipe, lines = imported(BASES[tool] | asked | {PATIENCE[tool]: 3, "load_best_model_at_end": False})
    assert recipe.training.early_stopping == EarlyStopping(patience=3)
    assert {lines[key].outcome for key in asked} == {"left out"}
    assert lines["load_best_model_at_end"].outcome == "changed"


@pytest.mark.parametrize("tool", BASES)
def test_a_patience_without_steps_between_measurements_is_told_what_it_counts(place, tool):
    recipe, lines = imported(BASES[tool] | {PATIENCE[tool]: 3})
    assert recipe.training.early_stopping == EarlyStopping(patience=3)
    assert "measured every 10 steps" in lines[PATIENCE[tool]].says


@pytest.mark.parametrize("tool", BASES)
def test_the_best_weights_without_a_patience_are_left_to_the_user(place, tool):
    asked = {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss", "eval_steps": 10}
    recipe, lines = imported(BASES[tool] | asked)
    assert recipe.training.early_stopping is None
    assert {lines[key].outcome for key in asked} == {"left out"}
    assert "training.early_stopping" in lines["load_best_model_at_end"].says


@pytest.mark.parametrize(
    ("tool", "dtype"), [("trl", "bfloat16"), ("axolotl", "bfloat16"), ("llama-factory", "float32")]
)
def test_no_float16_alone_leaves_the_tools_own_arithmetic(place, tool, dtype):
    recipe, lines = imported(BASES[tool] | {"fp16": False})
    assert recipe.training.dtype == dtype
    assert lines["fp16"].outcome == "taken"


def test_the_smoothing_of_a_mixture_with_bco_is_carried(place):
    recipe, lines = imported(LLAMA_FACTORY | {"pref_bco_weight": 1, "dpo_label_smoothing": 0.1})
    assert (recipe.training.loss, recipe.training.label_smoothing) == ({"sigmoid": 0.5, "bco_pair": 0.5}, 0.1)
    assert lines["dpo_label_smoothing"].outcome == "taken"


def test_a_smoothing_that_trl_does_nothing_with_is_left_out_so_that_the_loss_stays_the_same(place):
    recipe, lines = imported(TRL | {"label_smoothing": 0.1})
    assert recipe.training.label_smoothing is None
    assert lines["label_smoothing"].outcome == "left out"
    assert "earlier versions did cDPO" in lines["label_smoothing"].says
    recipe, lines = imported(TRL | {"loss_type": ["sigmoid", "robust"], "label_smoothing": 0.1})
    assert recipe.training.label_smoothing == 0.1
    assert lines["label_smoothing"].outcome == "changed"
    assert "sigmoid is smoothed by it too" in lines["label_smoothing"].says


@pytest.mark.parametrize(
    ("given", "rate", "dtype", "smoothing"),
    [
        ("", 5e-5, "float32", None),
        (", learning_rate=1e-6, bf16=True", 1e-6, "bfloat16", None),
        (", fp16=False", 5e-5, "float32", None),
        ("), label_smoothing=(0.1", 5e-5, "float32", 0.1),  # cDPO then
    ],
)
def test_a_script_without_dpo_config_has_the_defaults_of_training_arguments(place, given, rate, dtype, smoothing):
    trainer = f"DPOTrainer('org/m', None, args=TrainingArguments('out'{given}), train_dataset=load_dataset('org/p'))\n"
    (place / "s.py").write_text(trainer)
    draft = read_config("s.py", Given())
    training = draft.check("s.py").training
    assert (training.learning_rate, training.dtype, training.label_smoothing) == (rate, dtype, smoothing)
    [told] = [line for line in draft.lines if line.key == "learning_rate"]
    assert (told.says == "not in the file: transformers's default") is (rate == 5e-5)


@pytest.mark.parametrize("smoothing", [{}, {"dpo_label_smoothing": 0}])
def test_axolotls_losses_have_the_defaults_of_trls_trainer(place, smoothing):
    asked = {"dpo_loss_type": ["robust", "bco_pair"], "dpo_loss_weights": [0.8, 0.2]}
    recipe, lines = imported(AXOLOTL | asked | smoothing)
    assert (recipe.training.bco_delta, recipe.training.label_smoothing) == ("zero", 0.0)
    assert lines["dpo_label_smoothing"].to == "training.label_smoothing"


def test_a_length_that_is_none_is_told_as_changed(place):
    assert "max_length" not in imported(TRL)[1]
    recipe, lines = imported(TRL | {"max_length": None})
    assert recipe.encoding.max_length == 1024
    assert lines["max_length"].outcome == "changed"
    assert "set encoding.max_length" in lines["max_length"].says


def test_a_scripts_callback_is_early_stopping(place):
    (place / "s.py").write_text(
        "waits = 5\nc = DPOConfig('out', eval_steps=20)\n"
        "t = DPOTrainer('org/m', None, c, train_dataset=load_dataset('org/p'),\n"
        "    callbacks=[EarlyStoppingCallback(waits, early_stopping_threshold=0.01)])\n"
    )
    draft = read_config("s.py", Given())
    assert draft.check("s.py").training.early_stopping == EarlyStopping(eval_steps=20, patience=5)
    told = {line.key: line.outcome for line in draft.lines}
    assert told["early_stopping_threshold"] == "left out"


@pytest.mark.parametrize(
    ("trainer", "reference", "outcome"),
    [
        ("model, ref_model=AutoModelForCausalLM.from_pretrained('org/base'), args=c", "org/base", "taken"),
        ("model, ref, c", "org/ref", "taken"),
        ("model, 'org/base', c", "org/base", "taken"),
        ("model, ref_model='org/m', args=c", None, "taken"),  # the start model
        ("model, ref_model=create_reference_model(model), args=c", None, "left out"),
        ("model, ref_model=None, args=c", None, None),
    ],
)
def test_a_scripts_reference_is_the_recipes_where_it_is_another_model(place, trainer, reference, outcome):
    (place / "s.py").write_text(
        "model = AutoModelForCausalLM.from_pretrained('org/m')\nref = AutoModelForCausalLM.from_pretrained('org/ref')\n"
        f"c = DPOConfig('out')\nDPOTrainer({trainer}, train_dataset=load_dataset('org/p'))\n"
    )
    draft = read_config("s.py", Given())
    recipe = draft.check("s.py")
    assert (recipe.model, recipe.reference) == ("org/m", reference)
    assert {line.key: line.outcome for line in draft.lines}.get("ref_model") == outcome


@pytest.mark.parametrize(
    ("tool", "more", "share"),
    [
        ("trl", {"num_train_epochs": 1}, 3 / 12),  # 9 of 10 of 100 pairs, 8 a step: 12 steps
        ("trl", {"num_train_epochs": 2}, 3 / 24),
        ("trl", {"num_train_epochs": 1, "early_stopping_patience": 1}, 3 / 11),  # 81 pairs
        ("trl", {"per_device_train_batch_size": 90, "num_train_epochs": 1}, 1.0),  # 1 step
        ("trl", {"max_steps": 30}, 3 / 30),
        ("axolotl", {"num_epochs": 1}, 3 / 12),
        ("llama-factory", {"num_train_epochs": 1}, 3 / 12),
    ],
)
def test_a_warm_up_of_steps_is_a_share_of_those_that_the_pairs_make(place, tool, more, share):
    (place / "pairs.jsonl").write_text("{}\n" * 100)
    recipe, lines = imported(BASES[tool] | {"warmup_steps": 3} | more, data="pairs.jsonl")
    assert recipe.training.warmup_ratio == pytest.approx(share, abs=1e-6)
    assert lines["warmup_steps"].outcome == "changed"
    assert f"3 of {'' if 'max_steps' in more else 'about '}" in lines["warmup_steps"].says


@pytest.mark.parametrize("tool", BASES)
@pytest.mark.parametrize(("steps", "expected"), [(30, 30), (-1, None), (0, None)])
def test_steps_count_instead_of_epochs_only_where_there_are_some(place, tool, steps, expected):
    recipe, lines = imported(BASES[tool] | {"max_steps": steps})
    assert recipe.training.max_steps == expected
    assert lines["max_steps"].outcome == "taken"


@pytest.mark.parametrize("tool", ["trl", "llama-factory"])
@pytest.mark.parametrize(("steps", "share", "idle"), [(3, 0.1, "warmup_ratio"), (0, 0.2, "warmup_steps")])
def test_of_a_ratio_and_steps_of_warm_up_the_steps_count_if_there_are_any(place, tool, steps, share, idle):
    recipe, lines = imported(BASES[tool] | {"warmup_ratio": 0.2, "warmup_steps": steps, "max_steps": 30})
    assert recipe.training.warmup_ratio == share
    assert lines[idle].outcome == "left out"


def test_held_out_pairs_of_their_own_leave_all_others_to_train_on(place):
    for name in ("pairs.jsonl", "eval.jsonl"):
        (place / name).write_text("{}\n" * 96)
    recipe, _ = imported(TRL | {"warmup_steps": 3, "num_train_epochs": 1}, data="pairs.jsonl", held_out="eval.jsonl")
    assert recipe.training.warmup_ratio == 3 / 12


def test_pairs_that_are_not_here_leave_the_warm_up_to_the_user(place):
    recipe, lines = imported(TRL | {"warmup_steps": 3})
    assert recipe.training.warmup_ratio == 0.1
    assert lines["warmup_steps"].outcome == "left out"
    assert "divide it by the run's steps" in lines["warmup_steps"].says


LATER = (
    "jagged_restart_steps dion_lr muon_clip use_otel_metrics trackio_project_name lisa_n_layers gradio_title use_pose "
    "image_size max_packed_sequence_len num_generation_samples loss_watchdog_threshold llama4_linearized_experts"
)


def test_the_later_keys_of_axolotl_are_left_out_each_with_its_reason(place):
    _, lines = imported(AXOLOTL | dict.fromkeys(LATER.split(), 1) | {"no_such_key": 1})
    assert all(lines[key].outcome == "left out" for key in LATER.split())
    unknown = "has no such key"
    assert [key for key, line in lines.items() if unknown in line.says] == ["no_such_key"]


def test_what_stands_below_trl_in_an_axolotl_config_is_told_key_by_key(place):
    below = {"beta": 0.3, "sync_ref_model": True, "ref_model_mixup_alpha": 0.6, "num_generations": 4}
    recipe, lines = imported(AXOLOTL | {"trl": below})
    assert recipe.training.beta == 0.3
    assert [lines[f"trl.{key}"].outcome for key in below] == ["taken", "changed", "left out", "left out"]
    assert "stays as it is" in lines["trl.sync_ref_model"].says


def test_no_key_of_axolotl_has_two_fates():
    for table in (TABLE, OF_TRL):
        fates = [set(table.taken), set(table.fixed), set(table.left), set(table.special)]
        assert sum(map(len, fates)) == len(table.known)


def test_axolotls_batch_size_is_of_a_device_in_whole_steps_of_its_micro_batch(place):
    asked = {"batch_size": 14, "micro_batch_size": 4, "gradient_accumulation_steps": None}
    recipe, lines = imported(AXOLOTL | asked, devices=2)
    assert recipe.training.train_batch_size == 24  # 14 // 4 = 3 steps of 4 pairs on each of 2 devices
    assert lines["batch_size"].outcome == lines["micro_batch_size"].outcome == "changed"
    assert lines["batch_size"].says.startswith("4 pairs, times 3 accumulated, times 2 devices; since 0.4.1")


@pytest.mark.parametrize(("fresh", "reference"), [(True, None), (False, "org/m"), (None, "org/m")])
def test_a_new_adapter_of_llama_factory_is_held_to_the_merged_model_and_one_that_goes_on_to_its_base(
    place, fresh, reference
):
    (place / "adapter").mkdir()
    asked = {"finetuning_type": "lora", "adapter_name_or_path": "adapter", "create_new_adapter": fresh}
    recipe, lines = imported(LLAMA_FACTORY | asked)
    assert recipe.model.endswith("adapter")
    assert recipe.reference == reference
    if fresh is not None:
        assert lines["create_new_adapter"].outcome == "taken"


SCRIPT = "t = DPOTrainer('m', None, DPOConfig('out'), train_dataset=load_dataset('org/p'), peft_config=LoraConfig())\n"


@pytest.mark.parametrize("script", [True, False])
def test_adapters_without_target_modules_get_those_of_peft_for_the_models_type(place, script):
    (place / "m").mkdir()
    (place / "m/config.json").write_text(json.dumps({"model_type": "qwen2"}))
    (place / "s.py").write_text(SCRIPT)
    (place / "c.json").write_text(json.dumps(TRL | {"use_peft": True, "model_name_or_path": "m"}))
    draft = read_config("s.py" if script else "c.json", Given())
    assert draft.check("c.json").training.lora.target_modules == ["q_proj", "v_proj"]
    told = {line.key: line for line in draft.lines}["lora_target_modules"]
    assert (told.outcome, told.to) == ("taken", "training.lora.target_modules")


def test_adapters_without_target_modules_of_a_model_that_is_not_here_are_told_as_changed(place):
    recipe, lines = imported(TRL | {"use_peft": True})
    assert recipe.training.lora.target_modules == "all-linear"
    assert lines["lora_target_modules"].outcome == "changed"
    assert "set training.lora.target_modules" in lines["lora_target_modules"].says


def test_target_modules_that_a_script_computes_are_left_to_the_user(place):
    (place / "s.py").write_text(
        SCRIPT.replace("LoraConfig()", "LoraConfig(target_modules=args.m)").replace("'m'", "'o/m'")
    )
    draft = read_config("s.py", Given())
    assert [line.outcome for line in draft.lines if line.key == "lora_target_modules"] == ["left out"]


WITHOUT = {"dataset_name": None}


@pytest.mark.parametrize(
    ("tool", "asked", "key"),
    [
        ("trl", {"dataset_train_split": "train[:1000]"}, "dataset_train_split"),
        ("trl", WITHOUT | {"datasets": [{"path": "org/p", "split": "train[:10%]"}]}, "datasets.0.split"),
        ("trl", WITHOUT | {"dataset_mixer": {"org/p": 0.1}}, "dataset_mixer"),
        ("trl", WITHOUT | {"dataset_mixer": {"org/p": 1.0}, "dataset_splits": ["train[:9]"]}, "dataset_mixer"),
        ("axolotl", {"datasets": [{"path": "org/p", "split": "train[:10%]"}]}, "datasets.0.split"),
        ("llama-factory", {"dataset": "part", "dataset_dir": "."}, "part.split"),
    ],
)
def test_a_part_of_a_data_set_is_told_as_changed_with_how_to_cut_it(place, tool, asked, key):
    info = {"part": {"hf_hub_url": "org/p", "ranking": True, "split": "train[:10%]"}}
    (place / "dataset_info.json").write_text(json.dumps(info))
    recipe, lines = imported(BASES[tool] | asked)
    assert recipe.data.train == "org/p"
    assert lines[key].outcome == "changed"
    assert "dpo data mix OTHER --from NAME:0.1" in lines[key].says


def test_a_whole_split_is_told_as_taken(place):
    for asked in ({"dataset_train_split": "train"}, WITHOUT | {"dataset_mixer": {"org/p": 1.0}}):
        _, lines = imported(TRL | asked)
        assert lines[next(key for key in asked if asked[key])].outcome == "taken"
