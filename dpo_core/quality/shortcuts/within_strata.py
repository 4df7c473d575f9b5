"""Rules that hold within one stratum only, or turn round from one to another: pooled counts hide them.

Sign tests within each stratum, Benjamini-Hochberg over all strata and features, Cochran's test of heterogeneity, and
sign flips of whole prompts over all strata at once before anything fails.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import sparse, special, stats

from dpo_core.quality.cells import Cells, count_cells, heterogeneity
from dpo_core.quality.prompts.identity import sample_rows
from dpo_core.quality.repeats import without_repeats
from dpo_core.quality.shortcuts.balance import balances, severity_of
from dpo_core.quality.shortcuts.declared import alike, names_feature
from dpo_core.quality.shortcuts.declared_kinds import told
from dpo_core.quality.shortcuts.feature_tests import (
    ERROR,
    LIKELY,
    LIKELY_COVERAGE,
    PURE,
    PURE_COVERAGE,
    RULE_ACCURACY,
    Bools,
    Floats,
)
from dpo_core.quality.shortcuts.features import Feature, GramTable
from dpo_core.quality.shortcuts.strata import divide
from dpo_core.quality.stats.sign_tests import false_discovery, family_bound, family_p
from dpo_core.quality.stratum_findings import finding_of
from dpo_core.quality.tested import Separation
from dpo_core.quality.text.surface import AMOUNTS, LENGTHS
from dpo_core.recipe import Validation
from dpo_core.report.results import Finding, Measure, Severity

FAMILY_ERROR = 0.003
EXAMINED = 20_000  # pairs
FAIL_SHARE, WARN_SHARE = 0.01, 0.005  # of all pairs that must differ in the feature within the stratum
FAIL_ACCURACY = 0.65  # of a word's rule: the best of many strata looks better than it is
OPPOSITE_GAIN = 0.02  # of accuracy, by knowing in which stratum a pair is
LISTED = 8


def check_conditional(separation: Separation, validation: Validation) -> tuple[list[Measure], list[Finding]]:
    """What separates the sides within a stratum, or in opposite ways in two, and was not found over all pairs."""
    view = _examined(separation, validation.intended)
    strata = divide(view.table, view.grams.rows)
    if not strata:
        return [], []
    d, num_features = _with_amounts(view)
    cells, sums = count_cells(d, view, strata)
    severities = _flag(cells, sums, view, num_features, validation)
    features = _features(view, list(severities), num_features)
    aims = _intended(view, features, num_features, validation.intended)
    order = sorted(severities, key=lambda f: (severities[f] != "fail", -np.abs(cells.z[cells.feature == f]).max(), f))
    told_once = _without_repeats(view, order, features, num_features)
    findings = [
        finding_of(view, strata, cells, d, feature, features[feature], severities[feature], feature in aims)
        for feature in told_once
    ]
    gating = [severities[feature] for feature in told_once if feature not in aims]
    says = "{} surface features tell the chosen answer from the rejected one in some strata and not over all"
    failing, warning = gating.count("fail"), gating.count("warn")
    measures = [
        Measure("shortcut/failing_in_strata", float(failing), None, 0.0, says.format(failing)),
        Measure("shortcut/warning_in_strata", float(warning), 0.0, None, says.format(warning)),
    ]
    return measures, findings[:LISTED]


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
        terms=separation.terms[kept],
    )


def _with_amounts(view: Separation) -> tuple[sparse.csr_array, int]:
    """Columns of the separation, then one of each amount (1: more of it in chosen); how many are the former."""
    amounts = sparse.csr_array(np.sign(view.table["amounts"][view.grams.rows]).astype(np.int8))
    return sparse.csr_array(sparse.hstack([view.d, amounts], format="csr")), view.d.shape[1]


def _flag(
    cells: Cells, sums: Sequence[sparse.csr_array], view: Separation, num_features: int, validation: Validation
) -> dict[int, Severity]:
    """Severity of each feature that some stratum, or two opposite ones, give away."""
    if not len(cells.p):
        return {}
    total = len(view.grams.rows)
    is_length = np.isin(cells.feature, [num_features + AMOUNTS.index(name) for name in LENGTHS])
    is_amount = cells.feature >= num_features
    q = false_discovery(cells.p)
    real = (q <= ERROR) & ~_known(cells, view, num_features, validation)
    p_adjusted = 2 * special.ndtr(-cells.z_adjusted * np.sign(cells.plus - cells.minus))
    beyond = is_length.copy()
    beyond[real] |= false_discovery(np.minimum(p_adjusted[real], 1.0)) <= ERROR
    real &= beyond
    share = (cells.plus + cells.minus) / total
    coverage = (cells.plus + cells.minus) / cells.size
    pure = (cells.purity_low >= PURE) & (coverage >= PURE_COVERAGE)
    likely = (cells.purity_low >= LIKELY) & (coverage >= LIKELY_COVERAGE)
    large = np.where(is_amount, cells.accuracy > validation.length_fail, pure | (cells.accuracy >= FAIL_ACCURACY))
    some = large | np.where(
        is_amount, cells.accuracy > validation.length_warn, likely | (cells.accuracy >= RULE_ACCURACY)
    )
    fails = real & large & (share >= FAIL_SHARE)
    if fails.any():
        fails &= _family(sums, fails) <= FAMILY_ERROR
    warns = real & some & (share >= WARN_SHARE)
    opposite = _opposite(cells, real, total)
    found: dict[int, Severity] = {int(f): "warn" for f in np.unique(cells.feature[warns | opposite])}
    found.update({int(f): "fail" for f in np.unique(cells.feature[fails])})
    return found


def _family(sums: Sequence[sparse.csr_array], candidates: Bools) -> Floats:
    """Family p value of every cell, simulated only where the bound leaves a candidate open."""
    together = sparse.csr_array(sparse.hstack(sums, format="csr"))
    bound = family_bound(together)
    return np.minimum(bound, family_p(together)) if (candidates & (bound > FAMILY_ERROR)).any() else bound


def _known(cells: Cells, view: Separation, num_features: int, validation: Validation) -> Bools:
    """Cells of a feature that was found over all pairs (that are alike in the declared kinds), with the same sign."""
    towards = np.zeros(num_features + len(AMOUNTS))
    inside = alike(view.table, validation.intended)
    flagged = np.flatnonzero(view.scores.fails | view.scores.warns)
    if not inside.all():
        flagged = flagged[told(view, flagged.tolist(), np.arange(len(view.grams.rows)))]
    towards[flagged] = np.sign(view.scores.z[flagged])
    found = balances(view.table, inside)
    for balance in found:
        if severity_of(balance, len(found), validation) != "info":
            names = LENGTHS if balance.is_length else (balance.name,)
            towards[[num_features + AMOUNTS.index(name) for name in names]] = np.sign(balance.more - balance.fewer)
    return np.asarray(np.sign(cells.plus - cells.minus) == towards[cells.feature], dtype=np.bool_)


def _opposite(cells: Cells, real: Bools, total: int) -> Bools:
    """Cells whose feature points both ways among the strata of one kind, enough to be worth knowing the stratum."""
    flagged = np.zeros(len(cells.p), dtype=np.bool_)
    group = cells.kind * (int(cells.feature.max()) + 1) + cells.feature
    both = np.intersect1d(group[real & (cells.plus > cells.minus)], group[real & (cells.plus < cells.minus)])
    tests = len(np.unique(group))
    for value in both.tolist():
        inside = group == value
        s, variance = (cells.plus - cells.minus)[inside], np.maximum(cells.variance[inside], 1)
        gain = (np.abs(s).sum() - abs(s.sum())) / (2 * total)
        p = float(stats.chi2.sf(heterogeneity(s, variance), len(s) - 1))
        flagged |= inside & real & (gain >= OPPOSITE_GAIN) & (p * tests <= ERROR)
    return flagged


def _features(view: Separation, columns: Sequence[int], num_features: int) -> dict[int, Feature]:
    named = view.features([column for column in columns if column < num_features])
    amounts = {c: Feature("amount", AMOUNTS[c - num_features]) for c in columns if c >= num_features}
    return {**named, **amounts}


def _intended(view: Separation, features: dict[int, Feature], num_features: int, terms: Sequence[str]) -> set[int]:
    own = view.intended(terms, {column: f for column, f in features.items() if column < num_features})
    return own | {column for column, f in features.items() if column >= num_features and names_feature(f, terms)}


def _without_repeats(
    view: Separation, order: Sequence[int], features: dict[int, Feature], num_features: int
) -> list[int]:
    """Leave out words that say another one again, and lengths after the first."""
    own = without_repeats(view, [column for column in order if column < num_features], features)
    lengths = [c for c in order if c >= num_features and features[c].text in LENGTHS]
    return [
        column
        for column in order
        if column in own or (column >= num_features and (column not in lengths or column == lengths[0]))
    ]
