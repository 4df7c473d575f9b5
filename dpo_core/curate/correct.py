"""Correction by rules: the chosen answer is the model's own with as little changed as what is wrong with it.

Rules are tried in order, each on what the ones before it left. A correction that changes nothing, or more than it may,
is no correction: it comes with its reason.
"""

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import regex
from pydantic import Field, model_validator

from dpo_core.curate.cuts import whole_sentences
from dpo_core.curate.likeness import bare, change
from dpo_core.recipe_release import Fraction, Section

SECONDS = 1.0  # that one pattern may take on one answer
UNCHANGED = "the correction changes nothing"
TOO_MUCH = "the correction changes more than max_change"
EMPTIED = "nothing is left of the answer"
ENDLESS = "a pattern does not end within a second"
LOST = "the answer or its correction has lost characters (U+FFFD)"
LACKING = "a template asks for what the prompt does not give"
KINDS = ("replace", "pattern", "template", "sentences")


class CorrectionRule(Section):
    """One correction: exactly one of replace, pattern, template and sentences."""

    name: str = Field(min_length=1, description="what the correction is called in counts and in the pairs")
    replace: dict[str, str] = Field({}, description="text: what stands in its place, everywhere, as written")
    pattern: str | None = Field(None, description="regular expression whose matches `by` replaces")
    by: str = Field("", description="what a match of `pattern` becomes; \\1 is its first group")
    template: str | None = Field(
        None, description="the whole answer anew: {answer}, and {NAME} of each key that the prompt's row has"
    )
    sentences: int | None = Field(None, ge=1, description="cut after so many whole sentences")
    where: dict[str, str] = Field({}, description="key of the prompt's row: the value that it must have")

    @model_validator(mode="after")
    def _does_one_thing(self) -> "CorrectionRule":
        given = [kind for kind in KINDS if getattr(self, kind) not in (None, {})]
        if len(given) != 1:
            raise ValueError(f"{self.name}: a correction is one of {', '.join(KINDS)}; here are {len(given)}")
        if "" in self.replace:
            raise ValueError(f"{self.name}: what is replaced is empty")
        if self.pattern is not None:
            try:
                regex.compile(self.pattern)
                regex.sub(f"{self.pattern}\n|", self.by, "")  # matches nothing at all, so that `by` is read
            except (regex.error, IndexError) as error:
                raise ValueError(f"{self.name}: {self.pattern} or {self.by} cannot be used: {error}") from None
        if self.template is not None:
            names_in(self.template)
        return self


class Correction(Section):
    """How an answer is corrected."""

    rules: list[CorrectionRule] = Field([], description="corrections, in order, each on what the ones before it left")
    max_change: Fraction = Field(
        1.0, description="largest share of words that corrections may change (edit distance); 1: any"
    )

    @model_validator(mode="after")
    def _names_differ(self) -> "Correction":
        names = [rule.name for rule in self.rules]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"{twice} stands twice: give each correction a name of its own")
        return self


@dataclass(frozen=True)
class Corrected:
    """A corrected answer. `by`: the rules that changed it; `distance`: share of its words that changed."""

    text: str
    by: tuple[str, ...]
    distance: float


@dataclass(frozen=True)
class Uncorrected:
    """Why an answer has no correction; `by`: the rule that it failed at, if one did."""

    reason: str
    by: tuple[str, ...] = ()


def corrected(answer: str, correction: Correction, row: Mapping[str, object]) -> Corrected | Uncorrected:
    """The answer after every rule that is meant for it. `row`: what the prompt's row holds beside the prompt."""
    text, by = answer, list[str]()
    for rule in correction.rules:
        if any(str(row.get(key)) != value for key, value in rule.where.items()):
            continue
        try:
            after = _applied(rule, text, row)
        except TimeoutError:
            return Uncorrected(ENDLESS, (rule.name,))
        except KeyError:
            return Uncorrected(LACKING, (rule.name,))
        if after != text:
            by.append(rule.name)
        text = after
    return judged(answer, text, by, correction.max_change)


def judged(answer: str, text: str, by: Sequence[str], max_change: float) -> Corrected | Uncorrected:
    """A correction, if it changes something, leaves something, and changes no more than it may."""
    if not bare(text):
        return Uncorrected(EMPTIED, tuple(by))
    if bare(text) == bare(answer):
        return Uncorrected(UNCHANGED)
    if "\N{REPLACEMENT CHARACTER}" in answer + text:
        return Uncorrected(LOST, tuple(by))
    distance = change(answer, text)
    if distance > max_change:
        return Uncorrected(TOO_MUCH, tuple(by))
    return Corrected(text, tuple(by), distance)


def names_in(template: str) -> list[str]:
    """The {names} of a template, plain ones alone. Raises ValueError."""
    try:
        fields = [name for _, name, form, how in string.Formatter().parse(template) if name is not None]
        forms = any(form or how for _, name, form, how in string.Formatter().parse(template) if name is not None)
    except ValueError as error:
        raise ValueError(f"{template} is no template: {error}; a brace itself is written twice") from None
    if forms or not all(name.isidentifier() for name in fields):
        raise ValueError(f"{template} is no template: between braces stands a name alone; a brace is written twice")
    return fields


def filled(template: str, values: Mapping[str, object]) -> str:
    """A template with its names replaced. Raises KeyError for one without a value."""
    return template.format_map({name: str(values[name]) for name in names_in(template)})


def _applied(rule: CorrectionRule, text: str, row: Mapping[str, object]) -> str:
    """Raises TimeoutError for a pattern that takes too long, KeyError for a name without a value."""
    if rule.pattern is not None:
        return str(regex.sub(rule.pattern, rule.by, text, timeout=SECONDS))
    if rule.template is not None:
        return filled(rule.template, {**row, "answer": text})
    if rule.sentences is not None:
        return ([text, *whole_sentences(text)][: rule.sentences + 1])[-1]
    for old, new in rule.replace.items():
        text = text.replace(old, new)
    return text
