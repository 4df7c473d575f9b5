"""The training loop, as a generator: one optimizer step, one `Step`; whoever iterates logs, saves or stops."""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from jaxtyping import Float
from torch import Tensor

from dpo_core.data.pairs import Example
from dpo_core.errors import Diverged
from dpo_core.model.layout import Ids, Layout, first_fit_decreasing, lay_out, row_tokens
from dpo_core.model.logprobs import Method
from dpo_core.model.reference import allowed_difference
from dpo_core.recipe import Training
from dpo_core.report.documents import JumpedRow
from dpo_core.train.batches import Batches
from dpo_core.train.checkpoint import whole
from dpo_core.train.objective import RowLoss, Whole, log_probs, metric_names

TOKEN_SUMS = ("entropy", "tokens", "hits", "chosen_tokens")


@dataclass(frozen=True)
class Step:
    """One finished optimizer step; `number` counts from 1. Metrics have TRL's names and are means over pairs.

    `displacement`: nats a token by which the chosen answer has become less likely than under the reference. The names
    of `objective.metric_names`; `rewards/delta`: bco_pair's reward shift in this step. Every
    `training.token_metrics_steps` steps also `entropy` (nats, mean over response tokens) and `mean_token_accuracy`
    (share of the chosen answers' tokens that are the likeliest). `rows`: its pairs, each with its own loss.
    """

    number: int
    total: int
    pairs: int
    tokens: int
    metrics: dict[str, float]
    rows: Sequence[JumpedRow]


class ReferenceMismatchError(RuntimeError):
    """Before the first update, policy and reference must be the same model."""


def train(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    training: Training,
    *,
    method: Method,
    accelerator: Accelerator,
    start: int = 0,
    history: Sequence[Mapping[str, float]] = (),
    from_reference: bool = True,
) -> Iterator[Step]:
    """Optimizer steps `start` + 1 to the last; `history`: the metrics of those before, for losses that follow rewards.

    A step's pairs are asked of `batches` when the step before it is done; without any the training ends.
    `model`, a Scorer of `method`, and `optimizer` come from `accelerator.prepare`. The pairs of a step do not depend on
    the number of ranks or on the packing; each pair weighs 1 / (pairs in the step), times its own weight. With
    `from_reference` the model begins as the reference, and before the first update must give the stored log-probs.
    """
    total = batches.total
    parameters = [p for p in model.parameters() if p.requires_grad]
    names, shift = metric_names(training), _Shift()
    if training.shifts_rewards:
        for earlier, metrics in enumerate(history[:start]):
            shift.add(metrics["rewards/mean"], batches.size(earlier))
    for number in range(start + 1, total + 1):
        if not (batch := batches.at(number - 1)):
            return
        rate = learning_rate(number, total, training)
        for group in optimizer.param_groups:
            group["lr"] = rate
        every = training.token_metrics_steps
        measure = bool(every) and number % every == 0
        check = from_reference and not training.reference_free and number == 1
        sums, losses, wild = _accumulate(
            model,
            batch,
            training,
            accelerator,
            method=method,
            check_reference=check,
            measure=measure,
            delta=shift.mean,
        )
        norm = whole(accelerator.clip_grad_norm_(parameters, training.max_grad_norm))
        if not (torch.isfinite(norm) and torch.isfinite(sums).all()):
            raise _not_finite(number, gather_object(wild) or [_place(example) for example in batch])
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        metrics = dict(zip(names, (sums[: len(names)] / len(batch)).tolist(), strict=True))
        if training.shifts_rewards:
            metrics["rewards/delta"] = shift.mean
            shift.add(metrics["rewards/mean"], len(batch))
        if measure:
            entropy, tokens, hits, chosen_tokens = sums[len(names) :].tolist()
            metrics |= {"entropy": entropy / tokens, "mean_token_accuracy": hits / chosen_tokens}
        metrics |= {"grad_norm": float(norm), "learning_rate": rate, "epoch": batches.epoch(number)}
        metrics |= batches.told(number - 1)
        tokens = sum(2 * len(e.prompt_ids) + len(e.chosen_ids) + len(e.rejected_ids) for e in batch)
        yield Step(number, total, len(batch), tokens, metrics, _rows(batch, losses))


