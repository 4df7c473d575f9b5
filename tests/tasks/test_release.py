"""What a run starts from, what it is compared with, and when the alias moves."""

import json
from datetime import timedelta
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient

from dpo_core.errors import InputError
from dpo_core.evaluate.scores import SOUND
from dpo_core.model.identity import digest_weights
from dpo_core.recipe_file import recipe_of_evaluation
from infra.errors import Damaged, InfraError
from infra.ledger.champion import Champion
from infra.ledger.promotions import PromotionRecord
from infra.registry import versions
from infra.registry.production import PRODUCTION
from infra.settings import load_settings
from infra.store import open_store
from infra.tracking.runs import open_run
from tasks.baseline import BASELINE, BASELINE_WEIGHTS, Base, Baselines, _baseline
from tasks.commands import promotion
from tasks.commands.evaluate_model import _start_of
from tasks.evaluate import _folder
from tasks.lineage import KEY
from tasks.promote import promote
from tasks.release import gate, register
from tasks.runtime.approval import TAG
from tasks.runtime.start import REQUEST, START, START_WEIGHTS, start_model
from tests.tiny import build_tiny_model


@pytest.fixture
def store():
    return open_store(load_settings())


@pytest.fixture
def release(name, make_plan, recipe):
    """Promote a version that was gated (`verdict`) while version `before` was champion."""

    def done(
        version,
        before=None,
        verdict="promote",
        force=False,
        promotion=recipe.promotion,
        ran_away="",
        against="champion",
    ):
        found = versions.by_number(name, before) if before else None
        retrain = recipe.retrain.model_copy(update={"against": against})
        named = recipe.model_copy(update={"name": name, "promotion": promotion, "retrain": retrain})
        plan = make_plan(recipe=named, model_folder="", champion=found, force=force)
        gated = SimpleNamespace(verdict=verdict, reasons=["it rose"])
        return promote.fn(plan, SimpleNamespace(version=version), gated, ran_away)

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
    assert outcome(release(1, 1)) == (1, True, "")
    assert outcome(release(2, 1, verdict="hold_no_gain")) == (1, True, "")
    assert outcome(release(2, 1)) == (2, False, "")
    assert champion(name) == 2


def test_a_version_that_was_rolled_back_from_stays_barred_until_a_person_promotes_it(registered, release, name, store):
    registered("a"), registered("b")
    release(1), release(2, 1)
    assert versions.by_alias(name, "champion").number == 2
    Champion(store, name).append(
        PromotionRecord(
            kind="rollback",
            version=1,
            weights_sha256="a" * 64,
            over=2,
            over_weights_sha256="b" * 64,
            who="ada",
            why="x",
        ),
        base=2,
    )
    for force in (False, True):
        stays = release(2, 1, force=force)
        assert (stays.champion_version, stays.stage.cached, champion(name)) == (1, True, 1)
        assert "version 1 is champion: this version was rolled back from" in stays.not_promoted
    assert promotion.promote(store, name, 2, who="ada", why="it was the data").champion_version == 2
    assert outcome(release(2, 1)) == (2, True, "")


@pytest.mark.parametrize("to", [1, None])
def test_an_alias_that_a_person_moved_on_the_page_stays_where_it_was_put(registered, release, name, store, to):
    registered("a"), registered("b")
    release(1), release(2, 1)
    if to:
        versions.set_alias(name, "champion", to)
    else:
        MlflowClient().delete_registered_model_alias(name, "champion")
    stays = release(2, 1)
    assert (stays.champion_version, champion(name)) == (to, to)
    assert "stays barred until a person promotes it" in stays.not_promoted
    last = Champion(store, name).look().state.records[-1].what
    assert (last.kind, last.version, last.over) == ("outside_change", to, 2)


def test_an_alias_moved_to_a_version_that_never_was_champion_is_not_moved_back_by_a_run(
    registered, release, name, store, monkeypatch
):
    registered("a"), registered("b"), registered("c")
    release(1), release(2, 1)
    versions.set_alias(name, "champion", 3)
    for planned in (2, 3):  # also one that was compared with it, and is better
        stays = release(2, planned)
        assert (stays.champion_version, champion(name)) == (3, 3)
        assert "the alias was moved away from this version, and it stays barred until" in stays.not_promoted
    assert promotion.history(store, name).barred == [2]
    # But it is the champion before: if the person's version is worse, a rollback goes there and not past it.
    monkeypatch.setattr(promotion, "_require_answer", lambda *found: None)
    assert promotion.rollback(store, name, None, who="ada", why="worse").champion_version == 2
    assert promotion.history(store, name).barred == [3]


