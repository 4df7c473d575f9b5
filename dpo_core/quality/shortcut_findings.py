"""What a report says of words, tokens and properties that give the chosen side away."""

from collections.abc import Sequence

import numpy as np

from dpo_core.quality.evidence import evidence_of
from dpo_core.quality.grams import Feature
from dpo_core.quality.tested import Separation
from dpo_core.report.results import Finding, Severity, Table

BY_LENGTH_LISTED = 10
ADVICE = (
    "a model can learn it instead of what makes the answer better. Add pairs in which it stands on the other side "
    "or on both, set validation.on_shortcut to drop or balance, or declare it in validation.intended"
)
GOES_WITH_AIM = (
    "it goes with a declared property and is not seen where both sides have it or neither; declare it too if it is "
    "meant"
)


def finding_of(
    separation: Separation,
    column: int,
    features: dict[int, Feature],
    repeats: Sequence[int],
    intended: bool,
    with_aim: bool,
) -> Finding:
    """One flagged column. `repeats` say the same; `with_aim`: not seen where a declared property does not differ."""
    feature, scores = features[column], separation.scores
    numbers = scores.of(column)
    towards = 1 if scores.z[column] > 0 else -1
    side = "chosen" if towards > 0 else "rejected"
    places = np.flatnonzero(separation.column(column) == towards)
    severity: Severity = "info" if intended else "fail" if scores.fails[column] and not with_aim else "warn"
    says = (
        f"{feature.name} stands only in the {side} answer in {len(places)} of the "
        f"{numbers['chosen_only']} + {numbers['rejected_only']} pairs that differ in it "
        f"({scores.coverage[column]:.1%} of all pairs): "
    )
    says += "declared as intended" if intended else GOES_WITH_AIM if with_aim else ADVICE
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


def explained_by_length(separation: Separation) -> list[Finding]:
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
