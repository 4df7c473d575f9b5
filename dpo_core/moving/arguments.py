"""The keys of transformers' TrainingArguments (5.23), which TRL and LLaMA-Factory share, and what they have in common.

A test compares the names with the package; `EARLIER` are names of earlier versions that configs still carry.
"""

import math

from dpo_core.moving.cells import Cell, NoLiteral, Sheet
from dpo_core.moving.draft import Draft
from dpo_core.moving.sources import rows_of
from dpo_core.moving.tables import KeyTable, names, reasons
from dpo_core.recipe import EarlyStopping, Training

LOGGING = "a run logs to MLflow (MLFLOW_TRACKING_URI), every step, and writes a page"
SAVING = "checkpoints go to the store, every training.save_steps; the newest is kept"
EVALUATING = "a run evaluates before and after training, and the gate decides"
HUB = "a model is registered in MLflow, not pushed to a hub"
SPEED = "how fast it computes, not what: rows are packed, kernels chosen by the machine"
DEVICES = "devices are accelerate's: docs/settings.md has the variables of a launch"
DATA = "pairs are read and encoded by docs/data.md's rules"
OPTIMIZER = "AdamW in fp32, without weight decay, betas 0.9 and 0.999, epsilon 1e-8, is the one optimizer"
SCHEDULE = "the rate always warms up linearly, then goes linearly to zero"
DROPOUT = "dropout of every kind is off in training"
WHOLE = "weights are trained and kept whole, not quantized: it needs the memory"
FLOAT16 = "float16 is not offered (docs/recipe.md): bfloat16 has the range of float32"
HELD_OUT = 0.1  # of the pairs, by prompt, where data.eval names none
COUNTED = "a run says the same of itself"

COMMON = KeyTable(
    taken={
        "learning_rate": ("training.learning_rate", Cell.number),
        "num_train_epochs": ("training.num_train_epochs", Cell.number),
        "seed": ("seed", Cell.whole),
        "gradient_checkpointing": ("training.gradient_checkpointing", Cell.flag),
    },
    fixed={
        "lr_scheduler_type": (("linear", "SchedulerType.LINEAR"), SCHEDULE),
        "optim": (("adamw_torch", "adamw_torch_fused", "adamw_hf"), OPTIMIZER),
        "weight_decay": ((0,), OPTIMIZER),
        "adam_beta1": ((0.9,), OPTIMIZER),
        "adam_beta2": ((0.999,), OPTIMIZER),
        "adam_epsilon": ((1e-8,), OPTIMIZER),
        "label_smoothing_factor": ((0,), "only training.label_smoothing, of the preference, is there"),
        "do_train": ((True,), "dpo retrain trains"),
        "do_eval": ((True,), EVALUATING),
        "remove_unused_columns": ((True, False), DATA),
        "train_sampling_strategy": (("random",), "pairs are drawn at random, by seed"),
        "average_tokens_across_devices": ((True,), "a pair counts the same on every device"),
        "dataloader_drop_last": ((False,), "every pair is trained on, the last step's too"),
        "resume_from_checkpoint": ((False,), "an interrupted run goes on by itself"),
    },
    left=reasons(
        {
            LOGGING: "logging_strategy logging_steps logging_first_step log_on_each_node logging_nan_inf_filter "
            "log_level log_level_replica disable_tqdm report_to run_name project trackio_space_id "
            "trackio_bucket_id trackio_static_space_id debug skip_memory_metrics include_num_input_tokens_seen",
            SAVING: "save_only_model save_strategy save_on_each_node save_total_limit enable_jit_checkpoint "
            "ignore_data_skip restore_callback_states_from_checkpoint",
            EVALUATING: "eval_delay per_device_eval_batch_size prediction_loss_only eval_on_start "
            "eval_do_concat_batches eval_use_gather_object eval_accumulation_steps include_for_metrics "
            "batch_eval_metrics bf16_full_eval fp16_full_eval do_predict label_names",
            HUB: "push_to_hub hub_token hub_private_repo hub_strategy hub_always_push hub_revision",
            SPEED: "activation_checkpointing activation_checkpointing_kwargs gradient_checkpointing_kwargs "
            "torch_compile torch_compile_backend torch_compile_mode tf32 use_liger_kernel liger_kernel_config "
            "use_cache torch_empty_cache_steps auto_find_batch_size dataloader_num_workers dataloader_pin_memory "
            "dataloader_persistent_workers dataloader_prefetch_factor dataloader_multiprocessing_context "
            "dataloader_in_order length_column_name full_determinism",
            DEVICES: "use_cpu accelerator_config parallelism_config ddp_find_unused_parameters ddp_bucket_cap_mb "
            "ddp_broadcast_buffers ddp_static_graph ddp_backend ddp_timeout fsdp fsdp_config deepspeed local_rank",
            OPTIMIZER: "optim_args optim_target_modules",
            SCHEDULE: "lr_scheduler_kwargs",
            DROPOUT: "neftune_noise_alpha",
            "data order and adapters have one seed": "data_seed",
        }
    ),
    special=names(
        "output_dir per_device_train_batch_size gradient_accumulation_steps max_steps warmup_steps max_grad_norm "
        "bf16 fp16 save_steps eval_strategy hub_model_id eval_steps load_best_model_at_end metric_for_best_model "
        "greater_is_better"
    ),
)
EARLIER = KeyTable(  # of earlier transformers, as public configs still have them
    left=reasons(
        {
            EVALUATING: "evaluation_strategy",
            LOGGING: "logging_dir",
            SAVING: "overwrite_output_dir save_safetensors",
            SPEED: "group_by_length",
        }
    ),
    special=names("warmup_ratio"),
)


