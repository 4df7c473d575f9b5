"""How often the shortcut checks raise a false alarm, what they find of what is planted, and what real data show.

    python benchmarks/campaign.py nulls 0 200      # null sets by seed, false alarms
    python benchmarks/campaign.py clustered 0 200  # null sets of 1 to 10 pairs a prompt that share answers
    python benchmarks/campaign.py recall           # planted words by size and purity
    python benchmarks/campaign.py recall_clustered # the same in sets of 1 to 10 pairs a prompt
    python benchmarks/campaign.py real FOLDER      # verdicts and top findings of preference sets (JSONL)
    python benchmarks/campaign.py swaps FOLDER 20  # the same sets with sides swapped at random by prompt, by seed
    python benchmarks/campaign.py report           # all results into docs/data-quality.md and its picture

Each command keeps its results in benchmarks/results/campaign/; one that was cut off goes on where it stopped. Rows of
the data are never written, only counts. `TOKENIZER=folder` adds the tokens of a training tokenizer.
"""

import itertools
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from dpo_core.data.pairs import EncodedPair, Pair  # noqa: E402
from dpo_core.data.readers import read_pairs  # noqa: E402
from dpo_core.quality.check import Check, Facts  # noqa: E402
from dpo_core.quality.examine import SEPARATION, examine, tables_of  # noqa: E402
from dpo_core.quality.features.ngrams import GramTable  # noqa: E402
from dpo_core.quality.prompts.identity import prompt_clusters  # noqa: E402
from dpo_core.quality.shortcuts import findings, power  # noqa: E402
from dpo_core.quality.table import PairTable  # noqa: E402
from dpo_core.recipe import Validation  # noqa: E402
from dpo_core.report.results import Finding  # noqa: E402
from tests.dpo_core.quality import planted  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "campaign"
DOCS = ROOT / "docs" / "data-quality.md"
PICTURE = ROOT / "docs" / "images" / "data-quality-recall.svg"
NULLS: dict[str, Callable[[int], list[EncodedPair]]] = {
    "random words and lengths": lambda seed: planted.null(seed, 300 + 300 * (seed % 5)),
    "best of five": planted.best_of,
    "all pairs of four answers": planted.ranked,
    "random style": planted.styled,
}
SHARES = (0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1)
PURITIES, COUNTS, SEEDS = (1.0, 0.9, 0.75), (1000, 3000), 40
CLUSTERED = "1 to 10 pairs a prompt, shared answers"
CLUSTERED_SHARES, CLUSTERED_PURITIES, PROMPTS, CLUSTERED_SEEDS = (0.01, 0.02, 0.03, 0.05, 0.1), (1.0, 0.9), 160, 20
SETS = ("hh-rlhf.train", "hh-rlhf.test", "llmbar", "alpacaeval-judged", "mqm-translation", "do-not-answer")
SETS = (*SETS, "qa-feedback", "demo-en-zh")
DECLARED = {"do-not-answer": ["refusal"]}


def nulls(first: str, last: str) -> None:
    """False alarms on null sets of four kinds."""
    for seed in range(int(first), int(last)):
        kind = list(NULLS)[seed % len(NULLS)]
        if missing("nulls", str(seed)):
            pairs = NULLS[kind](seed)
            keep("nulls", str(seed), {"kind": kind, "pairs": len(pairs), **alarms(separated(pairs))})


def clustered(first: str, last: str) -> None:
    """False alarms where prompts repeat and pairs share answers."""
    for seed in range(int(first), int(last)):
        if missing("nulls", f"clustered-{seed}"):
            pairs = planted.clustered(seed)
            keep("nulls", f"clustered-{seed}", {"kind": CLUSTERED, "pairs": len(pairs), **alarms(separated(pairs))})


def recall_clustered() -> None:
    """Share of planted words found where prompts repeat: in one pair's copy of an answer, and in all copies."""
    for whole, purity, share in itertools.product((False, True), CLUSTERED_PURITIES, CLUSTERED_SHARES):
        name = f"{'answers' if whole else 'pairs'}-{purity}-{share}"
        if missing("recall_clustered", name):
            sets = (
                planted.clustered_word(seed, share, purity, PROMPTS, whole=whole) for seed in range(CLUSTERED_SEEDS)
            )
            found = Counter(found_word(pairs, (findings.CHECK,)) for pairs in sets)
            keep(
                "recall_clustered",
                name,
                {"whole": whole, "purity": purity, "share": share, "seeds": CLUSTERED_SEEDS, **found},
            )


