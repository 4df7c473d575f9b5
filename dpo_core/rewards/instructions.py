"""The 25 kinds of instruction of IFEval (Zhou et al. 2023, arXiv:2311.07911) that a program can check.

Names and arguments are those of its prompt files, so that these can be used as they are. What differs: words, sentences
and languages are told by our own counters; and words that are looked for are text, no regular expressions.
"""

import inspect
import json
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, ValidationError, validate_call

from dpo_core.quality.text.language import LANGUAGES
from dpo_core.quality.words import split
from dpo_core.rewards.demands import count_sentences
from dpo_core.rewards.language import language_of

Count = Annotated[int, Field(ge=0)]
Some = Annotated[int, Field(ge=1)]
Relation = Literal["at least", "less than"]
Words = Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
Text = Annotated[str, Field(min_length=1)]
Check = Callable[[str, str], bool]  # an answer and its prompt's last text
_BULLET = re.compile(r"^\s*(?:\*(?!\*)|-).*$", re.MULTILINE)
_FENCE = re.compile(r"\A```(?:json)?(.*?)(?:```)?\Z", re.DOTALL | re.IGNORECASE)
CHOICES = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
STRICT = validate_call(config=ConfigDict(strict=True))
INSTRUCTIONS: dict[str, Callable[..., bool]] = {}  # by IFEval's name, without the group before the colon
GROUPS: dict[str, str] = {}  # that group


def _of(group: str) -> Callable[[Callable[..., bool]], Callable[..., bool]]:
    def listed(function: Callable[..., bool]) -> Callable[..., bool]:
        name = function.__name__
        INSTRUCTIONS[name], GROUPS[name] = STRICT(function), group
        return function

    return listed


def check_of(kind: str, arguments: Mapping[str, object]) -> Check:
    """The check of one instruction; arguments that are None count as left out, as IFEval's files write them.

    `kind` is a name of INSTRUCTIONS, with or without its group before a colon. Raises ValueError, in words.
    """
    group, _, name = kind.rpartition(":")
    if name not in INSTRUCTIONS or group not in ("", GROUPS[name]):
        raise ValueError(f"there is no instruction {kind!r}: the kinds are {', '.join(INSTRUCTIONS)}")
    function, given = INSTRUCTIONS[name], {key: value for key, value in arguments.items() if value is not None}
    try:
        function("", "", **given)
    except ValidationError as error:
        known = ", ".join(list(inspect.signature(function).parameters)[2:]) or "none"
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        says = f"instruction {name}: {where}: {first['msg'].removeprefix('Value error, ')}"
        raise ValueError(f"{says} (its arguments: {known})") from None
    return lambda answer, prompt: function(answer, prompt, **given)


def _meets(count: int, relation: Relation, limit: int) -> bool:
    return count >= limit if relation == "at least" else count < limit


def _parts(answer: str, divider: str) -> list[str] | None:
    """What stands between dividers; None where one of them follows another. At either end nothing need stand."""
    parts = re.split(divider, answer)
    if any(not part.strip() for part in parts[1:-1]):
        return None
    return [part.strip() for part in parts if part.strip()]


@_of("keywords")
def existence(answer: str, prompt: str, *, keywords: Words) -> bool:
    """Every keyword stands in it, in any case."""
    return all(word.lower() in answer.lower() for word in keywords)


@_of("keywords")
def frequency(answer: str, prompt: str, *, keyword: Text, frequency: Count, relation: Relation = "at least") -> bool:
    """A keyword stands in it at least, or less than, so many times, in any case."""
    return _meets(answer.lower().count(keyword.strip().lower()), relation, frequency)


@_of("keywords")
def forbidden_words(answer: str, prompt: str, *, forbidden_words: Words) -> bool:
    """None of these words stands in it, whole, in any case."""
    return not any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", answer, re.IGNORECASE) for word in forbidden_words)


@_of("keywords")
def letter_frequency(
    answer: str,
    prompt: str,
    *,
    letter: Annotated[str, Field(min_length=1, max_length=1)],
    let_frequency: Count,
    let_relation: Relation = "at least",
) -> bool:
    """A letter stands in it at least, or less than, so many times, in either case."""
    return _meets(answer.lower().count(letter.lower()), let_relation, let_frequency)


@_of("language")
def response_language(answer: str, prompt: str, *, language: Text) -> bool:
    """It is in one language."""
    if language not in LANGUAGES[1:]:
        raise ValueError(f"{language!r} is not told: one of {', '.join(LANGUAGES[1:])} is")
    return language_of(answer) == language


@_of("length_constraints")
def number_sentences(answer: str, prompt: str, *, num_sentences: Count, relation: Relation = "at least") -> bool:
    """At least, or less than, so many sentences."""
    return _meets(count_sentences(answer), relation, num_sentences)


@_of("length_constraints")
def number_paragraphs(answer: str, prompt: str, *, num_paragraphs: Some) -> bool:
    """So many paragraphs, with `***` between them."""
    parts = _parts(answer, r"\s?\*\*\*\s?")
    return parts is not None and len(parts) == num_paragraphs


