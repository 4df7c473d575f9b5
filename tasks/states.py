"""How a flow run ended, on Prefect's pages: a state with a name that automations can act on, and an artifact."""

import functools
import re
from collections.abc import Callable
from typing import ParamSpec, cast

from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from infra.secrets import without_secrets
from tasks.documents import DataCheckFailed, RetrainDocument, Retrained

NAMES = {
    "promoted": "Promoted",
    "waiting_for_approval": "WaitingForApproval",
    "held": "Held",
    "rejected": "Rejected",
    "nothing_new": "NothingNew",
}
DATA_FAILED = "DataFailed"
Given = ParamSpec("Given")


def named_end(run: Callable[Given, Retrained]) -> Callable[Given, Retrained]:
    """Of a flow's function: the run ends in a named state, in one step, once its artifact is there.

    The flow still gives its caller what the function does: Prefect takes the state that the function returns for the
    end of the run, and hands on what it holds.
    """

    @functools.wraps(run)
    def ended(*args: Given.args, **kwargs: Given.kwargs) -> "State[Retrained]":
        try:
            done = run(*args, **kwargs)
        except DataCheckFailed as failed:
            document = failed.document
            found = [f"- **{finding.severity}** {finding.check}: {finding.says}" for finding in document.findings]
            page = ["# The data check failed", "", *found, "", f"report: `{document.report}`"]
            _show(failed.name, DATA_FAILED, page)
            return Failed(name=DATA_FAILED, message=without_secrets(str(failed)), data=failed)
        name = NAMES[done.document.state]
        _show(done.document.model, name, _page(done))
        return Completed(name=name, message=without_secrets(_headline(done.document)), data=done)

    return cast(Callable[Given, Retrained], ended)


def _show(model: str, name: str, page: list[str]) -> None:
    key = "retrain-" + (re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-") or "run")
    create_markdown_artifact(without_secrets("\n".join(page)), key=key, description=name)


def _headline(document: RetrainDocument) -> str:
    champion = "none" if document.champion_version is None else f"version {document.champion_version}"
    return f"{document.model} version {document.version}: {document.state.replace('_', ' ')}; champion: {champion}"


def _page(done: Retrained) -> list[str]:
    document = done.document
    reasons = [f"- {reason}" for reason in document.reasons]
    if document.waiting_until is not None:
        command = f"dpo approve {document.model} {document.version} --by WHO --why TEXT"
        reasons.append(f"- waits for approval until {document.waiting_until[:16]}: `{command}`")
    figures = [
        f"| {name} | {value.value:.4g} | {value.low:.4g} to {value.high:.4g} |"
        for name, value in document.metrics.items()
    ]
    links = [f"- report: `{document.report}`", f"- data report: `{document.data_report}`"]
    links.append(f"- MLflow run: {done.display.run_url}")
    head = ["| metric | value | 95 % interval |", "|---|---|---|"]
    return [f"# {_headline(document)}", "", *reasons, "", *head, *figures, "", *links]
