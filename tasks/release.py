"""From weights to the registry: a version with its lineage, and the gate's verdict on it."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from prefect import task
from prefect.cache_policies import NO_CACHE

from dpo_core.evaluate.gate import Scores, beyond_noise, decide
from dpo_core.evaluate.scores import SOUND
from dpo_core.recipe_release import Gate, RecipeGate
from dpo_core.report.documents import EvaluationEvidence
from dpo_core.report.sentences import looks_are_spent
from infra.registry import versions
from infra.registry.versions import Version
from infra.registry.weights import PLACE, removed
from infra.settings import load_settings
from infra.store import open_store
from infra.store.base import Store
from infra.tracking.runs import attach_run
from tasks.baseline import BASELINE, BASELINE_WEIGHTS, TOKENIZER
from tasks.evaluation.registrable import require_registrable
from tasks.lineage import KEY, REPORT, report_key, write_lineage
from tasks.looks import Look, look
from tasks.records import (
    Checked,
    Evaluated,
    Gated,
    GateOutput,
    Plan,
    Registered,
    Scored,
    Stage,
    Trained,
)
from tasks.runtime.approval import policy_tags
from tasks.runtime.code import RUN
from tasks.runtime.datasets import dataset_tags
from tasks.runtime.models import stored_model
from tasks.runtime.pairs import encoded_pairs
from tasks.runtime.stages import code_digest, remembered
from tasks.runtime.start import LICENCE, REQUEST, START, START_WEIGHTS, licence_of_start

log = logging.getLogger("dpo.release")
CHALLENGER = "challenger"
OF_RUN = {"git.commit": "mlflow.source.git.commit", "user": "mlflow.user"}  # tags of a version: of its run


@task(name="register", cache_policy=NO_CACHE)
def register(plan: Plan, checked: Checked, scored: Scored, trained: Trained, evaluated: Evaluated) -> Registered:
    """A model version whose tags and dataset inputs lead back to everything it was made from; alias `challenger`."""
    start, settings = time.monotonic(), load_settings()
    store = open_store(settings, patient=True)
    attach_run(plan.run_id).settle(settings.patience_s)  # from here on MLflow's answers are needed
    found = versions.by_weights(plan.recipe.name, trained.weights_sha256)
    known = found is not None and KEY in found.tags and not removed(found.tags) and not plan.force
    if found is not None and known:
        version = found.number
        wanted = policy_tags(plan.recipe.promotion)  # the recipe that made it may have had another
        changed = {tag: new for tag, new in wanted.items() if found.tags.get(tag, "") != new}
        versions.set_tags(plan.recipe.name, version, changed)
    else:
        version = _new_version(store, plan, checked, scored, trained, evaluated)
    challenger = versions.by_alias(plan.recipe.name, CHALLENGER)
    if challenger is None or challenger.number != version:
        versions.set_alias(plan.recipe.name, CHALLENGER, version)
    log.info("registered name=%s version=%d", plan.recipe.name, version)
    stage = Stage(name="register", cached=known, seconds=time.monotonic() - start)
    return Registered(version=version, stage=stage)


def _new_version(
    store: Store, plan: Plan, checked: Checked, scored: Scored, trained: Trained, evaluated: Evaluated
) -> int:
    run = attach_run(plan.run_id)
    keys: dict[Literal["training", "evaluation"], str] = {"training": checked.train_key, "evaluation": checked.eval_key}
    for context, key in keys.items():
        sha256, rows = store.digests(key).found, len(store.get_bytes(key).splitlines())
        name, source = f"{plan.recipe.name}-{context}", f"{store.url}/{key}"
        run.dataset(name=name, sha256=sha256, source=source, context=context, rows=rows)
    known = {tag: run.tag(of_run) for tag, of_run in OF_RUN.items()}
    known[LICENCE] = licence_of_start(plan.start_model, Path(plan.model_folder))
    tags = {
        "base_model": plan.start_model,
        "pairs": checked.rows_kept,
        **{tag: value for tag, value in known.items() if value},
        "data.sha256": checked.data_sha256,
        **dataset_tags(plan.recipe),
        START: plan.start_model,
        START_WEIGHTS: plan.weights_sha256,
        REQUEST: plan.request,
        TOKENIZER: plan.tokenizer_sha256,
        "dpo.seed": plan.seed,
        PLACE: f"{store.url}/{trained.model_key}",
        REPORT: report_key(plan.recipe.name, trained.weights_sha256),
        "code.sha256": code_digest(RUN),
        **policy_tags(plan.recipe.promotion),
        **write_lineage(store, plan, checked, scored, trained, evaluated),
    }
    folder = stored_model(store, trained.model_key, load_settings().home)
    held_out = encoded_pairs(store, checked.eval_key, checked.eval_ids_key)
    require_registrable(folder, plan, held_out, evaluated.logps)
    name, weights = plan.recipe.name, trained.weights_sha256
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    log.info("model_upload name=%s mib=%d to=%s", name, size >> 20, versions.address())  # MLflow tells no progress
    return versions.register(
        name,
        run_id=plan.run_id,
        weights_sha256=weights,
        model_folder=folder,
        tags=tags,
        trusted_code=plan.trusted_code,
        dtype=plan.recipe.training.dtype,
    ).number


@task(name="gate", cache_policy=NO_CACHE)
def gate(plan: Plan, evaluated: Evaluated, registered: Registered) -> Gated:
    """Promote, hold or reject, with the evidence on the run and on the version."""
    store = open_store(load_settings(), patient=True)
    rules, version = plan.recipe.gate, versions.by_number(plan.recipe.name, registered.version)
    evidence = EvaluationEvidence.model_validate_json(store.get_bytes(evaluated.key))
    models = {
        who: {name: Scores(s.values, s.clusters, s.left_out) for name, s in by_metric.items()}
        for who, by_metric in evidence.items.items()
    }
    planned, number, fresh = plan.recipe.retrain.looks, *_look(store, plan, evaluated, version, models)
    spent = looks_are_spent(number, planned, fresh) if number > planned else ""

    def compute() -> GateOutput:
        judged = _without_unmeasured_default(rules, models)
        decision = decide(models["challenger"], models["baseline"], judged, anchor=models.get("anchor"), looks=planned)
        if plan.recipe.evaluation.answers == 1:  # of several the share counts, which one that flips moves little
            decision = beyond_noise(decision, evidence.flip_rate)
        output = GateOutput(**decision._asdict(), reasons=decision.reasons)
        if spent and output.verdict == "promote":
            return output.model_copy(update={"verdict": "hold_underpowered", "reasons": [spent]})
        return output

    output, stage = remembered(
        store,
        "gate",
        {"evaluation": evaluated.key, "rules": rules.model_dump(), "looks": planned, "spent": spent},  # not for ever
        compute,
        output=GateOutput,
        code=("dpo_core.evaluate.gate",),
        force=plan.force,
    )
    tags = {
        "gate.verdict": output.verdict,
        BASELINE: evaluated.baseline,
        BASELINE_WEIGHTS: evaluated.baseline_weights_sha256,
        "gate.reasons": "; ".join(output.reasons),
        "dpo.evaluation": f"{store.url}/{evaluated.key}",
        "gate.record": stage.key,
    }
    said = version.tags.get("gate.record") == stage.key  # not where the run that decided was killed before it did
    if not stage.cached or not said:
        run = attach_run(plan.run_id)
        given = {"baseline": evaluated.baseline, "rules": rules.model_dump()}
        run.json("gate.json", output.model_dump(mode="json") | given)
        run.tags({"gate.verdict": output.verdict})
        versions.set_tags(plan.recipe.name, registered.version, tags)
    log.info("gated verdict=%s baseline=%s", output.verdict, evaluated.baseline)
    return Gated(**dict(output), stage=stage)


def _without_unmeasured_default(rules: Gate, models: Mapping[str, Mapping[str, Scores]]) -> Gate:
    """A model without a chat template generates nothing: what the recipe did not ask for by name holds nobody up.

    But where nothing else is asked for: then nothing was measured that could promote it.
    """
    measured = any(len(scores[SOUND].values) for scores in models.values())
    if rules.keep != RecipeGate().keep or measured or not (rules.gains or rules.floor):
        return rules
    return rules.model_copy(update={"keep": {}})


def _look(
    store: Store, plan: Plan, evaluated: Evaluated, version: Version, models: Mapping[str, Mapping[str, Scores]]
) -> Look:
    """Spend one look at the items that a gain is looked for on; where none is, none is spent."""
    scores = [models["challenger"][metric] for metric in plan.recipe.gate.gains if metric in models["challenger"]]
    items = [cluster for found in scores for cluster in found.clusters]
    if not items:
        return Look(0, 0)
    return look(
        store,
        plan.recipe.name,
        challenger=version.weights_sha256,
        evaluation=evaluated.key,
        run_id=plan.run_id,
        items=items,
    )
