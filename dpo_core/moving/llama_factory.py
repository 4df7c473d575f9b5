"""A LLaMA-Factory config with `stage: dpo`, and the `dataset_info.json` that it names its data sets by.

Keys, defaults and losses are those of LLaMA-Factory's src/llamafactory/hparams (finetuning_args.py, model_args.py,
training_args.py at 00577a85, data_args.py 072bfe29, generating_args.py 0a722466), train/dpo/trainer.py 000526908 and
data/parser.py 01d3ac67; its training arguments are transformers' Seq2SeqTrainingArguments.
"""

from pathlib import Path
from typing import Any

from dpo_core.errors import InputError
from dpo_core.moving import arguments as common
from dpo_core.moving.arguments import DATA, DROPOUT, EVALUATING, HUB, LOGGING, OPTIMIZER, SPEED, WHOLE
from dpo_core.moving.cells import Cell, Sheet
from dpo_core.moving.draft import Draft
from dpo_core.moving.early_stopping import read_early_stopping
from dpo_core.moving.losses import DO, refuse_method, set_losses
from dpo_core.moving.openai_job import read_json
from dpo_core.moving.sources import find_model, find_pairs, hub_or_file, named_after, set_name, set_pairs, told_split
from dpo_core.moving.tables import KeyTable, names, reasons, sort_out
from dpo_core.recipe_file import read_text

