"""How a flow run ended, on Prefect's pages: a state with a name that automations can act on, and an artifact."""

import re
from typing import Any

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.objects import FlowRun, State, StateType

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


def name_completed(flow: "Flow[..., Any]", flow_run: FlowRun, state: "State[Any]") -> None:
    """Hook of a flow that returns Retrained."""
    done: Retrained = state.result()
    document = done.document
    _tell(flow_run, StateType.COMPLETED, NAMES[document.state], _headline(document), document.model, _page(done))


def name_failed(flow: "Flow[..., Any]", flow_run: FlowRun, state: "State[Any]") -> None:
    """Hook of the same: pairs that must not be trained on are no crash."""
    failed: object = state.result(raise_on_failure=False)
    if isinstance(failed, DataCheckFailed):
        document = failed.document
        found = [f"- **{finding.severity}** {finding.check}: {finding.says}" for finding in document.findings]
        page = "\n".join(["# The data check failed", "", *found, "", f"report: `{document.report}`"])
        _tell(flow_run, StateType.FAILED, DATA_FAILED, str(failed), "data", page)


def _tell(flow_run: FlowRun, kind: StateType, name: str, says: str, model: str, page: str) -> None:
    key = "retrain-" + (re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-") or "run")
    state: State[Any] = State(type=kind, name=name, message=without_secrets(says))
    artifact = ArtifactCreate(
        key=key, type="markdown", description=name, data=without_secrets(page), flow_run_id=flow_run.id
    )
    with get_client(sync_client=True) as client:
        client.create_artifact(artifact)
        client.set_flow_run_state(flow_run.id, state, force=True)


def _headline(document: RetrainDocument) -> str:
    champion = "none" if document.champion_version is None else f"version {document.champion_version}"
    return f"{document.model} version {document.version}: {document.state.replace('_', ' ')}; champion: {champion}"


def _page(done: Retrained) -> str:
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
    return "\n".join([f"# {_headline(document)}", "", *reasons, "", *head, *figures, "", *links])
