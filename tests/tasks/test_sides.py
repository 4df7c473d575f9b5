"""A prompt that was trained on is never held out later, nor the other way round, whatever becomes of the data."""

import json
import random

import numpy as np
import pytest

from dpo_core.data.digests import digest_file
from dpo_core.data.pairs import Pair
from dpo_core.data.splits import SplitSides
from dpo_core.evaluate.unseen import unseen_items
from dpo_core.quality.prompts.identity import digests, split_key
from dpo_core.recipe import Recipe
from infra.errors import Damaged
from infra.ledger.chain import Chain, again_if_moved
from infra.settings import load_settings
from infra.store import open_store
from tasks.check import check
from tasks.data_check.sides import record_sides, recorded_sides

WORDS = "river stone window garden letter bridge candle mirror basket ladder pillow button".split()  # noqa: SIM905


def row(number, *, system="", wording=""):
    """A question of thirty words of its own, in one of its wordings; the answers tell nothing."""
    asked = " ".join(random.Random(number).choices(WORDS, k=30))
    turns = [{"role": "user", "content": f"{number} {asked}{wording}"}]
    sides = ["to the left", "to the west"]
    return {
        "prompt": [{"role": "system", "content": system}, *turns] if system else turns,
        "chosen": [{"role": "assistant", "content": sides[number % 2]}],
        "rejected": [{"role": "assistant", "content": sides[1 - number % 2]}],
    }


@pytest.fixture
def weeks(tmp_path, tiny_model, monkeypatch, make_plan):
    """Check a data set of the model `n`, and another, and another; each gives (trained, held out) prompts."""
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tasks.check.publish", lambda *_: None)
    store, data, apart = open_store(load_settings()), tmp_path / "p.jsonl", tmp_path / "e.jsonl"

    def week(rows, held_out=(), *, start=""):
        paths = {data: rows} | ({apart: held_out} if held_out else {})
        for path, content in paths.items():
            path.write_text("".join(json.dumps(line) + "\n" for line in content))
        names = {"train": str(data)} | ({"eval": str(apart)} if held_out else {})
        recipe = Recipe(name="n", model="m", data=names, validation={"max_near_duplicates": 1.0})
        files = {str(path): digest_file(path) for path in paths}
        done = check.fn(make_plan(recipe=recipe, model_folder=str(tiny_model), files=files, start_model=start))
        week.cached = done.stage.cached
        rows_of = (store.get_bytes(key).splitlines() for key in (done.train_key, done.eval_key))
        return tuple([Pair.from_row(json.loads(line)).prompt for line in lines] for lines in rows_of)

    return week


FIRST = [row(number) for number in range(120)]
WORDINGS = [row(number, wording=wording) for number in range(60) for wording in ("", " please")]
LATER = {  # what becomes of a data set: (first week, second week)
    "rows appended": (FIRST, [*FIRST, *(row(n) for n in range(120, 200))]),
    "rows put in front": (FIRST, [*(row(n) for n in range(120, 200)), *FIRST]),
    "shuffled, in families": (WORDINGS, random.Random(0).sample(WORDINGS, len(WORDINGS))),
    "newest first": (FIRST, FIRST[::-1]),
    "oldest quarter deleted": (FIRST, FIRST[30:]),
    "a system prompt added": (FIRST, [row(number, system="Be brief.") for number in range(120)]),
    "a wording more of each": (FIRST, [*(row(n, wording=" please") for n in range(120)), *FIRST]),
}


@pytest.mark.parametrize("case", LATER)
def test_no_prompt_changes_sides(weeks, case):
    (trained, held_out), (trained_later, held_out_later) = map(weeks, LATER[case])
    assert held_out
    assert held_out_later
    assert unseen_items(held_out_later, [trained]).left_out == 0
    assert not {*map(split_key, held_out)} & {*map(split_key, trained_later)}


@pytest.mark.campaign  # ten checks of as many weeks
def test_ten_weeks_of_growing_shuffled_data(weeks):
    trained, drawn = [], random.Random(1)
    for number in range(10):
        rows = [row(n, wording=w) for n in range(40 + 20 * number) for w in ("", " please")[: 1 + drawn.randrange(2)]]
        train, held_out = weeks(drawn.sample(rows, len(rows)))
        trained += train
        assert unseen_items(held_out, [trained]).left_out == 0


def test_rows_held_out_by_file_and_back_again_leak_nothing(weeks):
    trained, held_out = weeks(FIRST[:100], FIRST[100:])
    again, held_out_later = weeks(FIRST)
    assert {*map(split_key, held_out)} <= {*map(split_key, held_out_later)}
    assert unseen_items(held_out_later, [trained]).left_out == 0
    assert len(again) + len(held_out_later) == 120


def test_who_was_held_out_by_the_own_split_stays_so_beside_a_file_of_held_out_pairs(weeks, caplog):
    _, held_out = weeks(FIRST)
    with caplog.at_level("WARNING", "dpo.check"):
        trained_later, held_out_later = weeks(FIRST, [row(number) for number in range(120, 140)])
    assert {*map(split_key, held_out)} <= {*map(split_key, held_out_later)}
    assert not {*map(split_key, held_out)} & {*map(split_key, trained_later)}
    assert len(trained_later) + len(held_out_later) == 140
    assert f"held_out_on_record rows={len(held_out)} " in caplog.text


def test_what_the_start_model_was_trained_on_since_is_held_out_no_more(weeks):
    _, held_out = weeks(FIRST, start="models:/x/1")
    theirs = digests(map(split_key, held_out))
    sides = SplitSides.of(theirs, np.zeros(len(theirs), np.bool_))
    record_sides(open_store(load_settings()), "x", sides, base=0, data_sha256="d")  # of a training of x
    _, held_out_later = weeks(FIRST, start="models:/x/2")
    assert held_out
    assert not {*map(split_key, held_out)} & {*map(split_key, held_out_later)}
    weeks(FIRST, start="models:/x/2")
    assert weeks.cached


def test_the_record_says_which_data_put_whom_where_and_is_not_written_twice(weeks):
    weeks(FIRST)
    weeks(FIRST[::-1])  # nobody new
    weeks([*FIRST, row(500)])
    first, second = Chain(open_store(load_settings()), "splits/n").entries()
    assert first.body["trained_on"] + first.body["held_out"] == 120
    assert second.body["trained_on"] + second.body["held_out"] == 1
    assert len(str(second.body["data_sha256"])) == 64


def test_a_record_that_was_changed_is_not_gone_by(weeks):
    weeks(FIRST)
    store = open_store(load_settings())
    key = str(Chain(store, "splits/n").entries()[0].body["sides"])
    store.put_bytes(key, store.get_bytes(key)[:-8] + b"\xff" * 8)
    with pytest.raises(Damaged, match="which prompts are held out was changed"):
        recorded_sides(store, ["n"])


def test_a_check_beside_another_is_done_again_by_what_the_other_recorded(weeks):
    weeks(FIRST)
    store, tries = open_store(load_settings()), []

    @again_if_moved
    def beside():
        base = 0 if not tries else len(Chain(store, "splits/n").entries())
        tries.append(base)
        return Chain(store, "splits/n").append({"sides": "x"}, base=base)

    assert (beside().seq, tries) == (2, [0, 1])
