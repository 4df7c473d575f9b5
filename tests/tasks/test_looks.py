"""Candidates that are gated on the same items are counted, for a year, while the items are the same."""

import datetime

import pytest

from infra.ledger.chain import Chain
from infra.settings import load_settings
from infra.store import open_store
from tasks.looks import look

ITEMS = [f"item {number}" for number in range(40)]


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("DPO_HOME", str(tmp_path))
    return open_store(load_settings())


@pytest.fixture
def looked(store):
    """Gate a challenger by its name on some items."""

    def once(challenger, items=ITEMS, evaluation="e", now=None):
        return look(store, "n", challenger=challenger, evaluation=evaluation, run_id="r", items=items, now=now)

    return once


def test_each_candidate_is_a_look_and_the_same_again_is_none(looked, store, monkeypatch):
    monkeypatch.setenv("LOGNAME", "ada")
    assert [looked(name).number for name in "aabca"] == [1, 1, 2, 3, 1]  # those after it do not count against a
    entries = Chain(store, "looks/n").entries()
    assert [entry.body["challenger"] for entry in entries] == ["a", "b", "c"]
    assert {entry.body["who"] for entry in entries} == {"ada"}


def test_a_candidate_that_is_evaluated_anew_is_written_down_and_counted_once(looked, store):
    looked("a")
    assert looked("a", evaluation="again").number == 1
    assert len(Chain(store, "looks/n").entries()) == 2


def test_a_candidate_that_other_code_evaluates_anew_keeps_its_place_on_the_same_items(looked):
    first, second = ITEMS, [f"other {number}" for number in range(40)]
    assert [looked(name).number for name in "ab"] == [1, 2]
    assert [looked(name, evaluation="by other code").number for name in "aba"] == [1, 2, 1]
    assert looked("c").number == 3
    assert [looked(name, second).number for name in "ca"] == [1, 2]  # there a has no place yet
    assert looked("a", [*first[:20], *second[:20]], "of both halves").number == 3


def test_fresh_items_reopen_what_was_spent(looked):
    assert looked("a").fresh_needed == 41  # of 81 items then, 40 would be old ones: fewer than half
    fresh = [f"fresh {number}" for number in range(41)]
    assert looked("b", [*ITEMS, *fresh[:40]]).number == 2
    assert looked("c", [*ITEMS, *fresh]).number == 2  # b's 80 items are 80 of these 81; a's are 40
    assert looked("d", [f"other {number}" for number in range(40)]).number == 1


def test_a_look_counts_for_a_year(looked):
    looked("a")
    today = datetime.datetime.now(datetime.UTC)
    assert looked("b", now=today + datetime.timedelta(days=364)).number == 2
    assert looked("c", now=today + datetime.timedelta(days=366)).number == 1  # both entries bear today's date
