"""Promote, roll back, hold, approve by hand; what is refused; and the ledger's fold whatever is done."""

import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from mlflow import MlflowClient

from dpo_core.errors import InputError
from dpo_core.model.identity import digest_weights
from dpo_core.model.remote_code import digest_code
from infra.errors import Damaged, InfraError, ObjectMissing, Rejected
from infra.ledger.chain import Moved
from infra.ledger.champion import Champion
from infra.ledger.create_only import _asked
from infra.ledger.promotions import LedgerRecord, PromotionRecord, Standing, after
from infra.registry import versions
from infra.registry.production import PRODUCTION
from infra.settings import load_settings
from infra.store import open_store
from infra.store.folder import FolderStore
from infra.tracking.runs import open_run
from tasks.commands import promotion
from tasks.commands.chat import load_speaker
from tasks.lineage import KEY, trusted_model
from tasks.runtime.approval import TAG
from tests.letters import register_letters
from tests.tiny import bring_own_code, build_tiny_model

LINEAGE = """{"schema": 1, "mlflow_run_id": "", "data": {"sha256": "", "train": "", "eval": "", "files": {}},
  "recipe": {}, "code": {"sha256": "", "version": ""}, "parent": null,
  "reference": {"path": {}, "rows": 0, "shards": []},
  "base": {"model": "", "model_sha256": "", "weights_sha256": "", "tokenizer_sha256": ""},
  "evaluation": "", "stages": {}, "environment": {"python": "", "platform": "", "packages": {}}, "objects": {}}"""


@pytest.fixture
def store():
    return open_store(load_settings())


@pytest.fixture
def name(request):
    """A model of three versions; 3 is of a recipe that requires approval."""
    made = "".join(char if char.isalnum() else "-" for char in request.node.name)
    register_letters(made, tags={"c": {TAG: "7"}})
    return made


@pytest.fixture
def answers(monkeypatch):
    """The weights of most versions here are a letter: what is asked of real ones has a test of its own."""
    monkeypatch.setattr(promotion, "_require_answer", lambda *found: None)


def by_hand(store, name, version, who="ada"):
    return promotion.promote(store, name, version, who=who, why="w")


def kinds(store, name):
    return [record.what.kind for record in Champion(store, name).look().state.records]


def test_promoting_the_champion_again_changes_nothing(store, name):
    assert by_hand(store, name, 1).changed
    again = by_hand(store, name, 1)
    assert (again.action, again.changed, again.champion_version) == ("none", False, 1)
    assert kinds(store, name) == ["promote"]


def test_the_version_that_a_rollback_goes_to_has_an_alias_of_its_own(store, name, answers):
    by_hand(store, name, 1)
    assert versions.by_alias(name, "previous-champion") is None
    by_hand(store, name, 2)
    assert versions.by_alias(name, "previous-champion").number == 1
    promotion.rollback(store, name, None, who="ada", why="w")
    assert versions.by_alias(name, "champion").number == 1
    assert versions.by_alias(name, "previous-champion") is None


def test_a_former_champion_that_somebody_deleted_blocks_no_entry_of_the_ledger(store, name, caplog):
    by_hand(store, name, 1), by_hand(store, name, 2)
    MlflowClient().delete_model_version(name, "1")
    assert promotion.hold(store, name, lift=False, who="ada", why="w").changed
    assert f"previous_champion_not_shown name={name} version=1" in caplog.text
    assert versions.by_alias(name, "previous-champion") is None
    assert promotion.history(store, name).problems == []
    assert promotion.promote(store, name, 3, who="ada", why="w").action == "wait"
    assert promotion.approve(store, name, 3, by="grace", why="w").champion_version == 3
    assert versions.by_alias(name, "previous-champion").number == 2


@pytest.mark.parametrize("champions", [(1,), (1, 2)])
def test_a_ledger_whose_registered_model_somebody_deleted_is_told_with_what_to_do(store, name, champions):
    for number in champions:
        by_hand(store, name, number)
    MlflowClient().delete_registered_model(name)
    with pytest.raises(InfraError, match="the registry has none of its name") as caught:
        Champion(store, name).settle()
    assert "another name" in caught.value.do
    assert kinds(store, name) == ["promote"] * len(champions)


