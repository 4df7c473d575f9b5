"""An axolotl config with `rl: dpo`, `ipo`, `simpo` or `orpo`.

Keys (`axolotl_keys.py`), defaults and losses are those of axolotl's src/axolotl/utils/schemas (config.py at 002a637c
and, with its later keys, as in the fork thad0ctor/axolotl at 03406f72 and in the documentation's config reference;
training.py 002a637c, model.py 04980d49, peft.py 00564c8f, datasets.py 70be5461, deprecated.py 1377ccc3, integrations.py
280d5689, trl.py b6fc46ad, muon.py c54c1eb7) and core/ (builders/rl.py 00a59d29, builders/base.py 09f0fade of that fork,
trainers/dpo/__init__.py 0fad92a3). What batch_size is: normalize_config (utils/config/__init__.py 00ce8882).
"""

from dpo_core.moving import arguments as common
from dpo_core.moving.arguments import DATA, SCHEDULE, WHOLE
from dpo_core.moving.axolotl_keys import CUT, OF_TRL, TABLE
from dpo_core.moving.cells import Cell, Sheet
from dpo_core.moving.draft import Draft
from dpo_core.moving.early_stopping import read_early_stopping
from dpo_core.moving.losses import DO, imply_trainer, refuse_method, set_losses
from dpo_core.moving.sources import find_model, find_pairs, hub_or_file, named_after, set_name, set_pairs, told_split
from dpo_core.moving.tables import sort_out

TOOL = "axolotl"
LOSSES = {"dpo": "sigmoid", "ipo": "ipo", "simpo": "simpo", "orpo": "orpo"}


def read_axolotl(sheet: Sheet, draft: Draft, devices: int, *, data_given: bool, model_given: bool) -> None:
    """The draft of an axolotl config."""
    _require_pairs(sheet)
    sort_out(sheet, TABLE, draft)
    sort_out(sheet.section("trl"), OF_TRL, draft)
    read_early_stopping(draft, sheet, "early_stopping_patience")
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
    common.read_warmup(draft, sheet, 0.03)
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
    imply_trainer(draft, sheet, "dpo_label_smoothing")
    trl = sheet.section("trl")
    betas = [sheet.cell(name) for name in ("rl_beta", "dpo_beta", "beta", "orpo_alpha") if name in sheet]
    betas = [trl.cell("beta"), *betas] if "beta" in trl else betas
    for cell in betas[:1]:
        draft.take(cell, "training.beta", cell.number())
    for cell in betas[1:]:
        draft.leave(cell, f"{betas[0].name} says it")
    if "dpo_label_smoothing" in sheet:
        smoothing = sheet.cell("dpo_label_smoothing")
        if smoothing.number() or "robust" in draft.losses:
            draft.option(smoothing, "label_smoothing", smoothing.number())
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
    _batch(draft, sheet, devices)
    if "max_steps" in sheet:
        common.read_max_steps(draft, sheet.cell("max_steps"))
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


def _batch(draft: Draft, sheet: Sheet, devices: int) -> None:
    """`batch_size` is of a device, and whole steps of `micro_batch_size` are accumulated up to it."""
    if "batch_size" not in sheet or "gradient_accumulation_steps" in sheet:
        common.read_batch(draft, sheet, "micro_batch_size", 1, devices)
        return
    each = sheet.cell("micro_batch_size").whole() if "micro_batch_size" in sheet else 1
    accumulated = sheet.cell("batch_size").whole() // max(each, 1)
    says = common.batch_of(each, accumulated, devices)
    says += f"; since 0.4.1 axolotl accumulates 1 instead, and takes as many steps of {each}"
    for name in ("batch_size", "micro_batch_size"):
        if name in sheet:
            size = each * accumulated * devices
            draft.take(sheet.cell(name), "training.train_batch_size", size, says, changed=True)


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
        elif name == "split":
            told_split(draft, other, DATA)
        elif name not in ("path", "data_files"):
            (draft.same if name in ("name", "ds_type", "type") else draft.leave)(other, DATA)
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
