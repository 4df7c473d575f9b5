"""Surface features that give away which answer was chosen: a model learns them instead of what people meant."""

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from dpo_core.quality.grams import Feature
from dpo_core.quality.intended import differs_in_property
from dpo_core.quality.repeats import plainness, without_repeats
from dpo_core.quality.scores import ERROR
from dpo_core.quality.shortcut_findings import explained_by_length, finding_of
from dpo_core.quality.statistics import as_independent, by_cluster, sign_test, signs
from dpo_core.quality.tested import Separation
from dpo_core.report.results import Finding, Measure

LISTED, AIMS_LISTED = 15, 4


def check_shortcuts(separation: Separation, intended: Sequence[str]) -> tuple[list[Measure], list[Finding]]:
    """Findings on properties, words and tokens; declared aims are shown and do not count."""
    scores = separation.scores
    flagged, features, aims = _flagged(separation, intended)
    told = without_repeats(separation, [column for column in flagged if column not in aims], features)
    with_aim = _gone_without_aim(separation, list(told), intended)
    aims_told = without_repeats(separation, [column for column in flagged if column in aims], features)
    findings = [
        finding_of(separation, column, features, repeats, column in aims, column in with_aim)
        for column, repeats in [*list(told.items())[:LISTED], *list(aims_told.items())[:AIMS_LISTED]]
    ]
    failing = sum(bool(scores.fails[column]) and column not in with_aim for column in told)
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
    return measures, [*findings, *explained_by_length(separation)]


def gating(separation: Separation, intended: Sequence[str]) -> tuple[list[int], dict[int, Feature]]:
    """Columns that warn or fail, repeats left out, the worst first; and what they are."""
    flagged, features, aims = _flagged(separation, intended)
    return list(without_repeats(separation, [c for c in flagged if c not in aims], features)), features


def _flagged(separation: Separation, intended: Sequence[str]) -> tuple[list[int], dict[int, Feature], set[int]]:
    """Columns that warn or fail, the worst first; what they are; those that are aims or pieces of them."""
    scores = separation.scores
    flagged = np.flatnonzero(scores.fails | scores.warns).tolist()
    features = separation.features(flagged)
    flagged.sort(key=lambda c: (not scores.fails[c], -round(abs(float(scores.z[c])), 1), plainness(features[c])))
    return flagged, features, separation.intended(intended, features)


def _gone_without_aim(separation: Separation, columns: Sequence[int], terms: Sequence[str]) -> set[int]:
    """Columns that tell nothing, or too little to see, where the sides do not differ in a declared property."""
    apart = differs_in_property(separation.table, terms)[separation.grams.rows]
    if not apart.any() or not columns:
        return set()
    rest = np.flatnonzero(~apart)
    d = sparse.csr_array(separation.d[rest][:, list(columns)])
    p = sign_test(*as_independent(*signs(d), by_cluster(d, separation.clusters[rest])))
    return {column for column, chance in zip(columns, p.tolist(), strict=True) if chance > ERROR}


def _says_count(count: int, how: str) -> str:
    return f"{count} surface features {how} tell the chosen answer from the rejected one"
