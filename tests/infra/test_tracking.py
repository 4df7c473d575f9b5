import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import tomllib
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow.exceptions import MlflowException
from mlflow.experiments import commands as experiments
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST
from sqlalchemy import event, make_url
from sqlalchemy.orm import Session

from infra.errors import BadSetting, InfraError
from infra.settings import sqlite_url
from infra.tracking.client import client_of, set_past_others, tracking_uri
from infra.tracking.runs import DUPLICATE, RUN_KEY, attach_run, connect, open_run


@pytest.fixture
def run(request):
    return open_run("tests", run_key=request.node.name, run_name="a run", artifact_root=os.environ["DPO_HOME"])


def read(run):
    return connect().get_run(run.id)


def artifact(run, name: str) -> Path:
    return Path(read(run).info.artifact_uri) / name


def test_nested_params_get_dotted_names_and_long_values_are_cut(run):
    run.params({"training": {"beta": 0.1, "lora": None}, "intended": ["Athene"], "long": "x" * 7000, "empty": {}})
    params = read(run).data.params
    assert (params["training.beta"], params["training.lora"], params["intended"]) == ("0.1", "null", '["Athene"]')
    assert (len(params["long"]), params["empty"]) == (6000, "{}")


def test_more_params_than_one_request_takes_are_all_logged(run):
    run.params({f"p{i}": i for i in range(250)})
    assert len(read(run).data.params) == 250


def test_the_same_params_again_are_no_error_as_a_resumed_run_logs_them(run):
    run.params({"beta": 0.1})
    run.params({"beta": 0.1})
    assert read(run).data.params == {"beta": "0.1"}


def test_metrics_keep_their_steps(run):
    run.metrics({"loss": 0.7, "rewards/accuracies": 0.5}, step=1)
    run.metrics({"loss": 0.6}, step=2)
    points = connect().get_metric_history(run.id, "loss")
    assert [(point.step, point.value) for point in points] == [(1, 0.7), (2, 0.6)]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_metric_that_is_no_number_is_refused_by_name_and_none_is_logged(run, value):
    with pytest.raises(InfraError, match=f"metric kl is {value}"):
        run.metrics({"loss": 0.5, "kl": value})
    assert read(run).data.metrics == {}


def test_json_files_and_folders_become_artifacts(run, tmp_path):
    (tmp_path / "report.html").write_text("<p>")
    run.json("recipe.json", {"name": "Athéne"})
    run.artifact(tmp_path / "report.html", "reports")
    run.artifact(tmp_path, "folder")
    assert json.loads(artifact(run, "recipe.json").read_text()) == {"name": "Athéne"}
    assert artifact(run, "reports/report.html").read_text() == "<p>"
    assert artifact(run, "folder/report.html").read_text() == "<p>"


def test_a_data_set_is_linked_with_its_whole_digest_in_a_tag(run):
    sha256 = "0123456789abcdef" * 4
    run.dataset(name="pairs.jsonl", sha256=sha256, source="s3://me:canary@b/pairs.jsonl", rows=7)
    [link] = read(run).inputs.dataset_inputs
    assert link.dataset.digest == sha256[:32]
    assert {tag.key: tag.value for tag in link.tags} == {"mlflow.data.context": "training", "sha256": sha256}
    assert json.loads(link.dataset.profile) == {"num_rows": 7}
    assert "canary" not in link.dataset.source
    assert read(run).data.tags["dataset.training.sha256"] == sha256


def open_again(key: str):
    return open_run("tests", run_key=key, run_name="again", artifact_root=None)


@pytest.mark.parametrize("status", ["FAILED", "KILLED"])
def test_a_run_that_ended_badly_is_continued(run, request, status):
    run.finish(status)
    assert open_again(request.node.name).id == run.id
    assert read(run).info.status == "RUNNING"


def test_a_finished_run_is_returned_as_it_is(run, request):
    run.finish("FINISHED")
    assert open_again(request.node.name).id == run.id
    assert read(run).info.status == "FINISHED"


def test_another_key_is_another_run(run):
    assert open_again("another").id != run.id


def test_a_run_doubled_by_a_lost_answer_is_set_aside(run, request):
    client = connect()
    double = client.create_run(read(run).info.experiment_id, tags={RUN_KEY: request.node.name})
    assert open_again(request.node.name).id == run.id
    double = client.get_run(double.info.run_id)
    assert (double.data.tags[DUPLICATE], double.info.status) == (run.id, "KILLED")
    assert open_again(request.node.name).id == run.id


def test_the_worker_attaches_to_the_run_by_id(run):
    attach_run(run.id).tags({"worker": 1})
    assert read(run).data.tags["worker"] == "1"


def test_attaching_to_no_run_is_an_error():
    with pytest.raises(InfraError, match="MLflow could not find the run"):
        attach_run("0" * 32)


def test_a_deleted_experiment_is_named_with_the_command_that_restores_it():
    client = connect()
    client.delete_experiment(client.create_experiment("thrown away"))
    with pytest.raises(InfraError, match="experiment 'thrown away' is deleted") as caught:
        open_run("thrown away", run_key="k", run_name="n", artifact_root=None)
    setting, *command = shlex.split(re.search("`(.*)`", caught.value.do)[1])
    assert setting == f"MLFLOW_TRACKING_URI={os.environ['MLFLOW_TRACKING_URI']}"
    assert command[:2] == ["mlflow", "experiments"]
    assert CliRunner().invoke(experiments, command[2:]).exit_code == 0
    assert open_run("thrown away", run_key="k", run_name="n", artifact_root=None).id


