"""No secret of the environment leaves a run, whether it goes well or a server is down.

Looked at are its output, every file below its home (Prefect's and MLflow's databases among them), and the command lines
of what it starts.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.faults.life import TRACE
from tests.recipes import tiny_recipe

CANARY = "kanarienvogel"
EVERYWHERE = {  # settings that a run takes and does not need
    **{f"{name}": f"{CANARY}-{name}" for name in ("HF_TOKEN", "MLFLOW_TRACKING_TOKEN", "PREFECT_API_KEY")},
    **{
        "AWS_ACCESS_KEY_ID": f"{CANARY}-id",
        "AWS_SECRET_ACCESS_KEY": f"{CANARY}-key",
        "AWS_SESSION_TOKEN": f"{CANARY}-t",
    },
    **{"AWS_ENDPOINT_URL": f"http://me:{CANARY}@127.0.0.1:1/", "HF_ENDPOINT": f"http://me:{CANARY}@127.0.0.1:1"},
    **{"HTTP_PROXY": f"http://me:{CANARY}@127.0.0.1:9", "HTTPS_PROXY": f"http://me:{CANARY}@127.0.0.1:9"},
    **{"PREFECT_API_AUTH_STRING": f"admin:{CANARY}", "PREFECT_CLIENT_CUSTOM_HEADERS": f'{{"X-A": "{CANARY}"}}'},
    "PREFECT_LOGGING_LEVEL": "DEBUG",
}


def left_by(folder: Path, arguments: list[str], extra: dict[str, str]) -> tuple[int, list[str]]:
    """Exit code, and where the canary is found after a run in a home of its own."""
    home, said = folder / "home", folder / "said"
    places = {"DPO_HOME": str(home), "PREFECT_HOME": str(home / "prefect"), TRACE: str(folder / "trace")}
    kept = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    environment = {**kept, **EVERYWHERE, **places, **extra}
    command = [sys.executable, "-m", "tests.faults.life", "retrain", *arguments]
    lines: set[str] = set()
    with said.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
        while process.poll() is None:
            for other in psutil.process_iter(["cmdline"]):
                lines.update(other.info["cmdline"] or ())
            time.sleep(0.3)
    found = [str(path) for path in (said, *home.rglob("*")) if path.is_file() and CANARY.encode() in path.read_bytes()]
    return process.returncode, found + [line for line in lines if CANARY in line]


def test_a_run_that_goes_well_leaves_no_secret_behind(tmp_path):
    code, found = left_by(tmp_path, [str(tiny_recipe(tmp_path / "recipe")), "--debug"], {})
    assert found == []
    assert code == 0, (tmp_path / "said").read_text()[-3000:]


@pytest.mark.parametrize(
    "setting",
    [
        {"MLFLOW_TRACKING_URI": f"http://me:{CANARY}/x@y@127.0.0.1:1/?token={CANARY}"},
        {"DPO_STORE_URL": "s3://bucket/x", "DPO_PATIENCE_S": "0"},
    ],
    ids=["mlflow", "s3"],
)
def test_a_run_whose_server_is_down_leaves_no_secret_behind(tmp_path, setting):
    quick = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "AWS_MAX_ATTEMPTS": "1", "AWS_REGION": "eu-west-1"}
    code, found = left_by(tmp_path, [str(tiny_recipe(tmp_path / "recipe")), "--debug"], {**quick, **setting})
    assert found == []
    assert code == 75, (tmp_path / "said").read_text()[-3000:]