TOOL = "LLaMA-Factory"
INFO = "dataset_info.json"
TEMPLATE = "pairs are written by the template of the model's own tokenizer"
ADAPTER = "adapters are LoRA's, with r, lora_alpha and target_modules"
GOES_ON = "an adapter that goes on is held to its base"
FRESH = (
    "a new one is held to the merged model it starts on; but with ZeRO-3 or unsloth the old one went on: set reference"
)
PICTURES = "models read text alone"
TOKENS = "a model's tokens and embeddings stay as they are"
SERVING = "it belongs to serving: docs/serving.md"
OWN = KeyTable(
    fixed={
        "lora_dropout": ((0,), DROPOUT),
        "use_rslora": ((False,), ADAPTER),
        "use_dora": ((False,), ADAPTER),
        "pissa_init": ((False,), ADAPTER),
        "train_on_prompt": ((False,), "answers are trained on, prompts are not"),
        "mask_history": ((True, False), "the answers of a pair are trained on, the turns before them are not"),
        "packing": ((True, False), SPEED),
        "neat_packing": ((True, False), SPEED),
        "disable_shuffling": ((False,), "pairs are drawn at random, by seed"),
        "trust_remote_code": ((False,), "code is trusted by name: trust_remote_code takes a commit, docs/recipe.md"),
        "model_revision": (("main",), "a model is named without revision: download that one, and name its folder"),
        "use_dft_loss": ((False,), "training.loss has the losses: docs/losses.md"),
        "train_from_scratch": ((False,), "training goes on from a model"),
        "pure_bf16": ((False,), "weights are fp32 while they are trained; training.dtype is the arithmetic"),
    },
    left=reasons(
        {
            DATA: "streaming buffer_size overwrite_cache preprocessing_batch_size preprocessing_num_workers "
            "max_samples ignore_pad_token_for_loss eval_on_each_dataset tokenized_path mix_strategy "
            "interleave_probs",
            TEMPLATE: "template tool_format enable_thinking default_system",
            EVALUATING: "eval_num_beams compute_accuracy do_sample temperature top_p top_k "
            "num_beams max_length max_new_tokens repetition_penalty length_penalty system_message "
            "predict_with_generate generation_max_length generation_num_beams generation_config sortish_sampler",
            LOGGING: "plot_loss include_effective_tokens_per_second print_param_status use_swanlab swanlab_project "
            "swanlab_workspace swanlab_run_name swanlab_mode swanlab_api_key swanlab_logdir swanlab_lark_webhook_url "
            "swanlab_lark_secret",
            OPTIMIZER: "use_galore galore_target galore_rank galore_update_interval galore_scale galore_proj_type "
            "galore_layerwise use_apollo apollo_target apollo_rank apollo_update_interval apollo_scale apollo_proj "
            "apollo_proj_type apollo_scale_type apollo_layerwise apollo_scale_front use_badam badam_mode "
            "badam_start_block badam_switch_mode badam_switch_interval badam_update_ratio badam_mask_mode "
            "badam_verbose use_adam_mini use_muon loraplus_lr_ratio loraplus_lr_embedding",
            ADAPTER: "additional_target pissa_iter pissa_convert module_dropout oft_rank "
            "oft_block_size oft_target freeze_trainable_layers freeze_trainable_modules freeze_extra_modules "
            "use_llama_pro adapter_folder",
            PICTURES: "media_dir freeze_vision_tower freeze_multi_modal_projector freeze_language_model "
            "image_max_pixels image_min_pixels image_do_pan_and_scan crop_to_patches video_max_pixels "
            "video_min_pixels video_fps video_maxlen use_audio_in_video audio_sampling_rate",
            TOKENS: "use_fast_tokenizer resize_vocab split_special_tokens add_tokens add_special_tokens "
            "new_special_tokens_config init_special_tokens",
            WHOLE: "quantization_method quantization_bit quantization_type double_quantization "
            "quantization_device_map fp8 fp8_backend fp8_enable_fsdp_float8_all_gather ref_model_quantization_bit "
            "reward_model_quantization_bit",
            SPEED: "low_cpu_mem_usage flash_attn shift_attn use_unsloth use_unsloth_gc enable_liger_kernel "
            "use_reentrant_gc upcast_layernorm upcast_lmhead_output use_kv_cache use_v1_kernels use_mca use_kt "
            "kt_optimize_rule cpu_infer chunk_size mode kt_maxlen kt_use_cuda_graph kt_mode kt_force_think "
            "offload_folder cache_dir",
            SERVING: "infer_backend infer_dtype vllm_maxlen vllm_gpu_util vllm_enforce_eager vllm_max_lora_rank "
            "vllm_config sglang_maxlen sglang_mem_fraction sglang_tp_size sglang_config sglang_lora_backend",
            HUB: "hf_hub_token ms_hub_token om_hub_token export_dir export_size export_device "
            "export_quantization_bit export_quantization_dataset export_quantization_nsamples "
            "export_quantization_maxlen export_legacy_format export_hub_model_id",
            common.DEVICES: "ray_run_name ray_storage_path ray_storage_filesystem ray_num_workers "
            "resources_per_worker placement_strategy ray_init_kwargs",
            "a model is loaded as its folder says": "rope_scaling mixture_of_depths moe_aux_loss_coef",
            "it belongs to KTO": "kto_chosen_weight kto_rejected_weight",
            "it belongs to PPO": "ppo_buffer_size ppo_epochs ppo_score_norm ppo_target ppo_whiten_rewards "
            "reward_model reward_model_adapters reward_model_type",
        }
    ),
    special=names(
        "stage pref_beta pref_ftx pref_bco_weight pref_loss dpo_label_smoothing ld_alpha simpo_gamma ref_model "
        "ref_model_adapters finetuning_type lora_rank lora_alpha lora_target dataset eval_dataset dataset_dir "
        "cutoff_len val_size model_name_or_path adapter_name_or_path create_new_adapter disable_gradient_checkpointing "
        "early_stopping_steps"
    ),
)
TABLE = common.COMMON | common.EARLIER | OWN