def recall() -> None:
    """Share of planted words that warn or fail, by share of pairs, purity and number of pairs."""
    for count, purity, share in itertools.product(COUNTS, PURITIES, SHARES):
        name = f"{count}-{purity}-{share}"
        if missing("recall", name):
            found = Counter(found_word(planted.word(seed, share, count, purity, by_lot=True)) for seed in range(SEEDS))
            keep("recall", name, {"count": count, "purity": purity, "share": share, "seeds": SEEDS, **found})


def found_word(pairs: list[EncodedPair], checks: Sequence[Check] = SEPARATION) -> str:
    """Severity of the planted word, at the end of answers or anywhere."""
    return next(
        (f.severity for f in separated(pairs, checks) if f.feature in ("word 'zebra'", "last word 'zebra'")), "missed"
    )


def separated(pairs: list[EncodedPair], checks: Sequence[Check] = SEPARATION) -> list[Finding]:
    """What tells the chosen side from the rejected one."""
    validation = Validation()
    return examine(Facts(*tables_of(pairs, validation, checks=SEPARATION)), validation, checks).findings


def real(folder: str) -> None:
    """Verdict and findings of every set that is there; with its aim declared as well, where it has one."""
    for data, intended in [*((data, []) for data in SETS), *DECLARED.items()]:
        name = "+".join([data, *intended])
        loaded = load(folder, data) if missing("real", name) else None
        if loaded is not None:
            pairs, token_text = loaded
            validation = Validation(intended=intended)
            table, grams = tables_of(pairs, validation, checks=SEPARATION)
            found = examine(Facts(table, grams, token_text=token_text), validation, (*SEPARATION, power.CHECK))
            result = {
                "set": data,
                "intended": intended,
                "pairs": len(pairs),
                "prompts": int(prompt_clusters(table).max() + 1),
                "findings": [finding.to_document() for finding in found.findings],
                "measures": {measure.check: measure.value for measure in found.measures},
            }
            keep("real", name, result)


def swaps(folder: str, seeds: str) -> None:
    """Findings when the sides of each prompt's pairs are swapped by a coin."""
    for data, intended in [*((data, []) for data in SETS), *DECLARED.items()]:
        name = "+".join([data, *intended])
        left = [seed for seed in range(int(seeds)) if missing("swaps", f"{name}-{seed}")]
        loaded = load(folder, data) if left else None
        if loaded is not None:
            validation = Validation(intended=intended)
            tables = tables_of(loaded[0], validation, checks=SEPARATION)
            for seed in left:
                facts = Facts(*swapped(*tables, seed), token_text=loaded[1])
                found = examine(facts, validation, SEPARATION)
                keep("swaps", f"{name}-{seed}", {"set": name, "seed": seed, **alarms(found.findings)})


def swapped(table: PairTable, grams: GramTable, seed: int) -> tuple[PairTable, GramTable]:
    """The tables of the same pairs with sides swapped, all pairs of a prompt alike; nothing is read again."""
    clusters = prompt_clusters(table)
    sign = np.random.default_rng(seed).integers(0, 2, int(clusters.max()) + 1)[clusters] * 2 - 1
    columns = dict(table.columns)
    for name in ("presence", "amounts", "intended"):
        columns[name] = (columns[name] * sign[:, None]).astype(columns[name].dtype)
    columns["answers"] = np.where(sign[:, None] > 0, columns["answers"], columns["answers"][:, ::-1])
    columns["log_length"] = (columns["log_length"] * sign).astype(np.float32)
    chosen, rejected = columns["chosen_model"], columns["rejected_model"]
    columns["chosen_model"] = np.where(sign > 0, chosen, rejected)
    columns["rejected_model"] = np.where(sign > 0, rejected, chosen)

    def rows(indices: Any) -> list[Pair]:
        pairs = table.rows(indices)
        return [pair if sign[row] > 0 else turned(pair) for row, pair in zip(indices, pairs, strict=True)]

    d = sparse.csr_array(sparse.diags_array(sign[grams.rows], dtype=np.int8) @ grams.d)
    return PairTable(len(table), columns, rows), GramTable(grams.rows, grams.keys, sparse.csr_array(d))


