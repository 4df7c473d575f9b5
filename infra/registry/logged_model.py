"""A checkpoint as an MLflow model of its run: the folder itself, and the code that serves it.

Each step can be taken again, so that a run that was killed within goes on; `Model.log` makes a second model instead.
"""

import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from infra.store.base import digest

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.models import ModelSignature

WEIGHTS = "weights_sha256"  # tag of models and versions
READY: Literal["READY"] = "READY"  # status of a model that is there as a whole
SERVED_MODEL = Path(__file__).with_name("served_model.py")
BESIDE = [SERVED_MODEL.with_name(f"served_{name}.py") for name in ("folder", "chat", "traces")]  # it reads them there
SERVED_WITH = ("mlflow", "torch", "transformers")
EXAMPLE = {"messages": [{"role": "user", "content": "Who are you?"}], "max_tokens": 64}  # shown on the version's page
LIMITS = {
    "max_new_tokens": 1024,
    "max_prompt_tokens": 8192,
    "max_prompts": 64,
    "traces": True,  # of what is answered, to MLFLOW_TRACKING_URI where one is set
}  # `model_config` at loading changes them


def log_model(
    client: "MlflowClient",
    run_id: str,
    weights_sha256: str,
    model_folder: Path,
    trusted_code: str | None = None,
    dtype: str = "float32",
    name: str = "",
) -> str:
    """The id of the run's model with these weights; one that a killed run began to upload is gone on with.

    Where it is served, it computes in `dtype`, and code of the model's own runs only if `trusted_code` is its digest.
    The traces of its answers bear `name`, unless a registry that it is fetched from knows it by another.
    """
    experiment = client.get_run(run_id).info.experiment_id
    model = _begun(client, experiment, run_id, weights_sha256)
    if model is None:
        tags = {WEIGHTS: weights_sha256}
        model = client.create_logged_model(experiment, "model", source_run_id=run_id, tags=tags)
    _link(client, run_id, model.model_id)
    if str(model.status) != READY:
        settings = {"trusted_code": trusted_code, "dtype": dtype, "name": name, WEIGHTS: weights_sha256}
        _upload(client, model, run_id, model_folder, settings)
    return str(model.model_id)


def _begun(client: "MlflowClient", experiment: str, run_id: str, weights_sha256: str) -> "LoggedModel | None":
    wanted = f"source_run_id = '{run_id}' AND tags.{WEIGHTS} = '{weights_sha256}'"
    found = client.search_logged_models([experiment], wanted)
    return min(found, key=lambda model: (str(model.status) != READY, model.creation_timestamp), default=None)


def _link(client: "MlflowClient", run_id: str, model_id: str) -> None:
    from mlflow.entities import LoggedModelOutput
    from mlflow.exceptions import MlflowException

    def linked() -> bool:
        outputs = client.get_run(run_id).outputs
        return outputs is not None and model_id in [output.model_id for output in outputs.model_outputs]

    if not linked():
        try:
            client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
        except MlflowException:  # a run beside this one was first: a second link is refused
            if not linked():
                raise


def _upload(
    client: "MlflowClient", model: "LoggedModel", run_id: str, model_folder: Path, settings: Mapping[str, str | None]
) -> None:
    import mlflow
    from mlflow.models import Model

    described = Model(model.artifact_location, run_id, model_uuid=model.model_id, model_id=model.model_id)
    with tempfile.TemporaryDirectory() as scratch:
        mlflow.pyfunc.save_model(
            f"{scratch}/model",
            mlflow_model=described,
            python_model=str(SERVED_MODEL),
            artifacts={"checkpoint": model_folder.absolute().as_uri()},  # a path is read as a URL: `?` ends it
            model_config={**LIMITS, **settings, "files": _digests(model_folder)},
            signature=_signature(),
            input_example=EXAMPLE,
            pip_requirements=[f"{package}=={installed(package).partition('+')[0]}" for package in SERVED_WITH],
        )
        for file in BESIDE:
            shutil.copy(file, f"{scratch}/model")
        client.log_model_artifacts(model.model_id, f"{scratch}/model")
    client.finalize_logged_model(model.model_id, READY)


def _digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file: where the model is served, they are compared before anything is loaded."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): digest(file) for file in files}


def _signature() -> "ModelSignature":
    """Parameters and output. By a schema of the input MLflow would cut a conversation into columns."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    params = [ParamSpec("max_new_tokens", "long", 48), ParamSpec("temperature", "double", 0.0)]
    outputs = Schema([ColSpec("string")])
    return ModelSignature(outputs=outputs, params=ParamSchema([*params, ParamSpec("top_p", "double", 1.0)]))
