"""Which code a stage's output depends on: its modules, and all of ours that they import, as the imports say.

Followed are dpo_core, tasks and the rules of Great Expectations. The rest of infra (stores, servers, MLflow) moves
bytes and changes no output; nor do records, whose values are part of a stage's inputs, nor what runs any stage. Imports
inside functions count, those for type checkers alone do not.
"""

import ast
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLLOWED = ("dpo_core.", "tasks.", "infra.expectations.")
RECORDS = ("dpo_core.recipe", "dpo_core.report.documents", "tasks.records", "tasks.documents")
APART = "tasks.online."  # answers in training: a run that has none does not depend on it, so who has it names it
CARRIERS = (
    "tasks.runtime.code",
    "tasks.runtime.progress",
    "tasks.runtime.provenance",
    "tasks.runtime.scratch",
    "tasks.runtime.stages",
)
RUN = (  # what computes a run
    "tasks.check",
    "tasks.score",
    "tasks.train",
    "tasks.training.worker",
    "tasks.evaluate",
    "tasks.release",
    "tasks.online.opening",
)
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
BLOCKS = ("body", "orelse", "handlers", "finalbody", "cases")  # fields of the syntax tree that hold statements
TEXT = "templates/*.j2"  # what a module reads that loads templates


def files_of(modules: Sequence[str]) -> list[Path]:
    """The files of these modules, of every one that they import directly or not, and templates beside them; sorted.

    Those of APART count where one of these modules is.
    """
    found: set[Path] = set()
    apart = () if any(f"{module}.".startswith(APART) for module in modules) else APART
    todo = [file for module in modules for file in _files(module)]
    if missing := [module for module in modules if not _files(module)]:
        raise ValueError(f"no module of ours: {', '.join(missing)}")
    while todo:
        file = todo.pop()
        if file not in found:
            found.add(file)
            todo += [
                other for module in _read(file)[0] if not f"{module}.".startswith(apart) for other in _files(module)
            ]
    loading = (file for file in found if "PackageLoader" in meaning(file))
    texts = {text for file in loading for text in file.parent.glob(TEXT)}
    return sorted(found | texts)


@functools.cache
def _files(module: str) -> tuple[Path, ...]:
    """The module's file; of a package its own; nothing for a name that is neither."""
    path = ROOT.joinpath(*module.split("."))
    return tuple(file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file())


@functools.cache
def _read(file: Path) -> tuple[tuple[str, ...], str]:
    """The followed modules that a file imports, names of packages' members included; and its meaning."""
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".py":
        return (), text
    tree = ast.parse(text)
    named = {name for name in _named(tree) if _is_followed(name)}
    _undocument(tree)
    return tuple(sorted(named)), ast.dump(tree)


def _is_followed(name: str) -> bool:
    return f"{name}.".startswith(FOLLOWED) and name not in (*RECORDS, *CARRIERS)


def _named(tree: ast.AST) -> Iterator[str]:
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
        elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        else:
            yield from _named(node)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """What stands directly in a block, and the parts of it that hold further blocks: no expression holds any."""
    for name in BLOCKS:
        yield from getattr(node, name, ())


def meaning(file: Path) -> str:
    """What a file says to the machine: its syntax tree without docstrings, of other files than Python their text."""
    return _read(file)[1]


def _undocument(tree: ast.AST) -> None:
    if isinstance(tree, DOCUMENTED) and ast.get_docstring(tree, clean=False) is not None:
        tree.body = tree.body[1:] or [ast.Pass()]
    for node in _statements(tree):
        _undocument(node)
