"""The program that loads a model in a process that never saw its training, and scores a few held-out answers again.

python -m tasks.evaluation.rescore FOLDER    # order.json in it becomes result.json
"""

import json
import sys
from pathlib import Path

from dpo_core.errors import InputError
from dpo_core.records import Record
from infra.errors import InfraError
from infra.masking import mask_everything
from infra.secrets import without_secrets


class RescoreOrder(Record):
    """What is loaded, and scored: prompt and answer ids."""

    model: str
    trusted_code: str | None
    dtype: str
    threads: int
    rows: list[tuple[list[int], list[int]]]


def rescore(order: RescoreOrder) -> list[float]:
    """Log-prob of each answer, nats."""
    from dpo_core.model.score import score
    from tasks.runtime.device import load_on_device

    model = load_on_device(Path(order.model), threads=order.threads, trusted_code=order.trusted_code)
    found = dict(score(model, order.rows, dtype=order.dtype))
    return [float(found[i].double().sum()) for i in range(len(order.rows))]


def main(folder: Path) -> int:
    """Whatever goes wrong is told in result.json."""
    mask_everything()
    try:
        result: dict[str, object] = {
            "logps": rescore(RescoreOrder.model_validate_json((folder / "order.json").read_text()))
        }
    except Exception as error:
        says = error.says if isinstance(error, InputError | InfraError) else f"{type(error).__name__}: {error}"
        result = {"error": without_secrets(says.strip().splitlines()[0])}
    (folder / "result.json").write_text(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
