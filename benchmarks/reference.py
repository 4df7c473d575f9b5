"""The reference pass against TRL 1.16's `precompute_ref_log_probs` on the same ids, and what a second pass costs.

    python benchmarks/reference.py                          # everything: about 8 minutes on two cores
    python benchmarks/reference.py --shape real:identity    # these rows anew, others kept
    python benchmarks/reference.py --hits 100000            # only a pass that finds this many responses in the store

Both arms are whole passes with the model loaded: from token ids to log-probs on the disk. They take turns; nothing is
saved unless their log-probs agree. *Bound*: operations of TRL's padded batches over the least that log-probs of these
pairs need (every prompt once, no padding). Writes results/reference.json.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.train_step import SIDES, Batch, demo_pairs, processor  # noqa: E402
from dpo_core.data.pairs import EncodedPair, Pair  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "reference.json"
LENGTHS = ROOT / "benchmarks" / "lengths.json"
PAIRS = {"200/300/300": 8, "1500/50/50": 4, "real:identity": 128, "real:hh-rlhf": 32}
HITS = (100_000, 1_000_000)
PROMPT, ANSWER = 40, 60  # tokens, in the rows of a pass that finds everything
BATCH = 8  # pairs a forward of TRL's: its default
ROUNDS = 2
AGREE = 1e-4  # of a sequence's log-prob, relative
WORDS = range(100, 40_000)


def make_pairs(shape: str, model: Path) -> Batch:
    """Pairs as ids, in an order by lot; of `real:hh-rlhf` the lengths are real, the ids drawn."""
    draw = random.Random(0)
    if shape == "real:identity":
        pairs = demo_pairs(model)
    else:
        real = json.loads(LENGTHS.read_text())[shape[5:]] if shape.startswith("real:") else []
        lengths = real or [[int(n) for n in shape.split("/")]] * PAIRS[shape]
        pairs = [{k: draw.choices(WORDS, k=n) for k, n in zip(SIDES, row, strict=True)} for row in lengths]
    draw.shuffle(pairs)
    return [{k: pair[k] for k in SIDES} for pair in pairs[: PAIRS[shape]]]


# The arms: each a function that makes the pass and gives log p of every pair's two answers.

Pass = Callable[[Batch], list[tuple[float, float]]]


def our_pass(model_folder: Path, threads: int) -> Pass:
    """`dpo retrain`'s own, into a store of its own."""
    from dpo_core.model.load import load_model
    from infra.store.folder import FolderStore
    from tasks.reference.store import ReferenceStore, reference_sums
    from tasks.score import distinct_responses, reference_pass

    model = load_model(model_folder)
    path: dict[str, str | int] = {"model": "benchmark", "dtype": "float32"}

    def run(pairs: Batch) -> list[tuple[float, float]]:
        nothing = Pair((), (), ())
        encoded = [EncodedPair(nothing, *(tuple(pair[k]) for k in SIDES)) for pair in pairs]
        with tempfile.TemporaryDirectory() as folder, patch("tasks.runtime.device.load_on_device", return_value=model):
            store = FolderStore(Path(folder))
            reference_pass(ReferenceStore(store, path), distinct_responses(encoded), model_folder, threads=threads)
            chosen, rejected = reference_sums(store, path, encoded)
        return list(zip(chosen.tolist(), rejected.tolist(), strict=True))

    return run


def trl_pass(model_folder: Path) -> Pass:
    """TRL's, with its own batch size."""
    import trl
    from datasets import Dataset

    from dpo_core.model.encode import load_tokenizer
    from dpo_core.model.load import load_model

    arguments = trl.DPOConfig(output_dir=tempfile.mkdtemp(), use_cpu=True, bf16=False, report_to=[], max_length=None)
    rows = Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}] * 2)
    trainer = trl.DPOTrainer(
        load_model(model_folder), args=arguments, train_dataset=rows, processing_class=load_tokenizer(model_folder)
    )
    trainer._precompute_model_hash = "benchmark"  # spares it hashing the weights

    def run(pairs: Batch) -> list[tuple[float, float]]:
        found = trainer._precompute_ref_logps(Dataset.from_list(pairs), "train", BATCH)
        return list(zip(found["ref_chosen_logps"], found["ref_rejected_logps"], strict=True))

    return run


# What the passes have to compute.


def least_flops(pairs: Batch, config: dict[str, Any]) -> float:
    """Every distinct prompt once, every answer once, causal attention, the head on the answers' tokens."""
    total = 0.0
    for prompt in {tuple(pair["prompt_ids"]) for pair in pairs}:
        total += trunk_flops(len(prompt), 0, config)
    for prompt, answer in {(tuple(pair["prompt_ids"]), tuple(pair[side])) for pair in pairs for side in SIDES[1:]}:
        total += trunk_flops(len(answer) - 1, len(prompt), config) + head_flops(len(answer), config)
    return total


