"""kill -9 inside promote, approve and rollback, and two promoters at once: one champion, and a ledger that says it.

The whole campaign is run on a folder, and with smaller numbers on S3 (SeaweedFS).
"""

import random
import subprocess

import pytest

from infra.ledger.champion import Champion
from infra.ledger.promotions import PromotionRecord
from infra.settings import load_settings
from infra.store import open_store
from tests.letters import register_letters

VERBS = {"promote": 3, "approve": 3, "rollback": 1}  # versions 1 and 2 were champions; 3 waits: champion afterwards
KILLS = {"folder": 100, "s3": 25}
RACES = {"folder": (10, 10), "s3": (5, 5)}  # experiments, and races in each
FEW = [("promote", 9), ("promote", "move_alias"), ("approve", "set_model_tag"), ("rollback", "move_alias")]


def each(counts):
    """Arguments `kind` and `number` of so many experiments on each kind of store."""
    ids = {"folder": "", "s3": "s3-"}
    return [pytest.param(kind, n, id=f"{ids[kind]}{n}") for kind, count in counts.items() for n in range(count)]


@pytest.fixture
def kind():
    """Of store; the whole campaign has others too."""
    return "folder"


@pytest.fixture
def store(kind, request, monkeypatch):
    if kind == "s3":
        monkeypatch.setenv("DPO_STORE_URL", request.getfixturevalue("s3_url"))
    return open_store(load_settings())


@pytest.fixture
def name(request, store):
    return a_model("".join(char if char.isalnum() else "-" for char in request.node.name), store)


def a_model(made, store):
    """A model of three versions: 2 is champion over 1; for an approval, 3 waits."""
    register_letters(made)
    champion = Champion(store, made)
    for number in (1, 2):
        champion.commit(lambda state, number=number: moved("promote", state, number))
    return made


def moved(kind, state, number):
    weights = " abc"[number] * 64
    over = {"over": state.champion, "over_weights_sha256": state.weights}
    return PromotionRecord(kind=kind, version=number, weights_sha256=weights, who="grace", why="w", **over)


@pytest.fixture(scope="module")
def counted():
    """By kind of store, what `touches` found."""
    return {}


@pytest.fixture
def touches(forkserver, kind, store, counted):
    """How often each command touches store and registry when nobody kills it."""
    if kind not in counted:
        counted[kind] = {}
        for verb in VERBS:
            name = a_model(f"touches-of-{verb}-on-{kind}", store)
            life = start(forkserver, verb, name, prepare(verb, name, store))
            counted[kind][verb] = int(life.communicate()[0])
    return counted[kind]


def start(forkserver, verb, name, version, kill_at=0):
    command = [forkserver.python, "-m", "tests.faults.promoting", verb, name, str(version), str(kill_at)]
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE)


def prepare(verb, name, store):
    """What is there before the command; the version that it is given."""
    if verb == "approve":
        Champion(store, name).commit(lambda state: moved("wait", state, 3))
    return 0 if verb == "rollback" else 3


def keeps(name, store, kind, champion):
    """One champion, shown by the alias; a chain that reads; the deed recorded once."""
    view = Champion(store, name).look()
    assert view.alias == view.state.champion == champion
    assert view.shown[0] == view.state.seq
    assert [r.what.kind for r in view.state.records].count(kind) == (3 if kind == "promote" else 1)
    assert "outside_change" not in {r.what.kind for r in view.state.records}


def killed(forkserver, name, store, verb, kill_at):
    """Kill it there, look, let the same command complete it."""
    version = prepare(verb, name, store)
    assert start(forkserver, verb, name, version, kill_at).wait() == -9
    between = Champion(store, name).look()  # readable at once, and either the old or the new champion
    assert between.state.champion in (2, VERBS[verb])
    assert between.alias in (2, VERBS[verb])
    assert start(forkserver, verb, name, version).wait() == 0
    keeps(name, store, verb, VERBS[verb])


@pytest.mark.parametrize(("verb", "kill_at"), FEW)
def test_a_killed_command_is_completed_by_the_same_command(forkserver, name, store, verb, kill_at):
    killed(forkserver, name, store, verb, kill_at)


@pytest.mark.campaign
@pytest.mark.parametrize(("kind", "number"), each(KILLS))
def test_wherever_it_is_killed(forkserver, name, store, kind, number, record, touches):
    draw = random.Random(number)
    verb = draw.choice(list(VERBS))
    kill_at = draw.randint(1, touches[verb])
    record(what="ledger kill", store=kind, verb=verb, touch=kill_at, touches=touches[verb])
    killed(forkserver, name, store, verb, kill_at)


def race(forkserver, name, store):
    """Two promote different versions at once: both, one knowing of the other, or one and a loser who is told."""
    before = Champion(store, name).look().state.seq
    lives = [start(forkserver, "promote", name, version) for version in (1, 3)]
    codes = sorted(life.wait() for life in lives)
    view = Champion(store, name).look()
    assert set(codes) <= {0, 3}
    assert view.state.seq == before + codes.count(0)
    assert view.alias == view.state.champion
    assert "outside_change" not in {r.what.kind for r in view.state.records}
    Champion(store, name).commit(lambda state: moved("promote", state, 2))
    return codes


def test_two_promoters_at_once_are_two_records_and_one_champion(forkserver, name, store):
    for _ in range(3):  # a hundred in the campaign
        race(forkserver, name, store)


@pytest.mark.campaign
@pytest.mark.parametrize(("kind", "number"), each({kind: experiments for kind, (experiments, _) in RACES.items()}))
def test_two_promoters_race_a_hundred_times(forkserver, name, store, kind, number, record):
    record(what="ledger race", store=kind)
    record(codes=[race(forkserver, name, store) for _ in range(RACES[kind][1])])
