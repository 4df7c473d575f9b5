"""What a run starts from, what it is compared with, and when the alias moves."""

import os
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient

from dpo_core.errors import InputError
from dpo_core.recipe_file import recipe_of_evaluation
from infra.errors import Damaged, InfraError
from infra.registry import versions
from infra.tracking.runs import open_run
from tasks.commands.evaluate_model import _start_of
from tasks.evaluate import BASELINE, BASELINE_WEIGHTS, _baseline, _folder
from tasks.release import PROMOTED, promote
from tasks.runtime.start import REQUEST, START, START_WEIGHTS, start_model
from tests.tiny import build_tiny_model


@pytest.fixture
def name(request):
    return request.node.name.partition("[")[0]


@pytest.fixture
def registered(name):
    """Register a version by its weights (a letter) and tags."""
    client = MlflowClient()
    run = open_run("release", run_key=name, run_name="run", artifact_root=os.environ["DPO_HOME"]).id

    def made(weights, **tags):
        versions._make_registered_model(client, name)
        named = {versions.WEIGHTS: weights * 64} if weights else {}
        client.create_model_version(name, f"{os.environ['DPO_HOME']}/m", run, tags=named | tags)
        return versions.by_number(name, len(client.search_model_versions(f"name = '{name}'")))

    return made


@pytest.fixture
def release(name, make_plan, recipe):
    """Promote a version that was gated (`verdict`) against the champion's weights, or the reference's."""

    def done(version, against=None, verdict="promote", force=False, reference="r"):
        plan = make_plan(recipe=recipe.model_copy(update={"name": name}), model_folder="", force=force)
        weights = {"baseline_weights_sha256": (against or reference) * 64}
        evaluated = SimpleNamespace(baseline="champion" if against else "reference", **weights)
        return promote.fn(plan, evaluated, SimpleNamespace(version=version), SimpleNamespace(verdict=verdict))

    return done


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    from dpo_core.recipe_file import load_recipe
    from tests.recipes import tiny_recipe

    return load_recipe(tiny_recipe(tmp_path_factory.mktemp("recipe")), []).recipe


def champion(name):
    found = versions.by_alias(name, "champion")
    return found and found.number


def outcome(promoted):
    return promoted.champion_version, promoted.stage.cached, promoted.not_promoted


def test_the_alias_moves_when_the_gate_says_so_and_the_same_again_is_a_look_up(registered, release, name):
    registered("a"), registered("b")
    assert outcome(release(1)) == (1, False, "")
    assert outcome(release(1)) == (1, True, "")
    assert outcome(release(2, "a", verdict="hold_no_gain")) == (1, True, "")
    assert outcome(release(2, "a")) == (2, False, "")
    assert champion(name) == 2
    assert versions.by_number(name, 2).tags[PROMOTED] == "a" * 64


def test_an_alias_that_a_person_moved_back_stays_and_force_promotes_again(registered, release, name):
    registered("a"), registered("b")
    release(1), release(2, "a")
    versions.set_alias(name, "champion", 1)
    stays = release(2, "a")
    assert (stays.champion_version, stays.stage.cached, champion(name)) == (1, True, 1)
    assert "version 1 is champion: this version was promoted before" in stays.not_promoted
    assert "--force promotes this version again" in stays.not_promoted
    assert outcome(release(2, "a", force=True)) == (2, False, "")


def test_an_alias_that_a_person_took_away_stays_away(registered, release, name):
    registered("a")
    release(1)
    MlflowClient().delete_registered_model_alias(name, "champion")
    stays = release(1)
    assert (stays.champion_version, champion(name)) == (None, None)
    assert "no version is champion: this version was promoted before" in stays.not_promoted


def test_a_version_that_was_promoted_over_one_may_still_win_over_another(registered, release, name):
    registered("a"), registered("b"), registered("c")
    release(1), release(2, "a"), release(3, "b")
    assert outcome(release(2, "c")) == (2, False, "")
    assert versions.by_number(name, 2).tags[PROMOTED].split() == ["a" * 64, "c" * 64]
    versions.set_alias(name, "champion", 1)
    assert champion(name) == release(2, "a").champion_version == 1


def test_a_champion_that_came_while_the_run_was_at_work_is_not_replaced_unseen(registered, release, name):
    registered("a"), registered("b"), registered("c")
    release(1), release(3, "a")
    late = release(2, "a", force=True)  # gated against version 1
    assert (late.champion_version, champion(name)) == (3, 3)
    assert "version 3 is champion now, and this version was not compared with it" in late.not_promoted
    first = release(2)  # planned while there was none
    assert (first.champion_version, champion(name)) == (3, 3)
    assert outcome(release(2, "c")) == (2, False, "")  # the same command again compares them


def test_a_run_killed_between_alias_and_tag_is_gone_on_with(registered, release, name):
    registered("a")
    versions.set_alias(name, "champion", 1)
    assert outcome(release(1)) == (1, True, "")
    assert versions.by_number(name, 1).tags[PROMOTED] == "r" * 64


