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
RECORDS = ("dpo_core.recipe", "tasks.records", "tasks.documents")
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
)
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
TEXT = "templates/*.j2"  # what a module reads that loads templates


def files_of(modules: Sequence[str]) -> list[Path]:
    """The files of these modules, of every one that they import directly or not, and templates beside them; sorted."""
    found: set[Path] = set()
    todo = [file for module in modules for file in _files(module)]
    if missing := [module for module in modules if not _files(module)]:
        raise ValueError(f"no module of ours: {', '.join(missing)}")
    while todo:
        file = todo.pop()
        if file not in found:
            found.add(file)
            todo += [other for module in _imports(file) for other in _files(module)]
    loading = (file for file in found if "PackageLoader" in file.read_text(encoding="utf-8"))
    texts = {text for file in loading for text in file.parent.glob(TEXT)}
    return sorted(found | texts)


def _files(module: str) -> list[Path]:
    """The module's file; of a package its own; nothing for a name that is neither."""
    path = ROOT.joinpath(*module.split("."))
    return [file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()]


@functools.cache
def _imports(file: Path) -> tuple[str, ...]:
    """The followed modules that a file imports, names of packages' members included."""
    return tuple(sorted({name for name in _named(ast.parse(file.read_text(encoding="utf-8"))) if _is_followed(name)}))


def _is_followed(name: str) -> bool:
    return f"{name}.".startswith(FOLLOWED) and name not in (*RECORDS, *CARRIERS)


def _named(tree: ast.AST) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        else:
            yield from _named(node)


@functools.cache
def meaning(file: Path) -> str:
    """What a file says to the machine: its syntax tree without docstrings, of other files than Python their text."""
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".py":
        return text
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)
