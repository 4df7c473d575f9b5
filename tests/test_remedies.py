"""Every advice of an error names what exists, and those that newcomers meet first are followed here: they help."""

import ast
import json
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer.main

from flows.cli.app import app, run
from flows.cli.config import recipe_keys
from infra.errors import BadSetting
from infra.settings import Settings, load_settings, prepare_environment
from tasks.data_check.encoding import tokenizer_of
from tests.flows.test_check_compare import pairs

ROOT = Path(__file__).parents[1]
ROOMS = ("dpo_core", "infra", "tasks", "flows")
NAMES = ("do", "DO", "ADVICE", "REMEDIES", "remedy", "shape")  # variables that hold advice
HINT = re.compile(rf"\bdo=|^ *({'|'.join(NAMES)}) =", re.MULTILINE)  # of a file without it no tree is made
SECTIONS = ("data", "encoding", "validation", "training", "evaluation", "gate")


def advice() -> Iterator[tuple[str, str]]:
    """Where it stands, and the constant parts of its text, joined by `{}`."""
    for file in sorted(file for room in ROOMS for file in (ROOT / room).rglob("*.py")):
        source = file.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)) if HINT.search(source) else ():
            texts = []
            if isinstance(node, ast.Call):
                texts = [word.value for word in node.keywords if word.arg == "do"]
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in NAMES:
                texts = [node.value]
            for text in texts:
                parts = (part.value for part in ast.walk(text) if isinstance(part, ast.Constant))
                yield f"{file.relative_to(ROOT)}:{node.lineno}", "{}".join(str(part) for part in parts)


ALL = [pytest.param(text, id=where) for where, text in advice() if text]
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def options() -> set[str]:
    groups = [
        *COMMANDS.values(),
        *(inner for one in COMMANDS.values() for inner in getattr(one, "commands", {}).values()),
    ]
    return {"--help", "--debug"} | {option for one in groups for parameter in one.params for option in parameter.opts}


def test_the_advice_of_all_rooms_is_found():
    assert len(ALL) > 100


