"""`registry.keep`: whose weights are removed, whose never, and what is left of them at any moment."""

import json
import os
from hashlib import sha256
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from dpo_core.recipe_file import load_recipe
from flows.cli.app import run
from infra.errors import InfraError, ObjectMissing
from infra.models import fetch_model
from infra.registry import versions
from infra.registry.weights import BACK, FREED, PLACE, delete_weights, removed, restore_weights
from infra.settings import load_settings
from infra.store import open_store
from infra.tracking.runs import open_run
from tasks import weights
from tasks.baseline import BASELINE_WEIGHTS
from tasks.commands import promotion
from tasks.commands.gc import DAY_S, find_garbage
from tasks.lineage import KEY
from tasks.runtime.approval import TAG
from tasks.runtime.start import START_WEIGHTS
from tests.recipes import tiny_recipe


@pytest.fixture
def store(monkeypatch):
    monkeypatch.setattr(weights, "PAUSE_S", 0.0)
    return open_store(load_settings())


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return load_recipe(tiny_recipe(tmp_path_factory.mktemp("recipe")), ["registry.keep=1"]).recipe


@pytest.fixture
def keep(store, recipe, name):
    """End a run of this test's model, with `registry.keep`: 1; the versions that lost their weights."""
    return lambda **more: weights.remove_old_weights(store, recipe.model_copy(update={"name": name, **more}))


def sha_of(name, letter):
    """Weights of a test's own: those that another test's model holds are never removed."""
    return sha256(f"{name} {letter}".encode()).hexdigest()


def folder_of(name, number):
    return Path(os.environ["DPO_HOME"]) / "kept" / name / str(number) / "artifacts" / "model"


@pytest.fixture
def add(store, name):
    """Register the next version: weights (by a letter) in MLflow's artifacts and in the store, held by its gate."""
    client, runs = MlflowClient(), {}

    def added(letter, *, model=name, at_work=False, ours=True, recipe=None, **tags):
        if at_work not in runs:
            key = f"{name} {at_work}"
            runs[at_work] = open_run("kept", run_key=key, run_name="run", artifact_root=os.environ["DPO_HOME"]).id
            if not at_work:
                client.set_terminated(runs[at_work])
        sha = sha_of(name, letter)
        versions._make_registered_model(client, model)
        number = len(client.search_model_versions(f"name = '{model}'")) + 1
        folder = folder_of(model, number)
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(b"weights")
        store.put_folder(f"models/{sha}", folder)
        key = f"lineage/{model}/{sha}.json"
        store.put_bytes(key, json.dumps({"recipe": recipe or {}, "weights_sha256": sha}).encode())
        known = {versions.WEIGHTS: sha, PLACE: f"{store.url}/models/{sha}", "gate.verdict": "hold_no_gain"}
        known |= {KEY: key} if ours else {}
        client.create_model_version(model, str(folder.parents[1]), runs[at_work], tags=known | tags)
        return number

    return added


def state_of(store, name, number):
    """What a version says, and what is left of its copies in MLflow and in the store."""
    version = versions.by_number(name, number)
    there = (folder_of(name, number) / "model.safetensors").exists()
    return bool(removed(version.tags)), there, store.has_folder(f"models/{version.weights_sha256}")


GONE, WHOLE = (True, False, False), (False, True, True)


def test_of_versions_that_are_not_in_use_the_newest_keep_their_weights(store, keep, add, name, capsys, monkeypatch):
    for digit in "123456":
        add(digit)
    promotion.promote(store, name, 1, who="ada", why="first")
    promotion.promote(store, name, 3, who="ada", why="better")
    versions.set_alias(name, "challenger", 6)
    monkeypatch.setattr(weights.shutil, "rmtree", lambda path, **_: gone.append(path.name))
    gone = []
    assert keep() == [4, 2]  # 5 is the newest of those not in use; 1 and 3 were champions, 6 is the challenger
    assert [state_of(store, name, number) for number in range(1, 7)] == [WHOLE, GONE, WHOLE, GONE, WHOLE, WHOLE]
    assert {sha_of(name, "2"), f"{name}-2-{sha_of(name, '2')[:12]}"} <= set(gone)  # this machine's downloads
    tags = versions.by_number(name, 2).tags
    assert (tags[PLACE][:10], tags[PLACE][-10:], tags[FREED]) == ("removed 20", " by keep=1", "7")
    assert (tags["gate.verdict"], store.exists(tags[KEY])) == ("hold_no_gain", True)
    assert (folder_of(name, 2) / "config.json").exists()
    assert keep() == []  # the same again
    assert promotion.history(store, name).weights_removed == [2, 4]
    assert run(["history", name]) == 0
    assert "weights removed (registry.keep): version 2, 4" in capsys.readouterr().out


