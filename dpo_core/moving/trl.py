"""TRL: the YAML or JSON of `trl dpo --config`, or a script with `DPOConfig(...)`. Names are those of TRL 1.16.0.

Its classes: DPOConfig, and for `--config` ScriptArguments, ModelConfig, DatasetMixtureConfig. A test compares the names
with the installed package. `EARLIER` are names of earlier versions, and of the alignment handbook, that public configs
still have.
"""

from dpo_core.errors import InputError
from dpo_core.moving import arguments as common
from dpo_core.moving.arguments import DATA, DEVICES, DROPOUT, EVALUATING, SPEED, WHOLE, usable
from dpo_core.moving.cells import Cell, Sheet
from dpo_core.moving.draft import Draft
from dpo_core.moving.early_stopping import read_early_stopping
from dpo_core.moving.losses import UNSMOOTHED, imply_trainer, set_losses, set_smoothing
from dpo_core.moving.sources import (
    SLICE,
    WHOLE_SET,
    find_model,
    find_pairs,
    hub_or_file,
    named_after,
    set_name,
    set_pairs,
    told_split,
    type_of,
)
from dpo_core.moving.tables import KeyTable, names, reasons, sort_out
from dpo_core.recipe_loss import WITHOUT_REFERENCE

TOOL = "TRL 1.16"
LENGTH = "a longer pair is dropped, not cut (encoding.overlong)"
NO_LENGTH = (
    "there is always a length here, now 1024 tokens, and a longer pair is dropped: set encoding.max_length to the "
    "tokens of the longest pair, at most the model's context"
)
CODE = "code is trusted by name, not by a switch: trust_remote_code takes a commit, docs/recipe.md"
REVISION = "a model is named without revision: download that one, and name its folder"
FROZEN = "the reference stays as it is"
NO_LORA = "it has no effect without use_peft"
LORA_ONLY = "adapters are LoRA's, with r, lora_alpha and target_modules"
UNKNOWN_TARGETS = (
    "not in the file: peft's default goes by the model's type, which is not known here (of llama and qwen2: q_proj, "
    "v_proj); here it is every linear module, or set training.lora.target_modules"
)
OWN = KeyTable(
    taken={"beta": ("training.beta", Cell.number)},
    fixed={
        "disable_dropout": ((True,), DROPOUT),
        "truncation_mode": ((), LENGTH),
        "sync_ref_model": ((False,), FROZEN),
        "trust_remote_code": ((False,), CODE),
        "padding_free": ((True, False), SPEED),
        "precompute_ref_log_probs": ((True,), "reference log-probs are computed once, before training, and stored"),
        "model_revision": (("main",), REVISION),
        "load_in_8bit": ((False,), WHOLE),
        "load_in_4bit": ((False,), WHOLE),
        "use_rslora": ((False,), LORA_ONLY),
        "use_dora": ((False,), LORA_ONLY),
        "lora_dropout": ((0,), DROPOUT),
        "lora_task_type": (("CAUSAL_LM",), "models are causal language models"),
        "dtype": ((), "weights are fp32 while they are trained; training.dtype is the arithmetic"),
        "dataset_streaming": ((True, False), DATA),
        "streaming": ((True, False), DATA),
    },
    left=reasons(
        {
            SPEED: "dataset_num_proc pad_to_multiple_of precompute_ref_batch_size activation_offloading "
            "attn_implementation",
            WHOLE: "bnb_4bit_quant_type use_bnb_nested_quant bnb_4bit_quant_storage",
            FROZEN: "ref_model_mixup_alpha ref_model_sync_steps",
            LORA_ONLY: "lora_target_parameters lora_modules_to_save",
            DEVICES: "ignore_bias_buffers",
            "there is no loss of a router": "router_aux_loss_coef",
            "a model is loaded whole, in fp32, as its folder says": "model_init_kwargs",
            "the tokenizer's own pad token is of no weight: rows are packed": "pad_token",
            "a tenth of the pairs is held out by prompt, or data.eval": "test_split_size",
        }
    ),
    special=names(
        "loss_type loss_weights ld_alpha f_divergence_type f_alpha_divergence_coef label_smoothing use_weighting "
        "discopop_tau max_length model_name_or_path use_peft lora_r lora_alpha lora_target_modules dataset_name "
        "dataset_config dataset_train_split dataset_test_split datasets"
    ),
)
EARLIER = KeyTable(
    fixed={
        "torch_dtype": ((), "weights are fp32 while they are trained; training.dtype is the arithmetic"),
        "reference_free": ((False,), "simpo and orpo are the losses without a reference"),
        "generate_during_eval": ((True,), EVALUATING),
    },
    left=reasons(
        {
            LENGTH: "max_prompt_length max_completion_length",
            SPEED: "use_flash_attention_2 preprocessing_num_workers use_logits_to_keep",
            DATA: "dataset_splits chat_template",
            "variables of the environment are settings: docs/settings.md": "env",
            "any better measurement counts as better": "early_stopping_threshold",
        }
    ),
    special=names(
        "dataset_mixer rpo_alpha "
        "early_stopping_patience ref_model"  # of a script's EarlyStoppingCallback and DPOTrainer
    ),
)
TABLE = common.COMMON | common.EARLIER | EARLIER | OWN
LORA = {"r": "lora_r", "target_modules": "lora_target_modules"}  # of peft's LoraConfig; the other names are the same
PEFT_TARGETS: dict[str, str | list[str]] = {  # of model types: peft's default, where no modules are named
    kind: modules.split()
    for kind, modules in reasons(
        {
            "q_proj v_proj": "bart opt gptj gpt_neo llama llama4 mistral mixtral stablelm gemma gemma2 gemma3_text "
            "qwen2 qwen3",
            "q_proj k_proj v_proj o_proj": "nemotron_h",
            "q_proj v_proj fc1 fc2": "phi",
            "query value": "bert roberta xlm-roberta electra",
            "query_key_value": "bloom gpt_neox falcon",
            "c_attn": "gpt2 gpt_bigcode",
            "Wqkv": "mpt",
            "qkv_proj": "codegen",
            "key value receptance output": "rwkv",
        }
    ).items()
} | {"gemma4": r".*language_model\..*\.(q_proj|v_proj)"}


