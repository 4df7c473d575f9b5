"""The training process from outside: what it gets, what it says, and how its end is told."""

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import yaml
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_multi_gpu_env

from dpo_core.data.pairs import write_examples
from dpo_core.errors import Diverged, InputError
from dpo_core.recipe import Training
from infra.errors import ProcessFailed, Rejected, Unavailable
from infra.settings import Settings
from infra.tracking.runs import open_run
from tasks.records import TrainOutput, WorkOrder
from tasks.training import worker
from tasks.training.accelerator import spread_as_whole
from tasks.training.process import Listener, launch, why_it_ended
from tests.tiny import scored_examples

ROOT = Path(__file__).parents[2]
HOSTILE = {
    **{"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29555"},
    **{"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"},
    **{"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4", "ACCELERATE_USE_FSDP": "true", "ACCELERATE_USE_CPU": "yes"},
    **{"MLFLOW_RUN_ID": "nosuchrun", "MLFLOW_EXPERIMENT_ID": "99"},
}


@pytest.fixture
def settings(tmp_path, forkserver, monkeypatch):
    """Programs are forked; the wish for a training of a few steps lies in the folder that `order` gives."""
    monkeypatch.setattr(sys, "executable", str(forkserver.python))
    return Settings(home=Path(os.environ["DPO_HOME"]), num_threads=1, train_timeout_s=200)


@pytest.fixture
def order(tmp_path, tiny_model, request):
    """Write an order of two steps into a folder of this name."""

    def write(name: str, **changes: object) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        write_examples(scored_examples(tiny_model, 8), folder / "examples.jsonl")
        run = open_run("process", run_key=f"{request.node.name} {name}", run_name="run", artifact_root=None)
        training = Training(max_steps=2, train_batch_size=4, learning_rate=1e-3)
        known = {"model_folder": str(tiny_model), "training": training, "seed": 1, "threads": 1, "run_id": run.id}
        told = WorkOrder(**{**known, "from_reference": True, "trusted_code": None, **changes})
        (folder / "order.json").write_text(told.model_dump_json())
        return folder

    return write


def weights(folder: Path) -> str:
    return TrainOutput.model_validate_json((folder / "result.json").read_bytes()).weights_sha256


@pytest.fixture
def accelerate_default():
    """What `accelerate config` has left in the user's cache, for other work."""
    file = Path(os.environ["HF_HOME"]) / "accelerate" / "default_config.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    config = {"compute_environment": "LOCAL_MACHINE", "distributed_type": "MULTI_GPU", "num_processes": 2}
    file.write_text(yaml.safe_dump({**config, "mixed_precision": "fp16", "gradient_accumulation_steps": 4}))
    yield file
    file.unlink()


def test_the_weights_are_the_same_whatever_a_launcher_or_accelerate_left_behind(
    settings, order, monkeypatch, accelerate_default
):
    plain = order("plain")
    launch(plain, settings)
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)
    hostile = order("hostile")
    launch(hostile, settings)
    assert weights(plain) == weights(hostile)


def test_two_processes_of_a_launch_train_to_the_end(settings, order, tmp_path):
    config = tmp_path / "two.yaml"
    several = {"compute_environment": "LOCAL_MACHINE", "distributed_type": "MULTI_GPU", "num_processes": 2}
    config.write_text(yaml.safe_dump({**several, "num_machines": 1, "machine_rank": 0, "main_process_port": 0}))
    folder = order("two")
    launch(folder, settings.model_copy(update={"accelerate_config": config, "train_timeout_s": 60}))
    assert len(weights(folder)) == 64


def test_a_training_that_takes_too_long_is_told_by_its_setting(settings, order):
    with pytest.raises(ProcessFailed, match="took longer than DPO_TRAIN_TIMEOUT_S, 0 s"):
        launch(order("long"), settings.model_copy(update={"train_timeout_s": 0}))


def test_a_training_that_takes_too_long_ends_no_other_that_began_meanwhile(settings, order, monkeypatch):
    others = []

    def listened(process):
        others.append(subprocess.Popen(["sleep", "600"]))
        return Listener(process)

    monkeypatch.setattr("tasks.training.process.Listener", listened)
    before = psutil.Process().children(recursive=True)
    try:
        with pytest.raises(ProcessFailed, match="took longer"):
            launch(order("long"), settings.model_copy(update={"train_timeout_s": 0}))
        [left] = [child for child in psutil.Process().children(recursive=True) if child not in before]
        assert (left.pid, others[0].poll()) == (others[0].pid, None)
    finally:
        others[0].kill()
        others[0].wait()


