"""How fast this machine trains a model: real steps of the same model with fewer layers, weights drawn by lot.

A step of one layer and one of a few tell what a layer costs, and what is beside the layers: embeddings, head, loss and
all that is done once a step, such as making kernels for its shapes. No weights are read, and a model of 70 layers
needs the room of three.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from dpo_core.data.pairs import Example
from dpo_core.model.layout import Ids
from dpo_core.model.load import without_dropout
from dpo_core.model.logprobs import Method, Scorer
from dpo_core.model.modes import scoring
from dpo_core.model.score import rows_of, score_with
from dpo_core.preflight.live import LARGE
from dpo_core.preflight.operations import NOTHING, Costs, Operations, rows_of_step
from dpo_core.recipe import Training
from dpo_core.train.batches import Fixed
from dpo_core.train.loop import sequences_of, train
from dpo_core.train.policy import make_optimizer, make_policy

FEW, MORE, MOST = 1, 3, 8  # layers
ENOUGH_S = 12.0  # after so long no further step is timed
SCORED = 2048  # tokens of a forward without gradients
Clock = Callable[[], float]  # seconds


class Rate(NamedTuple):
    """Seconds an operation of a forward pass, in the layers and in the head."""

    layers: float
    head: float

    def seconds(self, work: Operations) -> float:
        """That so much work takes."""
        return self.layers * work.layers + self.head * work.head


@dataclass(frozen=True)
class Speed:
    """What was measured: of rows forward and back, of an update (clipping, optimizer), of rows forward alone.

    `state`: bytes of the heap that weights, gradients and moments of the models of a few layers took.
    """

    train: Rate
    update_s: float
    score: Rate
    state: int


class _Seconds(NamedTuple):
    rows: float
    update: float
    score: float


def shallow(folder: str | Path, layers: int, *, trusted_code: str | None = None) -> PreTrainedModel:
    """The model of a folder with its first `layers` layers, weights drawn by lot, as `load_model` hands one over."""
    options: dict[str, Any] = {"trust_remote_code": trusted_code is not None}
    config = AutoConfig.from_pretrained(str(folder), local_files_only=True, **options)
    text = config.get_text_config()
    text.num_hidden_layers = layers
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:layers]
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32, **options)
    without_dropout(model)
    model.eval()
    return model


def layer_counts(costs: Costs) -> list[int]:
    """Of the models that are timed in the place of one: beside a large head a few layers would be lost in its noise."""
    as_the_head = math.ceil(costs.target * costs.layers / costs.token)
    return sorted({min(count, costs.layers) for count in (FEW, max(MORE, min(as_the_head, MOST)))})


def measure_speed(
    build: Callable[[int], PreTrainedModel],
    batches: Sequence[Sequence[Example]],
    training: Training,
    costs: Costs,
    accelerator: Accelerator,
    clock: Clock = time.perf_counter,
) -> tuple[Speed, Method]:
    """Of a model whose first layers `build` makes, on these steps; and how its log-probs are computed."""
    counts = layer_counts(costs)
    with ExitStack() as open_models:
        models = [_Model(build(count), training, accelerator, open_models, clock) for count in counts]
        method = models[0].method
        for model in models:
            model.seconds(batches[-1][:1])  # to warm up: a row that no step has
        found: list[list[_Seconds]] = []
        began = time.perf_counter()
        for batch in batches:
            first = again = models[0].seconds(batch)
            if training.dtype == "bfloat16":  # kernels of new shapes were made: once a step, whatever the layers
                again = models[0].seconds(batch)
            found.append([first, again, *(model.seconds(batch) for model in models[1:])])
            if time.perf_counter() - began > ENOUGH_S:
                break
    work = scored = NOTHING
    for batch in batches[: len(found)]:
        for rows in rows_of_step(batch, training, ranks=1, share=method.share):
            work = work.plus(costs.rows(rows, share=method.share))
        scored = scored.plus(costs.rows(_scored_rows(batch, method), share=method.share))
    layer, beside = zip(*(_split(seconds, counts) for seconds in found), strict=True)
    update = median(a.update * costs.layers + b.update for a, b in zip(layer, beside, strict=True))
    rates = [
        Rate(
            sum(getattr(s, name) for s in layer) * costs.layers / of.layers,
            sum(getattr(s, name) for s in beside) / of.head,
        )
        for name, of in (("rows", work), ("score", scored))
    ]
    return Speed(rates[0], update, rates[1], sum(model.state for model in models)), method


def warm_up(training: Training, accelerator: Accelerator) -> None:
    """A step of a model of a few thousand weights: what any step loads (peft, kernels, a thread) is there then."""
    config = AutoConfig.for_model(
        "llama", vocab_size=128, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2
    )
    lora = training.lora and training.lora.model_copy(update={"target_modules": "all-linear"})
    pairs = [Example(str(i), (5, 6, 7 + i), (8, 9 + i), (9 + i, 8, 8), None, None) for i in range(2)]
    with ExitStack() as open_models:
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        small = _Model(model, training.model_copy(update={"lora": lora}), accelerator, open_models, time.perf_counter)
        small.seconds(pairs)


def with_reference(scorer: Scorer, batch: Sequence[Example], dtype: str) -> list[Example]:
    """The pairs with the log-probs that the model gives them now, as at the start of a run.

    Against a reference far away the loss is flat, its slopes lie below the least normal number of fp32, and products of
    such numbers take ten times as long.
    """
    values = dict(score_with(scorer, sequences_of(batch), dtype=dtype, tokens=SCORED))
    found = []
    for number, pair in enumerate(batch):
        chosen, rejected = values[2 * number].double(), values[2 * number + 1].double()
        shorter = min(len(chosen), len(rejected))
        scored = replace(
            pair,
            ref_chosen_logps=float(chosen.sum()),
            ref_rejected_logps=float(rejected.sum()),
            ref_chosen_public_logps=float(chosen[:shorter].sum()),
            ref_rejected_public_logps=float(rejected[:shorter].sum()),
        )
        found.append(scored)
    return found


class _Model:
    """A model of few layers, in training."""

    def __init__(
        self,
        plain: PreTrainedModel,
        training: Training,
        accelerator: Accelerator,
        open_models: ExitStack,
        clock: Clock,
    ) -> None:
        self._clock = clock
        plain.to(accelerator.device)
        policy = make_policy(plain, training, seed=0)
        self._scorer: Scorer = open_models.enter_context(scoring(policy))
        self.method, self._training, self._accelerator = self._scorer.method, training, accelerator
        self._model, self._optimizer = accelerator.prepare(self._scorer, make_optimizer(policy, training))
        self._trained = [p for p in policy.parameters() if p.requires_grad]
        small = [p for p in policy.parameters() if p.nbytes < LARGE]
        self.state = sum(p.nbytes * (4 if p.requires_grad else 1) for p in small)  # gradient and two moments each

    def seconds(self, batch: Sequence[Example]) -> _Seconds:
        """Of a step on these pairs, of its update alone, and of their log-probs."""
        training = self._training.model_copy(
            update={"train_batch_size": len(batch), "num_train_epochs": 2.0, "max_steps": None, "learning_rate": 1e-7}
        )
        options: dict[str, Any] = {"method": self.method, "accelerator": self._accelerator}
        began = self._clock()
        pairs = with_reference(self._scorer, batch, training.dtype)
        score = self._clock() - began
        began = self._clock()
        batches = Fixed(pairs, training, seed=0)
        next(train(self._model, self._optimizer, batches, training, start=1, from_reference=False, **options))
        step = self._clock() - began
        for parameter in self._trained:
            parameter.grad = torch.zeros_like(parameter)
        began = self._clock()
        self._accelerator.clip_grad_norm_(self._trained, training.max_grad_norm)
        self._optimizer.step()
        self._finish()
        update = self._clock() - began
        self._optimizer.zero_grad(set_to_none=True)
        return _Seconds(max(0.0, step - update), update, score)

    def _finish(self) -> None:
        if self._accelerator.device.type == "cuda":
            torch.cuda.synchronize()


def _scored_rows(batch: Sequence[Example], method: Method) -> list[list[tuple[Ids, Ids]]]:
    sequences = sequences_of(batch)
    return [[sequences[i] for i in row] for row in rows_of(sequences, SCORED, share=method.share)]


def _split(seconds: Sequence[_Seconds], counts: Sequence[int]) -> tuple[_Seconds, _Seconds]:
    """What a layer costs, and what is beside the layers; of the fewest, at first and again, and of more."""
    first, again, *more = seconds
    if not more:
        return again, _Seconds(*(max(0.0, a - b) for a, b in zip(first, again, strict=True)))
    layer = _Seconds(*(max(0.0, (b - a) / (counts[1] - counts[0])) for a, b in zip(again, more[0], strict=True)))
    return layer, _Seconds(*(max(0.0, a - counts[0] * one) for a, one in zip(first, layer, strict=True)))
