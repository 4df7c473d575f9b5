"""What a run takes from the shell it is started in, and what its children get."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from infra.environment import (
    DOTENV,
    FORGOTTEN,
    KERNELS,
    NETWORK,
    NO_DOTENV,
    OURS,
    PASSED,
    ROOT,
    forget_foreign,
    python_path,
    spare_loopback,
    training_environment,
)

SAY_WHERE = """
import json
def where():
    import dpo_core, infra, tasks
    return [module.__file__ for module in (dpo_core, infra, tasks)]
"""


@pytest.fixture(autouse=True)
def shell(monkeypatch, tmp_path):
    """An environment and a working folder of our own."""
    monkeypatch.setattr(os, "environ", {"HOME": str(tmp_path), "PATH": os.environ["PATH"]})
    monkeypatch.chdir(tmp_path)


HOSTILE = {
    **{"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29555"},
    **{"SLURM_PROCID": "1", "SLURM_NTASKS": "8", "OMPI_COMM_WORLD_SIZE": "8", "PMI_RANK": "1", "PET_NNODES": "2"},
    **{"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4", "ACCELERATE_USE_FSDP": "true", "FSDP_OFFLOAD_PARAMS": "true"},
    **{"TORCHELASTIC_RUN_ID": "x", "PARALLELISM_CONFIG_TP_SIZE": "2", "NVIDIA_TF32_OVERRIDE": "1"},
    **{"ONEDNN_DEFAULT_FPMATH_MODE": "BF16", "MLFLOW_RUN_ID": "r", "MLFLOW_EXPERIMENT_ID": "7"},
    **{"LD_PRELOAD": "x.so", "PYTHONSTARTUP": "x.py", "PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "7"},
}


def test_the_training_process_gets_nothing_of_a_launcher_of_accelerate_or_of_the_arithmetic():
    kept = {"HOME": "/h", "DPO_HOME": "/d", "CUDA_VISIBLE_DEVICES": "1", "LC_ALL": "C", "HTTPS_PROXY": "http://p"}
    got = training_environment({**HOSTILE, **kept, "NCCL_SOCKET_IFNAME": "eth1"}, several=False)
    bounds = {
        "LRU_CACHE_CAPACITY": "64",
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "128",
    }  # of kernels kept, not of arithmetic
    ours = {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1", "PYTHON_DOTENV_DISABLED": "1"}
    assert got == {**kept, **bounds, **ours}


def test_a_launch_of_several_processes_also_gets_what_names_its_network_and_no_rank():
    got = training_environment({**HOSTILE, "NCCL_SOCKET_IFNAME": "eth1", "GLOO_SOCKET_IFNAME": "eth1"}, several=True)
    assert set(got) == {"NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME", "PYTHONPATH", "PYTHONSAFEPATH", NO_DOTENV, *KERNELS}


def test_every_variable_that_accelerate_reads_is_forgotten_or_not_passed_on():
    """Found in its source, so that a new one of another name fails here."""
    import accelerate

    read = set()
    for file in Path(accelerate.__file__).parent.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        read |= set(re.findall(r'(?:environ(?:\.get)?[\[(]|from_env\()\s*"([A-Z][A-Z0-9_]+)"', text))
    assert {"WORLD_SIZE", "ACCELERATE_USE_FSDP", "FSDP_VERSION"} & read
    taken = training_environment(dict.fromkeys(read, "1"), several=False)
    assert set(taken) - {"PYTHONPATH", "PYTHONSAFEPATH", NO_DOTENV, *KERNELS} <= {
        *("CUDA_VISIBLE_DEVICES", "XDG_CACHE_HOME", "HF_HOME"),  # which device, and folders of the user's
        *("TMPDIR", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"),  # SageMaker
        *(name for name in read if name.startswith(("MLFLOW_", "HF_"))),  # trackers, which we do not use
    }


def test_a_run_forgets_what_would_act_in_its_own_process():
    os.environ |= {**HOSTILE, "NCCL_DEBUG": "INFO"}
    forget_foreign()
    left = set(os.environ) & set(HOSTILE)
    assert left == {"SLURM_PROCID", "SLURM_NTASKS", "LD_PRELOAD", "PYTHONSTARTUP", "PYTHONHASHSEED", "OMP_NUM_THREADS"}
    assert os.environ["PYTHONSAFEPATH"] == "1"


def test_what_is_passed_is_never_what_is_forgotten():
    for name in FORGOTTEN:
        assert name.startswith("MLFLOW_") or not any(name.startswith(entry) for entry in PASSED), name


def foreign(folder: Path, *, as_package: bool) -> None:
    for name in OURS:
        path = folder / name / "__init__.py" if as_package else folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("raise SystemExit('somebody else\\'s')\n")


@pytest.mark.parametrize("as_package", [False, True])
@pytest.mark.parametrize("given", ["", ".", "libs", "{root}:."])
def test_children_import_our_packages_whatever_lies_in_the_working_folder(tmp_path, as_package, given):
    foreign(tmp_path, as_package=as_package)
    foreign(tmp_path / "libs", as_package=as_package)
    if given:
        os.environ["PYTHONPATH"] = given.format(root=ROOT)
    forget_foreign()
    command = [sys.executable, "-c", SAY_WHERE + "print(json.dumps(where()))"]
    done = subprocess.run(command, env=os.environ, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert {str(Path(file).parents[1]) for file in json.loads(done.stdout)} == {str(ROOT)}


def test_folders_of_pythonpath_stay_in_it_as_absolute_ones(tmp_path):
    (tmp_path / "libs").mkdir()
    assert python_path("libs:/opt/more:") == f"{ROOT}:{tmp_path}/libs:/opt/more"


def test_a_command_whose_pythonpath_holds_other_tasks_runs_ours(tmp_path):
    """`flows` itself is found first by Python: nobody else's may stand before it."""
    foreign(tmp_path, as_package=False)
    (tmp_path / "flows.py").unlink()
    command = [sys.executable, "-c", f"import flows\n{SAY_WHERE}print(json.dumps(where()))"]
    os.environ |= {"PYTHONPATH": f".:{ROOT}", "PYTHONSAFEPATH": "1"}
    done = subprocess.run(command, env=os.environ, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert {str(Path(file).parents[1]) for file in json.loads(done.stdout)} == {str(ROOT)}


@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        ({}, "127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "intra.example, 127.0.0.1"}, "intra.example,127.0.0.1,localhost,::1"),
        ({"no_proxy": "a", "NO_PROXY": "b"}, "a,b,127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "*"}, "*"),
    ],
)
def test_where_a_proxy_is_set_loopback_does_without(given, becomes):
    os.environ |= {"HTTPS_PROXY": "http://proxy:1", **given}
    spare_loopback()
    assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == becomes


def test_without_a_proxy_nothing_is_said_about_one():
    spare_loopback()
    assert not {"NO_PROXY", "no_proxy"} & set(os.environ)


def test_the_clients_that_we_use_go_to_loopback_directly(monkeypatch):
    import httpx
    import requests.utils

    os.environ |= {"HTTP_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9"}
    spare_loopback()
    for name in ("HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "no_proxy"):
        monkeypatch.setitem(os.environ, name, os.environ[name])
    with httpx.Client() as client:
        for host in ("127.0.0.1", "localhost", "[::1]"):
            url = httpx.URL(f"http://{host}:4200/api")
            assert client._transport_for_url(url) is client._transport, host
            assert requests.utils.get_environ_proxies(str(url)) == {}, host


def test_the_settings_page_lists_what_is_passed_and_what_is_forgotten():
    page = (ROOT / "docs" / "settings.md").read_text()
    listed = set(re.findall(r"`([A-Za-z][A-Za-z0-9_]*)\*?`", page))
    assert {*PASSED, *NETWORK, *FORGOTTEN, *DOTENV} - listed == set()
