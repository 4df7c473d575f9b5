"""A training step, ours against TRL 1.16: same ids, pairs, optimizer, threads. Writes results/train_step.json.

    python benchmarks/train_step.py                                              # the whole table
    python benchmarks/train_step.py --shape 1500/50/50 --dtype float32 --arms T3 O4   # these rows anew, others kept
    python benchmarks/train_step.py --draw                                            # the saved rows as a picture

Arms: T0 TRL as it comes (reference in the loop, gradient checkpointing); T3 TRL at its best (reference precomputed, no
checkpointing, batches of similar length); O1 ours, padded; O2 packed; O3 packed, prompts shared; O4 and our head. Every
arm runs in a process of its own, one after the other in each round; nothing is saved unless their log-probs agree.
"""

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results" / "train_step.json"
LENGTHS = Path(__file__).parent / "lengths.json"  # token counts of real pairs; the ids are drawn by lot
ARMS = ("T0", "T3", "O1", "O2", "O3", "O4")
PAIRS = {"200/300/300": 2, "1500/50/50": 1, "3000/200/200": 1, "real:identity": 8, "real:hh-rlhf": 4}  # a step
SIDES = ("prompt_ids", "chosen_ids", "rejected_ids")
STEPS = 5
ENOUGH_S = 60  # an arm that has taken two steps and this long takes no more
PICTURE = ROOT / "docs" / "images" / "train_step.png"
KEPT = ExitStack()  # an arm's attention stays to the end of its process
TOLERANCE = {"float32": 1e-4, "bfloat16": 3e-2}  # of a sequence's log-prob, relative
Batch = list[dict[str, Any]]


def make_batches(shape: str, model: Path, *, size: int | None = None) -> list[Batch]:
    """STEPS + 1 batches, each of pairs of similar length, as TRL's `group_by_length` makes them."""
    draw = random.Random(0)
    size = size or PAIRS[shape]
    if shape == "real:identity":
        pairs = demo_pairs(model)
    else:
        lengths = json.loads(LENGTHS.read_text())[shape[5:]] if shape.startswith("real:") else []
        lengths = lengths or [[int(n) for n in shape.split("/")]] * size * (STEPS + 1)
        pairs = [
            {k: [draw.randrange(100, 40_000) for _ in range(n)] for k, n in zip(SIDES, row, strict=True)}
            for row in lengths
        ]
    draw.shuffle(pairs)
    pairs = sorted(pairs[: 8 * size * (STEPS + 1)], key=lambda pair: sum(len(pair[k]) for k in SIDES))
    grouped = [pairs[i : i + size] for i in range(0, len(pairs), size)]
    draw.shuffle(grouped)
    return [batch for batch in grouped if len(batch) == size][: STEPS + 1]


def demo_pairs(model: Path) -> Batch:
    """The identity demo's own pairs, with their weights of the SFT term."""
    from dpo_core.data.readers import read_pairs
    from dpo_core.model.encode import encode_pairs, load_tokenizer
    from dpo_core.recipe import Encoding

    pairs = read_pairs(ROOT / "examples/identity/pairs.train.jsonl").pairs
    encoded = encode_pairs(pairs, load_tokenizer(model), Encoding()).encoded
    return [{**{k: list(getattr(e, k)) for k in SIDES}, "sft_weight": 1.0} for e in encoded]


