"""What a model version came from: one record in the store, named in the version's tags, and the proof of it."""

import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any, Literal

from dpo_core.data.pairs import digest_pairs
from dpo_core.model.identity import digest_of_files
from infra.errors import InfraError, ObjectMissing
from infra.registry import versions
from infra.settings import load_settings
from infra.store.base import Store
from tasks.check import Checked
from tasks.evaluate import Evaluated
from tasks.plan import Plan
from tasks.runtime.pairs import stored_pairs
from tasks.runtime.stages import code_digest
from tasks.score import Scored
from tasks.train import Trained

KEY, DIGEST = "dpo.lineage", "dpo.lineage_sha256"  # tags of a version
CODE = ("dpo_core", "tasks")
Status = Literal["verified", "recorded", "damaged", "missing"]


@dataclass(frozen=True)
class Link:
    """One thing that a version came from; `recorded`: its digest is known, and there is nothing here to check it on."""

    what: str
    says: str
    sha256: str
    status: Status


def write_lineage(
    store: Store, plan: Plan, checked: Checked, scored: Scored, trained: Trained, evaluated: Evaluated
) -> dict[str, str]:
    """Store the record of these weights; the tags that lead to it."""
    stages = {stage.name: stage.key for stage in (checked.stage, scored.stage, trained.stage, evaluated.stage)}
    record = {
        "schema": 1,
        "name": plan.recipe.name,
        "weights_sha256": trained.weights_sha256,
        "mlflow_run_id": plan.run_id,
        "data": {
            "sha256": checked.data_sha256,
            "train": checked.train_key,
            "eval": checked.eval_key,
            "files": {Path(name).name: digest for name, digest in plan.files.items()},
        },
        "recipe": json.loads(plan.recipe.model_dump_json()),
        "code": {"sha256": code_digest(CODE), "version": version("dpo-pipeline")},
        "base": {
            "model": plan.recipe.model,
            "model_sha256": plan.model_sha256,
            "own_code_sha256": plan.trusted_code,
            "weights_sha256": plan.weights_sha256,
            "tokenizer_sha256": plan.tokenizer_sha256,
        },
        "parent": _parent(plan),
        "reference": {"path": scored.path, "rows": scored.rows, "shards": scored.shards},
        "evaluation": evaluated.key,
        "stages": stages,
        "environment": _environment(),
        "objects": dict(_objects(store, checked, scored, trained, evaluated)),
    }
    data = json.dumps(record, indent=1, sort_keys=True).encode()
    key = f"lineage/{plan.recipe.name}/{trained.weights_sha256}.json"
    store.put_bytes(key, data)
    return {KEY: key, DIGEST: sha256(data).hexdigest()}


def trace(store: Store, name: str, number: int) -> dict[str, Any]:
    """Follow a version to everything it came from, parents included, and compare every digest on the way."""
    found = versions.by_number(name, number)
    key = found.tags.get(KEY)
    if key is None:
        raise InfraError(
            "this version has no record of what it came from",
            where=f"models:/{name}/{number}",
            do="run its recipe again: a run that finds the version there writes the record",
        )
    data = store.get_bytes(key)
    digest = sha256(data).hexdigest()
    links = [Link("record", key, digest, "verified" if digest == found.tags.get(DIGEST) else "damaged")]
    record = json.loads(data)
    links += _links(store, record, found.weights_sha256)
    parent = record["parent"]
    return {
        "name": name,
        "version": number,
        "mlflow_run_id": record["mlflow_run_id"],
        "verdict": "pass" if all(link.status in ("verified", "recorded") for link in links) else "fail",
        "links": [vars(link) for link in links],
        "recipe": record["recipe"],
        "environment": record["environment"],
        "parent": trace(store, parent["name"], parent["version"]) if parent else None,
    }


def _links(store: Store, record: Mapping[str, Any], weights: str) -> Iterator[Link]:
    objects: dict[str, str] = record["objects"]
    faults = {key: fault for key, sha in objects.items() if (fault := _fault(store, key, sha))}

    def status(*prefixes: str) -> Status:
        found = [fault for key, fault in faults.items() if key.startswith(prefixes)]
        return "missing" if "missing" in found else "damaged" if found else "verified"

    prefix = f"models/{record['weights_sha256']}/"
    files = {key.removeprefix(prefix): sha for key, sha in objects.items() if key.startswith(prefix)}
    right = digest_of_files({n: s for n, s in files.items() if n.endswith(".safetensors")}) == weights
    yield Link("weights", prefix, weights, status(prefix) if right else "damaged")
    data = record["data"]
    state = status(data["train"], data["eval"])
    if state == "verified":
        train, held_out = (stored_pairs(store, data[part]) for part in ("train", "eval"))
        state = "verified" if digest_pairs(train, held_out) == data["sha256"] else "damaged"
    yield Link("data", f"every column of {', '.join(data['files']) or 'the pairs'}", data["sha256"], state)
    shards = tuple(record["reference"]["shards"])
    says = f"{record['reference']['rows']} answers in {len(shards)} shards"
    yield Link("reference", says, record["base"]["model_sha256"], status(*shards) if shards else "verified")
    yield Link("evaluation", record["evaluation"], objects[record["evaluation"]], status(record["evaluation"]))
    for key in sorted(key for key in objects if key.startswith("reports/")):
        yield Link("report", key, objects[key], status(key))
    yield Link("base model", record["base"]["model"], record["base"]["model_sha256"], "recorded")
    same = "the code that runs here" if record["code"]["sha256"] == code_digest(CODE) else "other code than runs here"
    yield Link("code", f"dpo-pipeline {record['code']['version']}, {same}", record["code"]["sha256"], "recorded")


def _fault(store: Store, key: str, promised: str) -> Literal["", "missing", "damaged"]:
    try:
        return "" if store.digests(key).found == promised else "damaged"
    except ObjectMissing:
        return "missing"


def _objects(
    store: Store, checked: Checked, scored: Scored, trained: Trained, evaluated: Evaluated
) -> Iterator[tuple[str, str]]:
    """Key and SHA-256 of every object that the version leads to."""
    report = Path(checked.report).parent.relative_to(load_settings().home).as_posix()
    for key in [checked.train_key, checked.eval_key, evaluated.key, *store.list(f"{report}/")]:
        yield key, store.digests(key).found
    for name, entry in store.manifest(trained.model_key).items():
        yield f"{trained.model_key}/{name}", entry["sha256"]
    for shard in scored.shards:
        yield shard, Path(shard).stem


def _parent(plan: Plan) -> dict[str, Any] | None:
    """The version that the run started from, where it started from a registered model."""
    if not plan.recipe.model.startswith("models:/"):
        return None
    name, _ = versions.parse(plan.recipe.model)
    found = versions.by_weights(name, plan.weights_sha256)
    return {"name": name, "version": found.number, "weights_sha256": plan.weights_sha256} if found else None


def _environment() -> dict[str, Any]:
    packages = {found.metadata["Name"]: found.version for found in distributions() if found.metadata["Name"]}
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": dict(sorted(packages.items())),
    }
