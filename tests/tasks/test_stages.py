"""A stage's output is not computed twice because the store was away when it was done."""

import pytest

from infra.errors import Away
from infra.settings import load_settings
from infra.store import open_store
from tasks.stages import remembered


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
