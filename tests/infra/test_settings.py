import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from infra import settings
from infra.environment import ROOT, training_environment
from infra.errors import BadSetting
from infra.settings import Settings, load_settings, prepare_environment, usable_cores


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    """An environment and a working folder of our own."""
    monkeypatch.setattr(os, "environ", {key: value for key, value in os.environ.items() if not key.startswith("DPO_")})
    monkeypatch.chdir(tmp_path)


def test_the_default_home_and_store_lie_in_the_working_folder(tmp_path):
    settings = load_settings()
    assert settings.home == tmp_path / ".dpo"
    assert settings.store_url == str(tmp_path / ".dpo" / "store")
    assert settings.num_threads == usable_cores() >= 1


def test_a_relative_home_is_made_absolute_and_moves_the_store_with_it(tmp_path):
    os.environ["DPO_HOME"] = "elsewhere"
    assert load_settings().store_url == str(tmp_path / "elsewhere" / "store")


def test_an_s3_store_stays_as_it_is_and_takes_mlflows_artifacts():
    os.environ["DPO_STORE_URL"] = "s3://bucket/team"
    assert load_settings().store_url == "s3://bucket/team"
    assert load_settings().artifact_root == "s3://bucket/team/mlartifacts"


def test_artifacts_go_to_the_home_unless_a_server_has_its_own_place(tmp_path):
    assert load_settings().artifact_root == str(tmp_path / ".dpo" / "mlartifacts")
    os.environ["MLFLOW_TRACKING_URI"] = "https://mlflow.example"
    assert load_settings().artifact_root is None


def test_settings_cannot_be_changed_later():
    with pytest.raises(ValidationError, match="frozen"):
        load_settings().num_threads = 7  # type: ignore[misc]


def test_a_misspelt_variable_is_refused_with_the_nearest_name():
    os.environ["DPO_STORE_URI"] = "s3://bucket"
    with pytest.raises(BadSetting, match="DPO_STORE_URI is no setting") as caught:
        load_settings()
    assert caught.value.do == "did you mean DPO_STORE_URL?"


LINKS = ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP_API", "PORT", "PORT_5000_TCP", "PORT_5000_TCP_ADDR",
         "PORT_5000_UDP_PORT", "PORT_5000_SCTP_PROTO")  # fmt: skip


@pytest.mark.parametrize("service", ["DPO_", "DPO_MLFLOW_"])
def test_what_kubernetes_tells_of_services_called_dpo_is_no_setting_and_no_mistake(service):
    os.environ |= {service + link: "tcp://10.0.0.1:5000" for link in LINKS} | {"DPO_NUM_THREADS": "3"}
    assert load_settings().num_threads == 3


@pytest.mark.parametrize("name", ["DPO_SERVICE", "DPO_MLFLOW_PORTS", "DPO_PORT_TCP", "DPO_MLFLOW_PORT_5000_TCP_NAME"])
def test_a_name_that_only_looks_like_a_services_is_refused(name):
    os.environ[name] = "1"
    with pytest.raises(BadSetting, match=f"{name} is no setting"):
        load_settings()


def test_no_setting_is_called_as_kubernetes_calls_services():
    assert [name for name in Settings.model_fields if settings.SERVICE_LINK.fullmatch(f"DPO_{name.upper()}")] == []


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("DPO_NUM_THREADS", "two", "DPO_NUM_THREADS: Input should be a valid integer"),
        ("DPO_TRAIN_TIMEOUT_S", "0", "DPO_TRAIN_TIMEOUT_S: Input should be greater than 0"),
        ("DPO_STORE_URL", "gs://bucket", "DPO_STORE_URL: a store is s3://bucket/prefix or a folder, not gs://"),
    ],
)
def test_an_impossible_value_is_named_with_its_variable(name, value, says):
    os.environ[name] = value
    with pytest.raises(BadSetting) as caught:
        load_settings()
    assert caught.value.says.startswith(says)


def test_dotenv_fills_what_is_unset_for_our_variables_and_the_standard_ones():
    Path(".env").write_text("DPO_NUM_THREADS=3\nAWS_REGION=eu-west-1\nDPO_HOME=from-file\n")
    os.environ["DPO_HOME"] = "from-environment"
    settings = load_settings()
    assert (settings.num_threads, settings.home.name) == (3, "from-environment")
    assert os.environ["AWS_REGION"] == "eu-west-1"


def test_a_misspelt_name_in_dotenv_is_refused_too():
    Path(".env").write_text("DPO_NUM_THREAD=3\n")
    with pytest.raises(BadSetting, match="DPO_NUM_THREAD is no setting"):
        load_settings()


def test_prepare_environment_sets_only_what_is_unset(tmp_path):
    os.environ.pop("PREFECT_HOME", None)
    os.environ["MLFLOW_TRACKING_URI"] = "https://mlflow.example"
    prepare_environment(Settings(home=tmp_path / "home"))
    assert os.environ["MLFLOW_TRACKING_URI"] == "https://mlflow.example"
    assert os.environ["PREFECT_HOME"] == str(tmp_path / "home" / "prefect")
    assert os.environ["DO_NOT_TRACK"] == "true"
    assert (tmp_path / "home").is_dir()


def test_a_home_that_is_a_file_is_named(tmp_path):
    (tmp_path / "home").write_text("")
    with pytest.raises(BadSetting, match="DPO_HOME cannot be used: File exists") as caught:
        prepare_environment(Settings(home=tmp_path / "home"))
    assert caught.value.where == str(tmp_path / "home")


