"""Weights are registered only if all that they compute is finite, and a new process finds the same log-probs."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

from dpo_core.data.pairs import EncodedPair
from dpo_core.errors import Diverged
from dpo_core.model.reference import allowed_difference
from infra.environment import training_environment
from infra.errors import InfraError
from infra.settings import load_settings
from tasks.evaluation.rescore import RescoreOrder
from tasks.records import MeasureOutput, Plan
from tasks.runtime.scratch import scratch_folder

PAIRS = 4  # held-out pairs that are scored again
SIDES = ("chosen", "rejected")
DO = "nothing was registered: run the same command with --force, which trains and measures anew; if it stays, report it"


def require_finite(measured: MeasureOutput, sums: Sequence[Iterable[float]], weights: str) -> None:
    """Raise Diverged where the trained model has a log-prob that is no number: no gate could tell what it is worth.

    `sums`: those of the held-out pairs, by side.
    """
    asked = {
        "held-out pairs": list(zip(*sums, strict=True)),
        "held-out answers with a shortcut": list(zip(*measured.uptake.values(), strict=True)),
        "paragraphs of evaluation.neutral_text": [(value,) for value in measured.nll.values()],
    }
    for kind, rows in asked.items():
        if lost := sum(not all(map(math.isfinite, row)) for row in rows):
            raise Diverged(
                f"the trained model computes no finite number on {lost} of {len(rows)} {kind}",
                where=f"weights {weights}",
                do="nothing was registered: lower training.learning_rate or training.max_grad_norm, and train again",
            )


def require_registrable(
    folder: Path, plan: Plan, pairs: Sequence[EncodedPair], measured: Mapping[str, Sequence[float]]
) -> None:
    """Raise InfraError where the model in `folder` does not load in a new process, or computes something else there.

    `measured`: log-probs (nats) of the first of the held-out `pairs`, by side.
    """
    rows = [(list(p.prompt_ids), list(ids)) for p in pairs[:PAIRS] for ids in (p.chosen_ids, p.rejected_ids)]
    dtype = plan.recipe.training.dtype
    order = RescoreOrder(
        model=str(folder), trusted_code=plan.trusted_code, dtype=dtype, threads=plan.threads, rows=rows
    )
    found = _in_a_new_process(order, str(folder))
    wanted = list(chain.from_iterable(zip(*(measured[side] for side in SIDES), strict=True))) if measured else []
    for number, (then, now) in enumerate(zip(wanted[: len(rows)], found, strict=True)):
        if not abs(then - now) <= allowed_difference(then, dtype):  # NaN is not near either
            side, where = SIDES[number % 2], f"{folder}: {pairs[number // 2].pair.where or 'a held-out pair'}"
            says = (
                f"the weights that were to be registered are not those that were evaluated: the log-prob of a {side} "
                f"answer is {now:.6g} nats, and was {then:.6g}"
            )
            raise InfraError(says, where=where, do=DO)


def _in_a_new_process(order: RescoreOrder, where: str) -> list[float]:
    settings = load_settings()
    with scratch_folder(settings.home) as scratch:
        (scratch / "order.json").write_text(order.model_dump_json())
        command = [sys.executable, "-m", "tasks.evaluation.rescore", str(scratch)]
        environment = training_environment(os.environ, several=False)
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, timeout=settings.train_timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            says = f"loading the weights in a new process took longer than {settings.train_timeout_s} s"
            raise InfraError(says, where=where, do=DO) from None
        file = scratch / "result.json"
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        end = f"it ended with code {done.returncode}{f': {said[-1]}' if said else ''}"
        result = json.loads(file.read_text()) if file.is_file() else {"error": end}
    if "error" in result:
        says = f"the weights that were to be registered do not load in a new process: {result['error']}"
        raise InfraError(says, where=where, do=DO)
    return list(result["logps"])
