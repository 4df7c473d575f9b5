"""The run as one JSON document, one HTML page, and what the terminal shows."""

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import TypeAdapter

from dpo_core.evaluate.gate import GateVerdict
from dpo_core.report.documents import CheckAnswers, EvaluationEvidence, SampleAnswers
from dpo_core.report.model_card import CardFacts, licence_of, model_card, shortened
from dpo_core.report.sentences import OUTCOMES, noise_sentence, shown_scores, trivial_sentence, uptake_sentences
from infra.registry import versions
from infra.registry.aliases import DESCRIPTION, describe
from infra.secrets import without_secrets
from infra.settings import load_settings
from infra.store import open_store
from infra.tracking.runs import attach_run
from tasks.documents import (
    BeforeAfter,
    Drift,
    GateLine,
    OnlineFigures,
    ReferenceCounts,
    RetrainDisplay,
    RetrainDocument,
    Retrained,
    RetrainState,
    SideBySide,
    StageLine,
    TrainingFigures,
)
from tasks.lineage import report_key
from tasks.records import Checked, Evaluated, Gated, Plan, Promoted, Registered, Scored, Trained
from tasks.runtime.datasets import TRAIN_TAG
from tasks.runtime.start import LICENCE
from tasks.seeds.records import DivergedSeed, SeedModel
from tasks.seeds.spread import seed_lines, spreads, unstable
from tasks.weights import remove_old_weights

VERDICT: TypeAdapter[GateVerdict] = TypeAdapter(GateVerdict)
CARD = "README.md"  # the model card, as a model's folder has it
SHOWN_TAGS = {
    "git.commit": "commit of the recipe",
    "user": "made by",
    TRAIN_TAG: "data set",
    "code.sha256": "code, SHA-256",
}
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
    tried: Sequence[SeedModel | DivergedSeed] = (),
) -> Retrained:
    """The document of `dpo retrain --json`, and what people see; the run's page beside it.

    `tried`: what the seeds came to, where there are several.
    """
    done = (checked, scored, trained, evaluated, registered, gated, promoted)
    store = open_store(load_settings(), patient=True)
    evidence = EvaluationEvidence.model_validate_json(store.get_bytes(evaluated.key))
    key = report_key(plan.recipe.name, trained.weights_sha256)
    page = load_settings().home / key
    models = [one for one in tried if isinstance(one, SeedModel)]
    stages = [*(output.stage for output in done), *(one.trained.stage for one in models)]
    changed = not all(stage.cached for stage in stages)
    lines = seed_lines(plan, tried, plan.seed)
    document = RetrainDocument(
        state=_state(gated, promoted, changed=changed),
        verdict=gated.verdict,
        changed=changed,
        model=plan.recipe.name,
        version=registered.version,
        champion_version=promoted.champion_version,
        not_promoted=promoted.not_promoted,
        waiting_until=promoted.waiting_until,
        reasons=[*filter(None, [promoted.not_promoted, _ended(trained, promoted)]), *gated.reasons],
        metrics=evaluated.metrics,
        uptake=evidence.uptake,
        mlflow_run_id=plan.run_id,
        weights_sha256=trained.weights_sha256,
        data_sha256=checked.data_sha256,
        stages=[StageLine.of(output.stage) for output in done],
        reference=ReferenceCounts(rows=scored.rows, hits=scored.hits, forwards=scored.forwards),
        training=_figures(plan, trained),
        seeds=lines,
        spread=spreads(lines),
        unstable=unstable(gated, lines),
        report=str(page),
        data_report=checked.report,
    )
    retrained = Retrained(document=document, display=_display(plan, checked, evaluated, gated, evidence))
    if document.changed or not page.is_file() or not store.exists(key):
        facts = _facts(plan, checked, evaluated, registered, retrained)
        card = model_card(facts, evidence)
        _write_pages(page, retrained, trained, evidence, facts)
        attach_run(plan.run_id).artifact(page.parent, "reports")
        whole = f"reports/{CARD} of the MLflow run {plan.run_id}"
        describe(plan.recipe.name, registered.version, shortened(card, DESCRIPTION, whole))
        store.put_file(key, page)
    remove_old_weights(store, plan.recipe)
    return retrained


def _online(trained: Trained) -> OnlineFigures | None:
    if trained.online is None:
        return None
    return OnlineFigures(**{name: getattr(trained.online, name) for name in OnlineFigures.model_fields})


def _ended(trained: Trained, promoted: Promoted) -> str:
    """Why the training ended early, where that is not said already."""
    ended = trained.online.ended if trained.online else ""
    return f"the training ended after {trained.steps} steps: {ended}" if ended and not promoted.not_promoted else ""


def _figures(plan: Plan, trained: Trained) -> TrainingFigures:
    return TrainingFigures(
        steps=trained.steps,
        first_dpo_loss=trained.first_dpo_loss,
        pairs_per_second=round(trained.pairs_per_second, 3),
        loss=plan.recipe.training.named,
        online=_online(trained),
        jumps=trained.jumps,
        early_stopping=trained.early_stopping,
    )


def _state(gated: Gated, promoted: Promoted, *, changed: bool) -> RetrainState:
    if promoted.waiting_until is not None:
        return "waiting_for_approval"
    if not changed:
        return "nothing_new"
    if gated.verdict == "promote" and not promoted.not_promoted:
        return "promoted"
    return "rejected" if gated.verdict == "reject_regression" else "held"


