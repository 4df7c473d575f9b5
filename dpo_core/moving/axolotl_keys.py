"""The keys of an axolotl config, and what becomes of them by their names alone."""

from dpo_core.moving.arguments import (
    COUNTED,
    DATA,
    DEVICES,
    DROPOUT,
    EVALUATING,
    HUB,
    LOGGING,
    OPTIMIZER,
    SAVING,
    SCHEDULE,
    SPEED,
    WHOLE,
)
from dpo_core.moving.cells import Cell
from dpo_core.moving.tables import KeyTable, names, reasons

TEMPLATE = "pairs are written by the template of the model's own tokenizer"
TOKENS = "a model's tokens and embeddings stay as they are"
ADAPTER = "adapters are LoRA's, with r, lora_alpha and target_modules; merged when training ends"
REVISION = "a model is named without revision: download that one, and name its folder"
FROZEN = "the reference stays as it is"
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
            "trackio_run_name trackio_project_name trackio_space_id logging_steps include_tokens_per_second "
            "include_tkps use_otel_metrics otel_metrics_host otel_metrics_port debug",
            SAVING: "saves_per_epoch save_strategy save_total_limit save_first_step save_only_model save_safetensors "
            "resume_from_checkpoint auto_resume_from_checkpoints dynamic_checkpoint",
            EVALUATING: "evals_per_epoch eval_strategy evaluation_strategy eval_batch_size "
            "eval_sample_packing eval_sequence_len eval_table_size eval_max_new_tokens do_causal_lm_eval "
            "eval_causal_lm_metrics do_bench_eval bench_dataset bench_split generate_samples "
            "dpo_generate_during_eval eval_table_max_new_tokens num_generation_samples generation_max_new_tokens "
            "generation_temperature generation_top_p generation_top_k generation_prompt_ratio generation_do_sample",
            "a loss that is not finite stops a run; steps where it jumps are named": "loss_watchdog_threshold "
            "loss_watchdog_patience",
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
            "adam_beta3 loraplus_lr_ratio loraplus_lr_embedding dion_lr dion_momentum dion_rank_fraction "
            "dion_rank_multiple_of muon_clip",
            SCHEDULE: "lr_scheduler_kwargs lr_quadratic_warmup cosine_min_lr_ratio cosine_constant_lr_ratio "
            "lr_div_factor relora relora_steps relora_warmup_steps relora_anneal_steps relora_prune_ratio "
            "relora_prune_method relora_cpu_offload jagged_restart_steps jagged_restart_warmup_steps "
            "jagged_restart_anneal_steps",
            WHOLE: "gptq bnb_config_kwargs qlora_sharded_model_loading qat quantization fp8 "
            "fp8_enable_fsdp_float8_all_gather nvfp4_training model_quantization_config "
            "model_quantization_config_kwargs quantize_moe_experts",
            ADAPTER: "lora_fan_in_fan_out lora_target_parameters lora_modules_to_save peft_layers_to_transform "
            "peft_layers_pattern peft peft_use_dora peft_use_rslora peft_layer_replication peft_init_lora_weights "
            "peft_trainable_token_indices peft_ensure_weight_tying peft_autocast_adapter_dtype merge_method",
            DROPOUT: "neftune_noise_alpha noisy_embedding_alpha",
            CUT: "max_prompt_len max_packed_sequence_len",
            COUNTED: "total_num_tokens total_supervised_tokens axolotl_config_path is_falcon_derived_model "
            "is_llama_derived_model is_mistral_derived_model is_qwen_derived_model",
            "all weights are trained, or adapters": "unfrozen_parameters lisa_n_layers lisa_step_interval "
            "lisa_layers_attribute",
            "positions are those of the text": "use_pose pose_split_on_token_ids pose_max_context_len pose_num_chunks",
            "models read text alone": "image_size image_resize_algorithm",
            "it belongs to serving: docs/serving.md": "gradio_title gradio_share gradio_server_name gradio_server_port "
            "gradio_max_new_tokens gradio_temperature inference",
            "code of plugins is not run": "plugins trainer_cls",
            REVISION: "revision_of_model model_revision",
            "a model is loaded as its folder says": "base_model_config cls_model_config model_config model_kwargs "
            "overrides_of_model_config overrides_of_model_kwargs rope_scaling reinit_weights "
            "llama4_linearized_experts",
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
        "hub_model_id eval_steps early_stopping_patience load_best_model_at_end metric_for_best_model "
        "greater_is_better"
    ),
)
OF_TRL = KeyTable(  # the keys below `trl:`
    fixed={"sync_ref_model": ((False,), FROZEN)},
    left=reasons(
        {
            FROZEN: "ref_model_mixup_alpha ref_model_sync_steps",
            CUT: "max_completion_length",
            "it belongs to GRPO": "use_vllm vllm_mode vllm_device vllm_gpu_memory_utilization vllm_dtype "
            "vllm_max_model_len vllm_server_host vllm_server_port vllm_server_timeout vllm_enable_prefix_caching "
            "vllm_guided_decoding_regex reward_funcs reward_weights num_generations log_completions "
            "num_completions_to_print importance_sampling_level scale_rewards temperature top_p top_k min_p "
            "repetition_penalty generation_kwargs chat_template_kwargs num_iterations epsilon epsilon_high "
            "use_liger_loss loss_type mask_truncated_completions rollout_func multi_objective_aggregation",
        }
    ),
    special=names("beta"),
)
