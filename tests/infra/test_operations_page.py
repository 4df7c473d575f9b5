"""The automations and states of docs/operations.md, against Prefect's schemas and the program."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import boto3
import pytest
import yaml
from botocore.validate import ParamValidator

from tasks.commands.gc import FOLDERS, SINGLE
from tasks.states import DATA_FAILED, NAMES

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
STATES = {*NAMES.values(), DATA_FAILED}
PREFECTS = {"Failed", "Crashed", "Cancelled"}
AUTOMATIONS = yaml.safe_load(PAGE.partition("```yaml\n")[2].partition("```")[0])["automations"]


def ended(state, flow="retrain", deployment="athene-weekly"):
    """The event of a run that ends, as Prefect's server makes it."""
    from prefect.server.events.schemas.events import ReceivedEvent

    names = {"flow": flow, "deployment": deployment}
    related = [
        {"prefect.resource.id": f"prefect.{role}.1", "prefect.resource.role": role, "prefect.resource.name": name}
        for role, name in names.items()
    ]
    resource = {"prefect.resource.id": f"prefect.flow-run.{uuid4()}", "prefect.resource.name": "a run"}
    name = f"prefect.flow-run.{state}"
    return ReceivedEvent(occurred=datetime.now(UTC), event=name, resource=resource, related=related, id=uuid4())


def test_every_named_state_has_a_row():
    rows = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert rows == STATES | PREFECTS


def test_prefect_knows_every_key_of_the_automations():
    from prefect.events.actions import SendNotification
    from prefect.events.schemas.automations import AutomationCore, EventTrigger

    for automation in AUTOMATIONS:
        made = AutomationCore.model_validate(automation)
        assert made.model_dump(mode="json")["trigger"]["posture"] == automation["trigger"]["posture"]
        assert automation.keys() <= AutomationCore.model_fields.keys()
        assert automation["trigger"].keys() <= EventTrigger.model_fields.keys()
        assert all(action.keys() <= SendNotification.model_fields.keys() for action in automation["actions"])


@pytest.mark.parametrize(
    ("which", "expected"),
    [(0, (STATES | PREFECTS) - {"Promoted", "NothingNew"}), (1, STATES - {DATA_FAILED})],
)
def test_the_automations_see_the_ends_that_they_are_for_and_no_others(which, expected):
    from prefect.server.events.schemas.automations import AutomationCreate  # it reads the templates, too

    trigger = AutomationCreate.model_validate(AUTOMATIONS[which]).trigger
    ends = [*STATES, *PREFECTS, "Running", "Completed"]
    assert {state for state in ends if trigger.covers(ended(state))} == expected
    assert not trigger.covers(ended("Held", flow="quality", deployment="athene-quality-daily"))


def test_old_versions_expire_where_things_are_removed_and_never_those_of_records():
    rules = json.loads(PAGE.partition("```json\n")[2].partition("```")[0])
    s3 = boto3.session.Session().client("s3", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    shape = s3.meta.service_model.operation_model("PutBucketLifecycleConfiguration").input_shape
    problems = ParamValidator().validate({"Bucket": "my-bucket", "LifecycleConfiguration": rules}, shape)
    assert not problems.has_errors(), problems.generate_report()
    kinds = [rule["Filter"]["Prefix"].removeprefix("dpo/").rstrip("/") for rule in rules["Rules"]]
    for_good = {"lineage", "dataset_rows"}  # removed, too, where nothing leads to them: small, or what people wrote
    assert {*kinds} == {*FOLDERS, *SINGLE, "mlartifacts"} - for_good
    assert all("NoncurrentVersionExpiration" in rule and "Days" not in rule["Expiration"] for rule in rules["Rules"])
