"""Ask challenger, reference and champion the same questions, once each, and set the answers side by side."""

import functools
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from dpo_core.data.digests import digest_json
from dpo_core.data.pairs import EncodedPair, Message, Pair
from dpo_core.evaluate.behaviour import BehaviourCheck, read_checks
from dpo_core.model.identity import digest_weights
from dpo_core.model.stops import named_ends
from dpo_core.quality.prompts.identity import split_key
from dpo_core.report.documents import EvaluationEvidence
from infra.errors import Damaged
from infra.registry.versions import download_weights
from infra.settings import load_settings
from infra.store import open_store
from infra.store.base import Store
from infra.tracking.runs import attach_run
from tasks.baseline import Baselines, baselines
from tasks.evaluation import registrable
from tasks.evaluation.harness import harness_scores
from tasks.records import Checked, Evaluated, EvaluateOutput, MeasureOutput, Plan, Scored, Trained, logged
from tasks.reference.store import reference_sums
from tasks.runtime.models import config_of, local_model, stored_model
from tasks.runtime.pairs import encoded_pairs, stored_pairs
from tasks.runtime.stages import code_digest, remembered

if TYPE_CHECKING:
    from torch import Tensor

    from dpo_core.evaluate.evidence import Measured
    from dpo_core.evaluate.uptake.counterfactuals import Counterfactual
    from tasks.evaluation.judged import JudgedOutput, Jury

log = logging.getLogger("dpo.evaluate")
CODE = ("tasks.evaluate",)


@task(name="evaluate", cache_policy=NO_CACHE)
def evaluate(plan: Plan, checked: Checked, scored: Scored, trained: Trained) -> Evaluated:
    """Held-out preferences, behaviour, retention and sample answers of the challenger and what it is up against."""
    store = open_store(load_settings(), patient=True)
    models = baselines(store, plan, checked, trained)
    jury = _jury(store, plan)
    inputs = {
        "challenger": trained.weights_sha256,
        "baseline": models.baseline,
        "reference": models.reference.weights_sha256,
        "anchor": models.anchor,
        "trained_on": models.trained_on,
        "sealed_from": plan.recipe.evaluation.sealed_from,
        "questions": _questions_digest(plan, checked),
        "data": checked.data_sha256,
        "ids": checked.ids_sha256,
        "path": scored.path,
        "beta": plan.recipe.training.beta,
        "tokenizer": plan.tokenizer_sha256,
        "ends": named_ends(Path(plan.model_folder)),
        "kl": plan.recipe.evaluation.kl,
        **({"rewards": jury.content} if jury else {}),
        **({"lm_eval": {name: task.sha256 for name, task in plan.lm_eval.items()}} if plan.lm_eval else {}),
    }
    # by the code too: what another program measured stays as it was, for the gate and the lineage that went by it
    key = f"evaluations/{digest_json([inputs, code_digest(CODE)])}.json"

    def compute() -> EvaluateOutput:
        evidence, kept = _evidence(store, plan, checked, scored, trained, models, jury)
        if plan.recipe.evaluation.kl:
            from tasks.evaluation.divergence import with_divergence

            weights = (trained.weights_sha256, models.reference.weights_sha256)
            fetch = functools.partial(_folder, store, plan, models=models)
            evidence = with_divergence(evidence, store, plan, checked, scored, weights, fetch)
        store.put_bytes(key, json.dumps(evidence.to_document()).encode())
        run = attach_run(plan.run_id)
        run.metrics(logged(evidence.metrics))
        run.json("evaluation.json", evidence.to_document())
        return EvaluateOutput(metrics=evidence.metrics, gated=evidence.gated, **kept)

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
        baseline=models.against,
        baseline_weights_sha256=models.baseline,
        stage=stage,
    )


def _questions_digest(plan: Plan, checked: Checked) -> str:
    evaluation = plan.recipe.evaluation
    files = {**evaluation.suites, "neutral_text": evaluation.neutral_text or ""}
    named = {name: plan.files.get(path, "") for name, path in files.items()}
    asked = [evaluation.max_new_tokens, evaluation.batch_size, evaluation.samples, plan.recipe.encoding.date]
    shortcuts = [shortcut.model_dump() for shortcut in checked.shortcuts]
    sampled = {"answers": evaluation.answers, "temperature": evaluation.temperature} if evaluation.answers > 1 else {}
    return digest_json([named, *asked, evaluation.uptake_pairs, shortcuts, plan.recipe.seed, sampled, evaluation.again])