def test_a_hold_stops_every_run_until_it_is_lifted(registered, release, name, store):
    registered("a"), registered("b")
    release(1)
    promotion.hold(store, name, lift=False, who="ada", why="launch week")
    assert release(2, 1).not_promoted.startswith("version 1 is champion, and ada put a hold on it: launch week")
    promotion.hold(store, name, lift=True, who="ada", why="launched")
    assert outcome(release(2, 1)) == (2, False, "")


def test_a_champion_that_came_while_the_run_was_at_work_is_not_replaced_unseen(registered, release, name):
    registered("a"), registered("b"), registered("c")
    release(1), release(3, 1)
    for planned in (1, None):
        late = release(2, planned)
        assert (late.champion_version, champion(name)) == (3, 3)
        assert "version 3 is champion now, and this version was not compared with it" in late.not_promoted
    assert outcome(release(2, 3)) == (2, False, "")  # the same command again compares them


@pytest.mark.parametrize(("against", "said"), [("base", "the base model"), (1, "version 1")])
def test_a_champion_that_a_version_was_not_compared_with_is_replaced_by_a_person_alone(
    registered, release, name, store, against, said
):
    registered("a"), registered("b"), registered("c")
    release(1), release(2, 1)
    stays = release(3, 2, against=against)
    assert outcome(stays)[:2] == (2, True)
    assert f"version 2 is champion, and this version was compared with {said} alone" in stays.not_promoted
    assert f"dpo promote {name} 3" in stays.not_promoted
    assert outcome(release(3, 2, against=2)) == (3, False, ""), "that is the champion"
    assert promotion.promote(store, name, 1, who="ada", why="known").champion_version == 1


@pytest.mark.parametrize("against", ["base", 1])
def test_without_a_champion_there_is_none_to_be_compared_with(registered, release, against):
    registered("a"), registered("b")
    assert outcome(release(2, against=against)) == (2, False, "")


def test_where_approval_is_required_a_run_leaves_its_version_waiting(registered, name, make_plan, recipe, store):
    registered("a")
    required = recipe.promotion.model_copy(update={"approval": "required"})
    plan = make_plan(recipe=recipe.model_copy(update={"name": name, "promotion": required}), model_folder="")
    given = (plan, SimpleNamespace(version=1), SimpleNamespace(verdict="promote", reasons=["it rose"]))
    first, again = promote.fn(*given), promote.fn(*given)
    assert (first.champion_version, champion(name), first.stage.cached, again.stage.cached) == (None, None, False, True)
    assert first.waiting_until == again.waiting_until is not None
    assert promotion.approve(store, name, 1, by="grace", why="seen").champion_version == champion(name) == 1
    assert outcome(promote.fn(*given)) == (1, True, "")


@pytest.mark.parametrize("known", [False, True])
def test_a_version_needs_the_approval_of_its_recipe_as_soon_as_it_is_registered(
    registered, name, make_plan, recipe, store, tiny_model, monkeypatch, known
):
    for function, made in (("stored_model", tiny_model), ("encoded_pairs", []), ("require_registrable", None)):
        monkeypatch.setattr(f"tasks.release.{function}", lambda *given, made=made: made)
    monkeypatch.setattr("tasks.release.write_lineage", lambda *given: {KEY: "lineage/x.json"})
    first = registered("a", **{KEY: "lineage/x.json"})
    weights = first.weights_sha256 if known else digest_weights(tiny_model)
    store.put_bytes("pairs.jsonl", b"")
    rules = recipe.promotion.model_copy(update={"approval": "required", "production": "prod.x"})
    plan = make_plan(
        recipe=recipe.model_copy(update={"name": name, "promotion": rules}), model_folder="", run_id=first.run_id
    )
    checked = SimpleNamespace(train_key="pairs.jsonl", eval_key="pairs.jsonl", eval_ids_key="", rows_kept=1)
    checked.data_sha256 = "d"
    trained, evaluated = SimpleNamespace(weights_sha256=weights, model_key="m"), SimpleNamespace(logps={})
    done = register.fn(plan, checked, None, trained, evaluated)
    assert done.stage.cached == known
    tags = versions.by_number(name, done.version).tags
    assert (tags[TAG], tags[PRODUCTION]) == ("7.0", "prod.x")
    assert promotion.promote(store, name, done.version, who="ada", why="its run was killed").action == "wait"


