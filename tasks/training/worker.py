"""The training process, started by `accelerate launch -m tasks.training.worker FOLDER [live]` (`process.py`).

Reads FOLDER/order.json and examples.jsonl; streams metrics to MLflow, shows a progress bar, saves checkpoints,
goes on from the newest one; leaves FOLDER/model and FOLDER/result.json, or FOLDER/error.json. A run that learns from
its own answers reads prompts.jsonl too, and leaves what it learned from in online.jsonl.
"""

import contextlib
import json
import logging
import math
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from filelock import FileLock
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from dpo_core.data.pairs import read_examples
from dpo_core.errors import InputError
from dpo_core.model.encode import load_tokenizer
from dpo_core.model.identity import digest_weights
from dpo_core.model.load import load_model
from dpo_core.model.modes import scoring
from dpo_core.model.stops import stop_tokens
from dpo_core.report.documents import JumpRecord
from dpo_core.train.batches import Batches, Fixed
from dpo_core.train.checkpoint import load_checkpoint, newest_valid, save_checkpoint
from dpo_core.train.displacement import displaced
from dpo_core.train.loop import Step, train
from dpo_core.train.policy import make_optimizer, make_policy, save_policy
from dpo_core.train.recorder import FlightRecorder
from infra.errors import InfraError
from infra.masking import mask_everything
from infra.secrets import without_secrets
from infra.settings import load_settings
from infra.store import open_store
from infra.tracking.run import Run
from infra.tracking.runs import attach_run
from tasks.records import TrainOutput, WorkOrder
from tasks.runtime.progress import progress_bar
from tasks.training.accelerator import accelerator_of
from tasks.training.best import BestWeights
from tasks.training.checkpoints import CheckpointUploads
from tasks.training.process import EXAMPLES, KINDS

log = logging.getLogger("dpo.train")
TIMED_OUT = re.compile(r"(?i)time-?out|timed[ -]out")


def run(folder: Path, *, live: bool | None = None) -> None:
    """Train to the end; `live`: a person watches."""
    order = WorkOrder.model_validate_json((folder / "order.json").read_bytes())
    training = order.training
    torch.set_num_threads(order.threads)
    transformers_logging.disable_progress_bar()
    accelerator = accelerator_of(order)
    start_model = _start_model(order)
    attention = start_model.config._attn_implementation
    policy = make_policy(start_model, training, seed=order.seed)
    optimizer = make_optimizer(policy, training)
    examples = read_examples(folder / EXAMPLES)
    tracker = attach_run(order.run_id) if accelerator.is_main_process else None
    uploading = _uploads(folder) if accelerator.is_main_process else contextlib.nullcontext()
    logging_on = tracker.in_background() if tracker is not None else contextlib.nullcontext()

    def save(number: int, history: list[dict[str, float]]) -> None:
        state = {"history": history, "jumps": [jump.to_document() for jump in recorder.jumps]}
        place, files, write = folder / "checkpoints", batches.kept(), tracker is not None
        beside = best.file if best is not None and best.file.exists() else None
        saved = save_checkpoint(place, number, policy, optimizer, state, files=files, beside=beside, write=write)
        if uploads is not None and saved is not None:
            uploads.add(saved)

    with contextlib.ExitStack() as held:
        scorer, uploads = held.enter_context(scoring(policy)), held.enter_context(uploading)
        held.enter_context(logging_on)
        model, prepared = accelerator.prepare(scorer, optimizer)
        checkpoint = newest_valid(folder / "checkpoints")
        start, history, recorder = _resumed(checkpoint, policy, optimizer)
        batches: Batches = Fixed(examples, training, seed=order.seed)
        early = training.early_stopping is not None
        best = BestWeights(folder, policy, model, training, scorer.method, accelerator, checkpoint) if early else None
        if order.online is not None:
            from tasks.online.opening import online_batches

            opened = online_batches(order, folder, policy, scorer, attention, examples, checkpoint)
            batches = held.enter_context(opened)
            held.enter_context(_kept_where_it_stopped(save, history))
        steps = train(
            model,
            prepared,
            batches,
            training,
            method=scorer.method,
            accelerator=accelerator,
            start=start,
            history=history,
            from_reference=order.from_reference,
        )
        _follow(steps, tracker, history, recorder, best, save, batches.total, every=training.save_steps, live=live)
        if best is not None:
            best.restore()
    save_policy(policy, Path(order.model_folder), folder / "model", write=tracker is not None)
    if tracker is not None:
        tracker.tags({"log_probs": scorer.method.mode, "log_probs_why": scorer.method.why})
        _write_result(folder, history, recorder.jumps, best, batches, tracker)  # last: with it training is finished
    accelerator.wait_for_everyone()  # a rank that ends while another still talks to it aborts


