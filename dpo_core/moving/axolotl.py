"""An axolotl config with `rl: dpo`, `ipo`, `simpo` or `orpo`.

Keys, defaults and losses are those of axolotl's src/axolotl/utils/schemas (config.py at 002a637c and, with its later
keys, as in the fork thad0ctor/axolotl at 03406f72; training.py 002a637c, model.py 04980d49, peft.py 00564c8f,
datasets.py 70be5461, deprecated.py 1377ccc3, integrations.py 280d5689) and core/ (builders/rl.py 00a59d29,
builders/base.py 09f0fade of that fork, trainers/dpo/__init__.py 0fad92a3).
"""

from dpo_core.moving import arguments as common
from dpo_core.moving.arguments import (
    COUNTED,
    DATA,
    DEVICES,
    DROPOUT,
    EARLY,
    EVALUATING,
    HUB,
    LOGGING,
    OPTIMIZER,
    SAVING,
    SCHEDULE,
    SPEED,
    WHOLE,
)
from dpo_core.moving.cells import Cell, Sheet
from dpo_core.moving.draft import Draft
from dpo_core.moving.losses import DO, refuse_method, set_losses
from dpo_core.moving.sources import find_model, find_pairs, hub_or_file, named_after, set_name, set_pairs
from dpo_core.moving.tables import KeyTable, names, reasons, sort_out

