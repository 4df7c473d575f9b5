"""docs/retraining.md word for word: its commands in a fresh folder, where a tiny model that learns faster is the model.

Ten weeks are ten trainings: `make faults` runs them.
"""

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import pytest
import yaml

from tests.faults.life import TRACE
from tests.tiny import build_tiny_model

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "retraining.md").read_text()
GROWS, RECIPE = "examples/identity/pairs.train.jsonl", "examples/weekly/retrain.yaml"
WEEKS = 10

pytestmark = pytest.mark.usefixtures("prefect_server")


def blocks():
    """The commands of the page: what four spaces set off."""
    found = re.findall(r"(?:^    .*\n)+", PAGE, re.MULTILINE)
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in found]


def table():
    """What the page says came of each week: pairs trained on, items compared, champion afterwards."""
    rows = re.findall(r"^\| (\d+) \| ([\d +]+) \| (\d+) \|.*\| (\d+) \|$", PAGE, re.MULTILINE)
    return [(sum(map(int, pairs.split("+"))), int(compared), int(champion)) for _, pairs, compared, champion in rows]


@dataclass(frozen=True)
class Clone:
    """A folder with what the page's commands read of a clone; the environment of a reader who has set nothing."""

    folder: Path
    environment: dict[str, str]

    def types(self, block: str, ends: tuple[int, ...] = (0,)) -> str:
        """What a block of commands prints; its last one ends with one of these codes."""
        command = ["bash", "-c", block]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        done = subprocess.run(command, cwd=self.folder, env=self.environment, timeout=1500, check=False, **pipes)
        assert done.returncode in ends, done.stdout + done.stderr
        return done.stdout

    def store(self, key: str) -> str:
        return (self.folder / ".dpo/store" / key).read_text()


@pytest.fixture
def clone(tmp_path, forkserver):
    from prefect.settings import get_current_settings

    for name in (GROWS, RECIPE):
        (tmp_path / name).parent.mkdir(parents=True)
        shutil.copy(ROOT / name, tmp_path / name)
    recipe = yaml.safe_load((tmp_path / RECIPE).read_text())
    recipe["model"] = str(build_tiny_model(tmp_path / "tiny"))
    recipe["training"]["learning_rate"] = 3e-3
    recipe["validation"]["on_shortcut"] = "warn"  # its tokens are letters, of which some tell the sides
    (tmp_path / RECIPE).write_text(yaml.safe_dump(recipe))
    program = tmp_path / ".venv/bin/dpo"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec "{forkserver.python}" -m tests.faults.life "$@"\n')
    program.chmod(0o755)
    unset = ("DPO_", "MLFLOW_TRACKING_URI", "PREFECT_API_URL")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(unset)}
    environment |= {"PREFECT_API_URL": get_current_settings().api.url, "PYTHONPATH": str(ROOT)}
    return Clone(tmp_path, {**environment, "DPO_NUM_THREADS": "1", TRACE: str(tmp_path / "trace")})


def ends(printed):
    """Of each run: its headline, its version, and the champion afterwards."""
    found = re.findall(r"^(\S.*?)  weekly version (\d+); champion: version (\d+)$", printed, re.MULTILINE)
    return [(headline, int(version), int(champion)) for headline, version, champion in found]


def made(clone):
    """Of each version: the version that it started from, the rows that it was trained on, the items compared."""
    found = {}
    for page in clone.folder.glob(".dpo/reports/weekly-*/retrain.json"):
        document = json.loads(page.read_text())
        lineage = json.loads(clone.store(f"lineage/weekly/{document['weights_sha256']}.json"))
        start = lineage["parent"] and lineage["parent"]["version"]
        rows = clone.store(lineage["data"]["train"]).splitlines()
        compared = json.loads(clone.store(lineage["evaluation"]))["items"]["challenger"]["rewards/margins"]["values"]
        found[document["version"]] = start, rows, len(compared)
    return found


@pytest.mark.campaign
@pytest.mark.timeout(3000)
def test_the_weeks_of_the_page_go_as_it_says(clone):
    first, others = blocks()
    done = ends(clone.types(first))
    assert done == [("PROMOTED", 1, 1)]
    done += ends(clone.types(others, ends=(0, 4)))  # 4: the last week's was not promoted
    assert [version for _, version, _ in done] == list(range(1, WEEKS + 1))
    champions = [champion for *_, champion in done]

    versions, seen = made(clone), {None: set()}
    for number, (start, rows, _) in sorted(versions.items()):
        assert start == (champions[number - 2] if number > 1 else None)
        again = seen[start] & set(rows)
        assert len(again) == round(0.1 * len(seen[start]))
        assert len(rows) > len(again)
        seen[number] = seen[start] | set(rows)

    alike = [*takewhile(lambda both: both[0] == both[1][2], zip(champions, table(), strict=False))]
    says = table()[: min(len(alike) + 1, WEEKS)]  # the week after the first other verdict begins from another version
    assert len(says) >= 2
    assert [(len(versions[n][1]), versions[n][2]) for n in range(1, len(says) + 1)] == [row[:2] for row in says]

    clone.types("shuf -o examples/weekly/pairs.jsonl examples/weekly/pairs.jsonl")
    told = clone.types(f".venv/bin/dpo retrain {RECIPE}", ends=(0, 4))  # 4: trained on again, and held again
    if champions[-1] == WEEKS:
        assert "NOTHING NEW" in told
    assert ends(told)[0][1:] == (done[-1][1], champions[-1])
    history = clone.types(".venv/bin/dpo history weekly --verify")
    assert len(re.findall(r"^ +\d+ .* promote version \d+", history, re.MULTILINE)) == len(set(champions))


def test_the_keys_of_the_page_have_the_defaults_that_it_says():
    from dpo_core.recipe import Retrain

    said = dict(re.findall(r"^\| `retrain\.(\w+)` \| `([^`]*)` \|", PAGE, re.MULTILINE))
    assert said == {name: str(field.default) for name, field in Retrain.model_fields.items()}