def _start_model(order: WorkOrder) -> PreTrainedModel:
    """It is saved as what those who serve the trained one decode by: all tokens at which an answer ends."""
    model = load_model(order.model_folder, trusted_code=order.trusted_code)
    if (decoding := model.generation_config) is not None:
        tokenizer = load_tokenizer(order.model_folder, trusted_code=order.trusted_code)
        decoding.eos_token_id = stop_tokens(decoding.eos_token_id, tokenizer)
    return model


def _resumed(
    checkpoint: Path | None, policy: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[int, list[dict[str, float]], FlightRecorder]:
    """The step to go on after, what was told of those before, and their jumps; weights and moments are restored."""
    if checkpoint is None:
        return 0, [], FlightRecorder()
    state = load_checkpoint(checkpoint, policy, optimizer)
    log.warning("resumed step=%d checkpoint=%s", state["step"], checkpoint.name)
    jumps = [JumpRecord.model_validate(jump) for jump in state.get("jumps", [])]
    return state["step"], state["history"], FlightRecorder(jumps)


@contextlib.contextmanager
def _kept_where_it_stopped(
    save: Callable[[int, list[dict[str, float]]], None], history: list[dict[str, float]]
) -> Iterator[None]:
    """Where what scores answers is away or fails, the steps that are done are saved, and the run says how to go on."""
    try:
        yield
    except (InputError, InfraError) as error:
        if not history:
            raise
        save(len(history), history)
        do = f"{error.do}; then the same command goes on after step {len(history)}, and asks for no score again"
        raise type(error)(error.says, where=error.where, do=do) from error


def _uploads(folder: Path) -> contextlib.AbstractContextManager[CheckpointUploads | None]:
    """Checkpoints go to the store too, where it is not on this machine's disk anyway."""
    settings = load_settings()
    if not settings.store_outlives_home:
        return contextlib.nullcontext()
    return CheckpointUploads(open_store(settings), f"checkpoints/{folder.name}")


def _follow(
    steps: Iterator[Step],
    tracker: Run | None,
    history: list[dict[str, float]],
    recorder: FlightRecorder,
    best: BestWeights | None,
    save: Callable[[int, list[dict[str, float]]], None],
    total: int,
    *,
    every: int,
    live: bool | None,
) -> None:
    """Drive the generator; the main process (with a tracker) logs and shows; all save `every` so many steps."""
    started, pairs = time.monotonic(), 0
    tokens = history[-1]["num_tokens"] if history else 0.0
    with progress_bar("train", total=total, unit="step", initial=len(history), live=live) as bar:
        for step in steps:
            pairs += step.pairs
            tokens += step.tokens
            rate = pairs / (time.monotonic() - started)
            history.append({**step.metrics, "num_tokens": tokens, "pairs_per_second": rate, "step": step.number})
            begun = time.monotonic()
            ends = best is not None and best.after(step, history)
            started += time.monotonic() - begun  # measuring is no training
            if tracker is not None:
                measured = {name: v for name, v in history[-1].items() if name.startswith("tuning_")}
                told = {name: v for name, v in history[-1].items() if name != "step" and name not in measured}
                tracker.metrics(told | {name: v for name, v in measured.items() if math.isfinite(v)}, step.number)
                if (warning := displaced(history)) is not None:
                    bar.write(warning, file=sys.stderr)
                    log.warning("likelihood_displaced step=%d", step.number)
                if (jump := recorder.add(step, history)) is not None:
                    log.warning("training_jumped step=%d metrics=%s", jump.step, ",".join(jump.metrics))
                bar.set_postfix_str(_postfix(step, rate), refresh=False)
                bar.update()
            if ends:
                break
            if step.number % every == 0 and step.number < step.total:
                save(step.number, history)


def _postfix(step: Step, rate: float) -> str:
    m = step.metrics
    return (
        f"loss {m['loss']:.3f} margin {m['rewards/margins']:+.2f} acc {m['rewards/accuracies']:.2f} {rate:.1f} pairs/s"
    )


def _write_result(
    folder: Path,
    history: list[dict[str, float]],
    jumps: list[JumpRecord],
    best: BestWeights | None,
    batches: Batches,
    tracker: Run,
) -> None:
    online = None
    if not isinstance(batches, Fixed):
        from tasks.online.batches import FILE, OnlineBatches

        assert isinstance(batches, OnlineBatches), "there are no other batches"
        online = batches.output(len(history))
        (folder / FILE).write_text("".join(f"{p.model_dump_json()}\n" for p in batches.trained(len(history))))
        if online.ended:  # what it ended for stands in no step
            tracker.metrics({name: v for name, v in online.curves[-1].items() if name != "step"}, len(history))
    result = TrainOutput(
        weights_sha256=digest_weights(folder / "model"),
        steps=len(history),
        first_dpo_loss=history[0]["losses/dpo"],
        pairs_per_second=history[-1]["pairs_per_second"],
        history=history,
        online=online,
        jumps=jumps,
        early_stopping=None if best is None else best.record(history, batches.total),
    )
    fresh = folder / "result.json.new"
    fresh.write_text(json.dumps(result.model_dump(mode="json")))
    fresh.replace(folder / "result.json")


def main(folder: Path, *, live: bool | None = None) -> int:
    """Run, and leave any error where the flow finds it: of several processes, that of the first to fail."""
    mask_everything()
    try:
        with _alone(folder):
            run(folder, live=live)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        report = _told(error) | {"traceback": traceback.format_exc()}
        masked = {name: without_secrets(text) for name, text in report.items()}
        with contextlib.suppress(FileExistsError), (folder / "error.json").open("x") as file:
            json.dump(masked, file)
        return 1
    return 0


def _told(error: Exception) -> dict[str, str]:
    if isinstance(error, InputError | InfraError):
        kind = next(kind.__name__ for kind in type(error).__mro__ if kind.__name__ in KINDS)
        return {"kind": kind, "says": error.says, "where": error.where, "do": error.do}
    says = f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"
    if not (torch.distributed.is_initialized() or int(os.environ.get("WORLD_SIZE", "1")) > 1):
        return {"says": says}
    if not TIMED_OUT.search(says):
        return {"says": f"rank {os.environ.get('RANK')}: {says}"}
    says = f"rank {os.environ.get('RANK')} waited in vain for the other processes of the training: {says}"
    do = "see why one of them is slow or ended, then run the same command again: it goes on"
    return {"says": says, "where": f"{os.environ.get('WORLD_SIZE')} processes", "do": do}


def _alone(folder: Path) -> contextlib.AbstractContextManager[object]:
    """The worker of a flow that was killed may still be at it. One process of a launch waits, and the others for it."""
    return FileLock(folder / "lock") if os.environ.get("RANK", "0") == "0" else contextlib.nullcontext()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(name)s %(message)s")
    sys.exit(main(Path(sys.argv[1]), live="live" in sys.argv[2:]))