TOOL = "axolotl"
TEMPLATE = "pairs are written by the template of the model's own tokenizer"
TOKENS = "a model's tokens and embeddings stay as they are"
ADAPTER = "adapters are LoRA's, with r, lora_alpha and target_modules; merged when training ends"
REVISION = "a model is named without revision: download that one, and name its folder"
CUT = "a longer pair is dropped, or its prompt cut: encoding.overlong"
TABLE = KeyTable(
    taken={
        "learning_rate": ("training.learning_rate", Cell.number),
        "num_epochs": ("training.num_train_epochs", Cell.number),
        "seed": ("seed", Cell.whole),
    },
    fixed={
        "lr_scheduler": (("linear",), SCHEDULE),
        "optimizer": (("adamw_torch", "adamw_torch_fused", "adamw_hf"), OPTIMIZER),
        "weight_decay": ((0,), OPTIMIZER),
        "adam_beta1": ((0.9,), OPTIMIZER),
        "adam_beta2": ((0.999,), OPTIMIZER),
        "adam_epsilon": ((1e-8,), OPTIMIZER),
        "lora_dropout": ((0,), DROPOUT),
        "load_in_8bit": ((False,), WHOLE),
        "load_in_4bit": ((False,), WHOLE),
        "sample_packing": ((True, False), SPEED),
        "train_on_inputs": ((False,), "answers are trained on, prompts are not"),
        "remove_unused_columns": ((True, False), DATA),
        "shuffle_merged_datasets": ((True,), "pairs are drawn at random, by seed"),
        "excess_length_strategy": (("drop",), CUT),
        "precompute_ref_log_probs": ((True,), "reference log-probs are computed once, before training, and stored"),
        "trust_remote_code": ((False,), "code is trusted by name: trust_remote_code takes a commit, docs/recipe.md"),
        "chat_template": (("tokenizer_default",), TEMPLATE),
        "model_type": (("AutoModelForCausalLM",), "models are causal language models"),
        "type_of_model": (("AutoModelForCausalLM",), "models are causal language models"),
        "tokenizer_type": (("AutoTokenizer",), "the tokenizer is the one of the model's folder"),
        "reward_model": ((False,), "a run trains a model that answers"),
        "process_reward_model": ((False,), "a run trains a model that answers"),
        "merge_lora": ((True,), ADAPTER),
        "is_preprocess": ((False,), DATA),
    },
    left=reasons(
        {
            LOGGING: "wandb_name wandb_run_id wandb_mode wandb_project wandb_entity wandb_watch wandb_log_model "
            "use_wandb use_mlflow mlflow_tracking_uri mlflow_experiment_name mlflow_run_name "
            "hf_mlflow_log_artifacts use_comet comet_api_key comet_workspace comet_project_name "
            "comet_experiment_key comet_mode comet_online comet_experiment_config use_tensorboard use_trackio "
            "trackio_run_name logging_steps include_tokens_per_second include_tkps",
            SAVING: "saves_per_epoch save_strategy save_total_limit save_first_step save_only_model save_safetensors "
            "resume_from_checkpoint auto_resume_from_checkpoints dynamic_checkpoint",
            EVALUATING: "eval_steps evals_per_epoch eval_strategy evaluation_strategy eval_batch_size "
            "eval_sample_packing eval_sequence_len eval_table_size eval_max_new_tokens do_causal_lm_eval "
            "eval_causal_lm_metrics do_bench_eval bench_dataset bench_split generate_samples "
            "dpo_generate_during_eval loss_watchdog_threshold loss_watchdog_patience",
            EARLY: "metric_for_best_model greater_is_better load_best_model_at_end early_stopping_patience",
            HUB: "hub_strategy hub_revision push_dataset_to_hub hf_use_auth_token",
            SPEED: "dpo_padding_free dpo_use_liger_kernel dpo_use_logits_to_keep dataset_processes "
            "dataset_num_proc dataset_keep_in_memory dataloader_pin_memory dataloader_num_workers "
            "dataloader_prefetch_factor gc_steps torch_empty_cache_steps gc_collect_steps tf32 "
            "gradient_checkpointing_kwargs activation_offloading layer_offloading sample_packing_group_size "
            "sample_packing_bin_size sample_packing_sequentially sample_packing_mp_start_method "
            "sample_packing_eff_est pad_to_sequence_len pad_to_multiple_of multipack_real_batches batch_flattening "
            "streaming streaming_multipack_buffer_size pretrain_multipack_buffer_size pretrain_multipack_attn "
            "pretraining_sample_concatenation xformers_attention sdp_attention flex_attention "
            "flex_attn_compile_kwargs flash_attention flash_attn_cross_entropy flash_attn_rms_norm "
            "flash_attn_fuse_qkv flash_attn_fuse_mlp flash_optimum sage_attention eager_attention s2_attention "
            "attn_implementation unsloth_cross_entropy_loss unsloth_lora_mlp unsloth_lora_qkv unsloth_lora_o "
            "unsloth_rms_norm unsloth_rope lora_mlp_kernel lora_qkv_kernel lora_o_kernel lora_embedding_kernel "
            "chunked_cross_entropy chunked_cross_entropy_num_chunks tiled_mlp tiled_mlp_num_shards "
            "tiled_mlp_use_original_mlp torch_compile torch_compile_backend torch_compile_mode profiler_steps "
            "profiler_steps_start low_cpu_mem_usage max_memory gpu_memory_limit group_by_length "
            "auto_find_batch_size use_kernels experts_implementation torchdistx_path "
            "experimental_skip_move_to_device lora_on_cpu",
            DEVICES: "accelerator_config device device_map world_size local_rank ddp ddp_timeout ddp_bucket_cap_mb "
            "ddp_broadcast_buffers ddp_find_unused_parameters deepspeed deepcompile fsdp fsdp_config fsdp_version "
            "fsdp_final_state_dict_type dp_shard_size dp_replicate_size sequence_parallel_degree "
            "context_parallel_size heads_k_stride ring_attn_func tensor_parallel_size use_ray ray_run_name "
            "ray_num_workers resources_per_worker",
            DATA: "dataset_prepared_path dataset_shard_num dataset_shard_idx skip_prepare_dataset "
            "num_dataset_shards_to_save dataset_exact_deduplication shuffle_before_merging_datasets "
            "curriculum_sampling min_sample_len default_system_message preprocess_iterable dataloader_drop_last",
            TEMPLATE: "chat_template_jinja chat_template_kwargs eot_tokens",
            TOKENS: "special_tokens tokens added_tokens_overrides resize_token_embeddings_to_32x "
            "mean_resizing_embeddings shrink_embeddings embeddings_skip_upcast fix_untrained_tokens "
            "tokenizer_config tokenizer_use_fast tokenizer_legacy tokenizer_use_mistral_common "
            "tokenizer_save_jinja_files processor_type",
            OPTIMIZER: "optim_args optim_target_modules embedding_lr embedding_lr_scale lr_groups adam_epsilon2 "
            "adam_beta3 loraplus_lr_ratio loraplus_lr_embedding",
            SCHEDULE: "lr_scheduler_kwargs lr_quadratic_warmup cosine_min_lr_ratio cosine_constant_lr_ratio "
            "lr_div_factor relora relora_steps relora_warmup_steps relora_anneal_steps relora_prune_ratio "
            "relora_prune_method relora_cpu_offload",
            WHOLE: "gptq bnb_config_kwargs qlora_sharded_model_loading qat quantization fp8 "
            "fp8_enable_fsdp_float8_all_gather nvfp4_training model_quantization_config "
            "model_quantization_config_kwargs quantize_moe_experts",
            ADAPTER: "lora_fan_in_fan_out lora_target_parameters lora_modules_to_save peft_layers_to_transform "
            "peft_layers_pattern peft peft_use_dora peft_use_rslora peft_layer_replication peft_init_lora_weights "
            "peft_trainable_token_indices peft_ensure_weight_tying peft_autocast_adapter_dtype merge_method",
            DROPOUT: "neftune_noise_alpha noisy_embedding_alpha",
            CUT: "max_prompt_len",
            COUNTED: "total_num_tokens total_supervised_tokens axolotl_config_path is_falcon_derived_model "
            "is_llama_derived_model is_mistral_derived_model is_qwen_derived_model",
            "all weights are trained, or adapters": "unfrozen_parameters",
            "code of plugins is not run": "plugins trainer_cls",
            REVISION: "revision_of_model model_revision",
            "a model is loaded as its folder says": "base_model_config cls_model_config model_config model_kwargs "
            "overrides_of_model_config overrides_of_model_kwargs rope_scaling reinit_weights",
            "it only checks axolotl's own keys": "strict",
            "answers are not drawn while it trains": "vllm ebft",
            "it belongs to KTO": "kto_desirable_weight kto_undesirable_weight",
            "it belongs to reward models": "num_labels center_rewards_coefficient",
        }
    ),
    special=names(
        "base_model rl rl_beta dpo_beta beta trl orpo_alpha rpo_alpha simpo_gamma cpo_alpha dpo_label_smoothing "
        "dpo_use_weighting dpo_norm_loss dpo_loss_type dpo_loss_weights micro_batch_size gradient_accumulation_steps "
        "batch_size max_steps warmup_steps warmup_ratio max_grad_norm bf16 fp16 bfloat16 float16 float32 "
        "gradient_checkpointing sequence_len adapter lora_model_dir lora_r lora_alpha lora_target_linear "
        "lora_target_modules datasets test_datasets pretraining_dataset val_set_size save_steps output_dir "
        "hub_model_id"
    ),
)
LOSSES = {"dpo": "sigmoid", "ipo": "ipo", "simpo": "simpo", "orpo": "orpo"}


