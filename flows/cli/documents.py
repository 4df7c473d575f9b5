"""The JSON documents of `dpo store`, `dpo doctor` and `dpo config`: what `--json` prints, as types.

Sizes are bytes, times ISO 8601 in UTC. Importing this module loads pydantic: commands import it when they run.
"""

from typing import Literal

from dpo_core.recipe import Recipe
from dpo_core.records import Document, Record


class ListedObject(Record):
    """An object of the store."""

    key: str
    size: int
    modified: str


class StoreListing(Document):
    """`dpo store ls`."""

    store: str
    objects: list[ListedObject]


class KindUsage(Record):
    """Objects whose keys begin with the same folder."""

    kind: str
    objects: int
    size: int


class StoreUsage(Document):
    """`dpo store du`: the largest kind first."""

    store: str
    size: int
    kinds: list[KindUsage]


class DamagedObject(Record):
    """An object whose bytes are not those that were written, or that cannot be read."""

    key: str
    says: str


class StoreVerification(Document):
    """`dpo store verify`: how many objects were read, how many of them carry no digest, and which are damaged."""

    store: str
    objects: int
    size: int
    unknown: int
    damaged: list[DamagedObject]


class GarbageItem(Record):
    """What nothing leads to: a folder, an object, or (`unfinished ...`) an upload that nobody came back for."""

    size: int
    modified: str
    name: str


class GarbageReport(Document):
    """`dpo store gc`: what is garbage, and whether it was `deleted`."""

    store: str
    size: int
    garbage: list[GarbageItem]
    deleted: bool


class DoctorFinding(Record):
    """One check of this machine; the remedy is empty where none is needed."""

    check: str
    status: Literal["ok", "warn", "fail"]
    says: str
    remedy: str


class DoctorReport(Document):
    """`dpo doctor`: fails where one finding does."""

    verdict: Literal["pass", "fail"]
    findings: list[DoctorFinding]


class EffectiveSetting(Record):
    """A setting's value as text, secrets hidden, and where it comes from."""

    value: str
    origin: Literal["environment", ".env", "default"]


class EffectiveConfig(Document):
    """`dpo config RUN.yaml`: the recipe with all defaults, the origin of each dotted key, the settings by name."""

    recipe: Recipe
    origins: dict[str, str]
    settings: dict[str, EffectiveSetting]