@pytest.mark.parametrize("ended", ["expire", "decline"])
def test_a_version_that_got_no_approval_is_not_asked_for_again_unless_forced(
    registered, release, name, recipe, store, ended
):
    registered("a")
    required = recipe.promotion.model_copy(update={"approval": "required", "approval_expires_days": 1e-9})
    if ended == "decline":
        required = required.model_copy(update={"approval_expires_days": 7})
    assert release(1, promotion=required).waiting_until is not None
    if ended == "decline":
        promotion.approve(store, name, 1, by="grace", why="too short", reject=True)
    says = {"expire": "was not given in time", "decline": "was rejected by grace: too short"}[ended]
    for cached in (ended == "decline", True):
        stays = release(1, promotion=required)
        assert (stays.waiting_until, stays.champion_version, stays.stage.cached) == (None, None, cached)
        assert f"approval of this version {says}. --force asks for it again" in stays.not_promoted
    again = release(1, promotion=required, force=True)
    assert (again.waiting_until is not None, again.not_promoted, champion(name)) == (True, "", None)
    kinds = [record.what.kind for record in Champion(store, name).look().state.records]
    assert kinds == ["wait", ended, "wait"]


def test_a_wait_that_has_expired_ends_by_a_verdict_too_and_is_asked_for_again_without_force(
    registered, release, name, recipe, store
):
    registered("a")
    required = recipe.promotion.model_copy(update={"approval": "required", "approval_expires_days": 1e-9})
    release(1, promotion=required)
    assert release(1, promotion=required, verdict="hold_no_gain").waiting_until is None
    weeks = required.model_copy(update={"approval_expires_days": 7})
    again = release(1, promotion=weeks)
    assert (again.waiting_until is not None, again.not_promoted) == (True, "")
    assert [record.what.kind for record in Champion(store, name).look().state.records] == ["wait", "decline", "wait"]


def test_a_wait_that_a_run_asked_for_ends_where_the_version_is_gated_again_and_does_not_pass(
    registered, release, name, recipe, store
):
    registered("a"), registered("b"), registered("c")
    required = recipe.promotion.model_copy(update={"approval": "required"})
    release(1)
    assert release(2, 1, promotion=required).waiting_until is not None
    release(3, 1)  # champion by now: version 2 is compared with it
    for cached in (False, True):
        stays = release(2, 3, promotion=required, verdict="reject_regression")
        assert (stays.waiting_until, stays.not_promoted, stays.stage.cached) == (None, "", cached)
    last = Champion(store, name).look().state.records[-1].what
    assert (last.kind, last.who, last.by_run) == ("decline", "", True)
    assert last.why == "gated again, reject_regression: it rose"
    with pytest.raises(InputError, match="its wait ended, for a run gated it again, at 20"):
        promotion.approve(store, name, 2, by="grace", why="seen")
    assert release(2, 3, promotion=required).waiting_until is not None, "no person said no: it is asked for again"


def test_a_wait_that_a_person_asked_for_outlives_a_verdict_and_is_none_of_the_run(
    registered, release, name, recipe, store
):
    registered("a", **{TAG: "7"})
    promotion.promote(store, name, 1, who="ada", why="the suite was wrong")
    required = recipe.promotion.model_copy(update={"approval": "required", "approval_expires_days": 7.0})
    stays = release(1, promotion=required, verdict="hold_no_gain")
    assert (stays.waiting_until, stays.stage.cached) == (None, True)
    assert promotion.approve(store, name, 1, by="grace", why="it was").champion_version == 1


def test_a_verdict_of_a_run_that_was_killed_before_it_ended_the_wait_is_not_approved_over(
    registered, release, name, recipe, store
):
    registered("a", **{TAG: "7"})
    release(1, promotion=recipe.promotion.model_copy(update={"approval": "required"}))
    versions.set_tags(name, 1, {"gate.verdict": "reject_regression", "gate.reasons": "it fell"})
    with pytest.raises(InputError, match="gated it again since it waits, reject_regression: it fell"):
        promotion.approve(store, name, 1, by="grace", why="seen")
    promotion.promote(store, name, 1, who="ada", why="the suite was wrong")
    assert promotion.approve(store, name, 1, by="grace", why="it was").champion_version == 1


def test_a_wait_of_a_run_becomes_that_of_the_person_who_promotes_the_version_and_outlives_a_verdict(
    registered, release, name, recipe, store
):
    registered("a", **{TAG: "7"})
    required = recipe.promotion.model_copy(update={"approval": "required"})
    release(1, promotion=required)
    asked = [promotion.promote(store, name, 1, who="ada", why="the suite was wrong").action for _ in range(2)]
    assert asked == ["wait", "none"]
    release(1, promotion=required, verdict="hold_no_gain")
    assert promotion.approve(store, name, 1, by="grace", why="it was").champion_version == 1


