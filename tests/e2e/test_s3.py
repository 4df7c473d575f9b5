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


@pytest.mark.campaign
def test_a_series_of_runs_keeps_the_weights_it_needs_in_the_bucket_and_no_others(
    s3_server, s3_url, tmp_path, monkeypatch
):
    """`registry.keep` over whole runs: each version lies in the store and in MLflow's artifacts, both in the bucket."""
    from flows.cli.app import run
    from flows.retrain import retrain
    from infra.registry.versions import by_number

    recipe = tiny_recipe(tmp_path / "recipe", registry={"keep": 1})
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("DPO_STORE_URL", s3_url)
    done = [retrain(str(recipe), [f"training.learning_rate={3 - number}e-3"]).document for number in range(2)]
    done += [retrain(str(recipe), [f"training.learning_rate=1.{number}e-3"]).document for number in range(4)]
    assert [document.verdict for document in done] == ["promote", *["hold_no_gain"] * 5]

    bucket, _, prefix = s3_url.removeprefix("s3://").partition("/")
    pages = s3_server.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    weights = [item["Key"] for page in pages for item in page.get("Contents", []) if "safetensors" in item["Key"]]
    versions = [by_number("tiny", number) for number in range(1, 7)]
    stored = {version.number for version in versions if any(version.weights_sha256 in key for key in weights)}
    assert stored == {1, 5, 6}  # the champion, the newest that is not in use, the challenger
    assert sum("mlartifacts/" in key for key in weights) == len(stored)
    assert [version.number for version in versions if version.tags["dpo.weights"].startswith("removed")] == [2, 3, 4]
    assert run(["evaluate", "models:/tiny/2", str(recipe.parent / "eval.jsonl")]) == 2
    assert retrain(str(recipe), ["training.learning_rate=3e-3"]).document.changed is False
