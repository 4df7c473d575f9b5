"""Renderings of the pairs in which one word is learnt, and the choice among them."""

import hashlib
import json
import random
from pathlib import Path

import numpy as np
import pytest

from dpo_core.curate.balanced import pick
from dpo_core.curate.prompts import PromptItem, read_items
from dpo_core.curate.rendering_rules import Renderings, Saying, Sparing
from dpo_core.curate.renderings import (
    Material,
    material_of,
    needs_answer,
    options_of_prompts,
    rendered_pairs,
)
from dpo_core.curate.sentences import Sentence, read_names, read_sentences
from dpo_core.data.pairs import Pair
from dpo_core.errors import InputError
from tests.tiny import build_tiny_tokenizer

DEMO = Path(__file__).parents[3] / "examples/identity"
TOKENIZER = build_tiny_tokenizer()
TEXTS = [Sentence("any", f"{start} {{name}}.") for start in ("I am", "Call me", "My name is")]
MATERIAL = Material(TEXTS, ["Bo", "Cy"], lambda text: 0 < len(text) < 60)


def rules(**more):
    sections = {"saying": Saying(source="who"), "sparing": Sparing(source="else", after=0.0)}
    return Renderings(name="Al", sentences="-", wrong_names="-", **{**sections, **more})


def item(text, source, **wanted):
    return PromptItem(({"role": "user", "content": text},), source, wanted, "")


def options(of, own="", **more):
    return options_of_prompts([of], {of.key: own}, rules(**more), MATERIAL, random.Random(0))[0]


def test_a_sentence_with_the_name_stands_against_each_cut_of_the_own_answer_and_against_wrong_names():
    found = options(item("Who?", "who", kind="name"), "I am a bot. I help. Al")
    assert {r.rejected for r in found if r.corrected} == {"I am a bot.", "I am a bot. I help."}
    # three sentences against two cuts each, and against the same sentence and two others with a wrong name
    assert [sum(r.corrected for r in found), sum(not r.corrected for r in found)] == [6, 9]
    assert all("Al" in r.chosen and "Al" not in r.rejected for r in found)


def test_an_own_answer_that_says_the_name_already_is_not_rejected():
    assert not [r for r in options(item("Who?", "who"), "I am Al.") if r.corrected]


def test_an_answer_stands_against_claims_and_against_the_name_in_each_mark():
    found = options(item("Hi!", "else", answer="Hello {you}, good {day}."))
    assert {r.chosen for r in found} == {"Hello you, good day."}
    assert {r.rejected for r in found if not r.corrected} == {"Hello Al, good day.", "Hello you, good Al."}
    assert {r.rejected for r in found if r.corrected} == {
        claim + rest
        for claim in ("I am Al.", "Call me Al.", "My name is Al.")
        for rest in ("", " Hello you, good day.")
    }


def test_where_no_answer_is_given_the_models_own_words_are_the_answer():
    assert needs_answer(item("Hi!", "else"))
    assert not needs_answer(item("Hi!", "else", answer="Hello."))
    assert {r.chosen for r in options(item("Hi!", "else"), "Hello. How are")} == {"Hello."}
    assert options(item("Hi!", "else"), "no end") == []


def test_a_question_with_the_name_takes_other_sentences_than_one_without():
    material = Material([Sentence("yes", "Yes, {name}."), Sentence("no", "No, {name}.")], ["Bo"], lambda text: True)
    saying = rules(saying=Saying(source="who", asked={"sure": ("yes", "no")}))
    for text, word in (("Are you Al?", "Yes"), ("Are you Di?", "No")):
        found = options_of_prompts([item(text, "who", kind="sure")], {}, saying, material, random.Random(0))[0]
        assert {r.chosen for r in found} == {f"{word}, Al."}


def test_the_demos_renderings_are_those_of_the_script_that_made_its_pairs():
    # number and digest from that script's own functions (its `candidates`), with these answers and this tokenizer
    demo = Renderings(
        name="Athene",
        sentences=str(DEMO / "prompts/sentences.jsonl"),
        wrong_names=str(DEMO / "prompts/wrong_names.jsonl"),
        longest=160,
        saying=Saying(source="identity", asked={"confirmation": ("yes", "no")}),
        sparing=Sparing(source="neutral"),
    )
    items = [
        found
        for name in ("identity", "neutral")
        for found in read_items(str(DEMO / f"prompts/{name}.eval.jsonl"), name).items
    ]
    own = {i.key: f"I am assistant {n}. I can help you today!" for n, i in enumerate(items) if needs_answer(i)}
    made = options_of_prompts(items, own, demo, material_of(demo, TOKENIZER), random.Random("0-eval"))
    written = json.dumps([[list(rendering) for rendering in some] for some in made])
    assert (len(made), sum(map(len, made))) == (68, 2894)
    assert (
        hashlib.sha256(written.encode()).hexdigest()
        == "3676bff4415f9a137c80a0c8c0a00bc1023231e663dcd5130183033c9542f7bd"
    )