def test_what_is_not_asked_for_removes_nothing(store, recipe, add, keep, name):
    for digit in "123":
        add(digit)
    unset = recipe.registry.model_copy(update={"keep": None})
    assert keep(registry=unset) == []
    promotion.hold(store, name, lift=False, who="ada", why="launch")
    assert keep() == []
    promotion.hold(store, name, lift=True, who="ada", why="launched")
    assert keep() == [2, 1]


def test_what_somebody_may_need_is_never_removed(store, keep, add, name, recipe):
    add("0")  # which nobody needs
    parent = add("1")
    reference, anchor, baseline = add("2"), add("3"), add("4")
    add("5", **{START_WEIGHTS: sha_of(name, "1")}, recipe={"gate": {"anchor": anchor}})  # started from 1, and 8 from it
    add("6", **{"gate.verdict": "promote"})  # a person may still promote it
    add("7", at_work=True)
    champion = add("8", **{START_WEIGHTS: sha_of(name, "5"), BASELINE_WEIGHTS: sha_of(name, "4"), TAG: ""})
    named = add("9")
    add("a", ours=False)  # registered by another program
    shared = add("b")
    add("b", model=f"{name}-other")
    add(
        "c",
        model=f"{name}-other",
        **{START_WEIGHTS: sha_of(name, "d")},
        recipe={"reference": f"models:/{name}/{reference}"},
    )
    start = add("d")
    waiting = add("e", **{TAG: "7"})
    add("f")  # the newest
    for number, who in ((champion, "ada"), (waiting, "linus")):
        promotion.promote(store, name, number, who=who, why="w")
    gate = recipe.gate.model_copy(update={"anchor": named})
    assert keep(gate=gate) == [1]
    assert [state_of(store, name, n) for n in (parent, reference, anchor, baseline, named, shared, start)] == [
        WHOLE
    ] * 7
    assert keep() == [named]


@pytest.mark.parametrize("step", ["set_tags", "drop_folder", "delete_weights", "freed"])
def test_a_kill_leaves_weights_that_are_whole_or_said_to_be_removed_and_the_next_run_goes_on(
    store, keep, add, name, monkeypatch, step
):
    for digit in "123":
        add(digit)
    set_tags = versions.set_tags

    def killed(*given):
        if step != "freed" or FREED in given[-1]:
            raise KeyboardInterrupt
        set_tags(*given)

    with monkeypatch.context() as patch:
        where = {"drop_folder": type(store), "delete_weights": weights}.get(step, versions)
        patch.setattr(where, "set_tags" if step == "freed" else step, killed)
        with pytest.raises(KeyboardInterrupt):
            keep()
    for number in (1, 2, 3):
        said, *there = state_of(store, name, number)
        assert said or all(there)
    assert keep() == [2, 1]
    assert [state_of(store, name, number) for number in (1, 2, 3)] == [GONE, GONE, WHOLE]


def test_a_version_that_becomes_champion_while_its_weights_are_to_go_keeps_them(store, keep, add, name, monkeypatch):
    for digit in "123":
        add(digit)
    before = versions.by_number(name, 2).tags[PLACE]
    # A person's promotion that had read the version before the tag was set:
    monkeypatch.setattr(promotion, "require_weights", lambda *_: None)
    monkeypatch.setattr(
        weights.time, "sleep", lambda _: promotion.promote(store, name, 2, who="ada", why="the suite was wrong")
    )
    assert keep() == [1]
    assert state_of(store, name, 2) == WHOLE
    assert versions.by_number(name, 2).tags[PLACE] == before


