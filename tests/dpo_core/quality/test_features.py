"""Features by key: extracted, merged over chunks, spelt again; raw-character facts; the sample."""

import numpy as np
import pytest
from scipy import sparse

from dpo_core.data.pairs import EncodedPair
from dpo_core.quality.examine import tables_of
from dpo_core.quality.features.ngrams import Feature, GramTable, grams, merge, spell, token_ids, word_key
from dpo_core.quality.prompts.identity import prompt_columns, sample_rows
from dpo_core.quality.table import Block
from dpo_core.quality.text import surface
from dpo_core.quality.text.surface import AMOUNTS, PRESENCE
from dpo_core.recipe import Validation
from tests.dpo_core.quality.quality_data import as_pairs, make_pair, null_texts


def named(pairs, token_text=None):
    """{feature name: d of each pair}, whatever its count."""
    found = grams(pairs)
    rows = np.arange(len(pairs))
    owners = np.repeat(rows, found.counts)
    d = sparse.csr_array((found.signs, (owners, found.columns)), shape=(len(pairs), len(found.keys)))
    table, _ = tables_of(pairs, Validation())
    gram_table = GramTable(rows, found.keys, d)
    features = spell(table, gram_table, range(len(found.keys)), token_text)
    return {features[k].name: d[:, [k]].toarray().ravel().tolist() for k in range(len(found.keys))}


def test_words_pairs_of_words_and_both_ends_are_features_of_the_side_that_has_them():
    assert named([make_pair("p", "Yes we can", "we can not")]) == {
        "word 'yes'": [1],
        "word 'not'": [-1],
        "word pair 'yes we'": [1],
        "word pair 'can not'": [-1],
        "first word 'yes'": [1],
        "first word 'we'": [-1],
        "last word 'can'": [1],
        "last word 'not'": [-1],
    }


def test_chinese_is_read_by_character_and_pair_of_characters():
    found = named([make_pair("p", "好的", "的好")])
    assert found == {
        "word '好的'": [1], "word '的好'": [-1], "first word '好'": [1], "first word '的'": [-1],
        "last word '的'": [1], "last word '好'": [-1],
    }  # fmt: skip


def test_tokens_are_named_by_the_tokenizer_and_keep_their_ids():
    pair = make_pair("p", "same", "same").pair
    found = named([EncodedPair(pair, (0,), (5, 7, 2), (5, 9, 2))], {2: "<end>", 5: "a", 7: " b", 9: " c"}.__getitem__)
    assert found == {
        "token ' b'": [1], "token ' c'": [-1], "token pair 'a b'": [1], "token pair 'a c'": [-1],
        "token pair ' b<end>'": [1], "token pair ' c<end>'": [-1],
    }  # fmt: skip
    keys = grams([EncodedPair(pair, (0,), (5, 7, 2), (5, 9, 2))]).keys.tolist()
    assert {token_ids(key) for key in keys} == {(7,), (9,), (5, 7), (5, 9), (7, 2), (9, 2)}


def test_chunks_merge_to_what_one_chunk_gives():
    pairs = as_pairs(null_texts(0, 400))
    whole = merge([grams(pairs)], np.arange(400))
    parts = merge([grams(pairs[:150]), grams(pairs[150:151]), grams(pairs[151:])], np.arange(400))
    assert np.array_equal(whole.keys, parts.keys)
    assert np.array_equal(whole.d.toarray(), parts.d.toarray())
    assert np.abs(whole.d).sum(axis=0).min() >= 10


def test_chunks_that_do_not_fit_the_rows_are_refused():
    with pytest.raises(ValueError, match="3 pairs for 4 rows"):
        merge([grams(as_pairs(null_texts(0, 3)))], np.arange(4))


def test_no_pairs_merge_to_an_empty_table():
    assert merge([], np.arange(0)).d.shape == (0, 0)


def test_the_key_of_a_planted_word_is_the_extracted_one():
    keys = set(grams([make_pair("p", "zebra runs far", "x")]).keys.tolist())
    assert {word_key(Feature("word", "zebra")), word_key(Feature("first_word", "zebra"))} <= keys
    assert {word_key(Feature("last_word", "far")), word_key(Feature("word_pair", "zebra runs"))} <= keys


def test_a_sample_holds_whole_prompts_and_stays_when_rows_are_added():
    pairs = [make_pair(f"prompt {row // 3}", "a", "b") for row in range(900)]
    prompts = prompt_columns(Block(pairs, Validation()))["prompt"]
    sampled = sample_rows(prompts, 300)
    assert 295 <= len(sampled) <= 305
    assert set(np.bincount(sampled // 3, minlength=300)) == {0, 3}
    added = [make_pair(f"new {row}", "a", "b") for row in range(90)]
    more = np.concatenate([prompts, prompt_columns(Block(added, Validation()))["prompt"]])
    assert set(sample_rows(more, 300)) & set(range(900)) <= set(sampled)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" a", {"leading whitespace"}),
        ("a\n", {"trailing whitespace", "newline"}),
        ("zero\u200bwidth", {"zero-width or control character", "non-ASCII character"}),
        ("family 👨\u200d👩", {"emoji", "non-ASCII character"}),
        ("bell\x07", {"zero-width or control character"}),
        ("# Title\n- one", {"newline", "heading", "list"}),
        ("**bold** `code` 7", {"bold text", "code", "digit"}),
        ("see https://example.org.", {"link", "ends with punctuation"}),
        ("done<|im_end|>", {"special token or role marker"}),
        ("ok\n\nHuman: more", {"newline", "special token or role marker"}),
        ("I'm sorry, but no", {"refusal", "refusal opening", "opens with a capital", "opens with I"}),
        (
            "Certainly: yes!",
            {"affirmative opening", "opens with a capital", "exclamation mark", "ends with punctuation"},
        ),
        ("```py\nx", {"code", "newline", "unclosed code block"}),
        ("plain words", set()),
    ],
)
def test_properties_are_those_of_the_raw_text(text, expected):
    found = surface.presence_of(text, surface.amounts_of(text, 0))
    assert {name for name, there in zip(PRESENCE, found, strict=True) if there} == expected


def test_amounts_are_counted():
    text = "# A\n1. one\n  - two!!\n**x** and **y** 42 [l](u) 好?"
    counted = dict(zip(AMOUNTS, surface.amounts_of(text, 9), strict=True))
    assert counted == {
        "characters": len(text), "words": 13, "tokens": 9, "lines": 3, "list items": 2, "headings": 1,
        "bold texts": 2, "code marks": 0, "links": 1, "emoji": 0, "exclamation marks": 2, "question marks": 1,
        "digits": 3, "capital letters": 1,
    }  # fmt: skip


def test_columns_are_differences_of_the_two_sides():
    pairs = [make_pair("p", "two words", "one"), make_pair("q", "a", "a!!")]
    facts = surface.surface_columns(Block(pairs, Validation()))
    assert facts["amounts"][:, AMOUNTS.index("words")].tolist() == [1, 0]
    assert facts["amounts"][:, AMOUNTS.index("exclamation marks")].tolist() == [0, -2]
    assert facts["presence"][:, PRESENCE.index("exclamation mark")].tolist() == [0, -1]
    assert facts["log_length"] == pytest.approx([np.log(3 / 2), 0])
