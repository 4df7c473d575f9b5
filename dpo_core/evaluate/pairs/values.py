"""Held-out preference metrics: per-pair values, so that no mean depends on a batch."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from dpo_core.evaluate.intervals import Interval, mean_interval
from dpo_core.losses.dpo import dpo_loss


class PairValues(NamedTuple):
    """Per held-out pair: TRL's metrics, in nats where they are log-probs."""

    values: dict[str, list[float]]
    prompts: list[str]  # cluster of each pair
    sources: list[str]  # slice of each pair


def pair_values(
    policy: tuple[Float[Tensor, " B"], Float[Tensor, " B"]],
    reference: tuple[Float[Tensor, " B"], Float[Tensor, " B"]],
    *,
    beta: float,
) -> dict[str, list[float]]:
    """Metrics of each pair from (chosen, rejected) sequence log-probs in nats: those of training, by TRL's names."""
    metrics = dpo_loss(*policy, *reference, beta=beta)
    return {name: column.double().tolist() for name, column in metrics.named().items()}


def summarise(pairs: PairValues) -> dict[str, Interval]:
    """Mean and 95 % interval of every metric, resampled by prompt."""
    return {name: mean_interval(values, pairs.prompts) for name, values in pairs.values.items()}


def by_slice(
    pairs: PairValues, metrics: Sequence[str] = ("rewards/accuracies", "rewards/margins")
) -> Mapping[str, dict[str, Interval]]:
    """The same for each source, where the data names more than one."""
    slices: dict[str, dict[str, Interval]] = {}
    for name in sorted(set(pairs.sources)):
        rows = [i for i, source in enumerate(pairs.sources) if source == name]
        clusters = [pairs.prompts[i] for i in rows]
        slices[name] = {metric: mean_interval([pairs.values[metric][i] for i in rows], clusters) for metric in metrics}
    return slices