def test_a_rollback_to_a_version_that_loses_its_weights_while_it_answers_is_refused(
    store, keep, add, name, monkeypatch
):
    for digit in "123":
        add(digit)
    promotion.promote(store, name, 3, who="ada", why="first")
    monkeypatch.setattr(promotion, "_require_answer", lambda *_: removed_meanwhile.extend(keep()))
    removed_meanwhile = []
    with pytest.raises(ObjectMissing, match=r"the weights of version 1 were removed"):
        promotion.rollback(store, name, 1, who="ada", why="the suite was wrong")
    assert removed_meanwhile == [1]
    assert (state_of(store, name, 1), promotion.history(store, name).champion_version) == (GONE, 3)


def test_weights_that_one_run_puts_back_are_not_removed_by_another_until_a_day_later(
    store, keep, add, name, tmp_path, monkeypatch
):
    for digit in "123":
        add(digit)
    assert keep() == [2, 1]
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    upload, meanwhile = LocalArtifactRepository.log_artifact, []

    def slow(*given):
        upload(*given)
        meanwhile.extend(keep())

    monkeypatch.setattr(LocalArtifactRepository, "log_artifact", slow)
    restore_weights(name, 2, versions.by_number(name, 2).tags, tmp_path)
    assert (meanwhile, keep()) == ([], [])  # no alias is on it yet, and its gate of long ago held it
    assert state_of(store, name, 2)[:2] == (False, True)
    versions.set_tags(name, 2, {BACK: "2020-11-29T12:00:00+00:00"})
    assert keep() == [2]


def test_weights_that_are_gone_again_once_they_were_put_back_stay_said_to_be_removed(
    keep, add, name, tmp_path, monkeypatch
):
    for digit in "123":
        add(digit)
    keep()
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    upload = LocalArtifactRepository.log_artifact
    # A run that had begun to remove them, was stopped for long, and goes on:
    monkeypatch.setattr(
        LocalArtifactRepository, "log_artifact", lambda *given: (upload(*given), delete_weights(name, 2))
    )
    with pytest.raises(InfraError, match=r"put back are gone again: artifacts/model/model\.safetensors"):
        restore_weights(name, 2, versions.by_number(name, 2).tags, tmp_path)
    assert removed(versions.by_number(name, 2).tags)


def test_who_asks_for_weights_that_were_removed_is_told_what_makes_them_again(store, keep, add, name, capsys):
    for digit in "123":
        add(digit)
    keep()
    for command in (["promote", name, "1"], ["rollback", name, "--to", "2"]):
        assert run([*command, "--why", "w", "--json"]) == 2
        error = json.loads(capsys.readouterr().out)["error"]
        number = 2 if "--to" in command else 1
        assert f"the weights of version {number} were removed 20" in error["says"]
        assert error["where"] == f"models:/{name}/{number}"
        assert f"`dpo lineage {name} {number}` says which run makes them again" in error["do"]
    with pytest.raises(ObjectMissing, match=r"registry\.keep"):  # dpo chat, evaluate, retrain
        fetch_model(f"models:/{name}/1", load_settings().home)


def test_what_a_killed_removal_left_in_the_store_is_garbage_unless_another_version_has_it(store, keep, add, name):
    for digit in "123":
        add(digit)
    keep()
    sha = sha_of(name, "2")
    store.put_folder(f"models/{sha}", folder_of(name, 3))  # as if it had not been reached
    old = [store.root / "models" / sha, store.root / "lineage" / name]
    for path in (file for folder in old for file in folder.rglob("*")):
        os.utime(path, (0, 0))

    def garbage():
        return [unit.name for unit in find_garbage(store, older_than_s=7 * DAY_S).units]

    assert f"models/{sha}/" in garbage()
    versions.set_tags(name, 3, {versions.WEIGHTS: sha})
    assert f"models/{sha}/" not in garbage()
