"""The weights of a version, apart from all else of it: removed from MLflow's artifacts, and put back.

The version, its card, tags, configuration and tokenizer stay. A tag says that the weights are removed before the first
of them is: a kill leaves none that are half there and called whole. FREED says that the last one is gone. BACK says
that a run puts them back, before anything else of that: for a day no other run counts them among those to remove.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from infra.errors import InfraError, ObjectMissing
from infra.tracking.client import mlflow_errors
from infra.tracking.runs import connect

PLACE = "dpo.weights"  # tag of a version: where its weights lie in the store, or that they are removed
FREED = "dpo.weights_freed"  # tag of a version: bytes of its weights in MLflow's artifacts, once all copies are gone
BACK = "dpo.weights_back"  # tag of a version: when a run last began to put its weights back
REMOVED = "removed "  # DATE by keep=N


def removed(tags: Mapping[str, str]) -> str:
    """What a version says of the removal of its weights; empty where it has them."""
    said = tags.get(PLACE, "")
    return said if said.startswith(REMOVED) else ""


def coming_back(tags: Mapping[str, str]) -> bool:
    """Whether a run put the weights back today, or is about to: it has still to gate them."""
    try:
        return datetime.now(UTC) - datetime.fromisoformat(tags.get(BACK, "")) < timedelta(days=1)
    except ValueError:
        return False


def require_weights(name: str, number: int, tags: Mapping[str, str]) -> None:
    """Raise ObjectMissing for a version whose weights were removed."""
    if said := removed(tags):
        says = f"the weights of version {number} were {said} (registry.keep)"
        do = f"`dpo lineage {name} {number}` says which run makes them again; or take a version that has weights"
        raise ObjectMissing(says, where=f"models:/{name}/{number}", do=do)


def delete_weights(name: str, number: int) -> int:
    """Delete the version's weights from MLflow's artifacts; how many bytes they had. Done again it deletes the rest."""
    with mlflow_errors(f"delete the weights of version {number} of {name}"):
        repository = _artifacts(name, number)
        found = list(_weights(repository, "artifacts"))
        for path, _ in found:
            repository.delete_artifacts(path)
    return sum(size for _, size in found)


def restore_weights(name: str, number: int, tags: Mapping[str, str], model_folder: Path) -> None:
    """Where the version's weights were removed, upload those of a folder that holds the same; then it says so."""
    if not removed(tags):
        return
    client, now = connect(), datetime.now(UTC).isoformat(timespec="seconds")
    with mlflow_errors(f"put back the weights of version {number} of {name}"):
        client.set_model_version_tag(name, str(number), BACK, now)
        if FREED in tags:
            client.delete_model_version_tag(name, str(number), FREED)
        repository = _artifacts(name, number)
        folders = [str(entry.path) for entry in repository.list_artifacts("artifacts")]
        if len(folders) != 1:
            where, do = f"models:/{name}/{number}/artifacts", "look at the version on the MLflow page"
            raise InfraError("the version holds no checkpoint that weights could be put back to", where=where, do=do)
        for file in sorted(model_folder.rglob("*.safetensors")):
            below = file.parent.relative_to(model_folder).as_posix()
            repository.log_artifact(str(file), folders[0] if below == "." else f"{folders[0]}/{below}")
        _require_whole(name, number, {path for path, _ in _weights(repository, folders[0])}, model_folder, folders[0])
        client.delete_model_version_tag(name, str(number), PLACE)


def _require_whole(name: str, number: int, there: set[str], model_folder: Path, place: str) -> None:
    """Raise InfraError where a run that was at their removal took some of what was uploaded."""
    files = {f"{place}/{file.relative_to(model_folder).as_posix()}" for file in model_folder.rglob("*.safetensors")}
    if missing := sorted(files - there):
        says = f"weights that were put back are gone again: {', '.join(missing)}"
        raise InfraError(says, where=f"models:/{name}/{number}", do="run the same command again")


def _artifacts(name: str, number: int) -> Any:
    """Where the version's artifacts really lie: MLflow's own view of a version deletes nothing."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.store.artifact.models_artifact_repo import ModelsArtifactRepository

    of_models: Any = ModelsArtifactRepository
    return get_artifact_repository(of_models.get_underlying_uri(f"models:/{name}/{number}"))


def _weights(repository: Any, folder: str) -> Iterator[tuple[str, int]]:
    """Path and bytes of each file of weights below a folder of the artifacts."""
    for entry in repository.list_artifacts(folder):
        if entry.is_dir:
            yield from _weights(repository, entry.path)
        elif entry.path.endswith(".safetensors"):
            yield entry.path, entry.file_size or 0