def test_a_forced_run_that_finds_an_expired_wait_asks_anew(registered, release, name, recipe, store):
    registered("a")
    required = recipe.promotion.model_copy(update={"approval": "required", "approval_expires_days": 1e-9})
    release(1, promotion=required)
    weeks = required.model_copy(update={"approval_expires_days": 7})
    again = release(1, promotion=weeks, force=True)
    assert (again.waiting_until is not None, again.not_promoted) == (True, "")
    assert [record.what.kind for record in Champion(store, name).look().state.records] == ["wait", "expire", "wait"]


def test_an_alias_of_before_the_ledger_is_adopted(registered, release, name, store):
    registered("a")
    versions.set_alias(name, "champion", 1)
    assert outcome(release(1)) == (1, True, "")
    assert [r.what.kind for r in Champion(store, name).look().state.records] == ["adopt"]
    assert outcome(release(1)) == (1, True, "")


def test_a_run_from_its_own_champion_is_a_look_up_the_second_time(registered, name, tiny_model):
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
    base, gone = str(tiny_model), f"{tiny_model}-gone"
    for given, weights, start in (
        (base, digest_weights(tiny_model), base),  # of the first round: what is no version
        (base, "b" * 64, f"models:/{name}/2"),  # another model lies there now
        (gone, "b" * 64, f"models:/{name}/2"),
        ("", "b" * 64, f"models:/{name}/2"),
    ):
        versions.set_tags(name, 2, {START: given, START_WEIGHTS: weights})
        assert start_model(alias, "request") == start


def test_what_a_challenger_is_compared_with_is_named_for_what_it_is(registered, make_plan, recipe, name):
    def baseline(champion, challenger="n", reference="r"):
        plan = make_plan(recipe=recipe.model_copy(update={"name": name}), model_folder="", champion=champion)
        against, _, weights = _baseline(plan, SimpleNamespace(weights_sha256=challenger * 64), Base(reference * 64, ""))
        return against, weights

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
        _baseline(plan, SimpleNamespace(weights_sha256="n" * 64), Base("r" * 64, ""))
    assert "take the alias champion off it" in caught.value.do
    without = plan.model_copy(update={"champion": versions.by_alias(name, "champion")})
    assert _baseline(without, SimpleNamespace(weights_sha256="n" * 64), Base("r" * 64, ""))[0] == "reference"


def test_weights_are_those_that_were_asked_for_whatever_is_champion_now(
    tiny_model, tmp_path, make_plan, recipe, monkeypatch, name
):
    monkeypatch.setenv("DPO_HOME", str(tmp_path))
    run = open_run("release", run_key=name, run_name="run", artifact_root=str(tmp_path)).id
    other = build_tiny_model(tmp_path / "other", seed=1)
    shas = [digest_weights(folder) for folder in (tiny_model, other)]
    for folder, sha in zip((tiny_model, other), shas, strict=True):
        versions.register(name, run_id=run, weights_sha256=sha, model_folder=folder, tags={})
    versions.set_alias(name, "champion", 2)
    store = SimpleNamespace(exists=lambda key: False)
    plan = make_plan(recipe=recipe.model_copy(update={"name": name}), model_folder=str(tiny_model))
    compared = Baselines("reference", shas[0], Base(shas[0], ""), None, [])
    for sha in shas:
        assert digest_weights(_folder(store, plan, sha, compared)) == sha
    changed = plan.model_copy(update={"weights_sha256": shas[1]})  # the start model's folder, changed since
    with pytest.raises(Damaged, match=f"have the digest {shas[0]}, wanted are those of {shas[1]}"):
        _folder(store, changed, shas[1], compared)


def test_an_evaluation_takes_the_model_that_the_version_was_trained_from_or_says_that_it_changed(
    tiny_model, tmp_path, registered, name, monkeypatch
):
    from tasks.commands import evaluate_model

    registered("a", **{START: str(tiny_model), START_WEIGHTS: "d" * 64})
    assert _start_of(f"models:/{name}/1") == (str(tiny_model), "d" * 64)
    assert _start_of("./folder") == (None, None)
    monkeypatch.setattr(evaluate_model, "trusted_model", lambda model, pin: (tiny_model, None))
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('{"prompt": "a", "chosen": " b", "rejected": " c"}\n' * 3)
    rules = recipe_of_evaluation(f"models:/{name}/1", str(pairs), [])
    with pytest.raises(InputError, match="no longer the model that the version was trained from") as caught:
        evaluate_model.evaluate_model.fn(rules, None, 0.1)
    assert "--reference" in caught.value.do
    named = evaluate_model.evaluate_model.fn(rules, str(tiny_model), 0.1)
    assert named.reference == str(tiny_model)


