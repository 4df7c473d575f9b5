"""The shipped recipes, before and after, over three seeds: which of the uses work, by how much, at what cost.

    make recipes                                           # every seed that is missing, then docs/recipes.md
    python benchmarks/recipes.py instructions --seeds 1    # one recipe's first seed
    python benchmarks/recipes.py report                    # the page alone

A recipe is a folder of examples/ whose retrain.yaml names in `gate.improve` the behaviour that it is for, and trains on
pairs that are shipped, or that the curate.yaml beside it makes (which is done first, once). That is its aim; behaviour
in `gate.keep` is what may not suffer; any other, such as kinds of prompts that were never trained on, stands apart. A
further file retrain-NAME.yaml is a contrast: the same evaluations after another training, in rows of its own.

Each (recipe, seed) is one `dpo retrain` against the start model and, when it is done, one line of
results/recipes.jsonl; a line whose recipe, pairs and questions are still the same is not made again. A run that was
interrupted goes on where it stopped, by the same command.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.train_step import processor  # noqa: E402
from dpo_core.data.digests import digest_file, digest_json  # noqa: E402
from dpo_core.evaluate.intervals import Interval, mean_interval  # noqa: E402
from dpo_core.evaluate.paired import difference  # noqa: E402
from dpo_core.recipe_file import load_recipe  # noqa: E402

EXAMPLES, RESULTS = ROOT / "examples", ROOT / "benchmarks" / "results" / "recipes.jsonl"
PAGE, BEGIN, END = ROOT / "docs" / "recipes.md", "<!-- recipes -->\n", "<!-- end of recipes -->"
ORDER = ("identity", "multilingual", "instructions", "safety", "capability")  # others follow by name
MEASURED = ("behaviour/", "retention/")
NATS = "retention/neutral_text"  # minus nats a token, no share
STAYS = -0.02  # the most that a retained share may lose, as an estimate
Record = dict[str, Any]


class Column(NamedTuple):
    """One metric's items of some seeds, before and after, with the prompt and the source of each."""

    before: list[float]
    after: list[float]
    prompts: list[str]
    sources: list[str]


def recipes(folder: Path = EXAMPLES) -> dict[str, Path]:
    """Every recipe by its name: the folder's, and of a contrast the part after `retrain-` in brackets."""
    found = {}
    for file in sorted(folder.glob("*/retrain*.yaml")):
        recipe = load_recipe(file).recipe
        aims = [metric for metric in recipe.gate.improve if metric.startswith("behaviour/")]
        pairs = Path(recipe.data.train)
        if aims and (pairs.is_file() or (pairs.parent == file.parent and pairs.with_name("curate.yaml").is_file())):
            contrast = file.stem.removeprefix("retrain").removeprefix("-")
            found[file.parent.name + (f" ({contrast})" if contrast else "")] = file
    return dict(sorted(found.items(), key=lambda item: (place(item[0]), item[0])))


def place(name: str) -> int:
    """Of a recipe in the table."""
    use = name.partition(" ")[0]
    return ORDER.index(use) if use in ORDER else len(ORDER)


def inputs(file: Path) -> str:
    """Digest of all that a run's figures depend on, save the seed and our code: the recipe and the files it names.

    What the recipe leaves unsaid is our code's: a key that is new makes no line stale.
    """
    values = load_recipe(file).recipe.model_dump(mode="json", exclude_defaults=True)
    texts = [text for text in _texts(values) if text.startswith("/") and Path(text).is_file()]
    files = {_inside(text): digest_file(Path(text)) for text in texts}
    return digest_json([json.loads(json.dumps(values).replace(f"{ROOT}/", "")), files])


def _texts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [text for part in value.values() for text in _texts(part)]
    if isinstance(value, list):
        return [text for part in value for text in _texts(part)]
    return [value] if isinstance(value, str) else []


def _inside(path: str) -> str:
    return os.path.relpath(path, ROOT)


def retrain(name: str, file: Path, seed: int) -> Record:
    """One run against the start model, under a name of its own; what the table needs of it."""
    require_pairs(file)
    registered = f"recipe-{file.parent.name}-{file.stem}-{seed}"
    settings = [f"seed={seed}", f"name={registered}", "retrain.against=base"]
    options = [text for setting in settings for text in ("--set", setting)]
    load, begun = os.getloadavg()[0], time.time()
    document = command("retrain", _inside(str(file)), *options, "--json", fine=(0, 4))
    evidence = json.loads(Path(document["report"]).with_name("evidence.json").read_text())
    return {
        "recipe": name,
        "seed": seed,
        "inputs": inputs(file),
        "verdict": document["verdict"],
        "weights_sha256": document["weights_sha256"],
        "stages": {stage["name"]: None if stage["cached"] else stage["seconds"] for stage in document["stages"]},
        "seconds": round(time.time() - begun),
        "machine": {
            "processor": processor(),
            "cores": len(os.sched_getaffinity(0)),
            "threads": os.environ.get("DPO_NUM_THREADS", "all"),
            "load": [round(load, 1), round(os.getloadavg()[0], 1)],
            "day": time.strftime("%Y-%m-%d"),
        },
        "metrics": columns(evidence),
    }


