"""The command line itself: start-up, usage, documents, exit codes. No flow runs here."""

import errno
import json
import logging
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import typer

from dpo_core.errors import InputError
from flows.cli.app import main, run
from flows.cli.console import CommandResult, serve
from infra.errors import InfraError, Unavailable
from tasks.documents import Retrained

DENIED = "this may not be read or written: Permission denied"
HEAVY = ("torch", "transformers", "prefect", "mlflow", "great_expectations", "pandas", "datasets", "pydantic")


def test_importing_the_command_line_loads_no_heavy_library():
    code = f"import flows.cli.app, sys; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["retrain"], "Missing argument 'RUN.yaml'"),
        (["chekc"], "No such command 'chekc'. Did you mean 'check'?"),
        (["check", "x", "--evil"], "No such option: --evil"),
        (["evaluate", "m", "d", "--beta", "much"], "Invalid value for '--beta'"),
    ],
)
def test_misuse_is_exit_2_and_three_lines(arguments, says, capfd):
    assert run(arguments) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert says in err
    assert [line.split(":")[0] for line in err.splitlines()] == ["error", "where", "do"]


def test_misuse_with_json_is_one_document_on_stdout(capfd):
    assert run(["retrain", "--json"]) == 2
    document = json.loads(capfd.readouterr().out)
    assert document["schema"] == 1
    assert document["error"]["do"] == "see dpo retrain --help"


def test_version_names_the_installed_package(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("dpo-pipeline ")


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (InputError("a", where="b", do="c"), 2, "a"),
        (InfraError("a", where="b", do="c"), 2, "a"),
        (Unavailable("a", where="b", do="c"), 75, "a"),
        (KeyboardInterrupt(), 130, "interrupted: nothing finished is lost"),
        (typer.Abort(), 130, "interrupted: nothing finished is lost"),
        (PermissionError(errno.EACCES, "Permission denied", "/app/run.yaml"), 2, DENIED),
        (
            OSError(errno.EROFS, "Read-only file system", "/app/run.yaml"),
            2,
            DENIED.replace("Permission denied", "Read-only file system"),
        ),
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), 2, "the disk is full"),
        (RuntimeError("worker: OSError: [Errno 28] No space left on device"), 2, "the disk is full"),
        (OSError(errno.EADDRINUSE, "Address already in use"), 2, "the port is in use by another program"),
        (ZeroDivisionError("division by zero"), 1, "ZeroDivisionError: division by zero"),
        (MemoryError(), 1, "the machine is out of memory"),
    ],
)
def test_each_error_has_its_exit_code_and_its_words(error, code, says, capfd):
    def fails():
        raise error

    assert serve(fails, as_json=True) == code
    out, err = capfd.readouterr()
    assert json.loads(out)["error"]["says"] == says
    assert says in err
    assert "Traceback" not in err


def test_a_full_disk_is_found_behind_another_error_with_its_path(capfd):
    def fails():
        try:
            raise OSError(errno.ENOSPC, "No space left on device", "/data/x")
        except OSError as error:
            raise InfraError("MLflow could not log", where="sqlite", do="check the server") from error

    assert serve(fails) == 2
    err = capfd.readouterr().err
    assert "the disk is full" in err
    assert "/data/x" in err


def test_debug_prints_the_traceback(capfd):
    serve(lambda: 1 / 0, debug=True)
    err = capfd.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert "error:   ZeroDivisionError: division by zero" in err


@pytest.fixture
def signals():
    """What SIGTERM and SIGHUP do here is restored afterwards."""
    before = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for name, handler in before.items():
        signal.signal(name, handler)


@pytest.mark.parametrize(
    ("given", "then"), [(signal.SIG_IGN, signal.SIG_IGN), (signal.SIG_DFL, signal.default_int_handler)]
)
def test_a_closed_terminal_interrupts_unless_nohup_says_otherwise(signals, monkeypatch, given, then):
    signal.signal(signal.SIGHUP, given)
    monkeypatch.setattr("flows.cli.app.run", lambda arguments: 0)
    with pytest.raises(SystemExit):
        main()
    assert (signal.getsignal(signal.SIGHUP), signal.getsignal(signal.SIGTERM)) == (then, signal.default_int_handler)


def test_interrupt_says_how_to_go_on(capfd, monkeypatch):
    def fails():
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["dpo", "retrain", "my run.yaml"])
    serve(fails)
    assert "to go on, run it again: " in (err := capfd.readouterr().err)
    assert "dpo retrain 'my run.yaml'" in err


def test_with_json_whatever_libraries_print_goes_to_stderr(capfd):
    def chatty():
        sys.stdout.write("from python\n")
        os.system("echo from a child process")
        return CommandResult({"a": 1}, lambda console: console.print("for people"))

    assert serve(chatty, as_json=True) == 0
    out, err = capfd.readouterr()
    assert json.loads(out) == {"schema": 1, "a": 1}
    assert all(words in err for words in ("from python", "from a child process", "for people"))


