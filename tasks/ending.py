"""How a retrain ends, where people and programs look: a named state and an artifact on Prefect's page."""

import functools
from collections.abc import Callable
from typing import ParamSpec, cast

from prefect.artifacts import create_markdown_artifact
from prefect.states import Completed, Failed

from dpo_core.records import Record
from infra.secrets import without_secrets
from tasks.documents import CheckDocument, DataCheckFailed, RetrainDocument, Retrained, RetrainState

STATES: dict[RetrainState, str] = {
    "promoted": "Promoted",
    "held": "Held",
    "rejected": "Rejected",
    "nothing_new": "Nothing new",
    "waiting_for_approval": "Waiting for approval",
}
DATA_FAILED = "Data failed"
Arguments = ParamSpec("Arguments")


def named_states(retrain: Callable[Arguments, Retrained]) -> Callable[Arguments, Retrained]:
    """The flow run ends in the state that its document names, with the verdict and its links as an artifact.

    For who calls the flow nothing changes: Prefect gives what the state holds, and raises DataCheckFailed.
    """

    @functools.wraps(retrain)
    def ends(*args: Arguments.args, **options: Arguments.kwargs) -> Retrained:
        try:
            done = retrain(*args, **options)
        except DataCheckFailed as failed:
            _publish(failed.document, DATA_FAILED, data_report=failed.document.report)
            return cast(Retrained, Failed(name=DATA_FAILED, message=without_secrets(str(failed)), data=failed))
        document, display = done.document, done.display
        name = STATES[document.state]
        _publish(document, name, data_report=display.report, run=display.run_url, reasons=document.reasons)
        return cast(Retrained, Completed(name=name, message=_headline(document), data=done))

    return ends


def _headline(document: RetrainDocument) -> str:
    champion = f"version {document.champion_version}" if document.champion_version else "none yet"
    return f"{document.model} version {document.version}; champion: {champion}"


def _publish(document: Record, state: str, *, reasons: list[str] | None = None, **links: str) -> None:
    """The artifact: the state, why, and where to read on."""
    lines = [f"# {state}"]
    if isinstance(document, RetrainDocument):
        key = f"retrain-{document.model}"
        lines += [_headline(document), *(f"- {reason}" for reason in reasons or [])]
        links = {"report": document.report, **links}
    else:
        assert isinstance(document, CheckDocument)
        key = "retrain-data-failed"
        lines += [f"- {found.says}" for found in document.findings if found.severity == "fail" and not found.intended]
    rows = [f"| {name.replace('_', ' ')} | {link} |" for name, link in links.items() if link]
    text = "\n\n".join([*lines, "\n".join(["| | |", "|---|---|", *rows])])
    create_markdown_artifact(without_secrets(text), key=_key(key))  # type: ignore[unused-coroutine]


def _key(name: str) -> str:
    """Prefect's keys hold small letters, digits and dashes."""
    return "".join(char if char.isascii() and char.isalnum() else "-" for char in name.lower())
