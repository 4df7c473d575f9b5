import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from dpo_core.model.identity import digest_weights
from infra.errors import Damaged, InfraError, ObjectMissing
from infra.registry import versions
from infra.registry.weights import FREED, PLACE, delete_weights
from infra.tracking.runs import open_run

ONLY_WHAT_A_SERVER_HAS = """
import json, sys

class OursIsNotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("infra", "tasks", "flows", "dpo_core"):
            raise ImportError(name)

sys.meta_path.insert(0, OursIsNotInstalled())
import mlflow, pandas
model = mlflow.pyfunc.load_model(sys.argv[1])
short = {"max_new_tokens": 4}
messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who are you?"}]
print(json.dumps({
    "frame": model.predict(pandas.DataFrame({"prompt": ["Hello", "Who are you?"]}), params=short),
    "texts": model.predict(["Hello", "Who are you?"], params=short),
    "messages": model.predict([messages], params=short),
    "default": model.predict(["Hello"]),
}))
"""


@pytest.fixture
def run_id(request) -> str:
    root = os.environ["DPO_HOME"]
    return open_run("registry", run_key=request.node.name, run_name="run", artifact_root=root).id


@pytest.fixture
def register(tiny_model, run_id, request):
    """Register under a name of the test's own; `weights` is any letter, empty for the model's own digest."""

    def made(weights: str = "", **tags):
        digest = weights * 64 or digest_weights(tiny_model)
        return versions.register(
            request.node.name, run_id=run_id, weights_sha256=digest, model_folder=tiny_model, tags=tags
        )

    return made


def test_weights_are_registered_once_and_numbered_upwards(register, run_id):
    first, second = register("a"), register("b")
    assert (first.number, second.number) == (1, 2)
    assert (second.run_id, second.weights_sha256) == (run_id, "b" * 64)


def test_every_version_of_every_model_is_listed_page_by_page(register, request, monkeypatch):
    register("a"), register("b")
    monkeypatch.setattr(versions, "PAGE", 1)
    found = [version.weights_sha256 for version in versions.all_versions() if version.run_id]
    assert {"a" * 64, "b" * 64} <= set(found)
    assert len(found) >= 2


def test_the_same_weights_again_are_the_same_version_with_the_newer_tags(register, monkeypatch):
    first = register("a", verdict="hold", code="1")
    monkeypatch.setattr(versions, "log_model", lambda *_: pytest.fail("uploaded again"))
    again = register("a", verdict="promote")
    assert again.number == first.number
    assert (again.tags["verdict"], again.tags["code"]) == ("promote", "1")


def test_of_two_versions_left_by_a_lost_answer_the_lower_one_counts(register, run_id, request):
    first, name = register("a"), request.node.name
    source = MlflowClient().get_model_version(name, "1").source
    MlflowClient().create_model_version(name, source, run_id, tags={versions.WEIGHTS: "a" * 64})
    assert register("a").number == first.number
    assert versions.by_number(name, 2).tags[versions.DUPLICATE] == "1"


@pytest.mark.parametrize("step", ["log_outputs", "log_model_artifacts", "finalize_logged_model"])
def test_an_upload_that_was_cut_off_is_gone_on_with_and_leaves_no_second_model(
    register, run_id, tiny_model, monkeypatch, step
):
    def cut_off(*arguments):
        done(*arguments)
        raise KeyboardInterrupt

    done, client = getattr(MlflowClient, step), MlflowClient()
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, step, cut_off)
        with pytest.raises(KeyboardInterrupt):
            register()
    run = client.get_run(run_id)
    [begun] = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run_id}'")
    assert register().number == 1
    [whole] = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run_id}'")
    assert (whole.model_id, str(whole.status)) == (begun.model_id, "READY")
    assert [output.model_id for output in client.get_run(run_id).outputs.model_outputs] == [whole.model_id]


