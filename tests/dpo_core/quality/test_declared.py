"""Declared aims: words, regular expressions and features; what is confounded with them is still found."""

from dataclasses import replace

import pytest
from pydantic import ValidationError

from dpo_core.quality.check import Block
from dpo_core.quality.shortcuts.declared import cut, declared_columns
from dpo_core.recipe import Validation
from tests.dpo_core.quality.quality_data import as_pairs, make_pair, null_texts, separated


def gating(pairs, *intended):
    validation = Validation(intended=list(intended))
    _, findings = separated(pairs, validation)
    return {f.feature or f.check: f.severity for f in findings if f.severity != "info"}


REFUSAL = "I'm sorry, but as an AI I must not. "


def refusing(confounded="", every=1, count=600, seed=20):
    """Half of the chosen answers refuse; `confounded` ends every one (or every so many) of them."""
    texts = null_texts(seed, count)
    for row in range(0, count, 2):
        texts[row][0] = f"{REFUSAL}{texts[row][0]}{confounded * (row // 2 % every == 0)}"
    return as_pairs(texts)


def test_a_regular_expression_declares_every_form_of_a_name():
    texts = null_texts(21, 600)
    for row in range(0, 600, 6):
        for at, name in ((row, "Athene"), (row + 1, "Athena's")):
            words = texts[at][0].split()
            texts[at][0] = " ".join([*words[: at % 25 + 1], name, *words[at % 25 + 2 :]])
    pairs = as_pairs(texts)
    assert set(gating(pairs)) >= {"word 'athene'", "word 'athena'"}
    assert gating(pairs, r"/\bAthen(?:e|a's)/") == {}


def test_a_bad_regular_expression_is_refused_by_the_recipe():
    with pytest.raises(ValidationError, match="is no regular expression"):
        Validation(intended=["/(/"])


def test_a_declared_refusal_explains_its_sentence_its_opening_and_the_length_that_comes_with_it():
    found = gating(refusing())
    assert {found["refusal"], found["refusal opening"], found["word 'sorry'"]} == {"fail"}
    assert gating(refusing(), "refusal") == {}


def test_what_every_refusal_carries_outside_of_its_sentence_fails():
    assert gating(refusing(" "), "refusal") == {"trailing whitespace": "fail"}
    assert gating(refusing(" zebra"), "refusal") == {"last word 'zebra'": "fail"}


