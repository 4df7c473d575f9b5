"""What must hold after every fault, once the same command has ended well."""

from pathlib import Path

from tests.faults.life import STAGES
from tests.faults.runs import Place

STEPS = 24  # of the tiny recipe


def keep(place: Place, document: dict, weights: str, *, alone: bool = True) -> dict:
    """Assert every promise, then that the same command once more is a look-up; the facts that were asked for.

    Runs that were not `alone` may each have told MLflow of a step or of the model that both made.
    """
    assert document["verdict"] == "promote"
    assert document["weights_sha256"] == weights, "the weights are those of the undisturbed run, bit for bit"
    assert [stage["name"] for stage in document["stages"]] == [s for s in STAGES if s not in ("plan", "summarise")]
    seen = {found for life in place.lives if (found := life.run_id())}
    assert seen == {document["mlflow_run_id"]}, "one MLflow run throughout"
    assert place.left_over() == [], "no process of a run is left"
    facts = place.facts()
    _registry(facts, document)
    _runs(facts, document, alone=alone)
    _store(facts)
    _home(place.home)
    again = place.complete()
    assert again["changed"] is False, f"the last command is a look-up: {again['stages']}"
    assert again["reference"]["forwards"] == 0
    assert place.left_over() == []
    return facts


def _registry(facts: dict, document: dict) -> None:
    number, weights, run_id = document["version"], document["weights_sha256"], document["mlflow_run_id"]
    wanted = {"number": number, "run_id": run_id, "weights": weights, "verdict": "promote"}
    assert facts["versions"] == [wanted], "one version, with these weights"
    assert facts["champion"] == {"number": number, "weights": weights}
    assert document["champion_version"] == number
    assert facts["lineage"] == {str(number): "pass"}


def _runs(facts: dict, document: dict, *, alone: bool) -> None:
    """One run, which ended well, with every step once and in order, and one logged model, whole."""
    [run] = facts["runs"]
    if not alone:
        run = {**run, "steps": sorted(set(run["steps"])), "models": sorted(set(run["models"]))}
    assert run == {
        "id": document["mlflow_run_id"],
        "status": "FINISHED",
        "verdict": "promote",
        "steps": list(range(1, STEPS + 1)),
        "models": ["READY"],
    }


def _store(facts: dict) -> None:
    """Every byte is right; garbage collection sees every orphan, and takes nothing that is needed."""
    names = ("damaged", "garbage_left", "damaged_after", "checkpoints")
    assert {name: facts[name] for name in names} == {name: [] for name in names}


def _home(home: Path) -> None:
    """Nothing half done on this machine's disk."""
    files = [path.relative_to(home) for path in home.rglob("*") if path.is_file()]
    half = [p for p in files if any(part.startswith((".tmp", "scratch-")) or ".partial" in part for part in p.parts)]
    assert half == []
    assert [p for p in files if p.parts[0] == "runs" and not p.name.endswith(".lock")] == [], "the store has it all"
    assert [p for p in files if p.parts[0] == "stages"] == [], "the store has every record"
    assert [p for p in files if p.parts[0] == "spool" and not p.name.endswith(".lock")] == [], "MLflow has it all"
