"""Great Expectations decides whether data passes; the numbers it judges were computed elsewhere.

Two tables: the pairs themselves (row expectations) and one row of measures (a threshold each). Nothing passes for
want of rows: an empty table, a missing column, a null or a NaN fails.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pandas import DataFrame

Verdict = Literal["pass", "warn", "fail"]
LimitedMeasure = tuple[str, float, float | None, float | None]  # check, value, warn above, fail above
TEXTS = ("id", "prompt", "chosen", "rejected")
LENGTHS = ("chosen_tokens", "rejected_tokens")
MOSTLY = 0.99  # a few useless rows among many warn (a measure counts them); more are a broken export
ORDER: tuple[Verdict, ...] = ("pass", "warn", "fail")


@dataclass(frozen=True)
class Outcome:
    """What Great Expectations found. `document` holds its own results, thresholds included, as JSON."""

    verdict: Verdict
    by_check: dict[str, Verdict]
    document: dict[str, Any]


def validate(rows: list[dict[str, object]], measures: list[LimitedMeasure], *, name: str, min_rows: int) -> Outcome:
    """Judge a table of pairs and the measures taken of it.

    `rows`: id, prompt, chosen, rejected (text), chosen_tokens, rejected_tokens (ints), a dict each.
    A measure above its warn limit warns, above its fail limit fails; check names must differ.
    """
    if len({check for check, *_ in measures}) < len(measures):
        raise ValueError("two measures have the same check name")
    with _quiet():
        import pandas

        results = [
            _run(f"{name} pairs", _pairs_table(rows), list(_row_expectations(min_rows))),
            _run(
                f"{name} measures",
                pandas.DataFrame({check: [float(value)] for check, value, *_ in measures}),
                list(_measure_expectations(measures)),
            ),
        ]
    by_check: dict[str, Verdict] = {}
    for result in (result for document in results for result in document["results"]):
        check = result["expectation_config"]["meta"]["check"]
        by_check[check] = max(by_check.get(check, "pass"), _verdict(result), key=ORDER.index)
    verdict = max(by_check.values(), key=ORDER.index)
    return Outcome(verdict, by_check, {"pairs": results[0], "measures": results[1]})


def _verdict(result: dict[str, Any]) -> Verdict:
    if result["success"]:
        return "pass"
    config, raised = result["expectation_config"], result["exception_info"].get("raised_exception", True)
    return "warn" if config["severity"] == "warning" and not raised else "fail"


def _pairs_table(rows: list[dict[str, object]]) -> "DataFrame":
    import pandas

    table = pandas.DataFrame(rows, columns=[*TEXTS, *LENGTHS])
    table["answers_differ"] = table["chosen"] != table["rejected"]
    return table


def _row_expectations(min_rows: int) -> Iterator[Any]:
    gx = _expectations()
    yield gx.ExpectTableRowCountToBeBetween(min_value=max(min_rows, 1), meta={"check": "structure/min_rows"})
    for column in (*TEXTS, *LENGTHS):
        yield gx.ExpectColumnValuesToNotBeNull(column=column, meta={"check": "structure/complete"})
    for column in TEXTS:
        yield gx.ExpectColumnValueLengthsToBeBetween(
            column=column, min_value=1, mostly=MOSTLY, meta={"check": "structure/not_empty"}
        )
    for column in LENGTHS:
        yield gx.ExpectColumnValuesToBeBetween(column=column, min_value=1, meta={"check": "structure/has_tokens"})
    yield gx.ExpectColumnValuesToBeInSet(
        column="answers_differ", value_set=[True], mostly=MOSTLY, meta={"check": "structure/answers_differ"}
    )


def _measure_expectations(measures: Iterable[LimitedMeasure]) -> Iterator[Any]:
    gx = _expectations()
    yield gx.ExpectTableColumnCountToBeBetween(min_value=1, meta={"check": "structure/measured"})
    for check, _, warn_above, fail_above in measures:
        meta = {"check": check}  # NaN counts as null, and a null column would pass the limits
        yield gx.ExpectColumnValuesToNotBeNull(column=check, meta=meta)
        if warn_above is not None:
            yield gx.ExpectColumnValuesToBeBetween(column=check, max_value=warn_above, severity="warning", meta=meta)
        if fail_above is not None:
            yield gx.ExpectColumnValuesToBeBetween(column=check, max_value=fail_above, severity="critical", meta=meta)


def _run(name: str, table: "DataFrame", expectations: list[Any]) -> dict[str, Any]:
    """Great Expectations' own results as JSON; no values of the data in them, only counts."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    source = context.data_sources.add_pandas(name)
    batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("whole")
    suite = context.suites.add(gx.ExpectationSuite(name=name, expectations=expectations))
    definition = gx.ValidationDefinition(name=name, data=batch, suite=suite)
    result = context.validation_definitions.add(definition).run(
        batch_parameters={"dataframe": table},
        result_format={"result_format": "BASIC", "partial_unexpected_count": 0},
    )
    document: dict[str, Any] = result.to_json_dict()  # type: ignore[no-untyped-call]
    if len(document["results"]) != len(expectations):
        raise RuntimeError(f"{len(expectations)} expectations gave {len(document['results'])} results")
    return document


def _expectations() -> Any:
    """Great Expectations' classes; importing them takes seconds."""
    return import_module("great_expectations.expectations")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No telemetry; its log lines about contexts and metrics are not for our users."""
    import logging

    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import_module("great_expectations")  # sets a level of its own on the second logger
    loggers = [logging.getLogger(f"great_expectations{name}") for name in ("", ".data_context.types.base")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
