"""Custom expectations of Great Expectations about preference pairs; importing this module takes seconds.

They judge numbers that were computed elsewhere, in two tables: `ExpectPairStatisticAtMost` one of a table of statistics
(columns check and value, a row a statistic), `ExpectPairColumnAtLeast` a column of a table of pairs. pandas only.
Import this module before a stored suite is opened with Great Expectations: it registers the types.
"""

import math
from typing import Any, ClassVar

from great_expectations.execution_engine.pandas_execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import BatchExpectation
from great_expectations.expectations.metrics.metric_provider import metric_value
from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider
from great_expectations.render.components import LegacyRendererType, RenderedStringTemplateContent
from great_expectations.render.renderer.renderer import renderer


class PairStatistic(TableMetricProvider):
    """Every value that stands in the table for one check: exactly one where all is well."""

    metric_name = "pairs.statistic"
    value_keys = ("check",)

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(
        cls,
        execution_engine: PandasExecutionEngine,
        metric_domain_kwargs: dict[str, object],
        metric_value_kwargs: dict[str, object],
        **_: object,
    ) -> list[float]:
        table, _domain, _accessor = execution_engine.get_compute_domain(metric_domain_kwargs, domain_type="table")
        values: list[float] = table.loc[table["check"] == metric_value_kwargs["check"], "value"].tolist()
        return values


class PairColumn(TableMetricProvider):
    """Rows of a column, and how many of them are at least `minimum`; None where there is no such column."""

    metric_name = "pairs.column_at_least"
    value_keys = ("column", "minimum")

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(
        cls,
        execution_engine: PandasExecutionEngine,
        metric_domain_kwargs: dict[str, object],
        metric_value_kwargs: dict[str, Any],
        **_: object,
    ) -> dict[str, int] | None:
        table, _domain, _accessor = execution_engine.get_compute_domain(metric_domain_kwargs, domain_type="table")
        if metric_value_kwargs["column"] not in table.columns:
            return None
        column = table[metric_value_kwargs["column"]]
        reached = int((column >= metric_value_kwargs["minimum"]).sum())
        return {"rows": len(column), "missing": int(column.isna().sum()), "reached": reached}


class ExpectPairStatisticAtMost(BatchExpectation):
    """One statistic of a data set against two limits, both inclusive (None: no limit).

    Succeeds only where it neither warns nor fails: `details.outcome` is pass, warn or fail, with the limits that
    applied beside it. A value that is missing, doubled or no number fails.
    """

    check: str
    warn_above: float | None = None
    fail_above: float | None = None

    metric_dependencies: ClassVar[tuple[str, ...]] = ("pairs.statistic",)
    success_keys: ClassVar[tuple[str, ...]] = ("check", "warn_above", "fail_above")
    args_keys: ClassVar[tuple[str, ...]] = success_keys

    def _validate(self, metrics: dict[str, Any], *_: object, **__: object) -> dict[str, object]:
        values = metrics["pairs.statistic"]
        value = values[0] if len(values) == 1 and math.isfinite(values[0]) else None
        details = {"outcome": self._outcome(value), "warn_above": self.warn_above, "fail_above": self.fail_above}
        return {"success": details["outcome"] == "pass", "result": {"observed_value": value, "details": details}}

    def _outcome(self, value: float | None) -> str:
        if value is None or (self.fail_above is not None and value > self.fail_above):
            return "fail"
        return "warn" if self.warn_above is not None and value > self.warn_above else "pass"

    @classmethod
    @renderer(renderer_type=LegacyRendererType.PRESCRIPTIVE)
    def _prescriptive_renderer(
        cls, configuration: Any = None, result: object = None, runtime_configuration: object = None
    ) -> list[RenderedStringTemplateContent]:
        limits = [
            f"{word} above ${key}"
            for word, key in (("warns", "warn_above"), ("fails", "fail_above"))
            if configuration.kwargs.get(key) is not None
        ]
        return [_sentence(f"$check: {', '.join(limits) or 'no limit, but it must be a number'}", configuration)]


class ExpectPairColumnAtLeast(BatchExpectation):
    """Nearly all values (`mostly`) of a column of the pairs are at least `minimum`, and none is missing.

    No rows, no such column, or a missing value fails, whatever `mostly` is.
    """

    column: str
    minimum: float
    mostly: float = 1.0

    metric_dependencies: ClassVar[tuple[str, ...]] = ("pairs.column_at_least",)
    success_keys: ClassVar[tuple[str, ...]] = ("column", "minimum", "mostly")
    args_keys: ClassVar[tuple[str, ...]] = success_keys

    def _validate(self, metrics: dict[str, Any], *_: object, **__: object) -> dict[str, object]:
        counts = metrics["pairs.column_at_least"] or {"rows": 0, "missing": 0, "reached": 0}
        share = counts["reached"] / counts["rows"] if counts["rows"] else None
        success = share is not None and share >= self.mostly and not counts["missing"]
        details = {
            "outcome": "pass" if success else "fail",
            "minimum": self.minimum,
            "mostly": self.mostly,
            "missing": counts["missing"],
        }
        return {"success": success, "result": {"observed_value": share, "details": details}}

    @classmethod
    @renderer(renderer_type=LegacyRendererType.PRESCRIPTIVE)
    def _prescriptive_renderer(
        cls, configuration: Any = None, result: object = None, runtime_configuration: object = None
    ) -> list[RenderedStringTemplateContent]:
        return [_sentence("$column is at least $minimum in a share of $mostly of the pairs or more", configuration)]


def _sentence(template: str, configuration: Any) -> RenderedStringTemplateContent:
    """One line of data docs."""
    params = {"mostly": 1.0, **configuration.kwargs}
    return RenderedStringTemplateContent(
        content_block_type="string_template",
        string_template={"template": template, "params": params, "styling": {"default": {"classes": ["badge"]}}},
    )
