"""`dpo promote`, `rollback`, `hold`, `approve`, `history` as they are typed: documents, exit codes, errors."""

import json
import shutil
from datetime import UTC, datetime, timedelta

import pytest

from flows.cli.app import run
from infra.ledger.champion import Champion
from infra.ledger.create_only import _asked
from infra.ledger.promotions import PromotionRecord
from infra.registry import versions
from infra.settings import load_settings
from infra.store import open_store
from infra.store.folder import FolderStore
from tasks.commands import promotion
from tasks.runtime.approval import TAG
from tests.letters import register_letters


@pytest.fixture
def weights(tmp_path, tiny_model):
    """The folder that the registry has of each version."""
    shutil.copytree(tiny_model, tmp_path / "weights" / "artifacts" / "model")
    return tmp_path / "weights"


@pytest.fixture
def name(request, weights):
    """A model of three versions whose weights are not what was registered; 3 is of a recipe that requires approval."""
    made = "".join(char if char.isalnum() else "-" for char in request.node.name)
    register_letters(made, tags={"c": {TAG: "7"}}, source=str(weights))
    return made


@pytest.fixture
def store():
    return open_store(load_settings())


@pytest.fixture
def dpo(name, capfd):
    """Type a command about the model, with `--json`; exit code and document."""

    def typed(line, why="w"):
        command, *rest = line.split()
        code = run([command, name, *rest, *([] if command == "history" else ["--why", why]), "--json"])
        return code, json.loads(capfd.readouterr().out)

    return typed


def entries(name, store):
    return [record.what.kind for record in Champion(store, name).look().state.records]


def test_each_command_prints_what_holds_after_it(dpo, name, store, monkeypatch):
    monkeypatch.setattr(promotion, "_require_answer", lambda *found: None)
    lines = {
        "promote 1 --by ada": ("promote", 1, []),
        "promote 2 --by ada": ("promote", 2, []),
        "promote 2 --by eve": ("none", 2, []),
        "hold --by ada": ("hold", 2, []),
        "hold --lift --by ada": ("lift", 2, []),
        "promote 3 --by ada": ("wait", 2, [3]),
        "approve 3 --by grace": ("approve", 3, []),
        "approve 3 --by grace ": ("none", 3, []),
        "rollback --by ada": ("rollback", 2, []),
        "rollback --to 1 --by ada": ("rollback", 1, []),
    }
    for line, (action, champion, waiting) in lines.items():
        code, document = dpo(line)
        assert (code, document["schema"], document["model"]) == (0, 1, name), line
        assert (document["action"], document["changed"]) == (action, action != "none"), line
        assert (document["champion_version"], document["waiting"]) == (champion, waiting), line
    code, document = dpo("history --verify")
    assert (code, document["verdict"], document["barred"]) == (0, "pass", [2, 3])
    recorded = [entry["kind"] for entry in document["entries"]]
    assert recorded == [action for action, *_ in lines.values() if action != "none"] == entries(name, store)


def test_what_can_be_done_about_a_wait_over_a_former_champion_is_told(dpo, name, capfd):
    dpo("promote 3 --by ada")
    assert dpo("history")[1]["overtaken"] == []
    document = dpo("promote 1 --by ada")[1]
    assert (document["waiting"], document["overtaken"]) == ([3], [3])
    for command in (["history", name], ["promote", name, "1", "--by", "ada", "--why", "w"]):
        assert run(command) == 0
        said = capfd.readouterr().out
        over = f"version 3 waits for approval over a former champion: dpo promote {name} 3 --why ... asks anew"
        assert over in said
        assert "dpo approve" not in said


def test_a_history_with_a_problem_exits_with_one(dpo, name):
    dpo("promote 1")
    versions.set_tags(name, 1, {versions.WEIGHTS: "e" * 64})
    code, document = dpo("history --verify")
    assert (code, document["verdict"]) == (1, "fail")


def test_who_decides_is_the_login_name_unless_it_is_said(dpo, monkeypatch):
    monkeypatch.setenv("LOGNAME", "hopper")
    dpo("promote 1"), dpo("promote 2 --by ada")
    assert [entry["who"] for entry in dpo("history")[1]["entries"]] == ["hopper", "ada"]


def waits(name, store, days):
    ends = (datetime.now(UTC) + timedelta(days=days)).isoformat()
    record = PromotionRecord(kind="wait", version=3, weights_sha256="c" * 64, who="ada", expires=ends)
    Champion(store, name).commit(lambda state: record)


def starts_to_wait(name, store):
    waits(name, store, days=7)


def is_approved(name, store):
    starts_to_wait(name, store)
    promotion.approve(store, name, 3, by="grace", why="seen")