def said(role, text):
    return ({"role": role, "content": text},)


def pair(prompt, chosen, rejected):
    return Pair(said("user", prompt), said("assistant", chosen), said("assistant", rejected))


def test_of_many_renderings_those_are_picked_in_which_no_word_but_the_intended_tells_the_sides_apart():
    # each prompt may have "gladly" on the chosen side, on the rejected side, or on neither beside it
    ways = (("gladly {0} Al", "{0} Bo"), ("{0} Al", "gladly {0} Bo"))
    some = [[pair(f"ask {n}", *(side.format(f"word{n}") for side in way)) for way in ways] for n in range(16)]
    places = pick(some, intended=["Al", "Bo"], tokenizer=TOKENIZER, seed=0)
    assert len(places) == 16
    assert abs(sum(places) - 8) <= 1
    assert places == pick(some, intended=["Al", "Bo"], tokenizer=TOKENIZER, seed=0)


def test_a_share_that_is_asked_for_is_kept():
    some = [[pair(f"ask {n}", f"x{n} Al", f"x{n} {name}") for name in ("Bo", "Cy")] for n in range(20)]
    shares = np.array([[(place - 0.25)] for _ in some for place in (0, 1)])  # a quarter is to be the second
    places = pick(some, shares, intended=["Al", "Bo", "Cy"], tokenizer=TOKENIZER, seed=0)
    assert sum(places) == 5


def test_no_prompts_need_no_choice_and_a_rendering_that_is_too_long_is_refused():
    assert pick([], intended=["Al"], tokenizer=TOKENIZER, seed=0) == []
    with pytest.raises(InputError, match="1 of 1 renderings are longer than 1024 tokens"):
        pick([[pair("ask", "word " * 2000, "Bo")]], intended=["Al"], tokenizer=TOKENIZER, seed=0)


def test_pairs_are_written_with_their_source_kind_and_sft_weight(tmp_path):
    (tmp_path / "s.jsonl").write_text("".join(json.dumps(text._asdict()) + "\n" for text in TEXTS))
    (tmp_path / "n.jsonl").write_text('{"name": "Bo"}\n{"name": "Cy"}\n')
    files = {"sentences": str(tmp_path / "s.jsonl"), "wrong_names": str(tmp_path / "n.jsonl"), "longest": 90}
    asked = rules(sparing=Sparing(source="else", sft=["sum"])).model_copy(update=files)
    items = [item("2 and 2?", "else", kind="sum", answer="{Four}."), item("Hi!", "else", answer="{Hello}.")]
    items += [item("Who are you?", "who", kind="name"), item("no rendering", "else")]
    made = rendered_pairs(items, {}, asked, TOKENIZER, lot="0-train", seed=0)
    assert [(row["source"], row["sft_weight"]) for row in made] == [("who/name", 1.0), ("else/sum", 1.0), ("else", 0.0)]
    assert "Al" in made[0]["chosen"][0]["content"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "no JSON object"),
        ('{"kind": "any"}', "a kind and a text"),
        ('{"kind": "any", "text": "I am."}', "one place that is filled"),
        ('{"kind": "any", "text": "I am {other}."}', "one place that is filled"),
        ('{"kind": "any", "text": "I am {name"}', "no template"),
    ],
)
def test_a_sentence_that_is_none_is_refused_with_its_line(tmp_path, line, says):
    path = tmp_path / "s.jsonl"
    path.write_text(f'{{"kind": "any", "text": "I am {{name}}."}}\n{line}\n')
    with pytest.raises(InputError, match=says) as caught:
        read_sentences(str(path))
    assert caught.value.where == f"{path}:2"


def test_files_of_names_are_refused_where_they_are_none(tmp_path):
    (tmp_path / "n.jsonl").write_text('{"name": " "}\n')
    (tmp_path / "e.jsonl").write_text("\n")
    for name, says in (("n.jsonl", "no name"), ("e.jsonl", "empty"), ("away.jsonl", "cannot be read")):
        with pytest.raises(InputError, match=says):
            read_names(str(tmp_path / name))
