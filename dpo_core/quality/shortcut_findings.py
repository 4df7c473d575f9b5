"""What a report says of words, tokens and properties that give the chosen side away."""

from collections.abc import Sequence

import numpy as np

from dpo_core.quality.results import evidence_of
from dpo_core.quality.shortcuts.declared_kinds import Kinds
from dpo_core.quality.shortcuts.features import Feature
from dpo_core.quality.stats.sign_tests import least_detectable
from dpo_core.quality.tested import Separation
from dpo_core.report.results import Finding, Severity, Table

BY_LENGTH_LISTED = 10
ADVICE = (
    "a model can learn it instead of what makes the answer better. Add pairs in which it stands on the other side "
    "or on both, set validation.on_shortcut to drop or balance, or declare it in validation.intended"
)


def finding_of(
    separation: Separation,
    column: int,
    features: dict[int, Feature],
    repeats: Sequence[int],
    intended: bool,
) -> Finding:
    """One flagged column. `repeats` say the same in other words; `intended`: a declared aim."""
    feature, scores = features[column], separation.scores
    numbers = scores.of(column)
    towards = 1 if scores.z[column] > 0 else -1
    side = "chosen" if towards > 0 else "rejected"
    places = np.flatnonzero(separation.column(column) == towards)
    severity: Severity = "info" if intended else "fail" if scores.fails[column] else "warn"
    says = (
        f"{feature.name} stands only in the {side} answer in {len(places)} of the "
        f"{numbers['chosen_only']} + {numbers['rejected_only']} pairs that differ in it "
        f"({scores.coverage[column]:.1%} of all pairs): "
    )
    says += "declared as intended" if intended else ADVICE
    evidence = evidence_of(
        separation.table.rows(separation.grams.rows[places[:3]].tolist()),
        feature.text if feature.kind != "property" else "",
    )
    tables = (_table_of("The same in other words", separation, repeats, features),) if repeats else ()
    return Finding(f"shortcut/{feature.kind}", severity, says, feature.name, intended, numbers, evidence, tables)


def _table_of(
    title: str, separation: Separation, columns: Sequence[int], features: dict[int, Feature], most: int = 12
) -> Table:
    header = ("feature", "only in chosen", "only in rejected", "z", "z given length")
    scores = separation.scores
    return Table(
        title,
        header,
        tuple(
            (
                features[column].name,
                int(scores.chosen_only[column]),
                int(scores.rejected_only[column]),
                round(float(scores.z[column]), 1),
                round(float(scores.z_adjusted[column]), 1),
            )
            for column in columns[:most]
        ),
    )


def signs_of_kind(separation: Separation, kinds: Kinds, columns: Sequence[int]) -> list[Finding]:
    """Features that would be flagged, did a declared kind of answer not explain them."""
    if not columns:
        return []
    alike = int(np.count_nonzero(kinds.alike))
    says = (
        f"{len(columns)} words or properties tell the chosen answer where the two differ in a declared kind of answer, "
        f"and not beyond chance in the {alike} pairs where they are alike in it: they come with it. A mark that stands "
        f"on one side whatever the kind would be seen in about {least_detectable(len(columns))} of those pairs"
    )
    table = _table_of("Signs of what is declared", separation, columns, separation.features(columns))
    statistics: dict[str, float | int | str] = {"features": len(columns), "pairs_alike": alike}
    return [Finding("shortcut/signs_of_intended", "info", says, statistics=statistics, tables=(table,))]


def signs_of_length(separation: Separation) -> list[Finding]:
    """Features that would be flagged, did longer answers not explain them."""
    scores = separation.scores
    columns = np.flatnonzero(scores.by_length)
    if not len(columns):
        return []
    shown = columns[np.argsort(-np.abs(scores.z[columns]), kind="stable")][:BY_LENGTH_LISTED].tolist()
    says = (
        f"{len(columns)} words or properties differ between the sides only because one side is longer: see the "
        "length; they need no cure of their own"
    )
    table = _table_of("Signs of length", separation, shown, separation.features(shown))
    return [Finding("shortcut/signs_of_length", "info", says, statistics={"features": len(columns)}, tables=(table,))]
