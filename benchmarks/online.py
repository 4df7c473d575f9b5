"""Learning from one's own answers, four ways: while the model is trained, in rounds, from pairs made before, and TRL's.

    python benchmarks/online.py                        # what is missing of three seeds, then docs/online.md
    python benchmarks/online.py --seeds 1 --prompts 64 --samples 4 --tokens 48 --checks 60    # smaller
    python benchmarks/online.py report                 # the page alone
    python benchmarks/online.py --model FOLDER         # another model folder than SmolLM2-135M-Instruct

The rule is that of examples/short-answers: at most two sentences, three words at least. All ways have the same
prompts, rule, peak learning rate, beta and pairs a step; TRL's trainer (`trl.experimental.online_dpo`) stops when it
has generated as many tokens as ours did, and as nobody knows before how many steps that is, its learning rate stays
where ours falls. `offline` and `rounds` are the code of `online` with one and with two drawings: what differs is how
old the model is that answered. Each (way, seed) is a process and a file of results/online/, made once: a benchmark that
was interrupted goes on. Seconds are those of generating, scoring and training, without loading and evaluation.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.generate import spread  # noqa: E402
from benchmarks.train_step import processor  # noqa: E402

RESULTS, PAGE = ROOT / "benchmarks" / "results" / "online", ROOT / "docs" / "online.md"
BEGIN, END = "<!-- bench-online -->\n", "<!-- end of bench-online -->"
EXAMPLE = ROOT / "examples" / "short-answers"
WAYS = ("online", "rounds", "offline", "trl")
NAMED = {
    "online": "`training.online`",
    "rounds": "two rounds",
    "offline": "pairs made before",
    "trl": "TRL's OnlineDPOTrainer",
}
RATE, BETA, BATCH, EVERY = 5e-5, 0.1, 8, 2
RULES = {"max_sentences": 2, "min_words": 3, "count": "all"}
ASKED_AT_ONCE = 16  # prompts of a drawing
REACHED = 0.9  # share of the drawn answers that is looked for
PICTURE = ROOT / "docs" / "images" / "online-reward.svg"


class Size(NamedTuple):
    """How much is asked, and of which model."""

    model: Path
    prompts: int
    samples: int
    tokens: int
    checks: int

    @property
    def results(self) -> Path:
        """Where runs of this size lie: those of two sizes are never one table."""
        return RESULTS / f"{self.prompts}x{self.samples}x{self.tokens}"


class Clock:
    """What a run tells, and when; as the training process knows its MLflow run."""

    def __init__(self) -> None:
        self.start, self.points = time.monotonic(), list[dict[str, float]]()

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Keep the curves, with the seconds since the training began."""
        kept = {name: value for name, value in values.items() if name.startswith("online/")}
        if kept:
            self.points.append({"step": float(step), "seconds": time.monotonic() - self.start, **kept})

    def tags(self, values: Mapping[str, object]) -> None:
        """Nobody asks for them."""

    def in_background(self) -> Any:
        """Nothing is sent."""
        return nullcontext()


