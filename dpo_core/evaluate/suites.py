"""Questions whose answers a program knows to be right or wrong: what several models made of them."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from dpo_core.data.pairs import text_of
from dpo_core.evaluate.behaviour import BehaviourCheck
from dpo_core.report.documents import CheckAnswers, Flip, Flips

SHOWN = ("reference", "challenger", "baseline")  # whose answers stand side by side


class AnsweredSuites(Protocol):
    """One model's answers by suite: the likeliest, and `sampled` ones where several were asked for."""

    @property
    def answers(self) -> Mapping[str, Sequence[str]]:
        """One to each question."""

    @property
    def sampled(self) -> Mapping[str, Sequence[Sequence[str]]]:
        """Several to each question."""


def shares_right(checks: Sequence[BehaviourCheck], model: AnsweredSuites, name: str) -> list[float]:
    """Of each question: whether the answer is right (1, 0), of several sampled ones the share that is."""
    of_each = model.sampled.get(name) or [[answer] for answer in model.answers[name]]
    return [sum(right) / len(right) for right in _passed(checks, of_each)]


def answered(models: Mapping[str, AnsweredSuites], name: str, checks: Sequence[BehaviourCheck]) -> list[CheckAnswers]:
    """The likeliest answers side by side, and the sampled ones with which of them are right."""
    sampled = {who: models[who].sampled[name] for who in SHOWN if models[who].sampled.get(name)}
    right = {who: _passed(checks, of_each) for who, of_each in sampled.items()}
    return [
        CheckAnswers(
            prompt=text_of(check.prompt),
            source=check.source,
            **{who: models[who].answers[name][i] for who in SHOWN},
            passes=check.passes(models["challenger"].answers[name][i]),
            sampled={who: list(of_each[i]) for who, of_each in sampled.items()},
            right={who: flags[i] for who, flags in right.items()},
        )
        for i, check in enumerate(checks)
    ]


def _passed(checks: Sequence[BehaviourCheck], of_each: Sequence[Sequence[str]]) -> list[list[bool]]:
    return [[check.passes(text) for text in given] for check, given in zip(checks, of_each, strict=True)]


def flips(models: Mapping[str, AnsweredSuites], name: str, checks: Sequence[BehaviourCheck]) -> Flips:
    """Questions whose likeliest answer the challenger has wrong and the baseline right, and the other way round."""
    lost: list[Flip] = []
    won: list[Flip] = []
    answers = (models["baseline"].answers[name], models["challenger"].answers[name])
    for check, before, after in zip(checks, *answers, strict=True):
        if check.passes(before) != check.passes(after):
            flip = Flip(prompt=text_of(check.prompt), before=before, after=after)
            (lost if check.passes(before) else won).append(flip)
    return Flips(lost=lost, won=won)
