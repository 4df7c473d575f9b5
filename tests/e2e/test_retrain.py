"""The whole story on the tiny model, in the embedded default: SQLite MLflow, a folder store."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.faults.life import TRACE
from tests.recipes import tiny_recipe

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A DPO_HOME of this module's own, with its own registry."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DPO_HOME", str(folder))
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        yield folder


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return tiny_recipe(tmp_path_factory.mktemp("recipe"))


def run(recipe, *overrides, force=False):
    from flows.retrain import retrain

    return retrain(str(recipe), list(overrides), force)


@pytest.fixture(scope="module")
def first(home, recipe):
    return run(recipe)


def stages(done):
    return {stage.name: stage.cached for stage in done.document.stages}


def test_the_first_version_is_gated_against_the_reference_model_and_becomes_champion(first):
    assert first.document.verdict == "promote"
    assert first.display.gate.baseline == "reference"
    assert (first.document.version, first.document.champion_version) == (1, 1)
    assert list(stages(first)) == ["check", "score", "train", "evaluate", "register", "gate", "promote"]
    assert first.document.changed is True
    # 96 + 36 pairs of two distinct answers each
    assert first.document.reference.model_dump() == {"rows": 264, "hits": 0, "forwards": 264}
    assert first.document.training.steps == 24
    assert first.document.training.first_dpo_loss == pytest.approx(math.log(2), abs=1e-5)


def test_the_same_again_changes_nothing_and_forwards_nothing(first, home, recipe):
    from infra.registry.versions import by_alias

    again = run(recipe)
    assert again.document.changed is False
    assert all(stages(again).values())
    assert again.document.reference.model_dump() == {"rows": 264, "hits": 264, "forwards": 0}
    same = {"verdict", "version", "champion_version", "mlflow_run_id", "weights_sha256", "data_sha256", "report"}
    assert again.document.model_dump(include=same) == first.document.model_dump(include=same)
    assert by_alias("tiny", "champion").number == 1


def test_another_learning_rate_needs_no_reference_pass_and_must_beat_the_champion(first, recipe):
    (recipe.parent / "rewards.yaml").write_text("rewards: {rules: {must_contain: yea}}")
    more = ["evaluation.answers=3", "evaluation.rewards=rewards.yaml", "evaluation.kl=3"]
    other = run(recipe, "training.learning_rate=2e-3", *more)
    assert other.document.reference.forwards == 0
    assert other.display.gate.baseline == "champion"
    assert other.document.verdict == "hold_no_gain"  # accuracy is 1.0 already
    assert (other.document.version, other.document.champion_version) == (2, 1)
    assert not stages(other)["train"]
    evidence = json.loads(Path(other.document.report).with_name("evidence.json").read_text())
    words = evidence["checks"]["behaviour/words"]
    assert {len(row["sampled"][who]) for row in words for who in ("challenger", "baseline", "reference")} == {3}
    shares = [sum(row["right"]["challenger"]) / 3 for row in words]
    assert evidence["means"]["challenger"]["behaviour/words"]["value"] == pytest.approx(sum(shares) / len(shares))
    assert evidence["items"]["baseline"]["answers/win_rate"]["values"] == [0.5] * 3
    yea = [float("yea" in sample["challenger"].split()) for sample in evidence["samples"]]
    assert evidence["items"]["challenger"]["answers/reward"]["values"] == yea
    kl = evidence["divergence"]
    assert (kl["prompts"], kl["k3"]["value"] > 0) == (3, True)
    same = evidence["again"]["challenger"]
    assert (same["asked"], same["changed"]["value"], same["flipped"]) == (20, 0.0, 0)  # 12 words, 8 facts
    assert "3 sampled answers: " in Path(other.document.report).read_text()


def test_metrics_params_evidence_and_lineage_are_on_the_run_and_the_version(first, home):
    import mlflow

    client = mlflow.MlflowClient()
    run = client.get_run(first.document.mlflow_run_id)
    assert run.info.status == "FINISHED"
    history = client.get_metric_history(run.info.run_id, "losses/dpo")
    assert [point.step for point in history] == list(range(1, 25))
    assert run.data.metrics["eval_rewards/accuracies"] == 1.0
    assert run.data.params["recipe.training.learning_rate"] == "0.003"
    assert run.data.tags["gate.verdict"] == "promote"
    assert re.fullmatch(r"retrain tiny \d{4}-\d\d-\d\d \d\d:\d\d", run.info.run_name)
    assert (run.data.tags["mlflow.source.name"], run.data.tags["dpo.start_model"][-6:]) == ("retrain.yaml", "/model")
    names = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    assert {"recipe.json", "evaluation.json", "gate.json", "reports"} <= names
    assert {i.dataset.name for i in run.inputs.dataset_inputs} == {"tiny-training", "tiny-evaluation"}
    version = client.get_model_version("tiny", "1")
    assert version.tags["weights_sha256"] == first.document.weights_sha256
    assert version.tags["data.sha256"] == first.document.data_sha256
    assert version.tags["gate.verdict"] == "promote"
    assert (version.tags["base_model"][-6:], version.tags["pairs"]) == ("/model", "132")
    sets = {i.dataset.name: {tag.key: tag.value for tag in i.tags} for i in run.inputs.dataset_inputs}
    assert sets["tiny-training"]["sha256"] != sets["tiny-evaluation"]["sha256"]


def test_the_version_has_a_card_that_says_what_was_measured_and_an_example_of_a_request(first, home):
    import mlflow

    version = mlflow.MlflowClient().get_model_version("tiny", "1")
    assert version.description.startswith("# tiny, version 1\n")
    assert "| rewards/accuracies | 0.5 | 1 " in version.description
    assert "| first word 'nay' | rejected, intended | yes |" in version.description
    model = mlflow.models.get_model_info("models:/tiny/1")
    assert model.saved_input_example_info["artifact_path"] == "input_example.json"
    served = mlflow.pyfunc.load_model("models:/tiny/1")
    assert served.predict(served.input_example)["choices"][0]["message"]["content"].strip()


def test_what_the_pairs_punish_was_learnt_and_is_told_apart_from_what_nobody_meant(first):
    [found] = [u for u in first.document.uptake if u.name == "first word 'nay'"]
    assert (found.towards, found.treated, found.learnt) == ("rejected", "intended", True)
    assert found.reward["challenger"].low > 0 == found.reward["reference"].value
    assert first.display.learnt == []  # of what nobody meant


def test_a_version_leads_back_to_all_it_came_from_every_byte_verifies_and_nothing_is_garbage(first, home):
    from infra.settings import load_settings
    from infra.store import open_store
    from tasks.commands.gc import find_garbage
    from tasks.commands.lineage import trace
    from tasks.commands.verify_store import verify

    store = open_store(load_settings())
    found = trace(store, "tiny", 1)
    assert found.verdict == "pass"
    assert found.mlflow_run_id == first.document.mlflow_run_id
    links = {link.what: link.sha256 for link in found.links}
    assert (links["weights"], links["data"]) == (first.document.weights_sha256, first.document.data_sha256)
    assert verify(store).damaged == []
    looked_up = (
        "stages/measure/",
        "stages/held_out/",
        "stages/judged/",
        "stages/divergence/",
    )  # no version leads to them
    garbage = [unit.name for unit in find_garbage(store, older_than_s=-60).units]
    assert [name for name in garbage if not name.startswith(looked_up)] == []


def test_the_version_answers_alike_through_pyfunc_and_plain_transformers(first, home):
    import mlflow
    from transformers import AutoModelForCausalLM, AutoTokenizer

    question = [{"role": "user", "content": "say which river has number 0?"}]
    served = mlflow.pyfunc.load_model("models:/tiny@champion").predict([question], params={"max_new_tokens": 8})[0]
    root = Path(mlflow.artifacts.download_artifacts("models:/tiny@champion"))
    folder = next(root.rglob("model.safetensors")).parent
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    ids = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    out = model.generate(**ids, max_new_tokens=8, do_sample=False)
    assert served == tokenizer.decode(out[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
    assert served.strip()


@pytest.mark.campaign  # two trainings more; faults/test_kill.py kills one on the same machine
def test_a_run_killed_while_training_goes_on_on_another_machine_and_ends_in_the_same_weights(
    home, recipe, tmp_path, monkeypatch, caplog, forkserver
):
    settings = ["training.num_train_epochs=5", "training.learning_rate=1e-3", "name=killed"]
    unbroken = run(recipe, *settings)

    first, store = tmp_path / "first", tmp_path / "store"
    shared = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db", "DPO_STORE_URL": str(store)}
    arguments = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "tests.faults.life", "retrain", str(recipe), *arguments]
    process = subprocess.Popen(
        command,
        env={**os.environ, **shared, "DPO_HOME": str(first), TRACE: str(tmp_path / "trace")},
        process_group=0,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[2],
    )
    _wait_for(lambda: list(store.glob("checkpoints/*/step-*/MANIFEST.json")), process)
    of_the_run = psutil.Process(process.pid).children(recursive=True)
    servers = [p for p in [*of_the_run, *forkserver.programs()] if os.getpgid(p.pid) != process.pid]
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert servers, "Prefect's temporary server runs while a flow does"
    assert psutil.wait_procs(servers, timeout=30)[1] == []

    monkeypatch.setenv("DPO_HOME", str(tmp_path / "second"))
    for name, value in shared.items():
        monkeypatch.setenv(name, value)
    caplog.clear()
    resumed = run(recipe, *settings)
    assert "checkpoint_fetched" in caplog.text
    assert resumed.document.weights_sha256 == unbroken.document.weights_sha256
    assert resumed.document.reference.forwards == 0  # scored before the kill
    assert resumed.document.training.steps == 60
    assert resumed.document.version == 1
    assert not list(store.glob("checkpoints/**/*.safetensors"))  # a finished run needs none


def _wait_for(condition, process, seconds=180):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "no checkpoint appeared"
        time.sleep(0.05)


def test_a_run_from_its_own_champion_is_a_look_up_the_second_time_and_one_moved_back_by_hand_stays(first, recipe):
    from infra.registry import versions

    settings = ["model=models:/tiny@champion", "gate.improve=[]", "seed=5"]
    made = run(recipe, *settings)
    assert (made.document.verdict, made.display.gate.baseline) == ("promote", "champion")
    assert made.document.champion_version == made.document.version
    known = [version.number for version in versions.all_versions()]
    again = run(recipe, *settings)
    assert again.document.changed is False
    assert again.document.version == made.document.version
    assert [version.number for version in versions.all_versions()] == known
    assert again.display.gate.baseline == "champion"

    versions.set_alias("tiny", "champion", 1)
    after = run(recipe, *settings)
    assert (after.document.changed, after.document.champion_version) == (False, 1)
    assert "stays barred until a person promotes it" in after.document.not_promoted
    assert versions.by_alias("tiny", "champion").number == 1


@pytest.fixture
def dpo(recipe, capfd):
    """Type a command about the model `back`: exit code and document."""
    from flows.cli.app import run as typed

    def given(*words):
        begun = ["retrain", str(recipe), "--set", "name=back"] if words[0] == "retrain" else [words[0], "back"]
        code = typed([*begun, *words[1:], "--json"])
        return code, json.loads(capfd.readouterr().out)

    return given


@pytest.mark.campaign  # eight runs; one on a schedule is in make test
def test_rolled_back_stays_rolled_back_whatever_is_run_again_until_a_person_promotes_it(first, home, dpo):
    from infra.registry import versions

    one, two = ("retrain",), ("retrain", "--set", "gate.improve=[]", "--set", "seed=5")
    assert [dpo(*words)[1]["champion_version"] for words in (one, two)] == [1, 2]
    why = ("--by", "ada", "--why", "it was worse")
    assert dpo("rollback", *why)[1]["champion_version"] == 1
    for again, code in ((two, 0), ((*two, "--force"), 4), (two, 0)):  # a look-up is no failure, a new run is
        found, document = dpo(*again)
        assert (found, document["champion_version"], versions.by_alias("back", "champion").number) == (code, 1, 1)
        assert "this version was rolled back from, and it stays barred" in document["not_promoted"]

    assert dpo("promote", "2", *why)[1]["champion_version"] == 2
    versions.set_alias("back", "champion", 1)
    for again in (two, one, two):
        found, document = dpo(*again)
        assert (found, document["champion_version"], versions.by_alias("back", "champion").number) == (0, 1, 1)
        assert ("the alias was moved away from this version" in document["not_promoted"]) == (again == two)
    told = dpo("history", "--verify")[1]
    assert (told["verdict"], told["barred"]) == ("pass", [2])
    assert [e["kind"] for e in told["entries"]] == ["promote", "promote", "rollback", "promote", "outside_change"]


def test_what_another_program_measured_stays_and_the_gate_goes_by_what_this_one_did(first, home, recipe, monkeypatch):
    from infra.settings import load_settings
    from infra.store import open_store
    from tasks import evaluate

    store = open_store(load_settings())
    before = {key: store.get_bytes(key) for key in store.list("evaluations/")}
    monkeypatch.setattr(evaluate, "code_digest", lambda _: "another program")
    again = run(recipe)
    assert (stages(again)["train"], stages(again)["evaluate"], stages(again)["gate"]) == (True, False, False)
    assert before
    assert {key: store.get_bytes(key) for key in before} == before
    assert len([*store.list("evaluations/")]) == len(before) + 1
