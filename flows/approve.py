"""Approval on Prefect's page: a run that is suspended until its form is filled in; then it does as `dpo approve`."""

from typing import Annotated, Literal

from prefect import flow
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from pydantic import Field, StringConstraints

from infra.prefect_logs import show_on_page
from infra.settings import load_settings, prepare_environment
from infra.store import open_store
from tasks.commands import promotion, waits
from tasks.ledger_documents import PromotionDocument

Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class ApprovalForm(RunInput):
    """What the page asks."""

    approve: Literal["yes", "no"] = Field(description="no: its wait ends, and it is not promoted")
    by: Words = Field(description="who decides this: not who asked for it")
    why: Words = Field(description="the reason, for the record")


@flow(name="approve")
def approve(name: str, version: int, entry: int | None = None) -> PromotionDocument:
    """Wait, with no process alive, for a person's decision on a version that waits for approval.

    `entry`: the wait's number in the ledger. Raises InputError where the version does not wait, or was asked for anew
    since, or not for this person's approval.
    """
    show_on_page()
    settings = load_settings()
    prepare_environment(settings)
    store = open_store(settings)
    asked = waits.asked_for(store, name, version, entry)
    form = ApprovalForm.with_initial_data(description=asked.says)
    given = suspend_flow_run(wait_for_input=form, timeout=asked.seconds_left)
    reject = given.approve == "no"
    return promotion.approve(store, name, version, by=given.by, why=given.why, reject=reject, entry=entry)