def test_a_person_is_told_how_to_see_an_embedded_run(run):
    assert run.url().startswith(f"mlflow ui --backend-store-uri {os.environ['MLFLOW_TRACKING_URI']}")


def test_a_server_that_does_not_answer_is_named_without_its_password(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:canary@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(InfraError, match="check that the tracking server is up") as caught:
        open_run("tests", run_key="k", run_name="n", artifact_root=None)
    assert "canary" not in str(caught.value)


def test_three_processes_may_make_the_same_new_database(tmp_path, forkserver):
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'new.db'}", "PYTHONWARNINGS": "ignore"}
    root = Path(__file__).parents[2]
    start = [str(forkserver.python), "-m", "tests.infra.open_a_run"]
    workers = [
        subprocess.Popen(start, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    answers = [worker.communicate() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0], answers
    assert len({out for out, _ in answers}) == 1  # and agree on one run


def test_a_tag_that_another_process_sets_between_mlflows_look_and_its_insert_is_set_by_the_last_to_come(run):
    database = make_url(tracking_uri()).database
    others = iter(["theirs"])

    def set_first(*_):
        for value in others:
            with closing(sqlite3.connect(database)) as connection, connection:
                connection.execute("INSERT INTO tags (key, value, run_uuid) VALUES ('raced', ?, ?)", (value, run.id))

    event.listen(Session, "before_flush", set_first)
    try:
        set_past_others(connect().set_tag, run.id, "raced", "ours")
    finally:
        event.remove(Session, "before_flush", set_first)
    assert next(others, None) is None
    assert read(run).data.tags["raced"] == "ours"


def test_what_mlflow_refuses_for_good_is_asked_once():
    asked = []

    def refuse(*names):
        asked.append(names)
        raise MlflowException("no such version", RESOURCE_DOES_NOT_EXIST)

    with pytest.raises(MlflowException, match="no such version"):
        set_past_others(refuse, "m", "1")
    assert asked == [("m", "1")]


def test_tables_that_a_killed_run_began_to_make_are_made_anew(tmp_path, monkeypatch):
    def killed(engine):
        from mlflow.store.tracking.dbmodels.initial_models import Base as Tables

        Tables.metadata.tables["experiments"].create(engine)
        raise KeyboardInterrupt  # MLflow's first tables are there, its migrations are not: it refuses such a file

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with monkeypatch.context() as patch:
        patch.setattr("mlflow.store.db.utils._initialize_tables", killed)
        with pytest.raises(KeyboardInterrupt):
            client_of(uri)
    assert not (tmp_path / "mlflow.db").exists()
    assert [experiment.name for experiment in client_of(uri).search_experiments()] == ["Default"]
    assert not list(tmp_path.glob("*.making*"))


def test_the_database_of_a_home_with_signs_of_an_address_leaves_no_folder_beside_it(run, tmp_path):
    # MLflow makes the folder that its address spells, signs and all: `a%3Fb` beside `a?b`, or an error where it may not
    home = tmp_path / "a?b" / "My%20Project #1"
    home.mkdir(parents=True)
    shutil.copyfile(make_url(tracking_uri()).database, home / "mlflow.db")
    client = client_of(sqlite_url(home / "mlflow.db"))
    assert client.get_run(run.id).info.run_id == run.id
    assert {path.name for path in tmp_path.iterdir()} == {"a?b"}
    assert (home / "mlflow.db.lock").exists()  # of processes that find no tables, one makes them


def test_the_postgres_extra_installs_the_driver_that_its_addresses_ask_for_and_pins_it():
    root = Path(__file__).parents[2]
    driver = make_url("postgresql://db/mlflow").get_dialect().driver
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert [re.match(r"\w+", needed)[0] for needed in extras["postgres"]] == [driver]
    assert re.search(rf"^{driver}==", (root / "constraints.txt").read_text(), re.MULTILINE)


def test_a_database_whose_driver_is_not_installed_is_told_with_the_remedy():
    with pytest.raises(BadSetting, match="a package is missing") as caught:
        client_of("mssql+nosuchdriver://me:canary@127.0.0.1:1/mlflow")
    assert "dpo-pipeline[postgres]" in caught.value.do
    assert "canary" not in str(caught.value)


def test_runs_go_to_the_experiment_of_the_recipe_whatever_mlflows_variables_say(monkeypatch, tmp_path):
    other = connect().create_experiment("somebody else's")
    foreign = connect().create_run(other).info.run_id
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", other)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "somebody else's")
    monkeypatch.setenv("MLFLOW_RUN_ID", foreign)
    run = open_run("the recipe's", run_key="leak", run_name="n", artifact_root=str(tmp_path))
    run.params({"beta": 0.1})
    run.settle(0)
    found = connect().get_run(run.id)
    assert connect().get_experiment(found.info.experiment_id).name == "the recipe's"
    assert found.data.params == {"beta": "0.1"}
    assert connect().get_run(foreign).data.params == {}
