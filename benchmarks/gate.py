"""How often the gate is wrong and what it finds, by simulation through the gate's own function.

    python benchmarks/gate.py acceptance independent    # these tables only; all of them: none named
    python benchmarks/gate.py report                    # the results into docs/promotion.md

Results are kept in benchmarks/results/gate.json by table: one that is run again replaces its own. 4,000 draws a cell.
Items are right or wrong unless said otherwise; a share of them differs between two models, d of them more are won than
lost. Where every item has a prompt of its own, the verdict hangs on Tango's score alone (p is the probability of a
score as high, so it falls with the score): the gate is asked at the limits, which are found by bisection, and draws are
compared with those. Elsewhere it is asked once a draw.
"""

import argparse
import json
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from dpo_core.evaluate.gate import Scores, decide  # noqa: E402
from dpo_core.evaluate.score_test import score  # noqa: E402
from dpo_core.recipe_release import Gate  # noqa: E402

RESULTS, DOCS = ROOT / "benchmarks" / "results" / "gate.json", ROOT / "docs" / "promotion.md"
DRAWS, YEARS, WEEKS = 4000, 1000, 52
SIZES, SHARES, MARGINS = (40, 72, 133, 200, 500, 1000, 2000), (0.1, 0.2, 0.4), (0.02, 0.05, 0.1)
Cell = dict[str, Any]
Counts = NDArray[np.int64]


def verdict(
    challenger: Sequence[float],
    baseline: Sequence[float],
    rules: Gate,
    groups: Sequence[str] | None = None,
    **more: Any,
) -> str:
    """The gate's verdict on one metric."""
    names = groups if groups is not None else _names(len(challenger))
    return decide({"m": Scores(challenger, names)}, {"m": Scores(baseline, names)}, rules, **more).verdict


@lru_cache
def _names(items: int) -> list[str]:
    return [str(i) for i in range(items)]


def keep(margin: float) -> Gate:
    return Gate(improve=[], keep={"m": margin})


IMPROVE = Gate(improve=["m"])


def counted_verdict(won: int, lost: int, n: int, rules: Gate, looks: int = 1) -> str:
    """Of independent items that were won, lost, or right under both."""
    rest = [1.0] * (n - won - lost)
    return verdict([1.0] * won + [0.0] * lost + rest, [0.0] * won + [1.0] * lost + rest, rules, looks=looks)


def which(wanted: str, won: Counts, lost: Counts, n: int, rules: Gate, looks: int = 1) -> NDArray[np.bool_]:
    """Which draws get this verdict, promote or reject: all that are as good, or as bad, as the last that does."""
    limit = -rules.keep["m"] if "m" in rules.keep else 0.0
    t = (score(won, lost, n, limit) if wanted == "promote" else score(lost, won, n, -limit)).ravel()
    order, first, last = np.argsort(-t, kind="stable"), 0, t.size
    while first < last:
        middle = (first + last) // 2
        asked = int(won.flat[order[middle]]), int(lost.flat[order[middle]])
        found = counted_verdict(*asked, n, rules, looks) == wanted
        first, last = (middle + 1, last) if found else (first, middle)
    return np.asarray(t >= (t[order[first - 1]] - 1e-9 if first else np.inf)).reshape(won.shape)


def share_with(wanted: str, won: Counts, lost: Counts, n: int, rules: Gate) -> float:
    """How many of the draws get this verdict."""
    return float(which(wanted, won, lost, n, rules).mean())


def counts(draw: np.random.Generator, draws: int, n: int, share: float, d: float) -> tuple[Counts, Counts]:
    """Won and lost of `n` independent items."""
    both = draw.multinomial(n, [(share + d) / 2, (share - d) / 2, 1 - share], size=draws)
    return both[:, 0], both[:, 1]


def clustered(
    draw: np.random.Generator, draws: int, groups: int, size: int, share: float, d: float, icc: float
) -> NDArray[np.int8]:
    """1 won, -1 lost: each item answers as its group does with probability sqrt(icc), else by itself."""

    def answers(width: int) -> NDArray[np.int8]:
        u = draw.random((draws, groups, width))
        return np.where(u < (share + d) / 2, 1, np.where(u < share, -1, 0)).astype(np.int8)

    alike = draw.random((draws, groups, size)) < np.sqrt(icc)
    return np.where(alike, answers(1), answers(size)).reshape(draws, groups * size)


def verdicts(differences: NDArray[np.int8], rules: Gate, groups: Sequence[str]) -> dict[str, float]:
    """Shares of each verdict over draws of clustered items."""
    found = [
        verdict((row >= 0).astype(float).tolist(), (row <= 0).astype(float).tolist(), rules, groups)
        for row in differences
    ]
    return {name: found.count(name) / len(found) for name in ("promote", "reject_regression")}


