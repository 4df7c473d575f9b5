"""One trial: settings, trained on more and more pairs as long as they are among the better half."""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from statistics import fmean
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture, wait

from dpo_core.data.digests import digest_json
from dpo_core.errors import Diverged, InputError
from dpo_core.recipe import Recipe
from dpo_core.recipe_tune import DRIFT, LENGTH, NEUTRAL_TEXT
from dpo_core.tune.rungs import RUNGS, WHOLE_RUN, goes_on, pairs_seen, shortened
from dpo_core.tune.space import with_settings
from infra.errors import ProcessFailed
from infra.settings import load_settings
from infra.tracking.runs import attach_run, open_run
from tasks.records import Plan
from tasks.runtime.tracked import tracked
from tasks.training.wanted import require_wanted, stops_threads
from tasks.tune import study as studies
from tasks.tune.records import Search, TrialMeasures

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

log = logging.getLogger("dpo.tune")
SUITES_FROM = 4  # eighths of the pairs: most trials end before, and hundreds of answers take longer than they do


class Dropped(Exception):
    """A trial that is not worth more pairs; the reason in words."""


class Waits(Exception):
    """A trial that the budget has no room for: it goes on under a larger one."""


def try_side_by_side(search: Search, numbers: Sequence[int]) -> None:
    """One trial in this thread, which hears Ctrl-C; several in threads of their own, which are told of it."""
    if len(numbers) == 1:
        try_settings(search, numbers[0])
        return
    trials: list[PrefectFuture[None]] = []
    with stops_threads() as stop:
        try:
            for number in numbers:
                trials.append(try_settings.submit(search, number))
            wait(trials)
        except BaseException:
            stop.set()
            for trial in trials:
                with suppress(KeyboardInterrupt):
                    trial.wait()
            raise
    for trial in trials:
        trial.result()


@task(name="trial", task_run_name="trial-{number}", cache_policy=NO_CACHE)
def try_settings(search: Search, number: int) -> None:
    """Train, judge, report, rung after rung; what it came to is in the study. Gone on with after a kill."""
    import optuna

    study = studies.open_study(search.study)
    trial = studies.trial_of(study, search, number)
    if trial.user_attrs.get(studies.WAITS):
        trial.set_user_attr(studies.WAITS, 0)
        trial.set_user_attr(studies.REASON, "")
    run = _nested(search.plan, f"trial {number}", {"trial": number, "settings": trial.params})
    with tracked(search.plan.model_copy(update={"run_id": run})):
        attach_run(run).params({"settings": trial.params})
        try:
            value = _climbed(study, trial, search, run)
        except Dropped as dropped:
            trial.set_user_attr(studies.REASON, str(dropped))
            attach_run(run).tags({"pruned": str(dropped)})
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            log.info("trial_dropped number=%d reason='%s'", number, dropped)
        except Waits as waits:  # not told to the study: it is still running
            trial.set_user_attr(studies.REASON, str(waits))
            log.info("trial_waits number=%d reason='%s'", number, waits)
        else:
            study.tell(trial, value)
            log.info("trial_finished number=%d value=%.4f", number, value)
        finally:
            studies.release(study, number)


def _climbed(study: "Study", trial: "Trial", search: Search, run: str) -> float:
    """As `_climb`; what cannot be trained twice, for want of memory say, is no reason to end the search for good."""
    try:
        return _climb(study, trial, search, run)
    except ProcessFailed as failed:
        if not trial.number or not trial.user_attrs.get(studies.FAILED):
            trial.set_user_attr(studies.FAILED, True)
            raise
        trial.set_constraint("trained", 1.0)
        raise Dropped(f"could not be trained, twice: {failed.says}") from failed


def _climb(study: "Study", trial: "Trial", search: Search, run: str) -> float:
    """The objective after the last rung, mean over seeds. Raises Dropped, or Waits."""
    recipe, value = search.plan.recipe, float("nan")
    try:
        settings = with_settings(recipe, trial.params)
    except InputError as error:
        raise Dropped(error.says) from error
    records = list(trial.user_attrs.get(studies.RECORDS, []))  # of the lives before this one
    _require_converged(trial, records)
    for eighths in RUNGS:
        training = shortened(settings.training, eighths)
        seeds = range(recipe.tune.seeds if eighths == WHOLE_RUN else 1)
        pairs = pairs_seen(training, search.split.trained_on)
        left = seeds[sum(record["eighths"] == eighths for record in records) :]
        if left and not studies.reserve(study, search, trial.number, pairs * len(left)):
            _out_of_budget(trial, search, eighths, pairs * len(left))
        for place in left:
            require_wanted()
            one = settings.model_copy(update={"training": training, "seed": recipe.seed + place})
            records.append(_train(search, trial, one, eighths, pairs, run))
            studies.record(study, trial, records, pairs)
            _require_converged(trial, records)
        found = [TrialMeasures.model_validate(r["measures"]) for r in records if r["eighths"] == eighths]
        metrics = {name: fmean(m.metrics[name] for m in found) for name in found[0].metrics}
        if wild := [name for name, mean in metrics.items() if not math.isfinite(mean)]:
            trial.set_constraint("finite", 1.0)
            raise Dropped(f"diverged on {eighths}/{WHOLE_RUN} of the pairs: {', '.join(wild)} not finite")
        value = metrics[recipe.tune.objective]
        attach_run(run).metrics(metrics, eighths)
        trial.report(value, eighths)
        _judge(study, trial, search, metrics, value, eighths)
    return value


