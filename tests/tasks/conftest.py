"""What the tests of tasks share."""

from typing import Any

import pytest

from tasks.records import Plan


@pytest.fixture
def make_plan():
    """A plan of a first run on one thread; keywords say what differs, `recipe` and `model_folder` among them."""

    def make(**changes: Any) -> Plan:
        digests = {"model_sha256": "", "weights_sha256": "", "tokenizer_sha256": "t"}
        nowhere = {"champion": None, "run_id": "", "run_url": "", "start_model": "", "request": ""}
        return Plan(**{**digests, **nowhere, "files": {}, "threads": 1, "force": False, **changes})

    return make
