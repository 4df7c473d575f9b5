"""Ask challenger, reference and champion the same questions, once each, and set the answers side by side."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from prefect import task
from prefect.cache_policies import NO_CACHE

from dpo_core.data.digests import digest_json, prompt_digest
from dpo_core.data.pairs import Message
from dpo_core.evaluate.behaviour import BehaviourCheck, read_checks
from dpo_core.model.identity import digest_weights
from dpo_core.model.stops import named_ends
from dpo_core.report.documents import EvaluationEvidence
from infra.errors import Damaged, InfraError
from infra.registry.versions import download_weights
from infra.settings import load_settings
from infra.store import open_store
from infra.store.base import Store
from infra.tracking.runs import attach_run
from tasks.records import Checked, Evaluated, EvaluateOutput, MeasureOutput, Plan, Scored, Trained
from tasks.reference.store import reference_sums
from tasks.runtime.models import stored_model
from tasks.runtime.pairs import encoded_pairs, stored_pairs
from tasks.runtime.stages import remembered

if TYPE_CHECKING:
    from dpo_core.evaluate.preference import PairValues

log = logging.getLogger("dpo.evaluate")
CODE = ("tasks.evaluate",)
BASELINE, BASELINE_WEIGHTS = "gate.baseline", "dpo.baseline_weights_sha256"  # tags of a version, by its gate


@task(name="evaluate", cache_policy=NO_CACHE)
def evaluate(plan: Plan, checked: Checked, scored: Scored, trained: Trained) -> Evaluated:
    """Held-out preferences, behaviour, retention and sample answers of the challenger and what it is up against."""
    store = open_store(load_settings(), patient=True)
    against, baseline = _baseline(plan, trained)
    inputs = {
        "challenger": trained.weights_sha256,
        "baseline": baseline,
        "questions": _questions_digest(plan),
        "data": checked.data_sha256,
        "ids": checked.ids_sha256,
        "path": scored.path,
        "beta": plan.recipe.training.beta,
        "tokenizer": plan.tokenizer_sha256,
        "ends": named_ends(Path(plan.model_folder)),
    }
    key = f"evaluations/{digest_json(inputs)}.json"

    def compute() -> EvaluateOutput:
        evidence = _evidence(store, plan, checked, scored, trained, baseline)
        store.put_bytes(key, json.dumps(evidence.to_document()).encode())
        run = attach_run(plan.run_id)
        run.metrics({_logged(name): metric.value for name, metric in evidence.metrics.items()})
        run.json("evaluation.json", evidence.to_document())
        return EvaluateOutput(metrics=evidence.metrics)

    output, stage = remembered(
        store,
        "evaluate",
        inputs,
        compute,
        output=EvaluateOutput,
        code=CODE,
        force=plan.force,
        there=lambda _: store.exists(key),
    )
    return Evaluated(
        **dict(output),
        key=key,
        baseline=against,
        baseline_weights_sha256=baseline,
        stage=stage,
    )


def _logged(name: str) -> str:
    return name if name.startswith(("behaviour/", "retention/")) else f"eval_{name}"


def _baseline(plan: Plan, trained: Trained) -> tuple[Literal["reference", "champion"], str]:
    """What the challenger must beat, and its weights: the champion; the reference while there is none.

    Where the challenger is the champion already, what that champion was gated against.
    """
    champion = plan.champion
    if champion is None:
        return "reference", plan.weights_sha256
    if not champion.weights_sha256:
        raise InfraError(
            f"version {champion.number}, the champion, was registered by another program: it names no weights",
            where=f"models:/{plan.recipe.name}@champion",
            do="take the alias off it on the MLflow page: the next version is then compared with the start model",
        )
    if champion.weights_sha256 != trained.weights_sha256:
        return "champion", champion.weights_sha256
    weights = champion.tags.get(BASELINE_WEIGHTS, plan.weights_sha256)
    return "champion" if champion.tags.get(BASELINE) == "champion" else "reference", weights


def _questions_digest(plan: Plan) -> str:
    evaluation = plan.recipe.evaluation
    files = {**evaluation.behaviour, **evaluation.retention, "neutral_text": evaluation.neutral_text or ""}
    named = {name: plan.files.get(path, "") for name, path in files.items()}
    asked = [evaluation.max_new_tokens, evaluation.batch_size, evaluation.samples, plan.recipe.encoding.date]
    return digest_json([named, *asked])


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
        models[sha] = Measured(found.answers, found.nll, _pair_values(store, plan, checked, scored, found.logps))
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
) -> MeasureOutput:
    """One model's answers, held-out log-probs and text NLL: remembered, so that a champion is asked once."""
    is_reference = weights == plan.weights_sha256
    inputs = {
        "weights": weights,
        "own_code": plan.trusted_code,
        "questions": _questions_digest(plan),
        "data": checked.data_sha256,
        "ids": checked.ids_sha256,
        "path": {key: value for key, value in scored.path.items() if key != "model"},
        "tokenizer": plan.tokenizer_sha256,
        "ends": named_ends(Path(plan.model_folder)),
        "logps": not is_reference,
    }

    def compute() -> MeasureOutput:
        from tasks.measure import measure

        return measure(_folder(store, plan, weights), plan, store, checked, suites, samples, logps=not is_reference)

    return remembered(store, "measure", inputs, compute, output=MeasureOutput, code=CODE, force=plan.force)[0]


def _folder(store: Store, plan: Plan, weights: str) -> Path:
    """The model with exactly these weights, wherever it lies. Raises Damaged where the bytes are others."""
    home = load_settings().home
    if weights == plan.weights_sha256:
        folder = Path(plan.model_folder)
    elif store.exists(f"models/{weights}/MANIFEST.json"):
        folder = stored_model(store, f"models/{weights}", home)
    else:
        folder = download_weights(plan.recipe.name, weights, home / "downloads" / weights)
    if (found := digest_weights(folder)) != weights:
        do = "find out who changed them, then run the same command again"
        raise Damaged(f"these weights have the digest {found}, wanted are those of {weights}", where=str(folder), do=do)
    return folder


def _pair_values(
    store: Store, plan: Plan, checked: Checked, scored: Scored, logps: Mapping[str, list[float]] | None
) -> "PairValues":
    """TRL's metrics of each held-out pair against the stored reference log-probs (`logps` None: its own)."""
    import torch

    from dpo_core.evaluate.preference import PairValues, pair_values

    encoded = encoded_pairs(store, checked.eval_key, checked.eval_ids_key)
    policy = reference = reference_sums(store, scored.path, encoded)
    if logps is not None:
        chosen, rejected = (torch.tensor(logps[side], dtype=torch.float64) for side in ("chosen", "rejected"))
        policy = (chosen, rejected)
    values = pair_values(policy, reference, beta=plan.recipe.training.beta)
    return PairValues(values, [prompt_digest(e.pair.prompt) for e in encoded], [e.pair.source for e in encoded])
