"""Who has to agree before a version becomes champion, and how a version waits for that."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from dpo_core.recipe_release import Promotion
from infra.ledger.promotions import Kind, PromotionRecord, Standing
from infra.registry.production import PRODUCTION
from infra.registry.versions import Version

TAG = "dpo.approval"  # of a version: days that a wait lasts, where approval is required

EVIDENCE = {  # of a version: which tag names it
    "gate": "gate.record",
    "verdict": "gate.verdict",
    "evaluation": "dpo.evaluation",
    "lineage": "dpo.lineage",
    "report": "dpo.report",
}


@dataclass(frozen=True)
class Policy:
    """A recipe's `promotion:` section, as a version carries it."""

    required: bool = False
    expires_days: float = 7.0


def policy_tags(wanted: Promotion) -> dict[str, str]:
    """The section as tags of the version, from its first moment on: `dpo promote` has no recipe."""
    days = str(wanted.approval_expires_days) if wanted.approval == "required" else ""
    return {TAG: days, PRODUCTION: wanted.production or ""}


def policy_of(found: Version) -> Policy:
    """What a version was made under; one without the tag needs no approval."""
    days = found.tags.get(TAG, "")
    return Policy(required=True, expires_days=float(days)) if days else Policy()


def wait_record(
    state: Standing, found: Version, policy: Policy, *, who: str, why: str, by_run: bool = False
) -> PromotionRecord:
    """The version waits, from now on, for somebody other than `who`."""
    ends = (datetime.now(UTC) + timedelta(days=policy.expires_days)).isoformat()
    return move_record("wait", state, found, who=who, why=why, by_run=by_run).model_copy(update={"expires": ends})


def move_record(
    kind: Kind, state: Standing, found: Version, *, who: str, why: str, by_run: bool = False
) -> PromotionRecord:
    """What is recorded of a version, over the champion that there is, with the evidence that its tags name."""
    evidence = {name: found.tags[tag] for name, tag in EVIDENCE.items() if tag in found.tags}
    return PromotionRecord(
        kind=kind,
        version=found.number,
        weights_sha256=found.weights_sha256,
        over=state.champion,
        over_weights_sha256=state.weights,
        who=who,
        why=why,
        by_run=by_run,
        evidence=evidence | ({"run": found.run_id} if found.run_id else {}),
    )