def add_reference(batches: list[Batch], model_folder: Path) -> None:
    """The log-probs of both sides under the start model, fp32, one sequence at a time: the truth that all must meet."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32).eval()
    for pair in (pair for batch in batches for pair in batch):
        for side in ("chosen", "rejected"):
            prompt, answer = pair["prompt_ids"], pair[f"{side}_ids"]
            with torch.no_grad():
                logits = model(torch.tensor([prompt + answer]), logits_to_keep=len(answer) + 1).logits[0, :-1]
            picked = logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None])
            pair[f"ref_{side}_logps"] = float(picked.double().sum())


# An arm: a process that makes the trainer, takes one step to warm up, then STEPS timed ones.


def run_arm(order: dict[str, Any]) -> dict[str, Any]:
    """Time the steps of one arm. Sequence log-probs are of the first batch, before any update."""
    import torch

    torch.set_num_threads(order["threads"])
    torch.manual_seed(0)
    dtype = getattr(torch, order["dtype"])
    make = trl_arm if order["arm"].startswith("T") else our_arm
    arm = make(order)
    found = {"logps": arm.logps(order["batches"][0])}
    arm.step(order["batches"][0])
    seconds = []
    for batch in order["batches"][1:]:
        if len(seconds) >= 2 and sum(seconds) > ENOUGH_S:
            break
        start = finished(order)
        arm.step(batch)
        seconds.append(finished(order) - start)
    cuda = order["device"] == "cuda"
    peak = torch.cuda.max_memory_allocated() if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        **found,
        "seconds": seconds,
        "peak": peak,
        "state_bytes": arm.state_bytes(),
        "flops": product_speed(dtype, order),
    }


def finished(order: dict[str, Any]) -> float:
    """The time, once the device has nothing left to do."""
    if order["device"] == "cuda":
        import torch

        torch.cuda.synchronize()
    return time.perf_counter()


def product_speed(dtype: Any, order: dict[str, Any]) -> float:
    """FLOP/s of a large matrix product on this device: the best of several."""
    import torch

    size = 8192 if order["device"] == "cuda" else 3072
    left, right = (torch.randn(size, size, dtype=dtype, device=order["device"]) for _ in range(2))
    best = float("inf")
    for _ in range(6):
        start = finished(order)
        left @ right
        best = min(best, finished(order) - start)
    return 2 * size**3 / best


@dataclass(frozen=True)
class Arm:
    """One side of the comparison, ready for its first step."""

    step: Callable[..., object]  # of a batch
    logps: Callable[[Batch], list[float]]  # of every sequence, chosen and rejected in turn
    state_bytes: Callable[[], int]
    model: Any


def our_arm(order: dict[str, Any]) -> Arm:
    """The project's own loop on the path that the arm names."""
    import torch
    from accelerate import Accelerator

    from dpo_core.data.pairs import Example
    from dpo_core.model.attention import segment_attention
    from dpo_core.model.head import Head
    from dpo_core.model.layout import lay_out, sequence_sums
    from dpo_core.model.load import load_model
    from dpo_core.model.logprobs import Method, Scorer
    from dpo_core.recipe import Training
    from dpo_core.train.batches import Fixed
    from dpo_core.train.loop import sequences_of, train
    from dpo_core.train.policy import make_optimizer, make_policy

    identity = order["shape"] == "real:identity"
    training = Training(
        train_batch_size=len(order["batches"][0]),
        num_train_epochs=STEPS + 1,
        dtype=order["dtype"],
        freeze_embeddings=identity,
        sft_weight=float(identity),
        learning_rate=1e-6,
        tokens_per_row=16_384,
    )
    method = {
        "O1": Method("padded", head=False),
        "O2": Method("packed", head=False),
        "O3": Method("shared", head=False),
        "O4": Method("shared", head=True),
    }[order["arm"]]
    accelerator = Accelerator(
        cpu=order["device"] == "cpu", mixed_precision="bf16" if order["dtype"] == "bfloat16" else "no"
    )
    policy = make_policy(load_model(order["model"]), training, seed=0)
    if method.mode != "padded":
        KEPT.enter_context(segment_attention(policy))
    head = Head(policy.get_output_embeddings().weight) if method.head else None
    model, optimizer = accelerator.prepare(Scorer(policy, method, head), make_optimizer(policy, training))

    def examples(batch: Batch) -> list[Example]:
        return [Example(str(i), **{**pair, **{k: tuple(pair[k]) for k in SIDES}}) for i, pair in enumerate(batch)]

    def step(batch: Batch) -> object:
        options = {"method": method, "accelerator": accelerator, "start": 1}  # after the check of step 1
        return next(train(model, optimizer, Fixed(examples(batch), training, seed=0), training, **options))

    def logps(batch: Batch) -> list[float]:
        layout = lay_out(sequences_of(examples(batch)), share=method.share).to(accelerator.device)
        with torch.no_grad(), accelerator.autocast():
            return sequence_sums(model(layout)[1], layout.owner, 2 * len(batch)).tolist()

    return Arm(step, logps, lambda: bytes_of(policy, optimizer), policy)


