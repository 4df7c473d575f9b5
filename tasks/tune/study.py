"""The study of a search: Optuna's record in the database, from which a killed search goes on as if nothing had been.

What is tried next depends on the record and on the trial's number alone, not on what a process remembers.
"""

import functools
import json
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from dpo_core.data.digests import digest_json
from dpo_core.errors import InputError
from dpo_core.recipe import Recipe
from dpo_core.tune.rungs import RUNGS, pairs_seen, shortened
from dpo_core.tune.space import Axis, Setting, setting_of
from infra.settings import load_settings
from infra.studies import study_storage
from tasks.tune.records import Search

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial, Trial

log = logging.getLogger("dpo.tune")
RECIPE, RECORDS, REASON, SAME = "recipe", "rungs", "reason", "same_as"  # attributes of a study, of a trial
WAITS = "waits"  # attribute of a trial that the budget cut: pairs of its next trainings
FAILED = "failed"  # attribute of a trial whose training process ended without doing its work
STARTUP = 6  # trials drawn at random before what was learned decides
AGAIN = 20  # draws of settings that were tried, after which the space counts as spent
_counting = threading.Lock()
_under_way: dict[tuple[str, int], int] = {}  # study and trial: pairs of its trainings that this process has begun


@functools.lru_cache(maxsize=4)
def _storage(url: str, home: str) -> "RDBStorage":
    return study_storage(load_settings())


def study_of(recipe: Recipe) -> str:
    """The name of the study of a recipe's search."""
    return recipe.tune.study or recipe.name


@contextmanager
def only_search(recipe: Recipe) -> Iterator[None]:
    """Two searches at a time would train the same trials. Raises InputError where another is in this study."""
    home, name = load_settings().home, study_of(recipe)
    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home / f"study-{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"another `dpo tune` searches in the study {name!r} now",
            where=lock.lock_file,
            do="wait until it has ended, or give this search a name of its own, --set tune.study=NAME",
        ) from None
    try:
        yield
    finally:
        lock.release()


def open_study(name: str) -> "Study":
    """The study of this name, made if there is none."""
    import optuna

    settings = load_settings()
    storage = _storage(settings.study_url, str(settings.home))
    return optuna.create_study(study_name=name, storage=storage, direction="maximize", load_if_exists=True)


def require_same(study: "Study", content: dict[str, object]) -> None:
    """Raise InputError where the study is another recipe's; its first search writes down whose it is."""
    known = study.user_attrs.get(RECIPE)
    if known is None:
        study.set_user_attr(RECIPE, content)
        return
    content = json.loads(json.dumps(content))
    if differ := [key for key in sorted({*known, *content}) if known.get(key) != content.get(key)]:
        raise InputError(
            f"there is a study {study.study_name!r}, of another recipe: {', '.join(differ[:4])} differ",
            where=f"tune.study: {study.study_name}",
            do="give this search a name of its own, --set tune.study=NAME, or run it with the recipe of that study",
        )


def _begin(study: "Study", search: Search) -> None:
    """The recipe's own settings are the first trial."""
    if not study.trials:
        own = {key: setting_of(search.plan.recipe.training, key) for key in search.space}
        study.enqueue_trial(own, skip_if_exists=True)


def trial_of(study: "Study", search: Search, number: int | None = None) -> "Trial":
    """The trial of this number, begun or gone on with; a new one without a number. It has its settings."""
    import optuna

    waiting = [t.number for t in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,))]
    new = min(waiting, default=len(study.trials))
    seed = int(digest_json([study.study_name, search.plan.recipe.seed, new if number is None else number])[:8], 16)
    study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP, multivariate=True)
    # gone on with as Optuna's own `ask` makes it
    trial = study.ask() if number is None else optuna.trial.Trial(study, study.trials[number]._trial_id)
    for key, axis in search.space.items():
        _suggest(trial, key, axis)
    return trial


def _suggest(trial: "Trial", key: str, axis: Axis) -> Setting:
    if axis.choices:
        return trial.suggest_categorical(key, axis.choices)  # type: ignore[return-value]
    if axis.whole:
        return trial.suggest_int(key, int(axis.low), int(axis.high), log=axis.log)
    return trial.suggest_float(key, axis.low, axis.high, log=axis.log)


