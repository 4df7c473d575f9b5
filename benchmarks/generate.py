"""Answers a second against transformers' own `generate`, and how often an answer depends on what it was made with.

    python benchmarks/generate.py                       # everything: 18 minutes on two cores
    python benchmarks/generate.py --asked 4 --greedy 8  # fewer prompts
    python benchmarks/generate.py --model FOLDER --out FILE

Two kinds of work: eight answers a prompt at temperature 1, and the likeliest answer to prompts of many lengths. Both
sides have the model loaded, take turns, and get the same prompts; `generate` gets them sorted by length, in each of
some batch sizes in the first round and in the fastest of these in the second. Rates are of its fastest round and of our
slowest. transformers' continuous batching answers some of the greedy prompts in a process of its own, which is ended
after a while. Writes results/generate.json and the tables of docs/performance.md.
"""

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.train_step import processor  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "generate.json"
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- bench-generate -->\n", "<!-- end of bench-generate -->"
IDENTITY, QUESTIONS = ROOT / "examples/identity", ROOT / "examples/short-answers/prompts.jsonl"
SAMPLES, SAMPLED_TOKENS, GREEDY_TOKENS = 8, 96, 48
SIZES = {"sampled": (32, 64, 128), "greedy": (32, 64, 128)}  # answers a batch of `generate`
CONTINUOUS = 64  # prompts for continuous batching
PAGE_TOKENS, BLOCKS = 32, 512  # of its memory: 64 answers of 256 tokens, prompts included
PATIENCE = 120  # seconds that it has
ALONE = 8  # answers made one at a time

Key = tuple[int, int]  # prompt, sample


class Text(NamedTuple):
    """An answer by either side: its tokens without the end, and where ours were decided closely."""

    ids: tuple[int, ...]
    ended: bool
    close: tuple[int, ...] = ()


