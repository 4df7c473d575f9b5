"""One life of `dpo retrain`: the command as it is, with a line a stage in the file that FAULTS_TRACE names."""

import functools
import os
import sys
import time
from pathlib import Path

TRACE = "FAULTS_TRACE"
STAGES = ("plan", "check", "score", "train", "evaluate", "register", "gate", "promote", "summarise")


def trace_stages(path: Path) -> None:
    """Note when each stage of the flow begins and ends, and which MLflow run it is."""
    from flows import retrain

    def traced(name, stage):
        @functools.wraps(stage.fn)
        def runs(*arguments, **options):
            note(path, f"begin {name}")
            result = stage(*arguments, **options)
            note(path, f"end {name} {getattr(result, 'run_id', '')}")
            return result

        return runs

    for name in STAGES:
        setattr(retrain, name, traced(name, getattr(retrain, name)))


def note(path: Path, event: str) -> None:
    with path.open("a") as file:
        file.write(f"{time.time():.4f} {event.strip()}\n")


def main() -> None:
    from flows.cli.app import main as dpo

    path = Path(os.environ[TRACE])
    trace_stages(path)
    note(path, "begin start-up")
    sys.argv[0] = "dpo"
    dpo()


if __name__ == "__main__":
    main()