def _evidence(
    store: Store,
    plan: Plan,
    checked: Checked,
    scored: Scored,
    trained: Trained,
    models: Baselines,
    jury: "Jury | None",
) -> tuple[EvaluationEvidence, Mapping[str, object]]:
    """Everything that the gate decides on and the report shows; a model that plays two parts is asked once.

    And what else the stage remembers: folders of sampled answers, log-probs by which its weights are known again.
    """
    from dpo_core.evaluate.evidence import PAIRS, SAMPLES, Questions, draw_samples, side_by_side
    from dpo_core.evaluate.pairs.trivial import trivial_rules
    from dpo_core.evaluate.unseen import unseen_items
    from tasks.evaluation.sealing import with_seals

    suites = {name: read_checks(path) for name, path in plan.recipe.evaluation.suites.items()}
    encoded = encoded_pairs(store, checked.eval_key, checked.eval_ids_key)
    pairs = [row.pair for row in encoded]
    samples = draw_samples(pairs, plan.recipe.evaluation.samples)
    edited, edited_ids = _edited(plan, checked, pairs)
    ours, reference, base = trained.weights_sha256, models.reference.weights_sha256, models.baseline
    parts = {"reference": reference, "challenger": ours, "baseline": base}
    parts |= {"anchor": models.anchor} if models.anchor else {}
    found = {
        sha: _answers(store, plan, checked, scored, sha, suites, samples, edited_ids, models)
        for sha in dict.fromkeys(parts.values())
    }
    sums = {
        sha: reference_sums(store, scored.path, encoded) if output.logps is None else _sums(output.logps)
        for sha, output in found.items()
    }
    registrable.require_finite(found[ours], sums[ours], ours)
    fetch = functools.partial(_folder, store, plan, models=models)
    harness = harness_scores(store, plan, scored, found, fetch)
    judged = jury.each(samples, {sha: output.answers[SAMPLES] for sha, output in found.items()}, base) if jury else {}
    measured = _measured(found, sums, judged, harness.values, reference, plan.recipe.training.beta)
    prompts = {PAIRS: [pair.prompt for pair in pairs], SAMPLES: samples}
    prompts |= {name: [check.prompt for check in checks] for name, checks in suites.items()} | harness.prompts
    own = stored_pairs(store, checked.train_key)
    trained_on = _trained_on(store, checked, models, [pair.prompt for pair in own])
    items = {name: unseen_items(asked, trained_on) for name, asked in prompts.items()}
    items = with_seals(store, plan.recipe.name, prompts, items, plan.recipe.evaluation.sealed_from)
    by_part = {who: measured[sha] for who, sha in parts.items()}
    trivial = trivial_rules(own, pairs)
    asked = Questions(
        suites, samples, pairs, items, checked.shortcuts, edited, trivial, jury.says(judged) if jury else None
    )
    first = zip(registrable.SIDES, (side[: registrable.PAIRS].tolist() for side in sums[ours]), strict=True)
    kept = {"answers": sorted({folder for output in found.values() for folder in output.kept}), "logps": dict(first)}
    return side_by_side(by_part, asked), kept


def _measured(
    found: Mapping[str, MeasureOutput],
    sums: "Mapping[str, tuple[Tensor, Tensor]]",
    judged: "Mapping[str, JudgedOutput]",
    benchmarks: Mapping[str, Mapping[str, Sequence[float]]],
    reference: str,
    beta: float,
) -> "dict[str, Measured]":
    """By weights what each model makes of the questions, its rewards against those of `reference`."""
    from dpo_core.evaluate.evidence import Measured
    from dpo_core.evaluate.pairs.values import pair_values

    uptake = {sha: _sums(output.uptake) for sha, output in found.items()}
    return {
        sha: Measured(
            output.answers,
            output.nll,
            pair_values(sums[sha], sums[reference], beta=beta),
            pair_values(uptake[sha], uptake[reference], beta=beta)["rewards/margins"],
            output.sampled,
            judged[sha].wins if judged else (),
            judged[sha].scores if judged else (),
            output.again,
            benchmarks[sha],
            output.cut,
        )
        for sha, output in found.items()
    }


def _jury(store: Store, plan: Plan) -> "Jury | None":
    """Who says whose answers are better, where the recipe asks for it."""
    if plan.recipe.evaluation.rewards is None:
        return None
    from tasks.evaluation.judged import Jury

    return Jury(plan, store)


