"""`dpo judge`, from a source to a page that answers until it is told to end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from socket import socket

from starlette.applications import Starlette

from dpo_core.errors import InputError
from dpo_core.judging.items import JudgingMode
from dpo_core.judging.lots import Lots
from infra.pages.append_only import AppendOnlyFile
from infra.pages.loopback import address, guarded, listening, new_token, serve_app
from tasks.judging.app import routes_of
from tasks.judging.desk import Desk
from tasks.judging.opening import open_source

SUFFIXES: dict[JudgingMode, str] = {"compare": ".judgements.jsonl", "edit": ".edits.jsonl"}


@dataclass(frozen=True)
class JudgingOptions:
    """What is asked of people, and how the page is reached. `port` 0: a free one."""

    mode: JudgingMode = "compare"
    to: Path | None = None
    overlap: float = 0.0
    seed: int = 0
    port: int = 0
    token: bool = True


@dataclass(frozen=True)
class OpenDesk:
    """A desk that can be reached at `url`."""

    desk: Desk
    app: Starlette
    listener: socket
    url: str

    def serve(self) -> None:
        """Answer until Ctrl-C, which raises KeyboardInterrupt."""
        serve_app(self.app, self.listener)


@contextmanager
def open_desk(source: str, options: JudgingOptions, home: Path) -> Iterator[OpenDesk]:
    """Read the source and the judgements that there are, take a port. Raises InputError or InfraError."""
    if options.mode == "edit" and options.overlap:
        says = "--overlap is for comparing: two people who edit an answer make two different ones"
        raise InputError(says, where=f"--overlap {options.overlap:g}", do="leave --overlap out, or leave --edit out")
    opened = open_source(source, options.mode, seed=options.seed, home=home)
    path = options.to or Path(default_name(source, options.mode))
    if path.resolve() in {Path(file).resolve() for file in opened.paths}:
        do = "name another file with --to: judgements are added to the end of it"
        raise InputError("judgements cannot stand in the file that is judged", where=str(path), do=do)
    with AppendOnlyFile(path) as file, listening(options.port) as listener:
        desk = Desk(opened, file, options.mode, Lots(options.seed, options.overlap))
        token = new_token() if options.token else ""
        url = address(listener.getsockname()[1], token)
        yield OpenDesk(desk, guarded(routes_of(desk), token), listener, url)


def default_name(source: str, mode: JudgingMode) -> str:
    """The file of judgements of a source, in the working folder."""
    bare = source.rstrip("/").rpartition("/")[2].removeprefix("dataset:")
    for suffix in (".gz", ".zst", ".jsonl", ".ndjson", ".json", ".parquet", ".arrow"):
        bare = bare.removesuffix(suffix)
    kept = "".join(char if char.isalnum() or char in "._@-" else "_" for char in bare)
    return f"{kept or 'answers'}{SUFFIXES[mode]}"


def judge_until_told(source: str, options: JudgingOptions, home: Path, say: Callable[[Desk, str], None]) -> Desk:
    """Serve the page until Ctrl-C; `say` is told the address first. Returns the desk as people left it."""
    with open_desk(source, options, home) as opened:
        say(opened.desk, opened.url)
        with suppress(KeyboardInterrupt):
            opened.serve()
        return opened.desk
