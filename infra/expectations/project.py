"""Great Expectations decides whether data passes; the numbers it judges were computed elsewhere.

Two tables: the pairs, as columns of numbers, and the statistics taken of them, a pair of limits each. No text of a row
comes near it. Nothing passes for want of data: an empty table, a missing column, a null or a NaN fails.
"""

import contextlib
import logging
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from great_expectations.data_context.data_context.abstract_data_context import AbstractDataContext
    from great_expectations.expectations.expectation import Expectation
    from numpy.typing import ArrayLike
    from pandas import DataFrame

log = logging.getLogger("dpo.check")
ExpectationVerdict = Literal["pass", "warn", "fail"]
LimitedMeasure = tuple[str, float, float | None, float | None]  # check, value, warn above, fail above
MOSTLY = 0.99  # a few useless rows among many warn (a measure counts them); more are a broken export
# Column of the pairs -> least value, the share of rows that must reach it, the check it belongs to.
PAIR_COLUMNS = {
    "prompt_characters": (1, MOSTLY, "structure/not_empty"),
    "chosen_characters": (1, MOSTLY, "structure/not_empty"),
    "rejected_characters": (1, MOSTLY, "structure/not_empty"),
    "answers_differ": (1, MOSTLY, "structure/answers_differ"),
}
TOKEN_COLUMNS = {  # judged where the pairs were tokenised
    "chosen_tokens": (1, 1.0, "structure/has_tokens"),
    "rejected_tokens": (1, 1.0, "structure/has_tokens"),
}
ORDER: tuple[ExpectationVerdict, ...] = ("pass", "warn", "fail")


@dataclass(frozen=True)
class Outcome:
    """What Great Expectations found. `document` holds its own results, limits and observed values included, as JSON."""

    verdict: ExpectationVerdict
    by_check: dict[str, ExpectationVerdict]
    document: dict[str, Any]


def validate(
    columns: Mapping[str, "ArrayLike"],
    measures: list[LimitedMeasure],
    *,
    name: str,
    min_rows: int,
    folder: Path | None = None,
    data_docs: bool = False,
) -> Outcome:
    """Judge columns of pairs (PAIR_COLUMNS, TOKEN_COLUMNS; a number a pair) and the measures taken of them.

    A measure above its warn limit warns, above its fail limit fails; check names must differ. With `folder` suites and
    results are kept there, a project that Great Expectations opens; `data_docs` renders its pages too.
    """
    if len({check for check, *_ in measures}) < len(measures):
        raise ValueError("two measures have the same check name")
    with _quiet(), _project(folder) as context:
        import pandas

        statistics = pandas.DataFrame(
            {"check": [m[0] for m in measures], "value": [float(m[1]) for m in measures]}
        ).astype({"check": object, "value": float})
        results = {
            "pairs": _run(
                context, f"{name} pairs", pandas.DataFrame(dict(columns)), list(_pair_rules(columns, min_rows))
            ),
            "measures": _run(context, f"{name} measures", statistics, list(_statistic_rules(measures))),
        }
        if data_docs:
            context.build_data_docs()
    by_check: dict[str, ExpectationVerdict] = {}
    for result in (result for document in results.values() for result in document["results"]):
        check = result["expectation_config"]["meta"]["check"]
        by_check[check] = max(by_check.get(check, "pass"), _verdict(result), key=ORDER.index)
    return Outcome(max(by_check.values(), key=ORDER.index), by_check, results)


def project_folder(home: Path, name: str) -> Path:
    """Where the expectations of the data set `name` are kept: DPO_HOME/expectations/NAME."""
    return home / "expectations" / (re.sub(r"[^\w.-]+", "-", name).strip(".-") or "data")


def _verdict(result: dict[str, Any]) -> ExpectationVerdict:
    """Pass, warn or fail; an expectation that could not be evaluated fails."""
    if result["success"]:
        return "pass"
    return "warn" if result["result"].get("details", {}).get("outcome") == "warn" else "fail"


