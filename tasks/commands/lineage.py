"""The proof of what a model version came from: every digest on the way compared."""

import shlex
from collections.abc import Iterator
from hashlib import sha256
from typing import Literal

from pydantic import ValidationError

from dpo_core.data.digests import digest_json
from dpo_core.data.pairs import digest_pairs
from dpo_core.model.identity import digest_of_files
from infra.errors import InfraError, ObjectMissing
from infra.registry import versions
from infra.registry.versions import Version
from infra.registry.weights import removed
from infra.secrets import without_secrets
from infra.store.base import Store
from infra.tracking.client import tracking_uri
from tasks.documents import Lineage, Link, LinkStatus
from tasks.lineage import DIGEST, KEY, LineageRecord
from tasks.runtime.code import RUN
from tasks.runtime.pairs import stored_pairs
from tasks.runtime.stages import code_digest

DO = "run its recipe again: a run that finds the version there writes the record"


def trace(store: Store, name: str, number: int) -> Lineage:
    """Follow a version to everything it came from, parents included, and compare every digest on the way."""
    found = versions.by_number(name, number)
    key = found.tags.get(KEY)
    if key is None:
        raise InfraError(
            "this version has no record of what it came from",
            where=f"models:/{name}/{number}",
            do=DO,
        )
    data = store.get_bytes(key)
    digest = sha256(data).hexdigest()
    links = [_link("record", key, digest, "verified" if digest == found.tags.get(DIGEST) else "damaged")]
    try:
        record = LineageRecord.model_validate_json(data)
    except ValidationError:
        raise InfraError("the record of this version cannot be read", where=f"{store.url}/{key}", do=DO) from None
    gone = removed(found.tags)
    links += [_removed(link, gone) if link.what == "weights" else link for link in _links(store, record, found)]
    links.append(_registered(record, number))
    parent = record.parent
    if parent and (now := versions.by_number(parent.name, parent.version)).weights_sha256 != parent.weights_sha256:
        says = f"models:/{parent.name}/{parent.version} is another model than the one that it started from"
        links.append(_link("parent", says, now.weights_sha256, "damaged"))
    return Lineage(
        name=name,
        version=number,
        mlflow_run_id=record.mlflow_run_id,
        verdict="pass" if all(link.status in ("verified", "recorded") for link in links) else "fail",
        again=_again(record.mlflow_run_id) if gone else "",
        links=links,
        recipe=record.recipe,
        environment=record.environment,
        parent=trace(store, parent.name, parent.version) if parent else None,
    )


def _again(run_id: str) -> str:
    """The command that runs the recipe again as it was resolved: paths, overrides and all."""
    server = shlex.quote(without_secrets(tracking_uri()))  # MLflow's own commands do not look into DPO_HOME
    fetch = f"mlflow artifacts download --run-id {run_id} --artifact-path recipe.json --dst-path ."
    return f"MLFLOW_TRACKING_URI={server} {fetch} && mv recipe.json again.yaml && dpo retrain again.yaml"


def _removed(link: Link, gone: str) -> Link:
    """Weights that were removed on purpose are not missing."""
    return link.model_copy(update={"says": gone, "status": "recorded"}) if gone else link


def _links(store: Store, record: LineageRecord, version: Version) -> Iterator[Link]:
    objects = record.objects
    faults = {key: fault for key, sha in objects.items() if (fault := _fault(store, key, sha))}

    def status(*prefixes: str) -> LinkStatus:
        found = [fault for key, fault in faults.items() if key.startswith(prefixes)]
        return "missing" if "missing" in found else "damaged" if found else "verified"

    prefix = f"models/{record.weights_sha256}/"
    files = {key.removeprefix(prefix): sha for key, sha in objects.items() if key.startswith(prefix)}
    right = digest_of_files({n: s for n, s in files.items() if n.endswith(".safetensors")}) == version.weights_sha256
    yield _link("weights", prefix, version.weights_sha256, status(prefix) if right else "damaged")
    data = record.data
    state = status(data.train, data.eval, f"data/{data.sha256}/")
    if state == "verified":
        train, held_out = (stored_pairs(store, key) for key in (data.train, data.eval))
        state = "verified" if digest_pairs(train, held_out) == data.sha256 else "damaged"
    yield _link("data", f"every column of {', '.join(data.files) or 'the pairs'}", data.sha256, state)
    if data.online:
        says = "pairs of the model's own answers that it was trained on"
        yield _link("online", says, objects.get(data.online, ""), status(data.online))
    shards = tuple(record.reference.shards)
    says = f"{record.reference.rows} answers in {len(shards)} shards" if shards else "none: the loss has no reference"
    yield _link("reference", says, record.base.model_sha256, status(*shards) if shards else "verified")
    yield _link("evaluation", record.evaluation, objects[record.evaluation], status(record.evaluation))
    for key in sorted(key for key in objects if key.startswith("reports/")):
        yield _link("report", key, objects[key], status(key))
    yield _link("base model", record.base.model, record.base.model_sha256, "recorded")
    same = "the code that runs here" if record.code.sha256 == code_digest(RUN) else "other code than runs here"
    yield _link("code", f"dpo-pipeline {record.code.version}, {same}", record.code.sha256, "recorded")


def _registered(record: LineageRecord, number: int) -> Link:
    """Whether configuration, tokenizer and templates in the registry are those of the record.

    The registry's copy of the weights is compared whenever it is fetched.
    """
    prefix = f"models/{record.weights_sha256}/"
    wanted = {key.removeprefix(prefix): sha for key, sha in record.objects.items() if key.startswith(prefix)}
    wanted = {name: sha for name, sha in wanted.items() if not name.endswith(".safetensors")}
    try:
        found = versions.registered_files(record.name, number)
    except ObjectMissing:
        found = {}
    others = sorted({name for name, _ in found.items() ^ wanted.items()})
    says = "configuration and tokenizer of the registered version"
    says += f": {', '.join(others)} not as trained" if others else ""
    status: LinkStatus = "verified" if not others else "damaged" if found else "missing"
    return _link("registered", says, digest_json(found), status)


def _fault(store: Store, key: str, promised: str) -> Literal["", "missing", "damaged"]:
    try:
        return "" if store.digests(key).found == promised else "damaged"
    except ObjectMissing:
        return "missing"


def _link(what: str, says: str, digest: str, status: LinkStatus) -> Link:
    return Link(what=what, says=says, sha256=digest, status=status)