def _seed(*cell: object) -> np.random.Generator:
    """The draws of a cell are the same in every process and order."""
    return np.random.default_rng(zlib.crc32(repr(cell).encode()))


def independent_cell(n: int, share: float, margin: float) -> Cell:
    draw, rules = _seed("independent", n, share, margin), keep(margin)
    at_margin = counts(draw, DRAWS, n, share, -margin)
    equal = counts(draw, DRAWS, n, share, 0.0)
    return {
        "n": n,
        "share": share,
        "margin": margin,
        "promoted_at_margin": share_with("promote", *at_margin, n, rules),
        "rejected_if_equal": share_with("reject_regression", *equal, n, rules),
        "power_if_equal": share_with("promote", *equal, n, rules),
    }


def clustered_cell(n: int, share: float, margin: float, size: int, icc: float) -> Cell:
    draw, rules = _seed("clustered", n, share, margin, size, icc), keep(margin)
    groups = round(n / size)
    names = [str(i // size) for i in range(groups * size)]
    draws = DRAWS if n <= 500 else DRAWS // 4
    if groups < rules.min_items:
        draws = 20  # it is held whatever the answers are
    at_margin = verdicts(clustered(draw, draws, groups, size, share, -margin, icc), rules, names)
    equal = verdicts(clustered(draw, draws, groups, size, share, 0.0, icc), rules, names)
    return {
        "n": groups * size,
        "draws": draws,
        "groups": groups,
        "wordings": size,
        "icc": icc,
        "share": share,
        "margin": margin,
        "promoted_at_margin": at_margin["promote"],
        "rejected_if_equal": equal["reject_regression"],
        "power_if_equal": equal["promote"],
    }


def keep_at_margin(n: int, share: float, points: float) -> float:
    won, lost = counts(_seed("keep", n, share, points), DRAWS, n, share, -points)
    return share_with("promote", won, lost, n, keep(points))


def kept_if(n: int, share: float, margin: float, d: float, wanted: str) -> float:
    won, lost = counts(_seed("if", n, share, margin, d), DRAWS, n, share, d)
    return share_with(wanted, won, lost, n, keep(margin))


def improved(n: int, share: float, d: float) -> float:
    won, lost = counts(_seed("improve", n, share, d), DRAWS, n, share, d)
    return share_with("promote", won, lost, n, IMPROVE)


def nothing_differs(n: int, points: float) -> float:
    return float(counted_verdict(0, 0, n, keep(points)) == "promote")


def coin(prompts: int, pairs: int) -> float:
    """Accuracies of a model that tells nothing, against a reference that ties with itself."""
    draw, names = _seed("coin", prompts, pairs), [str(i // pairs) for i in range(prompts * pairs)]
    half = [0.5] * len(names)
    rows = (draw.random((DRAWS, len(names))) < 0.5).astype(float)
    return float(np.mean([verdict(row.tolist(), half, IMPROVE, names) == "promote" for row in rows]))


def skewed(groups: int) -> float:
    """Margins that lose a tenth on average: one prompt in five loses 2 more; one to four pairs a prompt, icc .5."""
    draw, promoted = _seed("skewed", groups), 0
    for _ in range(DRAWS):
        sizes = draw.integers(1, 5, groups)
        names = [str(i) for i, size in enumerate(sizes) for _ in range(size)]
        group = 0.4 - 2.0 * (draw.random(groups) < 0.2) + draw.normal(0, 0.5, groups)  # mean 0, skewness -.8
        values = -0.1 + np.repeat(group, sizes) + draw.normal(0, 0.94, len(names))
        promoted += verdict(values.tolist(), [0.0] * len(names), keep(0.1), names) == "promote"
    return promoted / DRAWS


def all_won(n: int) -> float:
    return float(counted_verdict(n, 0, n, IMPROVE) == "promote")


def no_gain(groups: int) -> float:
    draw = _seed("no gain", groups)
    rows = draw.normal(0, 1, (DRAWS, groups))
    return float(np.mean([verdict(row.tolist(), [0.0] * groups, IMPROVE) == "promote" for row in rows]))


def year(n: int, share: float, variants: int, *, of_the_champion: bool = False) -> float:
    """Share of years in which an equal candidate is promoted: each week the best-looking of its variants is gated.

    All models, the champion too, answer an item right with the item's probability; or candidates are the champion with
    `share` of its answers changed (then less of its luck is common to all of them).
    """
    draw, looks, years = _seed("year", n, share, variants), WEEKS * variants, YEARS if variants > 1 else DRAWS
    won, lost = (np.empty((years, WEEKS), dtype=np.int64) for _ in range(2))
    right_on_average = 0.7
    spread = share / 2 / (right_on_average * (1 - right_on_average) - share / 2)  # of Beta: two models differ in share
    chances = draw.beta(right_on_average * spread, (1 - right_on_average) * spread, (years, 1, n)).astype(np.float32)
    right = draw.random((years, 1, n), dtype=np.float32) < chances  # the champion's answers, the same all year
    if of_the_champion:
        chances = np.where(right, 1 - share / 2 / right_on_average, share / 2 / (1 - right_on_average))
    for week in range(WEEKS):
        new = draw.random((years, variants, n), dtype=np.float32) < chances
        gained, missed = (new & ~right).sum(2), (~new & right).sum(2)
        best = (gained - missed).argmax(axis=1)[:, None]
        won[:, week], lost[:, week] = (np.take_along_axis(x, best, axis=1)[:, 0] for x in (gained, missed))
    return float(which("promote", won, lost, n, IMPROVE, looks).any(axis=1).mean())


def year_of_changes(n: int, share: float) -> float:
    return year(n, share, 1, of_the_champion=True)


def chain(n: int, margin: float, steps: int = 10) -> float:
    """Share of chains that end below the anchor by more than a margin.

    Each candidate is truly half a margin worse than the champion of the day, and gated against it and the anchor.
    """
    draw, too_far = _seed("chain", n, margin), 0
    for _ in range(YEARS):
        start = accuracy = 0.8
        anchor = champion = draw.random(n) < start
        for _ in range(steps):
            spoilt = draw.random(n) < (0.05 + margin / 2) / accuracy
            mended = draw.random(n) < 0.05 / (1 - accuracy)
            candidate = np.where(champion, ~spoilt, mended)
            new, old, first = (
                {"m": Scores(x.astype(float).tolist(), _names(n))} for x in (candidate, champion, anchor)
            )
            if decide(new, old, keep(margin), anchor=first).verdict == "promote":
                champion, accuracy = candidate, accuracy - margin / 2
        too_far += start - accuracy > margin + 1e-9
    return too_far / YEARS


class Row(NamedTuple):
    """A cell with a limit: what is measured, and what it may be."""

    says: str
    limit: str
    measure: Callable[..., float]
    given: tuple[Any, ...]


ACCEPTANCE = [
    *(
        Row(
            f"keep, truly at the margin: {n} / {share:g} / {100 * m:g}: promote",
            "<= 0.05",
            keep_at_margin,
            (n, share, m),
        )
        for n, share, m in ((200, 0.1, 0.02), (1000, 0.2, 0.02), (72, 0.1, 0.05), (200, 0.4, 0.05))
    ),
    *(
        Row(f"the same, no item won: {n} / {100 * m:g}: promote", "<= 0.05", keep_at_margin, (n, m, m))
        for n, m in ((40, 0.02), (72, 0.05), (133, 0.02), (133, 0.1))
    ),
    Row("no difference at all: 40 items, 2 points: promote", "= 0", nothing_differs, (40, 0.02)),
    Row("no difference at all: 200 items, 2 points: promote", "= 1", nothing_differs, (200, 0.02)),
    *(
        Row(f"a coin: prompts {prompts}, pairs of each {pairs}: promote", "<= 0.05", coin, (prompts, pairs))
        for prompts, pairs in ((1, 1), (2, 1), (5, 3), (20, 3))
    ),
    Row("five items, all won: promote", "= 0", all_won, (5,)),
    Row("skewed margins at the margin, 20 groups: promote", "<= 0.08", skewed, (20,)),
    Row("skewed margins at the margin, 72 groups: promote", "<= 0.06", skewed, (72,)),
    Row("no gain: margins, 40 groups: promote", "<= 0.05", no_gain, (40,)),
    Row("no gain: n = 200, 20 % differ: promote", "<= 0.05", improved, (200, 0.2, 0.0)),
    Row("+5 points, n = 500, 20 % differ: promote", ">= 0.78", improved, (500, 0.2, 0.05)),
    Row("+10 points, n = 200, 20 % differ: promote", ">= 0.90", improved, (200, 0.2, 0.1)),
    Row("equal, keep: 500 / 0.2 / 5: promote", ">= 0.78", kept_if, (500, 0.2, 0.05, 0.0, "promote")),
    Row("equal, keep: 2000 / 0.1 / 2: promote", ">= 0.85", kept_if, (2000, 0.1, 0.02, 0.0, "promote")),
    Row("equal: 72 / 0.2 / 5: reject", "<= 0.05", kept_if, (72, 0.2, 0.05, 0.0, "reject_regression")),
    Row("equal: 200 / 0.2 / 2: reject", "<= 0.05", kept_if, (200, 0.2, 0.02, 0.0, "reject_regression")),
    Row("-10 points, n = 500, margin 5: reject", ">= 0.70", kept_if, (500, 0.2, 0.05, -0.1, "reject_regression")),
]
REUSE = [
    Row("52 equal candidates a year, n = 200: any promoted", "<= 0.10", year, (200, 0.2, 1)),
    Row("52 equal candidates a year, n = 1000: any promoted", "<= 0.10", year, (1000, 0.2, 1)),
    Row("the best-looking of eight a week, 416 looks, n = 200: any promoted", "<= 0.10", year, (200, 0.2, 8)),
    Row("52 equal candidates that change the champion, n = 200: any promoted", "none set", year_of_changes, (200, 0.2)),
    Row("chain of ten half margins, n = 319, margin 10: too far below the anchor", "<= 0.05", chain, (319, 0.1)),
]
TABLES: dict[str, list[tuple[Callable[..., Any], tuple[Any, ...]]]] = {
    "acceptance": [(row.measure, row.given) for row in ACCEPTANCE],
    "reuse": [(row.measure, row.given) for row in REUSE],
    "independent": [
        (independent_cell, (n, share, margin))
        for n, share, margin in product(SIZES, SHARES, MARGINS)
        if margin <= share
    ],
    "clustered": [
        (clustered_cell, (n, share, margin, size, icc))
        for n, size, icc, share, margin in product(SIZES, (2, 4), (0.5, 0.8), SHARES, MARGINS)
        if margin <= share
    ],
}


def run(tables: Sequence[str], workers: int) -> None:
    """Measure the cells of these tables; each is written when it is done."""
    with ProcessPoolExecutor(workers) as pool:
        for table in tables:
            jobs = [pool.submit(measure, *given) for measure, given in TABLES[table]]
            measured = []
            for job, (measure, given) in zip(jobs, TABLES[table], strict=True):
                measured.append(job.result())
                print(measure.__name__, *given, measured[-1], flush=True)
                results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
                RESULTS.write_text(json.dumps({**results, table: measured}, indent=1) + "\n")


def report() -> None:
    """The tables of docs/promotion.md, between their marks."""
    results = json.loads(RESULTS.read_text())
    text = DOCS.read_text()
    for table, lines in (
        ("acceptance", limits(ACCEPTANCE, results["acceptance"])),
        ("reuse", limits(REUSE, results["reuse"])),
        ("independent", grid(results["independent"], "items / differ", lambda c: f"{c['n']} / {c['share']:.0%}")),
        ("clustered", worst(results["clustered"])),
    ):
        head, mark = f"<!-- {table} -->\n", f"<!-- end of {table} -->"
        before, _, rest = text.partition(head)
        text = before + head + "\n".join(lines) + "\n" + mark + rest.partition(mark)[2]
    DOCS.write_text(text)


def limits(rows: Sequence[Row], measured: Sequence[float]) -> Iterator[str]:
    yield from ("| cell | measured | limit |", "|---|---|---|")
    for row, value in zip(rows, measured, strict=True):
        yield f"| {row.says} | {value:.3f} | {row.limit} |"


def grid(cells: Sequence[Cell], title: str, name: Callable[[Cell], str]) -> Iterator[str]:
    """A line a number of items and share that differs; in each margin's column promoted at it, rejected, power."""
    yield f"| {title} | {' | '.join(f'margin {m:g}' for m in MARGINS)} |"
    yield "|---" * (1 + len(MARGINS)) + "|"
    for label in dict.fromkeys(map(name, cells)):
        row = {cell["margin"]: cell for cell in cells if name(cell) == label}
        shown = [
            f"{c['promoted_at_margin']:.3f} · {c['rejected_if_equal']:.3f} · {c['power_if_equal']:.2f}" if c else "-"
            for c in map(row.get, MARGINS)
        ]
        yield f"| {label} | {' | '.join(shown)} |"


def worst(cells: Sequence[Cell]) -> Iterator[str]:
    """Clustered cells by size, wordings and icc: the highest error of any share and margin, the power of some."""
    yield "| items of prompts | icc | promoted at margin, most | rejected if equal, most | power (20 %; 0.05, 0.1) |"
    yield "|---" * 5 + "|"
    for key in dict.fromkeys((c["n"], c["groups"], c["icc"]) for c in cells):
        row = [c for c in cells if (c["n"], c["groups"], c["icc"]) == key]
        most = [max(c[name] for c in row) for name in ("promoted_at_margin", "rejected_if_equal")]
        power = "; ".join(f"{c['power_if_equal']:.2f}" for c in row if c["share"] == 0.2 and c["margin"] > 0.02)
        yield f"| {key[0]} of {key[1]} | {key[2]} | {most[0]:.3f} | {most[1]:.3f} | {power} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", choices=[*TABLES, "report"], metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    if asked.tables != ["report"]:
        run(asked.tables or list(TABLES), asked.workers)
    else:
        report()
