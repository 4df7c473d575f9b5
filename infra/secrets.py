"""What must not reach a log, an error message, a journal or a document: passwords, keys, tokens."""

import os
import re

SHORTEST = 8  # characters of a secret variable's value: a shorter one would strike out ordinary words
SECRET_NAME = re.compile(r"SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIAL|API_KEY|ACCESS_KEY_ID", re.IGNORECASE)
# What follows `token=`. A backslash before a quote is no part of it: in JSON it escapes the quote that ends the text.
VALUE = r"""(?:[^&\s'"\\]|\\(?!['"])[^&\s]?)+"""
# What follows `Bearer` or `Basic`: with a digit, `=` or a capital within, so that "basic understanding" stays.
CREDENTIAL = r"(?=[A-Za-z._~+/-]*(?:[0-9=]|[a-z][A-Z]))[A-Za-z0-9._~+/=-]{8,}"
USER = re.compile(r"(?<=://)[^/@\s]+(?=@)")
SECRETS = (
    (USER, "***"),
    (re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"), "***"),
    (re.compile(r"\b(?:hf_|sk-|gh[pousr]_)[A-Za-z0-9_-]{16,}"), "***"),
    (re.compile(r"(\b(?:[Bb]earer|[Bb]asic|BEARER|BASIC)\s+)" + CREDENTIAL), r"\1***"),
    (re.compile(rf"(?i)((?:signature|secret[a-z_]*|security-token|password|token)=){VALUE}"), r"\1***"),
)


def without_secrets(text: str) -> str:
    """`text` with `***` for passwords in URLs, access keys, tokens, and values of secret environment variables."""
    for name, value in os.environ.items():
        if len(value) >= SHORTEST and SECRET_NAME.search(name):
            text = text.replace(value, "***")
    for pattern, stars in SECRETS:
        text = pattern.sub(stars, text)
    return text


def without_user(url: str) -> str:
    """`url` without user and password: the same in every environment, so that it can be compared."""
    return USER.sub("***", url)
