"""Rules that hold within one stratum only, or turn round from one to another: pooled counts hide them.

Sign tests within each stratum, Benjamini-Hochberg over all strata and features, Cochran's test of heterogeneity, and
sign flips of whole prompts over all strata at once before anything fails.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, special, stats

from dpo_core.quality.check import Check, Facts
from dpo_core.quality.features.feature_tests import (
    ERROR,
    LIKELY,
    LIKELY_COVERAGE,
    PURE,
    PURE_COVERAGE,
    RULE_ACCURACY,
    STRATA_ERROR,
    Bools,
    Separation,
)
from dpo_core.quality.features.ngrams import Feature, GramTable
from dpo_core.quality.prompts.identity import prompt_columns, sample_rows
from dpo_core.quality.results import Results, Statistics, evidence_of
from dpo_core.quality.shortcuts.balance import balances
from dpo_core.quality.shortcuts.declared import declared_features, names_feature
from dpo_core.quality.shortcuts.declared_kinds import alike, separating_within
from dpo_core.quality.shortcuts.findings import without_repeats
from dpo_core.quality.shortcuts.strata import Cells, Strata, count_cells, divide, heterogeneity
from dpo_core.quality.stats.sign_tests import false_discovery, family_p_or_bound
from dpo_core.quality.text.language import language_columns
from dpo_core.quality.text.surface import AMOUNTS, LENGTHS, surface_columns
from dpo_core.recipe import Validation
from dpo_core.report.results import Finding, Measure, Severity, Table

EXAMINED = 20_000  # pairs
FAIL_SHARE, WARN_SHARE = 0.01, 0.005  # of all pairs that must differ in the feature within the stratum
FAIL_ACCURACY = 0.65  # of a word's rule: the best of many strata looks better than it is
OPPOSITE_GAIN = 0.02  # of accuracy, by knowing in which stratum a pair is
LISTED = 8
ADVICE = (
    "Over all pairs this is hidden, but a model sees the prompt as well. Balance the answers within these strata, "
    "or declare it in validation.intended"
)


@dataclass(frozen=True)
class StratumTests:
    """What was tested within strata, and what came out.

    Columns of `d` are those of `view`, then one for each amount (1: more of it in the chosen answer). `sums`: those of
    the cells within each prompt, a stratum each.
    """

    view: Separation
    strata: Sequence[Strata]
    d: sparse.csr_array
    cells: Cells
    sums: Sequence[sparse.csr_array]

    @property
    def first_amount(self) -> int:
        """The column of the first amount: as many as the view has."""
        return int(self.view.d.shape[1])

    def columns_of(self, amounts: Sequence[str]) -> list[int]:
        """The columns of these amounts."""
        return [self.first_amount + AMOUNTS.index(name) for name in amounts]

    def column(self, column: int) -> NDArray[np.int8]:
        """One feature's d of every pair."""
        return np.asarray(self.d[:, [column]].toarray().ravel(), dtype=np.int8)


def check_within_strata(facts: Facts, validation: Validation) -> Results:
    """What separates the sides within a stratum, or in opposite ways in two, and was not found over all pairs."""
    view, terms = _examined(facts.separation, validation.intended), validation.intended
    strata = divide(view.table, view.grams.rows)
    if not strata:
        return [], []
    amounts = sparse.csr_array(np.sign(view.table["amounts"][view.grams.rows]).astype(np.int8))
    d = sparse.csr_array(sparse.hstack([view.d, amounts], format="csr"))
    cells, sums = count_cells(d, view, strata)
    tests = StratumTests(view, strata, d, cells, sums)
    severities = _severities(tests, validation)
    features = _features(tests, list(severities))
    aims = _aims(tests, features, terms)
    order = sorted(severities, key=lambda f: (severities[f] != "fail", -np.abs(cells.z[cells.feature == f]).max(), f))
    listed = _without_repeats(tests, order, features)
    findings = [_finding(tests, column, features[column], severities[column], column in aims) for column in listed]
    return _measures([severities[column] for column in listed if column not in aims]), findings[:LISTED]


def _examined(separation: Separation, terms: Sequence[str]) -> Separation:
    """The same on at most 20,000 pairs that do not differ in a declared property; scores stay those of all pairs."""
    rows = separation.grams.rows
    kept = np.flatnonzero(alike(separation.table, terms)[rows])
    kept = kept[sample_rows(separation.table["prompt"][rows[kept]], EXAMINED)]
    if len(kept) == len(rows):
        return separation
    grams = GramTable(rows[kept], separation.grams.keys, sparse.csr_array(separation.grams.d[kept]))
    clusters = np.unique(separation.clusters[kept], return_inverse=True)[1]
    return replace(
        separation,
        grams=grams,
        d=sparse.csr_array(separation.d[kept]),
        clusters=np.asarray(clusters, dtype=np.int64),
        answers=separation.answers[kept],
        length_terms=separation.length_terms[kept],
    )


