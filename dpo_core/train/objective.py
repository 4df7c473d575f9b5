"""What a step minimises, as the head wants it: of the pairs of a row, from the log-probs of their tokens.

Most losses are sums over pairs, so each row has its own. A loss that looks at all pairs of a step (`aot`) is served in
two passes: the first finds every pair's log-probs and, from all of them, the slope of the loss in each; the second goes
down these slopes, row by row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dpo_core.data.pairs import Example
from dpo_core.losses.dpo import DPO_METRICS, dpo_loss, sft_loss
from dpo_core.losses.registry import losses_of
from dpo_core.losses.sides import Side, side_of
from dpo_core.model.layout import sequence_sums
from dpo_core.recipe_loss import Loss

OF_REFERENCE = ("logratios/chosen", "logratios/rejected")


def metric_names(recipe: Loss) -> tuple[str, ...]:
    """What is told of every pair. `losses/dpo` is the whole preference term, whatever loss it is.

    Of a mixture its parts too, each before its weight; of a loss without reference nothing that compares with one.
    """
    parts = [f"losses/{name}" for name in recipe.mixture] if len(recipe.mixture) > 1 else []
    names = [name for name in DPO_METRICS[1:] if not (recipe.reference_free and name in OF_REFERENCE)]
    against = [] if recipe.reference_free else ["displacement"]
    shift = ["rewards/mean"] if recipe.shifts_rewards else []
    return ("loss", "losses/dpo", "losses/sft", *parts, *names, *against, *shift)


def log_probs(pairs: Sequence[Example], logps: Float[Tensor, " R"], *, public: bool = False) -> Float[Tensor, "B C"]:
    """Log-prob of each pair's chosen and rejected answer in nats (fp64), from those of their tokens, in order.

    With `public` two columns more: of the tokens up to the length of the shorter answer alone.
    """
    lengths = torch.tensor(_lengths(pairs), device=logps.device)
    owner = torch.repeat_interleave(lengths)
    columns = [sequence_sums(logps, owner, len(lengths)).view(-1, 2)]
    if public:
        place = torch.arange(len(owner), device=logps.device) - (lengths.cumsum(0) - lengths)[owner]
        shorter = lengths.view(-1, 2).amin(1).repeat_interleave(2)
        columns.append(sequence_sums(logps * (place < shorter[owner]), owner, len(lengths)).view(-1, 2))
    return torch.cat(columns, 1)


def wpo_weights(
    pairs: Sequence[Example], logps: Float[Tensor, " R"], collisions: Float[Tensor, " R"]
) -> Float[Tensor, " B"]:
    """How likely the policy finds both answers, each token against its mean probability: no gradient goes through.

    Zhou et al. 2024, eq. 2 with sampled alignment (arXiv:2406.11827): the product over both sides of
    exp(mean over tokens of log p(token) - log sum_v p(v)^2). As in TRL it is not cut at 1.
    """
    lengths = torch.tensor(_lengths(pairs), device=logps.device)
    likely = sequence_sums((logps - collisions).detach(), torch.repeat_interleave(lengths), len(lengths)) / lengths
    return likely.view(-1, 2).sum(1).exp()


def values_of(
    pairs: Sequence[Example],
    found: Float[Tensor, "B C"],
    recipe: Loss,
    *,
    weights: Float[Tensor, " B"] | None = None,
    delta: float = 0.0,
) -> dict[str, Float[Tensor, " B"]]:
    """`metric_names` of each pair, from its `log_probs`; only `loss` carries a gradient.

    `weights`: `wpo_weights`, of the preference term; `delta`: mean reward of the steps before, for bco_pair.
    """
    chosen, rejected = _sides(pairs, found, recipe)
    parts = losses_of(recipe, chosen, rejected, delta=delta)
    preference = sum((weight * parts[name] for name, weight in recipe.mixture.items()), torch.zeros_like(chosen.logps))
    if weights is not None:
        preference = preference * weights
    sft = sft_loss(found[:, 0], chosen.tokens)
    own, share = _column(found, [e.sft_weight for e in pairs]), _column(found, [e.weight for e in pairs])
    values = {
        **_rewards(pairs, found, recipe, chosen.tokens, rejected.tokens),
        **{f"losses/{name}": part for name, part in parts.items()},
        "loss": share * (preference + recipe.sft_weight * own * sft),
        "losses/dpo": preference,
        "losses/sft": sft,
        "rewards/mean": 0.5 * recipe.beta * (chosen.scores + rejected.scores),
    }
    return {name: values[name] if name == "loss" else values[name].detach() for name in metric_names(recipe)}


@dataclass(frozen=True)
class Whole:
    """A step whose loss was computed of all its pairs at once."""

    values: Mapping[str, Float[Tensor, " N"]]  # metric_names of every pair of the step
    slopes: Float[Tensor, "N C"]  # derivative of the summed loss by `log_probs`

    @classmethod
    def of(cls, batch: Sequence[Example], found: Float[Tensor, "N C"], recipe: Loss, *, delta: float = 0.0) -> "Whole":
        """From the `log_probs` of all its pairs."""
        with torch.enable_grad():
            leaves = found.detach().requires_grad_()
            values = values_of(batch, leaves, recipe, delta=delta)
            (slopes,) = torch.autograd.grad(values["loss"].sum(), leaves)
        return cls({name: column.detach() for name, column in values.items()}, slopes)


@dataclass(frozen=True)
class RowLoss:
    """The loss of some pairs of a row, and what is told of each; made once a row.

    `places`: which pairs of the step these are; `weight`: factor of their summed loss; `whole`: see Whole.
    """

    pairs: Sequence[Example]
    places: Sequence[int]
    recipe: Loss
    weight: float
    delta: float = 0.0
    whole: Whole | None = None

    def __call__(
        self, some: slice, logps: Float[Tensor, " R"], collisions: Float[Tensor, " R"] | None
    ) -> Float[Tensor, ""]:
        """Summed over some of the pairs, given the log-probs of their tokens."""
        pairs = self.pairs[some]
        if self.whole is None:
            return self._values(pairs, logps, collisions)["loss"].sum() * self.weight
        slopes = self.whole.slopes[list(self.places[some])].to(logps.device)
        found = log_probs(pairs, logps, public=self.recipe.ld_alpha is not None)
        return (found * slopes).sum() * self.weight

    def values(
        self, logps: Float[Tensor, " R"], collisions: Float[Tensor, " R"] | None
    ) -> Mapping[str, Float[Tensor, " B"]]:
        """`metric_names` of each pair of the row."""
        if self.whole is not None:
            return {name: column[list(self.places)] for name, column in self.whole.values.items()}
        return self._values(self.pairs, logps, collisions)

    def _values(
        self, pairs: Sequence[Example], logps: Tensor, collisions: Tensor | None
    ) -> dict[str, Float[Tensor, " B"]]:
        found = log_probs(pairs, logps, public=self.recipe.ld_alpha is not None)
        weights = None if collisions is None else wpo_weights(pairs, logps, collisions)
        return values_of(pairs, found, self.recipe, weights=weights, delta=self.delta)


def _lengths(pairs: Sequence[Example]) -> list[int]:
    return [len(answer) for e in pairs for answer in (e.chosen_ids, e.rejected_ids)]


def _column(like: Tensor, values: Sequence[float]) -> Float[Tensor, " B"]:
    return torch.tensor(values, dtype=torch.float64, device=like.device)


def _sides(pairs: Sequence[Example], found: Float[Tensor, "B C"], recipe: Loss) -> tuple[Side, Side]:
    """The sides as the loss sees them: with `ld_alpha`, of the tokens that only the longer answer has a share."""
    divergence, coefficient = recipe.f_divergence_type, recipe.f_alpha_divergence_coef
    sides = []
    for number, name in enumerate(("chosen", "rejected")):
        logps = found[:, number]
        reference = torch.full_like(logps, torch.nan)
        if not recipe.reference_free:
            reference = _column(found, [getattr(e, f"ref_{name}_logps") for e in pairs])
        if recipe.ld_alpha is not None:
            public = _column(found, [getattr(e, f"ref_{name}_public_logps") for e in pairs])
            reference = public + recipe.ld_alpha * (reference - public)
            logps = found[:, 2 + number] + recipe.ld_alpha * (logps - found[:, 2 + number])
        tokens = _column(found, [len(getattr(e, f"{name}_ids")) for e in pairs])
        sides.append(side_of(logps, reference, tokens, divergence=divergence, coefficient=coefficient))
    return sides[0], sides[1]


def _rewards(
    pairs: Sequence[Example], found: Tensor, recipe: Loss, chosen_tokens: Tensor, rejected_tokens: Tensor
) -> dict[str, Float[Tensor, " B"]]:
    """What is the same for every loss with a reference: DPO's rewards; without one, beta * nats a token."""
    chosen, rejected = found[:, 0].detach(), found[:, 1].detach()
    if recipe.reference_free:
        none = torch.zeros_like(chosen)
        metrics = dpo_loss(chosen / chosen_tokens, rejected / rejected_tokens, none, none, beta=recipe.beta).named()
        return metrics | {"logps/chosen": chosen, "logps/rejected": rejected}
    reference = [_column(found, [getattr(e, f"ref_{name}_logps") for e in pairs]) for name in ("chosen", "rejected")]
    metrics = dpo_loss(chosen, rejected, *reference, beta=recipe.beta).named()
    return metrics | {"displacement": -metrics["logratios/chosen"] / chosen_tokens}
