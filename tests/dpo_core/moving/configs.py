"""Public jobs and configs, their essence written anew: what they set, and what a recipe must make of it.

A case: its source in words, the name and text of its file, what the recipe then has (dotted keys), and keys of the file
that must be told as changed or left out. Names of models and data sets are the originals' where they are the hub's.
"""

from typing import NamedTuple


class Case(NamedTuple):
    """One config, and what comes of it."""

    source: str
    file: str
    text: str
    expected: dict[str, object]
    differs: str  # keys with spaces between, told as changed or left out
    options: tuple[str, ...] = ()


GPT = "gpt-4o-2024-08-06"


def job(hyperparameters: str, rest: str = "", model: str = GPT) -> str:
    """The JSON of a job by DPO."""
    method = f'"method": {{"type": "dpo", "dpo": {{"hyperparameters": {hyperparameters}}}}}'
    return f'{{"training_file": "file-abc", "model": "{model}",\n {method}{rest}}}'


OPENAI = [
    Case(
        "API reference, create a job by DPO: the request",
        "job.json",
        job('{"beta": 0.1}', ', "validation_file": "file-def"', "gpt-4o-mini-2024-07-18"),
        {
            "training.beta": 0.1,
            "data.train": "file-abc.jsonl",
            "data.eval": "file-def.jsonl",
            "training.num_train_epochs": 1,
        },
        "model",
    ),
    Case(
        "API reference: the answer to that request",
        "job.json",
        job(
            '{"beta": 0.1, "batch_size": "auto", "learning_rate_multiplier": "auto", "n_epochs": "auto"}',
            ', "object": "fine_tuning.job", "id": "ftjob-abc123", "created_at": 1746130590, "fine_tuned_model": null, '
            '"organization_id": "org-abc", "result_files": [], "status": "queued", "metadata": null, "error": {}',
        ),
        {"training.beta": 0.1, "training.train_batch_size": 8, "name": GPT},
        "model object id status method.dpo.hyperparameters.batch_size "
        "method.dpo.hyperparameters.learning_rate_multiplier "
        "method.dpo.hyperparameters.n_epochs",
    ),
    Case(
        "guide to DPO, as 2024-Winter-Bootcamp-Team-J/BackEnd calls it: a file's name instead of an id",
        "job.json",
        job('{"beta": 0.1}').replace("file-abc", "category.jsonl"),
        {"data.train": "category.jsonl", "training.beta": 0.1},
        "model",
    ),
    Case(
        "a notebook of an inference gateway: beta 0.2, a validation file",
        "job.json",
        job('{"beta": 0.2}', ', "validation_file": "file-def"'),
        {"training.beta": 0.2, "data.eval": "file-def.jsonl"},
        "model",
    ),
    Case(
        "a cost optimizer's payload: old hyperparameters beside the method, a suffix",
        "job.json",
        job(
            '{"beta": 0.1}',
            ', "suffix": "my-brain", "seed": 42, "integrations": [], "hyperparameters": {"n_epochs": 3}',
        ),
        {"name": "my-brain", "seed": 42, "training.num_train_epochs": 1},
        "model integrations hyperparameters",
    ),
    Case(
        "a script with W&B: all numbers but beta",
        "job.json",
        job(
            '{"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 0.5, "beta": "auto"}',
            ', "suffix": "run-DPO", "integrations": [{"type": "wandb", "wandb": {"project": "p", "tags": ["a"]}}]',
        ),
        {"training.num_train_epochs": 2, "training.train_batch_size": 4, "training.beta": 0.1, "name": "run-DPO"},
        "integrations method.dpo.hyperparameters.learning_rate_multiplier method.dpo.hyperparameters.beta",
    ),
    Case(
        "a log's tuner: beta of its settings, a suffix",
        "job.json",
        job('{"beta": 0.05}', ', "suffix": "xlog-dpo"', "gpt-4.1-nano-2025-04-14"),
        {"training.beta": 0.05, "name": "xlog-dpo"},
        "model",
    ),
    Case(
        "Azure's own advice: epochs, beta and rate inside the method",
        "job.json",
        job('{"n_epochs": 2, "beta": 0.1, "learning_rate_multiplier": 1.0}', "", "gpt-4.1-mini-2025-04-14"),
        {"training.num_train_epochs": 2, "training.beta": 0.1},
        "method.dpo.hyperparameters.learning_rate_multiplier",
    ),
    Case(
        "a studio's client: epochs alone, and none of the rest",
        "job.json",
        job('{"n_epochs": 3}', ', "suffix": "studio"', "gpt-4.1"),
        {"training.num_train_epochs": 3, "name": "studio"},
        "model",
    ),
    Case(
        "the answer of a finished job: the tuned model's name tells the suffix",
        "finished.json",
        job(
            '{"beta": 0.3, "batch_size": 16, "n_epochs": 1}',
            ', "object": "fine_tuning.job", "status": "succeeded", "trained_tokens": 5768, "seed": 7, '
            '"fine_tuned_model": "ft:gpt-4o:my-org:brief-answers:7q8mpxmy", "finished_at": 1746140590',
        ),
        {"name": "brief-answers", "seed": 7, "training.train_batch_size": 16},
        "status trained_tokens finished_at",
    ),
]
QLORA = "load_in_4bit: true\nadapter: qlora\n"
AXOLOTL = [
    Case(
        "mlabonne's abliterated Llama 3, healed by DPO",
        "a.yaml",
        "base_model: mlabonne/Daredevil-8B-abliterated\nmodel_type: LlamaForCausalLM\ntokenizer_type: AutoTokenizer\n"
        f"load_in_8bit: false\n{QLORA}strict: false\nrl: dpo\nchat_template: chatml\ndatasets:\n"
        "  - path: mlabonne/orpo-dpo-mix-40k-flat\n    split: train\n    type: chatml.intel\nval_set_size: 0.0\n"
        "output_dir: ./out\nlora_model_dir:\nsequence_len: 2048\nlora_r: 64\nlora_alpha: 32\nlora_dropout: 0.05\n"
        "lora_target_linear: true\nmicro_batch_size: 1\ngradient_accumulation_steps: 8\nnum_epochs: 1\n"
        "optimizer: paged_adamw_8bit\nlr_scheduler: cosine\nlearning_rate: 5e-6\nbf16: auto\nfp16:\ntf32:\n"
        "gradient_checkpointing: true\nwarmup_steps: 100\nevals_per_epoch: 0\nflash_attention: true\n",
        {
            "model": "mlabonne/Daredevil-8B-abliterated",
            "data.train": "mlabonne/orpo-dpo-mix-40k-flat",
            "training.loss": "sigmoid",
            "training.lora.r": 64,
            "training.lora.lora_alpha": 32,
            "training.lora.target_modules": "all-linear",
            "training.train_batch_size": 8,
            "training.learning_rate": 5e-6,
            "training.dtype": "bfloat16",
            "training.gradient_checkpointing": True,
            "encoding.max_length": 2048,
        },
        "load_in_4bit chat_template lora_dropout optimizer lr_scheduler warmup_steps flash_attention model_type",
    ),
    Case(
        "a preference study's generated config: full weights, dpo_beta, empty keys",
        "a.yaml",
        "base_model: org/unaligned\nrl: dpo\ndpo_beta: 0.7\nchat_template:\ndatasets:\n  - path: pairs\n"
        "    split: train\n"
        "    type:\nval_set_size:\noutput_dir: ./models/mistral/e1_bs8\nsequence_len: 1024\nadapter:\nlora_r:\n"
        "gradient_accumulation_steps: 4\nmicro_batch_size: 2\nnum_epochs: 1\noptimizer: adamw_torch\n"
        "lr_scheduler: cosine\nlearning_rate: 5.0e-7\nbf16: true\nfp16: false\nwarmup_ratio: 0.1\n",
        {
            "training.beta": 0.7,
            "training.lora": None,
            "training.warmup_ratio": 0.1,
            "name": "e1_bs8",
            "data.train": "pairs",
        },
        "lr_scheduler micro_batch_size",
    ),
    Case(
        "convmerge's docs: chat_template.default with fields of its own",
        "a.yaml",
        "base_model: org/m\nrl: dpo\nlearning_rate: 1e-6\nmicro_batch_size: 1\ngradient_accumulation_steps: 1\n"
        "datasets:\n"
        "  - path: dpo.jsonl\n    ds_type: json\n    type: chat_template.default\n    field_messages: prompt\n"
        "    field_chosen: chosen\n    field_rejected: rejected\n",
        {
            "data.train": "dpo.jsonl",
            "training.train_batch_size": 1,
            "encoding.max_length": 512,
            "training.warmup_ratio": 0.03,
        },
        "datasets.0.field_messages datasets.0.field_chosen",
    ),
    Case(
        "axolotl's own end-to-end test of ORPO",
        "a.yaml",
        "base_model: HuggingFaceTB/SmolLM2-135M\nload_in_8bit: true\nadapter: lora\nlora_r: 64\nlora_alpha: 32\n"
        "lora_target_linear: true\nrl: orpo\norpo_alpha: 0.1\nremove_unused_columns: false\n"
        "chat_template: chatml\ndatasets:\n"
        "  - path: argilla/distilabel-capybara-dpo-7k-binarized\n    type: chat_template.argilla\n    split: train\n"
        "num_epochs: 1\nmicro_batch_size: 4\ngradient_accumulation_steps: 1\noutput_dir: ./t\nlearning_rate: 0.00001\n"
        "optimizer: paged_adamw_8bit\nlr_scheduler: cosine\nmax_steps: 20\nsave_steps: 10\nwarmup_steps: 5\n"
        "save_first_step: false\ngradient_checkpointing: true\ngradient_checkpointing_kwargs: {use_reentrant: true}\n",
        {
            "training.loss": "orpo",
            "training.beta": 0.1,
            "training.sft_weight": 1.0,
            "training.max_steps": 20,
            "training.warmup_ratio": 0.25,
            "training.save_steps": 10,
        },
        "load_in_8bit warmup_steps",
    ),
    Case(
        "the card of mlabonne/orpo-dpo-mix-40k",
        "a.yaml",
        "base_model: org/m\nlearning_rate: 8e-6\nrl: orpo\norpo_alpha: 0.1\nchat_template: chatml\ndatasets:\n"
        "  - path: mlabonne/orpo-dpo-mix-40k\n    type: chat_template.argilla\n    chat_template: chatml\n",
        {"training.loss": "orpo", "data.train": "mlabonne/orpo-dpo-mix-40k"},
        "chat_template datasets.0.chat_template",
    ),
    Case(
        "a guide to agents: SimPO with cpo_alpha 0",
        "a.yaml",
        "base_model: meta-llama/Meta-Llama-3-8B-Instruct\nrl: simpo\nrl_beta: 2.0\nsimpo_gamma: 1.0\ncpo_alpha: 0.0\n"
        "learning_rate: 1e-6\nmicro_batch_size: 2\ngradient_accumulation_steps: 4\nchat_template: llama3\ndatasets:\n"
        "  - path: org/preferences\n    type: chat_template.default\nsequence_len: 4096\nsample_packing: false\n",
        {"training.loss": "simpo", "training.beta": 2.0, "training.simpo_gamma": 1.0, "training.sft_weight": 0.0},
        "chat_template micro_batch_size",
    ),
    Case(
        "another skill's SimPO: cpo_alpha not set is 1",
        "a.yaml",
        "base_model: Qwen/Qwen2.5-0.5B\nrl: simpo\nrl_beta: 0.1\nsimpo_gamma: 0.5\nsample_packing: false\n"
        "learning_rate: 1e-5\nmicro_batch_size: 1\ngradient_accumulation_steps: 2\ndatasets:\n  - path: org/p\n",
        {"training.loss": "simpo", "training.sft_weight": 1.0, "training.train_batch_size": 2},
        "lr_scheduler",
    ),
    Case(
        "a handbook's full QLoRA config, with special tokens and a held-out share",
        "a.yaml",
        f"base_model: meta-llama/Llama-3.1-8B-Instruct\nspecial_tokens:\n  pad_token: <|end_of_text|>\n"
        f"{QLORA}lora_r: 16\n"
        "lora_alpha: 32\nlora_target_modules: [q_proj, v_proj]\nrl: dpo\nrl_beta: 0.1\ndatasets:\n"
        "  - path: argilla/dpo-mix-7k\n    type: chatml.intel\n    split: train\nval_set_size: 0.02\n"
        "sequence_len: 1024\n"
        "max_prompt_len: 512\nmicro_batch_size: 2\ngradient_accumulation_steps: 8\nnum_epochs: 1\nlearning_rate: 5e-7\n"
        "lr_scheduler: cosine\nwarmup_ratio: 0.1\noptimizer: adamw_bnb_8bit\nbf16: auto\ntf32: true\n"
        "bnb_4bit_quant_type: nf4\n",
        {"training.lora.target_modules": ["q_proj", "v_proj"], "training.train_batch_size": 32, "training.beta": 0.1},
        "special_tokens val_set_size max_prompt_len bnb_4bit_quant_type tf32",
        ("--devices", "2"),
    ),
    Case(
        "IPO as axolotl has it now: a list of losses",
        "a.yaml",
        "base_model: org/m\nrl: dpo\ndpo_loss_type: [ipo]\nrl_beta: 0.2\nlearning_rate: 5e-6\nlr_scheduler: constant\n"
        "batch_size: 12\nmicro_batch_size: 3\ndatasets:\n  - path: Vezora/Code-Preference-Pairs\n    type: dpo\n",
        {"training.loss": "ipo", "training.beta": 0.2, "training.train_batch_size": 12},
        "lr_scheduler batch_size",
    ),
    Case(
        "IPO as axolotl had it: rl: ipo; weighting, two data sets",
        "a.yaml",
        "base_model: org/m\nrl: ipo\nbeta: 0.1\ndpo_use_weighting: true\nlearning_rate: 5e-6\nmicro_batch_size: 1\n"
        "gradient_accumulation_steps: 1\nhub_model_id: me/my-ipo\ndatasets:\n"
        "  - path: Intel/orca_dpo_pairs\n    split: train\n    type: chatml.intel\n"
        "  - path: argilla/ultrafeedback-binarized-preferences\n    split: train\n    type: chatml\n",
        {
            "training.loss": "ipo",
            "training.use_weighting": True,
            "data.train": "dataset:my-ipo-pairs",
            "name": "my-ipo",
        },
        "datasets.0.path datasets.1.path",
    ),
    Case(
        "a mixture by weights, with label smoothing and length-normalised pairs elsewhere",
        "a.yaml",
        "base_model: org/m\nrl: dpo\ndpo_loss_type: [sigmoid, bco_pair, sft]\ndpo_loss_weights: [0.8, 0.2, 0.5]\n"
        "dpo_label_smoothing: 0.1\nlearning_rate: 1e-6\nmicro_batch_size: 1\ngradient_accumulation_steps: 1\n"
        "trl:\n  beta: 0.05\ndatasets:\n  - path: org/p\n",
        {
            "training.loss": {"sigmoid": 0.8, "bco_pair": 0.2},
            "training.label_smoothing": 0.1,
            "training.sft_weight": 0.5,
            "training.beta": 0.05,
        },
        "dpo_loss_type",
    ),
]
FULL = "do_train: true\nfinetuning_type: full\n"
LORA = "do_train: true\nfinetuning_type: lora\nlora_target: all\n"
INFO = "dataset_dir: data\n"
LLAMA_FACTORY = [
    Case(
        "examples/train_full/llama3_full_dpo.yaml of a fork",
        "l.yaml",
        f"model_name_or_path: meta-llama/Llama-3.1-8B-Instruct\ntrust_remote_code: true\nstage: dpo\n{FULL}"
        "deepspeed: examples/deepspeed/ds_z3_config.json\npref_beta: 0.1\npref_loss: sigmoid\npref_ftx: 1.0\n"
        "dataset: dpo_en_demo\ntemplate: llama3\ncutoff_len: 2048\nmax_samples: 1000000\noverwrite_cache: true\n"
        "preprocessing_num_workers: 16\noutput_dir: saves/llama3-8b/full/dpo\nlogging_steps: 10\nplot_loss: true\n"
        "per_device_train_batch_size: 1\ngradient_accumulation_steps: 8\nlearning_rate: 5.0e-6\nnum_train_epochs: 1.0\n"
        "lr_scheduler_type: cosine\nwarmup_ratio: 0.1\nbf16: true\nddp_timeout: 180000000\n",
        {
            "training.sft_weight": 1.0,
            "training.lora": None,
            "encoding.max_length": 2048,
            "data.train": "data/dpo_en_demo.json",
            "training.dtype": "bfloat16",
            "name": "llama3-8b-full-dpo",
        },
        "trust_remote_code deepspeed template lr_scheduler_type max_samples ddp_timeout",
    ),
    Case(
        "the documentation's LoRA config for DPO",
        "l.yaml",
        f"model_name_or_path: meta-llama/Meta-Llama-3-8B-Instruct\nstage: dpo\n{LORA}lora_rank: 8\npref_beta: 0.1\n"
        "pref_loss: sigmoid\ndataset: dpo_en_demo\ntemplate: llama3\ncutoff_len: 2048\nmax_samples: 1000\n"
        "output_dir: saves/llama3-8b/lora/dpo\nsave_steps: 500\nper_device_train_batch_size: 1\n"
        "gradient_accumulation_steps: 8\nlearning_rate: 5.0e-6\nnum_train_epochs: 3.0\nlr_scheduler_type: cosine\n"
        "warmup_ratio: 0.1\nbf16: true\nresume_from_checkpoint: null\n",
        {
            "training.lora.r": 8,
            "training.lora.lora_alpha": 16,
            "training.save_steps": 500,
            "training.num_train_epochs": 3,
        },
        "template max_samples lr_scheduler_type",
    ),
    Case(
        "an assistant's retrieval: val_size and evaluation by steps",
        "l.yaml",
        f"model_name_or_path: THUDM/ChatGLM3-6B\nstage: dpo\n{LORA}pref_beta: 0.1\npref_loss: sigmoid\n"
        "dataset: dpo_en_demo\ntemplate: llama3\ncutoff_len: 2048\noutput_dir: saves/assistrag\n"
        "per_device_train_batch_size: 4\ngradient_accumulation_steps: 8\nlearning_rate: 2.0e-5\nnum_train_epochs: 2.0\n"
        "val_size: 0.1\nper_device_eval_batch_size: 1\neval_strategy: steps\neval_steps: 500\nbf16: true\n",
        {
            "training.train_batch_size": 32,
            "training.learning_rate": 2e-5,
            "training.warmup_ratio": 0.0,
            "data.eval": None,
        },
        "val_size eval_strategy eval_steps per_device_eval_batch_size",
    ),
    Case(
        "a starter of a handbook: an SFT adapter goes on, its base is the reference",
        "l.yaml",
        f"model_name_or_path: meta-llama/Llama-3.2-1B-Instruct\nadapter_name_or_path: adapter\nstage: dpo\n{LORA}"
        "dataset: dpo_en_demo\noutput_dir: out/dpo-prefs\nlora_rank: 16\nlora_alpha: 32\npref_loss: sigmoid\n"
        "cutoff_len: 1024\n"
        "pref_batch_size: 2\ngradient_accumulation_steps: 8\nlearning_rate: 5.0e-6\nnum_train_epochs: 1.0\n"
        "val_size: 0.05\n"
        "gradient_checkpointing: true\nreport_to: none\n",
        {
            "model": "adapter",
            "reference": "meta-llama/Llama-3.2-1B-Instruct",
            "training.train_batch_size": 64,
            "training.gradient_checkpointing": True,
            "name": "dpo-prefs",
        },
        "adapter_name_or_path pref_batch_size val_size",
    ),
    Case(
        "a generator of experiments: SimPO with TULU, fp16",
        "l.yaml",
        f"model_name_or_path: allenai/tulu-2-dpo-7b\nstage: dpo\n{LORA}lora_rank: 16\npref_beta: 0.1\n"
        "pref_loss: simpo\n"
        "dataset: dpo_en_demo\ntemplate: tulu2\ncutoff_len: 2048\noutput_dir: out\nper_device_train_batch_size: 1\n"
        "gradient_accumulation_steps: 8\nlearning_rate: 1.0e-5\nnum_train_epochs: 3.0\nfp16: true\n",
        {"training.loss": "simpo", "training.simpo_gamma": None, "training.dtype": "bfloat16", "name": "l"},
        "fp16 template",
    ),
    Case(
        "a skill's SimPO: beta 2, its margin",
        "l.yaml",
        f"model_name_or_path: Qwen/Qwen3-8B\nstage: dpo\n{LORA}dataset: dpo_en_demo\npref_loss: simpo\npref_beta: 2.0\n"
        "simpo_gamma: 0.5\n",
        {
            "training.beta": 2.0,
            "training.simpo_gamma": 0.5,
            "training.learning_rate": 5e-5,
            "training.num_train_epochs": 3,
        },
        "",
    ),
    Case(
        "a Japanese guide's ORPO",
        "l.yaml",
        f"model_name_or_path: org/m\nstage: dpo\n{LORA}dataset: dpo_en_demo\npref_loss: orpo\npref_beta: 0.1\n"
        "pref_ftx: 0.5\n",
        {"training.loss": "orpo", "training.beta": 0.1, "training.sft_weight": 1.5},
        "",
    ),
    Case(
        "GSM8K with beta 5: full weights, a held-out data set",
        "l.yaml",
        f"model_name_or_path: meta-llama/Llama-3.1-8B-Instruct\nflash_attn: fa2\nstage: dpo\n{FULL}pref_beta: 5.0\n"
        "dataset: dpo_en_demo\neval_dataset: held_out\ntemplate: llama3\ncutoff_len: 1024\n"
        "output_dir: saves/8b/full/dpoe6\n"
        "report_to: wandb\nper_device_train_batch_size: 2\ngradient_accumulation_steps: 2\nlearning_rate: 5.0e-7\n",
        {"training.beta": 5.0, "data.eval": "data/held_out.jsonl", "name": "dpoe6", "training.train_batch_size": 4},
        "flash_attn report_to",
    ),
    Case(
        "two demos, in two languages",
        "l.yaml",
        f"model_name_or_path: org/m\nstage: dpo\n{FULL}{INFO}dataset: dpo_en_demo, of_the_hub\noutput_dir: saves/two\n"
        "learning_rate: 1.0e-6\n",
        {"data.train": "dataset:two-pairs"},
        "dataset",
    ),
    Case(
        "a 70B model in 4 bits",
        "l.yaml",
        f"model_name_or_path: org/Llama-3-70B\nquantization_bit: 4\nquantization_method: bitsandbytes\n"
        f"stage: dpo\n{LORA}"
        "deepspeed: ds_z2_config.json\ndataset: of_the_hub\nflash_attn: fa2\noutput_dir: saves/70b-dpo\n"
        "learning_rate: 5e-6\n",
        {"data.train": "llamafactory/DPO-En:prefs", "training.learning_rate": 5e-6, "training.lora.r": 8},
        "quantization_bit quantization_method deepspeed",
    ),
    Case(
        "a booking machine's defaults: dropout, thinking off, BCO's weight and LD's alpha beside",
        "l.yaml",
        f"model_name_or_path: Qwen/Qwen3-4B\nstage: dpo\n{LORA}lora_rank: 16\nlora_alpha: 32\nlora_dropout: 0.05\n"
        "template: qwen3\nenable_thinking: false\npref_loss: sigmoid\npref_bco_weight: 1.0\nld_alpha: 0.5\n"
        "dataset: dpo_en_demo\ncutoff_len: 2048\nlearning_rate: 5.0e-6\nnum_train_epochs: 1\n"
        "per_device_train_batch_size: 1\ngradient_accumulation_steps: 8\nfp16: false\n",
        {"training.loss": {"sigmoid": 0.5, "bco_pair": 0.5}, "training.ld_alpha": 0.5, "training.dtype": "float32"},
        "lora_dropout template enable_thinking",
    ),
]
TRL = [
    Case(
        "a skill's dpo_config.yaml",
        "c.yaml",
        "model_name_or_path: Qwen/Qwen2.5-0.5B-Instruct\ndataset_name: trl-lib/ultrafeedback_binarized\n"
        "output_dir: dpo-output\nlearning_rate: 1.0e-6\nper_device_train_batch_size: 2\n"
        "gradient_accumulation_steps: 8\n"
        "num_train_epochs: 1\neval_strategy: steps\neval_steps: 100\nreport_to: none\n",
        {
            "data.train": "trl-lib/ultrafeedback_binarized",
            "data.eval": "trl-lib/ultrafeedback_binarized:test",
            "training.train_batch_size": 16,
            "training.dtype": "bfloat16",
            "training.warmup_ratio": 0.0,
        },
        "eval_steps report_to",
    ),
    Case(
        "TRL's own LoRA example of `trl dpo`, as YAML",
        "c.yaml",
        "dataset_name: trl-lib/ultrafeedback_binarized\nmodel_name_or_path: Qwen/Qwen2-0.5B-Instruct\n"
        "learning_rate: 5.0e-6\n"
        "num_train_epochs: 1\nper_device_train_batch_size: 2\nmax_steps: 1000\ngradient_accumulation_steps: 8\n"
        "output_dir: Qwen2-0.5B-DPO\nno_remove_unused_columns: true\nuse_peft: true\nlora_r: 32\nlora_alpha: 16\n",
        {"training.lora.r": 32, "training.lora.lora_alpha": 16, "training.max_steps": 1000, "name": "Qwen2-0.5B-DPO"},
        "no_remove_unused_columns",
    ),
    Case(
        "the two lines of TRL's documentation",
        "c.yaml",
        "model_name_or_path: Qwen/Qwen2.5-0.5B\ndataset_name: anthropic/hh-rlhf\n",
        {"training.num_train_epochs": 3.0, "training.learning_rate": 1e-6, "training.train_batch_size": 8, "name": "c"},
        "",
    ),
    Case(
        "argilla/notus-7b-dpo, by the alignment handbook",
        "c.yaml",
        "model_name_or_path: alignment-handbook/zephyr-7b-sft-full\ntorch_dtype: auto\nuse_flash_attention_2: true\n"
        "dataset_mixer:\n  argilla/ultrafeedback-binarized-avg-rating-for-dpo: 1.0\ndataset_splits:\n  - train\n"
        "preprocessing_num_workers: 12\nbf16: true\nbeta: 0.1\ndo_eval: true\nevaluation_strategy: steps\n"
        "eval_steps: 100\n"
        "gradient_accumulation_steps: 1\ngradient_checkpointing: true\nlearning_rate: 5.0e-7\nlogging_steps: 10\n"
        "lr_scheduler_type: linear\nmax_length: 1024\nmax_prompt_length: 512\nnum_train_epochs: 3\noptim: rmsprop\n"
        "output_dir: data/notus-7b-dpo\nper_device_train_batch_size: 8\npush_to_hub: true\n"
        "hub_model_id: argilla/notus-7b-dpo\nsave_strategy: epoch\nseed: 42\nwarmup_ratio: 0.1\nreport_to: [wandb]\n",
        {
            "data.train": "argilla/ultrafeedback-binarized-avg-rating-for-dpo",
            "name": "notus-7b-dpo",
            "training.warmup_ratio": 0.1,
            "training.gradient_checkpointing": True,
            "seed": 42,
        },
        "optim max_prompt_length evaluation_strategy push_to_hub torch_dtype",
    ),
    Case(
        "SimPO's own config, by the alignment handbook: keys that are nobody's here",
        "c.yaml",
        "model_name_or_path: mistralai/Mistral-7B-v0.1\ntorch_dtype: bfloat16\ndataset_mixer:\n"
        "  HuggingFaceH4/ultrafeedback_binarized: 1.0\ndataset_splits: [train_prefs, test_prefs]\nbeta: 2.0\n"
        "gamma_beta_ratio: 0.5\nloss_type: sigmoid\nsft_weight: 0.0\nlearning_rate: 5e-7\nnum_train_epochs: 1\n"
        "per_device_train_batch_size: 1\ngradient_accumulation_steps: 8\noutput_dir: ./outputs/mistral-7b-simpo\n",
        {
            "training.beta": 2.0,
            "data.train": "HuggingFaceH4/ultrafeedback_binarized:train_prefs",
            "training.loss": "sigmoid",
        },
        "gamma_beta_ratio sft_weight",
    ),
    Case(
        "a Danish study: length-normalised, LoRA",
        "c.yaml",
        "model_name_or_path: org/apertus\ndataset_name: org/pairs\nloss_type: sigmoid_norm\nbeta: 0.1\n"
        "learning_rate: 5e-6\n"
        "max_steps: 625\nuse_peft: true\nlora_r: 16\nlora_target_modules: [q_proj, v_proj]\n"
        "output_dir: models/croco-da-simpo\n",
        {
            "training.loss": "sigmoid_norm",
            "training.lora.target_modules": ["q_proj", "v_proj"],
            "name": "croco-da-simpo",
        },
        "",
    ),
    Case(
        "TRL's documentation on MPO, as JSON",
        "c.json",
        '{"model_name_or_path": "org/m", "dataset_name": "org/p", "dataset_config": "prefs",\n'
        ' "loss_type": ["sigmoid", "bco_pair", "sft"], "loss_weights": [0.8, 0.2, 1.0], "bf16": false}',
        {
            "training.loss": {"sigmoid": 0.8, "bco_pair": 0.2},
            "training.sft_weight": 1.0,
            "training.bco_delta": "zero",
            "training.dtype": "float32",
            "data.train": "org/p:prefs:train",
        },
        "",
    ),
    Case(
        "rspalwai/CSCI4140_Project, train.py: the script of TRL's documentation",
        "s.py",
        'model = AutoModelForCausalLM.from_pretrained("Qwen/Qwen2.5-0.5B-Instruct")\n'
        'dataset = load_dataset("trl-lib/ultrafeedback_binarized", split="train")\n'
        'training_args = DPOConfig(output_dir="Qwen2.5-0.5B-DPO")\n'
        "trainer = DPOTrainer(model=model, args=training_args, train_dataset=dataset)\ntrainer.train()\n",
        {
            "model": "Qwen/Qwen2.5-0.5B-Instruct",
            "data.train": "trl-lib/ultrafeedback_binarized",
            "name": "Qwen2.5-0.5B-DPO",
        },
        "",
    ),
    Case(
        "a healthcare tutorial: QLoRA in a function, output_dir computed",
        "s.py",
        "def train(model, output_dir):\n    config = LoraConfig(r=64, lora_alpha=128, bias='none',\n"
        "        target_modules=['q_proj', 'k_proj'], lora_dropout=0.05, task_type='CAUSAL_LM')\n"
        "    args = DPOConfig(per_device_train_batch_size=2, gradient_accumulation_steps=4, learning_rate=5e-6,\n"
        "        lr_scheduler_type='cosine', warmup_ratio=0.1, num_train_epochs=3, save_steps=100, "
        "eval_strategy='steps',\n"
        "        output_dir=output_dir, bf16=True, max_length=2048, max_prompt_length=1024, beta=0.1,\n"
        "        gradient_checkpointing=True)\n    DPOTrainer(model=model, ref_model=None, args=args)\n",
        {
            "training.lora.r": 64,
            "training.lora.target_modules": ["q_proj", "k_proj"],
            "encoding.max_length": 2048,
            "training.num_train_epochs": 3,
            "name": "s",
        },
        "output_dir lora_dropout lr_scheduler_type max_prompt_length",
        ("--model", "org/m", "--data", "org/p"),
    ),
    Case(
        "a bilingual model's class: ZeRO 3, steps of warm-up, cosine with restarts",
        "s.py",
        "class A:\n    def align(self, train_dataset):\n"
        "        training_args = DPOConfig(output_dir='./fsdp_dpo_align_output',\n"
        "            per_device_train_batch_size=2, gradient_accumulation_steps=8, learning_rate=5e-5,\n"
        "            lr_scheduler_type='cosine_with_restarts', warmup_steps=100, bf16=True, logging_steps=10,\n"
        "            deepspeed='./ds_config_zero3.json', report_to='wandb', beta=0.1)\n",
        {"training.learning_rate": 5e-5, "training.train_batch_size": 16, "name": "fsdp_dpo_align_output"},
        "deepspeed lr_scheduler_type warmup_steps report_to",
        ("--model", "org/m", "--data", "org/p"),
    ),
    Case(
        "a summariser on one GPU: fp16, logging_dir, a local model",
        "s.py",
        "model_path = 'model'\nmodel = AutoModelForCausalLM.from_pretrained(model_path)\n"
        "training_args = DPOConfig(output_dir='models/rlhf/DPO_pairwise/TinyLlama', logging_dir='logs',\n"
        "    per_device_train_batch_size=2, gradient_accumulation_steps=8, fp16=True, num_train_epochs=5.0, "
        "save_steps=50)\n"
        "trainer = DPOTrainer(model=model, args=training_args, train_dataset=train_dataset)\n",
        {"model": "model", "training.dtype": "bfloat16", "training.num_train_epochs": 5.0, "training.save_steps": 50},
        "fp16 logging_dir",
        ("--data", "org/p"),
    ),
    Case(
        "a script of arguments: nearly all is computed",
        "s.py",
        "args = parser.parse_args()\n"
        "c = DPOConfig(output_dir=args.output_dir, learning_rate=args.learning_rate, beta=0.3,\n"
        "    per_device_train_batch_size=args.batch_size, lr_scheduler_type='cosine', optim='adamw_torch',\n"
        "    loss_type='sigmoid', seed=42, fp16=not torch.cuda.is_available())\n",
        {"training.beta": 0.3, "seed": 42, "training.learning_rate": 1e-6, "training.train_batch_size": 8},
        "learning_rate per_device_train_batch_size fp16 lr_scheduler_type",
        ("--model", "org/m", "--data", "org/p"),
    ),
    Case(
        "a script of TRL before DPOConfig: beta is DPOTrainer's, pairs of a JSON file",
        "s.py",
        "BASE = 'org/base'\ndata = load_dataset('json', data_files={'train': 'pairs.jsonl'})\n"
        "training_args = TrainingArguments(output_dir='dpo_llama2', max_steps=200, learning_rate=5e-4, "
        "warmup_steps=20)\n"
        "trainer = DPOTrainer(AutoModelForCausalLM.from_pretrained(BASE), None, args=training_args, beta=0.2)\n",
        {"training.beta": 0.2, "training.warmup_ratio": 0.1, "model": "org/base", "data.train": "pairs.jsonl"},
        "warmup_steps",
    ),
]
ALL = {"openai": OPENAI, "axolotl": AXOLOTL, "llama-factory": LLAMA_FACTORY, "trl": TRL}
