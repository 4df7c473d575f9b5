"""What was injected and what became of it: a line an experiment in a file, a table of them in docs/reliability.md.

`python -m tests.faults.results` writes the table; of an experiment that was run again the last line counts.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "faults.jsonl"
DOCS = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- faults: written by make faults -->", "<!-- faults: end -->"
Line = dict[str, Any]
STORES = {"folder": "store in a folder", "s3": "store on S3"}


def append(line: Line) -> None:
    """Note one experiment."""
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(json.dumps(line) + "\n")


def read() -> list[Line]:
    """The last line of each experiment, in the order of their first ones."""
    last: dict[str, Line] = {}
    for text in RESULTS.read_text().splitlines():
        line = json.loads(text)
        last[line["test"]] = line
    return list(last.values())


def table(lines: Iterable[Line]) -> str:
    """A row a kind of fault: what was injected, how often, and how it ended."""
    by_what: dict[str, list[Line]] = {}
    for line in lines:
        by_what.setdefault(line["what"], []).append(line)
    rows = [row for what, some in by_what.items() for row in ROWS[what](some)]
    text = "| fault | injected | kept | what happened |\n|---|---|---|---|\n"
    return text + "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _kept(lines: list[Line]) -> str:
    return f"{sum(line['passed'] for line in lines)} of {len(lines)}"


def _errors(lines: list[Line]) -> str:
    """How many ended by themselves, and how many with an error first."""
    failed = [line for line in lines if line["errors"]]
    went_on = len(lines) - len(failed)
    parts = [f"{went_on} went on by themselves"] if went_on else []
    parts += [f"{len(failed)} ended with an error, and the same command completed"] if failed else []
    return "; ".join(parts)


def _kills(lines: list[Line]) -> Iterator[tuple[str, ...]]:
    stages = Counter(stage for line in lines for stage in line["kills"])
    where = ", ".join(f"{stage} {count}" for stage, count in stages.items())
    weights = {line["weights_sha256"] for line in lines if "weights_sha256" in line}
    says = f"{len(weights)} weights of {len(lines)} runs; killed in: {where}"
    seeds = ", ".join(str(line["seed"]) for line in lines)
    yield (
        "kill -9 of the process group",
        f"{stages.total()} kills in {len(lines)} runs (seeds {seeds})",
        _kept(lines),
        says,
    )


def _s3(lines: list[Line]) -> Iterator[tuple[str, ...]]:
    for fault, some in _grouped(lines, lambda line: line["fault"]):
        fired = sum(line["fired"] for line in some)
        yield f"S3: {fault}", f"{fired} requests in {len(some)} runs", _kept(some), _errors(some)


def _servers(lines: list[Line]) -> Iterator[tuple[str, ...]]:
    for case, some in _grouped(lines, lambda line: line["case"]):
        ended = Counter(line["ended_in"] for line in some if line["errors"])
        at = f" (in {', '.join(f'{stage} {count}' for stage, count in ended.items())})" if ended else ""
        yield f"{some[0]['what']}'s server killed, away {case}", f"{len(some)} stages", _kept(some), _errors(some) + at


def _disks(lines: list[Line]) -> Iterator[tuple[str, ...]]:
    for spare, some in _grouped(lines, lambda line: line["spare_bytes"]):
        yield f"disk full, {spare // 1024} KiB left", f"{len(some)} stages", _kept(some), _errors(some)


def _damages(lines: list[Line]) -> Iterator[tuple[str, ...]]:
    for state, some in _grouped(lines, lambda line: line["state"]):
        refused = sum(bool(line["errors"]) for line in some)
        repaired = sum(bool(line.get("repaired")) for line in some)
        says = f"{repaired} made again, {refused} of them after a run that refused; the others were not read"
        yield f"a file damaged, run {state}", f"{len(some)} files", _kept(some), says


def _at_once(lines: list[Line]) -> Iterator[tuple[str, ...]]:
    for case, some in _grouped(lines, lambda line: line["case"]):
        codes = Counter(code for line in some for code in line["codes"])
        says = "exit codes: " + ", ".join(f"{code} {count} times" for code, count in sorted(codes.items()))
        yield f"two at once: {case}", f"{len(some)} pairs", _kept(some), says


def _ledger_kills(lines: list[Line]) -> Iterator[tuple[str, ...]]:
    for (store, verb), some in _grouped(lines, lambda line: (line["store"], line["verb"])):
        touches = {line["touch"] for line in some}
        where = f"before {len(touches)} of its {some[0]['touches']} touches of store and registry"
        says = f"{where}; old or new champion, and the same command completed"
        yield f"kill -9 inside dpo {verb}, {STORES[store]}", f"{len(some)} kills", _kept(some), says


def _ledger_races(lines: list[Line]) -> Iterator[tuple[str, ...]]:
    for store, some in _grouped(lines, lambda line: line["store"]):
        races = Counter(tuple(codes) for line in some for codes in line.get("codes", []))
        both = races[0, 0]
        says = f"{both} times both, one over the other; {races.total() - both} times one, and the other was told"
        yield f"two promoters at once, {STORES[store]}", f"{races.total()} races in {len(some)} goes", _kept(some), says


def _grouped(lines: list[Line], key: Callable[[Line], Any]) -> Iterator[tuple[Any, list[Line]]]:
    groups: dict[Any, list[Line]] = {}
    for line in lines:
        groups.setdefault(key(line), []).append(line)
    yield from groups.items()


def _long_kills(lines: list[Line]) -> Iterator[tuple[str, ...]]:
    kills, runs = sum(line["kills"] for line in lines), f"{len(lines)} run{'s' if len(lines) > 1 else ''}"
    yield f"kill -9 of {LONG[lines[0]['what']]}", f"{kills} kills in {runs}", _kept(lines), "went on; the same result"


LONG = {
    "curate kill": "`dpo curate`",
    "tune kill": "`dpo tune`",
    "online kill": "a training on its own answers",
}
ROWS: dict[str, Callable[[list[Line]], Iterator[tuple[str, ...]]]] = {
    "kill": _kills,
    "S3": _s3,
    "MLflow": _servers,
    "Prefect": _servers,
    "disk full": _disks,
    "damage": _damages,
    "at once": _at_once,
    "ledger kill": _ledger_kills,
    "ledger race": _ledger_races,
    "curate kill": _long_kills,
    "tune kill": _long_kills,
    "online kill": _long_kills,
}


def main() -> None:
    """Put the table between its marks."""
    lines = read()
    before, _, rest = DOCS.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    days = sorted({line["at"][:10] for line in lines})
    cores = sorted({line["cores"] for line in lines})
    minutes = sum(line["seconds"] for line in lines) / 60
    says = (
        f"{len(lines)} experiments on {' and '.join(days)}, CPU only, {' or '.join(map(str, cores))} core each, "
        f"{minutes:.0f} minutes in all."
    )
    DOCS.write_text(f"{before}{BEGIN}\n{says}\n\n{table(lines)}\n{END}{after}")


if __name__ == "__main__":
    main()
