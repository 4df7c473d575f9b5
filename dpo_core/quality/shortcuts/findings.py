"""Surface features that give away which answer was chosen: a model learns them instead of what people meant."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dpo_core.quality.check import Check, Facts
from dpo_core.quality.features.feature_tests import Separation
from dpo_core.quality.features.ngrams import Feature
from dpo_core.quality.prompts.identity import prompt_columns
from dpo_core.quality.results import Results, evidence_of
from dpo_core.quality.shortcuts.declared import declared_features
from dpo_core.quality.shortcuts.declared_kinds import DeclaredKinds
from dpo_core.quality.stats.sign_tests import least_detectable
from dpo_core.quality.text.language import language_columns
from dpo_core.quality.text.surface import surface_columns
from dpo_core.quality.words import words
from dpo_core.recipe import Validation
from dpo_core.report.results import Finding, Measure, Severity, Table

LISTED, AIMS_LISTED, BY_LENGTH_LISTED, ROWS_LISTED = 15, 4, 10, 12
SAME_PAIRS = 0.8  # share of the first one's pairs in which a repeat differs the same way
PLAINEST_FIRST = ("property", "first_word", "last_word", "word", "token", "first_token", "word_pair", "token_pair")
ADVICE = (
    "a model can learn it instead of what makes the answer better. Add pairs in which it stands on the other side "
    "or on both, set validation.on_shortcut to drop or balance, or declare it in validation.intended "
    "(dpo check --intended)"
)


@dataclass(frozen=True)
class Flagged:
    """Columns that warn or fail, each list the worst first, and what they are."""

    features: dict[int, Feature]
    counting: list[int]
    aims: list[int]  # declared, or pieces of what is
    signs: list[int]  # explained by a declared kind of answer


def check_shortcuts(facts: Facts, validation: Validation) -> Results:
    """Findings on properties, words and tokens; declared aims are shown and do not count."""
    separation, intended = facts.separation, validation.intended
    flagged = _flagged(separation, intended)
    features = flagged.features
    counting = without_repeats(separation, flagged.counting, features)
    aims = without_repeats(separation, flagged.aims, features)
    shown = [*list(counting.items())[:LISTED], *list(aims.items())[:AIMS_LISTED]]
    findings = [_finding(separation, column, features, repeats, column in aims) for column, repeats in shown]
    return counted(separation, list(counting)), [
        *findings,
        *_signs_of_kind(separation, DeclaredKinds.of(separation, intended), flagged.signs),
        *_signs_of_length(separation),
    ]


def gating_features(separation: Separation, intended: Sequence[str]) -> tuple[list[int], dict[int, Feature]]:
    """Columns that warn or fail and count, repeats left out, the worst first; and what they are."""
    flagged = _flagged(separation, intended)
    return list(without_repeats(separation, flagged.counting, flagged.features)), flagged.features


def without_repeats(
    separation: Separation, columns: Sequence[int], features: dict[int, Feature]
) -> dict[int, list[int]]:
    """`columns` in order, each with the later ones that only say it again.

    Those have a text that holds its text or is part of it, and differ where it differs: the token that spells a word,
    the pair of words that it stands in.
    """
    found: dict[int, list[int]] = {}
    known = {column: separation.column(column) for column in columns}
    for column in columns:
        rows = np.flatnonzero(known[column])
        for first, repeats in found.items():
            if (
                _same_text(features[first], features[column])
                and np.mean(known[first][rows] == known[column][rows]) >= SAME_PAIRS
            ):
                repeats.append(column)
                break
        else:
            found[column] = []
    return found


def _same_text(left: Feature, right: Feature) -> bool:
    """Whether one is part of the other: word by word, tokens by spelling."""
    a, b = left.text.strip().casefold(), right.text.strip().casefold()
    if not a or not b:
        return False
    if "property" in (left.kind, right.kind):  # an exclamation mark and the token '!'
        return not words(a) or not words(b)
    if "token" in left.kind or "token" in right.kind:
        return a in b or b in a
    return set(words(a)) <= set(words(b)) or set(words(b)) <= set(words(a))


def _flagged(separation: Separation, intended: Sequence[str]) -> Flagged:
    scores = separation.scores
    flagged = np.flatnonzero(scores.fails | scores.warns).tolist()
    features = separation.features(flagged)
    flagged.sort(key=lambda c: (not scores.fails[c], -round(abs(float(scores.z[c])), 1), _plainness(features[c])))
    aims = declared_features(separation, intended, features)
    signs = DeclaredKinds.of(separation, intended).explain({c: features[c] for c in flagged if c not in aims})
    return Flagged(
        features,
        [c for c in flagged if c not in aims | signs],
        [c for c in flagged if c in aims],
        [c for c in flagged if c in signs],
    )


def _plainness(feature: Feature) -> tuple[int, str]:
    """Orders features of equal strength: what people read most easily comes first."""
    return PLAINEST_FIRST.index(feature.kind), feature.text


def counted(separation: Separation, columns: Sequence[int]) -> list[Measure]:
    """How many of these columns, each of which warns or fails, do either."""
    failing = sum(bool(separation.scores.fails[column]) for column in columns)
    warning = len(columns) - failing
    says = "{} surface features {} tell the chosen answer from the rejected one"
    return [
        Measure("shortcut/failing_features", float(failing), None, 0.0, says.format(failing, "clearly")),
        Measure("shortcut/warning_features", float(warning), 0.0, None, says.format(warning, "probably")),
    ]


def _finding(
    separation: Separation, column: int, features: dict[int, Feature], repeats: Sequence[int], intended: bool
) -> Finding:
    """One flagged column. `repeats` say the same in other words; `intended`: a declared aim."""
    feature, scores = features[column], separation.scores
    numbers = scores.of(column)
    towards = 1 if scores.z[column] > 0 else -1
    side: Literal["chosen", "rejected"] = "chosen" if towards > 0 else "rejected"
    places = np.flatnonzero(separation.column(column) == towards)
    severity: Severity = "info" if intended else "fail" if scores.fails[column] else "warn"
    says = (
        f"{feature.name} stands only in the {side} answer in {len(places)} of the "
        f"{numbers['chosen_only']} + {numbers['rejected_only']} pairs that differ in it "
        f"({scores.coverage[column]:.1%} of all pairs): {'declared as intended' if intended else ADVICE}"
    )
    evidence = evidence_of(separation.fetch(places[:3]), feature.text if feature.kind != "property" else "")
    tables = (_table("The same in other words", separation, repeats, features),) if repeats else ()
    return Finding(
        f"shortcut/{feature.kind}", severity, says, feature.name, intended, numbers, evidence, tables, feature, side
    )


def _table(title: str, separation: Separation, columns: Sequence[int], features: dict[int, Feature]) -> Table:
    scores = separation.scores
    rows = tuple(
        (
            features[column].name,
            int(scores.chosen_only[column]),
            int(scores.rejected_only[column]),
            round(float(scores.z[column]), 1),
            round(float(scores.z_adjusted[column]), 1),
        )
        for column in columns[:ROWS_LISTED]
    )
    return Table(title, ("feature", "only in chosen", "only in rejected", "z", "z given length"), rows)


def _signs_of_kind(separation: Separation, kinds: DeclaredKinds, columns: Sequence[int]) -> list[Finding]:
    """Features that would be flagged, did a declared kind of answer not explain them."""
    if not columns:
        return []
    alike = int(np.count_nonzero(kinds.alike))
    says = (
        f"{len(columns)} words or properties tell the chosen answer where the two differ in a declared kind of answer, "
        f"and not beyond chance in the {alike} pairs where they are alike in it: they come with it. A mark that stands "
        f"on one side whatever the kind would be seen in about {least_detectable(len(columns))} of those pairs"
    )
    table = _table("Signs of what is declared", separation, columns, separation.features(columns))
    statistics: dict[str, float | int | str] = {"features": len(columns), "pairs_alike": alike}
    return [Finding("shortcut/signs_of_intended", "info", says, statistics=statistics, tables=(table,))]


def _signs_of_length(separation: Separation) -> list[Finding]:
    """Features that would be flagged, did longer answers not explain them."""
    scores = separation.scores
    columns = np.flatnonzero(scores.by_length)
    if not len(columns):
        return []
    shown = columns[np.argsort(-np.abs(scores.z[columns]), kind="stable")][:BY_LENGTH_LISTED].tolist()
    says = (
        f"{len(columns)} words or properties differ between the sides only because one side is longer: see the "
        "length; they need no mitigation of their own"
    )
    table = _table("Signs of length", separation, shown, separation.features(shown))
    return [Finding("shortcut/signs_of_length", "info", says, statistics={"features": len(columns)}, tables=(table,))]


CHECK = Check("shortcut/features", columns=(surface_columns, language_columns, prompt_columns), run=check_shortcuts)
