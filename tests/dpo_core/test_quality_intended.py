"""Declared aims: words, regular expressions and features; what rides along is still found."""

import pytest
from pydantic import ValidationError

from dpo_core.quality.intended import columns, cut
from dpo_core.quality.separation import examine_separation, tables_of
from dpo_core.recipe import Validation
from tests.dpo_core.quality_data import as_pairs, make_pair, null_texts


def gating(pairs, *intended):
    validation = Validation(intended=list(intended))
    _, findings = examine_separation(*tables_of(pairs, validation), validation, None, smoke=False)
    return {f.feature or f.check: f.severity for f in findings if f.severity != "info"}


def refusing(rider="", count=600):
    """Half of the chosen answers refuse; `rider` ends them."""
    texts = null_texts(20, count)
    for row in range(0, count, 2):
        texts[row][0] = f"I'm sorry, but as an AI I must not. {texts[row][0]}{rider}"
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


def test_a_declared_refusal_does_not_gate_and_its_own_sentence_goes_with_it():
    assert gating(refusing())["refusal opening"] == "fail"
    assert "fail" not in gating(refusing(), "refusal", "refusal opening", "length").values()


def test_what_rides_along_with_a_declared_refusal_is_still_told():
    assert gating(refusing(" "), "refusal", "refusal opening", "length")["trailing whitespace"] == "warn"


def test_terms_are_counted_on_either_side():
    pairs = [make_pair("p", "say Athene", "no"), make_pair("q", "Athenes", "athene!"), make_pair("r", "雅典娜啊", "")]
    terms = ["Athene", "雅典娜", "/no$/"]
    assert columns(pairs, terms)["intended"].tolist() == [[1, 0, -1], [-1, 0, 0], [0, 1, 0]]


def test_cutting_takes_the_terms_and_leaves_the_rest():
    assert cut("I am Athene, yes", ["Athene"]).replace("\x1a", "|") == "I am  | , yes"
    assert cut("Sorry, I can't. Go on", ["refusal opening"]).replace("\x1a", "|") == " |  Go on"
