"""Ask challenger, reference and champion the same questions, once each, and set the answers side by side."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from dpo_core.data.digests import digest_json
from dpo_core.data.pairs import Message, Pair, text_of
from dpo_core.evaluate.behaviour import Check, read_checks
from dpo_core.evaluate.gate import Scores
from dpo_core.evaluate.intervals import mean_interval
from infra.registry import download
from infra.settings import load_settings
from infra.store import Store, open_store
from infra.tracking import attach_run
from tasks.check import Checked
from tasks.pairs import stored_pairs
from tasks.plan import Plan
from tasks.reference import load_reference
from tasks.score import Scored, distinct_responses
from tasks.stages import Stage, remembered
from tasks.train import Trained, model_files

if TYPE_CHECKING:
    from dpo_core.evaluate.preference import PairValues

log = logging.getLogger("dpo.evaluate")
CODE = ("tasks/evaluate.py", "dpo_core/evaluate", "dpo_core/model", "dpo_core/data")
PAIR_METRICS = ("rewards/accuracies", "rewards/margins")


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
        evidence = _evidence(store, plan, checked, scored, trained, baseline)
        store.put_bytes(key, json.dumps(evidence).encode())
        run = attach_run(plan.run_id)
        run.metrics({_logged(name): value["value"] for name, value in evidence["metrics"].items()})
        run.json("evaluation.json", evidence)
        metrics: dict[str, Any] = {"metrics": evidence["metrics"]}
        return metrics

    output, stage = remembered(store, "evaluate", inputs, compute, code=CODE, force=plan.force)
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
) -> dict[str, Any]:
    """Everything that the gate decides on and the report shows."""
    pairs = stored_pairs(store, checked.eval_key)
    suites = _suites(plan)
    samples = _samples(pairs, plan.recipe.evaluation.samples)
    weights = {"reference": plan.weights_sha256, "challenger": trained.weights_sha256, "baseline": baseline}
    measured = {
        sha: _measured(store, plan, checked, scored, sha, suites, samples) for sha in dict.fromkeys(weights.values())
    }
    values = {sha: _pair_values(store, plan, checked, scored, m) for sha, m in measured.items()}
    scores = {sha: _scores(measured[sha], values[sha], suites) for sha in measured}
    evidence = _side_by_side(weights, scores, values[trained.weights_sha256])
    evidence["flips"] = {
        name: _flips(suites[name], measured[plan.weights_sha256], measured[trained.weights_sha256], name)
        for name in suites
        if name.startswith("retention/")
    }
    evidence["samples"] = [
        {"prompt": text_of(prompt), **{who: measured[sha]["answers"]["samples"][i] for who, sha in weights.items()}}
        for i, prompt in enumerate(samples)
    ]
    evidence["checks"] = {
        name: [
            {
                "prompt": text_of(c.prompt),
                "source": c.source,
                **{who: measured[sha]["answers"][name][i] for who, sha in weights.items()},
                "passes": c.passes(measured[trained.weights_sha256]["answers"][name][i]),
            }
            for i, c in enumerate(checks)
        ]
        for name, checks in suites.items()
    }
    return evidence


def _suites(plan: Plan) -> dict[str, list[Check]]:
    evaluation = plan.recipe.evaluation
    suites = {f"behaviour/{name}": read_checks(path) for name, path in evaluation.behaviour.items()}
    return suites | {f"retention/{name}": read_checks(path) for name, path in evaluation.retention.items()}


def _samples(pairs: Sequence[Pair], count: int) -> list[tuple[Message, ...]]:
    """Held-out prompts for the report, spread over the data's sources."""
    chat = [pair for pair in pairs if not pair.plain]
    distinct = {digest_json(pair.prompt): pair for pair in chat}
    by_source: dict[str, list[Pair]] = {}
    for pair in distinct.values():
        by_source.setdefault(pair.source, []).append(pair)
    rounds = [
        group[i]
        for i in range(max(map(len, by_source.values()), default=0))
        for group in by_source.values()
        if i < len(group)
    ]
    return [pair.prompt for pair in rounds[:count]]


