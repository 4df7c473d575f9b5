"""Early stopping as transformers' Trainer has it, under the names by which each tool turns it on."""

from dpo_core.moving.arguments import EVALUATING, usable
from dpo_core.moving.cells import Cell, Sheet
from dpo_core.moving.draft import Draft
from dpo_core.recipe import EarlyStopping

SECTION = "training.early_stopping"
OFF = "set training.early_stopping: it stops early and keeps the best weights, by pairs that it sets aside"
ASIDE = "measurements without a better one; by a tenth of the training prompts, set aside, not by the held-out pairs"
EVERY = EarlyStopping().eval_steps
METRICS = ("loss", "rewards/accuracies", "rewards/margins")


def read_early_stopping(draft: Draft, sheet: Sheet, patience: str) -> None:
    """`patience`: the tool's key of how long it waits. Without it the best weights alone are asked for, if anything."""
    if not usable(sheet, patience) or sheet.cell(patience).number() == 0:
        for name in (patience, "load_best_model_at_end", "metric_for_best_model", "greater_is_better"):
            if usable(sheet, name):
                draft.leave(sheet.cell(name), OFF)
        if usable(sheet, "eval_steps"):
            draft.leave(sheet.cell("eval_steps"), EVALUATING)
        return
    cell = sheet.cell(patience)
    counted = "" if usable(sheet, "eval_steps") else f"; measured every {EVERY} steps: set {SECTION}.eval_steps"
    draft.take(cell, f"{SECTION}.patience", cell.whole(), ASIDE + counted)
    if usable(sheet, "eval_steps"):
        _steps(draft, sheet.cell("eval_steps"))
    metric = _metric(draft, sheet.cell("metric_for_best_model")) if usable(sheet, "metric_for_best_model") else "loss"
    if usable(sheet, "greater_is_better"):
        greater = sheet.cell("greater_is_better")
        end = "the smallest" if metric == "loss" else "the largest"
        (draft.same if greater.flag() == (metric != "loss") else draft.leave)(greater, f"of {metric} {end} is best")
    if usable(sheet, "load_best_model_at_end"):
        best = sheet.cell("load_best_model_at_end")
        (draft.same if best.flag() else draft.change)(best, "the best weights are kept, not the last")


def _steps(draft: Draft, cell: Cell) -> None:
    if cell.number() >= 1:
        draft.take(cell, f"{SECTION}.eval_steps", cell.whole())
    else:
        draft.leave(cell, f"a number of steps is asked for: {SECTION}.eval_steps (now 10)")


def _metric(draft: Draft, cell: Cell) -> str:
    """What it goes by then."""
    name = cell.text().removeprefix("eval_")
    if name in METRICS:
        draft.take(cell, f"{SECTION}.metric", name)
        return name
    draft.leave(cell, f"it goes by {', '.join(METRICS[:-1])} or {METRICS[-1]}: by loss now")
    return "loss"
