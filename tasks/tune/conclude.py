"""The end of a search: what is recommended and why, as a document, a page and a recipe."""

import json
import logging
import math
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from prefect import task
from prefect.cache_policies import NO_CACHE

from dpo_core.recipe import Recipe
from dpo_core.tune.choice import Chosen, TriedPoint, choose, seed_spread
from dpo_core.tune.rungs import WHOLE_RUN
from dpo_core.tune.space import Axis
from dpo_core.tune.winner import winner_recipe
from infra.settings import load_settings
from infra.tracking.runs import attach_run
from tasks.tune import study as studies
from tasks.tune.documents import RungLine, TrialLine, TuneDocument, Value
from tasks.tune.records import Search

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

log = logging.getLogger("dpo.tune")
FEW = 4  # finished trials, below which nothing is said of importance


@task(name="conclude", cache_policy=NO_CACHE)
def conclude(search: Search, recipe: str, written: Recipe) -> TuneDocument:
    """Write the page, its document and the winner's recipe to `DPO_HOME/reports`, and to the MLflow run.

    `written`: what the file `recipe` said when the search began.
    """
    study = studies.open_study(search.study)
    found = studies.tried(study)
    points = [_point(trial, search) for trial in found]
    chosen = choose(points, own=0)
    folder = load_settings().home / "reports" / f"{search.plan.recipe.name}-tune-{search.study}"
    folder.mkdir(parents=True, exist_ok=True)
    settings = next(t.params for t in found if t.number == chosen.number) if chosen else {}
    winner = folder / "winner.yaml"
    if chosen is not None:
        note = f"trial {chosen.number} of the study {search.study}: dpo tune {Path(recipe).name}"
        winner.write_text(winner_recipe(written, Path(recipe).parent, settings, note), encoding="utf-8")
    split = search.split
    document = TuneDocument(
        state=_state(chosen),
        model=search.plan.recipe.name,
        study=search.study,
        objective=search.plan.recipe.tune.objective,
        recommended=chosen.number if chosen else None,
        peak=chosen.peak if chosen else None,
        settings=settings,
        spread=chosen.spread if chosen else seed_spread(points),
        gain_half_width=chosen.half_width if chosen else None,
        importance=_importance(study),
        trials=[_line(trial, chosen) for trial in found],
        spent={name: round(amount, 2) for name, amount in studies.spent(study).items()},
        split={"trained_on": split.trained_on, "judged_on": split.judged_on, "prompts": split.prompts},
        limits=search.limits_told,
        space={key: _values(axis) for key, axis in search.space.items()},
        recipe=str(winner) if chosen else "",
        report=str(folder / "tune.html"),
        mlflow_run_id=search.plan.run_id,
    )
    _write(folder, document)
    run = attach_run(search.plan.run_id)
    run.artifact(folder, "reports")
    run.tags({"tune.state": document.state, "tune.recommended": document.recommended, "tune.study": search.study})
    log.info("search_ended study=%s state=%s recommended=%s", search.study, document.state, document.recommended)
    return document


def _state(chosen: Chosen | None) -> Literal["better", "own_settings", "none_holds"]:
    if chosen is None:
        return "none_holds"
    return "better" if chosen.number else "own_settings"


def _write(folder: Path, document: TuneDocument) -> None:
    from dpo_core.report.tune import tune_page

    told = document.to_json()
    (folder / "tune.html").write_text(tune_page(told), encoding="utf-8")
    (folder / "tune.json").write_text(json.dumps(told, indent=2), encoding="utf-8")


def _point(trial: "FrozenTrial", search: Search) -> TriedPoint:
    from optuna.trial import TrialState

    values: dict[int, tuple[float, ...]] = {}
    records = trial.user_attrs.get(studies.RECORDS, [])
    for record in records:
        value = record["measures"]["metrics"].get(search.plan.recipe.tune.objective, math.nan)
        if math.isfinite(value):  # one that is not would be in the mean around all others
            values[record["eighths"]] = (*values.get(record["eighths"], ()), value)
    place = tuple(axis.place(trial.params[key]) for key, axis in search.space.items())
    feasible = studies.holds(trial)
    done = trial.state == TrialState.COMPLETE  # a pruned one has a value too, its last
    last = [record["measures"].get("by_group", []) for record in records if record["eighths"] == WHOLE_RUN]
    seeds = zip(*last, strict=False) if done else ()  # none where a seed has none
    by_group = tuple((fmean(total for total, _ in group), group[0][1]) for group in seeds)
    return TriedPoint(trial.number, place, values if done else _but_last(values), feasible, by_group)


def _but_last(values: dict[int, tuple[float, ...]]) -> dict[int, tuple[float, ...]]:
    """Without a last rung that has not all its seeds."""
    return {rung: found for rung, found in values.items() if rung != WHOLE_RUN}


def _line(trial: "FrozenTrial", chosen: Chosen | None) -> TrialLine:
    rungs = [
        RungLine(
            **{name: record[name] for name in ("eighths", "seed", "pairs", "seconds")},
            **{name: record["measures"][name] for name in ("forwards", "metrics", "judged")},
        )
        for record in trial.user_attrs.get(studies.RECORDS, [])
    ]
    state = trial.state.name.lower()
    highest = max(trial.intermediate_values, default=None)
    return TrialLine(
        number=trial.number,
        settings=trial.params,
        state="finished" if state == "complete" else "pruned" if state == "pruned" else "running",
        value=None if highest is None else trial.intermediate_values[highest],
        reason=trial.user_attrs.get(studies.REASON, ""),
        around=chosen.around.get(trial.number) if chosen else None,
        rungs=rungs,
    )


def _importance(study: "Study") -> dict[str, float]:
    """Of each key: Optuna's PED-ANOVA, on the first rung, which every trial has. Empty where too few were tried."""
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    tried = [t for t in studies.tried(study) if t.intermediate_values]
    if len(tried) < FEW:
        return {}
    try:
        copy = _of_first_rung(tried)
        found = get_param_importances(copy, evaluator=PedAnovaImportanceEvaluator())
    except (ValueError, RuntimeError) as error:
        log.info("importance_left_out reason='%s'", error)
        return {}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _of_first_rung(tried: "list[FrozenTrial]") -> "Study":
    import optuna

    copy = optuna.create_study(direction="maximize")
    for trial in tried:
        first = min(trial.intermediate_values)
        copy.add_trial(
            optuna.trial.create_trial(
                params=trial.params, distributions=trial.distributions, value=trial.intermediate_values[first]
            )
        )
    return copy


def _values(axis: Axis) -> list[Value]:
    return list(axis.choices) or [axis.low, axis.high]
