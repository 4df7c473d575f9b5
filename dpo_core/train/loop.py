"""The training loop, as a generator: one optimizer step, one `Step`; whoever iterates logs, saves or stops."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from jaxtyping import Float
from torch import Tensor

from dpo_core.data.pairs import Example
from dpo_core.errors import InputError
from dpo_core.losses import DPO_METRICS, dpo_loss, sft_loss
from dpo_core.model.layout import Ids, Layout, first_fit_decreasing, lay_out, row_tokens, sequence_sums
from dpo_core.model.logprobs import Method, PairsLoss
from dpo_core.model.reference import allowed_difference
from dpo_core.recipe import Training
from dpo_core.train.checkpoint import whole

PAIR_METRICS = ("loss", "losses/dpo", "losses/sft", *DPO_METRICS[1:], "displacement")
TOKEN_SUMS = ("entropy", "tokens", "hits", "chosen_tokens")


@dataclass(frozen=True)
class Step:
    """One finished optimizer step; `number` counts from 1. Metrics have TRL's names and are means over pairs.

    `displacement`: nats a token by which the chosen answer has become less likely than under the reference. Every
    `training.token_metrics_steps` steps also `entropy` (nats, mean over response tokens) and `mean_token_accuracy`
    (share of the chosen answers' tokens that are the likeliest).
    """

    number: int
    total: int
    pairs: int
    tokens: int
    metrics: dict[str, float]


class ReferenceMismatchError(RuntimeError):
    """Before the first update, policy and reference must be the same model."""


def train(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    examples: Sequence[Example],
    training: Training,
    *,
    method: Method,
    seed: int,
    accelerator: Accelerator,
    start: int = 0,
    from_reference: bool = True,
) -> Iterator[Step]:
    """Optimizer steps `start` + 1 to the last.

    `model`, a Scorer of `method`, and `optimizer` come from `accelerator.prepare`. The pairs of a step do not depend on
    the number of ranks or on the packing; each pair weighs 1 / (pairs in the step), times its own weight. With
    `from_reference` the model begins as the reference, and before the first update must give the stored log-probs.
    """
    total = total_steps(len(examples), training)
    per_epoch = math.ceil(len(examples) / training.train_batch_size)
    parameters = [p for p in model.parameters() if p.requires_grad]
    for number in range(start + 1, total + 1):
        indices = batch_at(number - 1, examples=len(examples), batch_size=training.train_batch_size, seed=seed)
        rate = learning_rate(number, total, training)
        for group in optimizer.param_groups:
            group["lr"] = rate
        batch = [examples[i] for i in indices]
        every = training.token_metrics_steps
        measure = bool(every) and number % every == 0
        check = from_reference and number == 1
        sums, wild = _accumulate(
            model, batch, training, accelerator, method=method, check_reference=check, measure=measure
        )
        norm = whole(accelerator.clip_grad_norm_(parameters, training.max_grad_norm))
        if not (torch.isfinite(norm) and torch.isfinite(sums).all()):
            raise _not_finite(number, gather_object(wild) or [_place(example) for example in batch])
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        metrics = dict(zip(PAIR_METRICS, (sums[: len(PAIR_METRICS)] / len(batch)).tolist(), strict=True))
        if measure:
            entropy, tokens, hits, chosen_tokens = sums[len(PAIR_METRICS) :].tolist()
            metrics |= {"entropy": entropy / tokens, "mean_token_accuracy": hits / chosen_tokens}
        metrics |= {"grad_norm": float(norm), "learning_rate": rate, "epoch": number / per_epoch}
        tokens = sum(2 * len(e.prompt_ids) + len(e.chosen_ids) + len(e.rejected_ids) for e in batch)
        yield Step(number, total, len(batch), tokens, metrics)


def total_steps(examples: int, training: Training) -> int:
    """Optimizer steps of a run; an epoch's last batch may be smaller, a fraction of an epoch rounds up."""
    per_epoch = math.ceil(examples / training.train_batch_size)
    return training.max_steps or max(1, math.ceil(per_epoch * training.num_train_epochs - 1e-9))


def batch_at(step: int, *, examples: int, batch_size: int, seed: int) -> list[int]:
    """Indices of the pairs of 0-based optimizer step `step`: position is the step, order f(seed, epoch)."""
    per_epoch = math.ceil(examples / batch_size)
    epoch, position = divmod(step, per_epoch)
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order = torch.randperm(examples, generator=generator).tolist()
    indices: list[int] = order[position * batch_size : (position + 1) * batch_size]
    return indices


def sequences_of(pairs: Sequence[Example]) -> list[tuple[Ids, Ids]]:
    """(prompt ids, response ids), chosen and rejected in turn."""
    return [(e.prompt_ids, answer) for e in pairs for answer in (e.chosen_ids, e.rejected_ids)]


def rows_for(batch: Sequence[Example], tokens: int, *, ranks: int, share: bool) -> list[list[list[Example]]]:
    """The rows of each rank: the pairs of a step packed into rows of at most `tokens` tokens, the ranks evenly loaded.

    With `share`, pairs with the same prompt stay together as far as a row has room for them.
    """
    clusters: dict[object, list[list[Example]]] = {}
    for number, pair in enumerate(batch):
        found = clusters.setdefault(pair.prompt_ids if share else number, [[]])
        if found[-1] and row_tokens(sequences_of([*found[-1], pair]), share=share) > tokens:
            found.append([])
        found[-1].append(pair)
    units = [unit for parts in clusters.values() for unit in parts]
    sizes = [row_tokens(sequences_of(unit), share=share) for unit in units]
    bins = first_fit_decreasing(sizes, min(tokens, math.ceil(sum(sizes) / ranks)))
    shares: list[list[list[Example]]] = [[] for _ in range(ranks)]
    loads = [0] * ranks
    for members in sorted(bins, key=lambda members: -sum(sizes[i] for i in members)):
        rank = loads.index(min(loads))
        shares[rank].append([pair for i in sorted(members) for pair in units[i]])
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
    check_reference: bool,
    measure: bool,
) -> tuple[Tensor, list[str]]:
    """Gradients of the whole step from this rank's rows; sums of PAIR_METRICS and TOKEN_SUMS over all ranks.

    With them the places of this rank's pairs whose values are not finite.
    """
    ranks = accelerator.num_processes
    shares = rows_for(batch, training.tokens_per_row, ranks=ranks, share=method.share)
    mine = shares[accelerator.process_index]
    most = max(map(len, shares))
    sums, wild = torch.zeros(len(PAIR_METRICS) + len(TOKEN_SUMS), dtype=torch.float64), []
    for turn in range(most):  # every rank takes as many turns, for the calls that all take part in
        row, idle = (mine[turn], False) if turn < len(mine) else (batch[:1], True)
        weight = 0.0 if idle else ranks / len(batch)  # DDP and FSDP average over ranks
        with contextlib.nullcontext() if turn == most - 1 else accelerator.no_sync(model):
            layout = lay_out(sequences_of(row), share=method.share).to(accelerator.device)
            loss, logps, metrics = model(layout, _objective(row, training, weight), measure=measure)
            values = _pair_metrics(row, sequence_sums(logps, layout.owner, 2 * len(row)), training)
            if check_reference:
                _require_same(row, values, training.dtype)
            accelerator.backward(loss)
            if not idle:
                columns = torch.stack([values[name] for name in PAIR_METRICS])
                sums += torch.cat([columns.sum(1), _token_sums(metrics, layout)]).cpu()
                finite = columns.isfinite().all(0).tolist()
                wild += [_place(example) for example, fine in zip(row, finite, strict=True) if not fine]
    reduced: Tensor = accelerator.reduce(sums.to(accelerator.device, torch.float32) if ranks > 1 else sums, "sum")
    return reduced.cpu(), wild