def _severities(tests: StratumTests, validation: Validation) -> dict[int, Severity]:
    """Severity of each feature that some stratum, or two opposite ones, give away."""
    cells, total = tests.cells, len(tests.view.grams.rows)
    if not len(cells.p):
        return {}
    real = _real(tests, validation)
    large, some = _sizes(tests, validation)
    share = (cells.plus + cells.minus) / total
    fails = real & large & (share >= FAIL_SHARE)
    if fails.any():
        together = sparse.csr_array(sparse.hstack(tests.sums, format="csr"))
        fails &= family_p_or_bound(together, fails, STRATA_ERROR) <= STRATA_ERROR
        fails &= cells.p_exchanged * len(cells.p) <= STRATA_ERROR
    warns = (real & some & (share >= WARN_SHARE)) | _opposite(cells, real, total)
    found: dict[int, Severity] = {int(f): "warn" for f in np.unique(cells.feature[warns])}
    found.update({int(f): "fail" for f in np.unique(cells.feature[fails])})
    return found


def _real(tests: StratumTests, validation: Validation) -> Bools:
    """Cells beyond chance, not known from all pairs, and (but for lengths) not explained by the lengths."""
    cells = tests.cells
    real = (false_discovery(cells.p) <= ERROR) & ~_known(tests, validation)
    p_adjusted = 2 * special.ndtr(-cells.z_adjusted * np.sign(cells.plus - cells.minus))
    beyond = np.isin(cells.feature, tests.columns_of(LENGTHS))
    beyond[real] |= false_discovery(np.minimum(p_adjusted[real], 1.0)) <= ERROR
    return np.asarray(real & beyond, dtype=np.bool_)


def _sizes(tests: StratumTests, validation: Validation) -> tuple[Bools, Bools]:
    """Cells whose rule is large enough to fail, and those whose rule is large enough to warn."""
    cells = tests.cells
    is_amount = cells.feature >= tests.first_amount
    coverage = (cells.plus + cells.minus) / cells.size
    pure = (cells.purity_low >= PURE) & (coverage >= PURE_COVERAGE)
    likely = (cells.purity_low >= LIKELY) & (coverage >= LIKELY_COVERAGE)
    large = np.where(is_amount, cells.accuracy > validation.length_fail, pure | (cells.accuracy >= FAIL_ACCURACY))
    some = np.where(is_amount, cells.accuracy > validation.length_warn, likely | (cells.accuracy >= RULE_ACCURACY))
    return large, large | some


def _known(tests: StratumTests, validation: Validation) -> Bools:
    """Cells of a feature that was found over all pairs (that are alike in the declared kinds), with the same sign."""
    view, cells = tests.view, tests.cells
    towards = np.zeros(tests.d.shape[1])
    inside = alike(view.table, validation.intended)
    flagged = np.flatnonzero(view.scores.fails | view.scores.warns)
    if not inside.all():
        flagged = flagged[separating_within(view, flagged.tolist(), np.arange(len(view.grams.rows)))]
    towards[flagged] = np.sign(view.scores.z[flagged])
    for balance in balances(view.table, inside):
        if balance.severity(validation) != "info":
            names = LENGTHS if balance.is_length else (balance.name,)
            towards[tests.columns_of(names)] = np.sign(balance.more - balance.fewer)
    return np.asarray(np.sign(cells.plus - cells.minus) == towards[cells.feature], dtype=np.bool_)


def _opposite(cells: Cells, real: Bools, total: int) -> Bools:
    """Cells whose feature points both ways among the strata of one kind, enough to be worth knowing the stratum."""
    flagged = np.zeros(len(cells.p), dtype=np.bool_)
    group = cells.kind * (int(cells.feature.max()) + 1) + cells.feature
    both = np.intersect1d(group[real & (cells.plus > cells.minus)], group[real & (cells.plus < cells.minus)])
    num_tests = len(np.unique(group))
    for value in both.tolist():
        inside = group == value
        s, variance = (cells.plus - cells.minus)[inside], np.maximum(cells.variance[inside], 1)
        gain = (np.abs(s).sum() - abs(s.sum())) / (2 * total)
        p = float(stats.chi2.sf(heterogeneity(s, variance), len(s) - 1))
        flagged |= inside & real & (gain >= OPPOSITE_GAIN) & (p * num_tests <= ERROR)
    return flagged


def _features(tests: StratumTests, columns: Sequence[int]) -> dict[int, Feature]:
    first = tests.first_amount
    named = tests.view.features([column for column in columns if column < first])
    return {**named, **{c: Feature("amount", AMOUNTS[c - first]) for c in columns if c >= first}}


