"""Any model against any reference, on any pairs."""

from prefect import flow

from tasks.commands.evaluate_model import evaluate_model
from tasks.documents import EvaluateDocument


@flow(name="evaluate")
def evaluate(model: str, data: str, reference: str | None = None, beta: float = 0.1) -> EvaluateDocument:
    """Held-out preference metrics with intervals, whole and by slice."""
    return evaluate_model(model, data, reference, beta)