@pytest.mark.parametrize("text", ALL)
def test_an_advice_names_only_commands_options_keys_and_settings_that_there_are(text):
    keys = {key.name for key in recipe_keys()} | {"evaluation.behaviour", "evaluation.retention"}
    keys |= {"training.lora", "training.online"}  # sections
    assert {name for name in re.findall(r"`dpo (\w+)", text) if name not in COMMANDS} == set()
    ours = re.sub(r"`(?!dpo)[^`]*`", "", text)  # another program's command has options of its own
    assert {option for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", ours) if option not in options()} == set()
    named = set(re.findall(rf"(?<![\w./])(?:{'|'.join(SECTIONS)})\.[a-z_]+(?![\w/]*\.)", text))
    assert {key for key in named if key not in keys and not key.endswith((".json", ".jsonl", ".eval."))} == set()
    assert {name for name in re.findall(r"DPO_([A-Z_]+)", text) if name.lower() not in Settings.model_fields} == set()


# Errors that a newcomer meets, each with its advice followed to the letter: then the same command goes through.

Follow = Callable[[Path, str], list[str] | None]  # given the folder and the advice; another command, or None: the same
RECIPE = "name: athene\nmodel: ./model\ndata: {train: pairs.jsonl}\n"


def recipe(text: str) -> Callable[[Path], None]:
    return lambda place: (place / "run.yaml").write_text(text) and None


def writes(text: str) -> Follow:
    def follow(place: Path, do: str) -> None:
        (place / "run.yaml").write_text(text)

    return follow


def init(place: Path, do: str) -> None:
    command = re.search(r"`dpo (init [^`]+)`", do)
    assert command
    flags = [] if "--data" in command[1] else ["--data", "pairs.jsonl"]
    assert run([*command[1].split(), *flags, "--model", "./model", "--name", "athene"]) == 0


def utf16(place: Path) -> None:
    text = (place / "pairs.jsonl").read_text()
    (place / "pairs.jsonl").write_text(text, encoding="utf-16")


def utf8(place: Path, do: str) -> None:
    assert "iconv -f UTF-16 -t UTF-8" in do
    text = (place / "pairs.jsonl").read_text(encoding="utf-16")
    (place / "pairs.jsonl").write_text(text)


def splits(place: Path) -> None:
    (place / "set").mkdir()
    for name in ("train", "test"):
        shutil.copy(place / "pairs.jsonl", place / "set" / f"part-{name}.jsonl")


def one_split(place: Path, do: str) -> list[str]:
    named = re.search(r"such as ([^\s;]+)", do)
    assert named
    return ["check", named[1]]


def renamed(place: Path) -> None:
    (place / "pairs.jsonl").rename(place / "pairs.data")


def suffix(place: Path, do: str) -> list[str]:
    assert ".jsonl" in do
    (place / "pairs.data").rename(place / "pairs.jsonl")
    return ["check", "pairs.jsonl"]


def other_folder(place: Path, do: str) -> list[str]:
    return ["check", "pairs.jsonl", "--report", "report-2", "--compare", "report"]


CONFIG, CHECK = ["config", "run.yaml"], ["check", "pairs.jsonl"]
CASES: dict[str, tuple[Callable[[Path], object], list[str], str, Follow]] = {
    "no recipe": (lambda place: None, CONFIG, "`dpo init run.yaml` writes one", init),
    "pairs for a recipe": (
        lambda place: None,
        ["config", "pairs.jsonl"],
        "`dpo init run.yaml` writes one",
        lambda place, do: init(place, do) or CONFIG,
    ),
    "empty recipe": (
        recipe(""),
        CONFIG,
        "`key: value` lines",
        writes(RECIPE),
    ),
    "misspelt section": (
        recipe(f"{RECIPE}traning: {{}}\n"),
        CONFIG,
        "did you mean 'training'?",
        writes(f"{RECIPE}training: {{}}\n"),
    ),
    "misspelt key": (
        recipe(f"{RECIPE}training: {{betta: 1.0}}\n"),
        CONFIG,
        "did you mean 'beta'?",
        writes(f"{RECIPE}training: {{beta: 1.0}}\n"),
    ),
    "missing key": (recipe(RECIPE.replace("model: ./model\n", "")), CONFIG, "add it", writes(RECIPE)),
    "key twice": (recipe(f"{RECIPE}seed: 1\nseed: 2\n"), CONFIG, "keep one of them", writes(f"{RECIPE}seed: 2\n")),
    "words for a number": (
        recipe(f"{RECIPE}training: {{beta: much}}\n"),
        CONFIG,
        "beta: 0.1",
        writes(f"{RECIPE}training: {{beta: 0.1}}\n"),
    ),
    "word for a list": (
        recipe(f"{RECIPE}validation: {{intended: Athene}}\n"),
        CONFIG,
        "intended: [one, two]",
        writes(f"{RECIPE}validation: {{intended: [one, two]}}\n"),
    ),
    "nothing for a text": (
        recipe(f"{RECIPE}validation: {{intended: [null]}}\n"),
        CONFIG,
        "in quotes",
        writes(f'{RECIPE}validation: {{intended: ["null"]}}\n'),
    ),
    "value for a section": (
        recipe(f"{RECIPE}training: 5\n"),
        CONFIG,
        "training: {name: value}",
        writes(f"{RECIPE}training: {{beta: 0.2}}\n"),
    ),
    "a colon in a text": (
        recipe(RECIPE.replace("pairs.jsonl", "a: b.jsonl")),
        CONFIG,
        "in quotes",
        writes(RECIPE.replace("pairs.jsonl", '"a: b.jsonl"')),
    ),
    "override without a value": (
        recipe(RECIPE),
        [*CONFIG, "--set", "training.beta"],
        "--set training.beta=0.2",
        lambda place, do: [*CONFIG, "--set", "training.beta=0.2"],
    ),
    "a run's key for bare pairs": (
        lambda place: None,
        [*CHECK, "--set", "training.beta=1"],
        "`dpo init --data pairs.jsonl` writes one",
        lambda place, do: init(place, do) or CONFIG,
    ),
    "unknown kind of file": (renamed, ["check", "pairs.data"], "use .jsonl", suffix),
    "pairs in UTF-16": (utf16, CHECK, "iconv", utf8),
    "several splits": (splits, ["check", "set"], "name one", one_split),
    "the report's own folder": (
        lambda place: run([*CHECK, "--report", "report"]),
        [*CHECK, "--report", "report", "--compare", "report"],
        "name another folder",
        other_folder,
    ),
    "no report": (
        lambda place: run([*CHECK, "--report", "report"]),
        [*CHECK, "--compare", "pairs.jsonl"],
        "name a quality.json",
        lambda place, do: [*CHECK, "--compare", "report/quality.json"],
    ),
    "a recipe that another has": (
        recipe(RECIPE),
        ["init", "run.yaml", "--data", "pairs.jsonl", "--model", "./model", "--name", "athene"],
        "name another file",
        lambda place, do: ["init", "two.yaml", "--data", "pairs.jsonl", "--model", "./model", "--name", "athene"],
    ),
    "a recipe that is not called one": (
        lambda place: None,
        ["init", "my run", "--data", "pairs.jsonl", "--model", "./model", "--name", "athene"],
        "name a file that ends in .yaml",
        lambda place, do: [
            *shlex.split(do.partition("dpo ")[2]),
            "--data",
            "pairs.jsonl",
            "--model",
            "m",
            "--name",
            "a",
        ],
    ),
    "a recipe in no folder": (
        lambda place: None,
        ["init", "my runs/run.yaml", "--data", "pairs.jsonl", "--model", "./model", "--name", "athene"],
        "mkdir -p",
        lambda place, do: Path(shlex.split(do)[-1]).mkdir(),
    ),
    "a switch for trust": (
        recipe(f"{RECIPE}trust_remote_code: true\n"),
        CONFIG,
        "`dpo config --schema`",
        lambda place, do: ["config", "--schema"],
    ),
    "yes and no for true and false": (
        recipe(f"{RECIPE}training: {{freeze_embeddings: maybe}}\n"),
        CONFIG,
        "freeze_embeddings: true",
        writes(f"{RECIPE}training: {{freeze_embeddings: true}}\n"),
    ),
    "a part for a whole number": (
        recipe(f"{RECIPE}training: {{train_batch_size: many}}\n"),
        CONFIG,
        "write a whole number: train_batch_size: 10",
        writes(f"{RECIPE}training: {{train_batch_size: 10}}\n"),
    ),
    "a word for a table": (
        recipe(f"{RECIPE}evaluation: {{behaviour: maker.jsonl}}\n"),
        CONFIG,
        "behaviour: {name: value}",
        writes(f"{RECIPE}evaluation: {{behaviour: {{maker: maker.jsonl}}}}\n"),
    ),
    "a tab in YAML": (
        recipe(f"{RECIPE}training:\n\tbeta: 0.1\n"),
        CONFIG,
        "mend the YAML at that place",
        writes(f"{RECIPE}training:\n  beta: 0.1\n"),
    ),
    "a recipe in UTF-16": (
        lambda place: (place / "run.yaml").write_text(RECIPE, encoding="utf-16"),
        CONFIG,
        "save the recipe as UTF-8",
        writes(RECIPE),
    ),
    "an override of a part of a value": (
        recipe(RECIPE),
        [*CONFIG, "--set", "name.first=athene"],
        "override that value itself",
        lambda place, do: [*CONFIG, "--set", "name=athene"],
    ),
    "a recipe's own model": (
        recipe(RECIPE),
        ["check", "run.yaml", "--model", "./other"],
        "--set model=...",
        lambda place, do: [*CONFIG, "--set", "model=./other"],
    ),
    "a misspelt command": (
        lambda place: None,
        ["chekc", "pairs.jsonl"],
        "see dpo --help",
        lambda place, do: ["--help"],
    ),
    "a misspelt option": (
        lambda place: None,
        [*CHECK, "--raport", "r"],
        "see dpo check --help",
        lambda place, do: ["check", "--help"],
    ),
    "init without a model": (
        lambda place: None,
        ["init", "run.yaml", "--data", "pairs.jsonl"],
        "dpo init run.yaml --data",
        lambda place, do: do.partition("dpo ")[2].split(),
    ),
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    pairs(tmp_path / "pairs.jsonl", 0)
    return tmp_path


@pytest.mark.parametrize("case", CASES)
def test_who_follows_an_advice_gets_on(place, capfd, case):
    spoil, command, says, follow = CASES[case]
    spoil(place)
    capfd.readouterr()
    assert run([*command, "--json"]) == 2
    do = json.loads(capfd.readouterr().out)["error"]["do"]
    assert says in do
    assert run(follow(place, do) or command) == 0


def test_a_misspelt_setting_is_named_as_it_is_spelt(place, capfd, monkeypatch):
    (place / "run.yaml").write_text(RECIPE)
    monkeypatch.setenv("DPO_HOMME", "here")
    assert run([*CONFIG, "--json"]) == 2
    named = re.search(r"did you mean (DPO_\w+)\?", json.loads(capfd.readouterr().out)["error"]["do"])
    assert named
    monkeypatch.delenv("DPO_HOMME")
    monkeypatch.setenv(named[1], "here")
    assert run(CONFIG) == 0


SETTINGS = {
    "threads": ({"DPO_NUM_THREADS": "none"}, "unset it for the default", {}),
    "a setting that is none": ({"DPO_COLOUR": "red"}, "unset it; the settings are", {}),
    "a file for the home": ({"DPO_HOME": "pairs.jsonl"}, "set DPO_HOME to a folder of yours", {"DPO_HOME": "here"}),
    "keys in an address": ({"DPO_STORE_URL": "s3://k:s@b/x"}, "correct it", {"DPO_STORE_URL": "s3://b/x"}),
    "no accelerate configuration": ({"DPO_ACCELERATE_CONFIG": "no.yaml"}, "unset it for the default", {}),
    "a SOCKS proxy": ({"ALL_PROXY": "socks5://127.0.0.1:9"}, "or unset ALL_PROXY", {}),
}


@pytest.mark.parametrize(("wrong", "says", "right"), SETTINGS.values(), ids=SETTINGS)
def test_a_setting_put_right_as_advised_is_taken(place, monkeypatch, wrong, says, right):
    shell = {name: value for name, value in os.environ.items() if not name.startswith("DPO_")}
    monkeypatch.setattr(os, "environ", shell | wrong)
    with pytest.raises(BadSetting) as caught:
        prepare_environment(load_settings())
    assert says in caught.value.do
    monkeypatch.setattr(os, "environ", shell | right)
    prepare_environment(load_settings())


@pytest.mark.parametrize(
    "advice",
    [
        ["--set", "validation.on_shortcut=drop"],
        ["--set", "validation.on_shortcut=balance"],
        ["--intended", "certainly", "--set", "validation.length_fail=1", "--set", "validation.length_warn=1"],
    ],
    ids=["drop", "balance", "intended"],
)
def test_each_advice_against_a_shortcut_takes_it_out_of_the_way(place, capfd, advice):
    data = str(pairs(place / "certainly.jsonl", 30, of=100))
    assert run(["check", data, "--json"]) == 3
    says = [finding["says"] for finding in json.loads(capfd.readouterr().out)["findings"]]
    assert any(
        "set validation.on_shortcut to drop or balance, or declare it in validation.intended" in text for text in says
    )
    assert run(["check", data, *advice]) == 0


def test_a_row_that_is_removed_is_no_longer_counted_as_unusable(place, capfd):
    with (place / "pairs.jsonl").open("a") as file:
        file.write("no JSON\n")
    assert run([*CHECK, "--report", "report", "--json"]) == 3
    assert "quarantine.jsonl has every row and why" in capfd.readouterr().out
    row = json.loads((place / "report" / "quarantine.jsonl").read_text())
    lines = (place / "pairs.jsonl").read_text().splitlines(keepends=True)
    (place / "pairs.jsonl").write_text("".join(line for number, line in enumerate(lines, 1) if number != row["line"]))
    assert run(CHECK) == 0


def test_a_model_without_a_chat_template_gets_one_or_plain_pairs(place, tiny_model, capfd):
    folder = shutil.copytree(tiny_model, place / "bare")
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    rows = [json.loads(line) for line in (place / "pairs.jsonl").read_text().splitlines()]
    chat = [
        {"prompt": [{"role": "user", "content": row["prompt"]}]}
        | {side: [{"role": "assistant", "content": row[side]}] for side in ("chosen", "rejected")}
        for row in rows
    ]
    (place / "chat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in chat))
    assert run(["check", "chat.jsonl", "--model", "./bare", "--json"]) == 2
    do = json.loads(capfd.readouterr().out)["error"]["do"]
    assert "add chat_template.jinja to its folder, or give plain-text pairs" in do
    assert run(["check", "pairs.jsonl", "--model", "./bare"]) == 0
    (folder / "chat_template.jinja").write_text(template)
    tokenizer_of.cache_clear()  # a command of its own has a process of its own
    assert run(["check", "chat.jsonl", "--model", "./bare"]) == 0


DECISIONS = re.compile(r"dpo (?:promote|rollback|hold|approve) (?:\{\}|NAME)[^`;:,]*")


def decisions() -> Iterator[tuple[str, str]]:
    """Every sentence of ours that tells how a person decides, with the names in it, and where it stands."""
    for file in sorted(file for room in ROOMS for file in (ROOT / room).rglob("*.py")):
        source = file.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)) if "dpo " in source else ():
            if isinstance(node, ast.JoinedStr):
                text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
                yield from ((f"{file.relative_to(ROOT)}:{node.lineno}", found) for found in DECISIONS.findall(text))


def test_a_decision_is_told_with_the_reason_that_its_command_requires():
    found = list(decisions())
    assert len(found) > 5
    assert [where for where, text in found if "--why" not in text] == []