def is_of_a_newer_format(name, store):
    promotion.promote(store, name, 1, who="ada", why="w")
    path = store.root / "promotions" / name / "0000000001.json"
    newer = json.loads(path.read_text()) | {"format": 2}
    path.unlink()
    path.write_text(json.dumps(newer))


def is_edited(name, store):
    promotion.promote(store, name, 1, who="ada", why="w")
    path = store.root / "promotions" / name / "0000000001.json"
    edited = path.read_text().replace('"ada"', '"eve"')
    path.unlink()
    path.write_text(edited)


def is_removed(name, store):
    is_edited(name, store)
    (store.root / "promotions" / name / "0000000001.json").unlink()


def nothing(name, store):
    pass


SAYS = {
    "an approval of a version that does not wait": (nothing, "approve 1 --by grace", "it does not wait for approval"),
    "an approval by who asked": (starts_to_wait, "approve 3 --by ADA", "asked for this version: somebody else"),
    "a second approval": (is_approved, "approve 3 --by linus", "its wait was approved by grace"),
    "a rollback with nothing before": (nothing, "rollback", "there is no champion before this one to go back to"),
    "a rollback to damaged weights": (nothing, "rollback --to 2", "files are not those of the version"),
    "a version that is not there": (nothing, "promote 9", "9"),
    "a newer ledger": (is_of_a_newer_format, "promote 2", "was written by a newer version"),
    "the history of a newer ledger": (is_of_a_newer_format, "history", "was written by a newer version"),
    "an entry edited by hand": (is_edited, "history --verify", "entry 1 of the ledger was changed"),
    "an entry removed by hand": (is_removed, "history --verify", "entry 1 of the ledger is missing"),
}


def keys(name, store):
    return sorted(store.list(f"promotions/{name}/"))


def refused(answer):
    code, document = answer
    error = document["error"]
    assert (code, all(error.values()), set(error)) == (2, True, {"says", "where", "do"})
    return error


@pytest.mark.parametrize("case", SAYS)
def test_what_is_refused_is_told_in_three_parts_and_leaves_the_ledger_as_it_was(dpo, name, store, case):
    prepare, line, says = SAYS[case]
    prepare(name, store)
    before = keys(name, store), versions.by_alias(name, "champion")
    error = refused(dpo(line))
    assert says in error["says"]
    assert name in error["where"] + error["says"]
    assert (keys(name, store), versions.by_alias(name, "champion")) == before


def test_the_history_is_for_programs_without_a_login_name_too(dpo, name, monkeypatch):
    monkeypatch.setattr("tasks.runtime.provenance.user", lambda: "")
    assert dpo("history")[0] == 0
    assert refused(dpo("promote 1"))["where"] == "--by"


def test_a_rollback_to_weights_that_are_gone_is_refused(dpo, name, store, weights):
    weights.rename(weights.with_name("elsewhere"))
    refused(dpo("rollback --to 2"))
    assert keys(name, store) == []


def test_an_approval_after_its_expiry_is_refused_and_the_expiry_recorded_once(dpo, name, store):
    waits(name, store, days=-1)
    assert "its approval expired at" in refused(dpo("approve 3 --by grace"))["says"]
    assert "its wait expired" in refused(dpo("approve 3 --by grace"))["says"]
    assert entries(name, store) == ["wait", "expire"]


def test_a_store_without_create_only_writes_is_refused(dpo, name, store, monkeypatch):
    _asked.discard(store.url)
    put = FolderStore.put_bytes
    monkeypatch.setattr(FolderStore, "put_bytes", lambda self, key, data, create_only=False: put(self, key, data))
    error = refused(dpo("promote 1"))
    assert "does not heed create-only writes" in error["says"]
    assert (error["where"], keys(name, store)) == (store.url, [])


@pytest.mark.parametrize(("by", "why", "where"), [(" ", "seen", "--by"), ("grace", " ", "--why")])
def test_a_decision_by_nobody_or_without_a_reason_is_refused(name, store, capfd, by, why, where):
    assert run(["promote", name, "1", "--by", by, "--why", why, "--json"]) == 2
    assert json.loads(capfd.readouterr().out)["error"]["where"] == where
    assert keys(name, store) == []


@pytest.mark.parametrize("line", ["promote nobody 1", "approve nobody 1 --by a", "rollback nobody", "hold nobody"])
def test_a_name_that_is_not_registered_is_refused(line, capfd):
    assert run([*line.split(), "--why", "w", "--json"]) == 2
    assert "nobody" in str(json.loads(capfd.readouterr().out)["error"])
    assert run(["history", "nobody"]) == 2
