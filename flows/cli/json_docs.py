"""docs/json.md, made from the types of the documents: `python -m flows.cli.json_docs > docs/json.md`."""

import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel

from dpo_core.recipe import Recipe
from dpo_core.records import Document
from flows.cli import documents as own
from tasks import documents as of_runs
from tasks import ledger_documents as of_ledger
from tasks.commands import show_ids
from tasks.curate import documents as of_curation
from tasks.datasets import records as of_data
from tasks.judging import documents as of_judging
from tasks.tune import documents as of_search

DOCUMENTS: dict[str, type[BaseModel]] = {
    "dpo retrain RUN.yaml": of_runs.RetrainDocument,
    "dpo check DATA": of_runs.CheckDocument,
    "dpo check DATA --show-ids N": show_ids.TokenRows,
    "dpo evaluate MODEL DATA": of_runs.EvaluateDocument,
    "dpo gate SCORES.jsonl --rules RULES.yaml": of_runs.GateDocument,
    "dpo gate, with cases": of_runs.GateCases,
    "dpo lineage NAME VERSION": of_runs.Lineage,
    "dpo promote NAME VERSION": of_ledger.PromotionDocument,
    "dpo history NAME": of_ledger.History,
    "dpo config RUN.yaml": own.EffectiveConfig,
    "dpo init RUN.yaml": own.WrittenRecipe,
    "dpo import FILE": own.ImportedRecipe,
    "dpo doctor": own.DoctorReport,
    "dpo store ls": own.StoreListing,
    "dpo store du": own.StoreUsage,
    "dpo store verify": own.StoreVerification,
    "dpo store gc": own.GarbageReport,
    "dpo curate CURATION.yaml": of_curation.CurateDocument,
    "dpo curate, with rounds": of_curation.RoundsDocument,
    "dpo tune RUN.yaml": of_search.TuneDocument,
    "dpo data ls": of_data.DatasetListing,
    "dpo data show NAME[@VERSION]": of_data.DatasetShown,
    "dpo data add NAME SOURCE": of_data.DatasetWritten,
    "dpo data mix NAME --from NAME@VERSION": of_data.DatasetWritten,
    "dpo data diff A B": of_data.DatasetDiff,
    "dpo data export NAME[@VERSION] FILE.jsonl": of_data.DatasetExported,
    "dpo data forget ID": of_data.ForgottenDocument,
    "dpo judge report JUDGEMENTS": of_judging.PeopleDocument,
    "dpo judge export JUDGEMENTS --to FILE": of_judging.JudgedExport,
    "dpo judge import FILE --to JUDGEMENTS": of_judging.JudgedImport,
    "an error, exit code 1, 2, 75 or 130": own.ErrorDocument,
}
HEAD = """# The documents of `--json`

Made from their types (`tasks/documents.py`, `tasks/commands/show_ids.py`, `tasks/datasets/records.py`,
`tasks/curate/documents.py`, `tasks/judging/documents.py`, `tasks/tune/documents.py`, `flows/cli/documents.py`) by
`python -m flows.cli.json_docs`; a test fails where this page is behind them. `--json` prints one document on stdout and
nothing else there. Each has `"schema": 1`: later versions add keys and change none. `a[].b` is key `b` of each item of
the list `a`, `a.*.b` of each value of the object `a`. Where the data check fails, `dpo retrain`, `dpo curate` and
`dpo tune` print the document of `dpo check`.
"""
TABLE = ["| key | type | meaning |", "|---|---|---|"]


def markdown() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(_section(command, model) for command, model in DOCUMENTS.items())])


def _section(command: str, model: type[BaseModel]) -> str:
    title = command if command.startswith("an ") else f"`{command} --json`"
    says = (model.__doc__ or "").strip().partition("\n\n")[0].replace("\n", " ")
    schema = [] if issubclass(model, Document) else [("schema", "`1`", "version of the document")]
    rows = [f"| `{key}` | {kind} | {about} |" for key, kind, about in [*schema, *_rows(model, "", ())]]
    return "\n".join(
        [f"## {title[:1].upper()}{title[1:]}", "", says, "", "| key | type | meaning |", "|---|---|---|", *rows, ""]
    )


def _rows(model: type[BaseModel], prefix: str, above: Sequence[type[BaseModel]]) -> Iterator[tuple[str, str, str]]:
    for name, field in model.model_fields.items():
        key = prefix + (field.alias or name)
        inner, path = _inside(field.annotation)
        yield key, _name(field.annotation), (field.description or "").replace("|", "\\|")
        if inner is not None and inner is not Recipe and inner not in (*above, model):
            yield from _rows(inner, f"{key}{path}.", (*above, model))


def _inside(annotation: object) -> tuple[type[BaseModel] | None, str]:
    """The model within an annotation, and how a path goes on from its key."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    if origin in (list, tuple, Sequence):
        inner, path = _inside(args[0])
        return inner, f"[]{path}"
    if origin in (dict, Mapping):
        inner, path = _inside(args[1])
        return inner, f".*{path}"
    if origin in (types.UnionType, typing.Union):
        return next((found for arg in args if (found := _inside(arg))[0]), (None, ""))
    return None, ""


def _name(annotation: Any) -> str:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _name(args[0])
    if origin is Literal:
        return " \\| ".join(f"`{arg}`" for arg in args)
    if origin in (types.UnionType, typing.Union):
        return " \\| ".join(dict.fromkeys(_name(arg) for arg in args))
    if origin in (list, tuple, Sequence):
        return f"list of {_name(args[0])}"
    if origin in (dict, Mapping):
        return f"object of {_name(args[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "object" if annotation is not Recipe else "object: [recipe.md](recipe.md)"
    plain = {str: "text", int: "integer", float: "number", bool: "true or false", type(None): "null", Any: "any"}
    return plain.get(annotation, str(annotation))


if __name__ == "__main__":
    print(markdown(), end="")  # noqa: T201
