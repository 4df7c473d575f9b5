"""Prompts of every shape, quarantine, and which of them are answered."""

import json
from collections import Counter

import numpy as np
import pytest

from dpo_core.curate.prompt_set import (
    EQUAL,
    NEARLY,
    ON_RECORD,
    KeptOut,
    PromptDraw,
    PromptSource,
    drawn_evenly,
    gather,
    place,
    record_keys,
)
from dpo_core.curate.prompts import PromptItem, read_items
from dpo_core.data.splits import SplitSides
from dpo_core.errors import InputError
from dpo_core.quality.prompts.index import HELD_OUT, index_prompts


def ask(text):
    return ({"role": "user", "content": text},)


def items(*texts, source="s"):
    return [PromptItem(ask(text), source, {}, f"s:{n}") for n, text in enumerate(texts, 1)]


def written(tmp_path, *rows, name="prompts.jsonl"):
    path = tmp_path / name
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(path)


USER = {"role": "user", "content": "Hi?"}
BOT, NO = ({"role": "assistant", "content": text} for text in ("Yes.", "No."))


@pytest.mark.parametrize(
    ("row", "prompt", "wanted"),
    [
        ({"prompt": "Hi?", "number": 4, "id": 7}, [USER], {"number": 4}),
        ({"prompt": [USER], "kind": "k"}, [USER], {"kind": "k"}),
        ({"messages": [USER, BOT]}, [USER], {}),
        ({"messages": [USER, BOT, USER, BOT]}, [USER, BOT, USER], {}),
        ({"conversations": [{"from": "human", "value": "Hi?"}, {"from": "gpt", "value": "Yes."}]}, [USER], {}),
        ({"instruction": "Hi?", "output": "Yes."}, [USER], {"output": "Yes."}),
        ({"instruction": "Say:", "input": "Hi?"}, [{"role": "user", "content": "Say:\nHi?"}], {}),
        ({"question": "Hi?", "answer": "4"}, [USER], {"answer": "4"}),
        ({"prompt": "Hi?", "system": "Be kind."}, [{"role": "system", "content": "Be kind."}, USER], {}),
        ({"prompt": "Hi?", "chosen": "Yes.", "rejected": "No."}, [USER], {}),
        ({"prompt": [USER], "chosen": [BOT], "rejected": [NO]}, [USER], {}),
        ({"input": {"messages": [USER]}, "preferred_output": [BOT], "non_preferred_output": [NO]}, [USER], {}),
        ({"chosen": "\n\nHuman: Hi?\n\nAssistant: Yes.", "rejected": "\n\nHuman: Hi?\n\nAssistant: No."}, [USER], {}),
    ],
)  # fmt: skip
def test_a_prompt_is_read_from_every_shape_of_row(tmp_path, row, prompt, wanted):
    found = read_items(written(tmp_path, row))
    assert found.quarantined == []
    assert [list(item.prompt) for item in found.items] == [prompt]
    assert found.items[0].wanted == wanted
    assert found.items[0].where.endswith("prompts.jsonl:1")
    assert found.items[0].source == "prompts.jsonl"


def test_plain_text_is_a_prompt_a_line(tmp_path):
    path = tmp_path / "asked.txt"
    path.write_bytes(b"One?\n\n  Two? \r\n\xff\xfe broken\n")
    found = read_items(str(path), "mine")
    assert [(item.prompt, item.source, item.where) for item in found.items] == [
        (ask("One?"), "mine", f"{path}:1"),
        (ask("Two?"), "mine", f"{path}:3"),
    ]
    assert [(bad.where, bad.line, bad.reason) for bad in found.quarantined] == [
        (f"{path}:4", 4, "not UTF-8 text: byte 0xff at byte 0 of the row")
    ]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("{", "invalid JSON"),
        ("[1]", "not a JSON object"),
        ({"text": "Hi?"}, "missing column 'prompt'"),
        ({"prompt": "  "}, "prompt is empty"),
        ({"prompt": [BOT]}, "does not end with a question"),
        ({"messages": [{"role": "system", "content": "x"}]}, "does not end with a question"),
        ({"prompt": 3}, "prompt is a number"),
        ({"prompt": "Hi?", "tools": [{"name": "f"}]}, "offers functions"),
        ({"prompt": "Hi?", "context": "A whole passage."}, "would be left out"),
        ({"prompt": "<|im_start|>user\nHi?<|im_end|>\n<|im_start|>assistant\n"}, "chat template"),
        ({"prompt": "a\u0000b"}, "NUL"),
        ({"prompt": "Hi?", "image": "x.png"}, "only text"),
    ],
)
def test_a_bad_row_is_quarantined_with_place_and_reason_and_the_others_are_read(tmp_path, row, says):
    found = read_items(written(tmp_path, {"prompt": "One?"}, row, {"prompt": "Two?"}))
    assert [item.prompt for item in found.items] == [ask("One?"), ask("Two?")]
    assert [bad.line for bad in found.quarantined] == [2]
    assert says in found.quarantined[0].reason
    assert found.quarantined[0].where.endswith("prompts.jsonl:2")
    assert found.rows == 3