def read_axolotl(sheet: Sheet, draft: Draft, devices: int, *, data_given: bool, model_given: bool) -> None:
    """The draft of an axolotl config."""
    _require_pairs(sheet)
    sort_out(sheet, TABLE, draft)
    _loss(draft, sheet)
    _steps(draft, sheet, devices)
    if "sequence_len" in sheet:
        cell = sheet.cell("sequence_len")
        draft.take(cell, "encoding.max_length", cell.whole(), CUT)
    else:
        draft.imply("sequence_len", "encoding.max_length", 512)
    _lora(draft, sheet)
    for name in ("lora_model_dir", "base_model"):
        if name in sheet and not model_given and "model" not in draft.values:
            says = "the adapter, merged with its base" if name == "lora_model_dir" else ""
            draft.take(sheet.cell(name), "model", find_model(sheet.cell(name).text(), sheet.cell(name)), says)
    if not data_given:
        _pairs(draft, sheet)
    set_name(draft, sheet)


def _require_pairs(sheet: Sheet) -> None:
    for name in ("reward_model", "process_reward_model"):
        if name in sheet and sheet.cell(name).flag():
            refuse_method(sheet.cell(name), name, TOOL)
    cell = sheet.cell("rl")
    if cell.value is None:
        raise cell.refused("rl is not set: the config trains on answers, not on pairs", DO)
    refuse_method(cell, cell.text().lower(), TOOL)
    if cell.text().lower() not in LOSSES:
        raise cell.refused(f"there is no run here for rl: {cell.value}", DO)


def _loss(draft: Draft, sheet: Sheet) -> None:
    rl = sheet.cell("rl")
    kind = rl.text().lower()
    if "dpo_loss_type" in sheet:
        types = sheet.cell("dpo_loss_type")
        weights = sheet.cell("dpo_loss_weights").texts() if "dpo_loss_weights" in sheet else ["1"] * len(types.texts())
        numbers = [Cell(types.file, types.line, "dpo_loss_weights", one).number() for one in weights]
        set_losses(draft, types, types.texts(), numbers)
    elif "dpo_norm_loss" in sheet and sheet.cell("dpo_norm_loss").flag():
        draft.take(sheet.cell("dpo_norm_loss"), "training.loss", "sigmoid_norm", "log-ratios are means of tokens")
    else:
        draft.take(rl, "training.loss", LOSSES[kind])
    trl = sheet.section("trl")
    betas = [sheet.cell(name) for name in ("rl_beta", "dpo_beta", "beta", "orpo_alpha") if name in sheet]
    betas = [trl.cell("beta"), *betas] if "beta" in trl else betas
    for cell in betas[:1]:
        draft.take(cell, "training.beta", cell.number())
    for cell in betas[1:]:
        draft.leave(cell, f"{betas[0].name} says it")
    if "dpo_label_smoothing" in sheet and sheet.cell("dpo_label_smoothing").number():
        draft.option(sheet.cell("dpo_label_smoothing"), "label_smoothing", sheet.cell("dpo_label_smoothing").number())
    if "dpo_use_weighting" in sheet and sheet.cell("dpo_use_weighting").flag():
        draft.option(sheet.cell("dpo_use_weighting"), "use_weighting", True)
    if "simpo_gamma" in sheet:
        draft.option(sheet.cell("simpo_gamma"), "simpo_gamma", sheet.cell("simpo_gamma").number())
    nll = sheet.cell("cpo_alpha" if kind == "simpo" else "rpo_alpha")
    if nll.value is not None:
        draft.take(nll, "training.sft_weight", nll.number(), "the NLL of chosen answers")
    elif kind == "simpo":
        draft.imply("cpo_alpha", "training.sft_weight", 1.0)


