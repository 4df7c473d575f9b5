"""The answers to a curation's prompts: a pilot first, which tells what all will give; then what is not stored yet."""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE

from dpo_core.curate.choice import cut_off
from dpo_core.curate.prompt_set import drawn_evenly
from dpo_core.curate.prompts import PromptItem
from dpo_core.curate.renderings import needs_answer
from dpo_core.curate.yields import expected_yield
from dpo_core.data.digests import digest_json
from dpo_core.errors import InputError
from infra.settings import load_settings
from infra.store import open_store
from infra.store.base import Store
from infra.tracking.runs import attach_run
from tasks.curate.answer_store import REFUSED, AnswerStore, StoredAnswer
from tasks.curate.answerers import Answerer, Sample, answerer_of
from tasks.curate.prompts import stored_prompts
from tasks.curate.records import Answered, CurationPlan, Gathered
from tasks.curate.ways.judges import admitted
from tasks.curate.ways.scoring import RewardScorer, samples_of
from tasks.records import Stage
from tasks.runtime.progress import progress_bar

log = logging.getLogger("dpo.curate")
Known = dict[Sample, StoredAnswer]


@task(name="answer", cache_policy=NO_CACHE)
def answer(plan: CurationPlan, gathered: Gathered) -> Answered:
    """Every prompt's answers are in the store afterwards. Raises InputError where the pilot promises too little."""
    start = time.monotonic()
    store = open_store(load_settings(), patient=True)
    answerer = answerer_of(plan, store)
    shelf = AnswerStore(store, answerer.path, refusals=answerer.refusals_last)
    items = asked_of(plan, stored_prompts(store, gathered.key))
    known = {} if plan.force else shelf.read()
    shelf.refresh()
    before, promised = len(known), ""
    some = _pilot(plan, items, known)
    if some:
        begun = time.monotonic()
        fresh = _drawn(plan, answerer, shelf, some, known)
        known |= fresh
        promised = _promise(plan, store, some, known, len(items), begun, len(fresh))
    known |= _drawn(plan, answerer, shelf, items, known)
    drawn = len(known) - before
    refused = {key: found.text for (key, sample), found in known.items() if sample == REFUSED}
    refused = {item.key: refused[item.key] for item in items if item.key in refused}
    if items and len(refused) == len(items):
        first = items[0]
        raise InputError(
            f"none of {len(items)} prompts has an answer; the first: {refused[first.key]}",
            where=first.where,
            do="look at the prompts, and at what answers them",
        )
    used = [one for item in items for one in samples_of(item, known, plan.curation.samples)]
    attach_run(plan.run_id).metrics({"answers/all": len(used), "answers/drawn": drawn, "answers/refused": len(refused)})
    log.info("answered prompts=%d answers=%d drawn=%d refused=%d", len(items), len(used), drawn, len(refused))
    stage = Stage(name="answer", cached=drawn == 0, seconds=time.monotonic() - start)
    return Answered(
        path=answerer.path,
        sha256=digest_json([one.model_dump(mode="json") for one in used]),
        answers=len(used),
        refused=refused,
        pilot=promised,
        drawn=drawn,
        stage=stage,
    )


def asked_of(plan: CurationPlan, items: list[PromptItem]) -> list[PromptItem]:
    """The prompts that the model has to answer: of renderings those whose row holds no answer."""
    return [item for item in items if needs_answer(item)] if plan.curation.renderings else items


def missing_of(items: Iterable[PromptItem], known: Mapping[Sample, object], samples: int) -> set[Sample]:
    """The samples that nobody has drawn, of prompts that can be answered."""
    keys = dict.fromkeys(item.key for item in items if (item.key, REFUSED) not in known)
    return {(key, number) for key in keys for number in range(samples)} - known.keys()


def _drawn(
    plan: CurationPlan, answerer: Answerer, shelf: AnswerStore, items: Sequence[PromptItem], known: Known
) -> Known:
    """What was missing, drawn now; each answer is stored before it is counted."""
    missing = missing_of(items, known, plan.curation.samples)
    if not missing:
        return {}
    wanted = {key for key, _ in missing}
    asked = list({item.key: item for item in items if item.key in wanted}.values())
    found: Known = {}
    with progress_bar("answers", total=len(missing), unit="answer") as bar:
        for one in shelf.keep(answerer.draw(asked, missing)):
            found[one.prompt, one.sample] = one
            bar.update(1 if one.sample != REFUSED else plan.curation.samples)
    return found


def _pilot(plan: CurationPlan, items: Sequence[PromptItem], known: Known) -> list[PromptItem]:
    """The prompts that are answered first, by lot; none where all are answered, or there are no more than that.

    Answers of an earlier run count, and are scored again: what stopped that run stops this one.
    """
    size = plan.curation.answers.pilot
    if plan.curation.way != "rewards" or not 0 < size < len(items):
        return []
    if not missing_of(items, known, plan.curation.samples):
        return []
    return drawn_evenly(items, size, plan.curation.seed)


def _promise(
    plan: CurationPlan,
    store: Store,
    some: Sequence[PromptItem],
    known: Known,
    prompts: int,
    begun: float,
    drawn: int,
) -> str:
    """What the pilot says of all prompts: `drawn` of its answers were drawn since `begun`.

    Raises InputError where too few give a pair, or a judge is not admitted.
    """
    scorer = RewardScorer(plan, store)
    admitted(plan.curation.rewards, scorer.ask)
    groups = scorer.groups(some, known)
    if not groups:
        raise InputError("no prompt of the pilot has scored answers", where=some[0].where, do="look at the reward")
    seconds = time.monotonic() - begun
    told = expected_yield(groups, plan.curation.choice, seconds=seconds, prompts=len(some), drawn=drawn)
    says = told.says(prompts)
    log.info("pilot says='%s'", says)
    if told.high < plan.curation.answers.min_yield:
        raise InputError(
            f"the pilot promises too little: {says}",
            where="answers.min_yield",
            do=cut_off(groups, plan.curation.choice) + "ask for less (or for more), sample hotter, raise "
            "answers.samples, or lower answers.min_yield; what was answered is kept",
        )
    return says
