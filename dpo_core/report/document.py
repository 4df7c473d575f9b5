"""The data quality report as one JSON document: written beside the page, read back to compare."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from dpo_core.errors import InputError
from dpo_core.report.documents import QualityDocument
from dpo_core.report.results import Measure

SCHEMA = 1  # later versions add keys and change none
NAME = "quality.json"


def quality_document(
    name: str,
    counts: Mapping[str, object],
    measures: Sequence[Measure],
    by_check: Mapping[str, str],
    facts: Mapping[str, object],
) -> QualityDocument:
    """Everything that the page says except the rows that show it. `counts` has verdict, rows and findings.

    Strict JSON: what is no finite number is null.
    """
    judged = [
        {
            "check": m.check,
            "value": m.value,
            "warn_above": m.warn_above,
            "fail_above": m.fail_above,
            "outcome": by_check.get(m.check, "pass"),
            "says": m.says,
        }
        for m in measures
    ]
    document = {"schema": SCHEMA, "name": name, **counts, "measures": judged, "facts": dict(facts)}
    return QualityDocument.model_validate(_finite(document))


def report_file(path: Path) -> Path:
    """The document of the report that `path` names: itself, its folder, or the page beside it."""
    return path / NAME if path.is_dir() else path.with_name(NAME) if path.suffix == ".html" else path


def read_report(path: Path) -> QualityDocument:
    """A report written before: its quality.json, the folder of that, or the page beside it.

    Raises InputError for a file that is missing, no report, or written by a later version.
    """
    file = report_file(path)
    do = f"name a {NAME} that `dpo check` wrote, its folder, or the page beside it"
    try:
        document = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise InputError("there is no report to compare with", where=str(file), do=do) from None
    except (OSError, ValueError):
        raise InputError("this is no data quality report", where=str(file), do=do) from None
    needed = {"schema", "verdict", "findings", "rows_in"}
    if not isinstance(document, dict) or not needed <= set(document) or not isinstance(document["schema"], int):
        raise InputError("this is no data quality report", where=str(file), do=do)
    if document["schema"] > SCHEMA:
        raise InputError(
            f"this report has schema {document['schema']}; this version of dpo reads up to {SCHEMA}",
            where=str(file),
            do="update dpo-pipeline, or check the old data again with this version",
        )
    try:
        return QualityDocument.model_validate(document)
    except ValidationError:
        raise InputError("this is no data quality report", where=str(file), do=do) from None


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value
