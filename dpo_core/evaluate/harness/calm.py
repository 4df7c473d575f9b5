"""lm-eval at work among others: its random numbers begin as by itself, and everybody else's go on as they were."""

import contextlib
import logging
import random
from collections.abc import Iterator

import numpy as np
import torch


@contextlib.contextmanager
def as_lm_eval_begins() -> Iterator[None]:
    """The seeds of `lm_eval.simple_evaluate`, for the time of the block; of what it logs, only errors."""
    from lm_eval.defaults import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED

    plain, numbers, log = random.getstate(), np.random.get_state(), logging.getLogger("lm_eval")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with torch.random.fork_rng():
            random.seed(DEFAULT_RANDOM_SEED)
            np.random.seed(DEFAULT_OTHER_SEED)
            torch.manual_seed(DEFAULT_OTHER_SEED)
            yield
    finally:
        log.setLevel(level)
        random.setstate(plain)
        np.random.set_state(numbers)
