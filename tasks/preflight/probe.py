"""A process of its own that tries on this machine: steps of a few layers, or the first steps of the run itself.

Started by `probed` as `python -m tasks.preflight.probe FOLDER`; reads FOLDER/order.json and examples.jsonl, leaves
FOLDER/probed.json. Its memory is the training process's: the same program, the same step, nothing else in it.
"""

import ctypes
import gc
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from dpo_core.data.pairs import Example, read_examples, write_examples
from dpo_core.errors import InputError
from dpo_core.recipe import Training
from dpo_core.records import Record
from infra.environment import training_environment
from infra.errors import ProcessFailed
from tasks.runtime.workers import memory_facts, oom_kills

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel

PATIENCE_S = 1800  # for ten steps of the largest models


class ProbeOrder(Record):
    """What the process has to know."""

    model_folder: str
    trusted_code: str | None
    training: Training
    seed: int
    threads: int
    trial: int = Field(description="steps to take with the model itself; 0: measure the speed on a few of its layers")
    questions: list[list[int]] = Field([], description="ids of some prompts of the evaluation")
    width: int = Field(0, description="answers in work at once")
    processor: bool = Field(False, description="seconds of the processor, not of the clock: others are at work here")

    @property
    def clock(self) -> Callable[[], float]:
        """What seconds are read from."""
        return time.process_time if self.processor else time.perf_counter


class Probed(Record):
    """What it found. Bytes are those of the process; of a GPU where it trains on one."""

    program: int = Field(description="bytes without the model: before it, or once the models of a few layers are gone")
    peak: int = Field(description="bytes at most")
    device_peak: int | None = None
    mode: str = Field(description="how log-probs are computed: shared, packed or padded")
    head: bool = Field(description="by our own head")
    step_s: list[float] = Field([], description="of each step of the trial")
    checkpoint_s: float = Field(0.0, description="to write one, digests included")
    train: tuple[float, float] = Field((0.0, 0.0), description="seconds an operation, in the layers and in the head")
    score: tuple[float, float] = Field((0.0, 0.0), description="the same without gradients")
    update_s: float = 0.0
    answer_step_s: float = Field(0.0, description="a token more for each answer in work")


def probed(folder: Path, order: ProbeOrder, examples: Sequence[Example]) -> Probed:
    """Have it done, in `folder`. Raises ProcessFailed where the process ends without an answer."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "order.json").write_text(order.model_dump_json())
    write_examples(examples, folder / "examples.jsonl")
    environment = training_environment(os.environ, several=False) | {"PYTHONWARNINGS": "ignore"}
    environment |= {"OMP_NUM_THREADS": str(order.threads)}
    command, kills = [sys.executable, "-m", "tasks.preflight.probe", str(folder)], oom_kills()
    where = memory_facts(0)
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    except subprocess.TimeoutExpired:
        says = f"the trial took longer than {PATIENCE_S} s"
        raise ProcessFailed(says, where=where, do="train fewer tokens a step, or on a faster machine") from None
    if done.returncode != 0:
        last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "nothing was said")
        killed = f"was killed by signal {-done.returncode}" if done.returncode < 0 else f"ended: {last[:300]}"
        do = "see what is said of memory; a smaller training.tokens_per_row needs less"
        raise ProcessFailed(f"the trial {killed}", where=memory_facts(oom_kills() - kills), do=do)
    return Probed.model_validate_json((folder / "probed.json").read_bytes())


def high_water() -> int:
    """Bytes of memory that this process had at most. Not `ru_maxrss`: that has the parent's, from before the exec."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def forget_peaks() -> None:
    """What this process had at most counts anew from here on, and what it had of a GPU."""
    import torch

    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def run(folder: Path) -> None:
    """Measure, and write it down."""
    import mlflow  # noqa: F401  (the training process has it)
    import psutil
    import torch
    from accelerate import Accelerator

    import tasks.training.worker  # noqa: F401
    from dpo_core.preflight.speed import warm_up
    from tasks.runtime.device import load_on_device  # noqa: F401

    order = ProbeOrder.model_validate_json((folder / "order.json").read_bytes())
    torch.set_num_threads(order.threads)
    bf16 = order.training.dtype == "bfloat16"
    accelerator = Accelerator(mixed_precision="bf16" if bf16 else "no", cpu=not torch.cuda.is_available())
    examples = read_examples(folder / "examples.jsonl")
    warm_up(order.training, accelerator)
    found = {"program": psutil.Process().memory_info().rss}
    found |= (_trial if order.trial else _speed)(order, examples, accelerator, folder)
    if torch.cuda.is_available():
        found["device_peak"] = torch.cuda.max_memory_allocated()
    answer = Probed(**({"peak": high_water()} | found))
    (folder / "probed.json").write_text(answer.model_dump_json())