def read_common(draft: Draft, sheet: Sheet, devices: int) -> None:
    """The special keys of TrainingArguments, but names, the warm-up, and when it is measured and stopped."""
    read_batch(draft, sheet, "per_device_train_batch_size", 8, devices)
    if usable(sheet, "max_steps"):
        read_max_steps(draft, sheet.cell("max_steps"))
    if usable(sheet, "max_grad_norm"):
        read_clipping(draft, sheet.cell("max_grad_norm"))
    if usable(sheet, "save_steps"):
        read_saving(draft, sheet.cell("save_steps"))


def read_max_steps(draft: Draft, cell: Cell) -> None:
    """Optimizer steps; -1, transformers' default, and 0 are none."""
    steps = cell.whole()
    if steps > 0:
        draft.take(cell, "training.max_steps", steps)
    else:
        draft.same(cell, "without it the epochs count")


def usable(sheet: Sheet, name: str) -> bool:
    """Whether a key is set, and to a value that is known."""
    return name in sheet and not isinstance(sheet.values[name], NoLiteral)


def read_batch(draft: Draft, sheet: Sheet, per_device: str, default: int, devices: int) -> None:
    """Pairs an optimizer step: of a device, times what is accumulated, times the devices."""
    names = [name for name in (per_device, "gradient_accumulation_steps") if name in sheet]
    if any(not usable(sheet, name) for name in names):
        return
    each = sheet.cell(per_device).whole() if per_device in names else default
    accumulated = sheet.cell("gradient_accumulation_steps").whole() if "gradient_accumulation_steps" in names else 1
    size = each * accumulated * devices
    says = batch_of(each, accumulated, devices)
    if not names and size != 8:
        draft.imply(per_device, "training.train_batch_size", size)
    for name in names:
        draft.take(sheet.cell(name), "training.train_batch_size", size, says, changed=True)


def batch_of(each: int, accumulated: int, devices: int) -> str:
    """The sum of a step's pairs in words."""
    says = f"{each} pairs, times {accumulated} accumulated, times {devices} device{'s' if devices > 1 else ''}"
    return says if devices > 1 else f"{says}; if it ran on N: --devices N"