def read_llama_factory(sheet: Sheet, draft: Draft, devices: int, *, data_given: bool, model_given: bool) -> None:
    """The draft of a LLaMA-Factory config."""
    stage = sheet.cell("stage")
    if stage.value is None:
        raise stage.refused("stage is not set: LLaMA-Factory's default is sft, on answers and not on pairs", DO)
    refuse_method(stage, stage.text(), TOOL)
    if stage.text() != "dpo":
        raise stage.refused(f"there is no run here for stage: {stage.value}", DO)
    sort_out(sheet, TABLE, draft)
    read_early_stopping(draft, sheet, "early_stopping_steps")
    draft.same(stage, "pairs")
    _loss(draft, sheet)
    for name, key, value in (
        ("learning_rate", "training.learning_rate", 5e-5),
        ("num_train_epochs", "training.num_train_epochs", 3.0),
        ("cutoff_len", "encoding.max_length", 2048),
    ):
        if name not in sheet:
            draft.imply(name, key, value)
    if "cutoff_len" in sheet:
        cell = sheet.cell("cutoff_len")
        draft.take(cell, "encoding.max_length", cell.whole(), "a longer pair is dropped, not cut (encoding.overlong)")
    common.read_common(draft, sheet, devices)
    common.read_precision(draft, sheet, ("bf16", "fp16"), default=False)
    if "disable_gradient_checkpointing" in sheet:
        cell = sheet.cell("disable_gradient_checkpointing")
        draft.take(cell, "training.gradient_checkpointing", not cell.flag())
    _lora(draft, sheet)
    if not model_given:
        _models(draft, sheet)
    if not data_given:
        _pairs(draft, sheet)
    common.read_warmup(draft, sheet, 0.0)
    set_name(draft, sheet)


def _loss(draft: Draft, sheet: Sheet) -> None:
    """Its losses are TRL's of v0.8: ipo, orpo and simpo of mean log-probs, sigmoid with cDPO's smoothing."""
    cell = sheet.cell("pref_loss")
    kind = cell.text() if "pref_loss" in sheet else "sigmoid"
    bco = sheet.cell("pref_bco_weight")
    weight = bco.number() if "pref_bco_weight" in sheet else 0.0
    if weight > 0 and kind not in ("orpo", "simpo"):
        shares = {kind: round(1 / (1 + weight), 6), "bco_pair": round(weight / (1 + weight), 6)}
        set_losses(draft, bco, list(shares), list(shares.values()))
    elif "pref_loss" in sheet:
        set_losses(draft, cell, [kind], [1.0])
    if "pref_beta" in sheet:
        draft.take(sheet.cell("pref_beta"), "training.beta", sheet.cell("pref_beta").number())
    if "pref_ftx" in sheet and (nll := sheet.cell("pref_ftx").number()):
        own = 1.0 if kind == "orpo" else 0.0
        draft.take(sheet.cell("pref_ftx"), "training.sft_weight", own + nll, "the NLL of chosen answers")
    if "dpo_label_smoothing" in sheet and sheet.cell("dpo_label_smoothing").number():
        draft.option(sheet.cell("dpo_label_smoothing"), "label_smoothing", sheet.cell("dpo_label_smoothing").number())
    if "ld_alpha" in sheet:
        draft.option(sheet.cell("ld_alpha"), "ld_alpha", sheet.cell("ld_alpha").number())
    if "simpo_gamma" in sheet:
        draft.option(sheet.cell("simpo_gamma"), "simpo_gamma", sheet.cell("simpo_gamma").number())


def _lora(draft: Draft, sheet: Sheet) -> None:
    cell = sheet.cell("finetuning_type")
    kind = cell.text() if "finetuning_type" in sheet else "lora"
    if kind == "full":
        draft.same(cell, "all weights are trained")
        return
    if kind != "lora":
        do = "write full (all weights) or lora in a copy, and import that"
        raise cell.refused(f"finetuning_type {kind} is none here", do)
    rank = sheet.cell("lora_rank").whole() if "lora_rank" in sheet else 8
    if cell.value is None:
        draft.imply("finetuning_type", "training.lora.r", rank)
    else:
        draft.take(cell, "training.lora.r", rank, "adapters")
    if "lora_rank" in sheet:
        draft.take(sheet.cell("lora_rank"), "training.lora.r", rank)
    if "lora_alpha" in sheet:
        draft.take(sheet.cell("lora_alpha"), "training.lora.lora_alpha", sheet.cell("lora_alpha").whole())
    else:
        draft.imply("lora_alpha", "training.lora.lora_alpha", 2 * rank)
    if "lora_target" in sheet:
        draft.take(
            sheet.cell("lora_target"), "training.lora.target_modules", common.lora_targets(sheet.cell("lora_target"))
        )


