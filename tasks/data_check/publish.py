"""What the data check found, where people look for it: on Prefect's page and in the MLflow run."""

import logging
from pathlib import Path

from dpo_core.report.markdown import artifact_key, quality_markdown
from infra.tracking.runs import attach_run
from tasks.documents import CheckDocument

log = logging.getLogger("dpo.check")
REPORT = "dpo.data_report"  # tag of a run: key of the report that it has


def publish(name: str, run_id: str, run_url: str, document: CheckDocument, reports_key: str, store_url: str) -> None:
    """Log the report to the run, once, and its verdict as a Markdown artifact `dq-report-NAME` of this flow run.

    Outside a flow run no artifact is made. One that Prefect refuses does not end the run: the report is in the store.
    """
    run = attach_run(run_id)
    if run.tag(REPORT) != reports_key:
        run.artifact(Path(document.report).parent, "reports")
        run.tags({REPORT: reports_key})
    links = {
        "MLflow run": run_url,
        "report in the store": f"{store_url.rstrip('/')}/{reports_key}/{Path(document.report).name}",
        "report on the machine that ran this": document.report,
    }
    text = quality_markdown(name, document.to_json(), {k: v for k, v in links.items() if v})
    _to_prefect(artifact_key(name), text, f"Data quality of {name}: {document.verdict}")


def _to_prefect(key: str, markdown: str, description: str) -> None:
    from prefect.artifacts import create_markdown_artifact
    from prefect.context import TaskRunContext

    if TaskRunContext.get() is None:
        return
    try:
        create_markdown_artifact(markdown, key=key, description=description)
    except Exception as error:  # whatever its client throws
        log.warning("artifact_not_made key=%s error=%s", key, type(error).__name__)
