"""The curation that `training.online` names: read, its files named by content, its endpoints asked, nothing spent."""

from pathlib import Path

from dpo_core.curate.curation import Curation, load_curation
from dpo_core.curate.prompt_set import TRACES
from dpo_core.errors import InputError
from dpo_core.recipe import Recipe
from dpo_core.recipe_online import Online
from dpo_core.rewards.reward_file import ENDPOINT
from infra.settings import load_settings
from infra.store.base import Store
from tasks.curate.endpoints import require_there
from tasks.curate.plan import content_of, sources_of
from tasks.curate.records import CurationPlan
from tasks.records import OnlinePlan

DECISIVE = ("prompts", "rewards", "choice", "seed", "endpoints", "entry_point_sha256")  # of a curation's content


def online_plan(recipe: Recipe, store: Store) -> OnlinePlan | None:
    """None for a run that trains on its pairs alone. Raises InputError or InfraError for what cannot be used."""
    online = recipe.training.online
    if online is None:
        return None
    plan = online_inputs(online)
    require_there(as_curation(plan).reach, store, plan.curation.models.values())
    return plan


def online_inputs(online: Online) -> OnlinePlan:
    """What its curation says and names, by content; no endpoint is asked. Raises InputError or InfraError."""
    curation = online_curation(online)
    folder = Path(online.curation).parent.resolve()
    content = content_of(curation, sources_of(curation), {}, folder)
    known = {name: content[name] for name in DECISIVE if name in content}
    known["answers"] = [curation.samples, curation.temperature, curation.answers.top_p, curation.answers.max_new_tokens]
    known["length_warn"] = curation.validation.length_warn
    known["online"] = online.model_dump(exclude={"curation"})
    return OnlinePlan(curation=curation, folder=str(folder), content=known)


def online_curation(online: Online) -> Curation:
    """As its file has it. Raises InputError for one that no run can learn from."""
    _require_file(online.curation)
    curation = load_curation(online.curation)
    _require_choice(curation, online.curation)
    return curation


def as_curation(plan: OnlinePlan, *, run_id: str = "") -> CurationPlan:
    """The plan as the parts of a curation take it, which score and choose."""
    return CurationPlan(
        curation=plan.curation,
        folder=plan.folder,
        sources={},
        content=plan.content,
        model="the model in training",
        threads=load_settings().num_threads,
        force=False,
        run_id=run_id,
        run_url="",
    )


def _require_file(path: str) -> None:
    if not Path(path).is_file():
        do = "check the path, which is meant from the recipe's folder; docs/online.md shows such a file"
        raise InputError("the recipe of the curation is missing", where=f"training.online.curation: {path}", do=do)


def _require_choice(curation: Curation, path: str) -> None:
    if curation.way != "rewards" or curation.prompts is None:
        do = "name a curation that has `prompts` and `rewards`; for corrections and feedback run `dpo curate` first"
        raise InputError(
            f"a run learns online from answers that a reward chooses, not by {curation.way}", where=path, do=do
        )
    if any(source.path.startswith(TRACES) for source in curation.prompts.sources):
        do = "write their prompts to a file, or let `dpo curate` make pairs of them"
        raise InputError("a run learns online from prompts that stay: traces come while it is away", where=path, do=do)
    if curation.model.startswith(ENDPOINT):
        do = "name the recipe's own model there: who answers is the model in training, as it is at that step"
        raise InputError(
            f"`model` is {curation.model}, and no model behind an endpoint can be trained", where=path, do=do
        )
