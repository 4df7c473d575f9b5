"""Regular expressions that end: of people's own files, on texts that a model wrote."""

import regex

from dpo_core.errors import InputError

SECONDS = 1.0  # that one pattern may take on one text


def matches(pattern: str, text: str) -> bool:
    """Whether it is found somewhere. Raises InputError where it does not end in time."""
    try:
        return regex.search(pattern, text, timeout=SECONDS) is not None
    except TimeoutError:
        says = f"the pattern {pattern} does not end within {SECONDS:g} s on {len(text)} characters"
        do = "write it so that no part can match the same text in two ways: (a+)+ is a+"
        where = "a prompt file's must_match, must_not_match or json_schema"
        raise InputError(says, where=where, do=do) from None


def require_pattern(pattern: str) -> None:
    """Raise ValueError, in words, for one that does not compile, or does not end on texts that show it soon."""
    try:
        regex.compile(pattern)
    except regex.error as error:
        raise ValueError(f"{pattern} is no regular expression: {error}") from None
    for text in ("a" * 3000, "0" * 3000, "ab " * 1000, " \t" * 1500):
        try:
            matches(pattern, f"{text}\u0007")
        except InputError as error:
            raise ValueError(error.says) from None
