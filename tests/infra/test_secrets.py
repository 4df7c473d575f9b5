"""One masker for logs, errors, journals and documents."""

import json

import pytest

from infra.secrets import without_secrets


def test_secrets_in_urls_are_struck_out():
    assert without_secrets("GET http://me:canary@host/x failed") == "GET http://***@host/x failed"
    assert without_secrets("s3://bucket/a@b") == "s3://bucket/a@b"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql://mlflow:hunter2@db/x", "postgresql://***@db/x"),
        ("key AKIAIOSFODNN7EXAMPLE.", "key ***."),
        ("hf_abcdefghijklmnopqrstuvwx", "***"),
        ("Authorization: Bearer abcdefgh12345678", "Authorization: Bearer ***"),
        ("authorization: basic bWU6Y2FuYXJ5", "authorization: basic ***"),
        ("a basic understanding of bearer instruments", "a basic understanding of bearer instruments"),
        ("https://h/x?X-Amz-Signature=0123abcd&Expires=9", "https://h/x?X-Amz-Signature=***&Expires=9"),
        ("password='a b'", "password='a b'"),  # a value in quotes is not read: whoever writes one quotes it himself
        (r"token=ab\cd\ ef", "token=*** ef"),
    ],
)
def test_keys_and_tokens_are_struck_out_wherever_they_stand(text, masked):
    assert without_secrets(text) == masked


def test_the_value_of_a_secret_variable_is_struck_out_and_a_short_one_is_not(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG")
    monkeypatch.setenv("SOME_PASSWORD", "abc")
    assert without_secrets("signed abc with wJalrXUtnFEMI/K7MDENG") == "signed abc with ***"


@pytest.mark.parametrize("text", ['token=canary"', 'say "password=canary"', "secret=canary\\", "token=canary\n"])
def test_a_document_that_was_masked_is_still_json(text):
    masked = without_secrets(json.dumps({"text": text, "after": 1}))
    assert "canary" not in masked
    assert json.loads(masked)["after"] == 1
