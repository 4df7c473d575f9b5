"""The run as one JSON document, one HTML page, and what the terminal shows."""

import json
import logging
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from infra.settings import load_settings
from infra.store import open_store
from infra.store.base import Store
from infra.tracking.runs import attach_run
from tasks.check import Checked
from tasks.evaluate import Evaluated
from tasks.plan import Plan
from tasks.release import Gated, Promoted, Registered
from tasks.score import Scored
from tasks.train import Trained

log = logging.getLogger("dpo.summary")
ANSWERS = 3  # shown side by side in the terminal


@task(name="summarise", cache_policy=NO_CACHE)
def summarise(
    plan: Plan,
    checked: Checked,
    scored: Scored,
    trained: Trained,
    evaluated: Evaluated,
    registered: Registered,
    gated: Gated,
    promoted: Promoted,
) -> dict[str, Any]:
    """The document of `dpo retrain --json`, with `_display` for people; the run's page beside it."""
    stages = [
        checked.stage,
        scored.stage,
        trained.stage,
        evaluated.stage,
        registered.stage,
        gated.stage,
        promoted.stage,
    ]
    changed = not all(stage.cached for stage in stages)
    store = open_store(load_settings(), patient=True)
    evidence = json.loads(store.get_bytes(evaluated.key))
    page = load_settings().home / "reports" / f"{plan.recipe.name}-{trained.weights_sha256[:12]}" / "retrain.html"
    document: dict[str, Any] = {
        "schema": 1,
        "verdict": gated.verdict,
        "changed": changed,
        "model": plan.recipe.name,
        "version": registered.version,
        "champion_version": promoted.champion_version,
        "mlflow_run_id": plan.run_id,
        "weights_sha256": trained.weights_sha256,
        "data_sha256": checked.data_sha256,
        "stages": [{"name": s.name, "cached": s.cached, "seconds": round(s.seconds, 2)} for s in stages],
        "reference": {"rows": scored.rows, "hits": scored.hits, "forwards": scored.forwards},
        "training": {
            "steps": trained.steps,
            "first_dpo_loss": trained.first_dpo_loss,
            "pairs_per_second": round(trained.pairs_per_second, 3),
        },
        "report": str(page),
    }
    display = _display(plan, checked, evaluated, gated, trained, evidence)
    if changed or not page.is_file() or not store.exists(_key(page)):
        _write_page(page, document, display, trained, evidence, store, plan)
    return {**document, "_display": display}


def _display(
    plan: Plan, checked: Checked, evaluated: Evaluated, gated: Gated, trained: Trained, evidence: dict[str, Any]
) -> dict[str, Any]:
    means, metrics = evidence["means"], evidence["metrics"]
    against = {} if evaluated.baseline == "reference" else means["baseline"]
    rows = [
        {
            "metric": name,
            "reference": means["reference"][name]["value"],
            "challenger": value["value"],
            "low": value["low"],
            "high": value["high"],
            "champion": against[name]["value"] if against else None,
        }
        for name, value in means["challenger"].items()
    ]
    return {
        "before_after": rows,
        "answers": [
            {"prompt": a["prompt"], "before": a["reference"], "after": a["challenger"]}
            for a in _answers(evidence)[:ANSWERS]
        ],
        "drift": {
            "chosen_logratio": metrics["logratios/chosen"]["value"],
            "rejected_logratio": metrics["logratios/rejected"]["value"],
            "margin": metrics["logratios/chosen"]["value"] - metrics["logratios/rejected"]["value"],
        },
        "gate": {"verdict": gated.verdict, "reasons": gated.reasons, "baseline": evaluated.baseline},
        "report": checked.report,
        "run_url": plan.run_url,
    }


def _answers(evidence: dict[str, Any]) -> list[dict[str, str]]:
    """One answer of each behaviour suite that changed, then the held-out samples."""
    suites = [rows for name, rows in evidence["checks"].items() if name.startswith("behaviour/")]
    changed = [next((row for row in rows if row["reference"] != row["challenger"]), None) for rows in suites]
    samples: list[dict[str, str]] = evidence["samples"]
    return [row for row in changed if row] + samples


def _write_page(
    page: Path,
    document: dict[str, Any],
    display: dict[str, Any],
    trained: Trained,
    evidence: dict[str, Any],
    store: Store,
    plan: Plan,
) -> None:
    from dpo_core.report.documents import EvaluationEvidence
    from dpo_core.report.retrain import retrain_page

    page.parent.mkdir(parents=True, exist_ok=True)
    shown = retrain_page(document, display, trained.history, EvaluationEvidence.model_validate(evidence))
    page.write_text(shown, encoding="utf-8")
    page.with_suffix(".json").write_text(json.dumps(document, indent=2))
    page.with_name("evidence.json").write_text(json.dumps(evidence))
    attach_run(plan.run_id).artifact(page.parent, "reports")
    store.put_file(_key(page), page)


def _key(page: Path) -> str:
    return f"reports/{page.parent.name}/{page.name}"
