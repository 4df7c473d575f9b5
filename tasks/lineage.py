"""What a model version came from: one record in the store, named in the version's tags."""

import functools
import json
import platform
from collections.abc import Iterator
from email.parser import HeaderParser
from hashlib import sha256
from importlib.metadata import Distribution, distributions, version
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, ValidationError

from dpo_core.model.remote_code import digest_code, trusted_code
from dpo_core.records import Record
from infra.errors import InfraError
from infra.models import fetch_model
from infra.registry import versions
from infra.settings import load_settings
from infra.store import open_store
from infra.store.base import Store
from tasks.records import Checked, Environment, Evaluated, Plan, Scored, Trained
from tasks.runtime.code import RUN
from tasks.runtime.models import local_model
from tasks.runtime.stages import code_digest

KEY, DIGEST, REPORT = "dpo.lineage", "dpo.lineage_sha256", "dpo.report"  # tags of a version


class Recorded(Record):
    """A part of the record. Keys of later versions are kept."""

    model_config = ConfigDict(extra="allow")


class LineageData(Recorded):
    """The rows: their digest, keys in the store, and the SHA-256 of each file that the recipe named."""

    sha256: str
    train: str
    eval: str
    files: dict[str, str]
    train_sha256: str = Field("", description="what `data.train` named: the file's SHA-256, a source's version")
    online: str = Field("", description="pairs of the model's own answers that it was trained on")

    @property
    def trained_on(self) -> list[str]:
        """Keys of all rows that it was trained on."""
        return [key for key in (self.train, self.online) if key]


class LineageCode(Recorded):
    """The code that made it."""

    sha256: str
    version: str


class LineageBase(Recorded):
    """The model that the run started from, which is its reference."""

    model: str
    model_sha256: str
    own_code_sha256: str | None = None
    weights_sha256: str
    tokenizer_sha256: str


class LineageParent(Recorded):
    """The registered version that the run started from."""

    name: str
    version: int
    weights_sha256: str


class LineageReference(Recorded):
    """The reference log-probs: their numeric path, and the shards that hold them."""

    path: dict[str, str | int]
    rows: int
    shards: list[str]


class LineageRecord(Recorded):
    """Everything that one version came from."""

    schema_version: int = Field(1, alias="schema")
    name: str
    weights_sha256: str
    mlflow_run_id: str
    data: LineageData
    recipe: dict[str, Any]
    code: LineageCode
    base: LineageBase
    parent: LineageParent | None
    reference: LineageReference
    evaluation: str
    stages: dict[str, str]
    environment: Environment
    objects: dict[str, str] = Field(description="key in the store: SHA-256, of all that the version leads to")


def trusted_model(model: str, pin: str | None = None) -> tuple[Path, str | None]:
    """A model's folder on this machine, and the digest of its own code that may run. Raises InputError or InfraError.

    That is what `pin` names, or what a registered version's run trusted: its record is read for nothing else, and a
    version without code of its own needs no store.
    """
    home = load_settings().home
    if model.startswith("models:/"):
        folder = fetch_model(model, home)
        own = digest_code(folder)
        if own != pin:
            pin = _trusted_by_its_run(model) if own else None
        model = str(folder)
    folder = local_model(model, home, pin=pin)
    return folder, trusted_code(pin, folder)


def _trusted_by_its_run(model: str) -> str | None:
    key, store = versions.resolve(model).tags.get(KEY), open_store(load_settings())
    if key is None:
        return None
    try:
        return LineageRecord.model_validate_json(store.get_bytes(key)).base.own_code_sha256
    except (InfraError, ValidationError) as error:
        kind, why = (type(error), error.says) if isinstance(error, InfraError) else (InfraError, "it is no such record")
        says = f"{model} has code of its own, and the record of what its run trusted cannot be read: {why}"
        do = (
            "set DPO_STORE_URL to the store of its run; where the record is gone, run its recipe again, which writes it"
        )
        raise kind(says, where=f"{store.url}/{key}", do=do) from None


