"""A planted shortcut end to end, over three seeds: warned of, learnt, seen in the model, rejected; then weighed away.

make bench-uptake. Pairs of the identity demo; "Certainly! " is put before 40 % of the chosen answers and 4 % of the
rejected ones, of those held out too. Each seed is trained twice: on the pairs as they are (on_shortcut: warn) and
weighed (balance). Writes the table in docs/evaluation.md.
"""

import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "examples/identity"
SEEDS = (0, 1, 2)
PAIRS = 320  # of the demo's 794
PLANTED, SHARE = "Certainly! ", {"chosen": 0.40, "rejected": 0.04}
BEGIN, END = "<!-- bench-uptake -->", "<!-- end -->"
MODES = ("warn", "balance")
WHO = ("reference", "challenger")


def plant(source: Path, target: Path, count: int | None, seed: int) -> None:
    """Some of the pairs, by lot, with the shortcut."""
    draw = random.Random(seed)
    rows = [json.loads(line) for line in source.read_text().splitlines()]
    rows = draw.sample(rows, count) if count else rows
    for row in rows:
        for side, share in SHARE.items():
            if draw.random() < share:
                row[side][0]["content"] = PLANTED + row[side][0]["content"]
    target.write_text("".join(json.dumps(row) + "\n" for row in rows))


def recipe(folder: Path, seed: int, mode: str) -> Path:
    """The demo's recipe on the planted pairs, with the gate's eye on shortcuts; the questions about the name alone."""
    values: dict[str, Any] = yaml.safe_load((DEMO / "retrain.yaml").read_text())
    values |= {"name": f"planted-{mode}-{seed}", "seed": seed}
    values["data"] = {"train": str(folder / f"train-{seed}.jsonl"), "eval": str(folder / f"eval-{seed}.jsonl")}
    values["validation"]["on_shortcut"] = mode
    identity = str(DEMO / "checks/identity.jsonl")
    values["evaluation"] = {"batch_size": 64, "max_new_tokens": 24, "samples": 0, "behaviour": {"identity": identity}}
    values["gate"] = {"improve": ["behaviour/identity"], "uptake": 0.65}
    path = folder / f"{mode}-{seed}.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def retrain(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The run's document and its evidence."""
    command = [str(Path(sys.executable).with_name("dpo")), "retrain", str(path), "--json"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 4):
        sys.exit(f"{path.name}: exit code {done.returncode}")
    document = json.loads(done.stdout)
    return document, json.loads(Path(document["report"]).with_name("evidence.json").read_text())


def line(seed: int, mode: str, document: dict[str, Any], evidence: dict[str, Any]) -> str:
    """One run as a row of the table."""
    found = next((u for u in evidence["uptake"] if "certainly" in u["name"].lower()), None)
    if found is None:
        return f"| {seed} | {mode} | not looked for | | | | | {document['verdict']} |"

    def told(estimate: dict[str, float]) -> str:
        return f"{estimate['value']:.2f} ({estimate['low']:.2f} to {estimate['high']:.2f})"

    shown = " → ".join(f"{found['shown'][who]['value']:.0%}" for who in WHO)
    against = found["accuracy_against"].get("challenger")
    identity = evidence["means"]["challenger"]["behaviour/identity"]["value"]
    cells = [
        seed, mode, found["name"], told(found["reward"]["challenger"]), told(found["preference"]["challenger"]), shown,
        f"{told(against)} of {found['pairs_against']}" if against else "-", f"{identity:.0%}", document["verdict"],
    ]  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    """Run all of it, and write the table."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="dpo-uptake-") as scratch:
        folder = Path(scratch)
        for seed in SEEDS:
            plant(DEMO / "pairs.train.jsonl", folder / f"train-{seed}.jsonl", PAIRS, seed)
            plant(DEMO / "pairs.eval.jsonl", folder / f"eval-{seed}.jsonl", None, seed)
            for mode in MODES:
                rows.append(line(seed, mode, *retrain(recipe(folder, seed, mode))))
                print(rows[-1], flush=True)
    head = (
        "| seed | on_shortcut | shortcut | reward for it alone (95 %) | preference (0.5: none) | answers that show it, "
        "before → after | accuracy where it points to the rejected answer | identity | gate |\n|" + "---|" * 9
    )
    page = ROOT / "docs/evaluation.md"
    before, _, rest = page.read_text().partition(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{head}\n" + "\n".join(rows) + f"\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