def read_warmup(draft: Draft, sheet: Sheet, default: float) -> None:
    """The share of the steps that warm up; of a number of steps, where it is known how many there are.

    Where both are set, steps above zero count, as in transformers 4 (get_warmup_steps): later ones have no ratio.
    """
    ratio, steps = sheet.cell("warmup_ratio"), sheet.cell("warmup_steps")
    counted = usable(sheet, "warmup_steps")
    if usable(sheet, "warmup_ratio") and not (counted and steps.number() > 0):
        draft.take(ratio, "training.warmup_ratio", ratio.number())
        if counted:
            draft.leave(steps, "warmup_ratio says it")
    elif counted:
        _warmup_steps(draft, steps)
        if usable(sheet, "warmup_ratio"):
            draft.leave(ratio, "warmup_steps goes before it")
    elif "warmup_ratio" not in sheet and "warmup_steps" not in sheet:
        draft.imply("warmup_steps", "training.warmup_ratio", default)


def _warmup_steps(draft: Draft, cell: Cell) -> None:
    number = cell.number()
    if number < 1:
        draft.take(cell, "training.warmup_ratio", number)
        return
    total, of = _steps(draft)
    if total:
        share = min(1.0, round(number / total, 6))
        draft.take(cell, "training.warmup_ratio", share, f"{number:g} of {of}", changed=True)
    else:
        says = "a share is asked for: divide it by the run's steps, set training.warmup_ratio (now 0.1)"
        draft.leave(cell, f"{says}; {of}")


def _steps(draft: Draft) -> tuple[int, str]:
    """Optimizer steps of the run, and what they were counted by; 0 where the pairs are not on this machine."""
    if steps := draft.values.get("training.max_steps"):
        return steps, f"{steps} steps"
    rows = rows_of(str(draft.values.get("data.train", "")))
    if not rows:
        return 0, "its pairs are not here to be counted"
    pairs = rows if "data.eval" in draft.values else rows * (1 - HELD_OUT)
    if any(key.startswith("training.early_stopping.") for key in draft.values):
        pairs *= 1 - EarlyStopping().share
    size = draft.values.get("training.train_batch_size", Training().train_batch_size)
    epochs = draft.values.get("training.num_train_epochs", Training().num_train_epochs)
    if size < 1 or not 0 < epochs < math.inf:
        return 0, "the batch or the epochs are none"
    steps = max(1, math.ceil(math.ceil(pairs / size) * epochs - 1e-9))
    return steps, f"about {steps:,} steps: {epochs:g} times {pairs:,.0f} of {rows:,} rows, {size} a step"


def read_clipping(draft: Draft, cell: Cell) -> None:
    """The norm that gradients are clipped to; 0 is none."""
    norm = cell.number()
    if norm:
        draft.take(cell, "training.max_grad_norm", norm)
    else:
        draft.take(cell, "training.max_grad_norm", 1e9, "0 is no clipping: a norm that no gradient has", changed=True)


def read_saving(draft: Draft, cell: Cell) -> None:
    """Steps between checkpoints, not a share of them."""
    steps = cell.number()
    if steps >= 1:
        draft.take(cell, "training.save_steps", cell.whole())
    else:
        draft.leave(cell, "a number of steps is asked for: training.save_steps (now 50)")


def read_precision(draft: Draft, sheet: Sheet, halves: tuple[str, ...], *, default: bool) -> None:
    """The arithmetic: of the switches for bfloat16 and float16, the first that is on; `default` where none says so.

    `default` is bfloat16's, so that float16 alone being off leaves it.
    """
    known = [name for name in halves if usable(sheet, name)]
    on = [name for name in known if str(sheet.values[name]).lower() in ("auto", "full") or sheet.cell(name).flag()]
    default = default and not any("bf" in name for name in known)
    dtype = "bfloat16" if on or default else "float32"
    for name in known:
        cell = sheet.cell(name)
        half = "bf" not in name and name in on
        says = FLOAT16 if half else "" if on or not default else f"bfloat16 is {draft.tool}'s default"
        draft.take(cell, "training.dtype", dtype, says, changed=half)
    if not known and default:
        draft.imply(halves[0], "training.dtype", dtype)


def lora_targets(cell: Cell) -> object:
    """`all-linear` in the words of each tool, or a list of modules."""
    targets = cell.texts()
    return "all-linear" if targets in (["all-linear"], ["all"], ["all_linear"]) else targets