def test_weights_that_were_removed_come_back_to_their_version_and_nothing_else_of_it_went(
    register, request, tmp_path, tiny_model
):
    made, name = register(), request.node.name
    beside = versions.registered_files(name, 1)
    versions.set_tags(name, 1, {PLACE: "removed 2026-11-29 by keep=4"})
    assert delete_weights(name, 1) == (tiny_model / "model.safetensors").stat().st_size
    versions.set_tags(name, 1, {FREED: "1"})
    assert delete_weights(name, 1) == 0
    assert versions.registered_files(name, 1) == beside
    with pytest.raises(ObjectMissing, match=r"weights of version 1 were removed 2026-11-29 by keep=4"):
        versions.download(name, 1, tmp_path)
    again = register()
    assert (again.number, {PLACE, FREED} & again.tags.keys()) == (made.number, set())
    assert digest_weights(versions.download(name, 1, tmp_path)) == made.weights_sha256


def test_an_alias_is_none_until_set_and_moves(register, request):
    name = request.node.name
    assert versions.by_alias(name, "champion") is None
    register("a"), register("b")
    assert versions.by_alias(name, "champion") is None
    for number in (1, 2):
        versions.set_alias(name, "champion", number)
        version = versions.by_alias(name, "champion")
        assert version is not None
        assert version.number == number


def test_an_alias_that_another_writer_moved_meanwhile_is_an_error(register, request, monkeypatch):
    register("a"), register("b")
    name, ours = request.node.name, MlflowClient.set_registered_model_alias

    def another_is_later(self, name, alias, number):
        ours(self, name, alias, number)
        ours(self, name, alias, "1")

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", another_is_later)
    with pytest.raises(InfraError, match="was set to version 2 and reads back as 1"):
        versions.set_alias(name, "champion", 2)


def test_an_alias_of_a_version_that_is_not_there_is_an_error(register, request):
    register("a")
    with pytest.raises(InfraError, match="MLflow could not set"):
        versions.set_alias(request.node.name, "champion", 9)


def test_a_missing_version_is_named(register, request):
    register("a")
    with pytest.raises(ObjectMissing, match="has no version 9"):
        versions.by_number(request.node.name, 9)
    with pytest.raises(ObjectMissing, match="has no version champion"):
        versions.download(request.node.name, "champion", os.environ["DPO_HOME"])


def test_a_model_uri_resolves_by_number_and_by_alias(register, request):
    register("a")
    versions.set_alias(request.node.name, "champion", 1)
    for uri in (f"models:/{request.node.name}/1", f"models:/{request.node.name}@champion"):
        assert versions.resolve(uri).weights_sha256 == "a" * 64


def test_the_checkpoint_comes_back_file_by_file(register, request, tiny_model, tmp_path):
    register()
    versions.set_alias(request.node.name, "champion", 1)
    folder = versions.download(request.node.name, "champion", tmp_path / "models")
    assert {f.name: f.read_bytes() for f in folder.iterdir()} == {f.name: f.read_bytes() for f in tiny_model.iterdir()}
    assert versions.download(request.node.name, 1, tmp_path / "models") == folder
    assert list((tmp_path / "models").iterdir()) == [folder]
    (folder / "model.safetensors").write_bytes(b"changed since")
    versions.download(request.node.name, 1, tmp_path / "models")
    assert (folder / "model.safetensors").read_bytes() == (tiny_model / "model.safetensors").read_bytes()


def test_weights_are_downloaded_from_the_version_that_holds_them_whatever_the_alias_names(
    register, request, tiny_model, tmp_path
):
    own = register()
    register("a")
    versions.set_alias(request.node.name, "champion", 2)
    folder = versions.download_weights(request.node.name, own.weights_sha256, tmp_path / "models")
    assert folder == versions.download(request.node.name, own.number, tmp_path / "models")
    assert digest_weights(folder) == own.weights_sha256
    with pytest.raises(Damaged, match="not those of the version"):
        versions.download_weights(request.node.name, "a" * 64, tmp_path / "models")
    with pytest.raises(ObjectMissing, match=f"has no version with the weights {'b' * 12}"):
        versions.download_weights(request.node.name, "b" * 64, tmp_path / "models")