def _speed(order: ProbeOrder, examples: Sequence[Example], accelerator: "Accelerator", folder: Path) -> dict[str, Any]:
    from dpo_core.preflight.answers import Asking, answer_step_seconds
    from dpo_core.preflight.operations import Costs, steps_of
    from dpo_core.preflight.speed import measure_speed, shallow
    from tasks.preflight.model import on_meta

    batches = [[examples[i] for i in step] for step in steps_of(len(examples), order.training, order.seed, most=4)]
    costs = Costs.of(on_meta(order.model_folder, order.trusted_code)(None))

    def build(layers: int) -> "PreTrainedModel":
        return shallow(order.model_folder, layers, trusted_code=order.trusted_code)

    speed, method = measure_speed(build, batches, order.training, costs, accelerator, order.clock)
    program = _left(accelerator, speed.state, kernels=order.training.dtype == "bfloat16")
    answering = 0.0
    if order.questions:
        asked, dtype = Asking(order.questions, 1, order.width), order.training.dtype
        options: dict[str, Any] = {"dtype": dtype, "device": accelerator.device, "clock": order.clock}
        answering = answer_step_seconds(build, asked, costs, **options)
    rates = {
        "train": tuple(speed.train),
        "score": tuple(speed.score),
        "update_s": speed.update_s,
        "answer_step_s": answering,
    }
    return {"mode": method.mode, "head": method.head, "program": program, **rates}


def _left(accelerator: "Accelerator", state: int, *, kernels: bool) -> int:
    """Bytes that the process keeps when its models are gone: what a step has loaded and made.

    `kernels`: in bf16 these lie all over the heap, and what is free between them fits no other row. That is lost, too,
    save what weights, gradients and moments took (`state`), in whose place a model's own come.
    """
    import psutil

    process = psutil.Process()
    accelerator.free_memory()
    gc.collect()
    held: int = process.memory_info().rss - state
    with suppress(OSError, AttributeError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)
    trimmed: int = process.memory_info().rss
    return max(held, trimmed) if kernels else trimmed


def _trial(order: ProbeOrder, examples: Sequence[Example], accelerator: "Accelerator", folder: Path) -> dict[str, Any]:
    """The first steps of the run, as the training process takes them, and a checkpoint."""
    from dpo_core.model.load import load_model
    from dpo_core.model.modes import scoring
    from dpo_core.preflight.operations import steps_of
    from dpo_core.preflight.speed import with_reference
    from dpo_core.train.batches import Fixed
    from dpo_core.train.checkpoint import save_checkpoint
    from dpo_core.train.loop import train
    from dpo_core.train.policy import make_optimizer, make_policy

    policy = make_policy(
        load_model(order.model_folder, trusted_code=order.trusted_code), order.training, seed=order.seed
    )
    optimizer = make_optimizer(policy, order.training)
    seconds: list[float] = []
    first = {i for step in steps_of(len(examples), order.training, order.seed, first=order.trial) for i in step}
    with scoring(policy) as scorer:
        loaded = high_water()
        scored = with_reference(scorer, [examples[i] for i in sorted(first)], order.training.dtype)
        forget_peaks()  # the training process scores no pairs before its steps
        examples = [*examples]
        for i, pair in zip(sorted(first), scored, strict=True):
            examples[i] = pair
        model, prepared = accelerator.prepare(scorer, optimizer)
        options: dict[str, Any] = {"method": scorer.method, "accelerator": accelerator}
        batches = Fixed(examples, order.training, seed=order.seed)
        steps = train(model, prepared, batches, order.training, **options)
        began = order.clock()
        for _ in islice(steps, order.trial):
            seconds.append(order.clock() - began)
            began = order.clock()
        save_checkpoint(folder / "checkpoints", 1, policy, optimizer, {})
        written = order.clock() - began
        return {
            "mode": scorer.method.mode,
            "head": scorer.method.head,
            "step_s": seconds,
            "checkpoint_s": written,
            "peak": max(loaded, high_water()),
        }


def main(folder: Path) -> int:
    """Run; what a person should read is the last line of the error output."""
    try:
        run(folder)
    except InputError as error:
        sys.stderr.write(f"{error.says} ({error.where})\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