def _out_of_budget(trial: "Trial", search: Search, eighths: int, pairs: int) -> None:
    """Raise Waits; for the recipe's own settings InputError, as nothing could be compared with them."""
    if trial.number:
        trial.set_user_attr(studies.WAITS, pairs)
        raise Waits(f"the budget was spent before {eighths}/{WHOLE_RUN} of the pairs")
    tune = search.plan.recipe.tune
    spent = {"pairs": tune.pairs, "minutes": tune.budget_minutes}
    given = ", ".join(f"tune.{name}: {limit:g}" for name, limit in spent.items() if limit is not None)
    raise InputError(
        "the budget is smaller than one trial: it was spent when the recipe's own settings had seen less than "
        f"{eighths}/{WHOLE_RUN} of the pairs",
        where=given,
        do="set it higher, and run it again: it goes on",
    )


def _train(search: Search, trial: "Trial", recipe: Recipe, eighths: int, pairs: int, parent: str) -> dict[str, object]:
    """One training with its measures, as the study records it; one that diverged has none, and says why."""
    from tasks.tune.judge import judged

    start = time.monotonic()
    named = {"trial": trial.number, "settings": trial.params, "eighths": eighths, "seed": recipe.seed}
    plan = search.plan.model_copy(update={"recipe": recipe})
    child = _nested(plan, f"trial {trial.number}, {eighths}/{WHOLE_RUN}, seed {recipe.seed}", named, parent)
    plan = plan.model_copy(update={"run_id": child})
    diverged = {}
    try:
        with tracked(plan):
            measures = judged(plan, search.split, limits_of_rung(search.limits, eighths), pairs)
    except Diverged as error:
        rows = search.split.rows.eval_key
        measures = TrialMeasures(weights_sha256="", steps=0, pairs=pairs, forwards=0, metrics={}, judged=rows)
        diverged = {"diverged": error.says}
    seconds = time.monotonic() - start
    record = {"eighths": eighths, "seed": recipe.seed, "pairs": pairs, "seconds": round(seconds, 2)}
    # only trials that saw all pairs are compared by it
    left_out: set[str] = set() if eighths == WHOLE_RUN else {"by_group"}
    return {**record, **diverged, "measures": measures.model_dump(mode="json", exclude=left_out)}


def limits_of_rung(limits: Mapping[str, list[float]], eighths: int) -> dict[str, list[float]]:
    """Those that are asked for after so many pairs: questions of suites take longer than a short training."""
    early = (DRIFT, LENGTH, NEUTRAL_TEXT)
    return {name: limit for name, limit in limits.items() if eighths >= SUITES_FROM or name in early}


def _require_converged(trial: "Trial", records: Sequence[Mapping[str, object]]) -> None:
    """Raise Dropped where the last training ran away."""
    if records and "diverged" in records[-1]:
        trial.set_constraint("finite", 1.0)
        last = records[-1]
        raise Dropped(f"diverged on {last['eighths']}/{WHOLE_RUN} of the pairs: {last['diverged']}")


def _judge(
    study: "Study", trial: "Trial", search: Search, metrics: Mapping[str, float], value: float, eighths: int
) -> None:
    """Raise Dropped for a trial that breaks a limit, or is among the worse half; the own settings always go on."""
    over = excess(metrics, search.limits)
    broken = [f"{name} {metrics[name]:.3g} ({_asked(search.limits[name])})" for name, by in over.items() if by > 0]
    last = eighths == WHOLE_RUN
    if last or (broken and trial.number):
        for name, by in over.items():
            trial.set_constraint(name, by)
    if last:
        if broken:
            trial.set_user_attr(studies.REASON, f"does not hold: {', '.join(broken)}")
        return
    if broken and trial.number:
        raise Dropped(f"does not hold on {eighths}/{WHOLE_RUN} of the pairs: {', '.join(broken)}")
    # what broke a limit then or later is no better for its value: the recipe's own settings go on whatever they break
    others = [other.intermediate_values for other in _before(study, trial) if studies.holds(other)]
    if trial.number and not goes_on(value, [values[eighths] for values in others if eighths in values]):
        raise Dropped(f"among the worse half after {eighths}/{WHOLE_RUN} of the pairs")


def _before(study: "Study", trial: "Trial") -> "list[FrozenTrial]":
    """Of these the same are known when a killed search goes on."""
    return [other for other in studies.tried(study) if other.number < trial.number]


def excess(metrics: Mapping[str, float], limits: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """By how much each limit is broken, 0 or less where it holds; what was not measured breaks none."""
    return {
        name: max(least - metrics[name], metrics[name] - most)
        for name, (least, most) in limits.items()
        if name in metrics
    }


def _asked(limit: Sequence[float]) -> str:
    least, most = limit
    return f"at most {most:g}" if least == float("-inf") else f"{least:g} to {most:g}"


def _nested(plan: Plan, name: str, content: Mapping[str, object], parent: str | None = None) -> str:
    """The id of an MLflow run below the search's, or below a trial's."""
    above = parent or plan.run_id
    key = digest_json([above, dict(content)])
    root = load_settings().artifact_root
    return open_run(plan.recipe.name, run_key=key, run_name=name, artifact_root=root, parent=above).id
