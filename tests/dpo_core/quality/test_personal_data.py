"""Traces of people and keys: found by pattern and checksum, counted by side, masked everywhere."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpo_core.quality.checks.personal_data import CHECK
from dpo_core.quality.results import excerpt
from dpo_core.quality.text.redaction import KINDS, iban_end, is_public_address, luhn, redact
from dpo_core.recipe import Validation
from tests.dpo_core.quality.quality_data import as_pairs, make_pair, measured, null_texts, run_check, severities

EXAMPLES = {
    "e-mail": ["eve.x+1@mail.example.org", "j\u00fcrgen@firma.example"],
    "phone": ["+49 (0)30 1234567", "+1-202-555-0143", "(202) 555-0143", "202.555.0143", "030 1234 5678", "13812345678"],
    "card": ["4111 1111 1111 1111", "5555-5555-5555-4444", "378282246310005", "3782 822463 10005"],
    "IBAN": ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "NO93 8601 1117 947"],
    "IP address": ["8.8.4.4", "2606:4700:4700::1111"],
    "key": [
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_0123456789abcdefghijklmnopqrstuvwxyz",
        "sk-proj-abc123def456ghi789jkl",
        "xoxb-123456789012-abcdef",
        "hf_abcdefghijklmnopqrstuvwxyz",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-DEF",
        "https://me:hunter2@host",
    ],
    "private key": ["-----BEGIN RSA PRIVATE KEY-----\nMIIB\nabc\n-----END RSA PRIVATE KEY-----"],
}
ALL = [(kind, text) for kind, texts in EXAMPLES.items() for text in texts]


def checked(pairs, **limits):
    return run_check(CHECK, pairs, Validation(**limits))


def kinds_in(text):
    """Names of the kinds of which a text holds at least one."""
    return frozenset(kind.name for kind in KINDS if kind.stands_in(text))


def with_check_digit(body):
    """The one digit that completes a card number, by trying all ten."""
    return next(body + digit for digit in "0123456789" if luhn(body + digit))


@pytest.mark.parametrize(("kind", "text"), ALL)
def test_each_kind_is_found_counted_and_masked(kind, text):
    assert kind in kinds_in(f"Take {text}, please.")
    assert kinds_in(redact(f"Take {text}, please.")) == frozenset()
    results = checked([make_pair("p", f"Take {text}, please.", "no"), make_pair("q", "a", "b")])
    check = "people/personal_data" if kind in ("e-mail", "phone", "IP address") else "people/secrets"
    assert measured(results)[check] == 0.5
    assert severities(results)[check] == "warn"
    secret = text.split("//")[-1].split("@host")[0]
    assert secret not in str(results[1])


@pytest.mark.parametrize(
    "text",
    [
        "an extraordinarily-well-hyphenated-compound word",
        "In 1984, 2001 and 2010 we sold 1,000,000 of them for 12.50 each.",
        "4111 1111 1111 1112",  # fails the checksum
        "DE89 3704 0044 0532 0130 01",
        "192.168.0.1, 127.0.0.1 and version 1.2.3",
        "std::vector and 10:30:00",
        "2024-05-17 10:30, pages 100-200",
        "3.14159265358979",
        "@home and #tag",
    ],
)
def test_numbers_and_words_of_everyday_are_left_alone(text):
    assert kinds_in(text) == frozenset()
    assert redact(text) == text


def test_clean_texts_have_no_finding():
    assert checked(as_pairs(null_texts(0, 200)))[1] == []


def test_personal_data_within_the_limit_is_told_and_a_secret_always_warns():
    mail = [make_pair("p", "write to a@b.example", "no")] + [make_pair(f"q{n}", "a", "b") for n in range(99)]
    assert severities(checked(mail)) == {"people/personal_data": "info"}
    assert severities(checked(mail, max_personal=0.0)) == {"people/personal_data": "warn"}
    key = [make_pair("p", "AKIAIOSFODNN7EXAMPLE", "no"), *mail[1:]]
    assert severities(checked(key)) == {"people/secrets": "warn"}


def test_counts_are_by_kind_and_side():
    pairs = [make_pair("a@b.example", "c@d.example", "x"), make_pair("q", "e@f.example", "8.8.8.8")]
    finding = checked(pairs)[1][0]
    assert finding.tables[0].rows == (("e-mail", 1, 2, 0), ("phone", 0, 0, 0), ("IP address", 0, 0, 1))


@settings(max_examples=50)
@given(st.from_regex(r"[3-6][0-9]{11,17}", fullmatch=True))
def test_luhn_takes_one_check_digit_in_ten_and_sees_any_single_wrong_digit(body):
    assert sum(luhn(body + digit) for digit in "0123456789") == 1
    number = with_check_digit(body)
    for place in range(len(number)):
        wrong = number[:place] + str((int(number[place]) + 1) % 10) + number[place + 1 :]
        assert not luhn(wrong)


@settings(max_examples=50)
@given(st.from_regex(r"[0-9]{18}", fullmatch=True), st.booleans())
def test_an_iban_is_known_by_its_check_digits(account, spaced):
    # check digits: 98 - (account, D = 13, E = 14, 00) mod 97
    digits = 98 - int(account + "131400") % 97
    iban = f"DE{digits:02d}{account}"
    text = " ".join(iban[at : at + 4] for at in range(0, 22, 4)) if spaced else iban
    assert iban_end(text + " THIS IS MORE") == len(text)
    assert iban_end(f"DE{(digits + 1) % 97:02d}{account}") is None
    assert "IBAN" in kinds_in(f"to {text} today")


@settings(max_examples=150)
@given(st.lists(st.one_of(st.sampled_from([text for _, text in ALL]), st.text(max_size=15)), max_size=8), st.integers())
def test_redaction_is_complete_and_idempotent(parts, seed):
    text = "".join(part + random.Random(seed).choice(["", " ", "\n", ",", "-"]) for part in parts)
    redacted = redact(text)
    assert kinds_in(redacted) == frozenset()
    assert redact(redacted) == redacted


def test_redaction_of_long_texts_takes_one_pass():
    for unit in ("a", "a@", "1 ", "1-", "::", "0.", "-----BEGIN PRIVATE KEY-----"):
        assert len(redact(unit * 20_000)) <= 20_000 * len(unit)


def test_only_addresses_of_someone_count():
    assert [is_public_address(text) for text in ("8.8.8.8", "10.0.0.1", "999.1.1.1", "::1")] == [
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize(
    "secret", ["sk-proj-abc123def456", "ghp_0123456789abcdef", "password=correcthorse", "a1b2c3d4e5f6a7b8c9d0e1f2"]
)
def test_what_only_looks_like_a_key_is_masked_too(secret):
    assert secret not in redact(f"my login: {secret}, thanks")


def test_an_excerpt_is_the_window_round_the_feature():
    text = "a" * 300 + " zebra " + "b" * 300
    assert " zebra " in excerpt(text, "zebra")
    assert len(excerpt(text, "zebra")) == 122


def test_an_excerpt_holds_no_half_of_a_key():
    assert "AKIA" not in excerpt("x" * 110 + " AKIAIOSFODNN7EXAMPLE")