@task(name="nothing_new", cache_policy=NO_CACHE)
def nothing_new(plan: Plan, checked: Checked) -> Retrained:
    """The end of a run whose pairs the version that it starts from has all seen: that version, as it is."""
    version = versions.resolve(plan.start_model)
    why = (
        f"no pair is new to version {version.number}, which the run starts from: nothing to train on. Add pairs, or "
        "train on all of them with --set retrain.start=base"
    )
    document = RetrainDocument(
        state="nothing_new",
        reasons=[why],
        data_report=checked.report,
        verdict=VERDICT.validate_python(version.tags.get("gate.verdict", "hold_no_gain")),
        changed=False,
        model=plan.recipe.name,
        version=version.number,
        champion_version=plan.champion.number if plan.champion else None,
        mlflow_run_id=version.run_id,
        weights_sha256=version.weights_sha256,
        data_sha256=checked.data_sha256,
        stages=[StageLine.of(checked.stage)],
        reference=ReferenceCounts(rows=0, hits=0, forwards=0),
        training=TrainingFigures(steps=0, first_dpo_loss=0.0, pairs_per_second=0.0, loss=plan.recipe.training.named),
        report=checked.report,
    )
    display = RetrainDisplay(
        before_after=[],
        answers=[],
        drift=Drift(chosen_logratio=0.0, rejected_logratio=0.0, margin=0.0),
        gate=GateLine(verdict=document.verdict, reasons=[why], baseline="champion"),
        report=checked.report,
        run_url=plan.run_url,
    )
    return Retrained(document=document, display=display)


def _display(
    plan: Plan, checked: Checked, evaluated: Evaluated, gated: Gated, evidence: EvaluationEvidence
) -> RetrainDisplay:
    means = evidence.means
    against = {} if evaluated.baseline == "reference" else means["baseline"]
    moved = (evidence.metrics.get(f"logratios/{side}") for side in ("chosen", "rejected"))
    chosen, rejected = (math.nan if found is None else found.value for found in moved)
    said = (shown_scores(evidence.sealed), trivial_sentence(evidence.trivial), noise_sentence(evidence.again))
    return RetrainDisplay(
        before_after=[
            BeforeAfter(
                metric=name,
                reference=means["reference"][name].value,
                challenger=value.value,
                low=value.low,
                high=value.high,
                champion=against[name].value if against else None,
            )
            for name, value in means["challenger"].items()
        ],
        answers=[
            SideBySide(prompt=answer.prompt, before=answer.reference, after=answer.challenger)
            for answer in _answers(evidence)[:ANSWERS]
        ],
        drift=Drift(chosen_logratio=chosen, rejected_logratio=rejected, margin=chosen - rejected),
        learnt=uptake_sentences(evidence.uptake),
        scores=" ".join(filter(None, said)),
        gate=GateLine(
            verdict=gated.verdict,
            reasons=gated.reasons,
            baseline=evaluated.baseline,
            conditions=gated.conditions,
            notes=gated.notes,
        ),
        report=checked.report,
        run_url=plan.run_url,
    )


def _answers(evidence: EvaluationEvidence) -> list[CheckAnswers | SampleAnswers]:
    """One answer of each behaviour suite that changed, then the held-out samples."""
    suites = [rows for name, rows in evidence.checks.items() if name.startswith("behaviour/")]
    changed = [next((row for row in rows if row.reference != row.challenger), None) for rows in suites]
    return [*(row for row in changed if row), *evidence.samples]


def _write_pages(
    page: Path, retrained: Retrained, trained: Trained, evidence: EvaluationEvidence, facts: CardFacts
) -> None:
    from dpo_core.report.retrain import retrain_page

    document, display = retrained.document.to_json(), retrained.display.model_dump()
    page.parent.mkdir(parents=True, exist_ok=True)
    curves = trained.online.curves if trained.online else ()
    page.write_text(retrain_page(document, display, trained.history, evidence, facts, curves), encoding="utf-8")
    page.with_suffix(".json").write_text(json.dumps(document, indent=2))
    page.with_name("evidence.json").write_text(json.dumps(evidence.to_document()))
    page.with_name(CARD).write_text(model_card(facts, evidence), encoding="utf-8")


def _facts(
    plan: Plan, checked: Checked, evaluated: Evaluated, registered: Registered, retrained: Retrained
) -> CardFacts:
    document, outcome = retrained.document, OUTCOMES[retrained.document.verdict]
    tags = versions.by_number(plan.recipe.name, registered.version).tags
    return CardFacts(
        name=plan.recipe.name,
        version=registered.version,
        made=datetime.now(UTC).date().isoformat(),
        base_model=without_secrets(plan.start_model),
        licence=tags.get(LICENCE) or licence_of(Path(plan.model_folder)),
        pairs={
            "kept after the data check": checked.rows_kept,
            "in quarantine": checked.rows_quarantined,
            "dropped by validation.on_shortcut": checked.rows_dropped,
        },
        warnings=[f"{f.check}: {f.says}" for f in checked.findings if f.severity == "warn" and not f.intended],
        training=plan.recipe.training.model_dump(),
        seed=plan.seed,
        verdict=outcome.sentence,
        reasons=document.reasons,
        baseline=evaluated.baseline,
        origins={
            "MLflow run": plan.run_id,
            "weights, SHA-256": document.weights_sha256,
            "data, SHA-256": document.data_sha256,
            **{label: tags[tag] for tag, label in SHOWN_TAGS.items() if tag in tags},
        },
    )