@dataclass
class _Shift:
    """The mean reward of all pairs so far, of both sides: what bco_pair takes off. It is made of the history alone."""

    total: float = 0.0
    pairs: int = 0

    def add(self, mean: float, pairs: int) -> None:
        self.total += mean * pairs
        self.pairs += pairs

    @property
    def mean(self) -> float:
        return self.total / self.pairs if self.pairs else 0.0


def sequences_of(pairs: Sequence[Example]) -> list[tuple[Ids, Ids]]:
    """(prompt ids, response ids), chosen and rejected in turn."""
    return [(e.prompt_ids, answer) for e in pairs for answer in (e.chosen_ids, e.rejected_ids)]


def rows_for(batch: Sequence[Example], tokens: int, *, ranks: int, share: bool) -> list[list[list[int]]]:
    """The rows of each rank, as places in the batch: at most `tokens` tokens a row, the ranks evenly loaded.

    With `share`, pairs with the same prompt stay together as far as a row has room for them.
    """

    def size(places: Sequence[int]) -> int:
        return row_tokens(sequences_of([batch[place] for place in places]), share=share)

    clusters: dict[object, list[list[int]]] = {}
    for number, pair in enumerate(batch):
        found = clusters.setdefault(pair.prompt_ids if share else number, [[]])
        if found[-1] and size([*found[-1], number]) > tokens:
            found.append([])
        found[-1].append(number)
    units = [unit for parts in clusters.values() for unit in parts]
    sizes = [size(unit) for unit in units]
    bins = first_fit_decreasing(sizes, min(tokens, math.ceil(sum(sizes) / ranks)))
    shares: list[list[list[int]]] = [[] for _ in range(ranks)]
    loads = [0] * ranks
    for members in sorted(bins, key=lambda members: -sum(sizes[i] for i in members)):
        rank = loads.index(min(loads))
        shares[rank].append([place for i in sorted(members) for place in units[i]])
        loads[rank] += sum(sizes[i] for i in members)
    return shares


def learning_rate(number: int, total: int, training: Training) -> float:
    """Linear warm-up over the first `warmup_ratio` of the steps, then linear towards zero."""
    warmup = math.ceil(total * training.warmup_ratio)
    if number <= warmup:
        return training.learning_rate * number / warmup
    return training.learning_rate * (total - number + 1) / max(1, total - warmup)


def _accumulate(
    model: torch.nn.Module,
    batch: Sequence[Example],
    training: Training,
    accelerator: Accelerator,
    *,
    method: Method,
    check_reference: bool = False,
    measure: bool = False,
    delta: float = 0.0,
) -> tuple[Tensor, Tensor, list[str]]:
    """Gradients of the whole step from this rank's rows; sums of metric_names and TOKEN_SUMS over all ranks.

    With them the loss of each pair, and the places of this rank's pairs whose values are not finite.
    """
    ranks, names = accelerator.num_processes, metric_names(training)
    together = None
    if training.of_the_batch:
        found = forward(model, batch, training, accelerator, method=method)
        together = Whole.of(batch, found, training, delta=delta)
    rows, own = _turns(batch, training, accelerator, method=method)
    sums, wild = torch.zeros(len(names) + len(TOKEN_SUMS), dtype=torch.float64), []
    losses = torch.zeros(len(batch), dtype=torch.float64)
    spread = accelerator.is_fsdp2  # without a reduction after each row every rank would hold all gradients
    for turn, places in enumerate(rows):
        idle, row = turn >= own, [batch[place] for place in places]
        weight = 0.0 if idle else ranks / len(batch)  # DDP and FSDP average over ranks
        with contextlib.nullcontext() if turn == len(rows) - 1 or spread else accelerator.no_sync(model):
            layout = lay_out(sequences_of(row), share=method.share).to(accelerator.device)
            loss = RowLoss(row, places, training, weight, delta, together)
            with accelerator.autocast():  # under FSDP2 `prepare` leaves it out
                found = model(layout, loss, measure=measure, collide=training.use_weighting)
            values = loss.values(found.logps, found.collisions)
            if check_reference:
                _require_same(row, values, training.dtype)
            accelerator.backward(found.loss)
            if not idle:
                columns = torch.stack([values[name] for name in names])
                sums += torch.cat([columns.sum(1), _token_sums(found.metrics, layout)]).cpu()
                losses[list(places)] = values["loss"].detach().cpu()
                finite = columns.isfinite().all(0).tolist()
                wild += [_place(example) for example, fine in zip(row, finite, strict=True) if not fine]
    told = torch.cat([sums, losses])
    if ranks > 1:
        told = accelerator.reduce(told.to(accelerator.device, torch.float32), "sum").cpu()
    return told[: len(sums)], told[len(sums) :], wild


