"""Personal data in pairs that people's remarks and judgements made: masked, refused or kept."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any, Literal, NamedTuple

from dpo_core.data.messages import as_compared
from dpo_core.data.pairs import Pair
from dpo_core.quality.text.placeholders import Placeholders, kinds_in

PersonalData = Literal["mask", "refuse", "keep"]


class Cleaned(NamedTuple):
    """A pair as it may be kept, and how many values of each kind were masked; or the reason why it may not."""

    pair: Pair
    masked: dict[str, int]
    refused: str = ""


def cleaned(pair: Pair, personal_data: PersonalData) -> Cleaned:
    """The pair with placeholders for e-mail, phone and the like; the same value has the same one throughout it."""
    if personal_data == "keep":
        return Cleaned(pair, {})
    holds = Placeholders()
    clean = _masked(pair, holds)
    found = dict(holds.found)
    if personal_data == "refuse" and found:
        return Cleaned(pair, found, f"it holds personal data: {', '.join(found)}")
    if as_compared(clean.chosen) == as_compared(clean.rejected):
        return Cleaned(pair, found, "its two answers differ in personal data alone, which is masked")
    return Cleaned(clean, found)


def names_of(people: Iterable[str], personal_data: PersonalData) -> str:
    """Who said it; an address or a number of a person becomes a name that is the same every time."""
    return ", ".join(sorted({_person(name, personal_data) for name in people}))


def masked(value: Any, placeholders: Placeholders) -> Any:
    """A message, or whatever is in it, with placeholders in all its texts."""
    if isinstance(value, str):
        return placeholders.masked(value)
    if isinstance(value, Mapping):
        return {key: masked(item, placeholders) for key, item in value.items()}
    return [masked(item, placeholders) for item in value] if isinstance(value, list | tuple) else value


def _masked(pair: Pair, placeholders: Placeholders) -> Pair:
    prompt, chosen, rejected, tools = (
        tuple(masked(message, placeholders) for message in side)
        for side in (pair.prompt, pair.chosen, pair.rejected, pair.tools)
    )
    return replace(pair, prompt=prompt, chosen=chosen, rejected=rejected, tools=tools)


def _person(name: str, personal_data: PersonalData) -> str:
    if personal_data == "keep" or not kinds_in(name):
        return name
    return f"person-{sha256(name.encode()).hexdigest()[:12]}"
