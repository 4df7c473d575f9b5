"""What the tests of tasks share."""

import os
from types import SimpleNamespace
from typing import Any

import pytest

from infra.registry import versions
from infra.tracking.runs import open_run
from tasks.records import Plan
from tests.pools import FORKED


@pytest.fixture
def make_plan():
    """A plan of a first run on one thread; keywords say what differs, `recipe` and `model_folder` among them."""

    def make(**changes: Any) -> Plan:
        digests = {"model_sha256": "", "weights_sha256": "", "tokenizer_sha256": "t"}
        models = {"model_folder", "model_sha256", "weights_sha256"} & changes.keys()
        given = {f"reference_{name.removeprefix('model_')}": changes[name] for name in models}
        digests |= {"reference_folder": "", "reference_sha256": "", "reference_weights_sha256": "", **given}
        nowhere = {"champion": None, "run_id": "", "run_url": "", "start_model": "", "request": ""}
        return Plan(**{**digests, **nowhere, "files": {}, "threads": 1, "force": False, **changes})

    return make


@pytest.fixture
def quick_processes(monkeypatch):
    """Of a module: its processes, spawned otherwise, are forked from one that has the slow imports done, once."""

    def of(module):
        monkeypatch.setattr(module, "multiprocessing", SimpleNamespace(get_context=lambda _: FORKED))

    return of


@pytest.fixture
def name(request):
    """A registered model of this test's own."""
    return request.node.name.replace("[", "-").rstrip("]")


@pytest.fixture
def registered(name):
    """Register a version by its weights (a letter, or none) and tags."""
    from mlflow import MlflowClient

    client = MlflowClient()
    run = open_run("versions", run_key=name, run_name="run", artifact_root=os.environ["DPO_HOME"]).id

    def made(weights, **tags):
        versions._make_registered_model(client, name)
        named = {versions.WEIGHTS: weights * 64} if weights else {}
        client.create_model_version(name, f"{os.environ['DPO_HOME']}/m", run, tags=named | tags)
        return versions.by_number(name, len(client.search_model_versions(f"name = '{name}'")))

    return made
