"""Seeded mutations of data files: each is refused in three parts, or its rows are accounted for and its pairs right.

FUZZ_CASES says how many (50 in `make test`), FUZZ_RECORD=1 writes benchmarks/results/fuzz_data_files.json. "Right" is
what `expected` says, which knows the shapes that this file writes and nothing of the reader.
"""

import csv
import gzip
import io
import json
import os
import random
import shutil
import time
import tracemalloc
from collections import Counter
from pathlib import Path

from dpo_core.data.pairs import text_of
from dpo_core.data.readers import read_pairs
from dpo_core.errors import InputError

CASES = int(os.environ.get("FUZZ_CASES", "50"))
SECONDS, BYTES = 20, 600 << 20  # of one case
RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "fuzz_data_files.json"
WORDS = (
    "river",
    "engine",
    "teacher",
    "garden",
    "letter",
    "market",
    "北京",
    "안녕",
    "ไทย",
    "naïve",
    "{x}",
    "<b>",
    "\\n",
)
CONTAINERS = ("jsonl", "json", "jsonl.gz", "jsonl.zst", "json.gz", "parquet", "arrow", "csv", "tsv")
SHAPES = (
    "text",
    "messages",
    "implicit",
    "orca",
    "alpaca",
    "output",
    "swift",
    "sharegpt",
    "json text",
    "chatml",
    "repeat",
)


def words(rng, low=3, high=12):
    return " ".join(rng.choices(WORDS, k=rng.randint(low, high)))


def content_of(rng, number):
    """What one row says: system (or nothing), question, two answers that differ."""
    system = f"System {number}: {words(rng)}" if rng.random() < 0.4 else ""
    return system, f"Question {number}: {words(rng)}", f"Good {words(rng)}", f"Bad {words(rng)}"


def say(role, text):
    return {"role": role, "content": text}


def row_of(shape, content):
    """A row that says it."""
    system, question, chosen, rejected = content
    asked = [*([say("system", system)] if system else []), say("user", question)]
    good, bad = [say("assistant", chosen)], [say("assistant", rejected)]
    with_system = {"system": system} if shape in ("text", "orca", "alpaca", "output", "sharegpt") else {}
    marks = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in asked) + "<|im_start|>assistant\n"
    rows = {
        "text": {"prompt": question, "chosen": chosen, "rejected": rejected},
        "messages": {"prompt": asked, "chosen": good, "rejected": bad},
        "implicit": {"chosen": asked + good, "rejected": asked + bad},
        "orca": {"question": question, "chosen": chosen, "rejected": rejected},
        "alpaca": {"instruction": question, "input": "", "chosen": chosen, "rejected": rejected},
        "output": {"instruction": question, "output": [chosen, rejected]},
        "swift": {"messages": asked + good, "rejected_response": rejected},
        "sharegpt": {
            "conversations": [{"from": "human", "value": question}],
            "chosen": {"from": "gpt", "value": chosen},
            "rejected": {"from": "gpt", "value": rejected},
        },
        "json text": {"prompt": json.dumps(asked), "chosen": json.dumps(good), "rejected": json.dumps(bad)},
        "chatml": {"prompt": marks, "chosen": chosen + "<|im_end|>", "rejected": rejected + "<|im_end|>\n"},
        "repeat": {"prompt": asked, "chosen": asked + good, "rejected": asked + bad},
    }
    return {**rows[shape], **with_system}


VALUES = (
    None,
    5,
    True,
    "",
    " \n",
    [],
    {},
    [[]],
    ["x"],
    {"a": 1},
    "\x00",
    "\ud800",
    10**400,
    "x" * 300_000,
    [None],
    -1.5,
)
NAMES = ("system", "input", "history", "question", "messages", "reasoning_content", "images", "score", "meta", "tools")


def mutate(rng, shape, content):
    """A row after one change, and what it should say then: the content; None if it cannot be used; `...` if either."""
    kind = rng.choice(["none"] * 6 + ["drop", "value", "extra text", "extra meaning", "identical", "key", "case"])
    row = row_of(shape, content)
    name = rng.choice(list(row))
    if kind == "drop" and name not in ("system", "input"):
        del row[name]
        return row, ...
    if kind == "value":
        row[name] = rng.choice(VALUES)
        return row, ...
    if kind == "extra text":
        row["rationale"] = words(rng)
    if kind == "extra meaning":
        row[rng.choice(NAMES)] = rng.choice([words(rng), 3, [words(rng)], {"a": words(rng)}])
        return row, ...
    if kind == "identical":
        return row_of(shape, (*content[:3], content[2])), None
    if kind == "key":
        row[f"note {rng.randint(0, 999)}"] = rng.choice([1, "x", [1]])
    if kind == "case" and name not in ("system", "input"):
        row[name.upper()] = row.pop(name)
        return row, ...
    return row, content


