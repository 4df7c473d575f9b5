"""The JSON documents of `dpo store`, `dpo doctor` and `dpo config`: what `--json` prints, as types.

Sizes are bytes, times ISO 8601 in UTC. Importing this module loads pydantic: commands import it when they run.
"""

from typing import Literal

from pydantic import Field

from dpo_core.recipe import Recipe
from dpo_core.records import Document, Record
from tasks.documents import Detectable
from tasks.preflight.records import Preflight


class ListedObject(Record):
    """An object of the store."""

    key: str = Field(description="relative path in the store")
    size: int = Field(description="bytes")
    modified: str = Field(description="last write, ISO 8601")


class StoreListing(Document):
    """`dpo store ls`."""

    store: str = Field(description="folder or s3://bucket/prefix")
    objects: list[ListedObject] = Field(description="sorted by key")


class KindUsage(Record):
    """Objects whose keys begin with the same folder."""

    kind: str = Field(description="first folder of the keys")
    objects: int = Field(description="how many")
    size: int = Field(description="bytes")


class StoreUsage(Document):
    """`dpo store du`: the largest kind first."""

    store: str = Field(description="folder or s3://bucket/prefix")
    size: int = Field(description="bytes of all")
    kinds: list[KindUsage] = Field(description="the largest first")


class DamagedObject(Record):
    """An object whose bytes are not those that were written, or that cannot be read."""

    key: str = Field(description="in the store")
    says: str = Field(description="what is wrong with it")


class StoreVerification(Document):
    """`dpo store verify`: how many objects were read, how many of them carry no digest, and which are damaged."""

    store: str = Field(description="folder or s3://bucket/prefix")
    objects: int = Field(description="read")
    size: int = Field(description="bytes read")
    unknown: int = Field(description="objects that carry no digest: other programs wrote them")
    damaged: list[DamagedObject] = Field(description="exit code 1 where there are some")


class GarbageItem(Record):
    """What nothing leads to: a folder, an object, or (`unfinished ...`) an upload that nobody came back for."""

    size: int = Field(description="bytes")
    modified: str = Field(description="last write, ISO 8601; on this machine: last use")
    name: str = Field(description="folder, object, or unfinished upload")


class GarbageReport(Document):
    """`dpo store gc`: what is garbage, and whether it was `deleted`."""

    store: str = Field(description="folder or s3://bucket/prefix")
    size: int = Field(description="bytes of all")
    garbage: list[GarbageItem] = Field(description="what nothing leads to, in the store")
    on_this_machine: list[GarbageItem] = Field(
        description="below `DPO_HOME`: trainings that nobody came back to, copies of what can be fetched again"
    )
    deleted: bool = Field(description="whether it was removed")
    weights_removed: int = Field(description="models whose weights `registry.keep` removed: no version has them")


class DoctorFinding(Record):
    """One check of this machine; the remedy is empty where none is needed."""

    check: str = Field(description="what was looked at")
    status: Literal["ok", "warn", "fail"] = Field(description="fail: exit code 2")
    says: str = Field(description="what was seen")
    remedy: str = Field(description="empty where none is needed")


class DoctorReport(Document):
    """`dpo doctor`: fails where one finding does."""

    verdict: Literal["pass", "fail"] = Field(description="fail where one finding does")
    findings: list[DoctorFinding] = Field(description="in the order a run would meet them")
    preflight: Preflight | None = Field(None, description="of RUN.yaml, if it is named")


class EffectiveSetting(Record):
    """A setting's value as text, secrets hidden, and where it comes from."""

    value: str = Field(description="as text, secrets hidden")
    origin: Literal["environment", ".env", "default"] = Field(description="where it comes from")


class EffectiveConfig(Document):
    """`dpo config RUN.yaml`: the recipe with all defaults, the origin of each dotted key, the settings by name."""

    recipe: Recipe = Field(description="with all defaults")
    origins: dict[str, str] = Field(description="dotted key: file and line, override or default")
    settings: dict[str, EffectiveSetting] = Field(description="environment variable: its value")
    detectable: list[Detectable] = Field([], description="of each condition of the gate on shares")


class WrittenRecipe(Document):
    """`dpo init`: the recipe that was written, and what to do with it."""

    recipe: str = Field(description="the file")
    next: list[str] = Field(description="commands: look at the pairs, train")


class ImportedLine(Record):
    """What became of one key of somebody else's config."""

    file: str = Field(description="the config; empty: a default of the tool that stands in no file")
    line: int | None = Field(description="of the file, where it is known")
    key: str = Field(description="as the file has it")
    value: str = Field(description="as text, shortened; secrets as stars")
    outcome: Literal["taken", "changed", "left out"] = Field(description="left out: there is no counterpart")
    to: str | None = Field(description="the recipe's key that it set")
    says: str = Field(description="what is done here, or why not; empty: the same")


class ImportedRecipe(Document):
    """`dpo import`: the recipe that was written, what became of each line of the config, and what to do next."""

    recipe: str = Field(description="the file")
    tool: str = Field(description="whose config it was: OpenAI, TRL 1.16, axolotl, LLaMA-Factory")
    lines: list[ImportedLine] = Field(description="of the file in its order, then defaults of the tool")
    next: list[str] = Field(description="commands: mix the pairs where there are several, look at them, train")


class ErrorLines(Record):
    """What went wrong, for a person."""

    says: str = Field(description="what is wrong")
    where: str = Field(description="file, row, field, or address")
    do: str = Field(description="what to do about it")


class ErrorDocument(Document):
    """What every command prints where it cannot go on."""

    error: ErrorLines = Field(description="for a person")