class Bench:
    """A model in fp32 and the prompts of both kinds of work."""

    def __init__(self, folder: Path, asked: int, greedy: int) -> None:
        import torch
        from transformers.utils import logging

        from dpo_core.model.encode import load_tokenizer
        from dpo_core.model.load import load_model

        logging.set_verbosity_error()
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        self.folder, self.sizes = folder, (asked, greedy)
        self.model, self.tokenizer = load_model(folder), load_tokenizer(folder)
        facts = prompts_of(IDENTITY / "facts.jsonl")
        checks = [prompt for file in sorted((IDENTITY / "checks").iterdir()) for prompt in prompts_of(file)]
        few = asked // 4
        self.prompts = {
            "sampled": [*spread(prompts_of(QUESTIONS), asked - few), *spread(facts, few)],
            "greedy": [*spread(checks, greedy // 2), *spread(facts, greedy - greedy // 2)],
        }

    def ours(self, kind: str, **options: Any) -> dict[Key, Text]:
        """Made as curation (sampled) or evaluation (greedy) make them."""
        return dict(self.one_by_one(kind, **options))

    def one_by_one(self, kind: str, prompts: int | None = None, **options: Any) -> Iterator[tuple[Key, Text]]:
        """The same, as they end; of the first `prompts`."""
        from dpo_core.model.answers.answers import answers
        from dpo_core.model.answers.decoding import Decoding

        how = Decoding(SAMPLED_TOKENS, temperature=1.0) if kind == "sampled" else Decoding(GREEDY_TOKENS)
        samples = SAMPLES if kind == "sampled" else 1
        asked = self.prompts[kind][:prompts]
        for found in answers(self.model, self.tokenizer, asked, decoding=how, samples=samples, **options):
            yield (found.prompt, found.sample), Text(found.ids, found.ended, found.close)

    def encoded(self, kind: str) -> list[list[int]]:
        """Prompts as ids."""
        from dpo_core.model.encode import encode_prompt

        return [list(encode_prompt(prompt, self.tokenizer)) for prompt in self.prompts[kind]]

    def theirs(self, kind: str, size: int) -> dict[Key, Text]:
        """By `generate`, prompts sorted by length, `size` answers at a time, padded on the left."""
        import torch

        samples = SAMPLES if kind == "sampled" else 1
        config, encoded = self.config(kind), self.encoded(kind)
        found: dict[Key, Text] = {}
        order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
        each = max(1, size // samples)
        for start in range(0, len(order), each):
            some = order[start : start + each]
            longest = max(len(encoded[i]) for i in some)
            gaps = [longest - len(encoded[i]) for i in some]
            ids = torch.tensor([[config.pad_token_id] * gap + encoded[i] for gap, i in zip(gaps, some, strict=True)])
            mask = torch.tensor([[0] * gap + [1] * (longest - gap) for gap in gaps])
            with torch.no_grad():
                rows = self.model.generate(input_ids=ids, attention_mask=mask, generation_config=config)  # type: ignore[operator]
            for place, row in enumerate(rows[:, longest:].tolist()):
                found[some[place // samples], place % samples] = self.cut(row, config.eos_token_id)
        return found

    def config(self, kind: str) -> Any:
        """Of `generate`, for the same law: nothing but the temperature is set."""
        from dpo_core.model.answers.decoding import plain_decoding
        from dpo_core.model.stops import stop_tokens

        stops = stop_tokens(self.model.generation_config.eos_token_id, self.tokenizer)
        config = plain_decoding(stops, self.tokenizer.pad_token_id or stops[0], GREEDY_TOKENS)
        if kind == "sampled":
            config.update(do_sample=True, temperature=1.0, top_k=0, top_p=1.0)
            config.update(num_return_sequences=SAMPLES, max_new_tokens=SAMPLED_TOKENS)
        return config

    def cut(self, row: Sequence[int], stops: Collection[int]) -> Text:
        """What stands before the end."""
        place = next((i for i, token in enumerate(row) if token in stops), len(row))
        return Text(tuple(row[:place]), place < len(row))


def prompts_of(file: Path) -> list[list[Any]]:
    """The prompts of a file, as messages."""
    return [json.loads(line)["prompt"] for line in file.read_text().splitlines()]


def spread(prompts: list[list[Any]], count: int) -> list[list[Any]]:
    """So many, from the first to the last."""
    return [prompts[i * len(prompts) // count] for i in range(min(count, len(prompts)))]


Arm = Callable[[], dict[Key, Text]]


def timed(kind: str, arm: str, make: Arm) -> tuple[dict[str, Any], dict[Key, Text]]:
    """The row of one round, and what was made."""
    start = time.perf_counter()
    made = make()
    seconds = time.perf_counter() - start
    tokens = sum(len(text.ids) + text.ended for text in made.values())
    print(f"  {kind}, {arm}: {len(made)} answers, {tokens} tokens, {seconds:.1f} s", file=sys.stderr)
    row = {"kind": kind, "arm": arm, "answers": len(made), "tokens": tokens, "seconds": seconds}
    return row | {"answers_per_second": len(made) / seconds, "tokens_per_second": tokens / seconds}, made


def rounds(bench: Bench, kind: str) -> tuple[list[dict[str, Any]], dict[str, dict[Key, Text]]]:
    """Ours and theirs in turns. Returns rows, and what each arm made first."""
    arms: dict[str, Arm] = {"ours": lambda: bench.ours(kind)}
    arms |= {f"generate, {size}": functools.partial(bench.theirs, kind, size) for size in SIZES[kind]}
    bench.ours(kind, prompts=2)
    first = {arm: timed(kind, arm, make) for arm, make in arms.items()}
    best = max(list(arms)[1:], key=lambda arm: first[arm][0]["tokens_per_second"])
    second = [timed(kind, arm, arms[arm])[0] for arm in (best, "ours")]
    return [row for row, _ in first.values()] + second, {arm: made for arm, (_, made) in first.items()}


# How often an answer depends on what it was made with.


def differing(found: Mapping[Key, Text], expected: Mapping[Key, Text]) -> dict[str, int]:
    """Answers that differ, and how many of them first at a place that one side tells to be close."""
    off = [(found[key], expected[key]) for key in found if found[key][:2] != expected[key][:2]]
    close = sum(first_difference(*pair) in {*pair[0].close, *pair[1].close} for pair in off)
    return {"answers": len(found), "differ": len(off), "differ_first_where_close": close}


def first_difference(one: Text, other: Text) -> int:
    """The place of the first token that differs; the end counts as one."""
    pairs = zip((*one.ids, -1), (*other.ids, -1), strict=False)
    return next((place for place, (ours, theirs) in enumerate(pairs) if ours != theirs), -1)


def independence(bench: Bench, expected: dict[Key, Text]) -> list[dict[str, Any]]:
    """Sampled answers made again in other ways."""
    few = dict(islice(sorted(expected.items()), ALONE))
    half = dict(islice(bench.one_by_one("sampled"), len(expected) // 2))
    rest = bench.ours("sampled", wanted=set(expected) - set(half))
    ways = {
        "width 1": bench.ours("sampled", wanted=set(few), width=1),
        "width 7": bench.ours("sampled", width=7),
        "stopped halfway, the rest asked for": half | rest,
        "another process": other_process("again", bench, 4 * PATIENCE),
    }
    if isinstance(why := ways["another process"], str):
        sys.exit(f"another process: {why}")
    return [{"how": how, **differing(made, expected)} for how, made in ways.items()]


# Work in processes of its own.


def other_process(work: str, bench: Bench, patience: float) -> Any:
    """What `at_work` gives there, or why nothing came of it."""
    with tempfile.NamedTemporaryFile() as file:
        command = [sys.executable, __file__, "--work", work, "--model", str(bench.folder), "--out", file.name]
        command += ["--asked", str(bench.sizes[0]), "--greedy", str(bench.sizes[1])]
        try:
            done = subprocess.run(command, timeout=patience, stderr=subprocess.PIPE, text=True, check=False)
        except subprocess.TimeoutExpired:
            written = Path(file.name).read_text()
            return json.loads(written) if written else f"not done after {patience:.0f} s"
        if done.returncode:
            return next(iter(done.stderr.strip().splitlines()[::-1]), f"ended by {done.returncode}")[:300]
        rows = json.loads(Path(file.name).read_text())
    if work == "continuous":
        return rows
    return {(prompt, sample): Text(tuple(ids), ended) for prompt, sample, ids, ended in rows}


def at_work(work: str, bench: Bench, out: Path) -> None:
    """Write our answers again; or rates of continuous batching and of ours for the same prompts, twice in turns."""
    if work == "again":
        again = [[*key, text.ids, text.ended] for key, text in bench.ours("sampled").items()]
        out.write_text(json.dumps(again))
        return
    bench.prompts["greedy"] = bench.prompts["greedy"][:CONTINUOUS]
    continuous(bench, 2)
    rows = []
    for _ in range(2):
        row, theirs = timed("greedy", "generate_batch", lambda: continuous(bench, CONTINUOUS))
        rows.append(row)
        row, ours = timed("greedy", "ours", lambda: bench.ours("greedy"))
        rows.append(row | differing(theirs, ours))
        out.write_text(json.dumps(rows))


def continuous(bench: Bench, count: int) -> dict[Key, Text]:
    """By continuous batching. Exits where a prompt was not answered, which it only logs.

    Its sizes are for our width: by itself it takes nine tenths of the memory, and a mask over all of that.
    """
    from transformers import ContinuousBatchingConfig

    config, encoded = bench.config("greedy"), bench.encoded("greedy")[:count]
    room = ContinuousBatchingConfig(page_size=PAGE_TOKENS, num_blocks=BLOCKS, max_batch_tokens=512)
    made = bench.model.generate_batch(  # type: ignore[operator]
        inputs=encoded, generation_config=config, continuous_batching_config=room
    )
    errors = [output.error for output in made.values() if output.error]
    if errors or len(made) < len(encoded):
        sys.exit(f"{len(made)} of {len(encoded)} prompts were answered {errors[:1] or ''}")
    place = {tuple(ids): number for number, ids in enumerate(encoded)}
    found = {(place[tuple(output.prompt_ids)], 0): output.generated_tokens for output in made.values()}
    texts = {key: bench.cut(ids, config.eos_token_id) for key, ids in found.items()}
    return {(i, 0): texts[place[tuple(ids)], 0] for i, ids in enumerate(encoded)}


# Results.


def show(document: dict[str, Any]) -> str:
    """The tables in Markdown."""
    lines = ["| work | arm | answers | tokens | answers/s | tokens/s | ours over it |", "|---" * 7 + "|"]
    rows = document["rows"]
    for kind in SIZES:
        ours = min(row["tokens_per_second"] for row in rows if (row["kind"], row["arm"]) == (kind, "ours"))
        for row in (row for row in rows if row["kind"] == kind):
            cells = [kind, row["arm"], str(row["answers"]), str(row["tokens"])]
            cells += [f"{row['answers_per_second']:.2f}", f"{row['tokens_per_second']:.0f}"]
            cells += [f"{ours / row['tokens_per_second']:.2f}" if row["arm"] != "ours" else ""]
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| the same answers, made by | answers | differ | first where told to be close |", "|---" * 4 + "|"]
    for row in document["same"]:
        lines.append(f"| {row['how']} | {row['answers']} | {row['differ']} | {row['differ_first_where_close']} |")
    found = document["continuous"]
    lines += ["", "Continuous batching: "]
    if isinstance(found, str):
        lines[-1] += f"{found}."
    else:
        lines[-1] += "; ".join(f"{row['arm']} {row['tokens_per_second']:.0f} tokens/s" for row in found) + "."
        lines[-1] += f" Of {found[-1]['answers']} texts {found[-1]['differ']} differ from ours"
        lines[-1] += f", {found[-1]['differ_first_where_close']} of them first where told to be close."
    return "\n".join(lines)


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--asked", type=int, default=16, help="prompts for eight answers")
    parser.add_argument("--greedy", type=int, default=300, help="prompts for the likeliest answer")
    parser.add_argument("--model", type=Path, help="folder; the identity demo's model if not given")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--work", choices=["again", "continuous"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    bench = Bench(options.model or demo_model(), options.asked, options.greedy)
    if options.work:
        at_work(options.work, bench, options.out)
        return
    begun = time.perf_counter()
    sampled, made = rounds(bench, "sampled")
    same = independence(bench, made["ours"])
    print(f"  counted after {time.perf_counter() - begun:.0f} s", file=sys.stderr)
    greedy, found = rounds(bench, "greedy")
    generated = {arm: texts for arm, texts in found.items() if arm != "ours"}
    same += [{"how": f"{arm}, greedy", **differing(texts, found["ours"])} for arm, texts in generated.items()]
    document: dict[str, Any] = {"schema": 1, "machine": processor(), "cores": len(os.sched_getaffinity(0))}
    document["versions"] = {name: version(name) for name in ("torch", "transformers")}
    document |= {"rows": sampled + greedy, "same": same, "continuous": other_process("continuous", bench, PATIENCE)}
    document["seconds"] = time.perf_counter() - begun
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=1) + "\n")
    print(show(document))
    if options.out == RESULTS:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}{show(document)}\n{END}{rest.partition(END)[2]}")


def demo_model() -> Path:
    """SmolLM2-135M-Instruct, as the demo takes it."""
    from dpo_core.recipe_file import load_recipe
    from tasks.runtime.models import local_model

    recipe = load_recipe(IDENTITY / "retrain.yaml").recipe
    return local_model(recipe.model, Path(os.environ.get("DPO_HOME", ROOT / ".dpo")).resolve())


if __name__ == "__main__":
    main()
