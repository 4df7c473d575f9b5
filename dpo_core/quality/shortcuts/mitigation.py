"""Taking a shortcut out of a data set: drop pairs, or weigh them, until the rules no longer separate the sides.

Prompts stay whole: all pairs of one are dropped together, or weigh the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, sparse

from dpo_core.data.pairs import EncodedPair, Message, text_of
from dpo_core.quality.features.feature_tests import PURE, Separation, separate
from dpo_core.quality.features.ngrams import Feature, GramTable, TokenText, stands, token_ids
from dpo_core.quality.prompts.identity import prompt_clusters
from dpo_core.quality.results import Statistics, severity_of
from dpo_core.quality.shortcuts.balance import separating_amounts
from dpo_core.quality.shortcuts.declared_kinds import alike
from dpo_core.quality.shortcuts.findings import counted, gating_features
from dpo_core.quality.stats.clusters import effective_size
from dpo_core.quality.table import Columns, PairTable
from dpo_core.quality.text.surface import AMOUNTS, PRESENCE, amounts_of, presence_of
from dpo_core.recipe import Validation
from dpo_core.report.results import Finding, Measure, Table

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Signs = NDArray[np.int8]
ROUNDS = 4  # dropping pairs can bring up another rule
LEFT = 0.5  # |z| that a rule may keep
STEEPEST = 3.0  # a pair's log weight per rule, at most
SOURCES = "balance/source"  # the one check of these families that looks at no answer
MUCH_LOST = 0.3  # share of what the pairs say: losing more is worth a warning


@dataclass(frozen=True)
class Rule:
    """A feature that gives the chosen side away. `ids`: of a token feature."""

    feature: Feature
    ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Mitigation:
    """`kept`: rows of the table, in order. `weights`: one each, mean 1; a pair's share of the loss is its weight.

    `standing`: those of the rules that still separate the sides, as no weights of whole prompts make them even.
    `measure`: the share of the pairs that was lost, those of a small weight counted by it.
    """

    rules: tuple[Rule, ...]
    standing: tuple[Rule, ...]
    kept: Rows
    weights: Floats
    measure: Measure
    finding: Finding


def mitigate(
    table: PairTable,
    grams: GramTable,
    validation: Validation,
    token_text: TokenText | None,
    look_up: Callable[[Sequence[Rule]], Signs],
    how: Literal["drop", "balance"],
) -> Mitigation | None:
    """Drop pairs, or weigh them, until no rule that warned or failed over all pairs separates the sides.

    `look_up` gives `rule_columns` of all pairs of the table. None where there is nothing to take out. Rules within
    strata are left as they are. Examine `subset(table, grams, kept)` again: its findings are what is left.
    """
    clusters = prompt_clusters(table)
    kept, d = np.arange(len(table)), np.zeros((len(table), 0), dtype=np.int8)
    rules: list[Rule] = []
    dropped = np.zeros(0, dtype=np.bool_)  # the rules that pairs are dropped for
    for _ in range(ROUNDS):
        separation = separate(*subset(table, grams, kept), token_text)
        new = [rule for rule in separating_rules(separation, validation) if rule not in rules]
        if new:
            rules, d = [*rules, *new], np.hstack([d, look_up(new)])
        dropped = np.pad(dropped, (0, len(new))) | _one_sided(d[kept]) | (how == "drop")
        before, kept = kept, drop(d[:, dropped], clusters)
        if np.array_equal(before, kept):
            break
    if not rules:
        return None
    after = d[kept]
    weights = balance(after[:, ~dropped], clusters[kept])
    amounts = np.array([rule.feature.kind == "amount" for rule in rules])
    hidden = amounts & ~alike(table, validation.intended)[kept][:, None]  # over all pairs a kind may hide an amount
    each = [_even(signs, clusters[kept], weights) for signs in (after, np.where(hidden, 0, after))]
    even = dropped | (each[0] & each[1])
    standing = tuple(rule for rule, fine in zip(rules, even, strict=True) if not fine)
    return Mitigation(tuple(rules), standing, kept, weights, *_told(rules, standing, d, kept, weights, how))


def separating_rules(separation: Separation, validation: Validation) -> list[Rule]:
    """The features that warn or fail over all pairs and are no declared aim; those of lengths and amounts first."""
    amounts = [Rule(Feature("amount", name)) for name in separating_amounts(separation.table, validation)]
    columns, features = gating_features(separation, validation.intended)
    own = len(PRESENCE)
    words = [
        Rule(features[column], token_ids(int(separation.grams.keys[column - own])) if column >= own else ())
        for column in columns
    ]
    return [*amounts, *words]


def rule_columns(pairs: Sequence[EncodedPair], rules: Sequence[Rule]) -> Columns:
    """`rules`: (N, rules) int8, 1 where the chosen side has the feature (or more of it) and the rejected has not."""
    d = np.zeros((len(pairs), len(rules)), dtype=np.int8)
    for row, pair in enumerate(pairs):
        chosen = _values(pair.pair.chosen, pair.chosen_ids, rules)
        rejected = _values(pair.pair.rejected, pair.rejected_ids, rules)
        d[row] = np.sign(np.subtract(chosen, rejected))
    return {"rules": d}


def subset(table: PairTable, grams: GramTable, kept: Rows) -> tuple[PairTable, GramTable]:
    """Both tables on some rows, nothing read again."""
    if len(kept) == len(table):
        return table, grams
    columns = {name: column[kept] for name, column in table.columns.items()}
    place = np.full(len(table), -1)
    place[kept] = np.arange(len(kept))
    left = np.flatnonzero(place[grams.rows] >= 0)
    part = PairTable(len(kept), columns, lambda rows: table.rows(kept[list(rows)].tolist()))
    return part, GramTable(place[grams.rows[left]], grams.keys, sparse.csr_array(grams.d[left]))


def evened_out(
    measures: Sequence[Measure],
    findings: Sequence[Finding],
    mitigation: Mitigation,
    separation: Separation,
    validation: Validation,
) -> tuple[list[Measure], list[Finding]]:
    """What was measured and found of the pairs kept, with the rules that weights even out shown and not gating.

    Only for `balance`: a test does not see weights. After `drop`, examine the subset instead. Probes look at all rules
    at once: they gate where one of them stands.
    """
    evened = {rule.feature for rule in mitigation.rules if rule not in mitigation.standing}
    probes = () if mitigation.standing else ("shortcut/probe",)

    def even(finding: Finding) -> bool:
        return (finding.rule in evened and finding.check != "shortcut/stratum") or finding.check in probes

    shown = [replace(f, severity="info", says=f"{f.says} Evened out by weights.") if even(f) else f for f in findings]
    columns, features = gating_features(separation, validation.intended)
    counts = {m.check: m for m in counted(separation, [c for c in columns if features[c] not in evened])}
    checks = {f.check for f in findings if even(f)}
    free = [
        replace(m, warn_above=None, fail_above=None)
        if m.check in checks or (probes and "/probe_" in m.check)
        else counts.get(m.check, m)
        for m in measures
    ]
    return free, shown


def softened(measures: Sequence[Measure], findings: Sequence[Finding]) -> tuple[list[Measure], list[Finding]]:
    """For `validation.on_shortcut: warn`: what would fail warns, where it is an answer's feature; no source's share."""

    def soft(check: str) -> bool:
        return check.startswith(("shortcut/", "balance/")) and check != SOURCES

    return [
        replace(m, warn_above=m.fail_above if m.warn_above is None else m.warn_above, fail_above=None)
        if soft(m.check)
        else m
        for m in measures
    ], [replace(f, severity="warn") if f.severity == "fail" and soft(f.check) else f for f in findings]


def drop(d: Signs, clusters: Rows) -> Rows:
    """Rows to keep so that every column of `d` (pairs, rules) has about as many 1 as -1.

    Whole clusters go, those first that push several rules the wrong way.
    """
    size = int(clusters.max(initial=-1)) + 1
    sums = np.zeros((size, d.shape[1]), dtype=np.int64)
    counts = np.zeros_like(sums)
    np.add.at(sums, clusters, d)
    np.add.at(counts, clusters, np.abs(d))
    there = np.ones(size, dtype=np.bool_)
    for _ in range(20 * max(d.shape[1], 1)):
        total, discordant = sums[there].sum(axis=0), counts[there].sum(axis=0)
        excess = np.abs(total) - LEFT * np.sqrt(discordant)
        if not len(excess) or excess.max() <= 0:
            break
        rule = int(np.argmax(excess))
        towards = np.sign(total) * (excess > 0)
        guilty = np.flatnonzero(there & (sums[:, rule] * towards[rule] > 0))
        guilty = guilty[np.argsort(-(sums[guilty] @ towards), kind="stable")]
        pushed = np.cumsum(np.abs(sums[guilty, rule]))
        there[guilty[: int(np.searchsorted(pushed, excess[rule])) + 1]] = False
    return np.flatnonzero(there[clusters])


def balance(d: Signs, clusters: Rows) -> Floats:
    """A weight for each pair, mean 1, equal within a cluster, under which every column of `d` sums to about 0.

    Of all such weights the nearest to equal ones in relative entropy: exp(S l) with S a cluster's mean of d. Weights
    are bounded, so a rule that is never broken must be dropped instead.
    """
    if not d.size:
        return np.ones(len(d))
    sizes = np.bincount(clusters).astype(np.float64)
    means = np.zeros((len(sizes), d.shape[1]))
    np.add.at(means, clusters, d)
    means /= np.maximum(sizes, 1)[:, None]

    def loss(slopes: Floats) -> tuple[float, Floats]:
        weights = sizes * np.exp(means @ slopes)
        return float(weights.sum()) / len(d), means.T @ weights / len(d)

    bounds = [(-STEEPEST, STEEPEST)] * d.shape[1]
    slopes = optimize.minimize(loss, np.zeros(d.shape[1]), jac=True, method="L-BFGS-B", bounds=bounds).x
    weights = np.exp(means @ slopes)[clusters]
    return np.asarray(weights / weights.mean(), dtype=np.float64)


def _one_sided(d: Signs) -> NDArray[np.bool_]:
    plus, minus = (d > 0).sum(axis=0), (d < 0).sum(axis=0)
    return np.asarray(np.maximum(plus, minus) >= PURE * np.maximum(plus + minus, 1), dtype=np.bool_)


def _even(d: Signs, clusters: Rows, weights: Floats) -> NDArray[np.bool_]:
    """Which columns' weighted sums are within LEFT standard errors of 0, the sign of each cluster by chance."""
    sums = np.zeros((int(clusters.max(initial=-1)) + 1, d.shape[1]))
    np.add.at(sums, clusters, weights[:, None] * d)
    return np.asarray(np.abs(sums.sum(axis=0)) <= LEFT * np.sqrt(np.square(sums).sum(axis=0)), dtype=np.bool_)


