"""One life of `dpo tune`: the command as it is, one trial at a time, which notes what it trains, records and keeps."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

TRACE = "SEARCH_TRACE"
ROOT = Path(__file__).parents[2]


def main() -> None:
    from dpo_core.data.digests import digest_json
    from flows.cli.app import main as dpo
    from tasks.reference.store import ReferenceStore
    from tasks.tune import begin, judge

    path = Path(os.environ[TRACE])
    train, judged, append = judge.train, judge.judged, ReferenceStore.append

    def note(what: str, key: str) -> None:
        with path.open("a") as file:
            file.write(f"{what} {key}\n")

    def name(plan) -> str:
        return digest_json([plan.recipe.training.decisive, plan.recipe.seed])

    def noted_train(plan, *rows):
        note("trains", name(plan))
        return train(plan, *rows)

    def noted_judged(plan, *asked):
        found = judged(plan, *asked)
        note("judged", name(plan))
        return found

    def noted_append(self, values):
        for key in values:
            note("asked", key)
        shard = append(self, values)
        for key in values:
            note("kept", key)
        return shard

    judge.train, judge.judged, ReferenceStore.append = noted_train, noted_judged, noted_append
    begin.room_for = lambda parameters: 1  # side by side, the order in which trials end decides
    sys.argv[0] = "dpo"
    dpo()


class Searched:
    """A folder in which a search is begun, killed and gone on with; what its lives noted."""

    def __init__(self, folder: Path, recipe: Path, forkserver, **extra: str) -> None:
        folder.mkdir(parents=True)
        self.folder, self.recipe, self.forkserver, self.extra = folder, recipe, forkserver, extra
        self.trace = folder / "trace"

    def start(self) -> subprocess.Popen:
        """`dpo tune RECIPE --json`, in a process group of its own."""
        from tests.faults.runs import environment

        with (self.folder / "out").open("wb") as out, (self.folder / "err").open("ab") as err:
            return subprocess.Popen(
                [str(self.forkserver.python), "-m", "tests.faults.searching", "tune", str(self.recipe), "--json"],
                env={**environment(self.folder), TRACE: str(self.trace), **self.extra},
                cwd=ROOT,
                stdout=out,
                stderr=err,
                process_group=0,
            )

    def complete(self, patience_s: float = 600) -> dict:
        """The command once, to its end; its document."""
        process = self.start()
        assert process.wait(patience_s) == 0, (self.folder / "err").read_text()[-4000:]
        return json.loads((self.folder / "out").read_text())

    def killed(self, trainings: int, seconds: float, patience_s: float = 300) -> bool:
        """SIGKILL so long after it has noted so much more of trainings; whether it still ran."""
        before, process, end = self.of_trainings(), self.start(), time.monotonic() + patience_s
        while self.of_trainings() < before + trainings and process.poll() is None:
            assert time.monotonic() < end, f"{self.of_trainings()} notes:\n{(self.folder / 'err').read_text()[-2000:]}"
            time.sleep(0.01)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return True
        return False

    def of_trainings(self) -> int:
        """How often a training began, or was judged."""
        return sum(what in ("trains", "judged") for what, _ in self._lines())

    def keys(self, what: str) -> set[str]:
        """What was noted of it."""
        return {key for noted, key in self._lines() if noted == what}

    def done_again(self, what: str, done: str) -> list[str]:
        """What was begun though it was noted as done."""
        finished, found = set(), []
        for noted, key in self._lines():
            if noted == done:
                finished.add(key)
            elif noted == what and key in finished:
                found.append(key)
        return found

    def _lines(self) -> list[list[str]]:
        return [line.split() for line in self.trace.read_text().splitlines()] if self.trace.exists() else []


def keeps_its_promises(search: Searched, found: dict, expected: dict) -> None:
    """The same result; no settings twice; nothing that was judged trained again, nothing that was kept asked again."""
    assert told(found) == told(expected)
    settings = [json.dumps(trial["settings"], sort_keys=True) for trial in found["trials"]]
    assert len(set(settings)) == len(settings)
    assert search.done_again("trains", "judged") == []
    assert search.done_again("asked", "kept") == []


def told(document: dict) -> dict:
    """All of a search's document but what tells times and places, and in which life the reference was asked."""
    free = ("seconds", "forwards")
    trials = [
        {**trial, "rungs": [{k: v for k, v in rung.items() if k not in free} for rung in trial["rungs"]]}
        for trial in document["trials"]
    ]
    spent = {name: amount for name, amount in document["spent"].items() if name != "minutes"}
    free = {"trials", "spent", "recipe", "report", "mlflow_run_id"}
    return {**{key: value for key, value in document.items() if key not in free}, "trials": trials, "spent": spent}


if __name__ == "__main__":
    main()
