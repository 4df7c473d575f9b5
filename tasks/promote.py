"""From the gate's verdict to the alias `champion`: through the ledger, or into the hands of a person."""

import datetime
import logging
import time

from prefect import task
from prefect.cache_policies import NO_CACHE

from infra.ledger.chain import Moved
from infra.ledger.promotions import Promotions
from infra.ledger.standing import Standing
from infra.registry import versions
from infra.settings import load_settings
from infra.store import open_store
from tasks.records import Evaluated, Gated, Plan, Promoted, Registered, Stage
from tasks.runtime.provenance import user

log = logging.getLogger("dpo.release")
GATE = "the gate"  # who promotes where no person does


@task(name="promote", cache_policy=NO_CACHE)
def promote(plan: Plan, evaluated: Evaluated, registered: Registered, gated: Gated) -> Promoted:
    """Make the version champion if the gate says so and nothing has changed since, or ask a person to."""
    start, version = time.monotonic(), registered.version
    ledger = Promotions(open_store(load_settings(), patient=True), plan.recipe.name)
    standing, left, done = ledger.settle(), "", False
    if gated.verdict == "promote" and standing.champion != version:
        left = _left(plan, standing, version)
        done = not left and not _still_waits(standing, version)
    if done:
        try:
            _commit(ledger, standing, plan, evaluated, registered, gated)
        except Moved:
            left = _moved(ledger.settle().champion)
        standing = ledger.settle()
    waits = standing.waiting.get(version) if not left and gated.verdict == "promote" else None
    if left:
        log.warning('not_promoted name=%s version=%d why="%s"', plan.recipe.name, version, left)
    elif waits is not None:
        log.info("waiting_for_approval name=%s version=%d until=%s", plan.recipe.name, version, waits.expires)
    return Promoted(
        champion_version=standing.champion,
        not_promoted=left,
        waiting_until=waits.expires if waits else "",
        stage=Stage(name="promote", cached=not done, seconds=time.monotonic() - start),
    )


def _commit(
    ledger: Promotions, standing: Standing, plan: Plan, evaluated: Evaluated, registered: Registered, gated: Gated
) -> None:
    version, evidence = registered.version, {"gate": gated.stage.key, "evaluation": evaluated.key}
    weights = versions.by_number(plan.recipe.name, version).weights_sha256
    common = {"version": version, "weights_sha256": weights, "evidence": evidence, "requested_by": user()}
    why = "; ".join(gated.reasons)
    if plan.recipe.promotion.approval == "auto":
        ledger.record("promoted", standing, who=GATE, why=why, **common)
        return
    expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=plan.recipe.promotion.approval_days)
    ledger.record("waiting", standing, who=GATE, why=why, expires=expires.isoformat(timespec="seconds"), **common)


def _still_waits(standing: Standing, version: int) -> bool:
    waits = standing.waiting.get(version)
    return waits is not None and not waits.is_over(datetime.datetime.now(datetime.UTC))


def _left(plan: Plan, standing: Standing, version: int) -> str:
    """Why the alias stays where it is, though the gate says promote; empty if it is to be moved."""
    before = plan.champion.number if plan.champion else None
    by_hand = f"`dpo promote {plan.recipe.name} {version} --why ...` makes it champion all the same"
    if standing.champion != before:
        return _moved(standing.champion)
    if standing.held:
        return f"promotion is on hold ({standing.held}); `dpo hold {plan.recipe.name} --lift` ends that"
    if version in standing.barred:
        return f"version {version} was champion before, and was taken back; {by_hand}"
    if version in standing.refused:
        return f"a person was asked to approve version {version} and refused; {by_hand}"
    return ""


def _moved(champion: int | None) -> str:
    now = f"version {champion} is champion" if champion else "no version is champion"
    return (
        f"{now} now, and this version was not compared with it: the alias moved while the run was at work. The same "
        "command again compares them"
    )
