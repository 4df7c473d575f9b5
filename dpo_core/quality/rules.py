"""Rules that separate the sides, looked up in every pair (not only in the sample that they were found in)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpo_core.data.pairs import EncodedPair, Message, text_of
from dpo_core.quality.shortcuts.balance import separating_amounts
from dpo_core.quality.shortcuts.features import Feature, stands, token_ids
from dpo_core.quality.shortcuts.findings import gating
from dpo_core.quality.tested import Separation
from dpo_core.quality.text.surface import AMOUNTS, PRESENCE, amounts_of, presence_of
from dpo_core.recipe import Validation


@dataclass(frozen=True)
class Rule:
    """A feature that gives the chosen side away. `ids`: of a token feature."""

    feature: Feature
    ids: tuple[int, ...] = ()


def separating_rules(separation: Separation, validation: Validation) -> list[Rule]:
    """The features that warn or fail over all pairs and are no declared aim; those of lengths and amounts first."""
    amounts = [Rule(Feature("amount", name)) for name in separating_amounts(separation.table, validation)]
    told, features = gating(separation, validation.intended)
    own = len(PRESENCE)
    words = [
        Rule(features[column], token_ids(int(separation.grams.keys[column - own])) if column >= own else ())
        for column in told
    ]
    return [*amounts, *words]


def columns(pairs: Sequence[EncodedPair], rules: Sequence[Rule]) -> dict[str, NDArray[Any]]:
    """`rules`: (N, rules) int8, 1 where the chosen side has the feature (or more of it) and the rejected has not."""
    d = np.zeros((len(pairs), len(rules)), dtype=np.int8)
    for row, pair in enumerate(pairs):
        chosen = _values(pair.pair.chosen, pair.chosen_ids, rules)
        rejected = _values(pair.pair.rejected, pair.rejected_ids, rules)
        d[row] = np.sign(np.subtract(chosen, rejected))
    return {"rules": d}


def _values(messages: Sequence[Message], ids: Sequence[int], rules: Sequence[Rule]) -> list[int]:
    text = text_of(messages)
    amounts = amounts_of(text, len(ids))
    presence = presence_of(text, amounts)
    values = []
    for rule in rules:
        kind, name = rule.feature
        if kind == "amount":
            values.append(amounts[AMOUNTS.index(name)])
        elif kind == "property":
            values.append(int(presence[PRESENCE.index(name)]))
        elif rule.ids:
            values.append(int(_contains(ids, rule.ids, at_start=kind == "first_token")))
        else:
            values.append(int(stands(rule.feature, text)))
    return values


def _contains(ids: Sequence[int], wanted: Sequence[int], *, at_start: bool) -> bool:
    if at_start:
        return tuple(ids[:1]) == tuple(wanted)
    size = len(wanted)
    return any(tuple(ids[at : at + size]) == tuple(wanted) for at in range(len(ids) - size + 1))
