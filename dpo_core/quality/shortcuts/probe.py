"""How well the chosen side can be told without the prompt, by a ladder of ever richer facts of the answers.

A logistic model without intercept on the difference of the two sides, out of fold by prompt. The first two rungs
(length; raw-character facts) should be near 50 %; words tell more where answers differ in quality, so they only warn.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, sparse, special

from dpo_core.quality.prompts.identity import sample_rows
from dpo_core.quality.shortcuts.declared import alike
from dpo_core.quality.shortcuts.features import TOKEN, WORD
from dpo_core.quality.tested import Separation
from dpo_core.quality.text.surface import AMOUNTS, LENGTHS, PRESENCE
from dpo_core.recipe import Validation
from dpo_core.report.results import RANK, Finding, Measure, Severity, Table

FOLDS, LEAST_PROMPTS, EXAMINED = 5, 100, 20_000  # prompts; pairs
WARN, FAIL = 0.60, 0.70  # of the lower bound of the accuracy
ROUNDS = 500
Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Matrix = Floats | sparse.csr_array


@dataclass(frozen=True)
class Rung:
    """Out-of-fold accuracy with its 95 % interval (prompts resampled), and usable bits a pair."""

    name: str
    accuracy: float
    low: float
    high: float
    bits: float  # 1 - mean negative log2-likelihood: V-information, Ethayarajh et al. 2022 (arXiv:2110.08420)


def check_probe(separation: Separation, validation: Validation) -> tuple[list[Measure], list[Finding]]:
    """The ladder. Length and surface warn above 60 % and fail above 70 % (lower bounds); words only warn.

    Features declared as intended are left out. Nothing is measured on fewer than 100 prompts, and that is said.
    """
    rungs = climb(separation, validation.intended)
    if not rungs:
        says = f"fewer than {LEAST_PROMPTS} prompts: too few for a probe of what the answers alone give away"
        return [], [Finding("shortcut/probe", "info", says)]
    measures: list[Measure] = []
    worst: Severity = "info"
    for rung in rungs:
        gates = rung.name in ("length", "surface")
        severity: Severity = "info" if rung.low <= WARN else "fail" if gates and rung.low > FAIL else "warn"
        worst = max(worst, severity, key=RANK.__getitem__)
        says = f"a probe that sees only the answers' {rung.name} tells the chosen one in {_percent(rung)} of pairs"
        measures.append(
            Measure(f"shortcut/probe_{rung.name.split()[-1]}", rung.low, WARN, FAIL if gates else None, says)
        )
    top = rungs[-1] if worst == "warn" else max(rungs[:2], key=lambda rung: rung.low)
    says = f"without the prompt, the answers' {top.name} alone tells the chosen one in {_percent(top)} of pairs"
    says += {
        "info": ": close to chance",
        "warn": ": many small differences add up (style, length, who wrote it). Look at the other findings and at how "
        "the two sides were made; where better answers are simply better written, this is no fault",
        "fail": ": the answers need not be read to know which was chosen. Balance them, or set validation.on_shortcut",
    }[worst]
    header = ("sees only the answers'", "accuracy", "low", "high", "bits a pair")
    rows = tuple((r.name, round(r.accuracy, 3), round(r.low, 3), round(r.high, 3), round(r.bits, 3)) for r in rungs)
    statistics: dict[str, float | int | str] = {f"{r.name.split()[-1]}_accuracy": r.accuracy for r in rungs}
    statistics |= {"low": top.low, "high": top.high, "bits": top.bits}
    return measures, [
        Finding("shortcut/probe", worst, says, statistics=statistics, tables=(Table("Probes", header, rows),))
    ]


def climb(separation: Separation, intended: Sequence[str] = ()) -> list[Rung]:
    """Every rung on at most 20,000 of the sampled pairs; empty if there are too few prompts.

    Pairs that differ in a declared aim are left out: that they can be told apart is meant.
    """
    told = separation.table["intended"][separation.grams.rows].any(axis=1)
    told |= ~alike(separation.table, intended)[separation.grams.rows]
    rows = np.flatnonzero(~told)
    rows = rows[sample_rows(separation.table["prompt"][separation.grams.rows[rows]], EXAMINED)]
    clusters = np.asarray(np.unique(separation.clusters[rows], return_inverse=True)[1], dtype=np.int64)
    if clusters.max(initial=-1) + 1 < LEAST_PROMPTS:
        return []
    return [_rung(name, x, ridge, clusters) for name, x, ridge in _ladder(separation, rows, intended)]


def _ladder(separation: Separation, rows: Rows, intended: Sequence[str]) -> list[tuple[str, Matrix, float]]:
    """Name, antisymmetric features (pairs, features) and ridge of each rung."""
    declared = {term.casefold() for term in intended}
    amounts = separation.table["amounts"][separation.grams.rows[rows]].astype(np.float64)
    kept = [k for k, name in enumerate(AMOUNTS) if name not in LENGTHS and name not in declared]
    squeezed = np.sign(amounts[:, kept]) * np.log1p(np.abs(amounts[:, kept]))
    own = len(PRESENCE)
    named = np.flatnonzero([name not in declared for name in PRESENCE])
    d = sparse.csr_array(separation.d[rows].astype(np.float64))
    single = own + np.flatnonzero(np.isin(separation.grams.keys & ~((1 << 56) - 1), (TOKEN, WORD)))
    properties = d[:, named]
    surface = np.hstack([np.sign(squeezed), squeezed, properties.toarray()])
    ladder: list[tuple[str, Matrix, float]] = []
    if not {"length", *LENGTHS} & declared:
        ladder.append(("length", separation.terms[rows], 1e-3))
        surface = np.hstack([separation.terms[rows], surface])
    ladder.append(("surface", surface, 3.0))
    ladder.append(("single words", sparse.csr_array(d[:, single]), 100.0))
    ladder.append(("words and neighbours", sparse.csr_array(d[:, own:]), 100.0))
    return [(name, x, ridge) for name, x, ridge in ladder if x.shape[1]]


def _rung(name: str, x: Matrix, ridge: float, clusters: Rows) -> Rung:
    fold = np.random.default_rng(0).integers(0, FOLDS, size=int(clusters.max()) + 1)[clusters]
    logit = np.zeros(len(clusters))
    for held_out in range(FOLDS):
        w = fit(x[fold != held_out], ridge)
        logit[fold == held_out] = x[fold == held_out] @ w
    right = np.where(logit == 0, 0.5, logit > 0)
    low, high = _interval(right, clusters)
    bits = 1 + float(np.mean(special.log_expit(logit))) / np.log(2)
    return Rung(name, float(right.mean()), low, high, bits)


def fit(x: Matrix, ridge: float) -> Floats:
    """Weights of P(chosen wins) = sigma(x w) that minimise the sum of log losses plus ridge / 2 |w|^2."""

    def loss(w: Floats) -> tuple[float, Floats]:
        logit = x @ w
        return float(ridge / 2 * w @ w - special.log_expit(logit).sum()), ridge * w - x.T @ special.expit(-logit)

    start = np.zeros(x.shape[1])
    result = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 60, "ftol": 1e-5})
    return np.asarray(result.x, dtype=np.float64)


def _interval(right: Floats, clusters: Rows) -> tuple[float, float]:
    """95 % percentile interval of the mean, prompts drawn with replacement."""
    sums, sizes = np.bincount(clusters, weights=right), np.bincount(clusters).astype(np.float64)
    random = np.random.default_rng(1)
    means = []
    for _ in range(ROUNDS):
        times = np.bincount(random.integers(0, len(sums), size=len(sums)), minlength=len(sums))
        means.append(float(times @ sums / (times @ sizes)))
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _percent(rung: Rung) -> str:
    return f"{rung.accuracy:.1%} ({rung.low:.1%} to {rung.high:.1%})"
