"""Responses scored on several devices at once, a process each: when it is free, it takes the longest shard left."""

import multiprocessing
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from ctypes import c_byte
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dpo_core.errors import InputError
from infra.errors import InfraError
from tasks.reference.store import Response
from tasks.runtime.workers import belong_to_parent, how_ended, processes_of

if TYPE_CHECKING:
    from torch import Tensor

    from dpo_core.model.logprobs import Scorer

AHEAD = 2  # shards in work or waiting, for each rank
DO = "run the same command again: it goes on with what is stored; CUDA_VISIBLE_DEVICES leaves out a device"
Values = dict[int, NDArray[np.float32]]  # position of a response -> its per-token log-probs


@dataclass(frozen=True)
class Scoring:
    """The reference model, and how it computes; the same on all ranks."""

    model_folder: Path
    dtype: str
    threads: int
    trusted_code: str | None


def shards_on_ranks(
    scoring: Scoring, responses: Sequence[Response], *, devices: Sequence[str], shard: int
) -> "Generator[dict[int, Tensor], None, None]":
    """Yield shards of at most `shard` responses (position -> per-token log-probs, fp32, nats) as they are finished.

    A rank's InputError or InfraError comes as it is, all else as an InfraError that says which device; AHEAD shards a
    rank are lost then at most. Closing the generator stops every rank after a forward.
    """
    import torch

    from dpo_core.model.score import by_length

    torch.cuda.empty_cache()  # what this process had on its device is a rank's now
    order = by_length(responses)[::-1]
    todo = iter([order[start : start + shard] for start in range(0, len(order), shard)])
    context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    free, stop = context.SimpleQueue(), context.RawValue("b", 0)  # no lock that a killed rank could leave shut
    for device in devices:
        free.put(device)
    pool = ProcessPoolExecutor(len(devices), context, _start, (scoring, free, stop))
    processes = processes_of(pool)
    waiting: set[Future[Values]] = set()
    try:
        while True:
            while len(waiting) < AHEAD * len(devices) and (chunk := next(todo, None)):
                waiting.add(pool.submit(_score, {i: responses[i] for i in chunk}))
                processes |= processes_of(pool)
            if not waiting:
                return
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield {i: torch.from_numpy(row) for i, row in future.result().items()}
    except BrokenProcessPool:
        says = f"a process that scores on one of the devices ended without an answer: it {how_ended(processes)}"
        raise InfraError(says, where=", ".join(devices), do=DO) from None
    finally:
        stop.value = 1
        pool.shutdown(wait=True, cancel_futures=True)


class _Rank:
    """What a process of the pool is: it has a device to itself."""

    def __init__(self, scoring: Scoring, device: str, stop: c_byte) -> None:
        self._scoring, self._device, self._stop, self._open = scoring, device, stop, ExitStack()

    @cached_property
    def _scorer(self) -> "Scorer":
        """Loaded at the first shard, not at the start, for an error there would not reach the parent."""
        from dpo_core.model import modes
        from tasks.runtime.device import load_on_device

        folder, threads, trusted = self._scoring.model_folder, self._scoring.threads, self._scoring.trusted_code
        model = load_on_device(folder, threads=threads, trusted_code=trusted, device=self._device)
        return self._open.enter_context(modes.scoring(model))

    def score(self, responses: dict[int, Response]) -> Values:
        from dpo_core.model.score import score_with

        positions, found = list(responses), Values()
        try:
            for i, values in score_with(self._scorer, list(responses.values()), dtype=self._scoring.dtype):
                if self._stop.value:
                    break  # nobody waits for it
                found[positions[i]] = values.numpy()
        except (InfraError, InputError):
            raise
        except Exception as error:
            says = f"scoring failed: {type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
            raise InfraError(says, where=self._device, do=DO) from error
        return found


_rank: _Rank


def _start(scoring: Scoring, free: SimpleQueue[str], stop: c_byte) -> None:
    global _rank
    belong_to_parent()
    _rank = _Rank(scoring, free.get(), stop)


def _score(responses: dict[int, Response]) -> Values:
    return _rank.score(responses)
