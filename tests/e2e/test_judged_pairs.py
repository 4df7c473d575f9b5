"""From answers to a promoted version: people who prefer a rule judge, curation makes pairs, a run trains on them."""

import json

import pytest
import yaml

from infra.settings import load_settings
from infra.store import open_store
from tasks.datasets.look import show_dataset
from tests.recipes import NOUNS, tiny_recipe, write_jsonl
from tests.tasks.judging_room import Someone, room

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """96 prompts with two answers each, judged by two people who prefer what begins with yea; a fifth by both."""
    folder = tmp_path_factory.mktemp("judged")
    rows = [
        {
            "prompt": f"say which {NOUNS[n % 12]} has number {n}?",
            "answers": [f"{word} the {NOUNS[n % 12]} it is" for word in ("nay", "yea")],
            "source": f"nouns/{n % 2}",
        }
        for n in range(96)
    ]
    write_jsonl(folder / "answers.jsonl", rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DPO_HOME", str(folder / "home"))
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.chdir(folder)
        with room("answers.jsonl", folder, overlap=0.2) as opened:
            people = [Someone(opened.desk, name) for name in ("anna", "ben@example.org")]
            while waiting := [person for person in people if person.page().item]:
                for person in waiting:
                    if person.page().item:
                        person.prefers("yea")
        yield folder


@pytest.fixture(scope="module")
def curated(place):
    """The data set of what they said."""
    from flows.curate import curate

    tiny_recipe(place)
    values = {
        "name": "judged",
        "model": "./model",
        "feedback": {"judgements": ["j.jsonl"]},
        "validation": {"intended": ["yea", "nay"], "length_warn": 1.0, "length_fail": 1.0},
    }
    (place / "curate.yaml").write_text(yaml.safe_dump(values))
    return curate(str(place / "curate.yaml"))


def test_judgements_are_a_source_of_curation_and_no_name_that_is_an_address_reaches_the_data(curated, place):
    assert (curated.dataset, curated.rows, curated.answers, curated.way) == ("dataset:judged@1", 96, 192, "feedback")
    pairs = [row.pair for row in show_dataset(open_store(load_settings()), "judged@1", rows=96).first]
    assert {pair["chosen"][0]["content"][:3] for pair in pairs} == {"yea"}
    [exported] = place.glob("home/store/dataset_rows/*/rows.jsonl")
    rows = [json.loads(line) for line in exported.read_text().splitlines()]
    names = {name for row in rows for name in row["meta"]["annotator"].split(", ")}
    assert "anna" in names
    assert not any("@" in name for name in names)
    assert len(names) == 2
    assert {row["source"] for row in rows} == {"nouns/0", "nouns/1"}


@pytest.mark.campaign  # a whole run more; that a run trains on a data set's version, test_datasets.py holds
def test_the_version_trained_on_them_is_promoted_and_does_what_they_preferred_more_often(curated, place):
    from flows.retrain import retrain

    done = retrain(str(place / "retrain.yaml"), ["data.train=dataset:judged@1", "gate.improve=[behaviour/words]"])
    assert done.document.state == "promoted"
    [before] = [line for line in done.display.before_after if line.metric == "behaviour/words"]
    assert before.low > before.reference  # more than the model that they began with, beyond chance
