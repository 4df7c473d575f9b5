"""What a run writes on this machine's disk."""

import shutil
from pathlib import Path

from dpo_core.recipe import Recipe
from dpo_core.train.checkpoint import KEEP
from infra.settings import Settings
from tasks.preflight.records import DiskUse, Volume

STATE = 12  # bytes of a checkpoint for each weight that is trained: the weight and two moments in fp32
COPIES = 2  # of a seed's model that stay: the store's, that of the evaluation in DPO_HOME/downloads
RESPONSE = (
    36 + 32 + 1
)  # bytes in the store for each answer of the reference: its key and length, its place in the index


def disk_use(recipe: Recipe, *, weights: int, trained: int, volume: Volume, settings: Settings) -> DiskUse:
    """While it trains, checkpoints and the finished model lie side by side; afterwards the copies of each seed's model.

    MLflow has another of the one that is chosen.
    """
    best = 0 if recipe.training.early_stopping is None else 4 * trained  # its weights lie in each checkpoint too
    model, checkpoint = 4 * weights, STATE * trained + best
    written = (volume.steps - 1) // recipe.training.save_steps
    held = min(written, KEEP + 1) * checkpoint
    in_s3 = settings.store_url.startswith("s3://")
    if settings.store_outlives_home and not in_s3:
        held *= 2  # the store has them too
    answers = 0 if recipe.training.reference_free else volume.responses * RESPONSE + 4 * volume.answer_tokens
    copies = recipe.training.seeds * (1 if in_s3 else COPIES) * model
    kept = copies + (0 if in_s3 else model + answers)
    training = held + 2 * best + copies  # of the last seed they are in the run's folder, and the store
    return DiskUse(peak=max(training, kept + model) + answers, kept=kept, checkpoint=checkpoint, model=model)


def free_disk(home: Path) -> int:
    """Bytes that are free where a home is, or will be."""
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    return shutil.disk_usage(there).free
