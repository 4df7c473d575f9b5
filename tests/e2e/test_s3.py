"""The same run with a real S3 server: store and MLflow artifacts in the bucket, nothing but caches on this machine."""

import pytest

from tests.recipes import tiny_recipe

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_a_run_keeps_everything_in_s3_and_another_machine_looks_it_up(s3_server, s3_url, tmp_path, monkeypatch):
    from flows.retrain import retrain

    recipe = tiny_recipe(tmp_path / "recipe")
    database = f"sqlite:///{tmp_path}/mlflow.db"

    def machine(name):
        monkeypatch.setenv("DPO_HOME", str(tmp_path / name))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
        monkeypatch.setenv("DPO_STORE_URL", s3_url)

    machine("one")
    first = retrain(str(recipe)).document
    assert first.verdict == "promote"
    bucket, _, prefix = s3_url.removeprefix("s3://").partition("/")
    pages = s3_server.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = [item["Key"].removeprefix(f"{prefix}/") for page in pages for item in page.get("Contents", [])]
    kinds = {key.split("/")[0] for key in keys}
    assert {"data", "reference", "models", "evaluations", "reports", "stages", "mlartifacts"} <= kinds
    assert any(key.startswith("mlartifacts/") and key.endswith("model.safetensors") for key in keys)
    assert not (tmp_path / "one" / "store").exists()
    assert not (tmp_path / "one" / "mlartifacts").exists()

    machine("two")
    second = retrain(str(recipe)).document
    assert second.changed is False
    assert second.weights_sha256 == first.weights_sha256
    assert second.reference.forwards == 0
