"""An answer with a shortcut and the same without it: they differ in that, and in nothing else that was flagged."""

import json
from pathlib import Path

import pytest

from dpo_core.data.pairs import Pair
from dpo_core.evaluate.uptake.counterfactuals import counterfactuals, looked_for
from dpo_core.evaluate.uptake.edits import Editor, Ordinary, amount, is_editable, ordinary, shows
from dpo_core.quality.features.ngrams import Feature
from dpo_core.quality.text.surface import AMOUNTS, PRESENCE
from dpo_core.quality.words import words
from dpo_core.report.documents import ShortcutRecord

INSTEAD = Ordinary(["river", "stone", "candle"], ["We call you back soon.", "The shop is open now."])
PLAIN = "We have sent the new label by email. It arrives within the hour."
NOT_EDITED = {"opens with I", "zero-width or control character", "special token or role marker"}
ROOT = Path(__file__).parents[3]


def editor(kind, text, written=()):
    return Editor(Feature(kind, text), written, INSTEAD)


def shortcut(kind, text, **changes):
    named = {"kind": kind, "text": text, "name": Feature(kind, text).name, "towards": "chosen", "treated": "flagged"}
    return ShortcutRecord(**named | changes)


@pytest.mark.parametrize("name", [name for name in PRESENCE if name not in NOT_EDITED])
def test_each_property_can_be_put_into_an_answer_or_taken_out(name):
    edited = [editor("property", name).edit(text, "seed") for text in (PLAIN, PLAIN.replace("We", "we", 1).rstrip("."))]
    found = [edit for edit in edited if edit]
    assert found, name
    for edit in found:
        assert shows(Feature("property", name), edit.having)
        assert not shows(Feature("property", name), edit.lacking)


@pytest.mark.parametrize(
    ("name", "text", "lacking"),
    [
        ("list", "- One.\n- Two.", "One.\nTwo."),
        ("bold text", "A **big** box.", "A big box."),
        ("exclamation mark", "Here it is! Have fun!", "Here it is. Have fun."),
        ("newline", "One.\nTwo.", "One. Two."),
        ("heading", "# Title\nText.", "Title\nText."),
        ("code", "Press `End` now.", "Press End now."),
        ("emoji", "Done \U0001f642", "Done"),
    ],
)
def test_a_mark_that_stands_there_is_taken_out_and_the_words_stay(name, text, lacking):
    assert editor("property", name).edit(text, "seed") == (text, lacking)


def test_a_refusal_is_replaced_by_an_ordinary_sentence():
    text = "I'm sorry, but I can't help with that. Ask the shop."
    edit = editor("property", "refusal").edit(text, "seed")
    assert edit.having == text
    assert edit.lacking in {f"{sentence} Ask the shop." for sentence in INSTEAD.sentences}


def test_a_first_word_is_written_as_the_data_writes_it_beside_an_ordinary_one():
    written = ["Certainly! Here it is.", "Certainly! Done.", "certainly, sir"]
    having, lacking = editor("first_word", "certainly", written).edit(PLAIN, "seed")
    assert having == f"Certainly! {PLAIN}"
    assert lacking in {f"{word}! {PLAIN}" for word in ("River", "Stone", "Candle")}


def test_a_word_that_opens_most_answers_of_the_data_is_put_there_and_another_one_within():
    first = editor("word", "certainly", ["Certainly! Here.", "Certainly! Done."]).edit(PLAIN, "seed")
    assert first.having == f"Certainly! {PLAIN}"
    within = editor("word", "gladly", ["we gladly help"]).edit(PLAIN, "seed")
    assert words(within.having) != words(PLAIN)
    assert [word for word in words(within.having) if word != "gladly"] == words(PLAIN)
    place = words(within.having).index("gladly")
    assert words(within.lacking)[place] in INSTEAD.words


