"""A version that waits for approval: what its wait says to who may give it, and why it cannot be given."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from dpo_core.errors import InputError
from infra.ledger.champion import Champion
from infra.ledger.promotions import LedgerRecord, Standing
from infra.secrets import without_secrets
from infra.store.base import Store
from infra.tracking.client import tracking_uri

DIGEST = re.compile("[0-9a-f]{40,}")  # too long for the narrow form of Prefect's page


@dataclass(frozen=True)
class ApprovalRequest:
    """What a version's wait for approval says to who may give it."""

    says: str  # Markdown
    seconds_left: int


def asked_for(store: Store, name: str, version: int, entry: int | None = None) -> ApprovalRequest:
    """The wait of a version. Raises InputError where it does not wait, or no more, or not by that entry."""
    what, now = wait_of(Champion(store, name).look().state, name, version, entry).what, datetime.now(UTC)
    left = (datetime.fromisoformat(str(what.expires)) - now).total_seconds()
    if left < 1:
        raise too_late(name, version, str(what.expires))
    over = "no champion" if what.over is None else f"version {what.over}"
    lines = [f"Shall version {version} of **{name}** replace {over}? {what.who} asked for it: {what.why}", ""]
    lines += [f"- {key}: `{DIGEST.sub(_short, value)}`" for key, value in what.evidence.items()]
    lines += ["", f"In full: `dpo history {name} --json`. Keys are meant in `{without_secrets(store.url)}`."]
    registry = without_secrets(tracking_uri()).rstrip("/")
    if registry.startswith("http"):
        lines[:0] = [f"[The version in MLflow]({registry}/#/models/{quote(name)}/versions/{version})", ""]
    return ApprovalRequest("\n".join(lines), int(left))


def _short(digest: re.Match[str]) -> str:
    return f"{digest[0][:12]}…"


def wait_of(state: Standing, name: str, version: int, entry: int | None) -> LedgerRecord:
    """The wait of a version. Raises InputError where it does not wait, or `entry` names another wait of it."""
    wait = state.waiting.get(version)
    if wait is None:
        raise _not_waiting(name, version, state.settled.get(version))
    if entry not in (None, wait.seq):
        over = "no champion" if wait.what.over is None else f"version {wait.what.over}"
        by = f" by {wait.what.who}" if wait.what.who else ""
        says = f"it was asked for anew, over {over},{by} at {wait.at[:16]}: entry {wait.seq} of the ledger"
        do = f"decide on that one: dpo approve {name} {version} --by WHO --why ..."
        raise InputError(says, where=f"{name} version {version}, entry {entry}", do=do)
    return wait


def too_late(name: str, version: int, expired_at: str) -> InputError:
    """What is told of a wait that nobody ended in time."""
    do = "`dpo promote` asks for approval anew, and so does `dpo retrain --force`"
    return InputError(f"its approval expired at {expired_at}", where=f"{name} version {version}", do=do)


def _not_waiting(name: str, version: int, last: LedgerRecord | None) -> InputError:
    ended = {"approve": "was approved", "promote": "was promoted", "decline": "was rejected", "expire": "expired"}
    says = "it does not wait for approval"
    if last is not None:
        by = f" by {last.what.who}" if last.what.who else ""
        how = "ended, for a run gated it again," if last.what.gated_again else ended.get(last.what.kind, "ended")
        says += f": its wait {how}{by} at {last.at[:16]}"
    return InputError(says, where=f"{name} version {version}", do=f"see what was recorded: dpo history {name}")
