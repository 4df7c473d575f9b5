"""The forms on Prefect's page that ask for approval: one for each version that waits, none for one that does not."""

import functools

from infra.ledger.promotions import LedgerRecord, Standing
from infra.prefect_server import ask_for_run, end_suspended_runs

FLOW = "approve"  # and the name of its deployment, as prefect.yaml has it
ENDED = {  # kind of the record that ended a wait: how the state of its form is called
    "approve": "AlreadyApproved",
    "promote": "AlreadyPromoted",
    "decline": "AlreadyRejected",
    "expire": "Expired",
    "wait": "AskedAnew",
}


def ask_by_form(name: str, wait: LedgerRecord) -> None:
    """Have a form for a version that waits, once a wait."""
    key = f"approve-{name}-{wait.what.version}-entry-{wait.seq}"
    ask_for_run(f"{FLOW}/{FLOW}", {"name": name, "version": wait.what.version, "entry": wait.seq}, key=key)


def follow(name: str, before: Standing, now: Standing) -> None:
    """After something was recorded: the end of the forms whose wait is over, a form for each wait that began."""
    end_forms(name, before, now)
    for version, wait in now.waiting.items():
        if before.waiting.get(version) != wait:
            ask_by_form(name, wait)


def end_forms(name: str, before: Standing, now: Standing) -> None:
    """The end of the forms whose wait is over, or asked for anew over another champion; it says what came of it."""
    for version, wait in before.waiting.items():
        if (now_waits := now.waiting.get(version)) != wait:
            _end(name, version, now_waits or now.settled[version])


def _end(name: str, version: int, ended: LedgerRecord) -> None:
    by = f" by {ended.what.who}" if ended.what.who else ""
    said = "GatedAgain" if ended.what.gated_again else ENDED.get(ended.what.kind, "NoLongerWaiting")
    why = f": {ended.what.why}" if ended.what.why else ""
    message = f"{ended.what.kind}{by} at {ended.at[:16]}, entry {ended.seq} of the ledger{why}"
    end_suspended_runs(FLOW, functools.partial(_is_of, name, version), state=said, message=message)


def _is_of(name: str, version: int, parameters: dict[str, object]) -> bool:
    return (parameters.get("name"), parameters.get("version")) == (name, version)
