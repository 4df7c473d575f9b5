"""The identity demo over three seeds: counts of each, and pooled. Writes docs/demo-seeds.md.

make demo-seeds
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
RECIPE = "examples/identity/retrain.yaml"
SEEDS = (0, 1, 2)
SUITES = {
    "behaviour/identity": ("held-out identity prompts answered as Athene", "must"),
    "behaviour/oblique": ("the same, oblique wording", "must"),
    "behaviour/elsewhere": ("name where it does not belong", "must_not"),
    "retention/facts": ("facts answered right", "must"),
}


def retrain(seed: int) -> Path:
    """Retrain under a name of its own, so that each seed is gated against the reference; the report's folder."""
    dpo = str(Path(sys.executable).with_name("dpo"))
    command = [dpo, "retrain", RECIPE, "--set", f"seed={seed}", "--set", f"name=athene-seed-{seed}", "--json"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 4):
        sys.exit(f"seed {seed}: exit code {done.returncode}")
    document = json.loads(done.stdout)
    print(f"seed {seed}: {document['verdict']}, weights {document['weights_sha256'][:12]}")
    return Path(document["report"]).parent


def counts(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Suite: (before, after, of), counting what the row's label says."""
    evidence = json.loads((folder / "evidence.json").read_text())
    rows = {}
    for suite, (_, kind) in SUITES.items():
        items = len(evidence["checks"][suite])
        passed = [round(evidence["means"][who][suite]["value"] * items) for who in ("reference", "challenger")]
        before, after = passed if kind == "must" else [items - n for n in passed]
        rows[suite] = (before, after, items)
    return rows


def flips(folder: Path) -> tuple[int, int]:
    """Facts lost and won."""
    evidence = json.loads((folder / "evidence.json").read_text())
    return tuple(len(evidence["flips"]["retention/facts"][way]) for way in ("lost", "won"))


def table(folders: list[Path]) -> str:
    """Markdown: each seed's counts and the pooled share."""
    per_seed = [counts(folder) for folder in folders]
    lines = [
        "| | before | " + " | ".join(f"seed {seed}" for seed in SEEDS) + " | pooled after |",
        "|---" * (len(SEEDS) + 3) + "|",
    ]
    for suite, (label, _) in SUITES.items():
        before, _, items = per_seed[0][suite]
        after = [row[suite][1] for row in per_seed]
        pooled = f"{sum(after)}/{items * len(after)} = {sum(after) / items / len(after):.1%}"
        lines.append(
            f"| {label} | {before}/{items} | " + " | ".join(f"{n}/{items}" for n in after) + f" | **{pooled}** |"
        )
    changed = [flips(folder) for folder in folders]
    lines.append(
        "| facts: right to wrong, wrong to right | | " + " | ".join(f"{lost}, {won}" for lost, won in changed) + " | |"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    text = table([retrain(seed) for seed in SEEDS])
    header = "# The identity demo over three seeds\n\nGreedy decoding, 48 new tokens; written by `make demo-seeds`.\n\n"
    (ROOT / "docs/demo-seeds.md").write_text(header + text + "\n")
    print(text)
