"""A stage's output is not computed twice because the store was away; its name follows the code's meaning."""

import pytest

from infra.errors import Damaged, Unavailable
from infra.settings import load_settings
from infra.store import open_store
from tasks.runtime import stages
from tasks.runtime.stages import code_digest, remembered


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    return open_store(load_settings())


def test_a_record_that_the_store_did_not_take_is_kept_and_stored_by_the_next_run(store, monkeypatch, tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return {"answer": 42}

    def run():
        return remembered(store, "score", {"x": 1}, compute, code=("tasks/runtime/stages.py",))

    def away(*_, **__):
        raise Unavailable("nobody answers", where=store.url, do="wait")

    with monkeypatch.context() as outage:
        outage.setattr(store, "put_bytes", away)
        with pytest.raises(Unavailable):
            run()
    output, stage = run()
    assert (output, stage.cached, calls) == ({"answer": 42}, False, [1])
    assert store.exists(stage.key)
    assert not list((tmp_path / "home" / "stages").rglob("*.json"))
    assert run()[1].cached


@pytest.fixture
def digest_of(tmp_path, monkeypatch):
    """The digest of a package of two files with these texts."""

    def digest(code="x = 1\n", page="<p>{{ x }}</p>"):
        package = tmp_path / "package"
        (package / "templates").mkdir(parents=True, exist_ok=True)
        (package / "code.py").write_text(code)
        (package / "templates" / "page.html.j2").write_text(page)
        stages.code_digest.cache_clear()
        stages._meaning.cache_clear()
        return code_digest(("package",))

    monkeypatch.setattr(stages, "ROOT", tmp_path)
    yield digest
    stages.code_digest.cache_clear()
    stages._meaning.cache_clear()


def test_comments_docstrings_and_layout_leave_a_stages_name_alone(digest_of):
    assert digest_of('"""What it is."""\n\nx = 1  # one\n') == digest_of("x = 1\n")


@pytest.mark.parametrize("changed", [{"code": "x = 2\n"}, {"page": "<b>{{ x }}</b>"}])
def test_code_and_templates_that_give_something_else_change_a_stages_name(digest_of, changed):
    assert digest_of(**changed) != digest_of()


def test_an_object_found_damaged_is_removed_so_that_the_next_run_makes_it_again(store):
    store.put_bytes("data/d/train.jsonl", b"rows")
    (store.root / "data" / "d" / "train.jsonl").write_bytes(b"rovs")
    with pytest.raises(Damaged) as caught, stages.damage_removed():
        store.get_bytes("data/d/train.jsonl")
    assert caught.value.where.endswith("data/d/train.jsonl")
    assert caught.value.do == "it has been removed: run the same command again, and it is made again"
    assert not store.exists("data/d/train.jsonl")


def test_damage_that_was_only_on_the_way_removes_nothing(store):
    store.put_bytes("data/d/train.jsonl", b"rows")
    with pytest.raises(Damaged, match="cut on the way"), stages.damage_removed():
        raise Damaged("cut on the way", where=f"{store.url}/data/d/train.jsonl", do="again")
    assert store.get_bytes("data/d/train.jsonl") == b"rows"