def test_settings_import_nothing_heavy():
    heavy = "{'torch', 'mlflow', 'prefect', 'boto3', 'transformers', 'pandas'}"
    code = (
        f"import sys, infra.settings, infra.store, infra.models, infra.tracking.runs; print({heavy} & set(sys.modules))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_settings_are_made_once_and_again_where_the_environment_is_another(tmp_path, monkeypatch):
    first = load_settings()
    assert load_settings() is first
    os.environ["DPO_NUM_THREADS"] = "1"
    assert load_settings().num_threads == 1
    del os.environ["DPO_NUM_THREADS"]
    assert load_settings() == first
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert load_settings().home == tmp_path / "other" / ".dpo"


def test_dotenv_sets_names_of_ours_and_of_the_services_alone_and_tells_the_others(caplog):
    Path(".env").write_text(
        "PYTHONPATH=.\nLD_PRELOAD=./x.so\nPATH=.\nHOME=.\nWORLD_SIZE=2\nHTTPS_PROXY=http://x\n"
        "HF_HUB_OFFLINE=1\nPREFECT_API_URL=http://p\nMLFLOW_TRACKING_URI=http://m\nDPO_NUM_THREADS=3\n"
    )
    before = dict(os.environ)
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        os.environ.pop(name, None)
    load_settings()
    changed = {name for name in os.environ if os.environ[name] != before.get(name)}
    assert changed == {"PREFECT_API_URL", "MLFLOW_TRACKING_URI", "DPO_NUM_THREADS"}
    (told,) = [record.getMessage() for record in caplog.records if "dotenv_ignored" in record.getMessage()]
    assert "names=HOME,HTTPS_PROXY,LD_PRELOAD,PATH,PYTHONPATH,WORLD_SIZE" in told
    load_settings()
    assert len(caplog.records) == 1


def test_the_training_process_has_what_dotenv_sets_and_does_not_tell_again_what_it_may_not(monkeypatch, caplog):
    Path(".env").write_text("LD_PRELOAD=./x.so\nHF_TOKEN=t\nDPO_NUM_THREADS=3\n")
    load_settings()
    given = training_environment(os.environ, several=False)
    assert given["HF_TOKEN"] == "t"
    monkeypatch.setattr(os, "environ", given)
    settings._dotenv.cache_clear()  # as in a process of its own
    caplog.clear()
    assert load_settings().num_threads == 3
    assert caplog.records == []


def test_keys_in_the_address_of_a_store_are_refused_and_not_repeated():
    os.environ["DPO_STORE_URL"] = "s3://AKIAIOSFODNN7EXAMPLE:canary@bucket/x"
    with pytest.raises(BadSetting, match="AWS_SECRET_ACCESS_KEY do") as caught:
        load_settings()
    assert "canary" not in str(caught.value)


def test_an_accelerate_configuration_that_is_not_there_is_told_by_its_variable():
    os.environ["DPO_ACCELERATE_CONFIG"] = "nowhere.yaml"
    with pytest.raises(BadSetting, match="DPO_ACCELERATE_CONFIG: Path does not point to a file"):
        load_settings()


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"distributed_type": "MULTI_GPU", "num_machines": 2}, "devices of one machine: write num_machines: 1"),
        ({"distributed_type": "FSDP", "fsdp_config": {"fsdp_auto_wrap_policy": "NO_WRAP"}}, "write fsdp_version: 2"),
        ("a: b: c", "the file is no YAML: mapping values are not allowed here"),
        ("", "it has no keys"),
        ({"distributed_type": "DEEPSPEED"}, "distributed_type DEEPSPEED is none of NO, MULTI_CPU, MULTI_GPU, FSDP"),
    ],
)
def test_a_launch_that_would_train_something_else_is_refused_before_a_run_begins(tmp_path, config, says):
    file = tmp_path / "launch.yaml"
    file.write_text(config if isinstance(config, str) else yaml.safe_dump(config))
    os.environ["DPO_ACCELERATE_CONFIG"] = str(file)
    with pytest.raises(BadSetting, match=f"DPO_ACCELERATE_CONFIG: .*{says}"):
        load_settings()


@pytest.mark.parametrize("name", ["single", "multi_gpu", "fsdp2"])
def test_the_launches_that_come_with_it_are_accepted(name):
    file = ROOT / "infra" / "accelerate" / f"{name}.yaml"
    os.environ["DPO_ACCELERATE_CONFIG"] = str(file)
    assert load_settings().accelerate_config == file


@pytest.mark.parametrize("folder", ["a?b", "My%20Project", "a#b", "50%", "two words", "ü@'\"", "plain"])
def test_the_databases_lie_in_the_home_whatever_its_name(tmp_path, folder):
    from sqlalchemy import make_url

    for name in ("MLFLOW_TRACKING_URI", "PREFECT_HOME"):
        os.environ.pop(name, None)
    home = tmp_path / folder
    prepare_environment(Settings(home=home))
    assert make_url(os.environ["MLFLOW_TRACKING_URI"]).database == str(home / "mlflow.db")
    if prefect := os.environ.get("PREFECT_SERVER_DATABASE_CONNECTION_URL"):
        assert make_url(prefect).database == str(home / "prefect" / "prefect.db")
        assert make_url(prefect).drivername == "sqlite+aiosqlite"
    assert bool(prefect) == any(sign in folder for sign in "?%#")


def test_a_socks_proxy_without_its_package_is_told_at_once(tmp_path, monkeypatch):
    os.environ["ALL_PROXY"] = "socks5://me:canary@proxy:1080"
    monkeypatch.setattr("infra.settings.find_spec", lambda name: None)
    with pytest.raises(BadSetting, match="ALL_PROXY names a SOCKS proxy") as caught:
        prepare_environment(Settings(home=tmp_path))
    assert caught.value.do == "pip install socksio, or unset ALL_PROXY"
    monkeypatch.setattr("infra.settings.find_spec", lambda name: name)
    prepare_environment(Settings(home=tmp_path))