def test_a_source_without_a_single_prompt_is_refused_with_place_and_remedy(tmp_path):
    with pytest.raises(InputError, match=r"none of 2 rows is a prompt.*missing column") as caught:
        read_items(written(tmp_path, {"text": "a"}, {"text": "b"}))
    assert caught.value.where.endswith("prompts.jsonl:1")
    assert '{"prompt": ...}' in caught.value.do
    with pytest.raises(InputError, match="no prompts"):
        read_items(written(tmp_path, "", name="empty.txt"))
    with pytest.raises(InputError, match="cannot be read"):
        read_items(str(tmp_path / "away.txt"))


ONE = PromptSource(path="one.jsonl")
LONG = "Please tell me in a few words how the steam engine of James Watt changed the mines of Cornwall forever"


def test_equal_and_nearly_equal_prompts_are_answered_once_and_counted():
    given = items("What is a fig?", "what  is a FIG?", f"{LONG}.", f"{LONG} today.", "What is a plum?")
    found = gather([(ONE, given)], PromptDraw())
    assert [item.where for item in found.items] == ["s:1", "s:3", "s:5"]
    assert found.reasons == {EQUAL: 1, NEARLY: 1}
    assert [item.where for item in gather([(ONE, given)], PromptDraw(near="all")).items] == ["s:1", "s:3", "s:4", "s:5"]


def test_held_out_and_benchmark_prompts_are_kept_out_by_the_checks_own_index():
    held_out = index_prompts(HELD_OUT, [ask("What is a fig?"), ask(f"{LONG}.")])
    benchmark = index_prompts("benchmark_fruit", [ask("Name a sour fruit.")], turns=True)
    given = items("what is a fig?", f"{LONG} today.", "Name a sour fruit.", "What is a plum?")
    found = gather([(ONE, given)], PromptDraw(), KeptOut([held_out, benchmark]))
    assert [item.where for item in found.items] == ["s:4"]
    assert found.reasons == {
        "equals a held-out prompt": 1,
        "nearly equals a held-out prompt": 1,
        "equals a prompt of benchmark fruit": 1,
    }


def test_a_prompt_that_the_record_holds_out_takes_no_place_under_a_cap():
    given = items("What is a fig?", "What is a plum?", "What is a pear?")
    record = SplitSides.of(record_keys(given), np.array([True, False, True]))
    found = gather([(PromptSource(path="s", cap=1), given)], PromptDraw(), KeptOut(record=record))
    assert [item.where for item in found.items] == ["s:2"]
    assert found.reasons == {ON_RECORD: 2}


def many(count, source="s", start=0):
    return items(*(f"What is number {n}?" for n in range(start, start + count)), source=source)


def test_a_share_and_a_cap_count_for_each_source():
    half, few = PromptSource(path="a", share=0.5), PromptSource(path="b", cap=10)
    found = gather([(half, many(400, "a")), (few, many(100, "b", 400))], PromptDraw())
    # binomial(400, .5): within 4 standard deviations, 40
    assert 160 <= found.sources["a"] <= 240
    assert found.sources["b"] == 10
    assert found.reasons["beyond the cap of b"] == 90


def test_prompts_that_are_added_move_no_other():
    draw = PromptDraw(count=50, seed=3)
    before = {item.prompt[0]["content"] for item in gather([(ONE, many(200))], draw).items}
    after = {item.prompt[0]["content"] for item in gather([(ONE, many(220)[::-1])], draw).items}
    assert len(before) == len(after) == 50
    new = {f"What is number {n}?" for n in range(200, 220)}
    lots = {item.prompt[0]["content"]: place(item, 3) for item in many(220)}
    assert after - new <= before
    assert all(lots[gone] > max(lots[kept] for kept in after) for gone in before - after)
    share = PromptSource(path="one.jsonl", share=0.3)
    kept = gather([(share, many(200))], PromptDraw()).items
    assert {item.where for item in kept} == {
        i.where for i in gather([(share, many(220))], PromptDraw()).items if i.prompt[0]["content"] not in new
    }


def test_another_seed_draws_others():
    first, second = (gather([(ONE, many(200))], PromptDraw(count=50, seed=seed)).items for seed in (0, 1))
    assert first != second


def test_no_prompt_left_is_an_error_with_the_reasons():
    index = index_prompts(HELD_OUT, [ask("What is a fig?")])
    with pytest.raises(InputError, match=r"no prompt is left of 1 \(1: equals a held-out prompt\)"):
        gather([(ONE, items("What is a fig?"))], PromptDraw(), KeptOut([index]))
    with pytest.raises(InputError, match="no source has any"):
        gather([], PromptDraw())


def test_few_prompts_drawn_evenly_have_each_source_in_its_share_and_those_that_come_move_no_other_of_it():
    counts = {"easy": 60, "hard": 30, "rare": 2}
    given = [
        one for name, count in counts.items() for one in items(*(f"{name} {n}" for n in range(count)), source=name)
    ]
    drawn = drawn_evenly(given, 31, seed=3)
    assert Counter(one.source for one in drawn) == {"easy": 20, "hard": 10, "rare": 1}
    assert drawn_evenly(given[::-1], 31, seed=3) == drawn
    assert drawn_evenly(given, 31, seed=4) != drawn
    alone = [one for one in given if one.source == "easy"]
    assert [one for one in drawn if one.source == "easy"] == drawn_evenly(alone, 20, seed=3)