def _models(draft: Draft, sheet: Sheet) -> None:
    """An adapter that goes on being trained has its base as the reference, unless another is named or none is there.

    A new adapter is put on the merged model, which then is the reference: LLaMA-Factory's model/adapter.py 01d87b82.
    """
    base, adapter, other = (sheet.cell(name) for name in ("model_name_or_path", "adapter_name_or_path", "ref_model"))
    names = adapter.texts() if adapter.value is not None else []
    if names:
        if len(names) > 1:
            raise adapter.refused("several adapters are named", "merge them first, and name the model: --model FOLDER")
        draft.take(adapter, "model", find_model(names[0], adapter), "the adapter, merged with its base", changed=True)
    elif base.value is not None:
        draft.take(base, "model", find_model(base.text(), base))
    fresh = "create_new_adapter" in sheet and sheet.cell("create_new_adapter").flag()
    if "create_new_adapter" in sheet:
        draft.same(sheet.cell("create_new_adapter"), FRESH if fresh else GOES_ON)
    if set(draft.losses) <= {"simpo", "orpo"}:
        return
    if other.value is not None:
        draft.take(other, "reference", find_model(other.text(), other))
    elif names and base.value is not None and not fresh:
        draft.take(base, "reference", find_model(base.text(), base), "the adapter's base is what it is held to")


def _pairs(draft: Draft, sheet: Sheet) -> None:
    mix = f"{named_after(sheet)}-pairs"
    for name, key in (("dataset", "data.train"), ("eval_dataset", "data.eval")):
        if name in sheet:
            cell = sheet.cell(name)
            named = [(cell, _source(one, cell, sheet, draft)) for one in cell.texts()]
            set_pairs(draft, key, named, mix if name == "dataset" else f"{mix}-held-out")
    if "val_size" in sheet and sheet.cell("val_size").number():
        draft.change(sheet.cell("val_size"), "a tenth of the pairs is held out, by prompt, for good")


def _source(name: str, cell: Cell, sheet: Sheet, draft: Draft) -> str:
    """The pairs that `dataset_info.json` has under this name; a name of the hub where there is no such file."""
    folder = str(sheet.values.get("dataset_dir") or "data")
    if folder == "ONLINE" or folder.startswith("REMOTE:"):
        return find_pairs(name, cell)
    at = sheet.cell("dataset_dir") if "dataset_dir" in sheet else cell
    info = Path(find_pairs(str(Path(folder) / INFO), at))
    entries = read_json(read_text(info, INFO, "mend it, or name the pairs: --data FILE"), str(info))
    entry = entries.get(name) if isinstance(entries, dict) else None
    if not isinstance(entry, dict):
        do = f"add it to {INFO}, mend the name, or name the pairs: --data FILE"
        raise cell.refused(f"{info} has no data set {name!r}", do)
    return _of_entry(name, entry, info, draft)


def _of_entry(name: str, entry: dict[str, Any], info: Path, draft: Draft) -> str:
    def there(key: str) -> Cell:
        return Cell(str(info), None, f"{name}.{key}", entry.get(key))

    if entry.get("ranking") is not True:
        do = 'set "ranking": true if its rows have a better and a worse answer; or name the pairs: --data FILE'
        raise there("ranking").refused(f"the data set {name!r} is not one of pairs: ranking is not true", do)
    for key in ("columns", "tags"):
        if entry.get(key):
            draft.leave(there(key), "columns and roles are recognised by their names: docs/data.md; rename others")
    for key in ("num_samples", "revision", "folder"):
        if entry.get(key):
            draft.leave(there(key), DATA)
    if "file_name" in entry:
        return find_pairs(str(info.parent / str(entry["file_name"])), there("file_name"))
    if "hf_hub_url" in entry:
        split = str(entry.get("split") or "train")
        if "split" in entry:
            told_split(draft, there("split"), "see the data set")
        return hub_or_file(str(entry["hf_hub_url"]), entry.get("subset"), split, there("hf_hub_url"))
    says = f"the data set {name!r} comes from {', '.join(key for key in entry if key.endswith('_url')) or 'nowhere'}"
    raise InputError(says, where=f"{info}, key {name}", do="download its file, and name the pairs: --data FILE")