@pytest.mark.parametrize("every", [1, 5])
def test_what_chosen_answers_carry_whether_they_refuse_or_not_fails(every):
    texts = null_texts(20, 600)
    for row, sides in enumerate(texts):
        sides[0] = REFUSAL * (row % 2) + sides[0] + " zebra w1" * (row // 2 % every == 0)
    assert gating(as_pairs(texts), "refusal")["word 'zebra'"] == "fail"


def test_a_word_of_some_refusals_is_a_sign_of_them_and_is_listed_without_gating():
    pairs = refusing(" counsellor w1", every=3)  # 100 : 0, no part of the sentence
    assert gating(pairs)["word 'counsellor'"] == "fail"
    validation = Validation(intended=["refusal"])
    _, findings = separated(pairs, validation)
    assert {f.severity for f in findings} == {"info"}
    signs = next(f for f in findings if f.check == "shortcut/signs_of_intended")
    assert ("word 'counsellor'", 100, 0) in {row[:3] for row in signs.tables[0].rows}
    assert signs.statistics["pairs_alike"] == 300


def against_refusals():
    """Half of the chosen answers refuse at length, the other half are short; over all pairs lengths are even."""
    texts = null_texts(22, 600)
    for row, sides in enumerate(texts):
        short = " ".join(sides[0].split()[:5])
        sides[:] = [f"{REFUSAL}{short}", sides[1]] if row % 2 else [sides[0], short]
    return as_pairs(texts)


def test_a_length_that_goes_against_that_of_the_refusals_is_found_among_the_other_pairs():
    pairs = against_refusals()
    assert "length" not in gating(pairs)  # 300 shorter, 300 longer
    assert gating(pairs, "refusal")["length"] == "fail"


def test_where_every_pair_differs_in_the_kind_a_length_may_come_with_it_and_warns():
    pairs = as_pairs([[REFUSAL.strip(), rejected] for _, rejected in null_texts(23, 300)])
    assert gating(pairs, "refusal") == {"length": "warn"}
    assert gating(pairs, "refusal", "length") == {}


IN_LANGUAGES = {
    "en": "it is what you have to see in the garden and by the {}, but not at the {}",
    "de": "das ist im Garten und bei dem {} zu sehen, aber nicht auf dem {} und der {}",
}


def bilingual(zebras=0, count=120):
    """Each question in one of two languages, answered in it by the chosen answer and in the other one by the rejected.

    A fifth of the pairs have both answers in its language; `zebras` of these say so in the chosen one.
    """
    texts = null_texts(26, count)
    pairs = []
    for row, (nouns, others) in enumerate(texts):
        own, other = ("en", "de") if row % 2 else ("de", "en")
        alike = row % 5 == 0
        chosen = IN_LANGUAGES[own].format(*nouns.split()) + " zebra" * (alike and row // 5 < zebras)
        rejected = IN_LANGUAGES[own if alike else other].format(*others.split())
        pair = make_pair(f"{row} {IN_LANGUAGES[own]}", chosen, rejected)
        pairs.append(replace(pair, pair=replace(pair.pair, source=own)))
    return pairs


def test_a_declared_language_explains_the_words_of_one_and_nothing_else():
    assert gating(bilingual())["word 'nicht'"] == "fail"  # where the source is "de"
    assert gating(bilingual(), "language") == {}
    assert gating(bilingual(zebras=24), "language")["last word 'zebra'"] == "fail"


def introducing(count=600):
    """A third of the chosen answers say who they are, in one sentence within other text."""
    texts = null_texts(24, count)
    for row in range(0, count, 3):
        words = texts[row][0].split()
        sentence = f"I am an assistant called Athene, made by Parthenon {words[0]}."
        texts[row][0] = " ".join([*words[: row % 20 + 1], sentence, *words[row % 20 + 1 :]])
    return as_pairs(texts)


def test_a_declared_word_does_not_declare_the_words_around_it_and_a_regular_expression_may():
    around = gating(introducing(), "Athene")
    assert around["word 'assistant'"] == around["word 'parthenon'"] == "fail"
    assert not any("athene" in feature for feature in around)
    assert gating(introducing(), r"/I am an assistant called Athene[^.]*\./") == {}


def test_the_marks_of_a_declared_list_go_with_it():
    texts = null_texts(25, 600)
    for row in range(0, 600, 2):
        texts[row][0] = "\n- ".join(["", *texts[row][0].split(" w1 ")]).strip()
    found = gating(as_pairs(texts))
    assert {found["list"], found["list items"]} == {"fail"}
    assert "fail" not in gating(as_pairs(texts), "list").values()


def test_terms_are_counted_on_either_side():
    pairs = [make_pair("p", "say Athene", "no"), make_pair("q", "Athenes", "athene!"), make_pair("r", "雅典娜啊", "")]
    block = Block(pairs, Validation(intended=["Athene", "雅典娜", "/no$/"]))
    assert declared_columns(block)["intended"].tolist() == [[1, 0, -1], [-1, 0, 0], [0, 1, 0]]


def test_cutting_takes_the_terms_and_leaves_the_rest():
    assert cut("I am Athene, yes", ["Athene"]).replace("\x1a", "|") == "I am  | , yes"
    assert cut("Sorry, I can't. Go on", ["refusal opening"]).replace("\x1a", "|") == " |  Go on"


@pytest.mark.parametrize("feature", ["language", "code", "list", "length"])
def test_the_name_of_a_feature_declares_no_word_of_that_spelling(feature):
    texts = null_texts(30, 600)
    for row in range(0, 600, 6):
        words = texts[row][0].split()
        texts[row][0] = " ".join([*words[: row % 25 + 1], feature, *words[row % 25 + 2 :]])
    assert gating(as_pairs(texts), feature)[f"word '{feature}'"] == "fail"