def _pair_rules(columns: Iterable[str], min_rows: int) -> Iterator["Expectation"]:
    from infra.expectations.rules import ExpectPairColumnAtLeast

    gx = import_module("great_expectations.expectations")
    yield gx.ExpectTableRowCountToBeBetween(min_value=max(min_rows, 1), meta={"check": "structure/min_rows"})
    tokens = {column: rule for column, rule in TOKEN_COLUMNS.items() if set(TOKEN_COLUMNS) & set(columns)}
    for column, (minimum, mostly, check) in {**PAIR_COLUMNS, **tokens}.items():
        yield ExpectPairColumnAtLeast(column=column, minimum=minimum, mostly=mostly, meta={"check": check})


def _statistic_rules(measures: Iterable[LimitedMeasure]) -> Iterator["Expectation"]:
    from infra.expectations.rules import ExpectPairStatisticAtMost

    gx = import_module("great_expectations.expectations")
    yield gx.ExpectTableRowCountToBeBetween(min_value=1, meta={"check": "structure/measured"})
    for check, _, warn_above, fail_above in measures:
        yield ExpectPairStatisticAtMost(
            check=check, warn_above=warn_above, fail_above=fail_above, meta={"check": check}
        )


def _run(
    context: "AbstractDataContext", name: str, table: "DataFrame", expectations: list["Expectation"]
) -> dict[str, Any]:
    """Great Expectations' own results as JSON."""
    import great_expectations as gx

    batch = _batch_definition(context, name)
    suite = _anew(context.suites, gx.ExpectationSuite(name=name, expectations=expectations))
    definition = _anew(context.validation_definitions, gx.ValidationDefinition(name=name, data=batch, suite=suite))
    result = definition.run(
        batch_parameters={"dataframe": table},
        result_format={"result_format": "BASIC", "partial_unexpected_count": 0},
    )
    document: dict[str, Any] = result.to_json_dict()
    if len(document["results"]) != len(expectations):
        raise RuntimeError(f"{len(expectations)} expectations gave {len(document['results'])} results")
    return document


def _batch_definition(context: "AbstractDataContext", name: str) -> Any:
    """Of the table that is handed over at the run; a project keeps it, and its file is written only once."""
    try:
        return context.data_sources.get(name).get_asset(name).get_batch_definition("whole")
    except (KeyError, LookupError):
        source = context.data_sources.add_or_update_pandas(name)
        return source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("whole")


def _anew(kept: Any, item: Any) -> Any:
    """Add to a project, in place of one of the same name: an update compares each expectation with every old one."""
    from great_expectations.exceptions.exceptions import DataContextError

    with contextlib.suppress(DataContextError):  # there is none
        kept.delete(item.name)
    return kept.add(item)


@contextlib.contextmanager
def _project(folder: Path | None) -> Iterator["AbstractDataContext"]:
    """A context in memory, or the project in `folder`, which one process writes at a time."""
    import great_expectations as gx
    from filelock import FileLock
    from great_expectations.data_context.types.base import ProgressBarsConfig

    with contextlib.ExitStack() as held:
        if folder is None:
            context: AbstractDataContext = gx.get_context(mode="ephemeral")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(FileLock(folder / ".lock", timeout=120))
            context = _in_folder(folder)
        quiet = ProgressBarsConfig(globally=False, metric_calculations=False)
        if context.variables.progress_bars != quiet:
            context.variables.progress_bars = quiet
        yield context


def _in_folder(folder: Path) -> "AbstractDataContext":
    """The project in `folder`. One that a killed run has left half made is made anew: every run writes its suites."""
    import great_expectations as gx
    from great_expectations.exceptions.exceptions import GreatExpectationsError
    from ruamel.yaml.error import YAMLError

    try:
        return gx.get_context(mode="file", project_root_dir=folder)
    except (GreatExpectationsError, YAMLError, KeyError, TypeError) as error:
        log.warning("gx_project_damaged folder=%s reason=%s action='made anew'", folder, type(error).__name__)
        shutil.rmtree(folder / "gx")
        return gx.get_context(mode="file", project_root_dir=folder)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No telemetry; its log lines about contexts and metrics are not for our users."""
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
