"""All losses by name, and the loss that a recipe asks for: one of them or a mixture, with its options."""

from collections.abc import Callable, Mapping

from jaxtyping import Float
from torch import Tensor

from dpo_core.losses import pairwise, reference_free
from dpo_core.losses.sides import Side
from dpo_core.recipe_loss import OPTIONS, Loss

PairLoss = Callable[..., Tensor]  # (chosen, rejected, *, beta, its options) -> one value a pair
LOSSES: Mapping[str, PairLoss] = {
    loss.__name__: loss
    for loss in (
        *(pairwise.sigmoid, pairwise.sigmoid_norm, pairwise.hinge, pairwise.ipo, pairwise.robust, pairwise.exo_pair),
        *(pairwise.discopop, pairwise.nca_pair, pairwise.bco_pair, pairwise.sppo_hard),
        *(pairwise.apo_zero, pairwise.apo_down, pairwise.aot),
        *(reference_free.simpo, reference_free.orpo),
    )
}
ARGUMENTS = frozenset(["label_smoothing", "discopop_tau", "simpo_gamma"])  # options that a loss itself is given


def losses_of(recipe: Loss, chosen: Side, rejected: Side, *, delta: float = 0.0) -> dict[str, Float[Tensor, " B"]]:
    """Every part of the recipe's loss by name, each before its weight in the mixture; `delta`: see bco_pair."""
    return {name: LOSSES[name](chosen, rejected, **arguments(recipe, name, delta)) for name in recipe.mixture}


def arguments(recipe: Loss, name: str, delta: float = 0.0) -> dict[str, float]:
    """What the recipe hands to one of its losses; what it leaves out has the function's own default."""
    acting = ARGUMENTS & {*OPTIONS[name]}
    found = {option: value for option, value in recipe.options.items() if option in acting}
    shift = {"delta": delta} if name == "bco_pair" and recipe.shifts_rewards else {}
    return {"beta": recipe.beta, **found, **shift}
