"""A stage's output is not computed twice because the store was away; its name follows the code's meaning."""

import pytest

from infra.errors import Away
from infra.settings import load_settings
from infra.store import open_store
from tasks import stages
from tasks.stages import code_digest, remembered


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
        return remembered(store, "score", {"x": 1}, compute, code=("tasks/stages.py",))

    def away(*_, **__):
        raise Away("nobody answers", where=store.url, do="wait")

    with monkeypatch.context() as outage:
        outage.setattr(store, "put_bytes", away)
        with pytest.raises(Away):
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