def _token_sums(metrics: Float[Tensor, "2 H"] | None, layout: Layout) -> Float[Tensor, "4"]:
    """TOKEN_SUMS of a row."""
    if metrics is None:
        return torch.zeros(len(TOKEN_SUMS), dtype=torch.float64, device=layout.owner.device)
    chosen = (layout.owner % 2 == 0).double()
    entropy, hits = metrics.double()
    return torch.stack([entropy.sum(), torch.ones_like(entropy).sum(), (hits * chosen).sum(), chosen.sum()])


def _place(example: Example) -> str:
    return example.where or f"pair {example.id[:12]}"


def _not_finite(number: int, places: Sequence[str]) -> InputError:
    more = f" and {len(places) - 10} more" if len(places) > 10 else ""
    return InputError(
        f"step {number}: loss or gradient is not finite",
        where=", ".join(places[:10]) + more,
        do="look at these rows; lower training.learning_rate or max_grad_norm. Checkpoints before this step are good",
    )


def _objective(row: Sequence[Example], training: Training, weight: float) -> PairsLoss:
    """The loss of some of the row's pairs, as the head wants it."""

    def loss(first: int, sums: Float[Tensor, " S"]) -> Tensor:
        return _pair_metrics(row[first : first + len(sums) // 2], sums, training)["loss"].sum() * weight

    return loss


def _pair_metrics(
    row: Sequence[Example], sums: Float[Tensor, " S"], training: Training
) -> dict[str, Float[Tensor, " B"]]:
    """PAIR_METRICS of each pair, given log p of its chosen and its rejected answer in turn (nats)."""

    def column(values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device=sums.device)

    chosen, rejected = sums[::2], sums[1::2]
    reference = [column([e.ref_chosen_logps for e in row]), column([e.ref_rejected_logps for e in row])]
    lengths = column([len(e.chosen_ids) for e in row])
    dpo, sft = dpo_loss(chosen, rejected, *reference, beta=training.beta), sft_loss(chosen, lengths)
    loss = dpo.loss + training.sft_weight * column([e.sft_weight for e in row]) * sft
    return {
        **dpo.named(),
        "loss": column([e.weight for e in row]) * loss,
        "losses/dpo": dpo.loss,
        "losses/sft": sft,
        "displacement": -dpo.chosen_logratios / lengths,
    }


def _require_same(row: Sequence[Example], metrics: dict[str, Float[Tensor, " B"]], dtype: str) -> None:
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
