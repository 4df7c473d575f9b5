"""What a message thinks before it speaks is read under any of its names; keys that nobody reads are named."""

import json

import pytest

from dpo_core.data.messages import BadRow, messages_of
from dpo_core.data.pairs import text_of
from dpo_core.data.readers import read_pairs


def row(chosen, rejected, **more):
    return {
        "prompt": [{"role": "user", "content": "Why?"}],
        "chosen": [{"role": "assistant", **chosen}],
        "rejected": [{"role": "assistant", **rejected}],
        **more,
    }


def read(tmp_path, *rows):
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in rows))
    return read_pairs(path)


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_answers_that_differ_in_their_thought_alone_are_a_pair(tmp_path, key):
    found = read(tmp_path, row({"content": "So.", key: "I look."}, {"content": "So.", key: "I guess."}))
    (pair,) = found.pairs
    assert [side[0]["reasoning_content"] for side in (pair.chosen, pair.rejected)] == ["I look.", "I guess."]
    assert found.dropped_columns == {}
    assert text_of(pair.chosen) == "I look.\nSo."


def test_equal_answers_of_equal_thoughts_are_none(tmp_path):
    same = {"content": "So.", "thinking": "I look. "}
    good = row({"content": "a"}, {"content": "b"})
    (refused,) = read(tmp_path, good, row(same, {"content": "So.", "reasoning": "I look."})).quarantined
    assert refused.reason == "chosen and rejected are identical"


@pytest.mark.parametrize("nothing", [None, ""])
def test_a_thought_that_is_nothing_is_none(nothing):
    assert messages_of([{"role": "assistant", "content": "a", "reasoning": nothing}], "chosen") == [
        {"role": "assistant", "content": "a"}
    ]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"role": "user", "content": "a", "thinking": "b"}, "only the assistant thinks"),
        ({"role": "assistant", "content": "a", "thinking": ["b"]}, "thinking is a list, not text"),
        ({"role": "assistant", "content": "a", "thinking": "b", "reasoning": "c"}, "reasoning and thinking, which"),
        ({"role": "assistant", "content": "a", "function_call": {"name": "f"}}, "write tool_calls"),
    ],
)
def test_a_thought_that_cannot_be_meant_is_refused_with_its_place(message, reason):
    with pytest.raises(BadRow, match=rf"chosen\[0\].*{reason}"):
        messages_of([message], "chosen")


def test_keys_of_messages_that_nobody_reads_are_named_as_columns_are(tmp_path):
    found = read(tmp_path, row({"content": "a", "audio": 1, "refusal": None}, {"content": "b"}, extra=1))
    assert found.dropped_columns == {"extra": 1, "chosen[].audio": 1}