def read_trl(sheet: Sheet, draft: Draft, devices: int, *, data_given: bool, model_given: bool) -> None:
    """The draft of a `trl dpo` config."""
    special = {cell.name for cell in sort_out(sheet, TABLE, draft)}
    if "training.num_train_epochs" not in draft.values and "num_train_epochs" not in sheet:
        draft.imply("num_train_epochs", "training.num_train_epochs", 3.0)
    if sheet.plain and "learning_rate" not in sheet:
        draft.imply("learning_rate", "training.learning_rate", 5e-5, "transformers")
    _loss(draft, sheet)
    common.read_common(draft, sheet, devices)
    common.read_precision(draft, sheet, ("bf16", "fp16"), default=not sheet.plain)
    if usable(sheet, "max_length"):
        draft.take(sheet.cell("max_length"), "encoding.max_length", sheet.cell("max_length").whole(), LENGTH)
    elif "max_length" in sheet.values and "max_length" not in sheet:
        draft.change(sheet.cell("max_length"), NO_LENGTH)
    read_early_stopping(draft, sheet, "early_stopping_patience")
    if not model_given:
        _model(draft, sheet)
    if usable(sheet, "ref_model"):
        _reference(draft, sheet.cell("ref_model"), sheet.values.get("model_name_or_path"))
    _lora(draft, sheet)
    if not data_given:
        _pairs(draft, sheet)
    common.read_warmup(draft, sheet, 0.0)
    for name in ("dataset_config", "dataset_train_split", "dataset_test_split"):
        if name in special and "data.train" in draft.values and not data_given:
            told_split(draft, sheet.cell(name), "see the data set")
    set_name(draft, sheet)


def _loss(draft: Draft, sheet: Sheet) -> None:
    cell = sheet.cell("loss_type")
    if usable(sheet, "loss_type"):
        names = cell.texts()
        weights = sheet.cell("loss_weights").value if usable(sheet, "loss_weights") else [1.0] * len(names)
        weights = weights if isinstance(weights, list) else sheet.cell("loss_weights").texts()
        set_losses(draft, cell, names, [Cell(cell.file, cell.line, "loss_weights", one).number() for one in weights])
        if "loss_weights" in sheet:
            draft.same(sheet.cell("loss_weights"), "see loss_type")
    imply_trainer(draft, sheet, "label_smoothing")
    _divergence(draft, sheet)
    if usable(sheet, "label_smoothing"):
        set_smoothing(draft, sheet.cell("label_smoothing"), () if sheet.plain else UNSMOOTHED)
    for name in ("discopop_tau", "ld_alpha"):
        if usable(sheet, name):
            _number_option(draft, sheet.cell(name))
    if usable(sheet, "use_weighting") and sheet.cell("use_weighting").flag():
        draft.option(sheet.cell("use_weighting"), "use_weighting", True)
    if usable(sheet, "rpo_alpha"):
        alpha = sheet.cell("rpo_alpha")
        draft.take(alpha, "training.sft_weight", alpha.number(), "the NLL of chosen answers", changed=True)


def _divergence(draft: Draft, sheet: Sheet) -> None:
    """What holds the policy to the reference."""
    cell, coefficient = sheet.cell("f_divergence_type"), sheet.cell("f_alpha_divergence_coef")
    name = cell.text().lower().removeprefix("fdivergencetype.") if usable(sheet, "f_divergence_type") else "reverse_kl"
    if name != "reverse_kl":
        draft.option(cell, "f_divergence_type", name)
    elif "f_divergence_type" in sheet:
        draft.same(cell, "it is what holds the policy here unless another is set")
    if usable(sheet, "f_alpha_divergence_coef"):
        if draft.values.get("training.f_divergence_type") == "alpha_divergence":
            draft.option(coefficient, "f_alpha_divergence_coef", coefficient.number())
        else:
            draft.leave(coefficient, "it has no effect without f_divergence_type: alpha_divergence")