def padded_flops(pairs: Batch, config: dict[str, Any], *, head_everywhere: bool) -> float:
    """TRL's batches: two lines a pair, each of the longest text; the head on answers, or on every position."""
    total = 0.0
    for first in range(0, len(pairs), BATCH):
        batch = pairs[first : first + BATCH]
        answers = [(len(pair["prompt_ids"]), len(pair[side])) for pair in batch for side in SIDES[1:]]
        longest = max(prompt + answer for prompt, answer in answers)
        scored = len(answers) * (longest - 1) if head_everywhere else sum(answer for _, answer in answers)
        total += len(answers) * trunk_flops(longest, 0, config) + head_flops(scored, config)
    return total


def trunk_flops(tokens: int, before: int, config: dict[str, Any]) -> float:
    """The layers' products for some tokens that follow `before` others."""
    hidden, layers, heads = config["hidden_size"], config["num_hidden_layers"], config["num_attention_heads"]
    head_dim = config.get("head_dim") or hidden // heads
    keys = config["num_key_value_heads"] * head_dim
    a_layer = 2 * hidden * heads * head_dim + 2 * hidden * keys + 3 * hidden * config["intermediate_size"]
    seen = tokens * before + tokens * tokens / 2
    return float(2 * layers * a_layer * tokens + 4 * layers * heads * head_dim * seen)


def head_flops(tokens: int, config: dict[str, Any]) -> float:
    """Logits of some tokens."""
    return 2.0 * config["hidden_size"] * config["vocab_size"] * tokens


# The rows of the tables.


def throughput(shape: str, model: Path, arms: dict[str, Pass]) -> list[dict[str, Any]]:
    """Every arm ROUNDS times, taking turns. Exits where they disagree. `trl sorted` gets the pairs by length."""
    pairs = make_pairs(shape, model)
    by_length = sorted(pairs, key=lambda pair: max(len(pair[side]) for side in SIDES[1:]) + len(pair["prompt_ids"]))
    orders = {"trl": pairs, "ours": pairs}
    if shape.startswith("real:"):  # else all are equally long
        orders = {"trl": pairs, "trl sorted": by_length, "ours": pairs}
    seconds: dict[str, list[float]] = {arm: [] for arm in orders}
    found: dict[str, list[tuple[float, float]]] = {}
    for _ in range(ROUNDS):
        for arm, rows in orders.items():
            start = time.perf_counter()
            found[arm] = arms[arm.split()[0]](rows)
            seconds[arm].append(time.perf_counter() - start)
            print(f"  {shape} {arm}: {seconds[arm][-1]:.1f} s", file=sys.stderr)
    for theirs, ours in zip(found["trl"], found["ours"], strict=True):
        for a, b in zip(theirs, ours, strict=True):
            if abs(a - b) > AGREE * max(1.0, abs(a)):
                sys.exit(f"{shape}: log p = {b}, TRL's {a}: not timed what it should")
    config = json.loads((model / "config.json").read_text())
    least, tokens = least_flops(pairs, config), sum(len(pair[k]) for pair in pairs for k in SIDES)
    result = []
    for arm, rows in orders.items():
        work = {
            name: padded_flops(rows, config, head_everywhere=everywhere) / least
            for name, everywhere in (("bound", False), ("bound_with_head", True))
        }
        took = median(seconds[arm])
        rates = {"pairs_per_second": len(pairs) / took, "tokens_per_second": tokens / took}
        rates |= {"flops_per_second": least / took}
        result.append({"shape": shape, "arm": arm, "pairs": len(pairs), **rates, "seconds": seconds[arm]})
        if arm != "ours":
            result[-1] |= work
    return result


