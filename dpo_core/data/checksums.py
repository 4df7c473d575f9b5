"""SHA256SUMS beside data files: what their exporter promised."""

import re
from collections.abc import Sequence
from pathlib import Path

from dpo_core.data.digests import digest_file
from dpo_core.errors import InputError

NAME = "SHA256SUMS"
LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](.+)")  # as `sha256sum` writes it


def require_promised(files: Sequence[Path]) -> None:
    """Compare each file that a SHA256SUMS in its folder lists. Raises InputError for one that is another."""
    promised = {folder: _promises(folder / NAME) for folder in {file.parent for file in files}}
    for file in files:
        wanted = promised[file.parent].get(file.name)
        found = digest_file(file) if wanted else None
        if found != wanted:
            raise InputError(
                f"the file is not the one that {NAME} promises: its SHA-256 is {found:.12}..., not {wanted:.12}...",
                where=str(file),
                do=f"fetch it again; if it was changed on purpose, run `sha256sum {file.name}` and correct {NAME}",
            )


def _promises(path: Path) -> dict[str, str]:
    """File name -> SHA-256 in hexadecimal; empty where there is no such file."""
    if not path.is_file():
        return {}
    promises = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        match = LINE.fullmatch(line)
        if match is None and line.strip():
            do = "write it with `sha256sum FILE... > SHA256SUMS`, or remove it"
            raise InputError("this line is not what sha256sum writes", where=f"{path}:{number}", do=do)
        if match is not None:
            promises[match[2].removeprefix("./")] = match[1].lower()
    return promises
