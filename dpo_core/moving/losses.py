"""Losses by their names elsewhere, and the methods that are none of pairs."""

from collections.abc import Sequence

from dpo_core.moving.cells import Cell, Sheet
from dpo_core.moving.draft import Draft
from dpo_core.recipe_loss import OPTIONS

OTHER_METHODS = {
    "sft": "supervised answers, not pairs",
    "supervised": "supervised answers, not pairs",
    "pt": "plain text, not pairs",
    "kto": "single answers with a label each, not pairs",
    "kto_pair": "KTO's loss, which TRL and LLaMA-Factory took out of DPO",
    "bco": "single answers with a label each, not pairs",
    "rm": "a reward model, not a model that answers",
    "reward": "a reward model, not a model that answers",
    "reward_model": "a reward model, not a model that answers",
    "process_reward_model": "a reward model, not a model that answers",
    "ppo": "answers that are rewarded while it trains, not pairs",
    "grpo": "answers that are rewarded while it trains, not pairs",
    "gdpo": "answers that are rewarded while it trains, not pairs",
    "rloo": "answers that are rewarded while it trains, not pairs",
    "ebft": "answers that are rewarded while it trains, not pairs",
    "reinforcement": "answers that are rewarded while it trains, not pairs",
    "aot_unpaired": "answers that are no pairs",
}
UNSMOOTHED = ("sigmoid", "sigmoid_norm")  # losses that TRL 1.16 gives no label_smoothing, as earlier ones did
DO = (
    "import a config of DPO, IPO, SimPO or ORPO; of answers with labels or rewards `dpo curate` makes pairs "
    "(docs/curation.md)"
)


def refuse_method(cell: Cell, method: str, tool: str) -> None:
    """Raises InputError for a method that trains on something else than pairs."""
    if (what := OTHER_METHODS.get(method)) is not None:
        raise cell.refused(f"{method} of {tool} trains on {what}: there is no such run here", DO)


def set_losses(draft: Draft, cell: Cell, names: Sequence[str], weights: Sequence[float]) -> None:
    """One loss or a mixture; `sft` among them is the weight of the chosen answers' NLL."""
    for name in names:
        if name != "sft":
            refuse_method(cell, name, draft.tool)
        if name != "sft" and name not in OPTIONS:
            raise cell.refused(f"there is no loss {name!r} here", f"choose one of {', '.join(OPTIONS)}: docs/losses.md")
    if len(names) != len(weights):
        says = f"{len(names)} losses have {len(weights)} weights"
        raise cell.refused(says, "give each loss its weight, in the same order")
    mixture = {name: weight for name, weight in zip(names, weights, strict=True) if name != "sft" and weight}
    if not mixture:
        refuse_method(cell, "sft", draft.tool)
    alone = next(iter(mixture.items())) if len(mixture) == 1 else None
    loss = alone[0] if alone and alone[1] == 1 else mixture
    draft.take(cell, "training.loss", loss)
    for name, weight in zip(names, weights, strict=True):
        if name == "sft":
            draft.take(cell, "training.sft_weight", float(weight), "the NLL of chosen answers", changed=True)


def imply_trainer(draft: Draft, sheet: Sheet, smoothing: str) -> None:
    """What TRL's trainer does where a loss has another default here; `smoothing`: the tool's key of it."""
    if "bco_pair" in draft.losses:
        draft.imply("bco_pair's shift", "training.bco_delta", "zero")
    if "robust" in draft.losses and smoothing not in sheet:
        draft.imply(smoothing, "training.label_smoothing", 0.0)


def set_smoothing(draft: Draft, cell: Cell, idle: Sequence[str]) -> None:
    """`label_smoothing`, one number for all losses. `idle`: those that are smoothed here, and not by the tool."""
    value, key = cell.number(), "training.label_smoothing"
    unsmoothed = " + ".join(name for name in draft.losses if name in idle)
    smoothed = [name for name in draft.losses if name not in idle and "label_smoothing" in OPTIONS[name]]
    if value == 0 and "robust" not in draft.losses:
        draft.same(cell, "it changes nothing")
    elif value == 0 or not unsmoothed:
        draft.option(cell, "label_smoothing", value)
    elif smoothed:
        says = f"{unsmoothed} is smoothed by it too, which it is not in {draft.tool}"
        draft.take(cell, key, value, says, changed=True)
    else:
        says = f"{draft.tool} does nothing with it in {unsmoothed}; earlier versions did cDPO: for that set {key}"
        draft.leave(cell, says)
