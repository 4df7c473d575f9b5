"""What a prompt file's line, or a recipe, may ask of an answer: the keys, as they are written."""

import math
from typing import Any

from pydantic import Field, model_validator

from dpo_core.recipe_release import Section

Listed = str | list[str | list[str]]


class Wishes(Section):
    """What an answer must be; a key that is left out asks for nothing."""

    must_contain: Listed = Field(
        [], description="words or phrases that all stand in it; of an entry that is a list, one"
    )
    must_not_contain: str | list[str] = Field([], description="words or phrases of which none stands in it")
    must_match: str | list[str] = Field([], description="regular expressions that are all found in it, somewhere")
    must_not_match: str | list[str] = Field([], description="regular expressions of which none is found in it")
    json_schema: dict[str, Any] | bool | None = Field(
        None, description="it is JSON that fits this schema (draft 2020-12); true: any JSON"
    )
    number: float | None = Field(None, description="the last number in it")
    tolerance: float = Field(0.0, ge=0, description="by how much `number` may be missed")
    language: str = Field("", description="the language it is in: en, de, fr, ...")
    declines: bool | None = Field(None, description="true: it declines what is asked; false: it does not")
    min_words: int = Field(0, ge=0, description="fewest words")
    max_words: int | None = Field(None, ge=1, description="most words")
    min_sentences: int = Field(0, ge=0, description="fewest sentences")
    max_sentences: int | None = Field(None, ge=1, description="most sentences")

    @model_validator(mode="after")
    def _words_are_words(self) -> "Wishes":
        if not all(self.any_of) or not all(word.strip() for word in self.all_words):
            raise ValueError("an entry of must_contain or must_not_contain is empty")
        return self

    @property
    def any_of(self) -> tuple[tuple[str, ...], ...]:
        """Each entry of `must_contain` as its alternatives; text is one entry, not as many as it has letters."""
        entries = [self.must_contain] if isinstance(self.must_contain, str) else self.must_contain
        return tuple((entry,) if isinstance(entry, str) else tuple(entry) for entry in entries)

    @property
    def none_of(self) -> tuple[str, ...]:
        """`must_not_contain`, always as many."""
        return tuple(listed(self.must_not_contain))

    @property
    def all_words(self) -> list[str]:
        """Every word that it names."""
        return [word for entry in self.any_of for word in entry] + list(self.none_of)

    @property
    def set_keys(self) -> list[str]:
        """The keys that ask for something, in their order. A recipe written out and read again has every key."""
        known = {name: field.default for name, field in Wishes.model_fields.items() if name != "tolerance"}
        return [name for name, nothing in known.items() if getattr(self, name) != nothing]

    @property
    def words(self) -> tuple[int, float]:
        """Least and most."""
        return self.min_words, math.inf if self.max_words is None else self.max_words

    @property
    def sentences(self) -> tuple[int, float]:
        """Least and most."""
        return self.min_sentences, math.inf if self.max_sentences is None else self.max_sentences


def listed(value: str | list[str]) -> list[str]:
    """One text, or several, as several."""
    return [value] if isinstance(value, str) else list(value)
