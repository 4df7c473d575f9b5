"""The MLflow run around a flow."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from infra.errors import InfraError
from infra.tracking.runs import attach_run
from tasks.runtime.stages import damage_removed


class Tracked(Protocol):
    """A plan whose run is open."""

    @property
    def run_id(self) -> str:
        """Of MLflow."""


@contextmanager
def tracked(plan: Tracked) -> Iterator[None]:
    """The MLflow run ends as the flow does: finished, failed, or killed by Ctrl-C (the same command goes on)."""
    try:
        with damage_removed():
            yield
    except BaseException as error:
        with suppress(InfraError, OSError):
            attach_run(plan.run_id).finish("FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    attach_run(plan.run_id).finish("FINISHED")
