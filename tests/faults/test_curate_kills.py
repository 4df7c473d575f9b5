"""kill -9 of a whole `dpo curate` at moments drawn by lot: the same version, nothing stored drawn or paid for again."""

import hashlib
import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tests.endpoint_server import MODEL, loopback_endpoint
from tests.faults.curation import TRACE
from tests.faults.runs import environment
from tests.recipes import write_jsonl
from tests.tiny import build_tiny_model

RUNS, KILLS = 10, 10
LENIENT = ("length_warn", "length_fail", "max_near_duplicates", "max_quarantined", "max_duplicates", "max_identical")
SUBJECTS = "rivers bridges candles mirrors baskets ladders pillows buttons gardens letters windows stones".split()  # noqa: SIM905


def judge(handler, body):
    """A number that depends on the question alone."""
    question = body["messages"][-1]["content"]
    number = 1 + int(hashlib.sha256(question.encode()).hexdigest(), 16) % 10
    message = {"role": "assistant", "content": f"SCORE: {number}"}
    choices = [{"index": 0, "finish_reason": "stop", "message": message}]
    handler.answer(200, handler.completion(body, choices=choices))


@pytest.fixture(scope="module")
def loop():
    with loopback_endpoint() as (url, bill):
        bill.fault_for = lambda body: judge
        yield url, bill


class Curation:
    """A folder with a recipe, and the lives of its command."""

    def __init__(self, folder: Path, url: str, forkserver) -> None:
        self.folder, self.forkserver = folder, forkserver
        folder.mkdir(parents=True, exist_ok=True)
        build_tiny_model(folder / "model")
        prompts = [{"prompt": f"say {noun} {n}"} for noun in SUBJECTS for n in range(3)]
        write_jsonl(folder / "prompts.jsonl", prompts)
        recipe = {
            "name": "killed",
            "model": "./model",
            "endpoints": {"loop": {"url": url, "model": MODEL, "at_once": 4}},
            "prompts": {"sources": [{"path": "prompts.jsonl"}], "near": "all"},
            "answers": {
                "samples": 6,
                "max_new_tokens": 2,
                "pilot": 6,
            },  # more are broken characters
            "rewards": {"judge": {"model": "endpoint:loop", "mode": "score", "explain": False}},
            "choice": {"longer_wins": 1.0, "ended": "any", "alike": 1.0},
            "validation": {"intended": ["/.*/"], "min_pairs": 4, **dict.fromkeys(LENIENT, 1.0)},
        }
        (folder / "curate.yaml").write_text(yaml.safe_dump(recipe))
        self.trace = folder / "trace"

    def start(self) -> subprocess.Popen:
        with (self.folder / "out").open("wb") as out, (self.folder / "err").open("ab") as err:
            return subprocess.Popen(
                [str(self.forkserver.python), "-m", "tests.faults.curation", "curate", "curate.yaml", "--json"],
                env={**environment(self.folder), TRACE: str(self.trace)},
                cwd=self.folder,
                stdout=out,
                stderr=err,
                process_group=0,
            )

    def complete(self) -> dict:
        process = self.start()
        assert process.wait(180) == 0, (self.folder / "err").read_text()[-4000:]
        return json.loads((self.folder / "out").read_text())

    def rows(self, document: dict) -> bytes:
        """The bytes of the version's rows."""
        number = int(document["dataset"].rpartition("@")[2])
        store = self.folder / "home/store"
        manifest = json.loads((store / f"datasets/killed/versions/{number:06d}.json").read_text())
        return (store / f"dataset_rows/{manifest['sha256']}/rows.jsonl").read_bytes()

    def drawn_again(self) -> list[str]:
        """Answers that were drawn though they were stored."""
        stored, found = set(), []
        for line in self.trace.read_text().splitlines():
            what, _, answer = line.partition(" ")
            if what == "stored":
                stored.add(answer)
            elif answer in stored:
                found.append(answer)
        return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, loop, forkserver):
    """The rows of a curation that nobody disturbs, and how many calls it paid."""
    made = Curation(tmp_path_factory.mktemp("curation"), loop[0], forkserver)
    rows = made.rows(made.complete())
    return rows, loop[1].total


def killed(curation: Curation, draw: random.Random, kills: int, longest_s: float) -> int:
    """Kill it so often, at moments drawn by lot, every other one early; how often it came to its end before it was."""
    fell, ended = 0, 0
    while fell < kills:
        process = curation.start()
        try:
            process.wait(draw.uniform(0, longest_s / (1 + 3 * (fell % 2))))
            ended += 1
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            fell += 1
    return ended


def keeps_its_promises(curation: Curation, expected: bytes, paid: int, bill, before: int) -> None:
    """The same rows; nothing stored was drawn again; every call that was paid is in the record, and paid once."""
    document = curation.complete()
    assert curation.rows(document) == expected
    assert curation.drawn_again() == []
    assert bill.total - before == paid
    assert max(bill.billed.values()) == 1
    assert document["spent"][0]["calls"] == paid
    assert document["spent"][0]["in_doubt"] == 0


@pytest.mark.campaign
def test_a_curation_killed_while_it_answers_and_while_a_judge_is_asked(tmp_path, loop, forkserver, undisturbed):
    expected, paid = undisturbed
    bill = loop[1]
    bill.kept.clear()
    bill.billed.clear()
    curation = Curation(tmp_path / "run", loop[0], forkserver)
    process = curation.start()
    end = time.monotonic() + 180
    while bill.total < 5 and time.monotonic() < end:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert bill.total >= 5
    keeps_its_promises(curation, expected, paid, bill, before=0)


@pytest.mark.campaign
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(RUNS))
def test_a_curation_killed_ten_times_gives_the_same_version(tmp_path, loop, forkserver, undisturbed, seed, record):
    expected, paid = undisturbed
    bill = loop[1]
    bill.kept.clear()
    bill.billed.clear()
    curation = Curation(tmp_path / "run", loop[0], forkserver)
    started = time.monotonic()
    ended = killed(curation, random.Random(seed), KILLS, longest_s=12)
    seconds = round(time.monotonic() - started, 1)
    record(what="curate kill", seed=seed, kills=KILLS, ended_before_a_kill=ended, seconds_of_kills=seconds)
    keeps_its_promises(curation, expected, paid, bill, before=0)