def test_a_run_from_its_own_champion_is_a_look_up_the_second_time(registered, name):
    alias = f"models:/{name}@champion"
    registered("a")
    versions.set_alias(name, "champion", 1)
    assert start_model(alias, "request") == f"models:/{name}/1"
    registered("b", **{REQUEST: "request", START: f"models:/{name}/1", START_WEIGHTS: "a" * 64})
    versions.set_alias(name, "champion", 2)
    assert start_model(alias, "request") == f"models:/{name}/1"  # what version 2 was made from
    assert start_model(alias, "another recipe") == f"models:/{name}/2"
    assert start_model(f"models:/{name}/2", "request") == f"models:/{name}/2"  # a number is meant as it stands
    assert start_model("./folder", "request") == "./folder"
    MlflowClient().delete_model_version(name, "1")
    assert start_model(alias, "request") == f"models:/{name}/2"


def test_what_a_challenger_is_compared_with_is_named_for_what_it_is(registered, make_plan, recipe):
    def baseline(champion, challenger="n", reference="r"):
        plan = make_plan(recipe=recipe, model_folder="", champion=champion, weights_sha256=reference * 64)
        return _baseline(plan, SimpleNamespace(weights_sha256=challenger * 64))

    assert baseline(None) == ("reference", "r" * 64)
    assert baseline(registered("a")) == ("champion", "a" * 64)
    assert baseline(registered("r")) == ("champion", "r" * 64)  # the run starts from its champion
    mine = registered("n", **{BASELINE: "champion", BASELINE_WEIGHTS: "a" * 64})
    assert baseline(mine) == ("champion", "a" * 64)
    assert baseline(mine, reference="a") == ("champion", "a" * 64)
    first = registered("m", **{BASELINE: "reference", BASELINE_WEIGHTS: "r" * 64})
    assert baseline(first, challenger="m") == ("reference", "r" * 64)


def test_a_champion_of_another_program_is_refused_and_without_the_alias_the_run_goes_on(
    registered, make_plan, recipe, name
):
    plan = make_plan(recipe=recipe, model_folder="", champion=registered(""))
    with pytest.raises(InfraError, match="names no weights") as caught:
        _baseline(plan, SimpleNamespace(weights_sha256="n" * 64))
    assert "take the alias off it" in caught.value.do
    without = plan.model_copy(update={"champion": versions.by_alias(name, "champion")})
    assert _baseline(without, SimpleNamespace(weights_sha256="n" * 64))[0] == "reference"


def test_weights_are_those_that_were_asked_for_whatever_is_champion_now(
    tiny_model, tmp_path, make_plan, recipe, monkeypatch, name
):
    monkeypatch.setenv("DPO_HOME", str(tmp_path))
    run = open_run("release", run_key=name, run_name="run", artifact_root=str(tmp_path)).id
    other = build_tiny_model(tmp_path / "other", seed=1)
    shas = [versions.weights_digest(folder) for folder in (tiny_model, other)]
    for folder, sha in zip((tiny_model, other), shas, strict=True):
        versions.register(name, run_id=run, weights_sha256=sha, model_folder=folder, tags={})
    versions.set_alias(name, "champion", 2)
    store = SimpleNamespace(exists=lambda key: False)
    plan = make_plan(recipe=recipe.model_copy(update={"name": name}), model_folder=str(tiny_model))
    for sha in shas:
        assert versions.weights_digest(_folder(store, plan, sha)) == sha
    changed = plan.model_copy(update={"weights_sha256": shas[1]})  # the start model's folder, changed since
    with pytest.raises(Damaged, match=f"have the digest {shas[0]}, wanted are those of {shas[1]}"):
        _folder(store, changed, shas[1])


def test_an_evaluation_takes_the_model_that_the_version_was_trained_from_or_says_that_it_changed(
    tiny_model, tmp_path, registered, name, monkeypatch
):
    from tasks.commands import evaluate_model

    registered("a", **{START: str(tiny_model), START_WEIGHTS: "d" * 64})
    assert _start_of(f"models:/{name}/1") == (str(tiny_model), "d" * 64)
    assert _start_of("./folder") == (None, None)
    local = evaluate_model.local_model
    monkeypatch.setattr(evaluate_model, "local_model", lambda model, home: local(str(tiny_model), home))
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('{"prompt": "a", "chosen": " b", "rejected": " c"}\n' * 3)
    rules = recipe_of_evaluation(f"models:/{name}/1", str(pairs), [])
    with pytest.raises(InputError, match="no longer the model that the version was trained from") as caught:
        evaluate_model.evaluate_model.fn(rules, None, 0.1)
    assert "--reference" in caught.value.do
    named = evaluate_model.evaluate_model.fn(rules, str(tiny_model), 0.1)
    assert named.reference == str(tiny_model)
