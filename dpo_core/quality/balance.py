"""Whether the answer that has more of something (length, lines, list items, ...) wins more often than not."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, special

from dpo_core.data.pairs import Pair
from dpo_core.quality.evidence import evidence_of
from dpo_core.quality.grams import Feature
from dpo_core.quality.intended import differs_in_property, is_piece, names_feature
from dpo_core.quality.length_adjusted import adjusted_z, length_terms
from dpo_core.quality.prompts import prompt_clusters
from dpo_core.quality.statistics import as_independent, by_cluster, sign_test, signs, squares
from dpo_core.quality.surface import AMOUNTS, LENGTHS
from dpo_core.quality.table import PairTable
from dpo_core.recipe import Validation
from dpo_core.report.results import Finding, Measure, Severity

SIGNIFICANT = 0.01
FAMILY_ERROR = 0.002  # of all amounts together; features and strata have the rest of one percent
CURE = {
    True: "a model can learn the length instead of the answer. Balance the lengths, add pairs of equal length, or set "
    "validation.on_shortcut to drop or balance.",
    False: "a model can learn to write more (or fewer) of them instead of a better answer. Add pairs in which they do "
    "not decide, set validation.on_shortcut to drop or balance, or declare the name in validation.intended.",
}

GOES_WITH_AIM = (
    "It goes with a declared property and is not seen where both sides have it or neither: declare it too if it is "
    "meant"
)


@dataclass(frozen=True)
class Balance:
    """How often the side with more of one amount is the chosen one."""

    name: str
    more_wins: float  # share of pairs, ties half; nan without pairs
    p: float  # sign test, pairs of one prompt counted as fewer
    z_adjusted: float  # given the lengths; of a length itself: its plain z
    more: int
    fewer: int
    ties: int

    @property
    def share(self) -> float:
        """Of pairs won by the side that wins more often."""
        return max(self.more_wins, 1 - self.more_wins)

    @property
    def is_length(self) -> bool:
        """Whether this is one of the lengths that the others are adjusted for."""
        return self.name in LENGTHS


def balances(table: PairTable, inside: NDArray[np.bool_] | None = None) -> list[Balance]:
    """Of every amount that is measured: tokens (words without a tokenizer) and characters, then the others.

    `inside`: (N,), only these pairs.
    """
    rows = np.arange(len(table)) if inside is None else np.flatnonzero(inside)
    differences = table["amounts"][rows]
    unit = "tokens" if differences[:, AMOUNTS.index("tokens")].any() else "words"
    names = [unit, "characters", *(name for name in AMOUNTS if name not in LENGTHS)]
    d = sparse.csr_array(np.sign(differences[:, [AMOUNTS.index(name) for name in names]]).astype(np.int8))
    clusters = prompt_clusters(table, rows)
    plus, minus = signs(d)
    sums = by_cluster(d, clusters)
    p = [float(sign_test(*as_independent(plus[[k]], minus[[k]], sums[:, [k]]))[0]) for k in range(len(names))]
    plain = (plus - minus) / np.sqrt(np.maximum(np.maximum(plus + minus, 1), squares(sums)))
    adjusted = adjusted_z(d, clusters, length_terms(table["log_length"][rows])) if len(rows) else plain
    total = len(rows)
    return [
        Balance(
            name,
            float(0.5 + (plus[k] - minus[k]) / (2 * total)) if total else float("nan"),
            p[k],
            float((plain if name in LENGTHS else adjusted)[k]),
            int(plus[k]),
            int(minus[k]),
            int(total - plus[k] - minus[k]),
        )
        for k, name in enumerate(names)
    ]


def check_balance(table: PairTable, validation: Validation) -> tuple[list[Measure], list[Finding]]:
    """Share of pairs that the side with more of each amount wins (ties half), or its complement where that is larger.

    The limits apply only where a sign test finds the imbalance beyond chance (and, but for lengths themselves, a
    score test beyond what the lengths explain): before that the share of a small data set is chance. An imbalance
    that is gone among pairs that do not differ in a declared property (a refusal) warns and does not fail.
    """
    found = balances(table)
    apart = differs_in_property(table, validation.intended)
    others = balances(table, ~apart) if apart.any() else found
    severities = [severity_of(balance, len(found), validation) for balance in found]
    judged = [
        _judge(balance, severity, severity_of(other, len(found), validation) == "info", table, validation)
        for balance, severity, other in zip(found, severities, others, strict=True)
    ]
    kept = [finding for (_, finding), balance in zip(judged, found, strict=True) if _worth_telling(finding, balance)]
    return [measure for measure, _ in judged], kept


def severity_of(balance: Balance, tests: int, validation: Validation) -> Severity:
    """What one balance is worth, whether declared as intended or not."""
    p = balance.p
    if not balance.is_length:
        p = max(p, 2 * float(special.ndtr(-balance.z_adjusted * np.sign(balance.more - balance.fewer))))
    if p > SIGNIFICANT or not balance.share > validation.length_warn:
        return "info"
    return "fail" if balance.share > validation.length_fail and p * tests <= FAMILY_ERROR else "warn"


def _is_intended(name: str, table: PairTable, terms: Sequence[str]) -> bool:
    """Declared, or more of it only because of a declared word (the capital letter of a name)."""
    feature = Feature("amount", name)
    d = np.sign(table["amounts"][:, AMOUNTS.index(name)]).astype(np.int8)

    def rows(places: NDArray[np.intp]) -> list[Pair]:
        return table.rows(places.tolist())

    return names_feature(feature, terms) or is_piece(feature, d, table["intended"], terms, rows)


def _worth_telling(finding: Finding, balance: Balance) -> bool:
    return balance.is_length or finding.severity != "info" or finding.intended


def _judge(
    balance: Balance, severity: Severity, with_aim: bool, table: PairTable, validation: Validation
) -> tuple[Measure, Finding]:
    """`with_aim`: not found among the pairs that do not differ in a declared property."""
    name = balance.name
    check = f"balance/length_{name}" if balance.is_length else f"balance/{name.replace(' ', '_')}"
    severity = "warn" if severity == "fail" and with_aim else severity
    intended = severity != "info" and _is_intended(name, table, validation.intended)
    says = _says(balance, severity, intended, validation)
    if severity != "info" and with_aim and not intended:
        says += f" {GOES_WITH_AIM}"
    limits = {
        "info": (None, None),
        "warn": (validation.length_warn, None),
        "fail": (validation.length_warn, validation.length_fail),
    }["info" if intended else severity]
    statistics: dict[str, float | int | str] = {
        "more_wins": balance.more_wins,
        "p": balance.p,
        "z_adjusted": balance.z_adjusted,
        "more": balance.more,
        "fewer": balance.fewer,
        "ties": balance.ties,
        "pairs": len(table),
    }
    if balance.is_length:
        statistics["longer_wins"] = balance.more_wins
    evidence = () if severity == "info" else evidence_of(table.rows(_examples(balance, table["amounts"])))
    feature = "length" if balance.is_length else name
    shown: Severity = "info" if intended else severity
    return Measure(check, balance.share, *limits, says), Finding(
        check, shown, says, feature, intended, statistics=statistics, evidence=evidence
    )


def _says(balance: Balance, severity: Severity, intended: bool, validation: Validation) -> str:
    more = balance.more_wins >= 0.5
    total = balance.more + balance.fewer + balance.ties
    who = (
        f"the {'longer' if more else 'shorter'} answer (in {balance.name})"
        if balance.is_length
        else f"the answer with {'more' if more else 'fewer'} {balance.name}"
    )
    says = f"{who} is the chosen one in {balance.share:.1%} of {total} pairs (sign test p = {balance.p:.2g})"
    if intended:
        return f"{says}: declared as intended"
    if severity != "info":
        return f"{says}: {CURE[balance.is_length]}"
    if balance.p > SIGNIFICANT:
        few = f", and {total} pairs are too few to tell" if balance.share > validation.length_warn else ""
        return f"{says}; that many can come about by chance{few}"
    return says


def _examples(balance: Balance, differences: NDArray[np.int32]) -> Sequence[int]:
    """Three pairs that the winning side wins by most."""
    towards = differences[:, AMOUNTS.index(balance.name)] * (1 if balance.more_wins >= 0.5 else -1)
    return [int(row) for row in np.argsort(-towards, kind="stable")[:3]]
