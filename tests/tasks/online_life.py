"""A training on its own answers in a folder: what the training process is given, and lives of it that may be killed.

As a program, FOLDER KILLS SEED: trains in FOLDER/whole undisturbed, and in FOLDER/broken while it is killed (-9).
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

import yaml

from dpo_core.curate.curation import load_curation
from dpo_core.curate.prompts import PromptItem
from dpo_core.data.pairs import Example, write_examples
from dpo_core.recipe import Encoding, Training
from tasks.curate.prompts import lines_of_prompts
from tasks.records import OnlineOrder, OnlinePlan, WorkOrder
from tests.recipes import NOUNS, write_jsonl

CURATION = {
    "name": "letters",
    "model": "./model",
    "prompts": {"sources": [{"path": "asked.jsonl"}]},
    "answers": {"samples": 4, "max_new_tokens": 8},
    "rewards": {"rules": {"must_match": "a"}},
    "choice": {"alike": 1.0, "longer_wins": 1.0, "ended": "any"},
}
TRAINING = {"learning_rate": 3e-3, "train_batch_size": 4, "save_steps": 3, "beta": 0.1}
OFF = {"longer": 1e9, "distinct": 0.0, "openings": 0.0, "entropy": 0.0, "kl": None, "reward": 1e9, "informative": 0.0}


class Tracker:
    """A run that keeps what it is told; `dies_at`: the step at which the process is as if it were killed."""

    def __init__(self, dies_at: int | None = None) -> None:
        self.rows: dict[int, dict[str, float]] = {}
        self.dies_at = dies_at

    def metrics(self, values: dict[str, float], step: int = 0) -> None:
        if step == self.dies_at:
            raise KeyboardInterrupt
        self.rows.setdefault(step, {}).update(values)

    def tags(self, values: object) -> None: ...

    def in_background(self):
        return nullcontext()


def write_work(
    folder: Path, model: Path, examples: list[Example] = (), *, curation=None, online=None, training=None, prompts=24
) -> Path:
    """An order of a training on its own answers, and all that belongs to it."""
    folder.mkdir(parents=True)
    asked = [f"say {noun} {number}" for number in range(-(-prompts // 12)) for noun in NOUNS][:prompts]
    write_jsonl(folder / "asked.jsonl", [{"prompt": text} for text in asked])
    path = folder / "curate.yaml"
    path.write_text(yaml.safe_dump(CURATION | (curation or {})))
    wanted = {"curation": str(path), "every": 2, **(online or {})}
    items = [PromptItem(({"role": "user", "content": text},), "asked") for text in asked]
    (folder / "prompts.jsonl").write_bytes(lines_of_prompts(items))
    write_examples(list(examples), folder / "examples.jsonl")
    plan = OnlinePlan(curation=load_curation(path), folder=str(folder), content={})
    order = WorkOrder(
        model_folder=str(model),
        from_reference=True,
        trusted_code=None,
        training=Training(**TRAINING | (training or {}), online=wanted),
        seed=0,
        threads=1,
        run_id="r",
        online=OnlineOrder(plan=plan, encoding=Encoding(), reference_folder=str(model)),
    )
    (folder / "order.json").write_text(order.model_dump_json())
    return folder


def train_in(folder: Path, tracker: Tracker) -> None:
    """One life of the training process."""
    from tasks.training import worker

    with mock.patch.object(worker, "attach_run", return_value=tracker):
        worker.run(folder, live=False)


def learnt(folder: Path) -> list[dict]:
    """The pairs that it was trained on."""
    return [json.loads(line) for line in (folder / "online.jsonl").read_text().splitlines()]


def figures(folder: Path) -> list[dict[str, float]]:
    """The history without times."""
    history = json.loads((folder / "result.json").read_text())["history"]
    return [{name: v for name, v in row.items() if not name.endswith(("_s", "_per_second"))} for row in history]


def killed(folder: Path, kills: int, seed: int, longest_s: float) -> int:
    """Lives that are ended by SIGKILL at moments drawn by lot, and a last one; how many kills fell at work."""
    draw, fell = random.Random(seed), 0
    for left in range(kills, -1, -1):
        if (child := os.fork()) == 0:
            train_in(folder, Tracker())
            os._exit(0)
        if left:
            time.sleep(draw.uniform(0.2 * longest_s, longest_s))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        fell += os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    return fell


def main(folder: Path, kills: int, seed: int) -> None:
    from tests.tiny import build_talking_model, scored_examples

    model = build_talking_model(folder / "model")
    examples = scored_examples(model, 6)
    given = {"online": {"offline_share": 0.25, "passes": 6.0, "stop": OFF}}
    whole = write_work(folder / "whole", model, examples, **given)
    shutil.copytree(whole, folder / "broken")
    start = time.monotonic()
    train_in(whole, Tracker())
    fell = killed(folder / "broken", kills, seed, longest_s=0.3 * (time.monotonic() - start))
    (folder / "fell.json").write_text(json.dumps(fell))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
