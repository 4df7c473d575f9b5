"""What every command needs: a CommandResult becomes output and exit code, and the environment is made ready."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from flows.cli.console import CommandResult, serve
from flows.cli.logs import tame_libraries

AsJson = Annotated[bool, typer.Option("--json", help="one JSON document on stdout; all else goes to stderr")]


def prints_result(command: Callable[..., CommandResult | None]) -> Callable[..., None]:
    """A command that returns a CommandResult becomes one that prints it and exits with its code."""

    @wraps(command)
    def exits(**options: Any) -> None:
        debug = logging.getLogger("dpo").isEnabledFor(logging.DEBUG)
        raise typer.Exit(serve(lambda: command(**options), as_json=options.get("as_json", False), debug=debug))

    exits.__annotations__["return"] = None
    return exits


def get_ready(*, to_run_a_flow: bool = False) -> None:
    """Settings checked, environment set: to be called before Prefect or MLflow is imported."""
    from infra.settings import load_settings, prepare_environment

    settings = load_settings()
    tame_libraries(debug=logging.getLogger("dpo").isEnabledFor(logging.DEBUG))
    prepare_environment(settings)
    if to_run_a_flow:
        from infra.prefect_server import start_ephemeral_server

        start_ephemeral_server()
