"""Whether the language of an answer gives its side away."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from dpo_core.quality.check import Check, Facts
from dpo_core.quality.prompts.identity import prompt_clusters, prompt_columns
from dpo_core.quality.results import Results, Statistics, evidence_at, severity_of, share_of_rows
from dpo_core.quality.shortcuts.declared import LANGUAGE
from dpo_core.quality.stats.cluster_flips import flip_p
from dpo_core.quality.stats.sign_tests import as_independent, by_cluster, purity_lower_bound, signs
from dpo_core.quality.table import PairTable
from dpo_core.quality.text.language import LANGUAGES, UNKNOWN, language_columns
from dpo_core.quality.words import SIDES, Bools
from dpo_core.recipe import Validation
from dpo_core.report.results import Finding, Measure, Table

SIGNIFICANT = 0.01
PURE, COVERAGE = 0.75, 0.005  # of a rule worth a warning: lower bound of its purity, share of the pairs it speaks about
SIDES_WARN = 0.05  # share of pairs
LISTED = 12
FINE = "Fine if that is the aim: declare `language` in validation.intended; else add pairs in one language."
SIDES_DIFFER = (
    "have answers in two languages (by script and function words): which language to answer in is then part of what "
    "is learnt. Fine if people judged that; else drop them."
)


def check_languages(facts: Facts, validation: Validation) -> Results:
    """Languages of prompts and answers, pairs whose sides differ, and whether the prompt's language wins.

    `language` in validation.intended: that is the aim, and told without a warning.
    """
    intended = LANGUAGE in {term.casefold() for term in validation.intended}
    table = facts.table
    prompt, chosen, rejected = (table[f"language_{side}"] for side in SIDES)
    known = (chosen != UNKNOWN) & (rejected != UNKNOWN)
    sides, found = share_of_rows(
        "balance/language_sides",
        table,
        known & (chosen != rejected),
        SIDES_DIFFER,
        warn_above=None if intended else SIDES_WARN,
    )
    measure, findings = _rule(table, known & (prompt != UNKNOWN), intended)
    return [sides, measure], [*found, *findings, _overview(table, known & (prompt != UNKNOWN))]


def _rule(table: PairTable, known: Bools, intended: bool) -> tuple[Measure, list[Finding]]:
    """Sign test over the pairs in which one side alone answers in the prompt's language, prompts as clusters."""
    prompt, chosen, rejected = (table[f"language_{side}"] for side in SIDES)
    towards = np.where(known, (chosen == prompt).astype(np.int64) - (rejected == prompt), 0)
    d = sparse.csr_array(towards[:, None])
    plus, minus = signs(d)
    sums = by_cluster(d, prompt_clusters(table))
    independent = as_independent(plus, minus, sums)
    p = float(flip_p(sums)[0])
    low = float(purity_lower_bound(np.maximum(*independent), independent[0] + independent[1])[0])
    differing = int(plus[0] + minus[0])
    a_rule = p <= SIGNIFICANT and differing >= COVERAGE * len(table)
    side = "the chosen" if plus[0] >= minus[0] else "the rejected"
    says = (
        f"in {differing} of {len(table)} pairs one side alone answers in the prompt's language; it is {side} one in "
        f"{int(max(plus[0], minus[0]))} of them (sign test p = {p:.2g}): a model can learn the language instead of the "
        f"answer. {'Declared as intended.' if intended else FINE}"
    )
    value = low if a_rule else 0.0 if len(table) else float("nan")
    measure = Measure("balance/prompt_language", value, PURE if a_rule and not intended else None, None, says)
    if not differing:
        return measure, []
    counts: Statistics = {"chosen_only": int(plus[0]), "rejected_only": int(minus[0]), "p": p, "purity_low": low}
    severity = severity_of(measure)
    evidence = evidence_at(table, np.flatnonzero(towards))
    return measure, [Finding(measure.check, severity, says, "language", intended, counts, evidence)]


def _overview(table: PairTable, known: Bools) -> Finding:
    counts = np.stack([np.bincount(table[f"language_{side}"], minlength=len(LANGUAGES)) for side in SIDES])
    order = np.argsort(-counts.sum(axis=0), kind="stable")[:LISTED].tolist()
    rows = tuple((LANGUAGES[n], *counts[:, n].tolist()) for n in order if counts[:, n].any())
    elsewhere = int((known & _in_another_language(table)).sum())
    spoken = ", ".join(f"{LANGUAGES[n]} {counts[0, n] / max(len(table), 1):.0%}" for n in order[:3] if counts[0, n])
    says = (
        f"prompts are in {spoken or 'no language that is known'}; {elsewhere} of {len(table)} pairs have both answers "
        "in another language than the prompt (translations, or a model that strays)"
    )
    return Finding(
        "balance/languages",
        "info",
        says,
        statistics={"answers_in_another_language": elsewhere},
        tables=(Table("texts by language", ("language", *SIDES), rows),),
    )


def _in_another_language(table: PairTable) -> NDArray[np.bool_]:
    prompt, chosen, rejected = (table[f"language_{side}"] for side in SIDES)
    return np.asarray((chosen != prompt) & (rejected != prompt))


CHECK = Check("balance/language", columns=(prompt_columns, language_columns), run=check_languages)