@_of("length_constraints")
def number_words(answer: str, prompt: str, *, num_words: Count, relation: Relation = "at least") -> bool:
    """At least, or less than, so many words."""
    return _meets(len(split(answer)), relation, num_words)


@_of("length_constraints")
def nth_paragraph_first_word(
    answer: str, prompt: str, *, num_paragraphs: Some, nth_paragraph: Some, first_word: Text
) -> bool:
    """So many paragraphs with an empty line between them, of which the n-th begins with a word."""
    parts = [part.strip() for part in answer.split("\n\n") if part.strip()]
    if len(parts) != num_paragraphs or nth_paragraph > num_paragraphs:
        return False
    word = parts[nth_paragraph - 1].split()[0].lstrip("'\"")
    return re.split("[.,?!'\"]", word)[0].lower() == first_word.lower()


@_of("detectable_content")
def number_placeholders(answer: str, prompt: str, *, num_placeholders: Count) -> bool:
    """At least so many [placeholders]."""
    return len(re.findall(r"\[.*?\]", answer)) >= num_placeholders


@_of("detectable_content")
def postscript(answer: str, prompt: str, *, postscript_marker: Text) -> bool:
    """A postscript that begins with the marker; of `P.S.` and `P.P.S` also with spaces between the letters."""
    known = {"P.S.": r"p\.\s?s\.", "P.P.S": r"p\.\s?p\.\s?s"}
    marker = postscript_marker.strip()
    return re.search(known.get(marker, re.escape(marker)), answer, re.IGNORECASE) is not None


@_of("detectable_format")
def number_bullet_lists(answer: str, prompt: str, *, num_bullets: Count) -> bool:
    """Exactly so many bullet points, lines that begin with `*` or `-`."""
    return len(_BULLET.findall(answer)) == num_bullets


@_of("detectable_format")
def constrained_response(answer: str, prompt: str, *, options: Words = list(CHOICES)) -> bool:  # noqa: B006
    """One of the options stands in it as it is; IFEval's are `My answer is yes.`, `no.` and `maybe.`."""
    return any(option in answer for option in options)


@_of("detectable_format")
def number_highlighted_sections(answer: str, prompt: str, *, num_highlights: Count) -> bool:
    """At least so many *highlighted* parts."""
    return (
        sum(bool(found.strip("* ")) for found in re.findall(r"\*\*[^\n*]*\*\*|\*[^\n*]*\*", answer)) >= num_highlights
    )


@_of("detectable_format")
def multiple_sections(answer: str, prompt: str, *, section_spliter: Text, num_sections: Some) -> bool:
    """At least so many sections, each begun by a word and a number: `SECTION 1`."""
    return len(re.findall(rf"{re.escape(section_spliter.strip())}\s?\d+", answer)) >= num_sections


@_of("detectable_format")
def json_format(answer: str, prompt: str) -> bool:
    """All of it is JSON, alone or in a fence."""
    fenced = _FENCE.match(answer.strip())
    try:
        json.loads(fenced[1] if fenced else answer)
    except (ValueError, RecursionError):
        return False
    return True


@_of("detectable_format")
def title(answer: str, prompt: str) -> bool:
    """A title in <<double angular brackets>>."""
    return any(found.strip("<> \t") for found in re.findall(r"<<[^\n]+>>", answer))


@_of("combination")
def two_responses(answer: str, prompt: str) -> bool:
    """Two different answers with ****** between them."""
    parts = _parts(answer, r"\*{6}")
    return parts is not None and len(parts) == 2 and parts[0] != parts[1]


@_of("combination")
def repeat_prompt(answer: str, prompt: str, *, prompt_to_repeat: Text | None = None) -> bool:
    """It begins with the prompt, or with the text named, word for word."""
    return answer.strip().lower().startswith((prompt_to_repeat or prompt).strip().lower())


@_of("startend")
def end_checker(answer: str, prompt: str, *, end_phrase: Text) -> bool:
    """It ends with a phrase, in any case."""
    return answer.strip().strip('"').lower().endswith(end_phrase.strip().lower())


@_of("startend")
def quotation(answer: str, prompt: str) -> bool:
    """All of it stands in double quotation marks."""
    text = answer.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


@_of("change_case")
def capital_word_frequency(
    answer: str, prompt: str, *, capital_frequency: Count, capital_relation: Relation = "at least"
) -> bool:
    """At least, or less than, so many words in capital letters alone."""
    return _meets(sum(word.isupper() for word in split(answer)), capital_relation, capital_frequency)


@_of("change_case")
def english_capital(answer: str, prompt: str) -> bool:
    """In English, in capital letters alone."""
    return answer.isupper() and language_of(answer) in ("en", "unknown")


@_of("change_case")
def english_lowercase(answer: str, prompt: str) -> bool:
    """In English, without a capital letter."""
    return answer.islower() and language_of(answer) in ("en", "unknown")


@_of("punctuation")
def no_comma(answer: str, prompt: str) -> bool:
    """Without a comma."""
    return "," not in answer