def begun_trials(search: Search) -> list[int]:
    """Numbers of what is to be tried now, side by side: what was left unfinished first; none at the end."""
    import optuna

    study = open_study(search.study)
    _begin(study, search)
    running = [t for t in study.trials if t.state == optuna.trial.TrialState.RUNNING]
    due = [t.number for t in running if not (pairs := t.user_attrs.get(WAITS)) or may_go_on(study, search, pairs)]
    own_ended = study.trials[0].state.is_finished()
    side_by_side = search.side_by_side if own_ended else 1  # beside others it might find the budget spent
    numbers = [number for number in due if _is_new(study, trial_of(study, search, number))][:side_by_side]
    drawn = 0
    while len(numbers) < side_by_side and drawn < AGAIN and may_begin(study, search, beside=len(numbers)):
        trial = trial_of(study, search)
        if _is_new(study, trial):
            numbers.append(trial.number)
        drawn += 1
    if not numbers and drawn == AGAIN:
        log.info("space_spent study=%s", study.study_name)
    return numbers


def _is_new(study: "Study", trial: "Trial") -> bool:
    """Whether no other trial has its settings; one that is another's double is put aside."""
    import optuna

    same = next((t.number for t in study.trials if t.number < trial.number and t.params == trial.params), None)
    if same is not None:
        trial.set_user_attr(SAME, same)
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    return same is None


def tried(study: "Study") -> "list[FrozenTrial]":
    """Trials that were begun, without those that would have been another's double."""
    return [trial for trial in study.trials if SAME not in trial.user_attrs and trial.params]


def holds(trial: "FrozenTrial") -> bool:
    """Whether it has broken no limit so far, and not diverged."""
    return all(by <= 0 for by in trial.constraints.values())


def spent(study: "Study") -> dict[str, float]:
    """Trials, pairs trained on, and minutes of work so far."""
    trials = tried(study)
    rungs = [rung for trial in trials for rung in trial.user_attrs.get(RECORDS, [])]
    minutes = sum(rung["seconds"] for rung in rungs) / 60
    return {"trials": len(trials), "pairs": sum(rung["pairs"] for rung in rungs), "minutes": minutes}


def left(study: "Study", search: Search) -> dict[str, float]:
    """What the budget still has of each."""
    budget, used = search.plan.recipe.tune, spent(study)
    given = {"trials": budget.trials, "pairs": budget.pairs, "minutes": budget.budget_minutes}
    return {name: float("inf") if amount is None else amount - used[name] for name, amount in given.items()}


def may_begin(study: "Study", search: Search, *, beside: int = 0) -> bool:
    """Whether the budget has a trial left, and the pairs of a first rung; `beside`: of trials that begin with it."""
    first = pairs_seen(shortened(search.plan.recipe.training, RUNGS[0]), search.split.trained_on)
    has = left(study, search)
    return has["trials"] > 0 and has["minutes"] > 0 and has["pairs"] >= first * (beside + 1)


def may_go_on(study: "Study", search: Search, pairs: int) -> bool:
    """Whether it has so many pairs left."""
    has = left(study, search)
    return has["minutes"] > 0 and has["pairs"] >= pairs


def reserve(study: "Study", search: Search, number: int, pairs: int) -> bool:
    """Whether it has so many left beside what other trials are training on; from then on this one is."""
    with _counting:
        others = [n for (name, other), n in _under_way.items() if name == study.study_name and other != number]
        if has := may_go_on(study, search, pairs + sum(others)):
            _under_way[study.study_name, number] = pairs
        return has


def record(study: "Study", trial: "Trial", records: Sequence[dict[str, object]], pairs: int) -> None:
    """Keep the trainings of a trial, of which the last was on so many pairs that were reserved."""
    with _counting:
        trial.set_user_attr(RECORDS, records)
        _under_way[study.study_name, trial.number] -= pairs


def release(study: "Study", number: int) -> None:
    """The trial trains no more."""
    with _counting:
        _under_way.pop((study.study_name, number), None)
