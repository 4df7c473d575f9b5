"""The form of a version that waits ends with its wait, however that ends: on a real Prefect server."""

import pytest

from dpo_core.errors import InputError
from flows.approve import ApprovalForm, approve
from infra.ledger.champion import Champion
from infra.registry import versions
from infra.settings import load_settings
from infra.store import open_store
from tasks.commands import promotion
from tasks.runtime.approval import TAG, Policy, move_record, wait_record
from tasks.runtime.forms import follow
from tests.letters import register_letters


@pytest.fixture
def client(prefect_server, monkeypatch):
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL

    assert PREFECT_API_URL.value(), "the harness sets a server"
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def store():
    return open_store(load_settings())


@pytest.fixture
def name(request, store):
    """A model whose version 3 waits, as ada asked, and whose version 2 needs approval, too."""
    made = "".join(char if char.isalnum() else "-" for char in request.node.name)
    register_letters(made, tags={"b": {TAG: "7"}, "c": {TAG: "7"}})
    promotion.promote(store, made, 3, who="ada", why="it rose")
    return made


@pytest.fixture
def form(client, name):
    """A run of the flow `approve` in some state, of a version; it gives the run's state as it is now."""
    from prefect import flow
    from prefect.states import Running, Suspended

    @flow(name="approve")
    def approve(name: str, version: int) -> None: ...

    def made(version=3, *, running=False, of=name):
        state = Running() if running else Suspended()
        run = client.create_flow_run(approve, parameters={"name": of, "version": version}, state=state)

        def now():
            found = client.read_flow_run(run.id).state
            return found.type.value, found.name, found.message

        return now

    return made


def test_who_approves_on_the_command_line_ends_the_form_and_no_other(store, name, form):
    asked, by_hand = form(), form()
    others = [form(2), form(3, of="another"), form(running=True)]  # the last is filled in already, and at work
    before = [other() for other in others]
    promotion.approve(store, name, 3, by="grace", why="read 30 answers")
    for ended in (asked, by_hand):
        kind, state, message = ended()
        assert (kind, state) == ("CANCELLED", "AlreadyApproved")
        assert message.startswith("approve by grace at 20")
        assert message.endswith("entry 2 of the ledger: read 30 answers")
    assert [other() for other in others] == before


def test_each_other_end_of_a_wait_has_its_state(store, name, form):
    asked = form()
    promotion.promote(store, name, 1, who="linus", why="launch")  # version 3 was compared with no champion
    assert asked()[1] == "Suspended"
    promotion.approve(store, name, 3, by="grace", why="too short", reject=True)
    assert asked()[:2] == ("CANCELLED", "AlreadyRejected")


def test_a_form_whose_wait_ended_by_a_verdict_does_not_say_that_a_person_rejected_it(store, name, form):
    register_letters(made := f"{name}-by-run")
    champion, asked = Champion(store, made), form(of=made)
    run = {"found": versions.by_number(made, 3), "who": "", "why": "w", "by_run": True}
    waits = champion.commit(lambda state: wait_record(state, policy=Policy(required=True), **run))
    follow(made, waits, champion.commit(lambda state: move_record("decline", state, **run)))
    assert asked()[:2] == ("CANCELLED", "GatedAgain")


def test_a_server_that_is_away_does_not_keep_anybody_from_approving(store, name, client, monkeypatch, caplog):
    monkeypatch.setattr("prefect.client.orchestration.get_client", lambda **given: 1 / 0)
    assert promotion.approve(store, name, 3, by="grace", why="seen").champion_version == 3
    assert "suspended_runs_not_ended flow=approve" in caplog.text


def test_a_form_that_outlived_its_wait_decides_on_no_later_one(store, name, monkeypatch):
    asked = []
    monkeypatch.setattr("tasks.runtime.forms.ask_for_run", lambda deployment, given, *, key: asked.append(given))
    given = ApprovalForm(approve="yes", by="grace", why="seen")
    monkeypatch.setattr("flows.approve.suspend_flow_run", lambda **options: given)
    promotion.promote(store, name, 1, who="linus", why="launch")
    promotion.promote(store, name, 3, who="ada", why="it rose over that one, too")
    [anew] = asked
    with pytest.raises(InputError, match="it was asked for anew, over version 1, by ada at 20"):
        approve.fn(**{**anew, "entry": 1})
    with pytest.raises(InputError, match="asked for anew"):
        promotion.approve(store, name, 3, by="grace", why="seen", entry=1)
    assert approve.fn(**anew).champion_version == 3
