"""Addresses, numbers and keys in a text: found by pattern and checksum, and masked wherever a text is shown."""

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

IBAN_LENGTHS = {  # ISO 13616 registry: characters, country code included
    country: length
    for length, countries in {
        15: "NO",
        16: "BE",
        18: "DK FI NL",
        19: "SI",
        20: "AT EE LT LU",
        21: "CH HR LI LV",
        22: "BG DE GB IE",
        23: "AE IL",
        24: "AD CZ ES RO SA SE SK",
        25: "PT",
        26: "IS TR",
        27: "FR GR IT MC SM",
        28: "CY HU PL",
        29: "BR QA UA",
        30: "KW",
        31: "MT",
    }.items()
    for country in countries.split()
}
PRIVATE_KEY = (
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----[\s\S]*?(?:-----END [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)"
)
KEY = (
    r"\b(?:AKIA|ASIA|AIDA|AROA)[0-9A-Z]{16}"  # AWS
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{16,}"
    r"|\bxox[abeoprs]-[\w-]{10,}"  # Slack
    r"|\bsk-[\w-]{20,}"  # OpenAI, Anthropic
    r"|\b[rsp]k_(?:live|test)_\w{10,}"  # Stripe
    r"|\bAIza[\w-]{35}"  # Google
    r"|\bhf_[A-Za-z0-9]{20,}|\bnpm_[A-Za-z0-9]{36}|\bpypi-[\w-]{20,}|\bSG\.[\w-]{16,}\.[\w-]{16,}"
    r"|\beyJ[\w-]{8,1024}\.[\w-]{8,}(?:\.[\w-]*)?"  # JSON web token; its header is short
    r"|(?<=://)[^\s:/@]{1,64}:[^\s:/@]{1,128}(?=@)"  # user:password in an address
)
KEY_BEGINS = (
    *("AKIA", "ASIA", "AIDA", "AROA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xox", "sk-"),
    *("k_live_", "k_test_", "AIza", "hf_", "npm_", "pypi-", "SG.", "eyJ", "://"),
)
KEY_LIKE = (  # masked but not counted: too much else looks like it
    r"\b(?:sk|pk|rk|ghp|gho|github_pat|glpat|hf|xox[a-z])[-_][\w-]{8,}"
    r"|\beyJ[\w-]{8,1024}\.[\w.-]+"
    r"|(?<![A-Za-z0-9_-])(?=[A-Za-z_-]*\d)(?=[\d_-]*[A-Za-z])[A-Za-z0-9_-]{24,}"
    r"|(?i:\b(?:api[_-]?key|secret|passw(?:or)?d|pwd|token)[\"']?[:=]\s?[\"']?)[^\s\"',;\[\]]{6,}"
)
CARD = r"(?<!\d)(?:[3-6]\d{3}([ .-]?)\d{4}\1\d{4}\1\d{4}|3[47]\d{2}([ .-]?)\d{6}\2\d{5}|[3-6]\d{12,18})(?!\d)"
IBAN = r"\b(?=([A-Z]{2}\d{2}(?: ?[A-Za-z0-9]){11,27}))"  # looks ahead only, so every start is tried
EMAIL = r"[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,8}[A-Za-z][\w-]{1,23}"
IP = r"(?<![\w.:])(?:(?:\d{1,3}\.){3}\d{1,3}|(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4})(?![\w:]|\.\d)"
PHONE = (
    r"(?<![\w+])\+\d{1,3}[ ./-]?(?:\(\d{1,5}\)[ ./-]?)?\d(?:[ ./-]?\d){5,12}(?!\d)"  # international
    r"|(?<![\d.,/-])(?<!\d )(?:1[ .-])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[ .-])\d{3}[ .-]\d{4}(?![\d-])"  # North America
    r"|(?<![\d.,/-])(?<!\d )0\d{2,4}[ /-]\d{3,4}[ -]?\d{3,4}(?![\d-])"  # trunk prefix 0
    r"|(?<![\d.])1[3-9]\d{9}(?!\d)"  # Chinese mobile
)
Spans = Iterator[tuple[int, int]]


class Kind(NamedTuple):
    """One kind of trace. `find` yields where it stands in a text: (start, end); `hint` is quick and true if it does."""

    name: str
    find: Callable[[str], Spans]
    hint: Callable[[str], object]

    def stands_in(self, text: str) -> bool:
        """Whether `text` holds at least one."""
        return bool(self.hint(text)) and next(self.find(text), None) is not None


def luhn(number: str) -> bool:
    """Whether the check digit of a card number fits (ISO/IEC 7812-1); other characters than digits are skipped."""
    digits = [int(character) for character in number if character.isdigit()]
    doubled = (digit * 2 for digit in digits[-2::-2])
    return len(digits) > 1 and (sum(digits[-1::-2]) + sum(d - 9 if d > 9 else d for d in doubled)) % 10 == 0


def iban_end(text: str) -> int | None:
    """Length of the IBAN that `text` begins with, spaces included, if its check digits fit (ISO 7064, mod 97 = 1)."""
    length = IBAN_LENGTHS.get(text[:2])
    if length is None:
        return None
    places = [place for place, character in enumerate(text) if character != " "][:length]
    compact = "".join(text[place] for place in places).upper()
    if len(compact) < length or int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 != 1:
        return None
    return places[-1] + 1


def is_public_address(text: str) -> bool:
    """Whether it is an IP address that belongs to someone: no private, local, documentation or reserved one."""
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False


def _matches(
    pattern: str, valid: Callable[[str], bool] = lambda _: True, flags: int = re.ASCII
) -> Callable[[str], Spans]:
    compiled = re.compile(pattern, flags)

    def find(text: str) -> Spans:
        return (match.span() for match in compiled.finditer(text) if valid(match.group()))

    return find


def _find_ibans(text: str) -> Spans:
    for match in re.finditer(IBAN, text, re.ASCII):
        end = iban_end(match.group(1))
        if end is not None:
            yield match.start(), match.start() + end


def _has(*literals: str) -> Callable[[str], bool]:
    return lambda text: any(literal in text for literal in literals)


_number = re.compile(r"[0-9][0-9 ()./-]{5,}[0-9]").search
_long_number = re.compile(r"[0-9][0-9 .-]{11,}[0-9]").search
_account = re.compile(r"[A-Z][A-Z][0-9][0-9] ?[A-Za-z0-9]").search
_address = re.compile(r"[0-9A-Fa-f:][.:][0-9A-Fa-f:]").search
KINDS = (
    Kind("private key", _matches(PRIVATE_KEY), _has("PRIVATE KEY")),
    Kind("key", _matches(KEY), _has(*KEY_BEGINS)),
    Kind("e-mail", _matches(EMAIL, flags=0), _has("@")),
    Kind("IBAN", _find_ibans, _account),
    Kind("card", _matches(CARD, luhn), _long_number),
    Kind("IP address", _matches(IP, is_public_address), _address),
    Kind("phone", _matches(PHONE), _number),
)
MASKED = (*KINDS, Kind("key", _matches(KEY_LIKE), bool))


def redact(text: str) -> str:
    """`text` with every find replaced by its kind in brackets, and with strings that only look like keys.

    Again until nothing is found: what stood apart may meet once something between is masked. It ends, because no mask
    looks like a find, so that every round leaves less that could be one.
    """
    while True:
        before = text
        for kind in MASKED:
            text = _masked(text, kind)
        if text == before:
            return text


def _masked(text: str, kind: Kind) -> str:
    if not kind.hint(text):
        return text
    parts, last = [], 0
    for start, end in kind.find(text):
        if start >= last:
            parts += [text[last:start], f"[{kind.name}]"]
            last = end
    return "".join([*parts, text[last:]]) if parts else text
