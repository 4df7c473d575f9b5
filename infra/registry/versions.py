"""The MLflow model registry: versions named by their weights, aliases that are read back.

A version holds a plain `save_pretrained` folder (transformers and vLLM load it) inside an MLflow model whose code is
`infra/registry/served_model.py` (`mlflow models serve` runs it).
"""

import hashlib
import json
import re
import shutil
import tempfile
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from infra.errors import BadSetting, Damaged, InfraError, ObjectMissing
from infra.registry.aliases import move_alias
from infra.registry.logged_model import WEIGHTS, log_model
from infra.registry.weights import require_weights, restore_weights
from infra.secrets import without_secrets
from infra.store.base import digest
from infra.tracking.client import mlflow_errors, set_past_others, tracking_uri
from infra.tracking.runs import connect

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

DUPLICATE = "duplicate_of"
FILES = "files_sha256"  # tag of a version: name -> SHA-256 of what lies beside its weights
PAGE = 1000  # versions a request


@dataclass(frozen=True)
class Version:
    """One version of a registered model."""

    number: int
    run_id: str
    weights_sha256: str
    tags: Mapping[str, str]
    name: str = ""  # of the registered model


def register(
    name: str,
    *,
    run_id: str,
    weights_sha256: str,
    model_folder: Path,
    tags: Mapping[str, object],
    trusted_code: str | None = None,
    dtype: str = "float32",
) -> Version:
    """The version that holds these weights, made or made whole if need be; `tags` are set on it in any case.

    Where it is served, it computes in `dtype`, and code of the model's own runs only if `trusted_code` is its digest.
    """
    client = connect()
    with mlflow_errors(f"register {name}"):
        _make_registered_model(client, name)
        if not _versions(client, name, weights_sha256):
            model_id = log_model(client, run_id, weights_sha256, model_folder, trusted_code, dtype, name)
            beside = json.dumps(_beside(file_digests(model_folder)), sort_keys=True)
            all_tags = {WEIGHTS: weights_sha256, FILES: beside, **{key: str(value) for key, value in tags.items()}}
            client.create_model_version(name, f"models:/{model_id}", run_id, tags=all_tags, model_id=model_id)
        first, *others = _versions(client, name, weights_sha256)  # a lost answer can leave two: the lowest is it
        for other in others:
            set_past_others(client.set_model_version_tag, name, str(other.number), DUPLICATE, str(first.number))
    restore_weights(name, first.number, first.tags, model_folder)
    set_tags(name, first.number, {key: value for key, value in tags.items() if first.tags.get(key) != str(value)})
    return by_number(name, first.number)


def by_weights(name: str, weights_sha256: str) -> Version | None:
    """The version that holds these weights, if there is one."""
    with mlflow_errors(f"look up {name}"):
        return next(iter(_versions(connect(), name, weights_sha256)), None)


def by_alias(name: str, alias: str) -> Version | None:
    """The version that carries the alias; None if none does, or no such model is registered."""
    from mlflow.exceptions import MlflowException

    client = connect()
    with mlflow_errors(f"look up {name}@{alias}"):
        try:
            return _version(client.get_model_version_by_alias(name, alias))
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise


def by_number(name: str, number: int) -> Version:
    """That version of the model. Raises ObjectMissing."""
    from mlflow.exceptions import MlflowException

    client = connect()
    with mlflow_errors(f"look up version {number} of {name}"):
        try:
            return _version(client.get_model_version(name, str(number)))
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                raise _no_version(name, str(number)) from None
            raise


def all_versions() -> list[Version]:
    """Every version of every registered model."""
    client, found, token = connect(), [], ""
    with mlflow_errors("list the model versions"):
        while True:
            page = client.search_model_versions(max_results=PAGE, page_token=token or None)
            found += [_version(item) for item in page]
            if not (token := page.token):
                return found


def address() -> str:
    """Where the registry is, fit for a message."""
    from mlflow import get_registry_uri

    return without_secrets(get_registry_uri())


def parse(uri: str) -> tuple[str, int | str]:
    """Name and version number or alias of `models:/NAME/VERSION` or `models:/NAME@ALIAS`. Raises BadSetting."""
    match = re.fullmatch(r"models:/(?P<name>[^/@]+)(@(?P<alias>[\w-]+)|/(?P<number>\d+))", uri)
    if match is None:
        do = "write models:/NAME@ALIAS or models:/NAME/VERSION"
        raise BadSetting("this names no registered model", where=uri, do=do)
    return match["name"], int(match["number"]) if match["number"] else match["alias"]


def resolve(uri: str) -> Version:
    """The version that a `models:/` URI names now. Raises ObjectMissing."""
    name, which = parse(uri)
    version = by_number(name, which) if isinstance(which, int) else by_alias(name, which)
    if version is None:
        raise _no_version(name, str(which))
    return version


def set_alias(name: str, alias: str, number: int) -> None:
    """Point the alias at a version, and read it back: the last of several writers wins in MLflow, silently."""
    move_alias(name, alias, number)
    seen = by_alias(name, alias)
    if seen is None or seen.number != number:
        says = f"{name}@{alias} was set to version {number} and reads back as {seen and seen.number}"
        do = "another process sets it too: wait for it, then run again"
        raise InfraError(says, where=f"registered model {name}", do=do)


def set_tags(name: str, number: int, tags: Mapping[str, object]) -> None:
    """Set tags of a version, replacing older values."""
    client = connect()
    with mlflow_errors(f"tag version {number} of {name}"):
        for key, value in tags.items():
            set_past_others(client.set_model_version_tag, name, str(number), key, str(value))