def test_ctrl_c_in_the_moment_of_the_start_leaves_no_process(settings, order, tmp_path, monkeypatch):
    def interrupted(process):
        raise KeyboardInterrupt

    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 600\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr("tasks.training.process.Listener", interrupted)
    before = psutil.Process().children(recursive=True)
    with pytest.raises(KeyboardInterrupt):
        launch(order("interrupted"), settings)
    assert [child for child in psutil.Process().children(recursive=True) if child not in before] == []


@pytest.mark.parametrize("ignored", [True, False])
def test_a_launch_of_several_processes_heeds_a_closed_terminal_unless_nohup_says_otherwise(
    settings, tmp_path, monkeypatch, ignored
):
    from torch.distributed.run import get_args_parser

    def started(command, *, env, **_):
        monkeypatch.setattr(os, "environ", env)
        raise KeyboardInterrupt

    monkeypatch.setattr("tasks.training.process.subprocess.Popen", started)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        with pytest.raises(KeyboardInterrupt):
            launch(tmp_path, settings)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert ("SIGHUP" in get_args_parser().parse_args(["script"]).signals_to_handle.split(",")) is not ignored


def test_what_the_worker_cannot_use_comes_back_in_three_parts(settings, order, tmp_path):
    with pytest.raises(InputError) as caught:
        launch(order("gone", model_folder=str(tmp_path / "gone")), settings)
    assert caught.value.where == str(tmp_path / "gone")
    assert caught.value.do


@pytest.mark.parametrize("kind", [InputError, Diverged, Unavailable, Rejected])
def test_an_error_of_the_worker_is_of_the_same_kind_in_the_flow(settings, tmp_path, monkeypatch, kind):
    """A scheduler tries again what was only away, by the exit code."""

    def run(folder, *, live):
        raise type("Special", (kind,), {})("the judge says so", where="http://h/v1", do="wait")

    monkeypatch.setattr(worker, "run", run)
    assert worker.main(tmp_path) == 1
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(kind, match="the judge says so") as caught:
        launch(tmp_path, settings)
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("error", "in_vain"),
    [
        (RuntimeError("[../gloo/transport] Timed out waiting 1800000ms for recv operation to complete"), True),
        (RuntimeError("Watchdog caught collective operation timeout: WorkNCCL"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:114] you tried to allocate 9437184 bytes"), False),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
    ],
)
def test_a_rank_waits_in_vain_where_the_time_ran_out_and_not_for_the_name_of_its_error(monkeypatch, error, in_vain):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    told = worker._told(error)
    assert ("waited in vain" in told["says"]) is in_vain
    assert ("do" in told) is in_vain
    assert str(error) in told["says"]


def test_the_training_process_gets_the_keys_that_it_asks_endpoints_with_and_no_others(settings, tmp_path, monkeypatch):
    found = []

    def started(command, *, env, **_):
        found.append({name for name in ("TEAM_KEY", "OTHER_KEY") if name in env})
        raise KeyboardInterrupt

    monkeypatch.setattr("tasks.training.process.subprocess.Popen", started)
    monkeypatch.setenv("TEAM_KEY", "t-123456789")
    monkeypatch.setenv("OTHER_KEY", "o-123456789")
    for keys in ((), ("TEAM_KEY", "UNSET_KEY")):
        with pytest.raises(KeyboardInterrupt):
            launch(tmp_path, settings, keys)
    assert found == [set(), {"TEAM_KEY"}]


def test_a_configuration_that_accelerate_refuses_is_told_with_its_reason(settings, order, tmp_path, capfd):
    config = tmp_path / "other.yaml"
    known = {"compute_environment": "LOCAL_MACHINE", "distributed_type": "NO", "num_processes": 1}
    config.write_text(yaml.safe_dump({**known, "gradient_accumulation_steps": 4}))
    with pytest.raises(ProcessFailed, match=r"did not start: ValueError: .*gradient_accumulation_steps") as caught:
        launch(order("other"), settings.model_copy(update={"accelerate_config": config}))
    assert caught.value.where == str(config)
    assert "Traceback" not in capfd.readouterr().err


def listened(code: str, **environment: str) -> tuple[int, list[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **environment},
    )
    heard = Listener(process)
    ended = process.wait(60)
    heard.join(60)
    return ended, list(heard.last)


def told(code: str) -> ProcessFailed:
    ended, last = listened(code)
    return why_it_ended(ended, last, kills=0, config="one.yaml")


