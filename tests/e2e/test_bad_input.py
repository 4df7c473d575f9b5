"""What people get wrong: each case has its words, its exit code, no traceback, and leaves nothing half-written."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.cli.app import run
from tests.faults.life import TRACE
from tests.forkserver import CHILDREN

pytestmark = pytest.mark.usefixtures("prefect_server")  # a command that runs a flow starts none of its own

INTERPRETER = sys.executable  # by its whole path; tests have the fork server's in its place
CAMPAIGN = pytest.mark.campaign
RANDOM = random.Random(0)
WORDS = ["sea", "hill", "lamp", "bread", "stone", "river", "cloud", "winter", "garden", "letter", "music", "bridge"]


def message(role: str) -> list[dict[str, str]]:
    """Words drawn by lot: no feature tells chosen from rejected, so the data check finds nothing."""
    return [{"role": role, "content": " ".join(RANDOM.choices(WORDS, k=9))}]


ROWS = [
    {"prompt": message("user"), "chosen": message("assistant"), "rejected": message("assistant")} for _ in range(50)
]


def write_rows(path: Path, rows) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with a home of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/home/mlflow.db")
    return tmp_path


@pytest.fixture
def recipe(place, tiny_model):
    """Write run.yaml; keyword arguments replace or add top-level keys."""

    def write(**changes) -> str:
        values = {"name": "tiny", "model": str(tiny_model), "data": {"train": "pairs.jsonl"}, **changes}
        (place / "run.yaml").write_text(json.dumps(values))  # JSON is YAML
        return "run.yaml"

    write_rows(place / "pairs.jsonl", ROWS)
    return write


@pytest.fixture
def refused(capfd):
    """Run a command that must be refused; get back its error document."""

    def refuse(*arguments: str, code: int = 2) -> dict[str, str]:
        capfd.readouterr()
        assert run([*arguments, "--json"]) == code
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        document = json.loads(out)
        assert document["schema"] == 1
        error = document["error"]
        assert all(error[part] in err for part in ("says", "where", "do"))
        return error

    return refuse


def files_of(folder: Path) -> list[str]:
    """What a refused run left behind, the services' own databases and logs and the lock of scratch folders aside."""
    mine = [path for path in folder.rglob("*") if path.is_file() and "prefect" not in path.parts]
    return sorted(path.name for path in mine if not path.name.startswith(("mlflow.db", "scratch.lock")))


# The recipe: refused before anything starts.


@pytest.mark.parametrize(
    ("text", "says", "where", "do"),
    [
        (
            "name: a\nmodel: m\ndata: {train: x}\ntraning: {}\n",
            "unknown key 'traning'",
            ":4, key traning",
            "'training'",
        ),
        (
            "name: a\nmodel: m\ndata: {train: x}\ntraining:\n  betta: 0.1\n",
            "unknown key 'betta'",
            ":5, key training.betta",
            "did you mean 'beta'?",
        ),
        (
            "name: a\nmodel: m\ndata: {train: x}\ntraining: {beta: much}\n",
            "training.beta: Input should be a valid number, got 'much'",
            ":4, key training.beta",
            "dpo config --schema",
        ),
        ("name: a\ndata: {train: x}\n", "'model' is missing", "run.yaml", "add it"),
        ("name: [a\n", "not valid YAML", "run.yaml:2:1", "mend the YAML"),
        ("", "a recipe is a mapping of keys to values", "run.yaml", "dpo init run.yaml"),
        (
            "name: a\nmodel: m\ndata: {train: x}\ngate: {improve: [behaviour/x]}\n",
            "which evaluation does not measure",
            "run.yaml",
            "dpo config --schema",
        ),
    ],
    ids=["section", "key", "type", "missing", "yaml", "empty", "metric"],
)
def test_a_bad_recipe_names_line_key_and_remedy(text, says, where, do, place, refused):
    (place / "run.yaml").write_text(text)
    error = refused("retrain", "run.yaml")
    assert says in error["says"]
    assert where in error["where"]
    assert do in error["do"]
    assert files_of(place) == ["run.yaml"]


def test_a_missing_recipe(place, refused):
    assert refused("retrain", "none.yaml")["says"] == "there is no such recipe"
    assert files_of(place) == []


def test_a_bad_override_names_itself(recipe, refused):
    error = refused("retrain", recipe(), "--set", "training.beta=-1")
    assert "training.beta: Input should be greater than 0" in error["says"]
    assert "--set training.beta=-1" in error["where"]


def test_a_length_beyond_the_models_context_is_refused_with_the_context(recipe, place, refused):
    error = refused("retrain", recipe(encoding={"max_length": 4096}))
    assert error["says"] == "encoding.max_length is 4096; the model's context is 1024 tokens"
    assert error["where"].endswith("config.json")
    assert "lower encoding.max_length to 1024" in error["do"]


def test_float16_is_refused_with_the_reason(recipe, place, refused):
    error = refused("retrain", recipe(training={"dtype": "float16"}))
    assert "training.dtype: " in error["says"]
    assert "float16 is not offered" in error["says"]
    assert error["where"].endswith("key training.dtype")


