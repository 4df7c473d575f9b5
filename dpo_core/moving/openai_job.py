"""An OpenAI fine-tuning job: the JSON of `/v1/fine_tuning/jobs`, or the request that made it.

The keys are those of openai 3.57 (FineTuningJob, JobCreateParams, DpoHyperparameters); a test compares the names.
"""

import json
from pathlib import Path

from dpo_core.data.sources import SUFFIXES
from dpo_core.errors import InputError
from dpo_core.moving.cells import Cell, Sheet
from dpo_core.moving.draft import Draft
from dpo_core.moving.losses import DO, OTHER_METHODS
from dpo_core.moving.sources import LONGEST, find_pairs, name_of
from dpo_core.moving.tables import KeyTable, names, reasons, sort_out

TOOL = "OpenAI"
RECORD = "a fact about that job; a run keeps its own"
RATE = "it scales a rate that only OpenAI knows: set training.learning_rate (now 1e-6; small models take up to 5e-5)"
AUTO = "OpenAI chose it: this project's default stands"
TABLE = KeyTable(
    left=reasons(
        {
            RECORD: "id object created_at finished_at estimated_finish status error organization_id result_files "
            "trained_tokens fine_tuned_model metadata user_provided_suffix shared_with_openai",
            "a run logs to MLflow (MLFLOW_TRACKING_URI)": "integrations",
            "the hyperparameters of method.dpo count": "hyperparameters",
        }
    ),
    special=names("model method training_file validation_file seed suffix"),
)
HYPERPARAMETERS = {
    "beta": "training.beta",
    "batch_size": "training.train_batch_size",
    "n_epochs": "training.num_train_epochs",
}


def one_job(sheet: Sheet) -> Sheet:
    """The job of a page of jobs that trains by DPO, or the job itself."""
    jobs = sheet.values.get("data")
    if sheet.values.get("object") != "list" or not isinstance(jobs, list):
        return sheet
    by_dpo = [job for job in sheet.items("data") if job.section("method").values.get("type") == "dpo"]
    if len(by_dpo) == 1:
        return by_dpo[0]
    says = f"the page lists {len(jobs)} jobs, {len(by_dpo)} of them by dpo"
    ids = ", ".join(str(job.values.get("id")) for job in by_dpo[:5])
    do = f"write the JSON of one of them to a file{f' ({ids})' if ids else ''}, and import that"
    raise InputError(says, where=f"{sheet.file}, key data", do=do)


def read_job(job: Sheet, draft: Draft, *, data: str | None, held_out: str | None, model: str | None) -> None:
    """The draft of a job; `data`, `held_out` and `model` are what the command line names."""
    _require_dpo(job)
    sort_out(job, TABLE, draft)
    if model is None:
        says = f"the start model {job.values.get('model')!r} is OpenAI's: its weights are not to be had"
        do = "name an open one: --model FOLDER, a Hugging Face id, file.gguf or models:/NAME@champion"
        raise job.cell("model").refused(says, do)
    if "model" in job:
        draft.change(job.cell("model"), f"its weights are not to be had: {model} instead")
    for name, key, given in (("training_file", "data.train", data), ("validation_file", "data.eval", held_out)):
        if name in job and given is None:
            cell = job.cell(name)
            draft.take(cell, key, _file_of(cell))
        elif name in job:
            draft.leave(job.cell(name), "the command line names it")
    if "training_file" not in job and data is None:
        raise job.cell("training_file").refused("the job names no training_file", "name the pairs: --data pairs.jsonl")
    if "seed" in job:
        draft.take(job.cell("seed"), "seed", job.cell("seed").whole())
    _hyperparameters(job.section("method").section("dpo").section("hyperparameters"), draft)
    tuned = str(job.values.get("fine_tuned_model") or "").split(":")  # ft:MODEL:ORGANISATION:SUFFIX:ID
    suffix = (
        job.values.get("suffix") or job.values.get("user_provided_suffix") or (tuned[3] if len(tuned) > 4 else None)
    )
    cell = job.cell("suffix") if "suffix" in job else job.cell("fine_tuned_model" if suffix else "model")
    if cell.value is not None:
        base = name_of(str(suffix or cell.value))
        draft.take(cell, "name", base, "the model's name in the registry", changed=not suffix)


def _require_dpo(job: Sheet) -> None:
    method = job.section("method")
    named = method.values.get("type") or job.values.get("method")
    kind = named if isinstance(named, str) else "dpo" if "dpo" in method else "supervised"
    if kind != "dpo":
        cell = method.cell("type") if "type" in method else job.cell("method")
        what = OTHER_METHODS.get(kind, "something else than pairs")
        raise cell.refused(f"the job's method is {kind}, which trains on {what}: there is no such run here", DO)


def _hyperparameters(sheet: Sheet, draft: Draft) -> None:
    for cell in sheet:
        name = cell.name.rpartition(".")[2]
        key = HYPERPARAMETERS.get(name)
        if name == "learning_rate_multiplier":
            draft.leave(cell, RATE if cell.value != "auto" else AUTO)
        elif key is None:
            draft.leave(cell, f"{TOOL} has no such key, as far as is known here")
        elif cell.value == "auto":
            draft.change(cell, f"{AUTO}, {key}")
        else:
            draft.take(cell, key, cell.whole() if name == "batch_size" else cell.number())


def _file_of(cell: Cell) -> str:
    """The pairs of a file's id, which are looked for beside the job: ID, or ID with the suffix of a file of pairs."""
    name = cell.text()
    folder = Path(cell.file).resolve().parent
    ends = SUFFIXES if len(name) < LONGEST else ()
    beside = next((name + end for end in ends if (folder / (name + end)).is_file()), None)
    if beside is None and name.startswith("file-"):
        do = (
            f"download it beside the job (GET /v1/files/{name}/content, to {name}.jsonl), or name it: "
            f"{'--data' if cell.name.endswith('training_file') else '--eval'} FILE"
        )
        raise cell.refused(f"the pairs of {name} are not beside the job", do)
    return find_pairs(beside or name, cell)


def read_json(text: str, file: str) -> object:
    """JSON, without a key that stands twice. Raises InputError with the line."""

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        keys = [key for key, _ in pairs]
        if twice := next((key for key in keys if keys.count(key) > 1), None):
            raise InputError(
                f"{twice!r} stands twice", where=file, do="keep one of them: of two, the first would be ignored"
            )
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        place = f"{file}:{error.lineno}:{error.colno}"
        raise InputError(f"not valid JSON: {error.msg}", where=place, do="mend it, or export it again") from None
    except InputError:
        raise
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; lists within lists
        raise InputError(f"not valid JSON: {error}", where=file, do="mend it, or export it again") from None