def test_what_a_process_says_is_handed_on_without_its_traceback_and_without_secrets(capfd, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "canary-canary")
    _, last = listened(
        "import sys, os; print('one'); sys.stderr.write('\\r 10%|#  |\\r 20%|## |\\n')\n"
        "print('token', os.environ['HF_TOKEN'])\nprint('end', flush=True)\n1 / 0"
    )
    err = capfd.readouterr().err
    assert "one\n" in err.replace("\r", "\n")
    assert "\r 20%|## |" in err
    assert "token ***" in err
    assert "Traceback" not in err
    assert "ZeroDivision" not in err
    assert last[-1] == "ZeroDivisionError: division by zero"
    assert "canary" not in err + "".join(last)


def test_with_debug_the_traceback_is_shown(capfd):
    logger = logging.getLogger("dpo.train")
    logger.setLevel(logging.DEBUG)
    try:
        listened("1 / 0")
    finally:
        logger.setLevel(logging.NOTSET)
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_an_import_error_at_the_start_is_told_as_one():
    error = told("import nosuchmodule")
    assert error.says == "the training process did not start: ModuleNotFoundError: No module named 'nosuchmodule'"
    assert "install what is missing" in error.do


def test_a_worker_that_was_killed_behind_its_launcher_is_told_with_the_memory():
    start = "import subprocess, sys; subprocess.run([sys.executable, '-c', {!r}], check=True)"
    wrapped = start.format("import os; os.kill(os.getpid(), {})")
    error = told(wrapped.format(9))
    assert error.says == "the training process was killed by SIGKILL"
    assert "GiB of memory are free" in error.where
    assert "training.gradient_checkpointing" in error.do
    assert told(wrapped.format(11)).says == "the training process was killed by SIGSEGV"


def test_ranks_that_nccl_ended_as_another_never_came_are_told_as_waiting_and_not_as_killed():
    words = "[Rank 1] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=7, OpType=ALLREDUCE)"
    error = told(f"import os; print({words!r}, flush=True); os.kill(os.getpid(), 6)")
    assert error.says == "a process of the training waited in vain for the others"
    assert "goes on from its last checkpoint" in error.do


def test_a_launcher_that_was_killed_itself_is_told_likewise():
    assert told("import os; os.kill(os.getpid(), 9)").says == "the training process was killed by SIGKILL"


def test_without_a_word_the_exit_code_is_told():
    assert told("import os; os._exit(3)").says == (
        "the training process ended with exit code 3; the last that it said: nothing"
    )
    assert "said: out of paper" in told("import os; print('out of paper', flush=True); os._exit(3)").says


def test_the_first_process_to_fail_is_the_one_that_is_told(tmp_path, monkeypatch):
    from tasks.training import worker

    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setattr(worker, "run", lambda folder, live: (_ for _ in ()).throw(ValueError(f"of {folder.name}")))
        monkeypatch.setenv("WORLD_SIZE", "2")
        assert worker.main(tmp_path) == 1
    assert json.loads((tmp_path / "error.json").read_text())["says"].startswith("rank 0: ValueError")


@pytest.fixture
def sharded(monkeypatch):
    """accelerate's plugin, as its launcher makes it of a configuration."""

    def read(config: Path) -> FullyShardedDataParallelPlugin:
        arguments = launch_command_parser().parse_args(["--config_file", str(config), "worker.py"])
        arguments, *_ = _validate_launch_command(arguments)
        for name, value in prepare_multi_gpu_env(arguments).items():
            monkeypatch.setenv(name, value)
        return FullyShardedDataParallelPlugin()

    return read


def test_a_configuration_that_unties_embeddings_is_refused_and_ours_does_not(sharded, tmp_path):
    ours = ROOT / "infra" / "accelerate" / "fsdp2.yaml"
    accelerator = SimpleNamespace(state=SimpleNamespace(fsdp_plugin=sharded(ours)))
    spread_as_whole(accelerator)
    config = yaml.safe_load(ours.read_text())
    del config["fsdp_config"]["fsdp_cpu_ram_efficient_loading"]  # accelerate's default is true
    (tmp_path / "fsdp2.yaml").write_text(yaml.safe_dump(config))
    accelerator = SimpleNamespace(state=SimpleNamespace(fsdp_plugin=sharded(tmp_path / "fsdp2.yaml")))
    with pytest.raises(InputError, match="would untie embeddings"):
        spread_as_whole(accelerator)