def trl_arm(order: dict[str, Any]) -> Arm:
    """TRL's trainer: its collator, loss, clipping and optimizer."""
    import torch
    import trl
    from datasets import Dataset

    from dpo_core.model.encode import load_tokenizer
    from dpo_core.model.load import load_model

    best, identity = order["arm"] == "T3", order["shape"] == "real:identity"
    arguments = trl.DPOConfig(
        output_dir=tempfile.mkdtemp(),
        beta=0.1,
        learning_rate=1e-6,
        weight_decay=0.0,
        use_cpu=order["device"] == "cpu",
        report_to=[],
        bf16=order["dtype"] == "bfloat16",
        per_device_train_batch_size=len(order["batches"][0]),
        max_length=None,
        **({"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 1.0]} if identity else {}),
        **({"precompute_ref_log_probs": True, "gradient_checkpointing": False} if best else {}),
    )
    policy = load_model(order["model"])
    policy.get_input_embeddings().requires_grad_(not identity)
    rows = Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}] * 2)
    trainer = trl.DPOTrainer(
        policy, args=arguments, train_dataset=rows, processing_class=load_tokenizer(order["model"])
    )
    trainer.create_optimizer_and_scheduler(num_training_steps=1000)
    model, optimizer = trainer.accelerator.prepare(trainer.model, trainer.optimizer)
    model.train()
    trainer.current_gradient_accumulation_steps = 1  # what `train()` sets before its first step

    def inputs(batch: Batch) -> dict[str, Any]:
        found = trainer.data_collator([{k: pair[k] for k in SIDES} for pair in batch])
        found = {k: v.to(order["device"]) if hasattr(v, "to") else v for k, v in found.items()}
        for side in ("chosen", "rejected") if best else ():
            found[f"ref_{side}_logps"] = torch.tensor(
                [pair[f"ref_{side}_logps"] for pair in batch], device=order["device"]
            )
        return found

    def step(batch: Batch, rate: float = 1e-6) -> float:
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = trainer.training_step(model, inputs(batch))
        trainer.accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return float(loss)

    def logps(batch: Batch) -> list[float]:
        with torch.no_grad(), trainer.accelerator.autocast():
            sides = trainer.compute_ref_log_probs(model, inputs(batch)) if best else ([], [])
        return [float(value) for pair in zip(*sides, strict=True) for value in pair]

    return Arm(step, logps, lambda: bytes_of(model, optimizer), model)


def bytes_of(model: Any, optimizer: Any) -> int:
    """Weights, gradients and optimizer state."""
    weights = sum(p.numel() * p.element_size() * (2 if p.requires_grad else 1) for p in model.parameters())
    states = (t for state in optimizer.state.values() for t in state.values())
    return weights + sum(t.numel() * t.element_size() for t in states if hasattr(t, "numel"))


# The table: what a step had to compute, per second, and against what the machine can.


def useful_flops(batch: Batch, config: dict[str, Any], *, frozen_head: bool) -> float:
    """3 times the forward of every token once, causal attention, head on response tokens (2 times if frozen).

    Once: what the pairs of a step have in common at the beginning of their texts counts once, for every arm.
    """
    from dpo_core.model.layout import lay_out

    hidden, layers, heads = config["hidden_size"], config["num_hidden_layers"], config["num_attention_heads"]
    head_dim = config.get("head_dim") or hidden // heads
    keys = config["num_key_value_heads"] * head_dim
    per_layer = 2 * hidden * heads * head_dim + 2 * hidden * keys + 3 * hidden * config["intermediate_size"]
    layout = lay_out([(pair["prompt_ids"], pair[side]) for pair in batch for side in SIDES[1:]], share=True)
    lengths = [(stop - start, sum(b - a for a, b in seen)) for start, stop, seen in layout.segments]
    seen = sum(own * before + own * own / 2 for own, before in lengths)
    trunk = 3 * (2 * layers * per_layer * layout.input_ids.shape[1] + 4 * layers * heads * head_dim * seen)
    return trunk + (2 if frozen_head else 3) * 2 * hidden * config["vocab_size"] * len(layout.targets)


