"""The language of one answer: also of a short one, whose function words several languages share."""

import json
from pathlib import Path

import pytest

from dpo_core.quality.text.language import LANGUAGES, languages
from dpo_core.quality.words import TextArray
from dpo_core.rewards.language import language_of

TEXTS = Path(__file__).parents[3] / "examples/multilingual/texts.jsonl"


def test_all_but_two_of_630_questions_and_answers_in_five_languages_are_told():
    rows = [json.loads(line) for line in TEXTS.read_text().splitlines()]
    texts = [(row["language"], row[part]) for row in rows for part in ("question", "answer")]
    wrong = [text for language, text in texts if language_of(text) != language]
    assert len(texts) == 630
    assert len(wrong) <= 2, wrong


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("es", "Un hospital trabaja en la casa y trabaja en la cabeza."),
        ("es", "La gente va a la luna, y la gente va a la luna."),
        ("fr", "La lune va en ville."),
        ("en", "WATER FALLS FROM CLOUDS AS RAIN."),
    ],
)
def test_what_function_words_leave_undecided_is_told(language, text):
    assert LANGUAGES[int(languages(TextArray.of([text]))[0])] == "unknown"
    assert language_of(text) == language


@pytest.mark.parametrize("text", ["", "Paris", "42", "2 + 2 = 4", "ok ok", "\ud800", "!?\x00"])
def test_a_name_a_number_or_nothing_is_in_no_language(text):
    assert language_of(text) == "unknown"