def test_a_word_that_stands_there_is_replaced_wherever_it_is():
    having, lacking = editor("word", "label").edit("Label one, then label two: the labels.", "seed")
    assert having == "Label one, then label two: the labels."
    assert words(lacking)[-1] == "labels"
    assert not shows(Feature("word", "label"), lacking)
    assert len(words(lacking)) == len(words(having))


def test_length_is_a_long_sentence_added_beside_a_short_one_whatever_the_answer_has():
    sentences = [
        "We call you back soon.",
        "The shop is open from nine to five on every day but Sunday.",
        "It is on its way to you.",
    ]
    instead = Ordinary([], sentences)
    for text in (PLAIN, "Yes."):
        having, lacking = Editor(Feature("amount", "characters"), (), instead).edit(text, "seed")
        assert (having, lacking) == (f"{text} {sentences[1]}", f"{text} {sentences[0]}")
    alike = Ordinary([], ["We call you back soon.", "The shop is open now.", "It is on its way now."])
    assert Editor(Feature("amount", "characters"), (), alike).edit(PLAIN, "seed") is None


def test_what_no_edit_is_known_for_is_not_looked_for():
    assert not any(is_editable(Feature("property", name)) for name in NOT_EDITED)
    assert {name for name in AMOUNTS if not is_editable(Feature("amount", name))} == {"digits", "capital letters"}
    assert is_editable(Feature("token", " great"))
    assert not is_editable(Feature("token", "ing"))
    assert not is_editable(Feature("token_pair", " of course"))


def test_ordinary_words_stand_on_both_sides_about_as_often():
    chosen = ["certainly the label came"] * 9
    rejected = ["the label came late"] * 9
    assert set(ordinary(chosen, rejected).words) == {"the", "label", "came"}


def test_shortcuts_that_nobody_meant_come_first_and_each_name_once():
    found = looked_for(
        [shortcut("word", f"aim{i}", treated="intended") for i in range(6)]
        + [shortcut("word", f"bad{i}") for i in range(4)] * 2
        + [shortcut("property", "opens with I")]
    )
    assert [s.text for s in found] == ["bad0", "bad1", "bad2", "bad3", "aim0", "aim1", "aim2", "aim3"]


def test_a_mark_and_more_of_it_are_one_shortcut():
    both = [shortcut("amount", "exclamation marks"), shortcut("word", "x"), shortcut("property", "exclamation mark")]
    assert [s.name for s in looked_for(both)] == ["exclamation marks", "word 'x'"]
    assert [s.name for s in looked_for([shortcut("amount", "words"), shortcut("amount", "tokens")])] == ["words"]


def example_pairs():
    rows = map(json.loads, (ROOT / "examples/shortcut/pairs.jsonl").read_text().splitlines())
    return [Pair(tuple(row["prompt"]), tuple(row["chosen"]), tuple(row["rejected"])) for row in rows]


def test_each_pair_gives_one_answer_the_same_with_the_same_seed_and_others_with_another():
    pairs, wanted = example_pairs(), [shortcut("first_word", "certainly"), shortcut("property", "list")]
    found = counterfactuals(pairs, wanted, 40, 0)
    assert [sum(one.shortcut == s.name for one in found) for s in wanted] == [40, 40]
    assert len({(one.shortcut, one.place) for one in found}) == 80
    for one in found:
        assert one.pair.prompt == pairs[one.place].prompt
        feature = Feature(*next((s.kind, s.text) for s in wanted if s.name == one.shortcut))
        sides = [amount(feature, side[0]["content"]) for side in (one.pair.chosen, one.pair.rejected)]
        assert sides == [1, 0]
    assert found == counterfactuals(pairs, wanted, 40, 0)
    assert {one.place for one in found} != {one.place for one in counterfactuals(pairs, wanted, 40, 1)}


def test_answers_that_are_more_than_text_are_left_as_they_are():
    call = {"role": "assistant", "content": "", "tool_calls": []}
    pair = Pair(({"role": "user", "content": "ask"},), (call,), ({"role": "assistant", "content": "text here"},))
    assert counterfactuals([pair], [shortcut("property", "emoji")], 40, 0) == []
