"""Held-out stays held out as the versions of a data set grow, shrink and are mixed."""

import json
import random

import pytest

from dpo_core.data.pairs import Pair
from dpo_core.evaluate.unseen import unseen_items
from dpo_core.recipe import Recipe
from infra.settings import load_settings
from infra.store import open_store
from tasks.check import check
from tasks.datasets.mix import mix_versions, parse_part
from tasks.runtime.datasets import pinned
from tasks.runtime.sources import version_of_source
from tests.data_sets import write_version
from tests.tasks.test_sides import row


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tasks.check.publish", lambda *_: None)
    return open_store(load_settings())


@pytest.fixture
def checked(store, tiny_model, make_plan):
    """Check what `dataset:chat@latest` is now; (trained, held out) prompts."""

    def now():
        rules = {"max_near_duplicates": 1.0}
        recipe = pinned(Recipe(name="n", model="m", data={"train": "dataset:chat@latest"}, validation=rules))
        source = recipe.data.train
        done = check.fn(
            make_plan(recipe=recipe, model_folder=str(tiny_model), files={source: version_of_source(source)})
        )
        rows_of = (store.get_bytes(key).splitlines() for key in (done.train_key, done.eval_key))
        return tuple([Pair.from_row(json.loads(line)).prompt for line in lines] for lines in rows_of)

    return now


def test_no_prompt_changes_sides_from_version_to_version(store, checked):
    trained, weeks = [], [range(60), random.Random(0).sample(range(20, 110), 90)]
    for numbers in weeks:
        write_version(store, "chat", [row(n) for n in numbers])
        train, held_out = checked()
        trained += train
        assert held_out
        assert unseen_items(held_out, [trained]).left_out == 0
        assert len(train) + len(held_out) == len(numbers)
    write_version(store, "others", [row(n) for n in range(300, 340)])
    mix_versions(store, "chat", [parse_part("chat@2:0.5"), parse_part("others")])
    _, held_out = checked()
    assert held_out
    assert unseen_items(held_out, [trained]).left_out == 0
