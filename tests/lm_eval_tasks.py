"""Tasks of lm-eval in a folder, as its users write them: questions with choices, in JSON lines beside the task file."""

import json
from pathlib import Path

import yaml

SUMS = [{"question": f"{n} + {n + 1} =", "choices": [str(2 * n + 1), str(2 * n + 2), str(2 * n)]} for n in range(12)]


def write_task(folder: Path, name: str = "sums", documents: list[dict] | None = None, **changes: object) -> Path:
    """A task of multiple choice whose first choice is right; `changes` update its file, None takes a key out."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = SUMS if documents is None else documents
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": f"{name}.jsonl"}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "0",
        "metric_list": [
            {"metric": one, "aggregation": "mean", "higher_is_better": True} for one in ("acc", "acc_norm")
        ],
        **changes,
    }
    lines = yaml.safe_dump({key: value for key, value in task.items() if value is not None}, sort_keys=False)
    (folder / f"{name}.yaml").write_text(lines.replace("'!function ", "!function ").replace(".docs'", ".docs"))
    return folder
