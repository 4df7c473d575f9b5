"""Settings that work by published evidence or by our own runs: one table, a source for each entry."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dpo_core.recipe import Training

SMALL = 500_000_000  # weights: below, rates that ruin a large model are needed
Applies = Callable[[Training, int], bool]  # a training of a model of so many weights


@dataclass(frozen=True)
class Tried:
    """Values of a key of `training` that somebody showed to work; `of` says for what, in words."""

    key: str
    low: float
    high: float
    of: str
    source: str
    applies: Applies


@dataclass(frozen=True)
class Outside:
    """A setting for which there is no evidence: outside what was tried is not wrong, and not known to be right."""

    key: str
    value: float
    low: float
    high: float
    of: str
    source: str


def _alone(name: str) -> Applies:
    return lambda training, weights: list(training.mixture) == [name]


def _sized(lora: bool, small: bool) -> Applies:
    return lambda training, weights: (training.lora is not None) is lora and (weights < SMALL) is small


EVIDENCE = (
    Tried(
        *("beta", 0.01, 0.9, "loss sigmoid"),
        "0.01 Zephyr 7B, 0.5 SmolLM2; Hugging Face's preference-tuning study tried 0.01 to 0.9, OpenHermes best at 0.6",
        _alone("sigmoid"),
    ),
    Tried(*("beta", 2, 10, "loss sigmoid_norm"), "5: Tulu 3 and Olmo 3, in the middle of this", _alone("sigmoid_norm")),
    Tried(*("beta", 2, 10, "loss simpo"), "SimPO, arXiv:2405.14734", _alone("simpo")),
    Tried(
        *("learning_rate", 8e-8, 1e-5, "all weights of a model from 0.5 billion on"),
        "8e-8 Olmo 3 7B think, 5e-7 Zephyr 7B, 1e-6 SmolLM3 and Olmo 3 7B instruct; above, a search's end",
        _sized(lora=False, small=False),
    ),
    Tried(
        *("learning_rate", 1e-6, 5e-5, "all weights of a model below 0.5 billion"),
        "1e-6 SmolLM2 135M and 360M; 5e-5 our identity demo (1e-4 lost more of what the model knew)",
        _sized(lora=False, small=True),
    ),
    Tried(
        *("learning_rate", 1e-6, 2e-4, "LoRA on a model from 0.5 billion on"),
        "1e-6 to 1e-5 marin issue 4556 (8B, r = 64); above, a search's end",
        _sized(lora=True, small=False),
    ),
    Tried(
        *("learning_rate", 1e-6, 1e-3, "LoRA on a model below 0.5 billion"),
        "1e-3 taught SmolLM2-135M its name in our study, r = 16; it leaked into 10 % of other answers",
        _sized(lora=True, small=True),
    ),
    Tried(
        *("train_batch_size", 8, 128, "any loss"),
        "8 our identity demo; 16 to 128 SimPO issue 61, where AlpacaEval LC fell from 50 to 35 and GSM8K rose from 58 "
        "to 80",
        lambda training, weights: True,
    ),
    Tried(
        *("num_train_epochs", 1, 3, "any loss"),
        "1 our identity demo, 2 SmolLM2; more is not in what we read",
        lambda training, weights: True,
    ),
    Tried(
        *("lora.r", 16, 64, "LoRA"),
        "16 our identity study, 64 marin issue 4556",
        lambda training, weights: training.lora is not None,
    ),
)


def outside(training: Training, *, weights: int, pairs: int) -> Iterator[Outside]:
    """The settings of a training of `weights` weights on `pairs` pairs that lie outside what was shown to work."""
    for known in EVIDENCE:
        if (
            known.applies(training, weights)
            and not known.low <= (value := _value(known.key, training, pairs)) <= known.high
        ):
            yield Outside(known.key, value, known.low, known.high, known.of, known.source)


def _value(key: str, training: Training, pairs: int) -> float:
    """Epochs are those that are really done."""
    if key == "num_train_epochs" and training.max_steps is not None:
        return training.max_steps / math.ceil(pairs / training.train_batch_size)
    if key == "lora.r":
        return training.lora.r if training.lora is not None else math.nan
    return float(getattr(training, key))
