"""Trains the tiny model once undisturbed, and once while its process is killed (-9) over and over: FOLDER SEED KILLS.

FOLDER holds model and examples.jsonl; leaves whole/ and broken/, each with the last life's weights and, a line a step,
what every life saw. Lives are forked from this process, so that torch is imported once.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import save_file

from dpo_core.data.pairs import read_examples
from dpo_core.model.load import load_model
from dpo_core.model.modes import scoring
from dpo_core.recipe import Training
from dpo_core.train.batches import Fixed
from dpo_core.train.checkpoint import load_checkpoint, newest_valid, save_checkpoint
from dpo_core.train.loop import train
from dpo_core.train.policy import make_optimizer, make_policy

TRAINING = Training(learning_rate=1e-2, max_steps=60, train_batch_size=4, sft_weight=0.5, save_steps=2)


def main(folder: Path, seed: int, kills: int) -> None:
    torch.set_num_threads(1)
    live(folder, folder / "whole", stop_after=None)
    draw, broken = random.Random(seed), folder / "broken"
    done = 0
    for _ in range(kills):
        done = max(done, live(folder, broken, stop_after=done + draw.randint(0, 3), delay=draw.uniform(0, 0.02)))
    live(folder, broken, stop_after=None)


def live(folder: Path, home: Path, *, stop_after: int | None, delay: float = 0.0) -> int:
    """One life of the trainer, ended by SIGKILL some moments after it has finished a step; the steps it got to."""
    home.mkdir(exist_ok=True)
    if (child := os.fork()) == 0:
        trains(folder, home)
        os._exit(0)
    seen = home / "steps.jsonl"
    while stop_after is not None and last_step(seen) <= stop_after and runs(child):
        time.sleep(0.001)
    time.sleep(delay)
    if stop_after is not None:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) not in (0, *([] if stop_after is None else [-signal.SIGKILL])):
        sys.exit(f"a life ended with status {status}")
    return last_step(seen)


def runs(child: int) -> bool:
    """On a busy machine the last lives may come to the end before they are killed."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def last_step(seen: Path) -> int:
    whole = seen.read_text().splitlines(keepends=True) if seen.exists() else []
    return max((json.loads(line)["number"] for line in whole if line.endswith("\n")), default=0)


def trains(folder: Path, home: Path) -> None:
    accelerator = Accelerator(cpu=True)
    policy = make_policy(load_model(folder / "model"), TRAINING, seed=0)
    optimizer, history, start = make_optimizer(policy, TRAINING), [], 0
    with scoring(policy) as scorer, (home / "steps.jsonl").open("a") as seen:
        model, prepared = accelerator.prepare(scorer, optimizer)
        if (found := newest_valid(home / "checkpoints")) is not None:
            state = load_checkpoint(found, policy, optimizer)
            start, history = state["step"], state["history"]
        options = {"method": scorer.method, "accelerator": accelerator, "start": start}
        batches = Fixed(read_examples(folder / "examples.jsonl"), TRAINING, seed=0)
        for step in train(model, prepared, batches, TRAINING, **options):
            history.append(step.metrics)
            seen.write(json.dumps({"number": step.number, "life": os.getpid(), "metrics": step.metrics}) + "\n")
            seen.flush()
            if step.number % TRAINING.save_steps == 0:
                save_checkpoint(home / "checkpoints", step.number, policy, optimizer, {"history": history})
    (home / "history.json").write_text(json.dumps(history))
    save_file({name: p.detach().contiguous() for name, p in policy.named_parameters()}, home / "end.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
