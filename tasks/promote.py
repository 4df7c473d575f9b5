"""From verdict to champion: the ledger first, then the alias; or a wait for approval."""

import logging
from datetime import UTC, datetime

from prefect import task
from prefect.cache_policies import NO_CACHE

from infra.ledger.champion import Champion
from infra.ledger.promotions import PromotionRecord, Standing, expired, still_waiting
from infra.registry import versions
from infra.registry.weights import require_weights
from infra.settings import load_settings
from infra.store import open_store
from tasks.records import Gated, Plan, Promoted, Registered, Stage
from tasks.runtime.approval import Policy, move_record, wait_record
from tasks.runtime.forms import ask_by_form, end_forms
from tasks.runtime.provenance import user

log = logging.getLogger("dpo.release")


@task(name="promote", cache_policy=NO_CACHE)
def promote(plan: Plan, registered: Registered, gated: Gated, ran_away: str = "") -> Promoted:
    """Make the version champion if the gate says so and nothing that happened since speaks against it.

    `ran_away`: why its training was stopped, where that was by training.online.stop: then a person has to decide.
    """
    name, version = plan.recipe.name, registered.version
    champion, left = Champion(open_store(load_settings(), patient=True), name), ""
    wanted, now = plan.recipe.promotion, datetime.now(UTC)
    policy = Policy(wanted.approval == "required", wanted.approval_expires_days)

    def decide(state: Standing) -> PromotionRecord | None:
        nonlocal left
        left = ""
        wait = state.waiting.get(version)  # an expired one too: the verdict is newer
        if gated.verdict != "promote" and wait is not None and wait.what.by_run:
            why = f"gated again, {gated.verdict}: {'; '.join(gated.reasons)}"
            return move_record("decline", state, versions.by_number(name, version), who="", why=why, by_run=True)
        if gated.verdict != "promote" or state.champion == version:
            return None
        found = versions.by_number(name, version)
        require_weights(name, version, found.tags)
        if wait is not None and expired(wait, now):
            return move_record("expire", state, found, who="", why="nobody approved it in time", by_run=True)
        if left := _left(plan, state, version, found.weights_sha256, ran_away):
            return None
        why = "; ".join(gated.reasons)
        if not policy.required:
            return move_record("promote", state, found, who=user(), why=why, by_run=True)
        if wait is not None and wait.what.over_weights_sha256 == state.weights:
            return None
        return wait_record(state, found, policy, who=user(), why=why, by_run=True)

    seen = champion.settle()
    state, before = champion.commit(decide), seen.seq
    end_forms(name, seen, state)
    if state.seq > before and state.records[-1].what.kind == "expire":
        state = champion.commit(decide)  # anew with --force; else it is said why not
    if left:
        log.warning('not_promoted name=%s version=%d why="%s"', name, version, left)
    asked = None if left or gated.verdict != "promote" else still_waiting(state, now).get(version)
    if asked is not None:
        ask_by_form(name, asked)  # also where a run that was killed here had recorded the wait
    stage = Stage(name="promote", cached=state.seq == before, seconds=0.0)
    return Promoted(
        champion_version=state.champion,
        not_promoted=left,
        waiting_until=asked.what.expires if asked else None,
        stage=stage,
    )


def _left(plan: Plan, state: Standing, version: int, weights: str, ran_away: str) -> str:
    """Why the champion stays, though the gate says promote; empty if it is to be replaced."""
    now = "no version is champion" if state.champion is None else f"version {state.champion} is champion"
    name = plan.recipe.name
    if weights in state.barred:
        by_hand = state.barred[weights].what.kind == "outside_change"
        how = "the alias was moved away from this version" if by_hand else "this version was rolled back from"
        return f"{now}: {how}, and it stays barred until a person promotes it: dpo promote {name} {version} --why ..."
    before = plan.champion.weights_sha256 if plan.champion else None
    if (None if state.champion is None else state.weights) != before:
        return (
            f"{now} now, and this version was not compared with it: the champion changed while the run was at work. "
            "The same command again compares them"
        )
    if (against := plan.recipe.retrain.against) not in ("champion", state.champion) and state.champion is not None:
        compared = "the base model" if against == "base" else f"version {against}"
        return (
            f"{now}, and this version was compared with {compared} alone, as retrain.against says. A person may still "
            f"promote it: dpo promote {name} {version} --why ... If they have one tokenizer, retrain.against: champion "
            "compares the two"
        )
    if state.held is not None:
        hold = state.held.what
        return f"{now}, and {hold.who} put a hold on it: {hold.why}. dpo hold {name} --lift --why ... ends it"
    if ran_away:
        return (
            f"{now}: the training ran away ({ran_away}). A person may still promote it: "
            f"dpo promote {name} {version} --why ..."
        )
    ended = state.settled.get(version)
    refused = ended is not None and ended.what.kind in ("decline", "expire") and not ended.what.gated_again
    if ended is not None and refused and not plan.force:
        how = f"rejected by {ended.what.who}: {ended.what.why}" if ended.what.kind == "decline" else "not given in time"
        return f"{now}: approval of this version was {how}. --force asks for it again"
    return ""