def test_a_misspelt_setting_is_refused_with_the_nearest_name(recipe, place, refused, monkeypatch):
    monkeypatch.setenv("DPO_STORE_ULR", "s3://bucket")
    error = refused("retrain", recipe())
    assert error["says"] == "DPO_STORE_ULR is no setting"
    assert error["do"] == "did you mean DPO_STORE_URL?"
    assert files_of(place) == ["pairs.jsonl", "run.yaml"]


# The pairs: whole files are refused, single rows are set aside with their reason.


def test_pairs_that_are_not_there(place, refused):
    error = refused("check", "gone.jsonl")
    assert (error["says"], error["where"]) == ("there is no such file", "gone.jsonl")
    assert files_of(place) == []


def test_an_empty_file(place, refused):
    (place / "pairs.jsonl").write_text("")
    error = refused("check", "pairs.jsonl")
    assert error["says"] == "the file is empty"
    assert files_of(place) == ["pairs.jsonl"]


def test_a_file_in_which_no_row_has_the_columns_names_them(place, refused):
    write_rows(place / "pairs.jsonl", [{"question": "a", "good": "b", "bad": "c"}] * 50)
    error = refused("check", "pairs.jsonl")
    assert error["says"].startswith("every row lacks a column: missing column 'chosen'")
    assert error["where"] == "pairs.jsonl:1"


BAD_ROWS = {
    "invalid JSON": ('{"prompt": "a", "chosen', "invalid JSON at column "),
    "missing column": ({"prompt": ROWS[0]["prompt"], "chosen": ROWS[0]["chosen"]}, "missing column 'rejected'"),
    "content that is no text": ({**ROWS[0], "chosen": [{"role": "assistant", "content": 7}]}, "content"),
    "unknown role": ({**ROWS[0], "prompt": [{"role": "wizard", "content": "a"}]}, "unknown role 'wizard'"),
}


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_one_bad_row_of_50_is_set_aside_with_line_and_reason_and_fails_the_check(row, reason, place, capfd):
    write_rows(place / "pairs.jsonl", [*ROWS[:20], row, *ROWS[20:49]])
    assert run(["check", "pairs.jsonl", "--report", "report", "--json"]) == 3
    out, err = capfd.readouterr()
    document = json.loads(out)
    assert (document["verdict"], document["rows_in"], document["rows_quarantined"]) == ("fail", 50, 1)
    assert "structure/quarantined" in [f["check"] for f in document["findings"] if f["severity"] == "fail"]
    entry = json.loads((place / "report" / "quarantine.jsonl").read_text())
    assert entry["line"] == 21
    assert reason in entry["reason"]
    assert "FAIL  50 rows in, 49 kept, 1 quarantined" in err
    assert "Traceback" not in err


def test_a_response_longer_than_the_context_is_set_aside_not_cut(place, tiny_model, capfd):
    long = {**ROWS[0], "chosen": [{"role": "assistant", "content": "far " * 2000}]}
    write_rows(place / "pairs.jsonl", [*ROWS[:49], long])
    assert run(["check", "pairs.jsonl", "--model", str(tiny_model), "--report", "report", "--json"]) == 3
    assert json.loads(capfd.readouterr().out)["rows_quarantined"] == 1
    reason = json.loads((place / "report" / "quarantine.jsonl").read_text())["reason"]
    assert "exceed encoding.max_length 1024" in reason


def test_a_tokenizer_without_chat_template(place, tiny_model, refused):
    folder = shutil.copytree(tiny_model, place / "bare")
    (folder / "chat_template.jinja").unlink()
    write_rows(place / "pairs.jsonl", ROWS)
    error = refused("check", "pairs.jsonl", "--model", "./bare")
    assert error["says"] == "the pairs are chat messages, but the tokenizer has no chat template"


def test_a_failed_check_ends_a_retrain_with_exit_3_the_checks_document_and_no_version(recipe, place, capfd):
    run_yaml = recipe()
    write_rows(place / "pairs.jsonl", [*ROWS[:49], "no JSON"])
    assert run(["retrain", run_yaml, "--json"]) == 3
    document = json.loads(capfd.readouterr().out)
    assert (document["verdict"], document["rows_quarantined"]) == ("fail", 1)
    assert Path(document["report"]).is_file()
    from infra.registry.versions import by_alias

    assert by_alias("tiny", "challenger") is None
    assert not (place / "home" / "runs").exists()


# What the recipe names: refused by the first task of the flow.


def test_a_missing_data_file(recipe, place, refused):
    error = refused("retrain", recipe(data={"train": "gone.jsonl"}))
    assert error["says"] == "a file that the recipe names is missing"
    assert error["where"] == str(place / "gone.jsonl")
    assert files_of(place) == ["pairs.jsonl", "run.yaml"]


def test_a_model_folder_without_weights(recipe, place, refused):
    (place / "empty").mkdir()
    (place / "empty" / "config.json").write_text("{}")
    error = refused("retrain", recipe(model="./empty"))
    assert error["says"] == "the model folder has no weights (*.safetensors)"
    assert error["where"] == str(place / "empty")


