"""Two retrains at the same time, in one home, and from two machines that share store and registry."""

import shutil

import pytest

from tests.faults.promises import keep
from tests.faults.runs import as_new, new_place

ROUNDS = 3


@pytest.fixture(scope="module")
def place(tmp_path_factory, forkserver):
    made = new_place(tmp_path_factory.mktemp("at-once"), forkserver)
    document = made.complete()
    made.weights = document["weights_sha256"]
    return made


@pytest.mark.campaign
@pytest.mark.timeout(600)
@pytest.mark.parametrize("round_", range(ROUNDS))
def test_the_same_recipe_twice_at_once_is_one_run_one_version_one_champion(place, round_, record):
    fresh = as_new(place, f"same-{round_}")
    lives = [fresh.start(), fresh.start()]
    codes = [life.wait() for life in lives]
    record(what="at once", case="the same recipe in one home", codes=codes)
    document = fresh.complete()
    keep(fresh, document, place.weights, alone=False)
    assert codes == [0, 0], [life.errors()[-800:] for life in lives]


@pytest.mark.campaign
@pytest.mark.timeout(600)
@pytest.mark.parametrize("round_", range(ROUNDS))
def test_two_recipes_of_one_name_at_once_are_two_versions_and_one_champion(place, round_, record):
    fresh = as_new(place, f"name-{round_}")
    other = "training.learning_rate=2e-3"
    lives = [fresh.start(), fresh.start(other)]
    codes = [life.wait() for life in lives]
    record(what="at once", case="two recipes of one name in one home", codes=codes)
    assert set(codes) <= {0, 4}, [life.errors()[-800:] for life in lives]  # 4: held against the other's champion
    one, two = (life.document() for life in lives)
    assert one["weights_sha256"] == place.weights != two["weights_sha256"]
    facts = fresh.facts()
    assert sorted(v["weights"] for v in facts["versions"]) == sorted(d["weights_sha256"] for d in (one, two))
    [champion] = [v for v in facts["versions"] if v["number"] == facts["champion"]["number"]]
    assert champion["verdict"] == "promote"
    assert (facts["damaged"], facts["garbage_left"]) == ([], [])
    assert fresh.left_over() == []


@pytest.mark.campaign
@pytest.mark.timeout(600)
@pytest.mark.parametrize("round_", range(ROUNDS))
def test_two_machines_that_share_store_and_registry_make_one_version(place, round_, record):
    shared = place.folder / f"shared-{round_}"
    shared.mkdir()
    common = {"DPO_STORE_URL": str(shared / "store"), "MLFLOW_TRACKING_URI": f"sqlite:///{shared}/mlflow.db"}
    fresh = as_new(place, f"machines-{round_}", **common)
    second = place.folder / f"second-{round_}"
    lives = [fresh.start()]
    fresh.extra |= {"DPO_HOME": str(second)}
    lives.append(fresh.start())
    del fresh.extra["DPO_HOME"]
    codes = [life.wait() for life in lives]
    record(what="at once", case="the same recipe on two machines", codes=codes)
    document = fresh.complete()
    keep(fresh, document, place.weights, alone=False)
    assert codes == [0, 0], [life.errors()[-800:] for life in lives]
    shutil.rmtree(second)
