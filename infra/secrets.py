"""What must not reach a log, an error message, a journal or a document: passwords, keys, tokens."""

import json
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import quote, unquote

SHORTEST = 8  # characters of a secret variable's value: a shorter one would strike out ordinary words
PIECE = 5  # characters of a URL's password or token, or of a part of it where a program has taken it apart
SECRET_NAME = re.compile(
    r"SECRET|TOKEN(?!IZ)|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|ACCESS_KEY|AUTH_STRING|AUTHORIZATION", re.IGNORECASE
)
PLACE = re.compile(r"_(?:FILE|PATH|DIR|URI|URL)$", re.IGNORECASE)  # where a secret is, not what it is
_counted: set[str] = set()  # variables that hold a secret, whatever their name
SECRET_KEY = re.compile(r"(?i)token|key|secret|pass|pwd|auth|sig|code|credential|session|jwt")  # of a URL's query
SCHEME = re.compile("[A-Za-z][A-Za-z0-9+.-]*")
NO_USER = ("s3", "file")  # schemes of addresses in which an `@` is part of a name
# What follows `token=`. A backslash before a quote is no part of it: in JSON it escapes the quote that ends the text.
VALUE = r"""(?:[^&\s'"\\]|\\(?!['"])[^&\s]?)+"""
# What follows `Bearer` or `Basic`: with a digit, `=` or a capital within, so that "basic understanding" stays.
CREDENTIAL = r"(?=[A-Za-z._~+/-]*(?:[0-9=]|[a-z][A-Z]))[A-Za-z0-9._~+/=-]{8,}"
SECRETS = (
    (re.compile(r"""(?<=://)[^/\s'"<>]+(?=@)"""), "***"),
    (re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"), "***"),
    (re.compile(r"\b(?:hf_|sk-|gh[pousr]_)[A-Za-z0-9_-]{16,}"), "***"),
    (re.compile(r"(\b(?:[Bb]earer|[Bb]asic|BEARER|BASIC)\s+)" + CREDENTIAL), r"\1***"),
    (re.compile(rf"(?i)((?:signature|secret[a-z_]*|security-token|password|token)=){VALUE}"), r"\1***"),
    (re.compile(rf"(?i)([?&](?:[a-z_-]*(?:key|sig|auth|pwd|passwd|jwt|session|credential))=){VALUE}"), r"\1***"),
)


def count_as_secret(variable: str) -> None:
    """From here on, in this process, the value of this environment variable is a secret, whatever its name."""
    if variable not in _counted:
        _counted.add(variable)
        _known.cache_clear()


def without_secrets(text: str) -> str:
    """`text` with `***` for passwords and tokens in URLs, access keys, and the values of secret variables.

    Passwords of addresses that the environment holds are known, so they are found however a program writes them: with
    `/` or `@` inside, quoted, or taken apart.
    """
    for secret, stars in _known(tuple(os.environ.items())):
        if secret in text:
            text = text.replace(secret, stars)
    for pattern, stars in SECRETS:
        text = pattern.sub(stars, text)
    return text


def without_user(url: str) -> str:
    """`url` without user, password and query: the same in every environment, so that it can be compared."""
    scheme, authority, rest = _parts(url)
    if not authority:
        return url
    _, at, place = rest.rpartition("@")
    return f"{scheme}://{'***@' if at else ''}{place.partition('?')[0]}"


@lru_cache(maxsize=8)
def _known(variables: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    """What to strike out, longest first, and what to put there."""
    found: dict[str, str] = {}
    for name, value in variables:
        for secret, least in _of_variable(name, value):
            forms = (secret, unquote(secret), quote(secret, safe=""), quote(secret))
            for form in (*forms, *(json.dumps(form)[1:-1] for form in forms)):
                if len(bare := form.rstrip("\\")) >= least:
                    found[bare] = "***@" if bare.endswith("@") else "***"
    return sorted(found.items(), key=lambda item: -len(item[0]))


def _of_variable(name: str, value: str) -> Iterator[tuple[str, int]]:
    """Secrets in a variable, each with the least length from which it is struck out."""
    if name in _counted or (SECRET_NAME.search(name) and not PLACE.search(name)):
        yield value, SHORTEST
        if "AUTH" in name.upper():  # user:password
            yield value.partition(":")[2], PIECE
    if name.upper().endswith("HEADERS"):
        for given in re.findall(r':\s*"([^"]+)"', value):
            yield from ((given, SHORTEST), (given.split()[-1], SHORTEST))
    _, authority, rest = _parts(value)
    if not authority:
        return
    user, at, place = rest.rpartition("@")
    if at:
        yield f"{user}@", 2
        name, colon, password = user.partition(":")
        yield from _with_pieces(password if colon else name)
    for key, _, given in (pair.partition("=") for pair in re.split("[&;#]", place.partition("?")[2])):
        if SECRET_KEY.search(key):
            yield from _with_pieces(given)


def _with_pieces(secret: str) -> Iterator[tuple[str, int]]:
    """A password, and what is left of it where a program took its `/` or `@` for the end of something."""
    yield from (
        (piece, PIECE) for piece in (secret, *re.split("[/@?#:]", unquote(secret)), *re.split("[/@?#:]", secret))
    )


def _parts(url: str) -> tuple[str, str, str]:
    """Scheme, what stands first after it, and all after it, of an address that may name a user; else empty."""
    scheme, separator, rest = url.partition("://")
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    named = SCHEME.fullmatch(scheme) and scheme.lower() not in NO_USER
    return (scheme, authority, rest) if separator and named else ("", "", "")
