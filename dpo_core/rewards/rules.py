"""Rules that a program decides, as a reward: the weighted share of them that an answer meets."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from pydantic import ValidationError

from dpo_core.data.pairs import Message
from dpo_core.errors import InputError
from dpo_core.quality.words import count_words
from dpo_core.rewards.config import Length, Rules
from dpo_core.rewards.demands import count_sentences, demands_of, holds, require_usable
from dpo_core.rewards.instructions import Check, check_of
from dpo_core.rewards.reward import Unscored, last_text, place_of
from dpo_core.rewards.wishes import Wishes

HALF = {"words": 100, "sentences": 5, "characters": 500}  # the length at which longer (and shorter) are worth one half
COUNTS: dict[str, Callable[[str], int]] = {"words": count_words, "sentences": count_sentences, "characters": len}
IFEVAL = ("instruction_id_list", "kwargs")


class _Rule(NamedTuple):
    """How far an answer (first) to a prompt (second) meets it, from 0 to 1."""

    name: str
    weight: float
    met: Callable[[str, str], float]


class RuleReward:
    """See Rules. Raises InputError for a rule that cannot be meant."""

    def __init__(self, config: Rules, *, name: str = "rules") -> None:
        self.name, self.config = name, config
        try:
            met = {key: _asked_rule(_only(config, key)) for key in config.set_keys}
            met |= {kind: check_of(kind, arguments) for kind, arguments in config.instructions.items()}
        except ValueError as error:
            raise InputError(
                f"not a rule: {error}", where=f"rewards.{name}", do="docs/rewards.md has every rule"
            ) from None
        graded: dict[str, Callable[[str, str], float]] = {**met}
        if config.length is not None:
            graded["length"] = _length_rule(config.length)
        self._rules = [_Rule(key, config.weights.get(key, 1.0), rule) for key, rule in graded.items()]

    def score(self, prompt: Sequence[Message], answers: Sequence[str], wanted: Mapping[str, object]) -> list[float]:
        """From 0 to 1 each. Raises Unscored where a rule does not end, or `asked` finds a line that asks nothing."""
        asked = last_text(prompt)
        try:
            rules = [*self._rules, *self._own(prompt, wanted)]
            return [self._one(rules, answer, asked) for answer in answers]
        except InputError as error:
            raise Unscored(error.says, where=place_of(prompt, wanted), do=error.do) from None

    def parts(self, prompt: Sequence[Message], answer: str, wanted: Mapping[str, object]) -> dict[str, float]:
        """How far each rule is met, by its name."""
        rules = [*self._rules, *self._own(prompt, wanted)]
        return {rule.name: float(rule.met(answer, last_text(prompt))) for rule in rules}

    def _one(self, rules: Sequence[_Rule], answer: str, asked: str) -> float:
        if self.config.count == "all":
            return float(all(rule.met(answer, asked) for rule in rules))
        total = sum(rule.weight for rule in rules)
        return sum(rule.weight * rule.met(answer, asked) for rule in rules) / total

    def _own(self, prompt: Sequence[Message], wanted: Mapping[str, object]) -> list[_Rule]:
        if not self.config.asked:
            return []
        try:
            checks = own_checks(wanted)
        except ValueError as error:
            do = "write what the answer must be beside the prompt, as docs/recipe.md has it for prompt files"
            raise Unscored(f"not a rule: {error}", where=place_of(prompt, wanted), do=do) from None
        weight = self.config.weights.get("asked", 1.0)
        return [_Rule("asked", weight, lambda answer, asked: float(all(check(answer, asked) for check in checks)))]


def own_checks(wanted: Mapping[str, object]) -> list[Check]:
    """What the prompt's own row asks: keys of `Wishes`, or IFEval's two columns. Raises ValueError, in words."""
    checks: list[Check] = []
    try:
        asked = Wishes.model_validate({key: value for key, value in wanted.items() if key in Wishes.model_fields})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"][:1])
        raise ValueError(f"{key}: {first['msg'].removeprefix('Value error, ')}") from None
    if asked.set_keys:
        checks.append(_asked_rule(asked))
    kinds, arguments = (wanted.get(column) or [] for column in IFEVAL)
    if not isinstance(kinds, Sequence) or not isinstance(arguments, Sequence) or len(kinds) != len(arguments):
        raise ValueError(f"{' and '.join(IFEVAL)} are not two lists of one length")
    checks += [check_of(str(kind), given or {}) for kind, given in zip(kinds, arguments, strict=True)]
    if not checks:
        raise ValueError(
            f"the prompt asks nothing of its answer: none of {', '.join(Wishes.model_fields)}, {IFEVAL[0]}"
        )
    return checks


def _only(config: Rules, key: str) -> Wishes:
    kept = {key: getattr(config, key)} | ({"tolerance": config.tolerance} if key == "number" else {})
    return Wishes(**kept)


def _asked_rule(asked: Wishes) -> Check:
    demands = demands_of(asked)
    require_usable(demands)
    any_of, none_of = asked.any_of, asked.none_of
    return lambda answer, prompt: holds(answer, any_of, none_of) and demands.met(answer)


def _length_rule(length: Length) -> Callable[[str, str], float]:
    count, half = COUNTS[length.unit], HALF[length.unit]
    target = length.target

    def met(answer: str, prompt: str) -> float:
        found = count(answer)
        if target is not None:
            return (min(found, target) + 1) / (max(found, target) + 1)
        return found / (found + half) if length.prefer == "longer" else half / (found + half)

    return met
