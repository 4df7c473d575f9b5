"""The first task: everything a run needs to know before it costs anything."""

import contextlib
import json
import logging
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from dpo_core.data.digests import digest_json
from dpo_core.errors import InputError
from dpo_core.model.identity import context_length, digest_model, digest_tokenizer, digest_weights
from dpo_core.model.remote_code import trusted_code
from dpo_core.recipe import Recipe
from dpo_core.recipe_file import load_recipe
from dpo_core.recipe_tune import BUDGET
from infra.errors import ObjectMissing
from infra.ledger.champion import Champion
from infra.ledger.create_only import require_create_only
from infra.ledger.promotions import Standing
from infra.prefect_logs import show_on_page
from infra.registry.versions import Version, by_number
from infra.settings import load_settings, prepare_environment
from infra.store import open_store
from infra.store.base import Store
from infra.tracking.runs import open_run
from tasks.baseline import require_comparable
from tasks.evaluation.harness import harness_plan
from tasks.online.plan import online_plan
from tasks.preflight.model import on_meta
from tasks.records import HarnessPlan, OnlinePlan, Plan
from tasks.runtime.code import RUN
from tasks.runtime.datasets import dataset_tags, pinned
from tasks.runtime.models import local_model, require_usable
from tasks.runtime.named import digests_of
from tasks.runtime.provenance import provenance
from tasks.runtime.stages import code_digest
from tasks.runtime.start import START, start_model
from tasks.runtime.tracked import planning

log = logging.getLogger("dpo.plan")


@task(name="plan", cache_policy=NO_CACHE)
def plan(recipe: str, overrides: list[str], force: bool, kind: str = "retrain") -> Plan:
    """Read the recipe, fetch the model, name every input by its content, open (or go on with) the MLflow run."""
    show_on_page()
    settings = load_settings()
    prepare_environment(settings)
    store = open_store(settings)
    store.exists("stages")  # where nothing is lost yet, nobody waits for a store that is away
    checked = pinned(load_recipe(recipe, overrides).recipe)
    if kind == "tune":  # its rungs end their schedules
        checked = checked.without_early_stopping()
    state = _standing(store, checked.name, kind)
    sources = [source for source in (checked.data.train, checked.data.eval) if source]
    files, online = digests_of(checked, sources), online_plan(checked, store)
    lm_eval = harness_plan(checked.evaluation.lm_eval) if kind == "retrain" else {}
    content = _without_paths(checked, files) | by_content(online, lm_eval)
    content |= {"tune": checked.tune.model_dump(exclude=BUDGET)} if kind == "tune" else {}
    request = digest_json([kind, content, checked.model])
    champion, first = (_version(checked.name, number) for number in (state.champion, state.first))
    pin = checked.trust_remote_code
    start = start_model(_named_start(checked, champion), request, pin=pin)
    model_folder = local_model(start, settings.home, pin=pin)
    trusted = trusted_code(pin, model_folder)
    _require_trainable(checked, model_folder, trusted)
    model_sha256, tokenizer = digest_model(model_folder), digest_tokenizer(model_folder)
    reference = _reference(checked, model_folder, settings.home, trusted)
    models = [model_sha256, *([reference["reference_sha256"]] if checked.reference else [])]
    key = digest_json([kind, content, *models, tokenizer, settings.num_threads, code_digest(RUN)])
    if force:
        key = f"{key}-{time.time_ns()}"
    run_name = f"{kind} {checked.name} {datetime.now(UTC):%Y-%m-%d %H:%M}"
    run = open_run(checked.name, run_key=key, run_name=run_name, artifact_root=settings.artifact_root)
    with planning(run):
        run.params({"recipe": content, "model": checked.model})
        if run.tag(START) is None:  # one that goes on stays the run of who began it
            run.tags(provenance(checked.model, Path(recipe)) | dataset_tags(checked))
        run.json("recipe.json", json.loads(checked.model_dump_json()))
        run.settle(0)  # what is not set up right is told now, not after the training
        log.info("run_opened run_id=%s name=%s model_sha256=%.12s", run.id, checked.name, model_sha256)
        planned = Plan(
            recipe=checked,
            model_folder=str(model_folder),
            model_sha256=model_sha256,
            weights_sha256=digest_weights(model_folder),
            **reference,
            tokenizer_sha256=tokenizer,
            files=files,
            champion=champion,
            first_champion=first,
            start_model=start,
            request=request,
            run_id=run.id,
            run_url=run.url(),
            threads=settings.num_threads,
            force=force,
            trusted_code=trusted,
            online=online,
            lm_eval=lm_eval,
        )
        require_comparable(planned)
        return _with_judges(planned, store) if kind == "retrain" else planned