def _steps(draft: Draft, sheet: Sheet, devices: int) -> None:
    if "batch_size" in sheet:
        cell = sheet.cell("batch_size")
        draft.take(cell, "training.train_batch_size", cell.whole(), "of all devices and steps accumulated")
    else:
        common.read_batch(draft, sheet, "micro_batch_size", 1, devices)
    if "max_steps" in sheet:
        draft.take(sheet.cell("max_steps"), "training.max_steps", sheet.cell("max_steps").whole())
    common.read_warmup(draft, sheet, 0.03)
    if "lr_scheduler" not in sheet:
        draft.change(Cell("", None, "lr_scheduler", "cosine"), f"not in the file: axolotl's default; {SCHEDULE}")
    if "max_grad_norm" in sheet:
        common.read_clipping(draft, sheet.cell("max_grad_norm"))
    if "save_steps" in sheet:
        common.read_saving(draft, sheet.cell("save_steps"))
    common.read_precision(draft, sheet, ("bf16", "bfloat16", "fp16", "float16"), default=True)
    if "gradient_checkpointing" in sheet:
        cell = sheet.cell("gradient_checkpointing")
        offloads = str(cell.value) in ("offload", "offload_disk", "unsloth")
        says = "activations are computed twice, not moved away" if offloads else ""
        draft.take(cell, "training.gradient_checkpointing", offloads or cell.flag(), says, changed=offloads)


def _lora(draft: Draft, sheet: Sheet) -> None:
    names = [name for name in ("lora_r", "lora_alpha", "lora_target_modules", "lora_target_linear") if name in sheet]
    if "adapter" not in sheet:
        for name in names:
            draft.leave(sheet.cell(name), "it has no effect without adapter: lora")
        return
    adapter = sheet.cell("adapter")
    quantized = adapter.text() == "qlora"
    draft.take(adapter, "training.lora.r", 16, WHOLE if quantized else "adapters", changed=quantized)
    if adapter.text() not in ("lora", "qlora"):
        raise adapter.refused(
            f"adapter {adapter.value!r} is none here", "use adapter: lora, or all weights: leave it out"
        )
    for name in names:
        cell = sheet.cell(name)
        if name == "lora_target_linear":
            if cell.flag():
                draft.take(cell, "training.lora.target_modules", "all-linear")
        elif name == "lora_target_modules":
            draft.take(cell, "training.lora.target_modules", common.lora_targets(cell))
        else:
            draft.take(cell, f"training.lora.{'r' if name == 'lora_r' else name}", cell.whole())


def _pairs(draft: Draft, sheet: Sheet) -> None:
    mix = f"{named_after(sheet)}-pairs"
    for name, key in (("datasets", "data.train"), ("test_datasets", "data.eval")):
        if named := [_source(section, draft) for section in sheet.items(name)]:
            set_pairs(draft, key, named, mix if name == "datasets" else f"{mix}-held-out")
    if "val_set_size" in sheet and sheet.cell("val_set_size").number():
        draft.change(sheet.cell("val_set_size"), "a tenth of the pairs is held out, by prompt, for good")


def _source(section: Sheet, draft: Draft) -> tuple[Cell, str]:
    """A data set of the list, and what of its keys is read by other rules here."""
    cell = section.cell("path")
    if "path" not in section:
        raise cell.refused("a data set of the list has no path", "write - path: ORG/NAME, or a file")
    kind = section.values.get("type")
    for other in section:
        name = other.name.rpartition(".")[2]
        if name.startswith(("field_", "message_", "roles")) or (name == "type" and isinstance(kind, dict)):
            draft.leave(other, "columns and roles are recognised by their names: docs/data.md; rename others")
        elif name not in ("path", "data_files"):
            (draft.same if name in ("split", "name", "ds_type", "type") else draft.leave)(other, DATA)
    files = section.values.get("data_files")
    files = files[0] if isinstance(files, list) and len(files) == 1 else files
    if isinstance(files, str):
        inside = section.cell("data_files")
        return inside, find_pairs(files, inside)
    if isinstance(files, list):
        raise section.cell("data_files").refused(
            "data_files lists several files", "name their folder, or a pattern of them"
        )
    return cell, hub_or_file(cell.text(), section.values.get("name"), str(section.values.get("split") or "train"), cell)
