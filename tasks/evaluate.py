"""Ask challenger, reference and champion the same questions, once each, and set the answers side by side."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from dpo_core.data.digests import digest_json
from dpo_core.data.pairs import Message
from dpo_core.evaluate.behaviour import BehaviourCheck, read_checks
from dpo_core.report.documents import EvaluationEvidence
from infra.registry.versions import download
from infra.settings import load_settings
from infra.store import open_store
from infra.store.base import Store
from infra.tracking.runs import attach_run
from tasks.check import Checked
from tasks.plan import Plan
from tasks.reference.store import reference_sums
from tasks.runtime.pairs import stored_pairs
from tasks.runtime.stages import Stage, remembered
from tasks.score import Scored
from tasks.train import Trained, model_files

if TYPE_CHECKING:
    from dpo_core.evaluate.preference import PairValues

log = logging.getLogger("dpo.evaluate")
CODE = ("tasks/evaluate.py", "dpo_core/evaluate", "dpo_core/model", "dpo_core/data")


@dataclass(frozen=True)
class Evaluated:
    """Where the evidence lies (`key` in the store), what it was gated against, and the headline metrics."""

    key: str
    baseline: str  # "reference" or "champion"
    baseline_weights_sha256: str
    metrics: dict[str, dict[str, float]]  # name: value, low, high of the challenger (95 %)
    stage: Stage


@task(name="evaluate", cache_policy=NO_CACHE)
def evaluate(plan: Plan, checked: Checked, scored: Scored, trained: Trained) -> Evaluated:
    """Held-out preferences, behaviour, retention and sample answers of the challenger and what it is up against."""
    store = open_store(load_settings(), patient=True)
    baseline = _baseline(plan, trained)
    inputs = {
        "challenger": trained.weights_sha256,
        "baseline": baseline,
        "questions": _questions_digest(plan),
        "data": checked.data_sha256,
        "path": scored.path,
        "beta": plan.recipe.training.beta,
        "encoding": plan.recipe.encoding.model_dump(),
        "tokenizer": plan.tokenizer_sha256,
    }
    key = f"evaluations/{digest_json(inputs)}.json"

    def compute() -> dict[str, Any]:
        evidence = _evidence(store, plan, checked, scored, trained, baseline).to_document()
        store.put_bytes(key, json.dumps(evidence).encode())
        run = attach_run(plan.run_id)
        run.metrics({_logged(name): value["value"] for name, value in evidence["metrics"].items()})
        run.json("evaluation.json", evidence)
        metrics: dict[str, Any] = {"metrics": evidence["metrics"]}
        return metrics

    output, stage = remembered(
        store, "evaluate", inputs, compute, code=CODE, force=plan.force, there=lambda _: store.exists(key)
    )
    kind = "reference" if baseline == plan.weights_sha256 else "champion"
    return Evaluated(key, kind, baseline, output["metrics"], stage)


def _logged(name: str) -> str:
    return name if name.startswith(("behaviour/", "retention/")) else f"eval_{name}"


def _baseline(plan: Plan, trained: Trained) -> str:
    """Weights the challenger must beat: the champion's; the reference's where there is none yet.

    Where the challenger is the champion already, what that champion was gated against.
    """
    champion = plan.champion
    if champion is None:
        return plan.weights_sha256
    if champion.weights_sha256 == trained.weights_sha256:
        return str(champion.tags.get("dpo.baseline_weights_sha256", plan.weights_sha256))
    return champion.weights_sha256


def _questions_digest(plan: Plan) -> str:
    evaluation = plan.recipe.evaluation
    files = {**evaluation.behaviour, **evaluation.retention, "neutral_text": evaluation.neutral_text or ""}
    named = {name: plan.files.get(path, "") for name, path in files.items()}
    return digest_json([named, evaluation.max_new_tokens, evaluation.batch_size, evaluation.samples])


def _evidence(
    store: Store, plan: Plan, checked: Checked, scored: Scored, trained: Trained, baseline: str
) -> EvaluationEvidence:
    """Everything that the gate decides on and the report shows; a model that plays two parts is asked once."""
    from dpo_core.evaluate.evidence import Measured, draw_samples, side_by_side

    suites = _suites(plan)
    samples = draw_samples(stored_pairs(store, checked.eval_key), plan.recipe.evaluation.samples)
    weights = {"reference": plan.weights_sha256, "challenger": trained.weights_sha256, "baseline": baseline}
    models = {}
    for sha in dict.fromkeys(weights.values()):
        found = _answers(store, plan, checked, scored, sha, suites, samples)
        models[sha] = Measured(
            found["answers"], found["nll"], _pair_values(store, plan, checked, scored, found["logps"])
        )
    return side_by_side({who: models[sha] for who, sha in weights.items()}, suites, samples)


def _suites(plan: Plan) -> dict[str, list[BehaviourCheck]]:
    evaluation = plan.recipe.evaluation
    suites = {f"behaviour/{name}": read_checks(path) for name, path in evaluation.behaviour.items()}
    return suites | {f"retention/{name}": read_checks(path) for name, path in evaluation.retention.items()}


def _answers(
    store: Store,
    plan: Plan,
    checked: Checked,
    scored: Scored,
    weights: str,
    suites: Mapping[str, Sequence[BehaviourCheck]],
    samples: Sequence[tuple[Message, ...]],
) -> dict[str, Any]:
    """One model's answers, held-out log-probs and text NLL: remembered, so that a champion is asked once."""
    is_reference = weights == plan.weights_sha256
    inputs = {
        "weights": weights,
        "own_code": plan.trusted_code,
        "questions": _questions_digest(plan),
        "data": checked.data_sha256,
        "path": {key: value for key, value in scored.path.items() if key != "model"},
        "encoding": plan.recipe.encoding.model_dump(),
        "tokenizer": plan.tokenizer_sha256,
        "logps": not is_reference,
    }

    def compute() -> dict[str, Any]:
        from tasks.evaluation.measure import measure

        return measure(_folder(store, plan, weights), plan, store, checked, suites, samples, logps=not is_reference)

    return remembered(store, "measure", inputs, compute, code=(*CODE, "tasks/evaluation/measure.py"), force=plan.force)[
        0
    ]


def _folder(store: Store, plan: Plan, weights: str) -> Path:
    home = load_settings().home
    if weights == plan.weights_sha256:
        return Path(plan.model_folder)
    if store.exists(f"models/{weights}/MANIFEST.json"):
        return model_files(store, f"models/{weights}", home)
    return download(plan.recipe.name, "champion", home / "downloads" / weights)


def _pair_values(
    store: Store, plan: Plan, checked: Checked, scored: Scored, logps: Mapping[str, list[float]] | None
) -> "PairValues":
    """TRL's metrics of each held-out pair against the stored reference log-probs (`logps` None: its own)."""
    import torch

    from dpo_core.evaluate.preference import PairValues, pair_values
    from tasks.runtime.pairs import encoded_pairs

    encoded = encoded_pairs(store, plan, checked.eval_key)
    policy = reference = reference_sums(store, scored.path, encoded)
    if logps is not None:
        chosen, rejected = (torch.tensor(logps[side], dtype=torch.float64) for side in ("chosen", "rejected"))
        policy = (chosen, rejected)
    values = pair_values(policy, reference, beta=plan.recipe.training.beta)
    return PairValues(values, [digest_json(e.pair.prompt) for e in encoded], [e.pair.source for e in encoded])
