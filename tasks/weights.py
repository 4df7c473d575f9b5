"""`registry.keep`: versions that nobody needs lose their weights, and nothing else.

Needed are the weights of every version that carries an alias, waits for approval, was among the last or the first
champions, is named by the recipe, was not judged yet, passed the gate and waits for a person, is of a run still at
work, or was put back within a day; of the newest N of the others; of all that one of these started from, has as its
reference or anchor, or was compared with; and of every version of another name. While a hold is on, nothing is removed.
"""

import json
import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from dpo_core.recipe import Recipe
from infra.errors import InfraError, ObjectMissing
from infra.ledger.champion import Champion
from infra.ledger.promotions import MOVES, Standing
from infra.registry import versions
from infra.registry.aliases import aliased
from infra.registry.versions import DUPLICATE, Version
from infra.registry.weights import FREED, PLACE, REMOVED, coming_back, delete_weights, removed
from infra.settings import load_settings
from infra.store.base import Store
from infra.tracking.runs import is_running
from tasks.baseline import BASELINE_WEIGHTS
from tasks.lineage import KEY
from tasks.runtime.start import START_WEIGHTS

log = logging.getLogger("dpo.release")
ROLLBACKS = 5  # versions that were champion last: where a rollback goes
PAUSE_S = 2.0  # between saying that weights are removed and removing them: who read before decides before


def remove_old_weights(store: Store, recipe: Recipe) -> list[int]:
    """What `registry.keep` asks for, and what a killed run left of it; the versions whose weights are gone now.

    A failure costs no run: the next one goes on.
    """
    keep = recipe.registry.keep
    try:
        return [] if keep is None else _remove(store, recipe, keep)
    except InfraError as error:
        log.warning("weights_not_removed name=%s reason=%r action='the next run goes on'", recipe.name, error.says)
        return []


def _remove(store: Store, recipe: Recipe, keep: int) -> list[int]:
    """Each version says that its weights are removed before they are: what was said is looked at again in between."""
    name, said = recipe.name, f"{REMOVED}{datetime.now(UTC):%Y-%m-%d} by keep={keep}"
    chosen = _unneeded(store, recipe, keep)
    fresh = [version for version in chosen if not removed(version.tags)]
    for version in fresh:
        versions.set_tags(name, version.number, {PLACE: said})
    if fresh:
        time.sleep(PAUSE_S)
        still = {version.number for version in _unneeded(store, recipe, keep)}
        for version in fresh:  # nothing of it was removed yet
            if version.number not in still:
                versions.set_tags(name, version.number, {PLACE: version.tags.get(PLACE, "")})
        chosen = [version for version in chosen if version.number in still]
    gone = []
    for version in chosen:
        if not coming_back(versions.by_number(name, version.number).tags):  # the ones before took their time
            _delete(store, version)
            gone.append(version.number)
    return gone


def _delete(store: Store, version: Version) -> None:
    """The copies of this machine, of the store and of MLflow; done again it deletes the rest."""
    name, number, weights = version.name, version.number, version.weights_sha256
    downloads = load_settings().home / "downloads"
    fetched = f"{name}-{number}-{weights[:12]}"
    for copy in (downloads / "models" / weights, downloads / weights, downloads / "models" / fetched):
        shutil.rmtree(copy, ignore_errors=True)
    shutil.rmtree(downloads / fetched, ignore_errors=True)
    store.drop_folder(f"models/{weights}")
    freed = delete_weights(name, number)
    versions.set_tags(name, number, {FREED: freed})
    log.info("weights_removed name=%s version=%d mib=%d", name, number, freed >> 20)


def _unneeded(store: Store, recipe: Recipe, keep: int) -> list[Version]:
    """Versions of ours whose weights are there, or half removed, and that nobody needs; newest first."""
    state = Champion(store, recipe.name).look().state
    if state.held is not None:
        return []
    every = [version for version in versions.all_versions() if FREED not in version.tags]
    ours = [v for v in every if v.name == recipe.name and KEY in v.tags and v.weights_sha256]
    ours.sort(key=lambda version: -version.number)
    fixed = _in_use(recipe, state) | {version.number for version in ours if coming_back(version.tags)}
    used = [v for v in ours if v.number in fixed or not (removed(v.tags) or _is_done_with(v, state))]
    spare = [v for v in ours if v not in used and not removed(v.tags) and DUPLICATE not in v.tags][:keep]
    others = [v for v in every if v not in ours and (coming_back(v.tags) or not removed(v.tags))]
    needed = _with_origins(store, [*used, *spare, *others], every)
    needed |= {version.tags.get(BASELINE_WEIGHTS, "") for version in (*used, *spare)}
    return [version for version in ours if version.weights_sha256 not in needed]


def _in_use(recipe: Recipe, state: Standing) -> set[int | None]:
    """Numbers of the versions that somebody may ask for any time."""
    champions = dict.fromkeys(
        r.what.version for r in reversed(state.records) if r.what.kind in MOVES and r.what.version
    )
    previous = state.previous[0] if state.previous else None
    named = {recipe.gate.anchor, recipe.retrain.against if isinstance(recipe.retrain.against, int) else None}
    return {*aliased(recipe.name), *state.waiting, *list(champions)[:ROLLBACKS], state.first, previous, *named}


def _is_done_with(version: Version, state: Standing) -> bool:
    """Whether its run has ended, and the gate or a person has decided on it."""
    if DUPLICATE in version.tags:
        return True
    ends = [r.what for r in state.records if r.what.kind in (*MOVES, "decline", "expire")]
    decided = {end.version for end in ends if not end.gated_again}
    judged = version.tags.get("gate.verdict", "promote") != "promote" or version.number in decided
    return judged and not is_running(version.run_id)


def _with_origins(store: Store, kept: Sequence[Version], every: Sequence[Version]) -> set[str]:
    """The weights of these versions, and of all that they lead back to."""
    found, waiting = set[str](), {version.weights_sha256 for version in kept}
    while waiting:
        found.add(weights := waiting.pop())
        for version in every:
            if version.weights_sha256 == weights:
                waiting |= set(_origins(store, version, every)) - found
    return found


def _origins(store: Store, version: Version, every: Sequence[Version]) -> Iterator[str]:
    """The weights that a version started from, and those of its recipe's reference and anchor."""
    yield version.tags.get(START_WEIGHTS, "")
    recipe: dict[str, Any] = {}
    with suppress(ObjectMissing, KeyError, ValueError):  # a version of another program has no record
        recipe = json.loads(store.get_bytes(version.tags[KEY]))["recipe"]
    reference, anchor = recipe.get("reference") or "", recipe.get("gate", {}).get("anchor")
    if reference.startswith("models:/"):
        with suppress(ObjectMissing):
            yield versions.resolve(reference).weights_sha256
    yield from (v.weights_sha256 for v in every if (v.name, v.number) == (version.name, anchor))