def _named_start(recipe: Recipe, champion: Version | None) -> str:
    """What the recipe starts from: its model, or the champion once there is one."""
    again = champion is not None and recipe.retrain.start == "champion"
    return f"models:/{recipe.name}@champion" if again else recipe.model


def _with_judges(planned: Plan, store: Store) -> Plan:
    """Who says which answers are better has been asked whether it may, and its models are known by their content."""
    if planned.recipe.evaluation.rewards is None:
        return planned
    from tasks.evaluation.judged import Jury

    jury = Jury(planned, store)
    jury.require_usable()
    return planned.model_copy(update={"judges": jury.models})


def _reference(recipe: Recipe, start: Path, home: Path, trusted: str | None) -> dict[str, str]:
    """The frozen model of the loss. Raises InputError for one that reads other tokens than the start model."""
    folder = start if recipe.reference is None else local_model(recipe.reference, home, pin=recipe.trust_remote_code)
    if recipe.reference is not None:
        from dpo_core.model.encode import load_tokenizer

        require_usable(folder, trusted)
        ours, theirs = (load_tokenizer(place, trusted_code=trusted).get_vocab() for place in (start, folder))
        if ours != theirs:
            raise InputError(
                "the reference has another vocabulary than the start model: their log-probs cannot be compared",
                where=f"reference: {recipe.reference}",
                do="name the model that the start model was trained from, or leave reference out",
            )
    return {
        "reference_folder": str(folder),
        "reference_sha256": digest_model(folder),
        "reference_weights_sha256": digest_weights(folder),
    }


def _standing(store: Store, name: str, kind: str) -> Standing:
    """What the ledger says of the model's champion; nothing is trained that could not be promoted."""
    ledger = Champion(store, name)
    if kind != "retrain":
        return ledger.look().state
    require_create_only(store)
    return ledger.settle()


def _version(name: str, number: int | None) -> Version | None:
    """That version, if there is one still."""
    with contextlib.suppress(ObjectMissing):
        return by_number(name, number) if number is not None else None
    return None


def _require_trainable(recipe: Recipe, model_folder: Path, trusted: str | None) -> None:
    """Raise InputError for a model that cannot be used, or not as the recipe has it: its context, its adapters."""
    limit = context_length(model_folder)
    if limit is not None and recipe.encoding.max_length > limit:
        raise InputError(
            f"encoding.max_length is {recipe.encoding.max_length}; the model's context is {limit} tokens",
            where=str(model_folder / "config.json"),
            do=f"lower encoding.max_length to {limit}, or take a model with a longer context",
        )
    require_usable(model_folder, trusted)
    if recipe.training.lora is not None:
        on_meta(model_folder, trusted)(recipe.training)


def by_content(online: OnlinePlan | None, lm_eval: dict[str, HarnessPlan]) -> dict[str, object]:
    """What the recipe's files name in their turn; of a recipe that has none of it, nothing."""
    found: dict[str, object] = {"online": online.content} if online else {}
    return found | ({"lm_eval": {name: task.sha256 for name, task in lm_eval.items()}} if lm_eval else {})


def _without_paths(recipe: Recipe, files: dict[str, str]) -> dict[str, object]:
    """The recipe with each file's digest in place of its path: moving a file changes nothing."""

    def swap(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: swap(item) for key, item in value.items()}
        return files.get(value, value) if isinstance(value, str) else value

    content: dict[str, Any] = swap(recipe.model_dump())
    several = {"seeds": recipe.training.seeds} if recipe.training.seeds > 1 else {}
    content["training"] = recipe.training.decisive | several
    content["evaluation"] = swap(recipe.evaluation.decisive)
    content["model"] = "see model_sha256"
    if recipe.reference is None:
        content.pop("reference")
    for section in ("promotion", "registry", "tune"):  # change no weight and no verdict of such a run
        content.pop(section)
    content.pop("trust_remote_code")  # the digest of the model's own code is part of model_sha256
    return content