def _aims(tests: StratumTests, features: dict[int, Feature], terms: Sequence[str]) -> set[int]:
    """Those of `features` that are declared, or pieces of what is."""
    first = tests.first_amount
    own = declared_features(tests.view, terms, {column: f for column, f in features.items() if column < first})
    return own | {column for column, f in features.items() if column >= first and names_feature(f, terms)}


def _without_repeats(tests: StratumTests, order: Sequence[int], features: dict[int, Feature]) -> list[int]:
    """Leave out words that say another one again, and lengths after the first."""
    first = tests.first_amount
    own = without_repeats(tests.view, [column for column in order if column < first], features)
    lengths = [c for c in order if c >= first and features[c].text in LENGTHS]
    return [c for c in order if c in own or (c >= first and c not in lengths[1:])]


def _measures(gating: Sequence[Severity]) -> list[Measure]:
    says = "{} surface features tell the chosen answer from the rejected one in some strata and not over all"
    failing, warning = gating.count("fail"), gating.count("warn")
    return [
        Measure("shortcut/failing_in_strata", float(failing), None, 0.0, says.format(failing)),
        Measure("shortcut/warning_in_strata", float(warning), 0.0, None, says.format(warning)),
    ]


def _finding(tests: StratumTests, column: int, feature: Feature, severity: Severity, intended: bool) -> Finding:
    """One flagged column of `d`: its strongest stratum, beside the others that divide the pairs in the same way."""
    cells, view, d = tests.cells, tests.view, tests.column(column)
    mine = np.flatnonzero(cells.feature == column)
    strongest = int(mine[np.argmax(np.abs(cells.z[mine]))])
    strata = tests.strata[cells.kind[strongest]]
    stratum, chosen = strata.names[cells.level[strongest]], cells.z[strongest] > 0
    name = "length" if feature.kind == "amount" and feature.text in LENGTHS else feature.name
    says = (
        f"{name}: where the {strata.kind} is {stratum!r}, {'more of it' if feature.kind == 'amount' else 'it'} stands "
        f"in the {'chosen' if chosen else 'rejected'} answer in "
        f"{max(cells.plus[strongest], cells.minus[strongest])} of {cells.plus[strongest] + cells.minus[strongest]} "
        f"pairs that differ in it (over all pairs {int((d > 0).sum())} : {int((d < 0).sum())}). "
        f"{'Declared as intended' if intended else ADVICE}"
    )
    same_kind = mine[cells.kind[mine] == cells.kind[strongest]]
    statistics = _statistics(cells, strongest, same_kind, f"{strata.kind}: {stratum}")
    there = np.flatnonzero((strata.labels == cells.level[strongest]) & (d == np.sign(cells.z[strongest])))
    around = feature.text if feature.kind not in ("property", "amount") else ""
    evidence = evidence_of(view.fetch(there[:3]), around)
    table = _table(f"{name} by {strata.kind}", cells, strata, same_kind)
    shown: Severity = "info" if intended else severity
    side: Literal["chosen", "rejected"] = "chosen" if chosen else "rejected"
    return Finding("shortcut/stratum", shown, says, name, intended, statistics, evidence, (table,), feature, side)


def _statistics(cells: Cells, strongest: int, same_kind: NDArray[np.intp], stratum: str) -> Statistics:
    s, variance = (cells.plus - cells.minus)[same_kind], cells.variance[same_kind]
    return {
        "stratum": stratum,
        "chosen_only": int(cells.plus[strongest]),
        "rejected_only": int(cells.minus[strongest]),
        "pairs": int(cells.size[strongest]),
        "accuracy": float(cells.accuracy[strongest]),
        "z": float(cells.z[strongest]),
        "z_pooled": float(s.sum() / np.sqrt(variance.sum())),  # Cochran-Mantel-Haenszel
        "heterogeneity": heterogeneity(s, variance),
        "strata": len(same_kind),
    }


def _table(title: str, cells: Cells, strata: Strata, same_kind: NDArray[np.intp]) -> Table:
    z, accuracy = cells.z, cells.accuracy
    rows = tuple(
        (
            strata.names[cells.level[c]],
            int(cells.size[c]),
            int(cells.plus[c]),
            int(cells.minus[c]),
            round(float(accuracy[c]), 3),
            round(float(z[c]), 1),
        )
        for c in same_kind[np.argsort(-z[same_kind], kind="stable")]
    )
    return Table(title, (strata.kind, "pairs", "only in chosen", "only in rejected", "accuracy of the rule", "z"), rows)


CHECK = Check("shortcut/stratum", columns=(surface_columns, language_columns, prompt_columns), run=check_within_strata)
