import numpy as np
import pytest

from dpo_core.data.digests import prompt_digest
from dpo_core.data.pairs import Pair, SpoolWriter, common_prefix, lines_of


def pair(number):
    text = "é" * number + f"\n{number}"
    return Pair(({"role": "user", "content": text},), ({"role": "assistant", "content": "a"},), ())


@pytest.fixture
def spool(tmp_path):
    with SpoolWriter(tmp_path / "rows.jsonl") as writer:
        for first in range(0, 25, 10):
            writer.append(*lines_of([pair(number) for number in range(first, min(first + 10, 25))]))
        return writer.spool()


def test_parts_are_all_rows_in_order_however_they_were_written(spool):
    parts = list(spool.parts(7))
    assert [(part.first, part.rows) for part in parts] == [(0, 7), (7, 7), (14, 7), (21, 4)]
    assert [row for part in parts for row in part.pairs()] == [pair(number) for number in range(25)]


def test_a_few_rows_are_read_by_index_in_the_order_asked_for(spool):
    assert spool.pairs([20, 3, 20]) == [pair(20), pair(3), pair(20)]


@pytest.mark.parametrize("rows", [[], [0], [24], [0, 1, 2, 9, 10, 24], list(range(25))])
def test_a_copy_holds_the_lines_of_the_rows_asked_for(spool, tmp_path, rows):
    spool.copy(np.array(rows, dtype=np.int64), tmp_path / "copy.jsonl")
    lines = spool.path.read_bytes().splitlines(keepends=True)
    assert (tmp_path / "copy.jsonl").read_bytes() == b"".join(lines[row] for row in rows)


def test_an_empty_spool_has_no_parts(tmp_path):
    with SpoolWriter(tmp_path / "rows.jsonl") as writer:
        spool = writer.spool()
    assert len(spool) == 0
    assert list(spool.parts()) == []


@pytest.mark.parametrize(
    ("left", "right", "length"),
    [((), (1,), 0), ((1, 2, 3), (1, 2, 4), 2), ((1, 2), (1, 2, 4), 2), ("abc", "abc", 3), ([{"a": 1}], [{"a": 2}], 0)],
)
def test_a_common_prefix_is_counted_in_items_of_any_kind(left, right, length):
    assert common_prefix(left, right) == common_prefix(right, left) == length


def test_the_digest_of_a_prompt_knows_roles_and_not_the_order_of_keys():
    digest = prompt_digest([{"role": "user", "content": "a"}])
    assert digest == prompt_digest(({"content": "a", "role": "user"},))
    assert digest != prompt_digest([{"role": "system", "content": "a"}])
