"""kill -9 between any two steps of a call: what is asked again is billed once, what was answered is never asked."""

import itertools
import signal
import threading

import pytest

from infra.endpoint.chat import ChatReply
from infra.endpoint.record import CallRecord, Claim
from infra.endpoint.spending import Budget, Purse
from infra.store.folder import FolderStore
from tests.endpoint_server import loopback_endpoint
from tests.infra.endpoint_curation import Curation, Fatal, endpoint_of, requests_of

PROMPTS = 12
POINTS = list(itertools.product(("intent", "place", "reply", "settled"), (True, False)))
TOKENS = 10 + 2 * 5  # of one call for two answers, as the endpoint counts


def goes_on(url, folder, prompts=PROMPTS):
    """The rest, in this process: texts in the order of the prompts, what was spent, what this process did."""
    endpoint = endpoint_of(url, FolderStore(folder), prompts)
    outcomes = dict(endpoint.replies(requests_of(prompts)))
    assert all(isinstance(outcome, ChatReply) for outcome in outcomes.values())
    endpoint.close()
    return [outcomes[n].texts for n in range(prompts)], endpoint.spent(), endpoint.counts()


@pytest.mark.parametrize(("kind", "before"), POINTS)
def test_killed_at_any_step_of_a_call_each_call_is_billed_once(tmp_path, kind, before):
    with loopback_endpoint() as (url, bill):
        killed = Curation(url, tmp_path, PROMPTS, fatal=Fatal(kind, before))
        assert killed.ended()[1] == -signal.SIGKILL
        in_doubt = endpoint_of(url, FolderStore(tmp_path), PROMPTS).spent().in_doubt
        texts, spent, counts = goes_on(url, tmp_path)
        calls = {key.split("/")[2] for key in FolderStore(tmp_path).list("endpoint/calls/") if key.endswith("reply")}
        assert {key.removeprefix("dpo-") for key in bill.billed} == calls
        assert set(bill.billed.values()) == {1}
        assert (spent.calls, spent.in_doubt, len(calls)) == (PROMPTS, 0, PROMPTS)
        assert spent.tokens == PROMPTS * TOKENS
        assert counts.asked_again >= in_doubt  # a call may have its intent and no place yet
        assert spent.lost >= counts.asked_again
        assert goes_on(url, tmp_path)[0] == texts
        assert bill.total == PROMPTS


def test_killed_by_chance_again_and_again_each_call_is_billed_once(tmp_path):
    with loopback_endpoint() as (url, bill):
        bill.delay_s = 0.03
        for answers in (1, 4, 7, 2, 6):
            running = Curation(url, tmp_path, 40, at_once=3)
            for _ in range(answers):
                running.answered()
            running.process.kill()
            running.ended()
        _, spent, counts = goes_on(url, tmp_path, prompts=40)
        assert (bill.total, set(bill.billed.values())) == (40, {1})
        assert (spent.calls, spent.in_doubt, spent.tokens) == (40, 0, 40 * TOKENS)
        assert counts.paid + counts.from_record == 40


def test_of_two_processes_at_once_none_pays_for_what_the_other_does(tmp_path):
    with loopback_endpoint() as (url, bill):
        bill.delay_s = 0.03
        for one in [Curation(url, tmp_path, 40) for _ in range(2)]:
            assert one.ended() == (list(range(40)), 0)
        assert (bill.total, set(bill.billed.values())) == (40, {1})


def test_a_process_takes_over_at_once_what_a_killed_one_was_asking(tmp_path):
    with loopback_endpoint() as (url, bill):
        bill.delay_s = 0.2
        first, second = (Curation(url, tmp_path, 8) for _ in range(2))
        first.answered()
        first.process.kill()
        first.ended()
        assert second.ended() == (list(range(8)), 0)
        assert (bill.total, set(bill.billed.values())) == (8, {1})


def test_a_call_taken_over_keeps_the_place_that_its_first_asker_took_since_the_purse_was_opened(tmp_path):
    store, budget = FolderStore(tmp_path), Budget(2, 10**9)
    dead, alive = (Purse(store, "kills", budget, lambda digest: None, patience_s=0) for _ in range(2))
    answered, open_ = dead.reserve("a", 10), dead.reserve("b", 10)
    dead.settle(answered, 7, 0)
    assert alive.reserve("b", 10, again=True) == open_
    assert alive.spent()[:2] == (2, 17)


def test_an_asker_of_another_machine_is_waited_for_until_its_lease_ends(tmp_path, monkeypatch):
    store, digest, stop = FolderStore(tmp_path), "d" * 64, threading.Event()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("infra.endpoint.owner._machine", lambda: "another")
        assert CallRecord(store, lease_s=9999.0, patience_s=0).claim(digest, stop) == Claim(digest, 0, 0)
    waiting = threading.Thread(target=lambda: CallRecord(store, lease_s=9.0, patience_s=0).claim(digest, stop))
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()
    stop.set()
    waiting.join()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("infra.endpoint.owner._machine", lambda: "another")
        CallRecord(store, lease_s=0.1, patience_s=0).renew(Claim(digest, 0, 0))
    assert CallRecord(store, lease_s=9.0, patience_s=0).claim(digest, threading.Event()) == Claim(digest, 1, 1)