def command(*arguments: str, fine: Sequence[int] = (0,)) -> Record:
    """What a command of `dpo` prints as JSON; ends this program where it fails."""
    dpo = str(Path(sys.executable).with_name("dpo"))
    done = subprocess.run([dpo, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in fine:
        sys.exit(f"dpo {' '.join(arguments)}: exit code {done.returncode} {done.stdout}")
    return json.loads(done.stdout) if "--json" in arguments else {}


def require_pairs(file: Path) -> None:
    """Make the pairs of a recipe by the curation beside it, where they are not there."""
    pairs = Path(load_recipe(file).recipe.data.train)
    if not pairs.is_file():
        curated = command("curate", _inside(str(file.with_name("curate.yaml"))), "--json")
        command("data", "export", curated["dataset"].removeprefix("dataset:"), _inside(str(pairs)))


def columns(evidence: Mapping[str, Any]) -> Record:
    """Every item of behaviour and retention, before and after; shares are whole numbers where answers are."""
    before, after = evidence["items"]["baseline"], evidence["items"]["challenger"]
    found = {}
    for metric, items in after.items():
        if metric.startswith(MEASURED):
            checks = evidence["checks"].get(metric, [])
            sources = [check["source"] for check in checks] if not items.get("left_out") else []
            names: dict[str, int] = {}
            found[metric] = {
                "before": [_short(value) for value in before[metric]["values"]],
                "after": [_short(value) for value in items["values"]],
                "prompts": [names.setdefault(cluster, len(names)) for cluster in items["clusters"]],
                "sources": [source.rpartition("/")[2] for source in sources],
            }
    return found


def _short(value: float) -> float:
    return int(value) if value == int(value) else round(value, 5)


def made() -> dict[tuple[str, int], Record]:
    """The last record of each (recipe, seed)."""
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    return {(record["recipe"], record["seed"]): record for record in map(json.loads, lines)}


def run(names: Sequence[str], seeds: int) -> None:
    """Every (recipe, seed) that has no record, or one of other inputs; all recipes once before any twice."""
    known = recipes()
    for seed in range(seeds):
        for name in names:
            record = made().get((name, seed))
            if record is None or record["inputs"] != inputs(known[name]):
                print(f"{name}, seed {seed}", flush=True)
                record = retrain(name, known[name], seed)
                with RESULTS.open("a") as file:
                    file.write(json.dumps(record, separators=(",", ":")) + "\n")
                report()


def pooled(records: Sequence[Record], metric: str) -> Column:
    """The items of several seeds; a prompt has one name in all of them."""
    each = [record["metrics"][metric] for record in records]
    before, after, prompts, sources = (
        [value for one in each for value in one[key]] for key in ("before", "after", "prompts", "sources")
    )
    return Column(before, after, [str(name) for name in prompts], sources)


def gain(column: Column, *, shares: bool) -> Interval:
    """After less before, paired by item; prompts are the clusters."""
    before, after = (np.asarray(values, dtype=float) for values in (column.before, column.after))
    test = difference(after, before, column.prompts, shares=shares)
    return Interval(test.mean, test.low(0.025, 0.0), -test.mirrored().low(0.025, 0.0))


def works(records: Sequence[Record], aims: Sequence[str]) -> str:
    """Whether a use counts as done, or what it lacks."""
    lacks = []
    for metric in aims:
        if gain(pooled(records, metric), shares=True).low <= 0:
            lacks.append(f"{metric}: no gain is not ruled out")
    for metric in records[0]["metrics"]:
        if metric.startswith("retention/") and metric != NATS:
            lost = gain(pooled(records, metric), shares=True).value
            if lost < STAYS:
                lacks.append(f"{metric}: {100 * lost:+.1f} points")
    return "; ".join(lacks) or "yes"


def role(metric: str, recipe: Any) -> str:
    """What the recipe says of a metric."""
    if metric in recipe.gate.improve:
        return "aim"
    if metric.startswith("retention/"):
        return "retention"
    return "may not suffer" if metric in recipe.gate.keep else "apart"


def row(name: str, metric: str, said: str, records: Sequence[Record]) -> str:
    """One metric of one recipe."""
    column, first = pooled(records, metric), pooled(records[:1], metric)
    shares = metric != NATS
    scale, digits = (100, 1) if shares else (1, 3)

    def told(interval: Interval, sign: str = "") -> str:
        ends = " to ".join(f"{scale * end:{sign}.{digits}f}" for end in interval[1:])
        return f"{scale * interval.value:{sign}.{digits}f} ({ends})"

    def level(values: Sequence[float], prompts: Sequence[str]) -> str:
        return told(mean_interval(values, prompts, answers=shares, shares=shares))

    each = [f"{scale * np.mean(record['metrics'][metric]['after']):.{digits}f}" for record in records]
    cells = [
        name, f"`{metric}`", said, str(len(first.before)), level(first.before, first.prompts),
        level(column.after, column.prompts), f"**{told(gain(column, shares=shares), '+')}**", ", ".join(each),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def by_kind(name: str, metric: str, records: Sequence[Record]) -> list[str]:
    """The counts of each source of a suite that has several."""
    column = pooled(records, metric)
    if len(column.sources) != len(column.before) or len({*column.sources}) < 2:
        return []
    lines = []
    for source in dict.fromkeys(column.sources):
        places = [i for i, other in enumerate(column.sources) if other == source]
        before, after = (sum(values[i] for i in places) for values in (column.before, column.after))
        seeds = len(records)
        counts = [f"{before / seeds:g} of {len(places) // seeds}", f"{after:g} of {len(places)}"]
        lines.append(f"| {name} | `{metric}` | {source} | {' | '.join(counts)} |")
    return lines


def table(known: Mapping[str, Path], records: Mapping[tuple[str, int], Record]) -> str:
    """The page's part between its marks."""
    head = ["recipe", "measured", "as", "questions", "before, %", "after, %", "gain, points", "after, each seed"]
    rows, runs, kinds = [], [], []
    for name, file in known.items():
        mine, stale = current(name, inputs(file), records)
        if not mine:
            runs.append(f"| {name} | not run yet | | | | |")
            continue
        recipe, measured = load_recipe(file).recipe, list(mine[0]["metrics"])
        measured.sort(key=lambda metric: ("aim", "apart", "may not suffer", "retention").index(role(metric, recipe)))
        rows += [row(name, metric, role(metric, recipe), mine) for metric in measured]
        kinds += [line for metric in measured if metric != NATS for line in by_kind(name, metric, mine)]
        aims = [metric for metric in recipe.gate.improve if metric in measured]
        runs.append(f"| {name} | {works(mine, aims)}{' (of an earlier recipe)' if stale else ''} | {told_runs(mine)} |")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *rows, ""]
    lines += ["| recipe | works | seeds | gate | minutes a run (training alone) | machine, threads, load |"]
    lines += ["|---|---|---|---|---|---|", *runs, ""]
    lines += ["| recipe | measured | kind | before | after, all seeds |", "|---|---|---|---|---|", *kinds]
    return "\n".join(lines) + "\n"


def current(name: str, wanted: str, records: Mapping[tuple[str, int], Record]) -> tuple[list[Record], bool]:
    """A recipe's records by seed; where none is of the recipe as it is now, those of the one before, and so said."""
    mine = [record for (other, _), record in records.items() if other == name]
    fresh = [record for record in mine if record["inputs"] == wanted]
    kept = fresh or [record for record in mine if record["inputs"] == mine[-1]["inputs"]]
    return sorted(kept, key=lambda record: record["seed"]), not fresh


def told_runs(records: Sequence[Record]) -> str:
    """Seeds, verdicts, times, machines."""
    minutes = [f"{record['seconds'] / 60:.0f} ({(record['stages'].get('train') or 0) / 60:.0f})" for record in records]
    machines = [record["machine"] for record in records]
    told = {f"{m['processor'].partition(' (')[0]}, {m['threads']}, {m['load'][0]} to {m['load'][1]}" for m in machines}
    verdicts = ", ".join(record["verdict"] for record in records)
    seeds = ", ".join(str(record["seed"]) for record in records)
    return " | ".join([seeds, verdicts, ", ".join(minutes), "; ".join(sorted(told))])


def report() -> None:
    """The table of docs/recipes.md."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}{table(recipes(), made())}{END}{rest.partition(END)[2]}")


def main() -> None:
    """What is missing, then the page."""
    known = recipes()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", help=f"report, or of {', '.join(known)}; none: all of them")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    if unknown := [name for name in given.what if name not in known and given.what != ["report"]]:
        parser.error(f"no such recipe: {', '.join(unknown)}; there are {', '.join(known)}")
    if given.what != ["report"]:
        run(given.what or list(known), given.seeds)
    report()


if __name__ == "__main__":
    main()