def test_a_model_that_is_not_there(recipe, refused):
    assert refused("retrain", recipe(model="./nowhere"))["says"] == "there is no such model"


def test_a_ledger_of_a_newer_format_ends_a_run_before_it_trains(recipe, place, refused):
    entry = place / "home" / "store" / "promotions" / "tiny" / "0000000001.json"
    entry.parent.mkdir(parents=True)
    entry.write_text('{"format": 2}')
    error = refused("retrain", recipe())
    assert error["says"] == "the ledger's entry was written by a newer version: format 2, this one knows 1"
    assert error["where"] == str(entry)
    assert "use the version of dpo-pipeline that wrote it" in error["do"]
    assert files_of(place) == [entry.name, "pairs.jsonl", "run.yaml"]


def test_a_store_that_is_not_create_only_ends_a_run_before_it_trains(recipe, place, refused, monkeypatch):
    from infra.store.folder import FolderStore

    put = FolderStore.put_bytes
    monkeypatch.setattr(FolderStore, "put_bytes", lambda self, key, data, create_only=False: put(self, key, data))
    error = refused("retrain", recipe())
    assert error["says"].startswith("the store does not heed create-only writes: 9 of 9 writers of one new key")
    assert error["where"] == str(place / "home" / "store")
    assert "DPO_STORE_URL" in error["do"]
    assert files_of(place) == ["pairs.jsonl", "run.yaml"]


def test_a_full_disk_says_where_and_how_to_go_on(recipe, place, refused, monkeypatch):
    import errno

    from infra.store.folder import FolderStore

    def full(self, key, data, *, create_only=False):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), f"{self.root}/{key}")

    monkeypatch.setattr(FolderStore, "put_bytes", full)
    error = refused("retrain", recipe())
    assert error["says"] == "the disk is full"
    assert str(place / "home" / "store") in error["where"]
    assert "run it again: " in error["do"]


ENTER = ["unshare", "--user", "--map-root-user", "--mount", "true"]  # a namespace of our own, where we may mount
can_mount = shutil.which("unshare") and not subprocess.run(ENTER, capture_output=True, check=False).returncode


@pytest.mark.skipif(not can_mount, reason="needs user namespaces, to mount a disk of 100 KiB")
@pytest.mark.parametrize("setting", ["DPO_HOME", "DPO_STORE_URL"])
def test_a_disk_that_is_really_full(recipe, place, setting):
    """The home's disk is looked at before anything starts; the store's is met by the first thing kept there."""
    from prefect.settings import get_current_settings

    recipe()
    disk = place / "disk"
    disk.mkdir()
    command = [sys.executable, "-m", "tests.e2e.full_disk", str(disk), "retrain", "run.yaml", "--json"]
    server = get_current_settings().api.url  # the tests' own: none is started for this
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "PREFECT_API_URL": server, setting: str(disk)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    error = json.loads(done.stdout)["error"]
    assert done.returncode == 2
    assert error["says"] == "the disk is full"
    assert str(disk) in error["where"]
    assert "free space there, or set DPO_HOME to a larger disk" in error["do"]
    assert "Traceback" not in done.stderr
    assert ".partial" not in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("command", "group"),
    [pytest.param("retrain", True, marks=CAMPAIGN), ("retrain", False), pytest.param("tune", True, marks=CAMPAIGN)],
    ids=["ctrl-c", "kill", "ctrl-c in the first of a trial's trainings"],
)
def test_an_interrupted_training_exits_130_says_how_to_go_on_and_leaves_no_process(recipe, place, command, group):
    """Its children are real: a forked one is no child of the one that started it, and children are what is ended."""
    from prefect.settings import get_current_settings

    recipe(training={"num_train_epochs": 1000.0, "learning_rate": 1e-4}, tune={"share": 0.5})
    arguments = [sys.executable, "-m", "tests.faults.life", command, "run.yaml"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    environment |= {TRACE: str(place / "trace"), CHILDREN: INTERPRETER}
    if not group:  # Ctrl-C has to spare the temporary server; a kill goes past it
        environment["PREFECT_API_URL"] = get_current_settings().api.url
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(arguments, env=environment, start_new_session=True, **pipes)
    deadline = time.monotonic() + 1500
    while not list((place / "home").glob("runs/*/order.json")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.2)
    (os.killpg if group else os.kill)(process.pid, signal.SIGINT if group else signal.SIGTERM)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert out.strip() == ""
    last = err.rstrip().splitlines()[-3:]
    assert last[0] == "stopped: interrupted: nothing finished is lost"
    assert last[2].endswith(f"dpo {command} run.yaml")
    deadline = time.monotonic() + 300  # the server may still be closing its database
    while (left := processes_of(place / "home")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []


def processes_of(home: Path) -> list[str]:
    """Command lines of what still runs with this DPO_HOME."""
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("DPO_HOME") == str(home) and process.pid != os.getpid():
                found.append(" ".join(process.cmdline()))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found
