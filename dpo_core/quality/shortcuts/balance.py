"""Whether the answer that has more of something (length, lines, list items, ...) wins more often than not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, special

from dpo_core.data.pairs import Pair
from dpo_core.quality.check import Check, Facts
from dpo_core.quality.features.feature_tests import AMOUNTS_ERROR, ERROR
from dpo_core.quality.features.ngrams import Feature
from dpo_core.quality.prompts.identity import prompt_clusters, prompt_columns
from dpo_core.quality.results import Results, Statistics, evidence_of
from dpo_core.quality.shortcuts.declared import is_piece, names_feature
from dpo_core.quality.shortcuts.declared_kinds import alike
from dpo_core.quality.stats.cluster_flips import flip_p
from dpo_core.quality.stats.given_length import adjusted_z, length_terms
from dpo_core.quality.stats.sign_tests import by_cluster, sign_test, signs, squares
from dpo_core.quality.table import PairTable
from dpo_core.quality.text.language import language_columns
from dpo_core.quality.text.surface import AMOUNTS, LENGTHS, surface_columns
from dpo_core.recipe import Validation
from dpo_core.report.results import Finding, Measure, Severity

TESTS = 2 + len(AMOUNTS) - len(LENGTHS)  # tokens or words, characters, the others
ADVICE = {  # by whether it is a length
    True: "a model can learn the length instead of the answer. Balance the lengths, add pairs of equal length, or set "
    "validation.on_shortcut to drop or balance.",
    False: "a model can learn to write more (or fewer) of them instead of a better answer. Add pairs in which they do "
    "not decide, set validation.on_shortcut to drop or balance, or declare the name in validation.intended.",
}
ALIKE = "Counted where both answers are of the declared kinds or neither; over all pairs those kinds hide it"


@dataclass(frozen=True)
class Balance:
    """How often the side with more of one amount is the chosen one."""

    name: str
    more_wins: float  # share of pairs, ties half; nan without pairs
    p: float  # sign test, one sign for all pairs of a prompt
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

    @property
    def pairs(self) -> int:
        """All that were counted."""
        return self.more + self.fewer + self.ties

    def severity(self, validation: Validation) -> Severity:
        """What it is worth, whether declared as intended or not."""
        p = self.p
        if not self.is_length:
            p = max(p, 2 * float(special.ndtr(-self.z_adjusted * np.sign(self.more - self.fewer))))
        if p > ERROR or not self.share > validation.length_warn:
            return "info"
        return "fail" if self.share > validation.length_fail and p * TESTS <= AMOUNTS_ERROR else "warn"


@dataclass(frozen=True)
class JudgedBalance:
    """What one balance is worth. `flagged`: beyond the limits, whether or not that is meant; `why`: what to add."""

    balance: Balance
    severity: Severity
    flagged: bool
    intended: bool = False
    why: str = ""


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
    p = flip_p(sums).tolist()
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


def check_balance(facts: Facts, validation: Validation) -> Results:
    """Share of pairs that the side with more of each amount wins (ties half), or its complement where that is larger.

    The limits apply only where a sign test finds the imbalance beyond chance (and, but for lengths themselves, a
    score test beyond what the lengths explain): before that the share of a small data set is chance. Nor do they
    apply to an imbalance that is gone among the pairs that are alike in a declared kind of answer (a refusal).
    """
    judged = _judged(facts.table, validation)
    results = [_result(one, facts.table, validation) for one in judged]
    kept = [finding for (_, finding), one in zip(results, judged, strict=True) if one.balance.is_length or one.flagged]
    return [measure for measure, _ in results], kept


def separating_amounts(table: PairTable, validation: Validation) -> list[str]:
    """Names of the amounts that warn or fail."""
    return [judged.balance.name for judged in _judged(table, validation) if judged.severity != "info"]


def _is_intended(name: str, table: PairTable, terms: Sequence[str]) -> bool:
    """Declared, or more of it only because of a declared word (the capital letter of a name)."""
    feature = Feature("amount", name)
    d = np.sign(table["amounts"][:, AMOUNTS.index(name)]).astype(np.int8)

    def rows(places: NDArray[np.intp]) -> list[Pair]:
        return table.rows(places.tolist())

    return names_feature(feature, terms) or is_piece(feature, d, terms, rows)


def _judged(table: PairTable, validation: Validation) -> list[JudgedBalance]:
    found = balances(table)
    inside = alike(table, validation.intended)
    elsewhere = found if inside.all() else balances(table, inside)
    enough = _enough(table, inside, validation)
    return [
        _judge(balance, other if balance is not other else None, enough, table, validation)
        for balance, other in zip(found, elsewhere, strict=True)
    ]


def _judge(
    balance: Balance, others: Balance | None, enough: bool, table: PairTable, validation: Validation
) -> JudgedBalance:
    """`others`: the same among the pairs that are alike in every declared kind of answer, where some are declared."""
    severity = balance.severity(validation)
    elsewhere: Severity = "info" if others is None else others.severity(validation)
    turned = others is not None and (balance.more > balance.fewer) != (others.more > others.fewer)
    if others is not None and elsewhere != "info" and (severity == "info" or turned):
        named = names_feature(Feature("amount", balance.name), validation.intended)
        return JudgedBalance(others, "info" if named else elsewhere, True, named, ALIKE)
    if severity == "info" or _is_intended(balance.name, table, validation.intended):
        return JudgedBalance(balance, "info", severity != "info", severity != "info")
    if others is None or elsewhere != "info":
        return JudgedBalance(balance, severity, True)
    counts = (
        f"in the pairs that are alike in it, the chosen answer has more in {others.more} and less in {others.fewer}"
    )
    if enough or not balance.is_length:
        return JudgedBalance(balance, "info", True, why=f"It comes with a declared kind of answer: {counts}")
    why = f"It may come with a declared kind of answer: {counts}, too few to tell. Declare it too if it is meant"
    return JudgedBalance(balance, "warn", True, why=why)


def _enough(table: PairTable, inside: NDArray[np.bool_], validation: Validation) -> bool:
    """Whether an imbalance at the limit of failing, among the prompts of these pairs, would be beyond chance."""
    prompts = len(np.unique(prompt_clusters(table, np.flatnonzero(inside))))
    wins = np.array([int(np.ceil(validation.length_fail * prompts))])
    return bool(sign_test(wins, prompts - wins)[0] <= ERROR)


def _result(judged: JudgedBalance, table: PairTable, validation: Validation) -> tuple[Measure, Finding]:
    balance, severity = judged.balance, judged.severity
    name = balance.name
    check = f"balance/length_{name}" if balance.is_length else f"balance/{name.replace(' ', '_')}"
    says = _says(balance, severity, judged.intended, validation)
    says = f"{says.rstrip('.')}. {judged.why}" if judged.why else says
    limits = {
        "info": (None, None),
        "warn": (validation.length_warn, None),
        "fail": (validation.length_warn, validation.length_fail),
    }[severity]
    statistics: Statistics = {
        "more_wins": balance.more_wins,
        "p": balance.p,
        "z_adjusted": balance.z_adjusted,
        "more": balance.more,
        "fewer": balance.fewer,
        "ties": balance.ties,
        "pairs": balance.pairs,
    }
    if balance.is_length:
        statistics["longer_wins"] = balance.more_wins
    evidence = evidence_of(table.rows(_examples(balance, table["amounts"]))) if judged.flagged else ()
    feature = "length" if balance.is_length else name
    rule = Feature("amount", name) if judged.intended or severity != "info" else None
    side: Literal["chosen", "rejected"] = "chosen" if balance.more_wins >= 0.5 else "rejected"
    return Measure(check, balance.share, *limits, says), Finding(
        check, severity, says, feature, judged.intended, statistics, evidence, rule=rule, towards=side
    )


def _says(balance: Balance, severity: Severity, intended: bool, validation: Validation) -> str:
    more = balance.more_wins >= 0.5
    who = (
        f"the {'longer' if more else 'shorter'} answer (in {balance.name})"
        if balance.is_length
        else f"the answer with {'more' if more else 'fewer'} {balance.name}"
    )
    says = f"{who} is the chosen one in {balance.share:.1%} of {balance.pairs} pairs (sign test p = {balance.p:.2g})"
    if intended:
        return f"{says}: declared as intended"
    if severity != "info":
        return f"{says}: {ADVICE[balance.is_length]}"
    if balance.p > ERROR:
        few = f", and {balance.pairs} pairs are too few to tell" if balance.share > validation.length_warn else ""
        return f"{says}; that many can come about by chance{few}"
    return says


def _examples(balance: Balance, differences: NDArray[np.int32]) -> Sequence[int]:
    """Three pairs that the winning side wins by most."""
    towards = differences[:, AMOUNTS.index(balance.name)] * (1 if balance.more_wins >= 0.5 else -1)
    return [int(row) for row in np.argsort(-towards, kind="stable")[:3]]


CHECK = Check("balance", columns=(surface_columns, language_columns, prompt_columns), run=check_balance)
