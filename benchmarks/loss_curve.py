"""Fifty steps of DPO on real pairs, ours and TRL 1.16's: the same loss at every step, the same held-out accuracy.

    python benchmarks/loss_curve.py        # fp32; writes results/loss_curve.json and docs/images/loss_curve.png

Pairs of HH-RLHF where ../shared/data has them, else the identity demo's own. Both sides get the same ids, batches,
reference log-probs, optimizer and learning rates; afterwards one scorer judges both models on pairs that neither saw.
"""

import json
import math
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from train_step import ROOT, SIDES, Batch, add_reference, cpu, trl_arm

STEPS, PAIRS_A_STEP, HELD_OUT, LONGEST = 50, 4, 100, 256
REAL = ROOT.parent / "shared" / "data"
RESULTS = Path(__file__).parent / "results" / "loss_curve.json"
PICTURE = ROOT / "docs" / "images" / "loss_curve.png"


@dataclass(frozen=True)
class Task:
    """What both sides train on and are judged by; plain data, for another process."""

    model: str
    train: Batch
    held_out: Batch
    threads: int


def training() -> Any:
    """The recipe of both."""
    from dpo_core.recipe import Training

    return Training(learning_rate=5e-6, max_steps=STEPS, train_batch_size=PAIRS_A_STEP)


def read(path: Path, model: Path, count: int) -> Batch:
    """The first `count` pairs of a file that are short enough, as token ids."""
    from dpo_core.data.readers import read_pairs
    from dpo_core.model.encode import encode_pairs, load_tokenizer
    from dpo_core.recipe import Encoding

    encoded = encode_pairs(read_pairs(path).pairs, load_tokenizer(model), Encoding(max_length=LONGEST)).encoded
    return [{k: list(getattr(pair, k)) for k in SIDES} for pair in encoded[:count]]


def batches(task: Task) -> list[list[int]]:
    """The pairs of every step, as `dpo retrain` orders them."""
    from dpo_core.train.batches import batch_at

    return [batch_at(n, examples=len(task.train), batch_size=PAIRS_A_STEP, seed=0) for n in range(STEPS)]


def ours(task: Task) -> tuple[list[float], dict[str, float]]:
    """The loss of every step, and the held-out metrics of the model at the end."""
    import torch
    from accelerate import Accelerator

    from dpo_core.data.pairs import Example
    from dpo_core.model.load import load_model
    from dpo_core.model.modes import scoring
    from dpo_core.train.batches import Fixed
    from dpo_core.train.loop import train
    from dpo_core.train.policy import make_optimizer, make_policy

    torch.set_num_threads(task.threads)
    accelerator = Accelerator(cpu=True)
    policy = make_policy(load_model(task.model), training(), seed=0)
    examples = [Example(str(i), **{**p, **{k: tuple(p[k]) for k in SIDES}}) for i, p in enumerate(task.train)]
    with scoring(policy) as scorer:
        model, optimizer = accelerator.prepare(scorer, make_optimizer(policy, training()))
        batches = Fixed(examples, training(), seed=0)
        steps = train(model, optimizer, batches, training(), method=scorer.method, accelerator=accelerator)
        losses = [step.metrics["loss"] for step in steps]
    return losses, judge(policy, task)


def trls(task: Task) -> tuple[list[float], dict[str, float]]:
    """The same of TRL's trainer."""
    import torch

    from dpo_core.train.loop import learning_rate

    torch.set_num_threads(task.threads)
    order = {"arm": "T3", "shape": "real", "dtype": "float32", "device": "cpu", "model": task.model}
    first = [task.train[i] for i in batches(task)[0]]
    arm = trl_arm({**order, "batches": [first]})
    losses: list[Any] = [
        arm.step([task.train[i] for i in indices], learning_rate(number, STEPS, training()))
        for number, indices in enumerate(batches(task), 1)
    ]
    return losses, judge(arm.model, task)


def judge(model: Any, task: Task) -> dict[str, float]:
    """Held-out accuracy and margin, through our scorer for both."""
    import torch

    from dpo_core.evaluate.pairs.values import pair_values
    from dpo_core.model.score import score

    sequences = [(p["prompt_ids"], p[f"{side}_ids"]) for p in task.held_out for side in ("chosen", "rejected")]
    sums = dict(score(model.eval(), sequences))
    policy = torch.tensor([float(sums[i].double().sum()) for i in range(len(sequences))], dtype=torch.float64)
    reference = torch.tensor(
        [p[f"ref_{side}_logps"] for p in task.held_out for side in ("chosen", "rejected")], dtype=torch.float64
    )
    values = pair_values((policy[::2], policy[1::2]), (reference[::2], reference[1::2]), beta=training().beta)
    return {name: sum(values[name]) / len(values[name]) for name in ("loss", "rewards/accuracies", "rewards/margins")}


def draw(document: dict[str, Any]) -> None:
    """Both curves, and their difference."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (above, below) = pyplot.subplots(2, 1, figsize=(9, 6), sharex=True, layout="constrained")
    steps = range(1, STEPS + 1)
    above.plot(steps, document["trl"]["loss"], linewidth=4, alpha=0.35, label="TRL 1.16")
    above.plot(steps, document["ours"]["loss"], linewidth=1.2, label="dpo-pipeline")
    above.axhline(math.log(2), color="grey", linewidth=0.7)
    above.set_ylabel("loss (nats)")
    above.legend()
    difference = [a - b for a, b in zip(document["ours"]["loss"], document["trl"]["loss"], strict=True)]
    below.plot(steps, difference, linewidth=1, color="C1")
    below.set_ylabel("ours - TRL")
    below.set_xlabel("optimizer step")
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=110)


def main() -> None:
    """Train both, compare, save, draw."""
    from dpo_core.recipe_file import load_recipe
    from tasks.runtime.models import local_model

    recipe = load_recipe(ROOT / "examples/identity/retrain.yaml").recipe
    model = local_model(recipe.model, Path(os.environ.get("DPO_HOME", ROOT / ".dpo")).resolve())
    names = ("hh-rlhf.train.jsonl.gz", "hh-rlhf.test.jsonl.gz")
    files = [REAL / name for name in names]
    if not all(file.exists() for file in files):
        files = [ROOT / "examples/identity" / f"pairs.{part}.jsonl" for part in ("train", "eval")]
    counts = (STEPS * PAIRS_A_STEP, HELD_OUT)
    train, held_out = (read(file, model, count) for file, count in zip(files, counts, strict=True))
    add_reference([train, held_out], model)
    task = Task(str(model), train, held_out, len(os.sched_getaffinity(0)))
    found = {}
    for name, side in (("trl", trls), ("ours", ours)):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            losses, held = process.submit(side, task).result()
        found[name] = {"loss": losses, "held_out": held}
        print(f"{name}: last loss {losses[-1]:.6f}, held out {held}")
    apart = max(abs(a - b) for a, b in zip(found["ours"]["loss"], found["trl"]["loss"], strict=True))
    document = {"schema": 1, "data": files[0].name, "machine": cpu("model name"), "max_difference": apart, **found}
    RESULTS.write_text(json.dumps(document, indent=1))
    print(f"largest difference of a step's loss: {apart:.2e}")
    draw(document)


if __name__ == "__main__":
    main()