def written(rng, container, rows, path):
    """Write rows; False where the container cannot hold them (a column of two types)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if container.startswith("json"):
        text = json.dumps(rows, indent=rng.choice([None, 1])) if "jsonl" not in container else ""
        text = text or "".join(json.dumps(row, ensure_ascii=rng.random() < 0.5) + "\n" for row in rows)
        data = text.encode("utf-8", "surrogatepass")
        data = gzip.compress(data, mtime=0) if container.endswith("gz") else data
        path.write_bytes(pa.compress(data, codec="zstd", asbytes=True) if container.endswith("zst") else data)
        return True
    if container in ("csv", "tsv"):
        names = list(dict.fromkeys(name for row in rows for name in row))
        sheet = io.StringIO()
        writer = csv.DictWriter(sheet, names, delimiter="," if container == "csv" else "\t")
        writer.writeheader()
        writer.writerows(rows)
        path.write_text(sheet.getvalue(), encoding="utf-8", errors="replace")
        return True
    try:
        data = pa.Table.from_pylist(rows)
        if container == "parquet":
            pq.write_table(
                data, path, row_group_size=rng.choice([1, 3, 1000]), compression=rng.choice(["zstd", "none"])
            )
        else:
            with pa.ipc.new_file(
                path, data.schema, options=pa.ipc.IpcWriteOptions(compression=rng.choice([None, "zstd"]))
            ) as f:
                f.write(data)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return False
    return True


def damage(rng, path):
    """A few bytes changed, cut off or put in; how, in a word."""
    data = bytearray(path.read_bytes())
    how = rng.choice(["change", "cut", "insert", "twice"])
    at = rng.randrange(len(data)) if data else 0
    if how == "change":
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    elif how == "cut":
        del data[at:]
    elif how == "insert":
        data[at:at] = rng.randbytes(rng.randint(1, 40))
    else:
        data = data + data
    path.write_bytes(data)


def make(rng, folder):
    """A file of this seed: its path, the rows, and what each should say (nothing is known of a damaged file)."""
    shape, container = rng.choice(SHAPES), rng.choice(CONTAINERS)
    contents = [content_of(rng, number) for number in range(rng.randint(1, 12))]
    made = [mutate(rng, shape, content) for content in contents]
    if rng.random() < 0.4:
        made = [(row_of(shape, content), content) for content in contents]
    path = folder / f"p.{container}"
    rows = [row for row, _ in made]
    if not written(rng, container, rows, path):
        path = folder / "p.jsonl"
        written(rng, "jsonl", rows, path)
    damaged = rng.random() < 0.3
    if damaged:
        damage(rng, path)
    strange = damaged or path.suffix in (".csv", ".tsv")
    # in a table, each row has every column: what one row's change means for the others is not known here
    tables = path.suffix in (".parquet", ".arrow") and any(meant is ... for _, meant in made)
    return path, rows, None if strange or tables else [meant for _, meant in made]


def said(pair):
    system = next((m["content"] for m in pair.prompt if m["role"] == "system"), "")
    asked = text_of([m for m in pair.prompt if m["role"] != "system"])
    return system, asked, text_of(pair.chosen), text_of(pair.rejected)


def look(path, rows, meant):
    """The outcome in a word; AssertionError where it is not one of those that may be."""
    try:
        read = read_pairs(path)
    except InputError as error:
        refusal = error
    else:
        return accounted(read, rows, meant)
    assert all((refusal.says, refusal.where, refusal.do))
    assert meant is None or not any(isinstance(content, tuple) for content in meant), str(refusal)
    return "refused"


def accounted(read, rows, meant):
    """The same of what was read."""
    assert read.rows == len(read.pairs) + len(read.quarantined)
    assert all(row.reason and row.where for row in read.quarantined)
    if meant is None:
        return "read, damaged or a table"
    assert read.rows == len(rows)
    kept = [said(pair) for pair in read.pairs]
    wanted = [content for content in meant if isinstance(content, tuple)]
    surely = [content for content in kept if content in wanted]
    assert surely == wanted, "a good row is lost or another"
    assert not any(content[2] == content[3] for content in kept)
    if ... not in meant:
        assert kept == wanted
    return "read, some set aside" if read.quarantined else "read, all"


def test_no_file_is_read_otherwise_than_it_says(tmp_path):
    outcomes, slowest, largest, wrong = Counter(), 0.0, 0, []
    began = time.perf_counter()
    for seed in range(CASES):
        rng = random.Random(f"data {seed}")
        folder = tmp_path / str(seed)
        folder.mkdir()
        path, rows, meant = make(rng, folder)
        tracemalloc.start()
        start = time.process_time()
        try:
            outcomes[look(path, rows, meant)] += 1
        except Exception as error:  # whatever is thrown but an InputError is a finding
            wrong.append(f"seed {seed}: {path} {type(error).__name__} {str(error)[:300]}")
        seconds, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        if seconds > SECONDS or peak > BYTES:  # limits a hundred times above what such a file takes
            wrong.append(f"seed {seed}: {path} took {seconds:.0f} s, {peak >> 20} MiB")
        slowest, largest = max(slowest, seconds), max(largest, peak)
        if not wrong:
            shutil.rmtree(folder)
    assert wrong == []
    if os.environ.get("FUZZ_RECORD") == "1":
        record = {
            "cases": CASES,
            "outcomes": dict(sorted(outcomes.items())),
            "seconds": round(time.perf_counter() - began, 1),
            "slowest_case_seconds": round(slowest, 2),
            "largest_peak_mib": round(largest / 2**20, 1),
        }
        RESULTS.write_text(json.dumps(record, indent=1) + "\n")
    assert sum(outcomes.values()) == CASES
    assert CASES < 50 or len(outcomes) == 4
