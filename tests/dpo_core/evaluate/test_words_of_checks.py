"""Words of prompt files in every script: whole where words are set apart, as they stand where they are not."""

import json

import pytest

from dpo_core.errors import InputError
from dpo_core.evaluate.behaviour import BehaviourCheck, read_checks
from dpo_core.quality.words import split, stands_in

INSIDE_SENTENCES = {
    "Chinese": ("我是雅典娜。", "雅典娜"),
    "Chinese, followed by letters": ("首都是北京人口很多。", "北京"),
    "Japanese": ("答えは東京です。", "東京"),
    "katakana": ("わたしはアテネです", "アテネ"),
    "Thai": ("ฉันชื่ออาธีน่าค่ะ", "อาธีน่า"),
    "Lao": ("ຂ້ອຍຊື່ອາເທນາ", "ອາເທນາ"),
    "Khmer": ("ខ្ញុំឈ្មោះអាថេណា", "អាថេណា"),
    "Burmese": ("ကျွန်မနာမည်အာသီနာပါ", "အာသီနာ"),
    "Korean, an ending follows": ("저는 아테나입니다.", "아테나"),
    "Latin letters between Chinese": ("我的名字是Athene吗", "athene"),
    "Latin letters before Korean": ("제 이름은 Athene입니다.", "Athene"),
    "a number between Chinese": ("一年有12个月", "12"),
    "decomposed letters": ("un cafe\u0301 noir", "café"),
    "Greek": ("Είμαι η Αθηνά.", "αθηνά"),
    "Hindi": ("मेरा नाम एथेनी है", "एथेनी"),
    "beside an underscored word": ("Athene_2 and Athene", "Athene"),
    "overlapping a place that is not whole": ("xa a a", "a a"),
}
NOT_WHOLE = {
    "Latin": ("Athenes is a city", "Athene"),
    "numbers": ("There are 112 months", "12"),
    "Greek": ("Αθηνάς", "Αθηνά"),
    "Cyrillic": ("Афинами", "Афин"),
    "Hindi: a mark goes on with the word": ("हिन्दी", "हिन"),
    "Hindi: a letter goes on after a mark": ("हिन्दीभाषा", "हिन्दी"),
    "a number in Chinese": ("一年有112个月", "12"),
    "a decomposed letter": ("cafe\u0301", "cafe"),
    "another word": ("我是雅典人。", "雅典娜"),
}


@pytest.mark.parametrize(("answer", "word"), INSIDE_SENTENCES.values(), ids=INSIDE_SENTENCES)
def test_a_word_is_found_where_it_is_one(answer, word):
    assert BehaviourCheck((), ((word,),)).passes(answer)
    assert not BehaviourCheck((), (), (word,)).passes(answer)


@pytest.mark.parametrize(("answer", "word"), NOT_WHOLE.values(), ids=NOT_WHOLE)
def test_a_part_of_a_word_is_not_the_word(answer, word):
    assert not stands_in(answer, word)


@pytest.mark.parametrize("text", [text for text, _ in INSIDE_SENTENCES.values() if "\u0301" not in text])
def test_every_word_that_the_data_check_cuts_out_of_a_text_stands_in_it(text):
    """One idea of a word. Scripts with marks that Python's letters do not include (Hindi) are cut finer than whole."""
    if "ह" not in text:
        assert [word for word in split(text) if not stands_in(text, word)] == []


def checks_of(tmp_path, *rows):
    file = tmp_path / "c.jsonl"
    file.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return read_checks(file)


def test_a_text_is_one_entry_and_not_one_for_each_letter(tmp_path):
    (check,) = checks_of(tmp_path, {"prompt": "Who?", "must_contain": "Athene", "must_not_contain": "Bob"})
    assert (check.must_contain, check.must_not_contain) == ((("Athene",),), ("Bob",))


def test_a_line_separator_inside_a_text_ends_no_line(tmp_path):
    (check,) = checks_of(tmp_path, {"prompt": "one\u2028two", "must_contain": ["x"]})
    assert check.prompt[0]["content"] == "one\u2028two"


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": "a", "must_contain": ["b"], "must_not_contian": ["c"]}, "unknown key 'must_not_contian'"),
        ({"prompt": "a", "must_contain": [["b"], []]}, "an entry of must_contain or must_not_contain is empty"),
        ({"prompt": [{"role": "wizard", "content": "a"}], "must_contain": ["b"]}, "prompt[0] has unknown role"),
    ],
)
def test_what_would_be_checked_otherwise_than_meant_is_refused(tmp_path, row, says):
    with pytest.raises(InputError) as caught:
        checks_of(tmp_path, row)
    assert says in caught.value.says


def test_a_prompt_file_that_is_no_utf_8_is_named(tmp_path):
    (tmp_path / "c.jsonl").write_bytes('{"prompt": "café"}'.encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8 text"):
        read_checks(tmp_path / "c.jsonl")
