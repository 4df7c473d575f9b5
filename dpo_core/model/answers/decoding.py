"""How answers are drawn, and what one is. Decided here, not by the model's folder."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from transformers import GenerationConfig

from dpo_core.errors import InputError

Ids = Sequence[int]
Tell = Callable[[int], object]  # is given each token of an answer as it is drawn, but for the one that ends it


@dataclass(frozen=True)
class Decoding:
    """At most `max_new_tokens` tokens an answer, drawn from softmax(logits / temperature); at 0 the likeliest.

    With `top_p` below 1 only from the nucleus: the likeliest tokens up to the one that takes their probability past
    top_p (Holtzman et al. 2020, arXiv:1904.09751). Raises InputError.
    """

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            says = f"an answer may have {self.max_new_tokens} tokens"
            raise InputError(says, where="max_new_tokens", do="write a whole number from 1 on")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            says = f"temperature is {self.temperature}"
            raise InputError(
                says, where="temperature", do="write 0 for the likeliest token, 1 for the model's own odds"
            )
        if not 0 < self.top_p <= 1:
            says = f"top_p is {self.top_p}"
            raise InputError(says, where="top_p", do="write a number above 0; 1 leaves no token out")


class Answer(NamedTuple):
    """Sample `sample` of prompt `prompt`: its text without special tokens and what stands around it, and its tokens.

    `ended`: by a stop token, which is in neither `ids` nor `tokens`; else it was cut at `max_new_tokens` or at the end
    of the context. `close`: places of the tokens that were decided by less than CLOSE (`sampling.py`), so that
    rounding may decide them otherwise in another batch; the end counts as a place. `end`: the stop token.
    """

    prompt: int
    sample: int
    text: str
    tokens: int
    ended: bool
    ids: tuple[int, ...] = ()
    close: tuple[int, ...] = ()
    end: int | None = None


class Query(NamedTuple):
    """A prompt, the samples that are wanted of it, in order, and how many tokens an answer may have."""

    ids: tuple[int, ...]
    samples: tuple[int, ...]
    limit: int


class Made(NamedTuple):
    """The tokens of one sample of the prompt at place `asked`, before they are text. `end`: the stop token, if one."""

    asked: int
    sample: int
    ids: tuple[int, ...]
    end: int | None
    close: tuple[int, ...]


@dataclass
class Effort:
    """What answers cost so far. A decoded row is one token of one answer: each is kept, so `decoded` waste nothing."""

    prompts: int = 0  # prompts computed
    prompt_tokens: int = 0  # tokens of them that went through the model: a shared beginning once
    steps: int = 0  # forwards of one token a row
    decoded: int = 0  # rows of those: tokens of all answers, their ends included, less the first of each
    tokens: int = 0  # of finished answers, their ends included
    close: int = 0  # of those, decided by less than CLOSE


def plain_decoding(stops: Sequence[int], pad: int, max_new_tokens: int) -> GenerationConfig:
    """For transformers' own `generate`: the likeliest token each time, until one of the stop tokens.

    What this leaves open, `generate` takes from the model's own generation config: `load_model` leaves only ends there.
    """
    return GenerationConfig(
        do_sample=False,
        num_beams=1,
        use_cache=True,
        max_new_tokens=max_new_tokens,
        eos_token_id=list(stops),
        pad_token_id=pad,
    )
