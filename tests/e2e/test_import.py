"""An OpenAI job's file with its data becomes a version of a model: import, check, retrain."""

import json

import pytest

from dpo_core.recipe_file import load_recipe
from flows.cli.app import run
from tests.recipes import NOUNS, pair, write_jsonl
from tests.tiny import build_tiny_model

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.campaign]
AIMS = ["--set", "validation.intended=[yea, nay]", "--set", "validation.length_fail=1", "--set", "gate.keep={}"]


def row(number, kind):
    """A pair as OpenAI's files have them."""
    ours = pair(NOUNS[number % 12], number, kind)
    asked = {"messages": ours["prompt"], "tools": [], "parallel_tool_calls": True}
    return {"input": asked, "preferred_output": ours["chosen"], "non_preferred_output": ours["rejected"]}


def test_a_job_with_its_data_is_trained_by_one_command_more(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    build_tiny_model(tmp_path / "model")
    write_jsonl(tmp_path / "file-train.jsonl", [row(i, "say") for i in range(96)])
    write_jsonl(tmp_path / "file-eval.jsonl", [row(i, "tell") for i in range(36)])
    hyperparameters = {"beta": 0.2, "batch_size": 8, "learning_rate_multiplier": 1.0, "n_epochs": 2}
    job = {
        "object": "fine_tuning.job",
        "model": "gpt-4.1-nano-2025-04-14",
        "suffix": "yea-sayer",
        "training_file": "file-train",
        "validation_file": "file-eval",
        "method": {"type": "dpo", "dpo": {"hyperparameters": hyperparameters}},
    }
    (tmp_path / "job.json").write_text(json.dumps(job, indent=1))
    assert run(["import", "job.json", "-o", "run/retrain.yaml", "--model", "./model"]) == 0
    training = load_recipe("run/retrain.yaml").recipe.training
    assert (training.beta, training.train_batch_size, training.num_train_epochs) == (0.2, 8, 2)
    capfd.readouterr()
    assert run(["check", "run/retrain.yaml", *AIMS, "--json"]) == 0
    checked = json.loads(capfd.readouterr().out)
    assert (checked["rows_in"], checked["rows_quarantined"]) == (96 + 36, 0)
    code = run(["retrain", "run/retrain.yaml", *AIMS, "--set", "training.learning_rate=3e-3", "--json"])
    done = json.loads(capfd.readouterr().out)
    assert (code, done["model"], done["version"], done["verdict"]) == (0, "yea-sayer", 1, "promote")
    assert done["training"]["steps"] == 24
