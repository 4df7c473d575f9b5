"""Words: the same as strings and as hashes, in every script."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpo_core.quality.words import TextArray, count_words, split, word_hashes, words

ALPHABETS = (
    "abz AZ_09 \u00df\u0130\u00e9e\u0301\u01f0\ufb01",  # Latin, with letters that fold to two and combining marks
    "\u03b1\u03a3\u03c2\u0390 \u0416\u0436\u0451 \u0561\u0587",  # Greek, Cyrillic, Armenian
    "\u0645\u06cc\u200c\u062e\u064b \u05d0\u05b8",  # Arabic script, Hebrew
    "\u0915\u094d\u0937\u093f \u1780\u17d2\u179a",  # Devanagari, Khmer
    "\u0e17\u0e35\u0e48 \u0e50\u0e51",  # Thai
    "\uac00\ud55c \u1112\u1161\u11ab",  # Hangul, as syllables and as letters
    "\u4f60\u597d\u3005\u3007\u3042\u30fc\u30fb\uff76 \U00020000\U0002a6d6\u2e80",  # Han, kana
    " \n\t.,!?\u3002\uff01\U0001f600\ufe0f\u0660\uff11",  # marks, emoji, other digits
)
SCRIPTS = st.one_of(st.text(max_size=30), *(st.text(letters, max_size=12) for letters in ALPHABETS))
MIXED = st.lists(SCRIPTS, max_size=4).map("".join)


@settings(max_examples=300)
@given(MIXED)
def test_strings_and_hashes_are_the_same_words_in_every_script(text):
    assert TextArray.of([text]).words.hashes.tolist() == word_hashes(split(text)).tolist()


@settings(max_examples=300)
@given(MIXED)
def test_folding_the_case_cuts_no_word_in_two(text):
    assert words(text) == [word.casefold() for word in split(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't STOP, 42!", ["don", "t", "stop", "42"]),
        ("\u4f60\u597dWorld", ["\u4f60", "\u597d", "world"]),
        ("\u8272\u3005\u3068", ["\u8272", "\u3005", "\u3068"]),
        ("\ud55c\uad6d\uc5b4 \ubb38\uc7a5", ["\ud55c\uad6d\uc5b4", "\ubb38\uc7a5"]),  # Korean has spaces
        ("\u0e17\u0e35\u0e48\u0e14\u0e35", ["\u0e17", "\u0e35", "\u0e48", "\u0e14", "\u0e35"]),  # Thai has none
        ("\u039c\u03b1\u0390\u03bf\u03c5", ["\u039c\u03b1\u0390\u03bf\u03c5".casefold()]),
        (" \n", []),
    ],
)
def test_a_word_is_a_run_of_letters_or_one_character_where_no_spaces_are_written(text, expected):
    assert words(text) == expected


def test_words_are_counted_between_spaces_and_by_character_where_there_are_none():
    texts = ("two words.", "\ud55c\uad6d\uc5b4 \ubb38\uc7a5", "\u597d\u5417 ok")
    assert [count_words(text) for text in texts] == [2, 2, 4]


@settings(max_examples=60)
@given(st.lists(st.text(max_size=12), max_size=6))
def test_words_of_texts_laid_out_together_are_those_of_each_alone(texts):
    together = TextArray.of(texts).words
    alone = [TextArray.of([text]).words.hashes.tolist() for text in texts]
    assert [
        together.hashes[a:b].tolist() for a, b in zip(together.bounds[:-1], together.bounds[1:], strict=True)
    ] == alone


def test_words_are_case_folded_runs_and_chinese_characters_stand_alone():
    words = TextArray.of(["Don't STOP, 42!", "\u4f60\u597dworld", ""]).words
    expected = word_hashes(["don", "t", "stop", "42", "\u4f60", "\u597d", "World"])
    assert words.hashes.tolist() == expected.tolist()
    assert words.bounds.tolist() == [0, 4, 7, 7]


def test_a_text_shorter_than_a_shingle_is_one_shingle_or_none():
    words = TextArray.of(["a b", "a b c d e f", ""]).words
    assert words.shingles(5)[1].tolist() == [0, 1, 1]
    assert words.shingles(5, short=False)[1].tolist() == [1, 1]
