"""S3 that fails, dawdles, cuts and lies, at points drawn by lot of a whole run; the server is a real one."""

import random
import shutil
import uuid

import pytest

from infra.errors import InfraError
from infra.store.s3 import S3Store
from tests.faults.promises import keep
from tests.faults.proxy import FAULTS, Plan, proxy_to
from tests.faults.runs import as_new, new_place
from tests.s3_server import BUCKET

EACH = 5  # single faults a run
IN_A_ROW = 12  # more than all tries of a request, in fewer than TRIES commands
TRIES = 8
SILENT = "no answer"  # half a minute each


@pytest.fixture
def proxied(s3_server, monkeypatch):
    with proxy_to(s3_server.endpoint) as proxy:
        for name, value in {**s3_server.environment(), "AWS_ENDPOINT_URL": proxy.url}.items():
            monkeypatch.setenv(name, value)
        yield proxy


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != SILENT])
def test_one_fault_costs_no_byte_and_no_error_but_a_wrong_byte_on_its_way_out_is_refused(proxied, fault, tmp_path):
    store = S3Store(f"s3://{BUCKET}/{uuid.uuid4().hex}")
    store.put_bytes("before", b"bytes")
    path = tmp_path / "file"
    path.write_bytes(random.Random(0).randbytes(100_000))
    proxied.plan = Plan([(1, fault)])
    if fault == "wrong bytes written":
        with pytest.raises(InfraError, match=r"answers \w+"):
            store.put_file("key", path)
    store.put_file("key", path)
    assert store.put_bytes("once", b"one", create_only=True)
    assert not store.put_bytes("once", b"two", create_only=True)
    store.get_file("key", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == path.read_bytes()
    assert store.get_bytes("once") == b"one"
    assert proxied.plan.fired == {fault: 1}


@pytest.fixture(scope="module")
def place(tmp_path_factory, s3_server, forkserver):
    """A run on S3 that nobody disturbs: what its weights are and how many requests it makes."""
    made = new_place(tmp_path_factory.mktemp("s3-faults"), forkserver)
    with proxy_to(s3_server.endpoint) as proxy:
        keys = {**s3_server.environment(), "AWS_ENDPOINT_URL": proxy.url}
        made.extra = {**keys, "DPO_STORE_URL": f"s3://{BUCKET}/{uuid.uuid4().hex}", "DPO_PATIENCE_S": "0"}
        document = made.complete()
        made.weights, made.requests, made.proxy = document["weights_sha256"], proxy.plan.seen, proxy
        yield made


def fresh_run(place, name, plan, **extra):
    run = as_new(place, name, **{**place.extra, "DPO_STORE_URL": f"s3://{BUCKET}/{uuid.uuid4().hex}", **extra})
    place.proxy.plan = plan
    return run


def end_well(place, run) -> tuple[dict, list[str]]:
    """The same command until it ends well; what it said on its way."""
    said = []
    for _ in range(TRIES):
        life = run.start()
        if life.wait() == 0:
            return life.document(), said
        error = life.document()["error"]
        assert error["says"], life.errors()
        assert BUCKET in error["where"] or "mlflow" in error["where"], error
        assert "run" in error["do"], error
        said.append(error["says"])
    raise AssertionError(f"no end: {said}")


@pytest.mark.campaign
@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", FAULTS)
def test_single_faults_anywhere_in_a_run_change_nothing(place, fault, record):
    count = 1 if fault == SILENT else EACH
    draw = random.Random(f"single {fault}")
    plan = Plan(sorted((draw.randint(1, place.requests * 3 // 4), fault) for _ in range(count)))
    run = fresh_run(place, f"single-{uuid.uuid4().hex[:4]}", plan, DPO_PATIENCE_S="20")
    record(what="S3", case="single", fault=fault, fired=0)
    document, said = end_well(place, run)
    fired = plan.fired[fault]
    record(fired=fired, requests=place.requests, errors=said)
    assert fired == count
    keep(run, document, place.weights)
    if fault != "wrong bytes written":
        assert said == [], "the run goes on by itself"


@pytest.mark.campaign
@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != SILENT])
def test_faults_in_a_row_end_a_run_with_a_clear_error_and_the_same_command_completes(place, fault, record):
    draw = random.Random(f"row {fault}")
    start = draw.randint(1, place.requests * 2 // 3)
    plan = Plan([(start, fault)] * (5 if fault == "wrong bytes written" else IN_A_ROW))
    run = fresh_run(place, f"row-{uuid.uuid4().hex[:4]}", plan)
    record(what="S3", case="in a row", fault=fault, fired=0)
    document, said = end_well(place, run)
    fired = plan.fired[fault]
    record(fired=fired, errors=said)
    keep(run, document, place.weights)
    assert fired >= 5
    shutil.rmtree(run.home, ignore_errors=True)