@pytest.mark.parametrize(
    "secret",
    [
        "postgresql://mlflow:hunter2@db/x",
        "AKIAIOSFODNN7EXAMPLE",
        "hf_abcdefghijklmnopqrstuvwx",
        "Authorization: Bearer abcdefgh12345678",
        "https://h/x?X-Amz-Signature=0123456789abcdef",
    ],
)
def test_secrets_are_struck_out_of_errors(secret, capfd):
    def fails():
        raise InfraError(f"refused {secret}", where=secret, do="look")

    serve(fails, as_json=True)
    out, err = capfd.readouterr()
    hidden = ("hunter2", "AKIAIOSFODNN7EXAMPLE", "abcdefgh", "0123456789abcdef")
    assert not any(word in out + err for word in hidden)
    assert "***" in out
    assert "***" in err


def test_the_value_of_a_secret_variable_is_struck_out_of_a_traceback(capfd, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG")

    def fails():
        raise ValueError("signing with wJalrXUtnFEMI/K7MDENG failed")

    serve(fails, debug=True)
    err = capfd.readouterr().err
    assert "signing with *** failed" in err
    assert "wJalr" not in err


def test_our_log_lines_show_stage_and_event_and_prefect_stays_silent(capfd, monkeypatch):
    import flows.cli.config

    def logs():
        logging.getLogger("dpo.train").info("step_done step=%d", 10)
        logging.getLogger("prefect.flow_runs").error("Encountered exception")
        return CommandResult({}, lambda console: None)

    monkeypatch.setattr(flows.cli.config, "describe_schema", logs)
    assert run(["config", "--schema"]) == 0
    err = capfd.readouterr().err
    assert "train     step_done step=10" in err


def test_the_recipe_is_read_before_anything_is_started_or_written(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    assert run(["retrain", str(tmp_path / "none.yaml")]) == 2
    assert list(tmp_path.iterdir()) == []
    assert "there is no such recipe" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("state", "verdict", "left", "code"),
    [
        ("promoted", "promote", "", 0),
        ("waiting_for_approval", "promote", "", 0),
        ("held", "hold_no_gain", "", 4),
        ("rejected", "reject_regression", "", 4),
        ("held", "promote", "version 2 is champion now", 4),
        ("nothing_new", "hold_no_gain", "", 0),
        ("nothing_new", "promote", "the alias was moved away from this version", 0),
    ],
)
def test_retrain_exits_4_unless_it_promoted_or_had_nothing_to_do_and_prints_the_flows_document(
    state, verdict, left, code, tmp_path, monkeypatch, capfd
):
    changed = state != "nothing_new"
    document = {
        "schema": 1,
        "state": state,
        "reasons": ["because of x"],
        "metrics": {},
        "uptake": [],
        "data_report": "data.html",
        "waiting_until": "2026-12-05T00:00:00+00:00" if state == "waiting_for_approval" else None,
        "verdict": verdict,
        "changed": changed,
        "model": "m",
        "version": 3,
        "champion_version": None,
        "not_promoted": left,
        "mlflow_run_id": "r",
        "weights_sha256": "w",
        "data_sha256": "d",
        "stages": [{"name": name, "cached": True, "seconds": 0.0} for name in ("check", "score")],
        "reference": {"rows": 2, "hits": 2, "forwards": 0},
        "training": {
            "steps": 1,
            "first_dpo_loss": 0.6931,
            "pairs_per_second": 1.5,
            "loss": "sigmoid",
            "online": None,
            "jumps": [],
            "early_stopping": None,
        },
        "seeds": [],
        "spread": {},
        "unstable": "",
        "report": "report.html",
    }
    display = {
        "before_after": [],
        "answers": [],
        "drift": {"chosen_logratio": 0.0, "rejected_logratio": 0.0, "margin": 0.0},
        "gate": {"verdict": verdict, "reasons": ["because of x"], "baseline": "reference"},
        "report": "data.html",
        "run_url": "",
    }
    done = Retrained.model_validate({"document": document, "display": display})
    monkeypatch.setitem(sys.modules, "flows.retrain", SimpleNamespace(retrain=lambda *given, force: done))
    recipe = tmp_path / "run.yaml"
    recipe.write_text("name: m\nmodel: ./m\ndata: {train: x.jsonl}\n")
    assert run(["retrain", str(recipe), "--json"]) == code
    out, err = capfd.readouterr()
    assert json.loads(out) == document
    assert "because of x" in err
    assert ("Nothing to do" in err) == (not changed)
    assert left in err
    assert ("NOT PROMOTED" in err) == bool(left)


@pytest.mark.parametrize(
    ("setting", "asked", "where"),
    [
        (
            "https://prefect.example.com/api",
            "https://prefect.example.com/api/flow_runs/1",
            "https://prefect.example.com/api",
        ),
        (None, "http://127.0.0.1:8123/api/health", "http://127.0.0.1:8123/api"),
        (None, "https://huggingface.co/api/models/x", "inside dpo"),
        ("https://prefect.example.com/api", "http://127.0.0.1:9/api/2.0/mlflow", "inside dpo"),
    ],
)
def test_a_prefect_server_that_does_not_answer_is_named_and_no_other_is_taken_for_it(
    monkeypatch, setting, asked, where
):
    import httpx

    from flows.cli.console import explain

    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    if setting:
        monkeypatch.setenv("PREFECT_API_URL", setting)
    answer = explain(httpx.ConnectError("refused", request=httpx.Request("GET", asked)))
    assert answer.document["error"]["where"] == where
    assert ("Prefect's server does not answer" in answer.document["error"]["says"]) == (where != "inside dpo")
