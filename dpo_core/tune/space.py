"""The settings that a search may try: one axis a key of the recipe, with defaults by the kind of run.

Where the defaults come from: docs/tuning.md.
"""

import math
from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError

from dpo_core.errors import InputError
from dpo_core.recipe import Recipe, Training
from dpo_core.recipe_tune import WHOLE, Span
from dpo_core.records import Record

Setting = bool | int | float | str
SMALL = 1_000_000_000  # parameters: below, the published rates of 7B models teach nothing
NORMALISED = ("sigmoid_norm", "simpo")  # losses of log-probs a token: beta is larger
BATCHES = (8, 16, 32, 64, 128)
FEWEST_STEPS = 16  # of an epoch


class Axis(Record):
    """One key of the recipe and what it may be: a range, or choices."""

    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = Field(False, description="whole numbers")
    choices: list[Setting] = Field([], description="instead of a range")

    def place(self, value: Setting) -> float:
        """Where a value lies, from 0 to 1."""
        if self.choices:
            return self.choices.index(value) / (len(self.choices) - 1)
        low, high, at = (math.log(x) if self.log else x for x in (self.low, self.high, float(value)))
        return (at - low) / (high - low)

    def holds(self, value: Setting | None) -> bool:
        """Whether a value is one of these."""
        if self.choices:
            return any(value == choice and type(value) is type(choice) for choice in self.choices)
        return isinstance(value, int | float) and self.low <= value <= self.high


def space_of(recipe: Recipe, *, rows: int, parameters: int) -> dict[str, Axis]:
    """The axes of a recipe's search, each of which holds the recipe's own value.

    Raises InputError for values that the recipe could not have, and where its own lies outside: there it begins.
    """
    if recipe.tune.space is None:
        return default_space(recipe.training, rows=rows, parameters=parameters)
    space = {key: _axis(key, values) for key, values in recipe.tune.space.items()}
    for key, axis in space.items():
        for value in axis.choices or [axis.low, axis.high]:
            with_settings(recipe, {key: int(value) if axis.whole else value}, where=f"tune.space, {key}")
        if key == "training.num_train_epochs" and recipe.training.max_steps is not None:
            raise InputError(
                "num_train_epochs has no effect beside training.max_steps",
                where=f"tune.space, {key}",
                do="leave one of them out",
            )
        if not axis.holds(own := setting_of(recipe.training, key)):
            raise InputError(
                f"the recipe's own {key} is {own}, which is not in the space: the search begins with it",
                where=f"tune.space, {key}",
                do=f"let the space hold it, or set {key} to a value of the space",
            )
    return space


def default_space(training: Training, *, rows: int, parameters: int) -> dict[str, Axis]:
    """Learning rate, beta, batch and epochs, in ranges that were published for this kind of run, widened to its own."""
    rates = (1e-6, 2e-4) if training.lora else (1e-6, 1e-4) if parameters < SMALL else (1e-7, 1e-5)
    betas = (2.0, 10.0) if set(training.mixture) & set(NORMALISED) else (0.01, 0.6)
    space = {
        "training.learning_rate": _around(rates, training.learning_rate),
        "training.beta": _around(betas, training.beta),
    }
    own = training.train_batch_size
    batches = sorted({own, *(size for size in BATCHES if size * FEWEST_STEPS <= rows)})
    if len(batches) > 1:
        space["training.train_batch_size"] = Axis(choices=list(batches))
    if training.max_steps is None:
        epochs = sorted({1.0, 2.0, 3.0, training.num_train_epochs})
        space["training.num_train_epochs"] = Axis(choices=list(epochs))
    return space


def _around(ends: tuple[float, float], own: float) -> Axis:
    return Axis(low=min(ends[0], own), high=max(ends[1], own), log=True)


def _axis(key: str, values: Span | list[Any]) -> Axis:
    whole = key in WHOLE
    if isinstance(values, list):
        return Axis(choices=[_number(value, whole=whole) for value in values])
    return Axis(low=values.low, high=values.high, log=values.logarithmic, whole=whole)


def _number(value: Setting, *, whole: bool) -> Setting:
    """A number as the recipe's key holds it; `1e-6`, which YAML reads as text, is one."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return value
    return value if isinstance(value, bool) or whole else float(value)


def setting_of(training: Training, key: str) -> Any:
    """The value of a key of the space, None where it is unset."""
    found: Any = training
    for name in key.split(".")[1:]:
        found = getattr(found, name, None)
    return found


def with_settings(recipe: Recipe, settings: Mapping[str, Setting], *, where: str = "tune.space") -> Recipe:
    """The recipe with these keys set, as `winner_recipe` writes it. Raises InputError where they cannot be."""
    values = recipe.model_dump(exclude_unset=True)
    for key, value in settings.items():
        *sections, name = key.split(".")
        if setting_of(recipe.training, ".".join(sections)) is None:
            do = "write the section into the recipe, or leave the key out of the space"
            raise InputError(f"the recipe has no {'.'.join(sections)}", where=where, do=do)
        section = values
        for part in sections:
            section = section.setdefault(part, {})
        section[name] = value
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        named = ", ".join(f"{key}: {value}" for key, value in settings.items())
        says = f"{named} cannot be: {problem['msg'].removeprefix('Value error, ')}"
        raise InputError(says, where=where, do="`dpo config --schema --json` has every key's type and limits") from None