def _number_option(draft: Draft, cell: Cell) -> None:
    """An option of the loss that is a number; one at its neutral value says nothing."""
    value = cell.number()
    if cell.name == "ld_alpha" and value == 1:
        draft.same(cell, "it changes nothing")
    else:
        draft.option(cell, cell.name, value)


def _lora(draft: Draft, sheet: Sheet) -> None:
    on = usable(sheet, "use_peft") and sheet.cell("use_peft").flag()
    names = [name for name in ("lora_r", "lora_alpha", "lora_target_modules") if usable(sheet, name)]
    if not on:
        for name in names:
            draft.leave(sheet.cell(name), NO_LORA)
        if usable(sheet, "use_peft"):
            draft.same(sheet.cell("use_peft"), "all weights are trained")
        return
    draft.take(sheet.cell("use_peft"), "training.lora.r", 16, "adapters")
    for name in names:
        key = f"training.lora.{name if name == 'lora_alpha' else name.removeprefix('lora_')}"
        cell = sheet.cell(name)
        draft.take(cell, key, common.lora_targets(cell) if name == "lora_target_modules" else cell.whole())
    if "lora_target_modules" not in sheet:
        _peft_targets(draft)


def _peft_targets(draft: Draft) -> None:
    """TRL leaves modules that are not named to peft, which has its own for each type of model."""
    targets = PEFT_TARGETS.get(type_of(str(draft.values.get("model", ""))) or "")
    if targets is not None:
        draft.imply("lora_target_modules", "training.lora.target_modules", targets)
    else:
        draft.change(Cell("", None, "lora_target_modules", "peft's"), UNKNOWN_TARGETS)


def _model(draft: Draft, sheet: Sheet) -> None:
    if usable(sheet, "model_name_or_path"):
        cell = sheet.cell("model_name_or_path")
        draft.take(cell, "model", find_model(cell.text(), cell))


def _reference(draft: Draft, cell: Cell, model: object) -> None:
    if cell.value == model:
        draft.same(cell, "the start model is the reference unless another is named")
    elif set(draft.losses) <= set(WITHOUT_REFERENCE):
        draft.leave(cell, "the loss has no reference")
    else:
        draft.take(cell, "reference", find_model(cell.text(), cell))


def _pairs(draft: Draft, sheet: Sheet) -> None:
    mix = f"{named_after(sheet)}-pairs"
    if usable(sheet, "datasets"):
        sections = sheet.items("datasets")
        named = [(section.cell("path"), _of_mixture(section)) for section in sections]
        for section in sections:
            if "split" in section:
                told_split(draft, section.cell("split"), "see the data set")
        if not named:
            raise sheet.cell("datasets").refused("datasets is an empty list", "name one: - path: ORG/NAME")
        set_pairs(draft, "data.train", named, mix)
        if "dataset_name" in sheet:
            draft.leave(sheet.cell("dataset_name"), "TRL takes `datasets` where both are there")
    elif usable(sheet, "dataset_mixer"):
        cell = sheet.cell("dataset_mixer")
        if not isinstance(cell.value, dict) or not cell.value:
            raise cell.refused(
                "dataset_mixer is no list of data sets with their shares", "write ORG/NAME: 1.0 below it"
            )
        splits = sheet.cell("dataset_splits").texts() if "dataset_splits" in sheet else []
        split = (splits or ["train"])[0]
        named = [(cell, hub_or_file(str(name), None, split, cell)) for name in cell.value]
        whole = not SLICE.search(split) and all(str(share) in ("1", "1.0") for share in cell.value.values())
        set_pairs(draft, "data.train", named, mix, "" if whole else WHOLE_SET)
    elif usable(sheet, "dataset_name"):
        _one(draft, sheet)


def _one(draft: Draft, sheet: Sheet) -> None:
    cell = sheet.cell("dataset_name")
    name, config = cell.text(), sheet.values.get("dataset_config")
    train, test = (str(sheet.values.get(f"dataset_{part}_split") or part) for part in ("train", "test"))
    draft.take(cell, "data.train", hub_or_file(name, config, train, cell))
    strategy = sheet.cell("eval_strategy") if "eval_strategy" in sheet else sheet.cell("evaluation_strategy")
    if not isinstance(strategy.value, str | bool):
        return
    scripted = sheet.file.endswith(".py")  # which may hold out in its own way
    held_out = draft.values["data.train"] if scripted else hub_or_file(name, config, test, cell)
    if str(strategy.value).lower() not in ("no", "false") and held_out != draft.values["data.train"]:
        draft.take(strategy, "data.eval", held_out, "the test split")
    elif strategy.name == "eval_strategy":
        draft.change(strategy, "a tenth of the pairs is held out, by prompt: the gate decides on them")


def _of_mixture(section: Sheet) -> str:
    cell = section.cell("path")
    if "path" not in section:
        raise InputError("a data set of `datasets` has no path", where=cell.place, do="write - path: ORG/NAME")
    files = section.values.get("data_files")
    if isinstance(files, str):
        return find_pairs(files, section.cell("data_files"))
    return hub_or_file(cell.text(), section.values.get("name"), str(section.values.get("split") or "train"), cell)