def hit_path(rows: int) -> dict[str, Any]:
    """A pass over `rows` responses that are all in a folder store: nothing is computed, every shard is checked."""
    import torch

    from infra.store.folder import FolderStore
    from tasks import score
    from tasks.reference.store import ReferenceStore, reference_sums

    draw, nothing = random.Random(0), Pair((), (), ())
    words = list(WORDS)
    ids = [[tuple(draw.choices(words, k=n)) for n in (PROMPT, ANSWER, ANSWER)] for _ in range(rows // 2)]
    pairs = [EncodedPair(nothing, *row) for row in ids]
    path: dict[str, str | int] = {"model": "benchmark", "dtype": "float32"}
    with tempfile.TemporaryDirectory() as folder, patch.object(score, "CHECKED", 0):  # the model is no part of this
        reference = ReferenceStore(FolderStore(Path(folder)), path)
        keys = reference.keys(responses := score.distinct_responses(pairs))
        for first in range(0, rows, score.SHARD):
            some = keys[first : first + score.SHARD]
            reference.append(dict(zip(some, torch.randn(len(some), ANSWER), strict=True)))
        reference.publish()
        stored = sum(entry.size for entry in reference.store.entries(""))
        with timed() as a_pass:
            counts = score.reference_pass(reference, responses, Path(), threads=1)
        with timed() as a_load:
            reference_sums(reference.store, path, pairs)
    assert counts["hits"] == rows == len(responses)
    row = {"responses": rows, "tokens_a_response": ANSWER, "bytes_a_response": stored / rows}
    return {**row, "pass_rows_per_second": rows / a_pass[0], "load_rows_per_second": rows / a_load[0]}


@contextmanager
def timed() -> Iterator[list[float]]:
    """Seconds inside, in the list, afterwards."""
    found: list[float] = []
    start = time.perf_counter()
    yield found
    found.append(time.perf_counter() - start)


def show(document: dict[str, Any]) -> str:
    """Both tables in Markdown."""
    lines = [
        "| shape | arm | pairs/s | tokens/s | ours over it | bound | bound, TRL's head | useful GFLOP/s |",
        "|---" * 8 + "|",
    ]
    ours = {row["shape"]: row["pairs_per_second"] for row in document["rows"] if row["arm"] == "ours"}
    for row in document["rows"]:
        ratio = ours[row["shape"]] / row["pairs_per_second"]
        bounds = [f"{row[name]:.2f}" if name in row else "" for name in ("bound", "bound_with_head")]
        lines.append(
            f"| {row['shape']} | {row['arm']} | {row['pairs_per_second']:.3g} | {row['tokens_per_second']:.0f} | "
            f"{ratio:.2f} | {bounds[0]} | {bounds[1]} | {row['flops_per_second'] / 1e9:.0f} |"
        )
    lines += [
        "",
        "| responses in the store | pass, rows/s | load, rows/s | bytes a row | 4 bytes a token |",
        "|---" * 5 + "|",
    ]
    for row in document["hits"]:
        lines.append(
            f"| {row['responses']:,} | {row['pass_rows_per_second']:,.0f} | {row['load_rows_per_second']:,.0f} | "
            f"{row['bytes_a_response']:.1f} | {4 * row['tokens_a_response']} |"
        )
    return "\n".join(lines)


def save(rows: list[dict[str, Any]], hits: list[dict[str, Any]], out: Path) -> dict[str, Any]:
    """Write the results; those of other rows stay if the same machine and versions gave them."""
    machine = {"machine": processor(), "cores": len(os.sched_getaffinity(0))}
    versions = {name: version(name) for name in ("torch", "transformers", "trl")}
    document: dict[str, Any] = {"schema": 1, "machine": machine, "versions": versions}
    saved = json.loads(out.read_text()) if out.is_file() else {}
    if {key: saved.get(key) for key in document} == document:
        rows = [row for row in saved["rows"] if row["shape"] not in {new["shape"] for new in rows}] + rows
        hits = [row for row in saved["hits"] if row["responses"] not in {new["responses"] for new in hits}] + hits
    document["rows"] = sorted(rows, key=lambda row: list(PAIRS).index(row["shape"]))
    document["hits"] = sorted(hits, key=lambda row: row["responses"])
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=1) + "\n")
    return document


def main() -> None:
    """Measure what is asked for, print it, save it."""
    import torch

    from dpo_core.recipe_file import load_recipe
    from tasks.runtime.models import local_model

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shape", nargs="*", choices=list(PAIRS))
    parser.add_argument("--hits", nargs="*", type=int)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    everything = options.shape is None and options.hits is None
    shapes = list(PAIRS) if everything else options.shape or []
    hits = list(HITS) if everything else options.hits or []
    document = save([], [hit_path(rows) for rows in hits], options.out)
    if shapes:
        threads = len(os.sched_getaffinity(0))
        torch.set_num_threads(threads)
        recipe = load_recipe(ROOT / "examples/identity/retrain.yaml").recipe
        model = local_model(recipe.model, Path(os.environ.get("DPO_HOME", ROOT / ".dpo")).resolve())
        arms = {"trl": trl_pass(model), "ours": our_pass(model, threads)}
        for shape in shapes:
            document = save(throughput(shape, model, arms), [], options.out)
    print(show(document))


if __name__ == "__main__":
    main()