def _turns(
    batch: Sequence[Example], training: Training, accelerator: Accelerator, *, method: Method
) -> tuple[list[list[int]], int]:
    """The rows of this rank and how many these are; idle ones follow: calls that all ranks take part in are as many."""
    shares = rows_for(batch, training.tokens_per_row, ranks=accelerator.num_processes, share=method.share)
    mine = shares[accelerator.process_index]
    return [*mine, *[[0]] * (max(map(len, shares)) - len(mine))], len(mine)


@torch.no_grad()
def forward(
    model: torch.nn.Module,
    batch: Sequence[Example],
    training: Training,
    accelerator: Accelerator,
    *,
    method: Method,
) -> Float[Tensor, "N C"]:
    """`log_probs` of all pairs at once, the same on every rank, without gradients."""
    rows, own = _turns(batch, training, accelerator, method=method)
    public = training.ld_alpha is not None
    found = torch.zeros(len(batch), 4 if public else 2, dtype=torch.float64, device=accelerator.device)
    for turn, places in enumerate(rows):
        row = [batch[place] for place in places]
        layout = lay_out(sequences_of(row), share=method.share).to(accelerator.device)
        with accelerator.autocast():
            answered = model(layout)
        logps = log_probs(row, answered.logps, public=public)
        if turn < own:
            found[list(places)] = logps
    return accelerator.reduce(found, "sum")  # type: ignore[no-any-return]


def _token_sums(metrics: Float[Tensor, "2 H"] | None, layout: Layout) -> Float[Tensor, "4"]:
    """TOKEN_SUMS of a row."""
    if metrics is None:
        return torch.zeros(len(TOKEN_SUMS), dtype=torch.float64, device=layout.owner.device)
    chosen = (layout.owner % 2 == 0).double()
    entropy, hits = metrics.double()
    return torch.stack([entropy.sum(), torch.ones_like(entropy).sum(), (hits * chosen).sum(), chosen.sum()])


def _rows(batch: Sequence[Example], losses: Float[Tensor, " N"]) -> list[JumpedRow]:
    return [JumpedRow(id=e.id, where=e.where, loss=own) for e, own in zip(batch, losses.tolist(), strict=True)]


def _place(example: Example) -> str:
    return example.where or f"pair {example.id[:12]}"


def _not_finite(number: int, places: Sequence[str]) -> Diverged:
    more = f" and {len(places) - 10} more" if len(places) > 10 else ""
    return Diverged(
        f"step {number}: loss or gradient is not finite",
        where=", ".join(places[:10]) + more,
        do="look at these rows; lower training.learning_rate or max_grad_norm. Checkpoints before this step are good",
    )


def _require_same(row: Sequence[Example], metrics: Mapping[str, Float[Tensor, " B"]], dtype: str) -> None:
    """Raise unless policy and reference agree, within `allowed_difference`."""
    for side in ("chosen", "rejected"):
        for example, value in zip(row, metrics[f"logps/{side}"].tolist(), strict=True):
            reference: float = getattr(example, f"ref_{side}_logps")
            allowed = allowed_difference(reference, dtype)
            if not abs(value - reference) <= allowed:
                raise ReferenceMismatchError(
                    f"before the first update the policy gives log p = {value:.6f} and the stored reference "
                    f"{reference:.6f} nats for the {side} answer of pair {example.id[:12]}; they may differ by "
                    f"{allowed:.6f}. The reference log-probs belong to another model, dtype or encoding: run again "
                    "with --force to score anew."
                )