def measure(shape: str, dtype: str, arms: list[str], model: Path, rounds: int) -> list[dict[str, Any]]:
    """Rows of the table for one shape and arithmetic. Exits where the arms disagree."""
    order = {
        "shape": shape,
        "dtype": dtype,
        "model": str(model),
        "threads": len(os.sched_getaffinity(0)),
        "device": "cpu",
    }
    order["batches"] = make_batches(shape, model)
    add_reference(order["batches"], model)
    found: dict[str, list[dict[str, Any]]] = {arm: [] for arm in arms}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for arm in arms:
                path = Path(folder) / "order.json"
                path.write_text(json.dumps({**order, "arm": arm}))
                command = [sys.executable, __file__, "--order", str(path)]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, check=True)
                found[arm].append(json.loads(done.stdout.splitlines()[-1]))
                print(f"  {shape} {dtype} {arm}: {median(found[arm][-1]['seconds']):.2f} s a step", file=sys.stderr)
    truth = [pair[f"ref_{side}_logps"] for pair in order["batches"][0] for side in ("chosen", "rejected")]
    for arm in arms:
        for ours, true in zip(found[arm][0]["logps"], truth, strict=bool(found[arm][0]["logps"])):
            if abs(ours - true) > TOLERANCE[dtype] * max(1.0, abs(true)) + (1.0 if dtype == "bfloat16" else 0.0):
                sys.exit(f"{shape} {dtype} {arm}: log p = {ours}, plain transformers {true}: not timed what it should")
    speed = max(run["flops"] for runs in found.values() for run in runs)
    config = json.loads((model / "config.json").read_text())
    common = min(len(run["seconds"]) for runs in found.values() for run in runs)  # arms are compared on the same steps
    timed = order["batches"][1 : common + 1]
    work = sum(useful_flops(batch, config, frozen_head=shape == "real:identity") for batch in timed)
    tokens = sum(len(pair[k]) for batch in timed for pair in batch for k in SIDES)
    rows = []
    for arm in arms:
        seconds = sum(median(run["seconds"][i] for run in found[arm]) for i in range(common))
        state = found[arm][0]["state_bytes"]
        rows.append(
            {
                "shape": shape,
                "dtype": dtype,
                "arm": arm,
                "pairs_per_second": PAIRS[shape] * common / seconds,
                "tokens_per_second": tokens / seconds,
                "useful_flop_utilisation": work / seconds / speed,
                "peak_memory_bytes": max(run["peak"] for run in found[arm]) - state,
                "state_bytes": state,
                "seconds": [s for run in found[arm] for s in run["seconds"]],
                "runs": rounds,
            }
        )
    return rows


def show(rows: list[dict[str, Any]]) -> str:
    """A Markdown table; ratios are against T3 of the same shape and arithmetic."""
    lines = ["| shape | dtype | arm | pairs/s | over T3 | utilisation | peak memory | over T3 |", "|---" * 8 + "|"]
    best = {(row["shape"], row["dtype"]): row for row in rows if row["arm"] == "T3"}
    for row in rows:
        peer = best.get((row["shape"], row["dtype"]))
        ratios = [row[k] / peer[k] if peer else float("nan") for k in ("pairs_per_second", "peak_memory_bytes")]
        lines.append(
            f"| {row['shape']} | {row['dtype']} | {row['arm']} | {row['pairs_per_second']:.3g} | {ratios[0]:.2f} | "
            f"{row['useful_flop_utilisation']:.0%} | {row['peak_memory_bytes'] / 2**30:.2f} GiB | {ratios[1]:.0%} |"
        )
    return "\n".join(lines)


def bf16_pays() -> bool:
    """Whether this CPU multiplies faster in bf16 than in fp32: some have the instructions and not the speed."""
    import torch

    return product_speed(torch.bfloat16, {"device": "cpu"}) > 1.1 * product_speed(torch.float32, {"device": "cpu"})