def test_weights_that_are_not_those_of_the_version_are_refused(register, request, tmp_path):
    register("a")  # the artifacts have another digest
    with pytest.raises(Damaged, match="not those of the version"):
        versions.download(request.node.name, 1, tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


def swap(folder, name):
    """The file of a registered version as somebody else left it."""
    file = folder / (name if "." in name else f"{name}/x.jinja")
    if name == "config.json":
        config = json.loads(file.read_text())
        config["rope_parameters"] = {"rope_theta": 10.0, "rope_type": "default"}
        file.write_text(json.dumps(config))
    else:
        file.parent.mkdir(exist_ok=True)
        file.write_text('{"<new>": 7}')


@pytest.mark.parametrize(
    "name",
    ["config.json", "chat_template.jinja", "added_tokens.json", "tokenizer.json", "additional_chat_templates"],
)
def test_every_file_of_a_version_is_compared_with_what_was_registered(register, request, tmp_path, name):
    version = register()
    folder = versions.download(request.node.name, 1, tmp_path / "models")
    right = versions.file_digests(folder)
    beside = {file: sha for file, sha in right.items() if file != "model.safetensors"}
    assert versions.registered_files(request.node.name, 1) == beside
    swap(folder, name)  # the copy here is fetched again
    assert versions.file_digests(versions.download(request.node.name, 1, tmp_path / "models")) == right
    registry = MlflowClient().get_model_version_download_uri(request.node.name, str(version.number))
    swap(Path(registry.removeprefix("file://")) / "artifacts" / "model", name)
    with pytest.raises(Damaged, match=f"not those of the version: {name}"):
        versions.download(request.node.name, 1, tmp_path / "elsewhere")


def test_weights_have_one_name_here_and_in_the_core(tiny_model, tmp_path):
    assert versions.weights_name(versions.file_digests(tiny_model, "*.safetensors")) == digest_weights(tiny_model)
    for name in ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"):
        (tmp_path / name).write_text(name)
    assert versions.weights_name(versions.file_digests(tmp_path, "*.safetensors")) == digest_weights(tmp_path)


def test_the_weights_of_a_team_lie_on_s3_and_come_back_from_there(s3_url, tiny_model, request, tmp_path):
    run = open_run("on s3", run_key=request.node.name, run_name="run", artifact_root=f"{s3_url}/mlartifacts")
    name = request.node.name
    weights = digest_weights(tiny_model)
    versions.register(name, run_id=run.id, weights_sha256=weights, model_folder=tiny_model, tags={})
    assert MlflowClient().get_model_version_download_uri(name, "1").startswith(f"{s3_url}/mlartifacts/on s3/models/")
    folder = versions.download(name, 1, tmp_path)
    assert (folder / "model.safetensors").read_bytes() == (tiny_model / "model.safetensors").read_bytes()


def test_a_registered_model_answers_where_our_package_is_not_installed(register, request, tmp_path):
    register("a")
    versions.set_alias(request.node.name, "champion", 1)
    command = [sys.executable, "-c", ONLY_WHAT_A_SERVER_HAS, f"models:/{request.node.name}@champion"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    answers = json.loads(done.stdout)
    assert answers["frame"] == answers["texts"]
    assert [len(answers[key]) for key in ("frame", "messages", "default")] == [2, 1, 1]
    assert all(isinstance(text, str) for texts in answers.values() for text in texts)
    assert answers["default"][0].startswith(answers["texts"][0])  # greedy: 48 tokens begin with the same 4


def test_a_served_model_answers_over_http(register, request):
    from mlflow.pyfunc import load_model, scoring_server
    from starlette.testclient import TestClient

    register("a")
    client = TestClient(scoring_server.init(load_model(f"models:/{request.node.name}/1")))
    short = {"params": {"max_new_tokens": 4}}
    texts = client.post("/invocations", json={"inputs": ["Hello"], **short})
    frame = client.post("/invocations", json={"dataframe_records": [{"prompt": "Hello"}], **short})
    messages = client.post("/invocations", json={"inputs": [[{"role": "user", "content": "Hello"}]], **short})
    assert (texts.status_code, frame.status_code, messages.status_code) == (200, 200, 200), messages.text
    assert texts.json() == frame.json() == messages.json()
