"""The MLflow run around a flow."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Protocol

from infra.errors import InfraError
from infra.tracking.run import Run
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
    with ended_by_errors(plan.run_id), damage_removed():
        yield
    attach_run(plan.run_id).finish("FINISHED")


@contextmanager
def planning(run: Run) -> Iterator[None]:
    """`ended_by_errors`, where nothing is computed yet: a run that had finished stays so."""
    with nullcontext() if run.was_finished else ended_by_errors(run.id):
        yield


@contextmanager
def ended_by_errors(run_id: str) -> Iterator[None]:
    """The MLflow run is open yet afterwards; what is raised inside ends it."""
    try:
        with attach_run(run_id).at_work():
            yield
    except BaseException as error:
        with suppress(InfraError, OSError):
            attach_run(run_id).finish("FAILED" if isinstance(error, Exception) else "KILLED")
        raise
