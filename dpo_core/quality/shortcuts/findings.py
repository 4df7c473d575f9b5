"""Surface features that give away which answer was chosen: a model learns them instead of what people meant."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dpo_core.quality.repeats import plainness, without_repeats
from dpo_core.quality.shortcut_findings import finding_of, signs_of_kind, signs_of_length
from dpo_core.quality.shortcuts.declared_kinds import kinds_of
from dpo_core.quality.shortcuts.features import Feature
from dpo_core.quality.tested import Separation
from dpo_core.report.results import Finding, Measure

LISTED, AIMS_LISTED = 15, 4


@dataclass(frozen=True)
class Flagged:
    """Columns that warn or fail, each list the worst first, and what they are."""

    features: dict[int, Feature]
    counting: list[int]
    aims: list[int]  # declared, or pieces of what is
    signs: list[int]  # explained by a declared kind of answer


def check_shortcuts(separation: Separation, intended: Sequence[str]) -> tuple[list[Measure], list[Finding]]:
    """Findings on properties, words and tokens; declared aims are shown and do not count."""
    flagged = _flagged(separation, intended)
    features = flagged.features
    told = without_repeats(separation, flagged.counting, features)
    aims_told = without_repeats(separation, flagged.aims, features)
    findings = [
        finding_of(separation, column, features, repeats, column in aims_told)
        for column, repeats in [*list(told.items())[:LISTED], *list(aims_told.items())[:AIMS_LISTED]]
    ]
    failing = sum(bool(separation.scores.fails[column]) for column in told)
    measures = [
        Measure("shortcut/failing_features", float(failing), None, 0.0, _says_count(failing, "clearly")),
        Measure(
            "shortcut/warning_features",
            float(len(told) - failing),
            0.0,
            None,
            _says_count(len(told) - failing, "probably"),
        ),
    ]
    return measures, [
        *findings,
        *signs_of_kind(separation, kinds_of(separation, intended), flagged.signs),
        *signs_of_length(separation),
    ]


def gating(separation: Separation, intended: Sequence[str]) -> tuple[list[int], dict[int, Feature]]:
    """Columns that warn or fail and count, repeats left out, the worst first; and what they are."""
    flagged = _flagged(separation, intended)
    return list(without_repeats(separation, flagged.counting, flagged.features)), flagged.features


def _flagged(separation: Separation, intended: Sequence[str]) -> Flagged:
    scores = separation.scores
    flagged = np.flatnonzero(scores.fails | scores.warns).tolist()
    features = separation.features(flagged)
    flagged.sort(key=lambda c: (not scores.fails[c], -round(abs(float(scores.z[c])), 1), plainness(features[c])))
    aims = separation.intended(intended, features)
    signs = kinds_of(separation, intended).explain({c: features[c] for c in flagged if c not in aims})
    return Flagged(
        features,
        [c for c in flagged if c not in aims | signs],
        [c for c in flagged if c in aims],
        [c for c in flagged if c in signs],
    )


def _says_count(count: int, how: str) -> str:
    return f"{count} surface features {how} tell the chosen answer from the rejected one"
