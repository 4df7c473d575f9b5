"""What each experiment injected and what became of it is written down when FAULTS_RECORD is set (`make faults`)."""

import os
import time

import pytest

from infra.settings import usable_cores
from tests.faults.results import append

pytest.register_assert_rewrite("tests.faults.promises", "tests.faults.searching")
FACTS = pytest.StashKey[dict]()


@pytest.fixture
def record(request):
    """Takes what is known of the experiment as keywords, as often as more is known."""
    return request.node.stash.setdefault(FACTS, {}).update


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.when == "call" and os.environ.get("FAULTS_RECORD") and (facts := item.stash.get(FACTS, None)):
        head = {"test": f"{item.path.name}::{item.name}", "passed": report.passed, "seconds": round(call.duration, 1)}
        append({**head, "at": time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime()), "cores": usable_cores(), **facts})
    return report
