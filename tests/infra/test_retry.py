"""Waiting for what is away: for a bounded time, and for nothing else."""

import pytest

import infra.store.retry
from infra.errors import InfraError, Unavailable
from infra.settings import Settings
from infra.store import open_store
from infra.store.retry import PatientStore, retry_unavailable


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(infra.store.retry, "time", clock)
    return clock


def away_for(clock, seconds, result="done"):
    def call():
        if clock.now < seconds:
            raise Unavailable("nobody answers", where="there", do="wait")
        return result

    return call


def test_an_absence_shorter_than_the_patience_costs_time_and_two_lines(clock, caplog):
    assert retry_unavailable(away_for(clock, 100), 120, "store s3://b") == "done"
    assert 100 <= clock.now <= 115  # the longest pause is 15 s
    begins, ends = (record.getMessage() for record in caplog.records)
    assert begins == "away whom='store s3://b' reason='nobody answers' action='tried again for 120 s'"
    assert ends == f"back whom='store s3://b' after_s={clock.now:.0f}"


def test_patience_ends_with_the_error_of_the_last_try(clock):
    with pytest.raises(Unavailable, match="nobody answers"):
        retry_unavailable(away_for(clock, 1000), 120, "store")
    assert clock.now == pytest.approx(120)


def test_what_waiting_does_not_mend_is_told_at_once(clock):
    def refused():
        raise InfraError("wrong keys", where="there", do="correct them")

    with pytest.raises(InfraError, match="wrong keys"):
        retry_unavailable(refused, 120, "store")
    assert clock.now == 0


def test_a_folder_is_stored_through_an_absence_and_a_create_only_write_is_tried_once(clock, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a.txt").write_text("a")
    bare = open_store(Settings(home=tmp_path / "home"))
    put_bytes = bare.put_bytes
    bare.put_bytes = lambda *args, **options: (away_for(clock, 50)(), put_bytes(*args, **options))[1]
    store = PatientStore(bare, 120)
    with pytest.raises(Unavailable):
        store.put_bytes("ledger/1", b"mine", create_only=True)
    assert clock.now == 0
    store.put_folder("models/x", tmp_path / "model")
    assert clock.now >= 50
    assert store.get_folder("models/x", tmp_path / "back").keys() == {"a.txt"}