def test_a_default_that_cannot_be_measured_holds_nobody_up_unless_nothing_else_is_asked_for(tmp_path):
    from dpo_core.evaluate.scores import Scores
    from dpo_core.recipe_file import load_recipe
    from dpo_core.recipe_release import RecipeGate
    from tasks.release import _without_unmeasured_default as judged

    nothing, something = ({"challenger": {SOUND: Scores(values, ["a"] * len(values))}} for values in ([], [1.0]))
    assert judged(RecipeGate(), nothing).keep == {}
    (tmp_path / "run.yaml").write_text("name: n\nmodel: m\ndata: {train: p.jsonl}\n")
    assert judged(load_recipe(tmp_path / "run.yaml").recipe.gate, nothing).keep == {}
    assert judged(RecipeGate(), something).keep == {SOUND: 0.15}
    assert judged(RecipeGate(keep={SOUND: 0.1}), nothing).keep == {SOUND: 0.1}
    assert judged(RecipeGate(improve=[]), nothing).keep == {SOUND: 0.15}


@pytest.fixture
def gated(name, make_plan, recipe, store):
    """Gate a version that is right on 40 items where the reference is wrong; one look a year is planned."""
    from dpo_core.recipe_release import RecipeGate
    from dpo_core.report.documents import EvaluationEvidence, ItemScores

    clusters = [f"item {number}" for number in range(40)]
    scores = {"challenger": [1.0] * 40, "baseline": [0.0] * 40}
    items = {
        who: {
            "rewards/accuracies": ItemScores(values=values, clusters=clusters),
            SOUND: ItemScores(values=[], clusters=[]),
        }
        for who, values in scores.items()
    }
    nothing = {field: {} for field in ("metrics", "means", "slices", "flips", "checks")}
    evidence = EvaluationEvidence(**nothing, samples=[], items=items)
    changes = {"retrain": recipe.retrain.model_copy(update={"looks": 1}), "gate": RecipeGate(min_items=8)}

    def done(version, evaluation):
        key, run_id = f"evaluations/{name}-{evaluation}.json", versions.by_number(name, version).run_id
        store.put_bytes(key, json.dumps(evidence.to_document()).encode())
        named = recipe.model_copy(update={"name": name, **changes})
        plan = make_plan(recipe=named, model_folder="", run_id=run_id)
        evaluated = SimpleNamespace(key=key, baseline="reference", baseline_weights_sha256="r" * 64)
        found = gate.fn(plan, evaluated, SimpleNamespace(version=version))
        return found.verdict, found.stage.cached

    return done


def test_a_version_that_is_held_for_its_look_passes_once_the_looks_before_it_do_not_count(
    registered, gated, name, store, monkeypatch
):
    from tasks import looks

    registered("a"), registered("b")
    assert gated(1, "a") == ("promote", False)
    assert [gated(2, "b"), gated(2, "b")] == [("hold_underpowered", False), ("hold_underpowered", True)]
    assert gated(1, "a") == ("promote", True), "what came after it does not count"
    monkeypatch.setattr(looks, "YEAR", timedelta(0))
    assert [gated(2, "b"), gated(2, "b")] == [("promote", False), ("promote", True)]
    tags = versions.by_number(name, 2).tags
    assert tags["gate.verdict"] == json.loads(store.get_bytes(tags["gate.record"]))["output"]["verdict"] == "promote"


def test_a_known_version_that_is_evaluated_anew_names_the_evaluation_that_it_was_gated_on(
    registered, gated, name, store
):
    registered("a")
    for evaluation in ("first", "second"):
        gated(1, evaluation)
        named = versions.by_number(name, 1).tags["dpo.evaluation"]
        assert named == f"{store.url}/evaluations/{name}-{evaluation}.json"


def test_a_version_whose_training_ran_away_waits_for_a_person_whatever_the_gate_says(release, registered, name):
    registered("a")
    left = release(1, ran_away="step 40: answers have 60 tokens")
    assert outcome(left)[:2] == (None, True)
    assert "the training ran away (step 40: answers have 60 tokens). A person may still promote it" in left.not_promoted
    assert champion(name) is None
