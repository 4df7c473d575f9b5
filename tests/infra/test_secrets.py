"""One masker for logs, errors, journals and documents."""

import json
import logging
import os
import pickle
from collections.abc import Iterator
from urllib.parse import quote, quote_plus, unquote, urlsplit

import httpx
import pytest
import requests
from sqlalchemy import make_url

from infra.errors import InfraError
from infra.masking import mask_everything
from infra.secrets import without_secrets, without_user


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


CANARY = "kanarienvogel"
PASSWORDS = [CANARY, f"{CANARY}/with/slashes", f"a@{CANARY}@b", f"{CANARY}:1/x@y?z#w", f"%2F{CANARY}%40", f"ü{CANARY}"]
URLS = [
    *(
        "MLFLOW_TRACKING_URI",
        "MLFLOW_REGISTRY_URI",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
        "MLFLOW_S3_ENDPOINT_URL",
    ),
    *("PREFECT_API_URL", "PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_API_DATABASE_CONNECTION_URL"),
    *("HTTP_PROXY", "https_proxy", "ALL_PROXY", "HF_ENDPOINT", "DPO_STORE_URL", "ANYTHING_AT_ALL"),
]
VALUES = [
    *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "DATABRICKS_TOKEN"),
    *("PREFECT_API_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_CLIENT_SECRET"),
    *("AWS_BEARER_TOKEN_BEDROCK", "AZURE_STORAGE_ACCESS_KEY"),
]


def as_programs_write_them(url: str) -> Iterator[str]:
    """A URL in messages of the clients that we use: whole, as JSON, as repr, quoted, and taken apart in odd places."""
    yield from (url, repr(url), json.dumps({"url": url}), quote(url), quote_plus(url), f"{url}/api/2.0/mlflow/runs?x=1")
    yield f"HTTPConnectionPool: Failed to parse: {url!r}, label empty or too long"
    try:
        parsed = urlsplit(url)
    except ValueError:
        return
    yield f"netloc={parsed.netloc} path={parsed.path} query={parsed.query} fragment={parsed.fragment}"
    yield f"Max retries exceeded with url: {parsed.path}?{parsed.query}"
    yield f"user={parsed.username} password={parsed.password} {unquote(url)}"
    for ask in (lambda: requests.Request("GET", url).prepare(), lambda: httpx.URL(url), lambda: make_url(url).database):
        try:
            yield str(getattr(ask(), "url", ""))
        except Exception as error:
            yield f"{error!r} {error}"


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("name", URLS)
def test_a_password_in_an_address_is_struck_out_however_a_program_writes_it(name, password, monkeypatch):
    url = f"https://me:{password}@host.example:5000/base"
    monkeypatch.setenv(name, url)
    for text in as_programs_write_them(url):
        assert CANARY not in without_secrets(text), text
    assert "host.example:5000/base" in without_secrets(url)
    assert without_user(url) == "https://***@host.example:5000/base"


@pytest.mark.parametrize("key", ["token", "api_key", "sig", "X-Amz-Signature", "auth", "access_token"])
def test_a_token_in_the_query_of_an_address_is_struck_out(key, monkeypatch):
    url = f"https://host.example/base?{key}={CANARY}&page=2"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    for text in as_programs_write_them(url):
        assert CANARY not in without_secrets(text), text
    assert "page=2" in without_secrets(url)
    assert without_user(url) == "https://host.example/base"


def test_a_token_in_place_of_the_user_is_struck_out(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", f"https://{CANARY}@host.example")
    assert CANARY not in without_secrets(f"401 for {CANARY} at host.example")


@pytest.mark.parametrize("name", VALUES)
def test_the_value_of_every_secret_setting_is_struck_out(name, monkeypatch):
    monkeypatch.setenv(name, f"{CANARY}/x+y=")
    for text in (f"{CANARY}/x+y=", quote(f"{CANARY}/x+y=", safe=""), json.dumps({"it": f"{CANARY}/x+y="})):
        assert CANARY not in without_secrets(text)


def test_an_auth_string_and_headers_are_struck_out_in_parts_too(monkeypatch):
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", f"admin:{CANARY}")
    assert without_secrets(f"wrong password {CANARY}") == "wrong password ***"
    monkeypatch.setenv("PREFECT_CLIENT_CUSTOM_HEADERS", json.dumps({"X-Key": "abc-" + CANARY}))
    assert CANARY not in without_secrets(f"sent abc-{CANARY}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MLFLOW_TRACKING_URI", "sqlite:////home/a@b/mlflow.db"),
        ("DPO_STORE_URL", "s3://bucket/a@b"),
        ("DPO_HOME", "/home/me@work"),
        ("TOKENIZERS_PARALLELISM", "parallelism"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/secrets/token"),
        ("PREFECT_API_URL", "http://127.0.0.1:4200/api"),
    ],
)
def test_what_is_no_secret_stays_readable(name, value, monkeypatch):
    monkeypatch.setenv(name, value)
    assert without_secrets(f"at {value} it is") == f"at {value} it is"
    assert without_user(value) == value


def test_errors_of_the_edges_hold_no_secret(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:{CANARY}/x@host")
    url = os.environ["MLFLOW_TRACKING_URI"]
    error = InfraError(f"no answer from {url}", where=url, do=f"look at {url}")
    assert CANARY not in f"{error} {error!r} {error.says} {error.where} {error.do} {pickle.dumps(error)!r}"


@pytest.fixture
def masked(monkeypatch):
    """Log records as handlers get them, from a process in which everything is masked."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:{CANARY}/x@host")
    seen: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = seen.append
    made = logging.getLogRecordFactory()
    mask_everything()
    mask_everything()
    logger = logging.getLogger("somebody.elses")
    logger.addHandler(handler)
    yield logger, seen
    logger.removeHandler(handler)
    logging.setLogRecordFactory(made)


def everything_in(record: logging.LogRecord) -> str:
    return f"{vars(record)} {logging.Formatter().format(record)}"


def test_a_log_record_holds_no_secret_before_any_handler_sees_it(masked):
    logger, seen = masked
    url = os.environ["MLFLOW_TRACKING_URI"]
    logger.error("no answer from %s", url)
    logger.error(f"no answer from {url}")
    logger.error("two %s %s", url)  # arguments that do not fit
    try:
        try:
            raise ConnectionError(url)
        except ConnectionError as error:
            raise RuntimeError("told") from error
    except RuntimeError:
        logger.exception("failed", stack_info=True)
    assert len(seen) == 4
    assert CANARY not in "".join(everything_in(record) for record in seen)
    assert "ConnectionError: http://***@host" in logging.Formatter().format(seen[3])


def test_a_record_without_a_secret_is_left_as_it_is(masked):
    logger, seen = masked
    logger.warning("%d of %d", 1, 2)
    assert seen[0].args == (1, 2)


def test_prefects_states_hold_no_secret(masked):
    import asyncio

    from prefect._internal.states import exception_to_failed_state_sync
    from prefect.states import exception_to_crashed_state, exception_to_failed_state

    mask_everything()
    error = RuntimeError(os.environ["MLFLOW_TRACKING_URI"])
    told = [exception_to_failed_state_sync(error)]
    told += [asyncio.run(make(error)) for make in (exception_to_failed_state, exception_to_crashed_state)]
    assert [CANARY in state.message for state in told] == [False] * 3
    assert all("***@host" in state.message for state in told)
