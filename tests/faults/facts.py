"""What a home's registry, runs and store hold, as JSON: `python -m tests.faults.facts` in the environment of a run.

In a process of its own, as MLflow's client keeps a database open that a test removes. Collects the garbage too.
"""

import json
import sys

MODEL, METRIC = "tiny", "losses/dpo"


def main() -> None:
    from infra.settings import load_settings, prepare_environment
    from infra.store import open_store
    from tasks.commands.gc import find_garbage, remove
    from tasks.commands.verify_store import verify

    settings = load_settings()
    prepare_environment(settings)
    store = open_store(settings)
    damaged = [fault["key"] for fault in verify(store).damaged]
    if sys.argv[1:] == ["damaged"]:
        json.dump(damaged, sys.stdout)
        return
    garbage = find_garbage(store, older_than_s=-60)
    remove(store, garbage)
    left = find_garbage(store, older_than_s=-60)
    facts = {
        **_registry(),
        "runs": _runs(),
        "damaged": damaged,
        "garbage": [unit.name for unit in garbage.units] + [entry.key for entry in garbage.unfinished],
        "garbage_left": [unit.name for unit in left.units] + [entry.key for entry in left.unfinished],
        "checkpoints": list(store.list("checkpoints/")),
        "damaged_after": [fault["key"] for fault in verify(store).damaged],
    }
    facts["lineage"] = {version["number"]: _lineage(store, version["number"]) for version in facts["versions"]}
    json.dump(facts, sys.stdout)


def _registry() -> dict:
    from infra.registry import versions

    champion = versions.by_alias(MODEL, "champion")
    every = [
        {
            "number": v.number,
            "run_id": v.run_id,
            "weights": v.weights_sha256,
            "verdict": v.tags.get("gate.verdict"),
        }
        for v in versions.all_versions()
        if "duplicate_of" not in v.tags
    ]
    return {
        "versions": every,
        "champion": {"number": champion.number, "weights": champion.weights_sha256} if champion else None,
    }


def _runs() -> list[dict]:
    """Runs that are not set aside, with the steps of a metric as they are in MLflow, and the models they logged."""
    from infra.tracking.runs import DUPLICATE, connect

    client = connect()
    experiments = [e.experiment_id for e in client.search_experiments() if e.name == MODEL]
    runs = [run for run in client.search_runs(experiments) if DUPLICATE not in run.data.tags]
    models = client.search_logged_models(experiments)
    return [
        {
            "id": run.info.run_id,
            "status": run.info.status,
            "verdict": run.data.tags.get("gate.verdict"),
            "steps": [point.step for point in client.get_metric_history(run.info.run_id, METRIC)],
            "models": [str(model.status) for model in models if model.source_run_id == run.info.run_id],
        }
        for run in runs
    ]


def _lineage(store, number: int) -> str:
    from tasks.commands.lineage import trace

    found = trace(store, MODEL, number)
    return found.verdict if found.verdict == "pass" else str(found.links)


if __name__ == "__main__":
    main()