def _told(
    rules: Sequence[Rule], standing: Sequence[Rule], d: Signs, kept: Rows, weights: Floats, how: str
) -> tuple[Measure, Finding]:
    after = d[kept]
    lost = len(d) - len(kept)
    effective = effective_size(weights)
    done = f"{lost} of {len(d)} pairs were dropped" + (
        f" and the others weighted (they count like {effective:.0f} equal ones)" if how == "balance" else ""
    )
    gone = f"{len(rules) - len(standing)} of {len(rules)}" if standing else str(len(rules))
    left = ", ".join(rule.feature.name for rule in standing)
    says = (
        f"{done} so that {gone} rule{' no longer separates' if len(rules) == 1 else 's no longer separate'} the "
        f"sides (validation.on_shortcut: {how}). "
        + (f"Weights of whole prompts do not even out {left}: drop does, at the cost of pairs. " if left else "")
        + "Better pairs would cost less: mend where they come from"
    )
    measure = Measure("shortcut/mitigation", 1 - effective / max(len(d), 1), MUCH_LOST, None, says)
    rows = tuple(
        (
            rule.feature.name,
            f"{int((d[:, k] > 0).sum())} : {int((d[:, k] < 0).sum())}",
            round(0.5 + float(d[:, k].mean()) / 2, 3),
            f"{weights[after[:, k] > 0].sum():.0f} : {weights[after[:, k] < 0].sum():.0f}",
            round(0.5 + float(weights @ after[:, k]) / (2 * max(float(weights.sum()), 1e-12)), 3),
        )
        for k, rule in enumerate(rules)
    )
    header = ("rule", "chosen : rejected before", "wins before", "after", "wins after")
    statistics: Statistics = {
        "rules": len(rules),
        "pairs_before": len(d),
        "pairs_kept": len(kept),
        "pairs_effective": effective,
    }
    table = Table("Before and after", header, rows)
    return measure, Finding(measure.check, severity_of(measure), says, statistics=statistics, tables=(table,))


def _values(messages: Sequence[Message], ids: Sequence[int], rules: Sequence[Rule]) -> list[int]:
    text = text_of(messages)
    amounts = amounts_of(text, len(ids))
    presence = presence_of(text, amounts)
    values = []
    for rule in rules:
        kind, name = rule.feature
        if kind == "amount":
            values.append(amounts[AMOUNTS.index(name)])
        elif kind == "property":
            values.append(int(presence[PRESENCE.index(name)]))
        elif rule.ids:
            values.append(int(_contains(ids, rule.ids, at_start=kind == "first_token")))
        else:
            values.append(int(stands(rule.feature, text)))
    return values


def _contains(ids: Sequence[int], wanted: Sequence[int], *, at_start: bool) -> bool:
    if at_start:
        return tuple(ids[:1]) == tuple(wanted)
    size = len(wanted)
    return any(tuple(ids[at : at + size]) == tuple(wanted) for at in range(len(ids) - size + 1))
