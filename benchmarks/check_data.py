"""Time and memory of `dpo check` on 10 thousand, 100 thousand and 1 million pairs, and how they grow.

Each size is a process of its own on a file of synthetic pairs (real shapes of length, words by Zipf's law, random
labels, a tenth of the prompts shared, some rows repeated). Peak memory is the sum over the process and its children,
looked at every 0.2 s. Prints a table and writes benchmarks/results/check_data.json.

    python benchmarks/check_data.py [--sizes 10000 100000] [--model FOLDER]
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "check_data.json"
SIZES = (10_000, 100_000, 1_000_000)
LIMIT_S, LIMIT_BYTES = 300, 4 << 30  # for the largest size, on 2 cores
VOCABULARY = 30_000
PROMPT, ANSWER = 40, 90  # median words
BLOCK = 10_000  # rows made at once


def main() -> None:
    parser = argparse.ArgumentParser(description="Time and memory of `dpo check`.")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--model", help="tokenize with this model too")
    arguments = parser.parse_args()
    runs = []
    with tempfile.TemporaryDirectory(prefix="dpo-bench-") as scratch:
        for size in arguments.sizes:
            data = write_pairs(Path(scratch) / f"{size}.jsonl", size)
            runs.append({"pairs": size, "bytes": data.stat().st_size, **timed_check(data, arguments.model)})
            data.unlink()
            print(in_one_line(runs[-1]), flush=True)
    result = {"machine": machine(), "model": bool(arguments.model), "runs": runs, "growth": growth(runs)}
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print("\n".join(f"{name}: {value}" for name, value in result["growth"].items()))
    largest = runs[-1]
    if largest["pairs"] >= SIZES[-1] and (largest["seconds"] > LIMIT_S or largest["peak_bytes"] > LIMIT_BYTES):
        sys.exit(f"beyond the limits of {LIMIT_S} s and {LIMIT_BYTES >> 30} GiB")


def write_pairs(path: Path, size: int) -> Path:
    """Rows of text pairs as JSON lines; the same size gives the same file."""
    random = np.random.default_rng(0)
    with path.open("w") as file:
        for first in range(0, size, BLOCK):
            file.writelines(json.dumps(row) + "\n" for row in _rows(random, first, min(BLOCK, size - first)))
    return path


def _rows(random: np.random.Generator, first: int, count: int) -> Iterator[dict[str, Any]]:
    words = np.array([_word(number) for number in range(VOCABULARY)])
    lengths = np.exp(random.normal(np.log([PROMPT, ANSWER, ANSWER]), 0.6, size=(count, 3))).astype(int) + 3
    ranks = np.minimum(random.zipf(1.25, lengths.sum()) - 1, VOCABULARY - 1)
    texts = np.split(words[ranks], np.cumsum(lengths.ravel())[:-1])
    for row in range(count):
        prompt, chosen, rejected = (" ".join(text) + "." for text in texts[3 * row : 3 * row + 3])
        number = first + row
        asked = f"{prompt} ({number})" if number % 10 else f"A question asked again and again, {number // 50}?"
        yield {
            "prompt": [{"role": "user", "content": asked}],
            "chosen": [{"role": "assistant", "content": chosen}],
            "rejected": [{"role": "assistant", "content": rejected}],
            "source": f"synthetic/{number % 3}",
        }


def _word(number: int) -> str:
    """A word of letters for each number, short ones for frequent words."""
    syllables = ("ba", "de", "ki", "lo", "mu", "na", "pe", "ri", "so", "tu", "va", "ze")
    word = ""
    while True:
        word += syllables[number % len(syllables)]
        number //= len(syllables)
        if not number:
            return word


def timed_check(data: Path, model: str | None) -> dict[str, Any]:
    """One run of the command: seconds, peak memory of the whole family in bytes, and what it said."""
    with tempfile.TemporaryDirectory(prefix="dpo-home-", dir=data.parent) as home:
        command = [sys.executable, "-c", "from flows.cli.app import main; main()", "check", str(data), "--json"]
        command += ["--report", f"{home}/report", *(["--model", model] if model else [])]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "DPO_HOME": home}
        start, peak = time.monotonic(), 0
        with (Path(home) / "out").open("wb") as out, (Path(home) / "err").open("wb") as err:
            process = subprocess.Popen(command, env=environment, stdout=out, stderr=err)
            while process.poll() is None:
                peak = max(peak, family_bytes(process.pid))
                time.sleep(0.2)
        seconds = time.monotonic() - start
        if process.returncode not in (0, 3):
            sys.exit(f"dpo check ended with {process.returncode}:\n{(Path(home) / 'err').read_text()[-2000:]}")
        document = json.loads((Path(home) / "out").read_text())
    rows = document["rows_in"]
    assert rows == document["rows_kept"] + document["rows_quarantined"]
    return {
        "seconds": round(seconds, 1),
        "peak_bytes": peak,
        "rows_per_second": round(rows / seconds),
        "verdict": document["verdict"],
        "findings": len(document["findings"]),
    }


def family_bytes(pid: int) -> int:
    """Memory of a process and all below it: unique pages and shared ones alike, so rather too much than too little."""
    total = 0
    try:
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            total += process.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total


def growth(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Exponent of time against size between neighbouring sizes: 1 is linear."""
    return {
        f"exponent of time, {small['pairs']} to {large['pairs']}": round(
            float(np.log(large["seconds"] / small["seconds"]) / np.log(large["pairs"] / small["pairs"])), 2
        )
        for small, large in pairwise(runs)
    }


def in_one_line(run: dict[str, Any]) -> str:
    return (
        f"{run['pairs']:>9,} pairs ({run['bytes'] / 1e6:,.0f} MB): {run['seconds']:,.1f} s, "
        f"{run['peak_bytes'] / 2**30:.2f} GiB, {run['rows_per_second']:,} rows/s, {run['verdict']}"
    )


def machine() -> dict[str, Any]:
    return {"cores": len(os.sched_getaffinity(0)), "processor": platform.processor() or platform.machine()}


if __name__ == "__main__":
    main()