def write_lineage(
    store: Store, plan: Plan, checked: Checked, scored: Scored, trained: Trained, evaluated: Evaluated
) -> dict[str, str]:
    """Store the record of these weights; the tags that lead to it."""
    record = LineageRecord(
        name=plan.recipe.name,
        weights_sha256=trained.weights_sha256,
        mlflow_run_id=plan.run_id,
        data=LineageData(
            sha256=checked.data_sha256,
            train=checked.train_key,
            eval=checked.eval_key,
            files={Path(name).name: digest for name, digest in plan.files.items()},
            train_sha256=plan.files.get(plan.recipe.data.train, ""),
            online=trained.online.rows if trained.online else "",
        ),
        recipe=json.loads(plan.recipe.model_dump_json()),
        code=LineageCode(sha256=code_digest(RUN), version=version("dpo-pipeline")),
        base=LineageBase(
            model=plan.start_model,
            model_sha256=plan.model_sha256,
            own_code_sha256=plan.trusted_code,
            weights_sha256=plan.weights_sha256,
            tokenizer_sha256=plan.tokenizer_sha256,
        ),
        parent=_parent(plan),
        reference=LineageReference(path=scored.path, rows=scored.rows, shards=_shards(scored, trained)),
        evaluation=evaluated.key,
        stages={
            stage.name: stage.key
            for stage in (checked.stage, scored.stage, trained.stage, evaluated.stage)
            if stage.key
        },
        environment=_environment(),
        objects=dict(_objects(store, checked, scored, trained, evaluated)),
    )
    data = json.dumps(record.model_dump(mode="json", by_alias=True), indent=1, sort_keys=True).encode()
    key = f"lineage/{plan.recipe.name}/{trained.weights_sha256}.json"
    store.put_bytes(key, data)
    return {KEY: key, DIGEST: sha256(data).hexdigest()}


def report_key(name: str, weights_sha256: str) -> str:
    """Where the page of a run that made these weights is stored, and lies in the home."""
    return f"reports/{name}-{weights_sha256[:12]}/retrain.html"


def _objects(
    store: Store, checked: Checked, scored: Scored, trained: Trained, evaluated: Evaluated
) -> Iterator[tuple[str, str]]:
    """Key and SHA-256 of every object that the version leads to."""
    report = Path(checked.report).parent.relative_to(load_settings().home).as_posix()
    rows = (checked.train_key, checked.eval_key, checked.train_ids_key, checked.eval_ids_key)
    for key in [*rows, evaluated.key, *store.list(f"{report}/")]:
        yield key, store.digests(key).found
    for name, entry in store.manifest(trained.model_key).items():
        yield f"{trained.model_key}/{name}", entry["sha256"]
    if trained.online is not None:
        yield trained.online.rows, store.digests(trained.online.rows).found
    for shard in _shards(scored, trained):
        yield shard, Path(shard).stem


def _shards(scored: Scored, trained: Trained) -> list[str]:
    return sorted({*scored.shards, *(trained.online.shards if trained.online else ())})


def _parent(plan: Plan) -> LineageParent | None:
    """The version that the run started from, where it started from a registered model."""
    if not plan.start_model.startswith("models:/"):
        return None
    name, _ = versions.parse(plan.start_model)
    found = versions.by_weights(name, plan.weights_sha256)
    return LineageParent(name=name, version=found.number, weights_sha256=plan.weights_sha256) if found else None


def _environment() -> Environment:
    return Environment(
        python=platform.python_version(), platform=platform.platform(), packages=dict(sorted(packages().items()))
    )


@functools.cache
def packages() -> dict[str, str]:
    """What is installed, by name: its version."""
    heads = [HeaderParser().parsestr(_head(found)) for found in distributions()]
    return {head["Name"]: head["Version"] for head in heads if head["Name"]}


def _head(found: Distribution) -> str:
    """What a package says of itself, without the page of description behind it: that takes a second to parse of all."""
    return (found.read_text("METADATA") or found.read_text("PKG-INFO") or "").partition("\n\n")[0]