def turned(pair: Pair) -> Pair:
    """The pair with its sides swapped, what `meta` says of them as well."""
    meta = {}
    for key, value in pair.meta.items():
        for one, other in (("chosen", "rejected"), ("rejected", "chosen")):
            if key.startswith(one):
                key = other + key.removeprefix(one)
                break
        meta[key] = value
    return replace(pair, chosen=pair.rejected, rejected=pair.chosen, meta=meta)


def alarms(found: list[Finding]) -> dict[str, list[str]]:
    """What failed and warned, by check and feature."""
    return {
        f"{severity}s": [f"{finding.check} {finding.feature}" for finding in found if finding.severity == severity]
        for severity in ("fail", "warn")
    }


_LOADED: dict[str, Any] = {}


def load(folder: str, name: str) -> tuple[list[EncodedPair], Callable[[int], str] | None] | None:
    """Pairs of a set, with tokens where TOKENIZER names a folder; None where the set is not there."""
    path = Path(folder) / f"{name}.jsonl.gz"
    if not path.is_file():
        print(f"{path} is not there: left out")
        return None
    if name not in _LOADED:
        _LOADED.clear()
        rows = read_pairs(str(path)).pairs
        token_text = None
        if os.environ.get("TOKENIZER"):
            from dpo_core.model.encode import encode_pairs, load_tokenizer
            from dpo_core.recipe import Encoding

            tokenizer = load_tokenizer(os.environ["TOKENIZER"])
            pairs = encode_pairs(rows, tokenizer, Encoding(max_length=16384)).encoded

            def token_text(token: int) -> str:
                return str(tokenizer.decode([token]))
        else:
            pairs = [EncodedPair(row, (), (), ()) for row in rows]
        _LOADED[name] = (pairs, token_text)
    return _LOADED[name]  # type: ignore[no-any-return]


def missing(kind: str, name: str) -> bool:
    """Whether a result has still to be computed."""
    return name not in {row["name"] for row in kept(kind)}


