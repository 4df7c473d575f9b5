"""The house stays in order: few modules a room, one noun a module, one name for one class, no circle of imports."""

import ast
import functools
from collections import Counter, defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("flows", "tasks", "dpo_core", "infra")
FILES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
LONGEST_MODULE, LONGEST_FUNCTION = 300, 60  # lines
ROOMIEST, ROOMIEST_OF_QUALITY = 20, 15  # modules


@functools.cache
def trees() -> dict[Path, ast.Module]:
    return {file: ast.parse(file.read_text(encoding="utf-8")) for file in FILES}


@functools.cache
def nodes(file: Path) -> list[ast.stmt]:
    """The statements of a file, at any depth: expressions, which are most of a tree, hold none."""
    found: list[ast.stmt] = []
    waiting: list[ast.AST] = [trees()[file]]
    while waiting:
        inside = [child for child in ast.iter_child_nodes(waiting.pop()) if not isinstance(child, ast.expr)]
        found += [child for child in inside if isinstance(child, ast.stmt)]
        waiting += inside
    return found


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def test_no_room_has_more_modules_than_a_reader_takes_in_at_a_glance():
    rooms = Counter(file.parent for file in FILES if file.name != "__init__.py")
    limits = {room: ROOMIEST_OF_QUALITY if "dpo_core/quality" in name_of(room) else ROOMIEST for room in rooms}
    assert {name_of(room): count for room, count in rooms.items() if count > limits[room]} == {}


def test_no_module_is_longer_than_its_one_noun_may_be():
    lengths = {name_of(file): len(file.read_text(encoding="utf-8").splitlines()) for file in FILES}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_MODULE} == {}


def test_no_function_has_more_than_sixty_lines():
    functions = (
        (f"{name_of(file)}:{node.name}", node.end_lineno - node.lineno + 1)
        for file in FILES
        for node in nodes(file)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    assert {name: lines for name, lines in functions if lines > LONGEST_FUNCTION} == {}


def test_no_two_public_classes_have_one_name():
    places = defaultdict(list)
    for file, tree in trees().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(name_of(file))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


@functools.cache
def modules() -> dict[str, Path]:
    names = {file: name_of(file).removesuffix(".py").removesuffix("/__init__") for file in FILES}
    return {name.replace("/", "."): file for file, name in names.items()}


def imports_of(file: Path) -> set[Path]:
    """Our files that a file imports, those inside functions and for type checkers alone included."""
    names = set()
    for node in nodes(file):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            inside = members & modules().keys()
            names |= inside if inside == members else {node.module, *inside}
    return {modules()[name] for name in names & modules().keys()} - {file}


def test_no_modules_import_each_other_in_a_circle():
    graph = {file: imports_of(file) for file in FILES}
    while leaves := [file for file, others in graph.items() if not others & graph.keys()]:
        for leaf in leaves:
            del graph[leaf]
    circles = {file: sorted(map(name_of, others & graph.keys())) for file, others in graph.items()}
    assert {name_of(file): others for file, others in circles.items()} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_says_what_is_in_it(package):
    for folder in {file.parent for file in FILES if name_of(file).startswith(package)}:
        assert ast.get_docstring(trees()[folder / "__init__.py"])