def _edited(plan: Plan, checked: Checked, pairs: Sequence[Pair]) -> "tuple[list[Counterfactual], list[EncodedPair]]":
    """Held-out answers with a shortcut of the data and without, as text and as ids; what is too long is left out."""
    from dpo_core.evaluate.uptake.counterfactuals import counterfactuals
    from dpo_core.model.encode import encode_pairs, load_tokenizer

    evaluation = plan.recipe.evaluation
    edited = counterfactuals(pairs, checked.shortcuts, evaluation.uptake_pairs, plan.recipe.seed)
    if not edited:
        return [], []
    tokenizer = load_tokenizer(plan.model_folder, trusted_code=plan.trusted_code)
    encoded = encode_pairs([edit.pair for edit in edited], tokenizer, plan.recipe.encoding).encoded
    of_pair = {id(row.pair): row for row in encoded}
    kept = [edit for edit in edited if id(edit.pair) in of_pair]
    return kept, [of_pair[id(edit.pair)] for edit in kept]


def _trained_on(
    store: Store, checked: Checked, models: Baselines, own: list[tuple[Message, ...]]
) -> list[list[tuple[Message, ...]]]:
    """`own`: prompts of this data set's rows that are trained on; and what else one of the models was trained on."""
    known = set(map(split_key, own))
    others = (pair.prompt for key in models.trained_on if key != checked.train_key for pair in stored_pairs(store, key))
    return [own, [prompt for prompt in others if split_key(prompt) not in known]]


def _sums(logps: Mapping[str, Sequence[float]]) -> "tuple[Tensor, Tensor]":
    """(chosen, rejected), or (with, without): log-probs of each pair's answers in nats."""
    import torch

    first, second = (torch.tensor(side, dtype=torch.float64) for side in logps.values())
    return first, second


def _answers(
    store: Store,
    plan: Plan,
    checked: Checked,
    scored: Scored,
    weights: str,
    suites: Mapping[str, Sequence[BehaviourCheck]],
    samples: Sequence[tuple[Message, ...]],
    edited: Sequence[EncodedPair],
    models: Baselines,
) -> MeasureOutput:
    """One model's answers, held-out log-probs and text NLL: remembered, so that a champion is asked once."""
    is_reference = weights == plan.reference_weights_sha256  # whose log-probs are stored, if the loss has any
    is_reference = is_reference and not plan.recipe.training.reference_free
    inputs = {
        "weights": weights,
        "config": config_of(store, plan, weights),
        "own_code": plan.trusted_code,
        "questions": _questions_digest(plan, checked),
        "data": checked.data_sha256,
        "ids": checked.ids_sha256,
        "path": {key: value for key, value in scored.path.items() if key != "model"},
        "tokenizer": plan.tokenizer_sha256,
        "ends": named_ends(Path(plan.model_folder)),
        "logps": not is_reference,
    }

    def compute() -> MeasureOutput:
        from tasks.evaluation.measure import Inquiry, measure

        path = {key: inputs[key] for key in ("weights", "config", "own_code", "path", "tokenizer", "ends")}
        asked = Inquiry(suites, samples, edited, logps=not is_reference, path=path)
        return measure(_folder(store, plan, weights, models), plan, store, checked, asked)

    return remembered(store, "measure", inputs, compute, output=MeasureOutput, code=CODE, force=plan.force)[0]


def _folder(store: Store, plan: Plan, weights: str, models: Baselines) -> Path:
    """The model with exactly these weights, wherever it lies. Raises Damaged where the bytes are others."""
    home = load_settings().home
    if weights in (plan.weights_sha256, plan.reference_weights_sha256):
        folder = Path(plan.model_folder if weights == plan.weights_sha256 else plan.reference_folder)
    elif store.exists(f"models/{weights}/MANIFEST.json"):
        folder = stored_model(store, f"models/{weights}", home)
    elif weights == models.reference.weights_sha256 and models.reference.model:
        folder = local_model(models.reference.model, home, pin=plan.recipe.trust_remote_code)
    else:
        folder = download_weights(plan.recipe.name, weights, home / "downloads" / weights)
    if (found := digest_weights(folder)) != weights:
        do = "find out who changed them, then run the same command again"
        raise Damaged(f"these weights have the digest {found}, wanted are those of {weights}", where=str(folder), do=do)
    return folder
