"""How far `dpo doctor RUN.yaml` is off: its estimates against ten real steps of the same run.

    python benchmarks/preflight.py          # the five recipes and six shapes by lot, those that lack on this processor
    python benchmarks/preflight.py report   # the saved rows into docs/preflight.md

Memory is the most that the training process had (a process of its own, a checkpoint included) against the estimate of
it. Time is that of all steps: as estimated from a few layers, and as ten steps of the whole model extrapolate. Both are
seconds of the processor on one thread, so that others at work on the machine hardly matter. Writes
results/preflight.json and the table of docs/preflight.md.
"""

import argparse
import json
import os
import random
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.recipes import ORDER  # noqa: E402
from benchmarks.train_step import processor  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "preflight.json"
PAGE = ROOT / "docs" / "preflight.md"
BEGIN, END = "<!-- bench-preflight -->\n", "<!-- end of bench-preflight -->"
SHAPES, SEED = 6, 20
PAIRS = 120
FAMILIES = ("llama", "qwen3", "mistral")
MIB = 1 << 20
WORDS = ("time", "sea", "the", "of", "a", "blue", "house", "walks", "under", "rain", "seven", "answers")


def draw(number: int) -> dict[str, Any]:
    """A model and a training by lot; the same for the same number."""
    lot = random.Random(SEED + number)
    heads, size = lot.choice([4, 6, 8, 12]), lot.choice([32, 64])
    lora = lot.random() < 0.4
    training: dict[str, Any] = {"dtype": lot.choice(["float32", "bfloat16"]), "train_batch_size": lot.choice([4, 8])}
    training |= {"lora": {"r": lot.choice([8, 16, 32])}} if lora else {"freeze_embeddings": lot.random() < 0.5}
    training |= {"gradient_checkpointing": True} if lot.random() < 0.3 else {}
    model = {
        "family": lot.choice(FAMILIES),
        "vocab_size": lot.choice([8_000, 32_000, 50_000]),
        "hidden_size": heads * size,
        "intermediate_size": 64 * round(heads * size * lot.uniform(2, 4) / 64),
        "num_hidden_layers": lot.randrange(4, 17),
        "num_attention_heads": heads,
        "num_key_value_heads": lot.choice([h for h in (1, 2, heads // 2, heads) if heads % h == 0]),
        "head_dim": size,
        "tie_word_embeddings": lot.random() < 0.5,
    }
    lengths = {"prompt": lot.randrange(2, 16), "answer": lot.randrange(2, 16)}  # words, on average
    return {"model": model, "training": training, "lengths": lengths}


def write(shape: dict[str, Any], folder: Path, seed: int) -> Path:
    """The model with weights by lot, its pairs and its recipe."""
    import torch
    import yaml
    from transformers import AutoConfig, AutoModelForCausalLM

    from tests.tiny import build_tiny_tokenizer

    tokenizer = build_tiny_tokenizer()
    named = dict(shape["model"])
    config = AutoConfig.for_model(
        named.pop("family"), **named, max_position_embeddings=2048, bos_token_id=1, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    lot = random.Random(seed)

    def text(mean: int) -> str:
        return " ".join(lot.choice(WORDS) for _ in range(1 + round(lot.expovariate(1 / mean)))) + f" {lot.random():.6f}"

    lengths = shape["lengths"]
    sides = {"prompt": "prompt", "chosen": "answer", "rejected": "answer"}
    rows = [{side: text(lengths[name]) for side, name in sides.items()} for _ in range(PAIRS)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = {"name": "shape", "model": "./model", "data": {"train": "pairs.jsonl"}, "training": shape["training"]}
    (folder / "run.yaml").write_text(yaml.safe_dump(recipe))
    return folder / "run.yaml"


def measure(name: str, recipe: Path) -> dict[str, Any]:
    """Estimates and a trial of one run, and how far they lie apart."""
    from infra.settings import load_settings
    from tasks.preflight.estimate import preflight

    found = preflight(str(recipe), [], load_settings(), trial=True, processor=True)
    [memory] = [phase for phase in found.memory if phase.phase == "training"]
    assert found.trial is not None
    assert found.seconds.training is not None
    row = {
        "shape": name,
        "weights": found.weights,
        "trained": found.trained,
        "longest_row": found.volume.longest_row,
        "steps": found.volume.steps,
        "program": found.trial.program,
        "memory": memory.process,
        "memory_trial": found.trial.peak,
        "seconds": found.seconds.training,
        "seconds_trial": found.trial.training,
        "document": found.model_dump(mode="json"),
    }
    print(json.dumps({key: value for key, value in row.items() if key != "document"}), file=sys.stderr)
    return row


def main() -> None:
    """All rows; saved as they come."""
    rows: list[dict[str, Any]] = []
    for row in measured(made()):
        rows.append(row)
        RESULTS.write_text(json.dumps({"processor": processor(), "threads": 1, "rows": rows}, indent=1) + "\n")
        report()


def made() -> dict[str, dict[str, Any]]:
    """The saved rows by their shapes, if they are of this processor."""
    saved = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return {row["shape"]: row for row in saved["rows"]} if saved.get("processor") == processor() else {}


def measured(saved: Mapping[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One row after the other; those that are saved are not made again."""
    for name in (f"examples/{name}" for name in ORDER):
        yield saved.get(name) or measure(name, ROOT / name / "retrain.yaml")
    for number in range(SHAPES):
        shape = draw(number)
        with tempfile.TemporaryDirectory() as folder:
            name = told(shape)
            yield saved.get(name) or measure(name, write(shape, Path(folder), number)) | {"drawn": shape}


def told(shape: dict[str, Any]) -> str:
    """A shape in a line."""
    model, training = shape["model"], dict(shape["training"])
    parts = [
        f"{model['family']} {model['num_hidden_layers']} x {model['hidden_size']}",
        f"{model['vocab_size']:,} tokens",
    ]
    parts += [training["dtype"], f"LoRA {training['lora']['r']}" if "lora" in training else "full"]
    parts += ["embeddings frozen"] if training.get("freeze_embeddings") else []
    parts += ["activations twice"] if training.get("gradient_checkpointing") else []
    return ", ".join([*parts, f"{training['train_batch_size']} pairs"])


def report() -> None:
    """The table of docs/preflight.md."""
    saved = json.loads(RESULTS.read_text())
    head = ["shape", "weights", "longest row", "memory: estimate", "trial", "error"]
    head += ["time: estimate", "trial", "error"]
    lines = [f"On {saved['processor']}, one thread:", "", f"| {' | '.join(head)} |", "|---|" + "---|" * (len(head) - 1)]
    for row in saved["rows"]:
        memory, tried = row["memory"], row["memory_trial"]
        cells = [row["shape"], f"{row['weights'] / 1e6:.1f} M", str(row["longest_row"])]
        cells += [f"{memory / MIB:,.0f} MiB", f"{tried / MIB:,.0f} MiB", f"{memory / tried - 1:+.0%}"]
        seconds, took = row["seconds"], row["seconds_trial"]
        cells += [f"{seconds:,.0f} s", f"{took:,.0f} s", f"{seconds / took - 1:+.0%}"]
        lines.append(f"| {' | '.join(cells)} |")
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + BEGIN + "\n".join(lines) + "\n" + END + rest.partition(END)[2])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["report"])
    chosen = parser.parse_args()
    os.environ |= {"DPO_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    if chosen.what == "report":
        report()
    else:
        main()