def keep(kind: str, name: str, result: dict[str, Any]) -> None:
    """Append a result."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / f"{kind}.jsonl").open("a") as file:
        file.write(json.dumps({"name": name, **result}) + "\n")
    short = {key: value for key, value in result.items() if key not in ("findings", "measures")}
    print(kind, name, short, flush=True)


def kept(kind: str) -> list[dict[str, Any]]:
    """Results so far."""
    path = RESULTS / f"{kind}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def report() -> None:
    """Write the tables between the marks of docs/data-quality.md, and the picture."""
    draw()
    text = DOCS.read_text()
    tables = (("nulls", null_table()), ("recall", recall_table()), ("swaps", swap_table()), ("real", real_table()))
    for name, lines in tables:
        start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, rest = text.split(start)
        text = before + start + "\n".join(lines) + "\n" + end + rest.split(end)[1]
    DOCS.write_text(text)


def null_table() -> Iterator[str]:
    """By kind: sets, sets with a FAIL, sets with a warning."""
    yield "| null sets | sets | pairs a set | with a FAIL | with a warning |\n|---|---|---|---|---|"
    rows = kept("nulls")
    for kind in [*NULLS, CLUSTERED, ""]:
        mine = [row for row in rows if row["kind"] == kind or not kind]
        sizes = [row["pairs"] for row in mine]
        fails, warns = (sum(bool(row[key]) for row in mine) for key in ("fails", "warns"))
        yield f"| {kind or '**all**'} | {len(mine)} | {min(sizes)} to {max(sizes)} | {fails} | {warns} |"


def recall_table() -> Iterator[str]:
    """Planted words found where prompts repeat: by what holds the word, and purity; a column a share of the pairs."""
    yield (
        "| the word is in | on the chosen side in | "
        + " | ".join(f"{s:.0%} of the pairs" for s in CLUSTERED_SHARES)
        + " |"
    )
    yield "|---" * (2 + len(CLUSTERED_SHARES)) + "|"
    rows = {(row["whole"], row["purity"], row["share"]): row for row in kept("recall_clustered")}
    for whole, purity in itertools.product((False, True), CLUSTERED_PURITIES):
        mine = [rows[whole, purity, share] for share in CLUSTERED_SHARES]
        found = (f"{row['seeds'] - row.get('missed', 0)} of {row['seeds']}" for row in mine)
        where = "every copy of an answer" if whole else "one pair's copy of an answer"
        yield f"| {where} | {purity:.0%} | {' | '.join(found)} |"


def swap_table() -> Iterator[str]:
    """By set: seeds, seeds with a FAIL, seeds with a warning."""
    yield "| set, sides swapped by prompt | seeds | with a FAIL | with a warning |\n|---|---|---|---|"
    rows = kept("swaps")
    for name in [*SETS, *("+".join([data, *intended]) for data, intended in DECLARED.items())]:
        mine = [row for row in rows if row["set"] == name]
        fails, warns = (sum(bool(row[key]) for row in mine) for key in ("fails", "warns"))
        yield f"| {name.replace('+', ', intended: ')} | {len(mine)} | {fails} | {warns} |"


def real_table() -> Iterator[str]:
    """By set: verdict and the strongest findings as counts."""
    yield "| set | pairs (prompts) | verdict | what is found |\n|---|---|---|---|"
    for row in kept("real"):
        severities = {finding["severity"] for finding in row["findings"]}
        verdict = "fail" if "fail" in severities else "warn" if "warn" in severities else "pass"
        shown = [finding for finding in row["findings"] if finding["severity"] != "info" or finding["intended"]]
        name = row["set"] + (f", intended: {', '.join(row['intended'])}" if row["intended"] else "")
        found = "; ".join(describe(finding) for finding in shown[:7]) or "nothing beyond chance"
        more = f"; {len(shown) - 7} more" if len(shown) > 7 else ""
        yield f"| {name} | {row['pairs']:,} ({row['prompts']:,}) | **{verdict}** | {found}{more} |"


def describe(finding: dict[str, Any]) -> str:
    """One finding with its counts and sign."""
    s = finding["statistics"]
    feature = finding["feature"].replace("|", "\\|").replace("\n", "\\n") or "probe"
    how = "intended" if finding["intended"] else finding["severity"]
    if finding["check"] == "shortcut/stratum":
        return f"{feature} where {s['stratum']} {s['chosen_only']} : {s['rejected_only']} ({how})"
    if "more_wins" in s:
        return f"{finding['check'].split('/')[1].replace('_', ' ')}: more wins {s['more_wins']:.1%} ({how})"
    if "chosen_only" in s:
        return f"{feature} {s['chosen_only']} : {s['rejected_only']} ({how})"
    low = f"{s['low']:.1%} to {s['high']:.1%}" if "low" in s else f"{s.get('share', 0):.1%}"
    return f"{feature} {low} ({how})"


def draw() -> None:
    """Recall by share of pairs, one line a purity and size."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "recall"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(COUNTS), figsize=(8, 3.2), sharey=True)
    for axis, count in zip(axes, COUNTS, strict=True):
        for purity in PURITIES:
            rows = [row for row in kept("recall") if row["count"] == count and row["purity"] == purity]
            rows.sort(key=lambda row: row["share"])
            x = [100 * row["share"] for row in rows]
            axis.plot(
                x,
                [100 * (row["seeds"] - row.get("missed", 0)) / row["seeds"] for row in rows],
                "o-",
                label=f"{purity:.0%} on one side",
                markersize=4,
            )
        axis.set(title=f"{count:,} pairs", xlabel="pairs that hold the planted word, %", xscale="log")
        axis.set_xticks([0.5, 1, 2, 5, 10], ["0.5", "1", "2", "5", "10"])
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("found (warn or fail), %")
    axes[-1].legend(fontsize=8)
    figure.tight_layout()
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, metadata={"Date": None})


if __name__ == "__main__":
    commands: dict[str, Callable[..., None]] = {
        "nulls": nulls,
        "clustered": clustered,
        "recall": recall,
        "recall_clustered": recall_clustered,
        "real": real,
        "swaps": swaps,
        "report": report,
    }
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]](*sys.argv[2:])
