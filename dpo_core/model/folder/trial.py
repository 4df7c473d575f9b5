"""The chat templates and the tokenizer of a folder tried once, in a process of its own with limits of time and memory.

A template is a program, and a normaliser may double its text at every step: one that does not end is ended here.
"""

import functools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dpo_core.data.digests import digest_json
from dpo_core.errors import InputError
from dpo_core.model.folder.files import read_json

SECONDS = 20  # of processor time, and three times that by the clock
MEMORY = 4 * 2**30  # bytes of address space
LONGEST = 100_000  # characters or tokens that a few words may become
PROGRAM = Path(__file__).with_name("trial_process.py")


def require_bounded(folder: Path) -> None:
    """Raise InputError where a chat template or the tokenizer does not end, or makes too much of a few words."""
    templates = dict(chat_templates(folder))
    tokenizer = folder / "tokenizer.json"
    facts = tokenizer.stat() if tokenizer.is_file() else None
    stamp = (str(tokenizer.resolve()), facts.st_size, facts.st_mtime_ns, facts.st_ino) if facts else None
    known = {file: text for file, text in templates.items() if text}
    for fault in _faults(digest_json(known), json.dumps(known), stamp):
        file, says = fault
        do = "take the tokenizer files of the published model, or correct the template"
        raise InputError(f"{file} cannot be used: {says}", where=str(folder / file.partition(":")[0]), do=do)


def chat_templates(folder: Path) -> Iterator[tuple[str, str]]:
    """Where it stands, and text, of every chat template of a folder."""
    for file in (folder / "chat_template.jinja", *sorted(folder.glob("additional_chat_templates/*.jinja"))):
        if file.is_file():
            yield file.relative_to(folder).as_posix(), _text(file)
    config = folder / "tokenizer_config.json"
    if config.is_file():
        yield from _inside("tokenizer_config.json", read_json(config).get("chat_template"))
    legacy = folder / "chat_template.json"
    if legacy.is_file():
        yield from _inside("chat_template.json", read_json(legacy).get("chat_template"))


def _inside(file: str, value: object) -> Iterator[tuple[str, str]]:
    for number, entry in enumerate(value if isinstance(value, list) else [value]):
        text = entry.get("template") if isinstance(entry, dict) else entry
        if isinstance(text, str):
            yield f"{file}:{number}", text


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        do = "save it as UTF-8"
        raise InputError(f"{file.name} is no UTF-8 text", where=str(file), do=do) from None


@functools.lru_cache(maxsize=64)
def _faults(name: str, templates: str, stamp: tuple[str, int, int, int] | None) -> list[tuple[str, str]]:
    """(file, what is wrong with it) for each that went beyond a limit."""
    order = {"templates": json.loads(templates), "tokenizer": stamp[0] if stamp else None}
    order |= {"seconds": SECONDS, "memory": MEMORY}
    command = [sys.executable, "-I", str(PROGRAM)]
    told: list[dict[str, Any]] = []
    try:
        done = subprocess.run(
            command, input=json.dumps(order), capture_output=True, text=True, timeout=3 * SECONDS, check=False
        )
        told, code = [json.loads(line) for line in done.stdout.splitlines()], done.returncode
    except subprocess.TimeoutExpired as error:
        out = error.stdout or b""
        lines = (out.decode() if isinstance(out, bytes) else out).splitlines()
        told, code = [json.loads(line) for line in lines], -1
    faults = []
    for result in told:
        if result.get("size", 0) > LONGEST:
            faults.append((result["file"], f"it makes {result['size']:,} characters or tokens of a few words"))
        elif "error" in result:
            faults.append((result["file"], result["error"]))
    if code != 0 and told and "begun" in told[-1]:
        limits = f"{SECONDS} s and {MEMORY >> 30} GiB"
        faults.append((told[-1]["file"], f"it does not end within {limits} on a few words"))
    return faults
