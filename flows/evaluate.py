"""Any model against any reference, on any pairs."""

from typing import Any

from prefect import flow

from tasks.commands.evaluate_model import compare


@flow(name="evaluate")
def evaluate_model(model: str, data: str, reference: str | None = None, beta: float = 0.1) -> dict[str, Any]:
    """The document of `dpo evaluate --json`: held-out preference metrics with intervals, whole and by slice."""
    return compare(model, data, reference, beta)
