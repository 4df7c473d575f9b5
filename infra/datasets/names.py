"""How a data set of the store is named: `dataset:NAME`, `dataset:NAME@latest` (the same) or `dataset:NAME@3`."""

import re
from typing import NamedTuple

from infra.errors import BadSetting

PREFIX = "dataset:"
LATEST = "latest"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
DO = "write dataset:NAME, dataset:NAME@latest or dataset:NAME@3; a name is letters, digits, `.`, `_` and `-`"


class DatasetRef(NamedTuple):
    """A name, and one version of it; None: the latest."""

    name: str
    number: int | None

    def __str__(self) -> str:
        return f"{PREFIX}{self.name}@{LATEST if self.number is None else self.number}"


def parse(text: str) -> DatasetRef:
    """What `text` names, with or without `dataset:` before it. Raises BadSetting."""
    name, at, which = text.removeprefix(PREFIX).partition("@")
    right = which == LATEST or (which.isascii() and which.isdigit() and len(which) < 10 and int(which) > 0)
    if NAME.fullmatch(name) is None or (at and not right):
        raise BadSetting("this names no data set", where=text[:200], do=DO)
    return DatasetRef(name, int(which) if at and which != LATEST else None)


def require_name(name: str) -> str:
    """The name alone, fit for a data set. Raises BadSetting."""
    bare = name.removeprefix(PREFIX)
    if NAME.fullmatch(bare) is None:
        do = "write the name alone, of letters, digits, `.`, `_` and `-`: its versions are numbered by themselves"
        raise BadSetting("this is no name of a data set", where=name[:200], do=do)
    return bare
