import re
from inspect import signature
from pathlib import Path

import pytest

from dpo_core.rewards.instructions import GROUPS, INSTRUCTIONS, check_of

EXAMPLES = [  # kind, its arguments, an answer that follows it, one that does not
    ("existence", {"keywords": ["sea", "Blue"]}, "The SEA is blue.", "The sea is green."),
    ("frequency", {"keyword": "sea", "frequency": 2}, "Sea after sea.", "The sea."),
    ("frequency", {"keyword": "sea", "frequency": 2, "relation": "less than"}, "The sea.", "Sea after sea."),
    ("forbidden_words", {"forbidden_words": ["sea", "c++"]}, "The season in C.", "The Sea."),
    ("forbidden_words", {"forbidden_words": ["c++"]}, "In C+ we trust", "In C++ we trust"),
    ("letter_frequency", {"letter": "E", "let_frequency": 3}, "The sea, Eve", "The sea"),
    ("letter_frequency", {"letter": "#", "let_frequency": 1, "let_relation": "less than"}, "a", "#a"),
    ("response_language", {"language": "de"}, "Das ist nicht mit dem Wasser zu machen.", "It is not the end of it."),
    ("number_sentences", {"num_sentences": 2}, "One. Two!", "One and two."),
    ("number_sentences", {"num_sentences": 2, "relation": "less than"}, "One and two.", "One. Two!"),
    ("number_paragraphs", {"num_paragraphs": 2}, "One\n***\nTwo", "One\n\nTwo"),
    ("number_paragraphs", {"num_paragraphs": 2}, "***\nOne\n***\nTwo\n***", "One\n***\n***\nTwo"),
    ("number_words", {"num_words": 3}, "one two three", "one two"),
    ("number_words", {"num_words": 3, "relation": "less than"}, "one, two", "one two three"),
    (
        "nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Blue"},
        "Red\n\n'blue', it is",
        "Blue\n\nred",
    ),
    (
        "nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 1, "first_word": "blue"},
        "Blue.\n\nRed",
        "Blue\n\nred\n\ngreen",
    ),
    ("number_placeholders", {"num_placeholders": 2}, "[name], of [place]", "[name], of (place)"),
    ("postscript", {"postscript_marker": "P.S."}, "Yours.\nP. S. Write!", "Yours. PS write"),
    ("postscript", {"postscript_marker": "P.P.S"}, "P.S. a\nP.P.S b", "P.S. a"),
    ("number_bullet_lists", {"num_bullets": 2}, "List:\n* one\n- two", "* one\n* two\n* three"),
    ("number_bullet_lists", {"num_bullets": 1}, "**Bold** first\n* one", "**Bold** first"),
    ("constrained_response", {}, "Well: My answer is maybe.", "maybe"),
    ("constrained_response", {"options": ["red", "blue"]}, "It is blue", "It is green"),
    ("number_highlighted_sections", {"num_highlights": 2}, "*one* and **two**", "*one* and ** **"),
    ("multiple_sections", {"section_spliter": "SECTION", "num_sections": 2}, "SECTION 1\na\nSECTION 2\nb", "SECTION 1"),
    ("json_format", {}, '```json\n{"a": 1}\n```', "{a: 1}"),
    ("json_format", {}, "[1, 2]", "It is [1, 2]"),
    ("title", {}, "<<The sea>>\nIt is blue.", "<< >>\nIt is blue."),
    ("two_responses", {}, "One\n******\nTwo", "One\n******\nOne"),
    ("two_responses", {}, "One\n******\nTwo\n******", "One\n***\nTwo"),
    ("repeat_prompt", {}, "what IS the sea? It is blue.", "The sea is blue."),
    ("repeat_prompt", {"prompt_to_repeat": "Say this."}, "Say this. It is blue.", "What is the sea? Blue."),
    ("end_checker", {"end_phrase": "That is all."}, 'It is blue. THAT IS ALL."', "That is all. Or not."),
    ("quotation", {}, ' "It is blue." ', '"It" is blue.'),
    ("quotation", {}, '""', '"'),
    ("capital_word_frequency", {"capital_frequency": 2}, "The SEA is BLUE", "The SEA is blue"),
    (
        "capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "less than"},
        "The SEA is blue",
        "THE SEA is blue",
    ),
    ("english_capital", {}, "THE SEA IS BLUE.", "The sea is blue."),
    ("english_capital", {}, "IT IS THE END OF THE DAY.", "DAS IST NICHT DAS ENDE, UND ES IST AUCH GUT."),
    ("english_lowercase", {}, "the sea is blue.", "The sea is blue."),
    ("no_comma", {}, "Red and blue.", "Red, and blue."),
]


@pytest.mark.parametrize(("kind", "arguments", "right", "wrong"), EXAMPLES)
def test_an_answer_follows_an_instruction_or_does_not(kind, arguments, right, wrong):
    check = check_of(kind, arguments)
    assert check(right, "What is the sea?") is True
    assert check(wrong, "What is the sea?") is False


def test_all_25_kinds_of_ifeval_are_there_each_with_an_example():
    assert len(INSTRUCTIONS) == 25
    assert {kind for kind, *_ in EXAMPLES} == set(INSTRUCTIONS)
    counts = {"keywords": 4, "language": 1, "length_constraints": 4, "detectable_content": 2, "detectable_format": 6}
    counts |= {"combination": 2, "startend": 2, "change_case": 3, "punctuation": 1}  # table 1 of the paper
    assert {group: list(GROUPS.values()).count(group) for group in GROUPS.values()} == counts


def test_the_docs_list_every_kind_with_its_arguments():
    text = (Path(__file__).parents[3] / "docs" / "rewards.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", text.partition("## IFEval")[2], re.MULTILINE))
    arguments = {
        kind: set(signature(function).parameters) - {"answer", "prompt"} for kind, function in INSTRUCTIONS.items()
    }
    assert {kind: set(re.findall(r"`(\w+)`", row)) for kind, row in rows.items()} == arguments


@pytest.mark.parametrize(
    ("kind", "arguments", "says"),
    [
        ("no_commas", {}, "there is no instruction 'no_commas'"),
        ("startend:no_comma", {}, "there is no instruction"),
        ("no_comma", {"letter": "a"}, "its arguments: none"),
        (
            "number_words",
            {"num_words": "3"},
            "num_words: Input should be a valid integer (its arguments: num_words, rel",
        ),
        ("number_words", {}, "num_words: Missing"),
        (
            "number_words",
            {"num_words": 3, "relation": "at most"},
            "relation: Input should be 'at least' or 'less than'",
        ),
        ("response_language", {"language": "tlh"}, "'tlh' is not told"),
        ("existence", {"keywords": []}, "keywords: List should have at least 1 item"),
    ],
)
def test_an_instruction_that_cannot_be_meant_is_refused(kind, arguments, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        check_of(kind, arguments)


def test_the_columns_of_ifevals_own_file_are_taken_as_they_are():
    check = check_of("length_constraints:number_words", {"num_words": 2, "relation": "at least", "keywords": None})
    assert check("one two", "")