def ours(way: str, seed: int, size: Size, prompts: Sequence[str], folder: Path) -> dict[str, Any]:
    """By the training process itself, in this one."""
    from unittest import mock

    from dpo_core.curate.curation import load_curation
    from dpo_core.curate.prompts import PromptItem
    from dpo_core.data.pairs import write_examples
    from dpo_core.recipe import Encoding, Training
    from tasks.curate.prompts import lines_of_prompts
    from tasks.records import OnlineOrder, OnlinePlan, WorkOrder
    from tasks.training import worker

    drawings = {"online": len(prompts) // ASKED_AT_ONCE, "rounds": 2, "offline": 1}[way]
    steps = EVERY * (len(prompts) // ASKED_AT_ONCE)
    curation = {
        "name": "short",
        "model": "./model",
        "prompts": {"sources": [{"path": str(EXAMPLE / "prompts.jsonl")}]},
        "answers": {"samples": size.samples, "max_new_tokens": size.tokens},
        "rewards": {"rules": RULES},
        "choice": {"longer_wins": 1.0},
    }
    (folder / "curate.yaml").write_text(json.dumps(curation))  # JSON is YAML
    items = [PromptItem(({"role": "user", "content": text},), "short") for text in prompts]
    (folder / "prompts.jsonl").write_bytes(lines_of_prompts(items))
    write_examples([], folder / "examples.jsonl")
    off = {
        "longer": 1e9,
        "distinct": 0.0,
        "openings": 0.0,
        "entropy": 0.0,
        "kl": None,
        "reward": 1e9,
        "informative": 0.0,
    }
    asked = {"curation": str(folder / "curate.yaml"), "every": steps // drawings, "prompts": len(prompts) // drawings}
    training = Training(
        learning_rate=RATE, beta=BETA, train_batch_size=BATCH, save_steps=10**6, online={**asked, "stop": off}
    )
    plan = OnlinePlan(curation=load_curation(folder / "curate.yaml"), folder=str(folder), content={})
    order = WorkOrder(
        model_folder=str(size.model),
        from_reference=True,
        trusted_code=None,
        training=training,
        seed=seed,
        threads=len(os.sched_getaffinity(0)),
        run_id="bench",
        online=OnlineOrder(plan=plan, encoding=Encoding(), reference_folder=str(size.model)),
    )
    (folder / "order.json").write_text(order.model_dump_json())
    clock = Clock()
    with mock.patch.object(worker, "attach_run", return_value=clock), mock.patch.object(worker, "train", _from(clock)):
        worker.run(folder, live=False)
    result = json.loads((folder / "result.json").read_text())
    figures = {name: result["online"][name] for name in ("pairs", "answers", "tokens", "ended")}
    return {"steps": result["steps"], **figures, "points": clock.points}


def _from(clock: Clock) -> Any:
    """The training loop, whose clock begins with it: loading and trials of the model are none of its time."""
    from dpo_core.train.loop import train

    def begun(*arguments: Any, **options: Any) -> Any:
        clock.start = time.monotonic()
        yield from train(*arguments, **options)
        clock.points.append({"seconds": time.monotonic() - clock.start})

    return begun


def trls(seed: int, size: Size, prompts: Sequence[str], folder: Path, budget: int) -> dict[str, Any]:
    """The same rule and prompts; two answers a prompt, as it has them, until it has generated `budget` tokens."""
    import copy

    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer

    from dpo_core.rewards.config import Rules
    from dpo_core.rewards.rules import RuleReward

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    reward, spent, points = RuleReward(Rules(**RULES)), 0, list[dict[str, float]]()
    clock = Clock()

    def short(prompts: Any, completions: Any, completion_ids: Any, **_: Any) -> list[float]:
        nonlocal spent
        texts = [completion[0]["content"] for completion in completions]
        pad = tokenizer.pad_token_id
        spent += sum(sum(token != pad for token in ids) for ids in completion_ids)
        scores = [reward.score([], [text.strip()], {})[0] for text in texts]
        told = {"online/reward": sum(scores) / len(scores), "online/tokens_generated": float(spent)}
        points.append({"step": float(len(points)), "seconds": time.monotonic() - clock.start, **told})
        return scores

    class Budget(TrainerCallback):  # type: ignore[misc]
        """Ends at the number of tokens; the clock begins with the training."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            clock.start = time.monotonic()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = spent >= budget

    tokenizer = AutoTokenizer.from_pretrained(size.model)
    policy = AutoModelForCausalLM.from_pretrained(size.model, dtype=torch.float32)
    steps = max(1, round(budget / (2 * BATCH * 0.8 * size.tokens)))  # answers of four fifths of the limit
    rows = [{"prompt": [{"role": "user", "content": text}]} for text in prompts]
    config = OnlineDPOConfig(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=BATCH,
        learning_rate=RATE,
        beta=[BETA],
        max_steps=50 * steps,
        warmup_steps=max(1, round(0.1 * steps)),
        lr_scheduler_type="constant_with_warmup",
        max_new_tokens=size.tokens,
        max_length=512,
        temperature=1.0,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        seed=seed,
        save_strategy="no",
        report_to=[],
        weight_decay=0.0,
    )
    trainer = OnlineDPOTrainer(
        model=policy,
        ref_model=copy.deepcopy(policy),
        reward_funcs=short,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[Budget()],
    )
    trainer.train()
    points.append({"seconds": time.monotonic() - clock.start})
    policy.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    answers = 2 * BATCH * trainer.state.global_step
    return {
        "steps": trainer.state.global_step,
        "pairs": answers // 2,
        "answers": answers,
        "tokens": spent,
        "points": points,
    }


def held_out(model: Path, size: Size) -> list[bool]:
    """Whether the likeliest answer to each of so many of the example's checks keeps the rule."""
    from dpo_core.evaluate.behaviour import read_checks
    from dpo_core.model.answers.answers import texts
    from dpo_core.model.encode import load_tokenizer
    from dpo_core.model.load import load_model

    checks = spread(read_checks(EXAMPLE / "checks" / "short.jsonl"), size.checks)
    found = texts(
        load_model(model), load_tokenizer(model), [check.prompt for check in checks], max_new_tokens=size.tokens
    )
    return [check.passes(text) for check, text in zip(checks, found, strict=True)]


def one(way: str, seed: int, size: Size, file: Path) -> None:
    """One way with one seed, into its file."""
    prompts = [
        json.loads(line)["prompt"][0]["content"] for line in (EXAMPLE / "prompts.jsonl").read_text().splitlines()
    ]
    prompts = spread(prompts, size.prompts)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        os.environ["DPO_HOME"] = str(folder / "home")
        if way == "trl":
            budget = json.loads(file.with_name(f"online-{seed}.json").read_text())["tokens"]
            found = trls(seed, size, prompts, folder, budget)
        else:
            found = ours(way, seed, size, prompts, folder)
        met = held_out(folder / "model", size)
    told = {
        "way": way,
        "seed": seed,
        "prompts": size.prompts,
        "samples": size.samples,
        "met": sum(met),
        "checks": len(met),
        **found,
    }
    made = {
        "processor": processor(),
        "threads": len(os.sched_getaffinity(0)),
        "trl": version("trl"),
        "model": size.model.name,
    }
    file.write_text(json.dumps(told | made, indent=1))


def learnt(run: Mapping[str, Any]) -> list[tuple[float, float, float]]:
    """(tokens generated, seconds, mean reward) where the last 128 answers or a little more are looked at together."""
    asked = 2 * BATCH if run["way"] == "trl" else ASKED_AT_ONCE * run.get("samples", 8)
    many = max(1, 128 // asked)  # drawings, or TRL's steps
    found, window = list[tuple[float, float, float]](), list[float]()
    for point in run["points"]:
        if not {"online/reward", "online/tokens_generated"} <= point.keys():
            continue
        tokens = point["online/tokens_generated"]
        window = [*window, point["online/reward"]][-many:]
        if len(window) == many:
            found.append((tokens, point["seconds"], sum(window) / len(window)))
    return found


def report(results: Path) -> None:
    """The tables and the picture of docs/online.md."""
    runs = [json.loads(file.read_text()) for file in sorted(results.glob("*-*.json"))]
    runs.sort(key=lambda run: (run["seed"], WAYS.index(run["way"])))
    if not runs:
        return
    first = runs[0]
    threads = f"{first['threads']} thread{'s' if first['threads'] > 1 else ''}"
    lines = [f"{first['prompts']} prompts, {threads} of {first['processor']}, TRL {first['trl']}.", ""]
    lines += [
        "| way | seed | held-out rule kept | tokens generated | seconds | steps, pairs |",
        "|---|---|---|---|---|---|",
    ]
    for run in runs:
        cells = [NAMED[run["way"]], str(run["seed"]), _share(run["met"], run["checks"]), f"{run['tokens']:,}"]
        cells += [f"{run['points'][-1]['seconds']:,.0f}", f"{run['steps']}, {run['pairs']}"]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", f"Until {REACHED:.0%} of the answers that are drawn keep the rule (mean of the last 128):", ""]
    lines += [
        "| seed | tokens: ours | TRL's | ratio | seconds: ours | TRL's | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    by_name = {(run["way"], run["seed"]): run for run in runs}
    for seed in sorted({run["seed"] for run in runs if run["way"] == "trl"}):
        ours_at, trls_at = (_reached(learnt(by_name[way, seed])) for way in ("online", "trl"))
        cells = [str(seed)]
        for one, other in zip(ours_at, trls_at, strict=True):
            cells += [_number(one), _number(other), f"{other / one:.1f}" if one and other else ""]
        lines.append(f"| {' | '.join(cells)} |")
    text = PAGE.read_text()
    head, rest = text.split(BEGIN)
    PAGE.write_text(head + BEGIN + "\n".join(lines) + "\n" + END + rest.split(END)[1])
    draw(runs)


def draw(runs: Sequence[Mapping[str, Any]]) -> None:
    """Reward over tokens and over time; a line a seed."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "online"
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True, layout="constrained")
    for run in filter(learnt, runs):
        color = f"C{WAYS.index(run['way'])}"
        tokens, seconds, rewards = zip(*learnt(run), strict=True)
        for panel, along in zip(panels, (tokens, seconds), strict=True):
            panel.plot(
                along, rewards, color=color, marker=".", label=NAMED[run["way"]].strip("`") if not run["seed"] else None
            )
    for panel, name in zip(panels, ("tokens generated", "seconds"), strict=True):
        panel.set_xlabel(name)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("answers that keep the rule")
    panels[1].legend(frameon=False)
    figure.savefig(PICTURE, metadata={"Date": None})


def _share(met: int, of: int) -> str:
    from scipy import stats

    low, high = stats.binomtest(met, of).proportion_ci(0.95, "exact")
    return f"{met / of:.1%} ({low:.1%} to {high:.1%})"


def _reached(points: Sequence[tuple[float, float, float]]) -> tuple[float | None, float | None]:
    return next(((tokens, seconds) for tokens, seconds, reward in points if reward >= REACHED), (None, None))


def _number(value: float | None) -> str:
    return "not reached" if value is None else f"{value:,.0f}"


def main() -> None:
    """What is missing, then the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["run", "report"], default="run")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=192, help=f"a multiple of {2 * ASKED_AT_ONCE}")
    parser.add_argument("--samples", type=int, default=8, help="answers a prompt of ours; TRL has two")
    parser.add_argument("--tokens", type=int, default=64, help="of an answer, at most")
    parser.add_argument("--checks", type=int, default=120, help="held-out prompts")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--one", nargs=2, metavar=("WAY", "SEED"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    known = given.model or (Path() if given.what == "report" else _smollm())
    size = Size(known, given.prompts, given.samples, given.tokens, given.checks)
    if given.what == "report":
        report(size.results)
        return
    if given.one:
        way, seed = given.one
        one(way, int(seed), size, size.results / f"{way}-{seed}.json")
        return
    size.results.mkdir(parents=True, exist_ok=True)
    options = [text for name, value in size._asdict().items() for text in (f"--{name}", str(value))]
    for seed in range(given.seeds):
        for way in given.ways:
            if not (size.results / f"{way}-{seed}.json").is_file():
                subprocess.run([sys.executable, __file__, *options, "--one", way, str(seed)], check=True)
    report(size.results)


def _smollm() -> Path:
    import yaml

    from tasks.runtime.models import local_model

    named = yaml.safe_load((EXAMPLE / "retrain.yaml").read_text())["model"]
    return local_model(named, ROOT / ".dpo")


if __name__ == "__main__":
    main()