def _measured(
    store: Store,
    plan: Plan,
    checked: Checked,
    scored: Scored,
    weights: str,
    suites: Mapping[str, Sequence[Check]],
    samples: Sequence[tuple[Message, ...]],
) -> dict[str, Any]:
    """One model's answers, held-out log-probs and text NLL: remembered, so that a champion is asked once."""
    is_reference = weights == plan.weights_sha256
    inputs = {
        "weights": weights,
        "questions": _questions_digest(plan),
        "data": checked.data_sha256,
        "path": {key: value for key, value in scored.path.items() if key != "model"},
        "encoding": plan.recipe.encoding.model_dump(),
        "tokenizer": plan.tokenizer_sha256,
        "logps": not is_reference,
    }

    def compute() -> dict[str, Any]:
        from tasks.measure import measure

        return measure(_folder(store, plan, weights), plan, store, checked, suites, samples, logps=not is_reference)

    return remembered(store, "measure", inputs, compute, code=(*CODE, "tasks/measure.py"), force=plan.force)[0]


def _folder(store: Store, plan: Plan, weights: str) -> Path:
    home = load_settings().home
    if weights == plan.weights_sha256:
        return Path(plan.model_folder)
    if store.exists(f"models/{weights}/MANIFEST.json"):
        return model_files(store, f"models/{weights}", home)
    return download(plan.recipe.name, "champion", home / "downloads" / weights)


def _pair_values(
    store: Store, plan: Plan, checked: Checked, scored: Scored, measurement: Mapping[str, Any]
) -> "PairValues":
    """TRL's metrics of each held-out pair against the stored reference log-probs."""
    import torch

    from dpo_core.evaluate.preference import PairValues, pair_values
    from dpo_core.model.reference import response_key
    from tasks.pairs import encoded_pairs

    encoded = encoded_pairs(store, plan, checked.eval_key)
    known = load_reference(store, scored.path, distinct_responses(encoded))

    def column(side: str) -> torch.Tensor:
        keys = [response_key(scored.path, e.prompt_ids, getattr(e, f"{side}_ids")) for e in encoded]
        return torch.tensor([float(known[key].double().sum()) for key in keys], dtype=torch.float64)

    reference = (column("chosen"), column("rejected"))
    given = measurement["logps"]
    policy = (
        reference
        if given is None
        else tuple(torch.tensor(given[s], dtype=torch.float64) for s in ("chosen", "rejected"))
    )
    values = pair_values((policy[0], policy[1]), reference, beta=plan.recipe.training.beta)
    return PairValues(values, [digest_json(e.pair.prompt) for e in encoded], [e.pair.source for e in encoded])


def _scores(
    measurement: Mapping[str, Any], pairs: "PairValues", suites: Mapping[str, Sequence[Check]]
) -> dict[str, Scores]:
    """Per-item values of every metric that the gate may name; more is better."""
    scores = {name: Scores(pairs.values[name], pairs.prompts) for name in PAIR_METRICS}
    for name, checks in suites.items():
        passed = [float(c.passes(a)) for c, a in zip(checks, measurement["answers"][name], strict=True)]
        scores[name] = Scores(passed, [digest_json(c.prompt) for c in checks])
    if measurement["nll"]:
        scores["retention/neutral_text"] = Scores(
            [-x for x in measurement["nll"]], [str(i) for i in range(len(measurement["nll"]))]
        )
    return scores


def _side_by_side(
    weights: Mapping[str, str], scores: Mapping[str, Mapping[str, Scores]], challenger: "PairValues"
) -> dict[str, Any]:
    """Means with intervals for each model, the challenger's slices, and the items themselves for the gate."""
    from dpo_core.evaluate.preference import by_slice, summarise

    means = {
        who: {name: mean_interval(s.values, s.clusters)._asdict() for name, s in scores[sha].items()}
        for who, sha in weights.items()
    }
    pair_metrics = {name: interval._asdict() for name, interval in summarise(challenger).items()}
    slices = {name: {m: i._asdict() for m, i in row.items()} for name, row in by_slice(challenger).items()}
    items = {who: {name: asdict(s) for name, s in scores[weights[who]].items()} for who in ("challenger", "baseline")}
    metrics = pair_metrics | {k: v for k, v in means["challenger"].items() if k not in pair_metrics}
    return {"metrics": metrics, "means": means, "slices": slices, "items": items}


def _flips(
    checks: Sequence[Check], before: Mapping[str, Any], after: Mapping[str, Any], name: str
) -> dict[str, list[dict[str, str]]]:
    """Questions that changed from right to wrong and from wrong to right."""
    flips: dict[str, list[dict[str, str]]] = {"lost": [], "won": []}
    for check, old, new in zip(checks, before["answers"][name], after["answers"][name], strict=True):
        if check.passes(old) != check.passes(new):
            flips["lost" if check.passes(old) else "won"].append(
                {"prompt": text_of(check.prompt), "before": old, "after": new}
            )
    return flips