def processor() -> str:
    """The CPU by name, and what it has for matrix products: rows of two kinds of machine are never mixed."""
    flags = sorted({"avx2", "avx512f", "avx512_bf16", "amx_bf16"} & set(cpu("flags").split()))
    return f"{cpu('model name') or platform.machine()} ({', '.join(flags)})"


def cpu(key: str) -> str:
    """A line of /proc/cpuinfo; empty where there is none."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def main() -> None:
    """Measure what is asked for, print it, save it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shape", nargs="+", choices=list(PAIRS), default=list(PAIRS))
    parser.add_argument("--dtype", nargs="+", choices=list(TOLERANCE))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--rounds", type=int, default=1, help="processes an arm, taking turns")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--draw", action="store_true", help=f"only draw {PICTURE.name} from the saved rows")
    parser.add_argument("--order", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.order:
        result = run_arm(json.loads(options.order.read_text()))
        print(json.dumps(result))
        return
    if not options.draw:
        rows = measure_all(options)
        print(show(rows))
    if options.out == RESULTS:
        draw(json.loads(RESULTS.read_text())["rows"])


def measure_all(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Every row asked for; each is saved as soon as it is there."""
    from dpo_core.recipe_file import load_recipe
    from tasks.runtime.models import local_model

    recipe = load_recipe(ROOT / "examples/identity/retrain.yaml").recipe
    model = local_model(recipe.model, Path(os.environ.get("DPO_HOME", ROOT / ".dpo")).resolve())
    rows: list[dict[str, Any]] = []
    dtypes = options.dtype or (["float32", "bfloat16"] if bf16_pays() else ["float32"])
    for shape in options.shape:
        for dtype in dtypes:
            rows += measure(shape, dtype, options.arms, model, options.rounds)
            save(rows, options.out)
    return rows


def save(rows: list[dict[str, Any]], path: Path) -> None:
    """Write the rows, and keep those of other arms that the same machine and versions gave."""
    machine = {"machine": processor(), "cores": len(os.sched_getaffinity(0))}
    versions = {name: version(name) for name in ("torch", "transformers", "accelerate", "trl")}
    document = {"schema": 1, "machine": machine, "versions": versions}
    saved = json.loads(path.read_text()) if path.is_file() else {}
    if {key: saved.get(key) for key in document} == document:
        new = {place(row) for row in rows}
        rows = [row for row in saved["rows"] if place(row) not in new] + rows
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**document, "rows": sorted(rows, key=place)}, indent=1))


def place(row: dict[str, Any]) -> tuple[int, int, int]:
    """Where a row stands in the table; no two have the same."""
    return list(PAIRS).index(row["shape"]), list(TOLERANCE).index(row["dtype"]), ARMS.index(row["arm"])


def draw(rows: list[dict[str, Any]]) -> None:
    """Pairs a second of each arm over T3's, and its peak memory through T3's."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    best = {place(row)[:2]: row for row in rows if row["arm"] == "T3"}
    shapes = [shape for shape in PAIRS if any(row["shape"] == shape for row in best.values())]
    figure, grid = pyplot.subplots(2, 2, figsize=(11, 6), sharex=True, layout="constrained")
    quantities = {"pairs_per_second": "pairs a second, over T3", "peak_memory_bytes": "peak memory, through T3"}
    for across, dtype in enumerate(TOLERANCE):
        for axis, (key, label) in zip(grid[:, across], quantities.items(), strict=True):
            for i, arm in enumerate(ARMS):
                found = {
                    row["shape"]: row[key] / best[place(row)[:2]][key]
                    for row in rows
                    if row["arm"] == arm and row["dtype"] == dtype and place(row)[:2] in best
                }
                places = [shapes.index(shape) + (i - 2.5) * 0.14 for shape in found]
                axis.bar(places, list(found.values()), width=0.13, label=arm, color=f"C{i}")
            axis.axhline(1, color="grey", linewidth=0.7)
            axis.set_ylabel(label)
            axis.set_xticks(range(len(shapes)), shapes, fontsize=8)
        grid[0, across].set_title(dtype)
    grid[0, 0].legend(ncols=3, fontsize=8)
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    main()