def download(name: str, which: int | str, folder: Path) -> Path:
    """The checkpoint folder of a version (number or alias), brought below `folder`; there already: a look-up.

    Every file of it is what was registered. Raises Damaged where one is not.
    """
    version = resolve(f"models:/{name}/{which}" if isinstance(which, int) else f"models:/{name}@{which}")
    return _download(name, version, folder)


def download_weights(name: str, weights_sha256: str, folder: Path) -> Path:
    """The checkpoint folder with exactly these weights, of whichever version holds them, as `download` brings it.

    Raises ObjectMissing where no version of the model holds them, Damaged where the version's bytes are others.
    """
    version = by_weights(name, weights_sha256)
    if version is None:
        raise _no_version(name, f"with the weights {weights_sha256[:12]}")
    return _download(name, version, folder)


def file_digests(folder: Path, pattern: str = "*") -> dict[str, str]:
    """Name -> SHA-256 of every file below a folder."""
    return {file.relative_to(folder).as_posix(): digest(file) for file in folder.rglob(pattern) if file.is_file()}


def registered_files(name: str, number: int) -> dict[str, str]:
    """Name -> SHA-256 of every file of a version but its weights, as the registry has it now: they are fetched."""
    import mlflow

    with tempfile.TemporaryDirectory(prefix="dpo-") as scratch, mlflow_errors(f"look at version {number} of {name}"):
        waiting, found = [_checkpoint(name, number)], {}
        inside = waiting[0].removeprefix(root := f"models:/{name}/{number}/") + "/"
        while waiting:
            for entry in mlflow.artifacts.list_artifacts(artifact_uri=waiting.pop()):
                uri = f"{root}{entry.path}"
                if entry.is_dir:
                    waiting.append(uri)
                elif not uri.endswith(".safetensors"):
                    file = mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=scratch)
                    found[entry.path.removeprefix(inside)] = digest(Path(file))
        return found


def _checkpoint(name: str, number: int) -> str:
    """Where the folder of a version lies among its artifacts."""
    import mlflow

    root = f"models:/{name}/{number}/artifacts"
    entries = mlflow.artifacts.list_artifacts(artifact_uri=root)
    if len(entries) != 1:
        raise InfraError("the version holds no checkpoint", where=root, do="register the model again")
    return f"{root}/{entries[0].path.rpartition('/')[2]}"


def _fetch(name: str, number: int, place: Path) -> Path:
    import mlflow

    with mlflow_errors(f"download version {number} of {name}"):
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=_checkpoint(name, number), dst_path=str(place)))


def _download(name: str, version: Version, folder: Path) -> Path:
    require_weights(name, version.number, version.tags)
    target = folder / f"{name}-{version.number}-{(version.weights_sha256 or version.run_id)[:12]}"  # of this registry
    if target.is_dir():
        if not _differing(target, version):
            target.touch()  # housekeeping goes by its last use
            return target
        shutil.rmtree(target)
    scratch = folder / f".{target.name}.{uuid.uuid4().hex}"
    try:
        fetched = _fetch(name, version.number, scratch)
        if others := _differing(fetched, version):
            do = "find out who changed the artifacts; `dpo lineage` tells whether the store's copy is whole"
            where = f"models:/{name}/{version.number}/artifacts"
            raise Damaged(f"the downloaded files are not those of the version: {', '.join(others)}", where=where, do=do)
        with suppress(OSError):  # another process may have been first
            fetched.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if not target.is_dir():
        do = "make room, then run it again"
        raise InfraError("the download cannot be put in its place", where=str(target), do=do)
    return target


def _differing(folder: Path, version: Version) -> list[str]:
    """What of a folder is not as it was registered: the weights, files that changed, are gone or came later."""
    found = file_digests(folder)
    weights = {name: sha for name, sha in found.items() if name.endswith(".safetensors")}
    others = ["its weights"] if version.weights_sha256 and weights_name(weights) != version.weights_sha256 else []
    if FILES in version.tags:  # a version of another program has none
        registered = json.loads(version.tags[FILES])
        others += sorted({name for name, _ in registered.items() ^ _beside(found).items()})
    return others


def _beside(files: Mapping[str, str]) -> dict[str, str]:
    return {name: sha for name, sha in files.items() if not name.endswith(".safetensors")}


def weights_name(weights: Mapping[str, str]) -> str:
    """The name of a checkpoint's weights, given its files' SHA-256: the file's, or that of the list of shards."""
    if len(weights) == 1:
        return next(iter(weights.values()))
    return hashlib.sha256(json.dumps(weights, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _make_registered_model(client: "MlflowClient", name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _versions(client: "MlflowClient", name: str, weights_sha256: str) -> list[Version]:
    found = client.search_model_versions(f"name = '{name}' and tag.{WEIGHTS} = '{weights_sha256}'")
    return sorted((_version(v) for v in found if DUPLICATE not in v.tags), key=lambda version: version.number)


def _version(item: "ModelVersion") -> Version:
    return Version(int(item.version), item.run_id or "", item.tags.get(WEIGHTS, ""), dict(item.tags), item.name)


def _no_version(name: str, which: str) -> ObjectMissing:
    start = f"; or write name: {name}, model: BASE, retrain: {{start: champion}}" if which == "champion" else ""
    where, do = without_secrets(tracking_uri()), f"look at the versions on the MLflow page{start}"
    return ObjectMissing(f"model {name} has no version {which}", where=where, do=do)
