"""The plan of a curation: the recipe read, every input named by its content, the MLflow run open."""

import logging
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from dpo_core.curate.curation import Curation, load_curation
from dpo_core.data.digests import digest_file, digest_json
from dpo_core.errors import InputError
from dpo_core.model.identity import digest_asked, digest_model, digest_tokenizer
from dpo_core.model.remote_code import trusted_code
from dpo_core.rewards.entry_point import FunctionReward
from dpo_core.rewards.reward_file import ENDPOINT
from infra.ledger.create_only import require_create_only
from infra.models import fetch_model
from infra.prefect_logs import show_on_page
from infra.registry import versions
from infra.settings import Settings, load_settings, prepare_environment
from infra.store import open_store
from infra.tracking.runs import open_run
from tasks.curate.endpoints import require_there
from tasks.curate.kept_out import kept_out_by, run_of
from tasks.curate.records import CurationPlan
from tasks.curate.traced_prompts import version_of_prompts
from tasks.curate.ways.grow import require_own
from tasks.runtime.models import local_model, require_usable
from tasks.runtime.provenance import provenance
from tasks.runtime.stages import code_digest
from tasks.runtime.tracked import planning

log = logging.getLogger("dpo.curate")
CODE = ("tasks.curate.gather", "tasks.curate.answer", "tasks.curate.pair", "tasks.curate.check")


@task(name="plan", cache_policy=NO_CACHE)
def plan_curation(recipe: str, overrides: list[str], force: bool) -> CurationPlan:
    """Read the recipe, find prompts and models, and tell what is missing before anything is spent."""
    show_on_page()
    settings = load_settings()
    prepare_environment(settings)
    store = open_store(settings)
    require_create_only(store)
    curation = load_curation(recipe, overrides)
    if curation.validation.on_shortcut == "balance":
        says = "balance weighs the pairs of one training, and a data set keeps no weights"
        do = "write drop or warn here, and balance in the recipe of the run"
        raise InputError(says, where=f"{recipe}, validation.on_shortcut", do=do)
    require_own(curation, store)
    sources = sources_of(curation)
    folder, trains = Path(recipe).parent.resolve(), run_of(curation)
    model = fixed_version(curation.model)
    found = answering_model(curation, model, settings)
    content = content_of(curation, sources, found, folder)
    out = kept_out_by(curation, trains, model, store) if trains else {}
    key = digest_json(["curate", content, out, settings.num_threads, code_digest(CODE)])
    if force:
        key = f"{key}-{time.time_ns()}"
    run_name = f"curate {curation.name} {datetime.now(UTC):%Y-%m-%d %H:%M}"
    run = open_run(curation.name, run_key=key, run_name=run_name, artifact_root=settings.artifact_root)
    with planning(run):
        run.params({"curation": content})
        run.tags(provenance(model, Path(recipe)))
        run.json("curation.json", curation.model_dump(mode="json"))
        run.settle(0)
        log.info("curation_planned run_id=%s name=%s way=%s model=%s", run.id, curation.name, curation.way, model)
        plan = CurationPlan(
            curation=curation,
            folder=str(folder),
            sources=sources,
            content=content,
            model=model,
            run=trains,
            kept_out=out,
            threads=settings.num_threads,
            force=force,
            run_id=run.id,
            run_url=run.url(),
            **found,
        )
        require_there(plan.reach, store, curation.models.values())
        return plan


def sources_of(curation: Curation) -> dict[str, str]:
    """Digests of all that prompts are read from. Raises InputError or InfraError for what is not there."""
    prompts = curation.prompts
    files = [*curation.validation.benchmarks.values(), *(prompts.keep_out.values() if prompts else ())]
    files += [*curation.files.values(), *(curation.feedback.judgements if curation.feedback else ())]
    files += [judge.labels for judge in (curation.rewards.judges if curation.rewards else {}).values() if judge.labels]
    for file in files:
        if not Path(file).is_file():
            do = "check the path; it is meant from the recipe's folder"
            raise InputError("a file that the recipe names is missing", where=file, do=do)
    found = {file: digest_file(Path(file)) for file in files}
    return found | {source.path: version_of_prompts(source) for source in (prompts.sources if prompts else ())}


def fixed_version(model: str) -> str:
    """A registered model's alias as the version that it means now."""
    if not model.startswith("models:/"):
        return model
    name, _ = versions.parse(model)
    return f"models:/{name}/{versions.resolve(model).number}"


def answering_model(curation: Curation, model: str, settings: Settings) -> dict[str, object]:
    """Where the model that answers lies, and its digests; nothing of one behind an endpoint."""
    if model.startswith(ENDPOINT):
        return {}
    place = local_model(model, settings.home, pin=curation.trust_remote_code)
    trusted = trusted_code(curation.trust_remote_code, place)
    require_usable(place, trusted)
    digests = {"model_sha256": digest_model(place), "tokenizer_sha256": digest_tokenizer(place)}
    return {"model_folder": str(place), "trusted_code": trusted, **digests}


def content_of(
    curation: Curation, sources: dict[str, str], model: dict[str, object], folder: Path
) -> dict[str, object]:
    """The recipe with digests in place of paths and models: moving one changes nothing, other contents do."""

    def swap(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: swap(item) for key, item in value.items()}
        if isinstance(value, list):
            return [swap(item) for item in value]
        return sources.get(value, value) if isinstance(value, str) else value

    content: dict[str, Any] = swap(curation.model_dump(mode="json"))
    for name in ("rounds", "budget", "licence", "trust_remote_code"):  # change no pair
        content.pop(name)
    if content["prompts"] is not None:
        content["prompts"].pop("run")  # what it keeps out is named by its content
        for source in content["prompts"]["sources"]:
            source.pop("days")  # so is what its traces asked
    if content["feedback"] is not None:
        content["feedback"].pop("days")  # each remark is used once, whenever it is read
    if model:
        content["model"] = [model["model_sha256"], model["tokenizer_sha256"]]
    _swap_models(content, curation)
    point = curation.rewards.entry_point if curation.rewards else None
    if point is not None:
        content["entry_point_sha256"] = FunctionReward(point.function, folder=folder).digest
    return content


def _swap_models(content: dict[str, Any], curation: Curation) -> None:
    """Digests in place of the models of this machine that score, judge or correct."""
    home, rewards = load_settings().home, content["rewards"] or {"panel": {}}
    sections = {
        "correction": content["correction"],
        **{f"rewards.{name}": section for name, section in rewards.items()},
    }
    sections |= {f"rewards.panel.{name}": judge for name, judge in rewards["panel"].items()}
    for key, model in curation.models.items():
        if key != "model" and not model.startswith(ENDPOINT):
            folder = fetch_model(model, home) if key == "rewards.classifier.model" else local_model(model, home)
            sections[key.removesuffix(".model")]["model"] = digest_asked(folder)
