"""Registered versions without a model: their weights are a letter."""

import os
from collections.abc import Mapping

from mlflow import MlflowClient

from infra.registry import versions
from infra.tracking.runs import open_run


def register_letters(
    name: str, letters: str = "abc", tags: Mapping[str, Mapping[str, str]] | None = None, source: str | None = None
) -> None:
    """A model with a version a letter; `tags` are a letter's own, `source` is the folder that MLflow has of them."""
    client = MlflowClient()
    run = open_run("letters", run_key=name, run_name="run", artifact_root=os.environ["DPO_HOME"]).id
    client.create_registered_model(name)
    for letter in letters:
        own = {versions.WEIGHTS: letter * 64, **(tags or {}).get(letter, {})}
        client.create_model_version(name, source or f"{os.environ['DPO_HOME']}/m", run, tags=own)