def test_each_champion_is_copied_to_the_name_for_production_once_also_by_a_rollback(store, name, answers):
    target = f"prod-{name}"
    for number in (1, 2):
        versions.set_tags(name, number, {PRODUCTION: target})
    by_hand(store, name, 1)
    first = versions.by_alias(target, "champion")
    assert (first.tags["copied_from"], first.weights_sha256) == (f"{name}/1", "a" * 64)
    by_hand(store, name, 2)
    assert versions.by_alias(target, "champion").tags["copied_from"] == f"{name}/2"
    promotion.rollback(store, name, None, who="ada", why="w")
    assert versions.by_alias(target, "champion").number == first.number
    assert first.tags[PRODUCTION] == ""
    by_hand(store, name, 3)  # waits: it is no champion
    assert versions.by_alias(target, "champion").number == first.number


def test_a_copy_that_a_killed_process_left_unfinished_is_made_by_the_next_command(store, name, monkeypatch):
    target = f"prod-{name}"
    versions.set_tags(name, 1, {PRODUCTION: target})
    with monkeypatch.context() as patch:
        patch.setattr("infra.ledger.champion.copy_if_asked", lambda *given, moved: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            by_hand(store, name, 1)
    assert versions.by_alias(name, "champion").number == 1
    assert versions.by_alias(target, "champion") is None
    assert not by_hand(store, name, 1).changed
    assert versions.by_alias(target, "champion").tags["copied_from"] == f"{name}/1"


def test_an_alias_of_production_that_a_person_moved_stays_until_the_next_champion(store, name, caplog):
    caplog.set_level("INFO", "dpo.ledger")
    target, client = f"prod-{name}", MlflowClient()
    for number in (1, 2):
        versions.set_tags(name, number, {PRODUCTION: target})
        by_hand(store, name, number)
    assert [text for text in caplog.messages if "production_moved" in text] == [
        f"production_moved name={target} from=None to=1 copied_from={name}/1",
        f"production_moved name={target} from=1 to=2 copied_from={name}/2",
    ]
    client.set_registered_model_alias(target, "champion", "1")
    for lift in (False, True):
        promotion.hold(store, name, lift=lift, who="ada", why="w")
    by_hand(store, name, 3), promotion.approve(store, name, 3, by="grace", why="no", reject=True)
    assert kinds(store, name) == ["promote", "promote", "hold", "lift", "wait", "decline"]
    assert versions.by_alias(target, "champion").number == 1
    by_hand(store, name, 1), by_hand(store, name, 2)
    assert versions.by_alias(target, "champion").number == 2


def test_a_name_for_production_that_is_asked_for_later_gets_the_champion_with_the_next_entry(store, name):
    target = f"prod-{name}"
    by_hand(store, name, 1)
    versions.set_tags(name, 1, {PRODUCTION: target})
    promotion.hold(store, name, lift=False, who="ada", why="w")
    assert versions.by_alias(target, "champion").tags["copied_from"] == f"{name}/1"


@pytest.mark.usefixtures("answers")
def test_a_champion_that_cannot_be_copied_to_production_is_gone_back_from(store, name, monkeypatch, caplog):
    target = f"prod-{name}"
    versions.set_tags(name, 2, {PRODUCTION: target})

    def refused(name, number, *, moved):
        if number == 2:
            raise Rejected("no right to write it", where=target, do="ask for it")

    by_hand(store, name, 1)
    with monkeypatch.context() as patch:
        patch.setattr("infra.ledger.champion.copy_if_asked", refused)
        with pytest.raises(Rejected):
            by_hand(store, name, 2)
        assert promotion.hold(store, name, lift=False, who="ada", why="w").champion_version == 2
        assert "production_not_copied" in caplog.text
        [problem] = promotion.history(store, name).problems
        assert "its copy for production may be missing" in problem
        assert promotion.rollback(store, name, None, who="ada", why="w").champion_version == 1
        assert versions.by_alias(name, "champion").number == 1
        with pytest.raises(Rejected):
            by_hand(store, name, 2)
    promotion.hold(store, name, lift=True, who="ada", why="w")
    assert versions.by_alias(target, "champion").tags["copied_from"] == f"{name}/2"
    assert promotion.history(store, name).problems == []


def test_a_version_that_needs_approval_waits_and_another_person_approves_it_once(store, name):
    by_hand(store, name, 1)
    asked = by_hand(store, name, 3)
    assert (asked.action, asked.champion_version, asked.waiting) == ("wait", 1, [3])
    assert not by_hand(store, name, 3).changed
    with pytest.raises(InputError, match="Ada asked for this version: somebody else approves it"):
        promotion.approve(store, name, 3, by="Ada", why="mine")
    done = promotion.approve(store, name, 3, by="grace", why="seen")
    assert (done.champion_version, done.waiting, versions.by_alias(name, "champion").number) == (3, [], 3)
    assert not promotion.approve(store, name, 3, by="grace", why="seen").changed  # the same, after a kill
    with pytest.raises(InputError, match="does not wait for approval: its wait was approved by grace"):
        promotion.approve(store, name, 3, by="linus", why="me too")
    assert kinds(store, name) == ["promote", "wait", "approve"]


def test_a_version_that_waits_over_a_former_champion_can_be_asked_for_anew(store, name):
    by_hand(store, name, 1), by_hand(store, name, 3), by_hand(store, name, 2)
    with pytest.raises(InputError, match="version 2 is champion now") as caught:
        promotion.approve(store, name, 3, by="grace", why="seen")
    assert f"dpo promote {name} 3 --why" in caught.value.do
    assert by_hand(store, name, 3).action == "wait"
    assert not by_hand(store, name, 3).changed
    assert promotion.approve(store, name, 3, by="grace", why="seen").champion_version == 3


def test_the_evidence_of_a_version_is_recorded_with_what_is_done_to_it(store, name):
    tags = {"gate.record": "stages/gate/1.json", "gate.verdict": "promote", "dpo.report": "reports/x/retrain.html"}
    versions.set_tags(name, 1, {**tags, "dpo.lineage": "lineage/x.json", "dpo.evaluation": "evaluations/x.json"})
    by_hand(store, name, 1)
    [entry] = promotion.history(store, name).entries
    assert entry.evidence == {
        "gate": "stages/gate/1.json",
        "verdict": "promote",
        "evaluation": "evaluations/x.json",
        "lineage": "lineage/x.json",
        "report": "reports/x/retrain.html",
        "run": versions.by_number(name, 1).run_id,
    }


def test_a_version_that_does_not_wait_is_not_approved(store, name):
    with pytest.raises(InputError, match="does not wait for approval"):
        promotion.approve(store, name, 1, by="grace", why="seen")
    assert kinds(store, name) == []


def test_a_rejected_version_is_not_promoted_by_approval(store, name):
    by_hand(store, name, 3)
    assert promotion.approve(store, name, 3, by="grace", why="too short", reject=True).champion_version is None
    with pytest.raises(InputError, match="was rejected by grace"):
        promotion.approve(store, name, 3, by="linus", why="seen")


def test_after_its_expiry_a_wait_is_recorded_as_expired(store, name):
    ended = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    record = PromotionRecord(kind="wait", version=3, weights_sha256="c" * 64, who="ada", expires=ended)
    Champion(store, name).append(record, base=0)
    for asked in (promotion.history(store, name), promotion.hold(store, name, lift=True, who="ada", why="w")):
        assert asked.waiting == [], "nothing has recorded its end yet, and it waits no more"
    assert promotion.history(store, name).expired == [3]
    for message in ("its approval expired at", "its wait expired"):
        with pytest.raises(InputError, match=message):
            promotion.approve(store, name, 3, by="grace", why="seen")
    assert kinds(store, name) == ["wait", "expire"]
    assert promotion.history(store, name).expired == []


def test_a_version_that_was_compared_with_another_champion_is_not_approved(store, name):
    by_hand(store, name, 3), by_hand(store, name, 1)
    with pytest.raises(InputError, match="version 1 is champion now, and version 3 was compared with None"):
        promotion.approve(store, name, 3, by="grace", why="seen")


@pytest.fixture
def overtaken(store, name, monkeypatch):
    """Another process promotes version 2 just before the next entry of this one is written."""
    append, once = Champion.append, [True]

    def late(self, record, *, base):
        if once and once.pop():
            promotion.promote(store, name, 2, who="linus", why="first")
        append(self, record, base=base)

    by_hand(store, name, 1)
    monkeypatch.setattr(Champion, "append", late)


@pytest.mark.usefixtures("answers", "overtaken")
@pytest.mark.parametrize("verb", ["promote", "rollback"])
def test_who_decided_over_a_champion_that_is_none_any_more_is_told(store, name, verb):
    versions.set_tags(name, 3, {TAG: ""})

    def again():
        if verb == "promote":
            return by_hand(store, name, 3)
        return promotion.rollback(store, name, 3, who="ada", why="w")

    with pytest.raises(Moved, match="version 2 became champion meanwhile") as lost:
        again()
    assert "run the command again to" in lost.value.do
    assert (kinds(store, name), versions.by_alias(name, "champion").number) == (["promote", "promote"], 2)
    assert again().champion_version == 3


@pytest.mark.usefixtures("overtaken")
def test_who_wanted_the_same_as_the_first_is_done(store, name):
    assert by_hand(store, name, 2).champion_version == 2
    assert kinds(store, name) == ["promote", "promote"]


@pytest.mark.usefixtures("answers")
def test_a_rollback_goes_to_the_champion_before_and_the_same_again_no_further(store, name):
    by_hand(store, name, 1), by_hand(store, name, 2)
    back = promotion.rollback(store, name, None, who="ada", why="worse")
    assert (back.action, back.champion_version, versions.by_alias(name, "champion").number) == ("rollback", 1, 1)
    assert not promotion.rollback(store, name, None, who="ada", why="worse").changed
    with pytest.raises(InputError, match="no champion before this one"):
        promotion.rollback(store, name, None, who="ada", why="still worse")
    assert promotion.history(store, name).barred == [2]
    by_hand(store, name, 2)
    assert promotion.history(store, name).barred == []


@pytest.mark.usefixtures("answers")
def test_the_same_rollback_goes_no_further_after_other_entries_until_there_is_another_champion(store, name):
    def back():
        return promotion.rollback(store, name, None, who="ada", why="worse").champion_version

    versions.set_tags(name, 3, {TAG: ""})
    by_hand(store, name, 1), by_hand(store, name, 2), by_hand(store, name, 3)
    for lift in (False, True):
        assert back() == 2
        promotion.hold(store, name, lift=lift, who="ada", why="worse")
    assert back() == 2
    assert promotion.history(store, name).barred == [3]
    by_hand(store, name, 3)
    assert back() == 2
    assert kinds(store, name).count("rollback") == 2


@pytest.mark.usefixtures("answers")
def test_a_champion_that_is_promoted_once_more_is_gone_back_from_to_the_one_that_it_replaced(store, name):
    versions.set_tags(name, 3, {TAG: ""})
    by_hand(store, name, 1), by_hand(store, name, 2), by_hand(store, name, 3), by_hand(store, name, 1)
    assert versions.by_alias(name, "previous-champion").number == 3
    assert Champion(store, name).look().state.first == 1
    assert promotion.rollback(store, name, None, who="ada", why="worse").champion_version == 3
    assert promotion.history(store, name).barred == [1]
    assert promotion.rollback(store, name, None, who="ada", why="still worse").champion_version == 2


@pytest.mark.usefixtures("answers")
def test_a_rollback_goes_past_no_approval(store, name):
    by_hand(store, name, 1)
    with pytest.raises(InputError, match="it never was champion, and needs approval to become one") as refused:
        promotion.rollback(store, name, 3, who="ada", why="w")
    assert refused.value.do == f"ask for it: dpo promote {name} 3 --why ..."
    by_hand(store, name, 3)
    with pytest.raises(InputError, match="it never was champion"):
        promotion.rollback(store, name, 3, who="ada", why="w")
    promotion.approve(store, name, 3, by="grace", why="seen"), by_hand(store, name, 2)
    assert promotion.rollback(store, name, 3, who="ada", why="w").champion_version == 3


@pytest.mark.usefixtures("answers")
def test_all_versions_that_are_barred_are_told_and_none_that_a_person_promoted_again(store, name):
    versions.set_tags(name, 3, {TAG: ""})
    by_hand(store, name, 1), by_hand(store, name, 2), by_hand(store, name, 3)
    promotion.rollback(store, name, 1, who="ada", why="w")
    assert promotion.history(store, name).barred == [2, 3]
    by_hand(store, name, 3)
    assert promotion.history(store, name).barred == [2]


def test_without_a_champion_before_there_is_no_rollback(store, name):
    by_hand(store, name, 1)
    with pytest.raises(InputError, match="no champion before this one"):
        promotion.rollback(store, name, None, who="ada", why="w")
    with pytest.raises(ObjectMissing):
        promotion.rollback(store, name, 9, who="ada", why="w")
    assert kinds(store, name) == ["promote"]


def test_a_rollback_to_weights_that_are_damaged_or_gone_moves_nothing(store, name, tmp_path):
    model = build_tiny_model(tmp_path / "model", seed=77)  # whose weights no other test has
    run = open_run("promotion", run_key=f"{name}-real", run_name="run", artifact_root=os.environ["DPO_HOME"])
    weights = digest_weights(model)
    real = versions.register(name, run_id=run.id, weights_sha256=weights, model_folder=model, tags={}).number
    by_hand(store, name, 1)
    assert promotion.rollback(store, name, real, who="ada", why="it answers").champion_version == real
    by_hand(store, name, 1)
    before = kinds(store, name)
    shutil.rmtree(load_settings().home / "downloads")
    [file] = [f for f in Path(os.environ["DPO_HOME"]).rglob("*.safetensors") if versions.digest(f) == weights]
    whole = file.read_bytes()
    file.write_bytes(whole[:-8] + b"\0" * 8)
    with pytest.raises(Damaged, match="its weights"):
        promotion.rollback(store, name, real, who="ada", why="w")
    file.unlink()
    with pytest.raises(InfraError):
        promotion.rollback(store, name, real, who="ada", why="w")
    assert (kinds(store, name), versions.by_alias(name, "champion").number) == (before, 1)


def test_a_model_without_a_chat_template_is_gone_back_to_once_it_goes_on_with_plain_text(store, name, tmp_path):
    model = build_tiny_model(tmp_path / "model", seed=78)
    (model / "chat_template.jinja").unlink()
    run = open_run("promotion", run_key=f"{name}-plain", run_name="run", artifact_root=os.environ["DPO_HOME"])
    weights = digest_weights(model)
    plain = versions.register(name, run_id=run.id, weights_sha256=weights, model_folder=model, tags={}).number
    by_hand(store, name, 1)
    assert promotion.rollback(store, name, plain, who="ada", why="w").champion_version == plain


def test_a_version_with_code_of_its_own_is_gone_back_to_by_the_code_that_its_run_trusted(store, name, tmp_path):
    canary = tmp_path / "canary"
    model = bring_own_code(build_tiny_model(tmp_path / "model"), canary)
    pin, weights, key = digest_code(model), digest_weights(model), f"lineage/{name}/own.json"
    run = open_run("promotion", run_key=f"{name}-own", run_name="run", artifact_root=os.environ["DPO_HOME"])
    made = {"weights_sha256": weights, "model_folder": model, "tags": {KEY: key}, "trusted_code": pin}
    own = versions.register(name, run_id=run.id, **made).number
    by_hand(store, name, 1)
    canary.unlink(missing_ok=True)

    record = json.loads(LINEAGE) | {"name": name, "weights_sha256": weights}
    for trusted, says in ((None, "which can run code"), ("0" * 64, f"its digest is {pin}")):
        record["base"]["own_code_sha256"] = trusted
        store.put_bytes(key, json.dumps(record).encode())
        with pytest.raises(InputError, match=says):
            promotion.rollback(store, name, own, who="ada", why="w")
    assert not canary.exists()
    record["base"]["own_code_sha256"] = pin
    store.put_bytes(key, json.dumps(record).encode())
    assert promotion.rollback(store, name, own, who="ada", why="w").champion_version == own
    assert canary.exists()
    assert load_speaker(f"models:/{name}/{own}").chats
    store.put_bytes(key, b"{}")
    with pytest.raises(InfraError, match="the record of what its run trusted cannot be read") as caught:
        load_speaker(f"models:/{name}/{own}")
    assert caught.value.where.endswith(key)
    assert trusted_model(f"models:/{name}/{own}", pin)[1] == pin  # named by its digest, it needs no record


def test_of_a_version_without_code_of_its_own_no_record_is_read(store, name, tmp_path, monkeypatch):
    model = build_tiny_model(tmp_path / "model", seed=79)
    run = open_run("promotion", run_key=f"{name}-gone", run_name="run", artifact_root=os.environ["DPO_HOME"])
    made = {"weights_sha256": digest_weights(model), "model_folder": model, "tags": {KEY: "lineage/gone.json"}}
    uri = f"models:/{name}/{versions.register(name, run_id=run.id, **made).number}"
    monkeypatch.setattr("tasks.lineage.open_store", lambda settings: pytest.fail("the store was opened"))
    found, trusted = trusted_model(uri, "0" * 64)  # a pin of the other model's code
    assert (digest_weights(found), trusted) == (digest_weights(model), None)
    assert load_speaker(uri).chats


def test_a_hold_is_recorded_once_and_a_name_that_is_not_registered_is_refused(store, name):
    for lift, changed in ((False, True), (False, False), (True, True), (True, False)):
        assert promotion.hold(store, name, lift=lift, who="ada", why="w").changed is changed
    with pytest.raises(InputError, match="no such model"):
        promotion.hold(store, "nobody", lift=False, who="ada", why="w")


@pytest.mark.parametrize("seq", [1, 2, 3])
@pytest.mark.parametrize("edit", [True, False])
def test_an_entry_edited_or_removed_by_hand_is_found_the_last_one_too(store, name, seq, edit):
    by_hand(store, name, 1), by_hand(store, name, 2), by_hand(store, name, 1)
    path = store.root / "promotions" / name / f"{seq:010d}.json"
    changed = path.read_text().replace('"ada"', '"eve"')
    path.unlink()
    if edit:
        path.write_text(changed)
    with pytest.raises(Damaged) as found:
        promotion.history(store, name, verify=True)
    assert found.value.where.endswith(path.name)
    with pytest.raises(Damaged):
        by_hand(store, name, 2)  # nothing is built on a ledger that is not whole


def test_weights_that_are_not_those_recorded_are_told(store, name):
    by_hand(store, name, 1)
    assert promotion.history(store, name, verify=True).verdict == "pass"
    versions.set_tags(name, 1, {versions.WEIGHTS: "e" * 64})
    found = promotion.history(store, name, verify=True)
    assert (found.verdict, found.problems) == ("fail", ["entry 1: version 1 has other weights than were recorded"])


def test_a_ledger_of_a_newer_format_is_refused(store, name):
    by_hand(store, name, 1)
    path = store.root / "promotions" / name / "0000000001.json"
    newer = json.loads(path.read_text()) | {"format": 2}
    path.unlink()
    path.write_text(json.dumps(newer))
    with pytest.raises(InfraError, match="newer version"):
        by_hand(store, name, 2)


def test_without_create_only_writes_nothing_is_promoted(store, name, monkeypatch):
    _asked.discard(store.url)
    put = FolderStore.put_bytes
    monkeypatch.setattr(FolderStore, "put_bytes", lambda self, key, data, create_only=False: put(self, key, data))
    with pytest.raises(InfraError, match="does not heed create-only writes"):
        by_hand(store, name, 1)
    assert versions.by_alias(name, "champion") is None


class Ledger(RuleBasedStateMachine):
    """Any records in any order, beside a plain model of what they mean."""

    def __init__(self):
        super().__init__()
        self.state, self.champion, self.barred, self.held = Standing(), None, set(), False
        self.line, self.first = [], None
        self.left = set()  # for a version that never was champion, by the alias

    def add(self, kind, version=None):
        over = {"over": self.champion, "over_weights_sha256": f"w{self.champion}" if self.champion else ""}
        weights = f"w{version}" if version else ""
        record = PromotionRecord(kind=kind, version=version, weights_sha256=weights, **over)
        self.state = after(self.state, LedgerRecord(self.state.seq + 1, "", "", record))

    @rule(version=st.integers(1, 4), kind=st.sampled_from(["promote", "approve"]))
    def promote(self, version, kind):
        self.add(kind, version)
        self.become(version)

    def become(self, version):
        self.line = [*(champion for champion in self.line if champion != version), version]
        self.first = self.first or version
        self.champion = version
        self.barred.discard(version)

    def go_back(self, version):
        """Who comes after it has not been: all of them are barred."""
        left = self.line[self.line.index(version) + 1 :] if version in self.line else []
        self.line = self.line[: len(self.line) - len(left)]
        self.barred |= {self.champion, *left}
        self.become(version)
        return left

    @precondition(lambda self: self.state.previous is not None and self.champion is not None)
    @rule()
    def rollback(self):
        target = self.state.previous[0]
        assert target != self.champion
        assert target not in self.barred - self.left
        self.add("rollback", target)
        self.left.discard(self.champion)
        self.go_back(target)

    @precondition(lambda self: self.champion is not None)
    @rule()
    def taken_away_outside(self):
        self.add("outside_change")
        self.barred.add(self.champion)
        self.left.discard(self.champion)
        self.champion = None

    @precondition(lambda self: self.champion is not None)
    @rule(version=st.integers(1, 4))
    def moved_outside(self, version):
        if version == self.champion:
            return
        new, former = version not in self.line, self.champion
        self.add("outside_change", version)
        back = self.go_back(version)
        self.left = self.left | {former} if new else self.left - {version, *back}

    @rule(lift=st.booleans())
    def hold(self, lift):
        self.add("lift" if lift else "hold")
        self.held = not lift

    @rule(version=st.integers(1, 4), how=st.sampled_from(["decline", "expire"]))
    def wait_and_end(self, version, how):
        self.add("wait", version)
        assert version in self.state.waiting
        self.add(how, version)
        assert version not in self.state.waiting

    @invariant()
    def says_the_same(self):
        assert self.state.champion == self.champion
        assert {int(weights[1:]) for weights in self.state.barred} == self.barred
        assert (self.state.held is not None) == self.held
        assert self.state.weights not in self.state.barred or self.champion is None
        assert self.state.seq == len(self.state.records)
        assert self.state.first == self.first
        before = [v for v in self.line if v != self.champion and v not in self.barred - self.left]
        assert self.state.previous == ((before[-1], f"w{before[-1]}") if before else None)


TestLedger = Ledger.TestCase
TestLedger.settings = settings(max_examples=60, stateful_step_count=25)


def restore_first_promotion(name, *later):
    """The registry as it was when version 1 became champion; the ledger has the later ones, which are lost."""
    client = MlflowClient()
    shown = client.get_registered_model(name).tags["dpo.ledger"]
    for version in later:
        promotion.promote(open_store(load_settings()), name, version, who="ada", why="it rose")
        client.delete_model_version(name, str(version))
    client.delete_registered_model_alias(name, "previous-champion")
    client.set_registered_model_alias(name, "champion", "1")
    client.set_registered_model_tag(name, "dpo.ledger", shown)
    return client


def test_a_registry_from_before_the_last_promotion_is_told_and_stops_everything_until_its_alias_is_gone(store, name):
    promotion.promote(store, name, 1, who="ada", why="it rose")
    client = restore_first_promotion(name, 2)
    found = promotion.history(store, name, verify=True)
    said = f"entry 2: model {name} has no version 2"
    assert (found.verdict, found.problems) == ("fail", [said, "the alias champion is on version 1, the ledger says 2"])
    with pytest.raises(InfraError, match=r"version=2\) not found"):
        promotion.promote(store, name, 1, who="ada", why="restored")
    client.delete_registered_model_alias(name, "champion")
    assert promotion.promote(store, name, 1, who="ada", why="restored").champion_version == 1


def test_a_registry_from_before_several_promotions_looks_like_an_alias_that_a_person_moved_back(store):
    register_letters("several")
    promotion.promote(store, "several", 1, who="ada", why="it rose")
    restore_first_promotion("several", 2, 3)
    assert promotion.history(store, "several", verify=True).verdict == "fail"
    assert Champion(store, "several").settle().champion == 1
    after = promotion.history(store, "several")
    assert (after.entries[-1].kind, after.barred) == ("outside_change", [2, 3])


def test_a_ledger_from_before_what_the_registry_has_seen_is_refused(store, name):
    for version in (1, 2):
        promotion.promote(store, name, version, who="ada", why="it rose")
    store.delete(f"promotions/{name}/0000000002.json")
    with pytest.raises(Damaged, match="entry 2 of the ledger is missing"):
        promotion.promote(store, name, 1, who="ada", why="older")
