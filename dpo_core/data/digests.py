"""SHA-256 digests of content: what names a data set, a model or a stage's output."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path


def digest_json(value: object) -> str:
    """SHA-256 (hex) of a JSON value in canonical form: sorted keys, no spaces, UTF-8."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_lines(lines: Iterable[str]) -> str:
    """SHA-256 (hex) over many strings, order kept, each one's length included."""
    total = hashlib.sha256()
    for line in lines:
        data = line.encode("utf-8", "surrogatepass")
        total.update(len(data).to_bytes(8, "big"))
        total.update(data)
    return total.hexdigest()


def digest_rows(train: Iterable[tuple[str, float]], held_out: Iterable[str]) -> str:
    """SHA-256 of a data set from ids and weights of the pairs trained on, and ids of those held out."""
    rows = [name if weight == 1 else f"{name} {float(weight).hex()}" for name, weight in train]
    kept_out = list(held_out)
    return digest_lines([*rows, *(["held out"] if kept_out else []), *kept_out])


def prompt_digest(prompt: Sequence[object]) -> str:
    """SHA-256 (hex) of a prompt's messages, roles included: the cluster of its pairs in every interval."""
    return digest_json(prompt)
