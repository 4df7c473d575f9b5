"""Any model against any reference, on any pairs."""

from prefect import flow

from dpo_core.recipe_file import recipe_of_evaluation
from tasks.commands.evaluate_model import evaluate_model
from tasks.documents import EvaluateDocument


@flow(name="evaluate")
def evaluate(
    model: str, data: str, reference: str | None = None, beta: float = 0.1, overrides: list[str] | None = None
) -> EvaluateDocument:
    """Held-out preference metrics with intervals, whole and by slice. `overrides`: data.text and keys of encoding."""
    return evaluate_model(recipe_of_evaluation(model, data, overrides or [], beta), reference, beta)
