"""How well the chosen side can be told without the prompt, by probes that see ever richer facts of the answers.

A probe is a logistic model without intercept on the difference of the two sides, out of fold by prompt. The first two
(length; raw-character facts) should be near 50 %; words tell more where answers differ in quality, so they only warn.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, sparse, special

from dpo_core.quality.check import Check, Facts
from dpo_core.quality.features.feature_tests import Separation
from dpo_core.quality.features.ngrams import KIND, TOKEN, WORD
from dpo_core.quality.prompts.identity import prompt_columns, sample_rows
from dpo_core.quality.results import Results, Statistics
from dpo_core.quality.shortcuts.declared import declared_columns
from dpo_core.quality.shortcuts.declared_kinds import alike
from dpo_core.quality.stats.clusters import bootstrap_interval
from dpo_core.quality.text.language import language_columns
from dpo_core.quality.text.surface import AMOUNTS, LENGTHS, PRESENCE, surface_columns
from dpo_core.recipe import Validation
from dpo_core.report.results import RANK, Finding, Measure, Severity, Table

FOLDS, LEAST_PROMPTS, EXAMINED = 5, 100, 20_000  # prompts; pairs
WARN, FAIL = 0.60, 0.70  # of the lower bound of the accuracy
Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Matrix = Floats | sparse.csr_array
ADVICE: dict[Severity, str] = {
    "info": ": close to chance",
    "warn": ": many small differences add up (style, length, who wrote it). Look at the other findings and at how "
    "the two sides were made; where better answers are simply better written, this is no fault",
    "fail": ": the answers need not be read to know which was chosen. Balance them, or set validation.on_shortcut",
}


@dataclass(frozen=True)
class ProbeResult:
    """Out-of-fold accuracy with its 95 % interval (prompts resampled), and usable bits a pair."""

    name: str
    accuracy: float
    low: float
    high: float
    bits: float  # 1 - mean negative log2-likelihood: V-information, Ethayarajh et al. 2022 (arXiv:2110.08420)

    @property
    def short_name(self) -> str:
        """The last word of its name."""
        return self.name.split()[-1]

    @property
    def gates(self) -> bool:
        """Whether it may fail: by what it sees, better answers should not be told."""
        return self.name in ("length", "surface")

    @property
    def percent(self) -> str:
        """Its accuracy as people read it."""
        return f"{self.accuracy:.1%} ({self.low:.1%} to {self.high:.1%})"


def check_probe(facts: Facts, validation: Validation) -> Results:
    """Length and surface warn above 60 % and fail above 70 % (lower bounds); words only warn.

    Features declared as intended are left out. Nothing is measured on fewer than 100 prompts, and that is said.
    """
    results = fit_probes(facts.separation, validation.intended)
    if not results:
        says = f"fewer than {LEAST_PROMPTS} prompts: too few for a probe of what the answers alone give away"
        return [], [Finding("shortcut/probe", "info", says, looked_for=False)]
    severities = [_severity(result) for result in results]
    measures = [
        Measure(
            f"shortcut/probe_{result.short_name}",
            result.low,
            WARN,
            FAIL if result.gates else None,
            f"a probe that sees only the answers' {result.name} tells the chosen one in {result.percent} of pairs",
        )
        for result in results
    ]
    return measures, [_finding(results, severities)]


def _severity(result: ProbeResult) -> Severity:
    if result.low <= WARN:
        return "info"
    return "fail" if result.gates and result.low > FAIL else "warn"


def _finding(results: Sequence[ProbeResult], severities: Sequence[Severity]) -> Finding:
    """All probes in one; its words are about one that is as bad as the worst: where they warn the richest.

    Where none tells anything, and where some fail, about the one of these that tells the most.
    """
    worst = max(severities, key=RANK.__getitem__)
    such = [result for result, severity in zip(results, severities, strict=True) if severity == worst]
    top = such[-1] if worst == "warn" else max(such, key=lambda result: result.low)
    says = f"without the prompt, the answers' {top.name} alone tells the chosen one in {top.percent} of pairs"
    header = ("sees only the answers'", "accuracy", "low", "high", "bits a pair")
    rows = tuple((r.name, round(r.accuracy, 3), round(r.low, 3), round(r.high, 3), round(r.bits, 3)) for r in results)
    statistics: Statistics = {f"{r.short_name}_accuracy": r.accuracy for r in results}
    statistics |= {"low": top.low, "high": top.high, "bits": top.bits}
    table = Table("Probes", header, rows)
    return Finding("shortcut/probe", worst, says + ADVICE[worst], statistics=statistics, tables=(table,))


def fit_probes(separation: Separation, intended: Sequence[str] = ()) -> list[ProbeResult]:
    """Every probe, on at most 20,000 of the sampled pairs; none if there are too few prompts.

    Pairs that differ in a declared aim are left out: that they can be told apart is meant.
    """
    sampled = separation.grams.rows
    meant = separation.table["intended"][sampled].any(axis=1) | ~alike(separation.table, intended)[sampled]
    rows = np.flatnonzero(~meant)
    rows = rows[sample_rows(separation.table["prompt"][sampled[rows]], EXAMINED)]
    clusters = np.asarray(np.unique(separation.clusters[rows], return_inverse=True)[1], dtype=np.int64)
    if clusters.max(initial=-1) + 1 < LEAST_PROMPTS:
        return []
    return [_result(name, x, ridge, clusters) for name, x, ridge in _inputs(separation, rows, intended)]


def _inputs(separation: Separation, rows: Rows, intended: Sequence[str]) -> list[tuple[str, Matrix, float]]:
    """Of each probe its name, antisymmetric features (pairs, features) and ridge, the poorest first."""
    declared = {term.casefold() for term in intended}
    amounts = separation.table["amounts"][separation.grams.rows[rows]].astype(np.float64)
    kept = [k for k, name in enumerate(AMOUNTS) if name not in LENGTHS and name not in declared]
    squeezed = np.sign(amounts[:, kept]) * np.log1p(np.abs(amounts[:, kept]))
    own = len(PRESENCE)
    named = np.flatnonzero([name not in declared for name in PRESENCE])
    d = sparse.csr_array(separation.d[rows].astype(np.float64))
    single = own + np.flatnonzero(np.isin(separation.grams.keys & KIND, (TOKEN, WORD)))
    surface = np.hstack([np.sign(squeezed), squeezed, d[:, named].toarray()])
    inputs: list[tuple[str, Matrix, float]] = []
    if not {"length", *LENGTHS} & declared:
        lengths = separation.length_terms[rows]
        inputs.append(("length", lengths, 1e-3))
        surface = np.hstack([lengths, surface])
    inputs.append(("surface", surface, 3.0))
    inputs.append(("single words", sparse.csr_array(d[:, single]), 100.0))
    inputs.append(("words and neighbours", sparse.csr_array(d[:, own:]), 100.0))
    return [(name, x, ridge) for name, x, ridge in inputs if x.shape[1]]


def _result(name: str, x: Matrix, ridge: float, clusters: Rows) -> ProbeResult:
    fold = np.random.default_rng(0).integers(0, FOLDS, size=int(clusters.max()) + 1)[clusters]
    logit = np.zeros(len(clusters))
    for held_out in range(FOLDS):
        logit[fold == held_out] = x[fold == held_out] @ fit_weights(x[fold != held_out], ridge)
    right = np.where(logit == 0, 0.5, logit > 0)
    low, high = bootstrap_interval(right, clusters)
    bits = 1 + float(np.mean(special.log_expit(logit))) / np.log(2)
    return ProbeResult(name, float(right.mean()), low, high, bits)


def fit_weights(x: Matrix, ridge: float) -> Floats:
    """Weights of P(chosen wins) = sigma(x w) that minimise the sum of log losses plus ridge / 2 |w|^2.

    The same as scikit-learn's LogisticRegression(C=1 / ridge, fit_intercept=False) on rows of which every other one is
    mirrored (it wants two classes). That takes 1.3 to 2 times as long, and stops at another place: accuracies near
    chance then differ by up to a percent.
    """

    def loss(w: Floats) -> tuple[float, Floats]:
        logit = x @ w
        return float(ridge / 2 * w @ w - special.log_expit(logit).sum()), ridge * w - x.T @ special.expit(-logit)

    start = np.zeros(x.shape[1])
    result = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 60, "ftol": 1e-5})
    return np.asarray(result.x, dtype=np.float64)


CHECK = Check(
    "shortcut/probe", columns=(surface_columns, language_columns, prompt_columns, declared_columns), run=check_probe
)
