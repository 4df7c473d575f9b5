"""What went wrong with one try of a call: in words, and whether a new try, another request or set-up helps."""

import re
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import TYPE_CHECKING

from infra.secrets import without_secrets

if TYPE_CHECKING:
    import openai

SHOWN = 300  # characters of what a server said
BUSY = (408, 409, 425, 429)  # with 500 and more: the same may go through a little later
AWAY = (429, 503, 529)  # no fault of the request: it was turned away before anything was done
ABOUT_N = re.compile(r"""['"`]n['"`]|\bn\s*(?:=|>|<|:|must|should|is|parameter)|\bbest_of\b""")
NO_MODEL = ("model_not_found", "invalid_model", "model_not_available")
UNPAID = ("insufficient_quota", "billing_hard_limit_reached", "credit_exhausted")
TLS_SET_UP = ("WRONG_VERSION_NUMBER", "CERTIFICATE_VERIFY_FAILED", "UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS_AVAILABLE")
HTML = re.compile(r"\s*(?:<!doctype html|<html|<head|<body)", re.IGNORECASE)
ADDRESS = "is the address that of the API? Mostly it ends in /v1"


class Fault(Enum):
    """Who has to change so that it goes through."""

    NOW = "the moment: the same a little later may go through"
    REQUEST = "this request; others may go through"
    SETUP = "address, model, key or account: no request goes through"


@dataclass(frozen=True)
class Failure:
    """One failed try. `lost`: it may have been worked on, and billed. `several`: it asked for more than one answer."""

    says: str
    fault: Fault
    do: str = "look into the endpoint's log, then run the same command again: what was paid for is kept"
    lost: bool = False
    away: bool = False  # no fault of the request for certain
    several: bool = False
    no_model: bool = False
    denied: bool = False  # a key that other requests went through with: then it is the request
    after_s: float = 0.0  # not to be tried again sooner


class TryFailed(Exception):
    """Raised by one try of a call; never leaves the room."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.says)
        self.failure = replace(failure, says=without_secrets(failure.says))


def failure_of_status(error: "openai.APIStatusError", key_name: str) -> Failure:
    """Of an answer that is no success."""
    status, headers = error.status_code, error.response.headers
    said, code = _said(error.body), str(error.code or error.type or "")
    says = f"the endpoint answers {status}" + (f": {said}" if said else "")
    if 300 <= status < 400:
        to = headers.get("location", "").partition("?")[0]
        return Failure(f"{says}: moved to {to}", Fault.SETUP, "write the address that it was moved to")
    if status == 402 or code in UNPAID:
        return Failure(says, Fault.SETUP, "top up the account, then run the same command again", away=True)
    if status in BUSY or status >= 500:
        do = "wait, or ask with fewer calls at once; then run the same command again" if status == 429 else Failure.do
        lost, away = status >= 500 and status not in AWAY, status in AWAY
        return Failure(says, Fault.NOW, do, lost=lost, away=away, after_s=_after_s(headers))
    if status in (401, 403):
        do = f"put a key that this endpoint takes into the environment variable {key_name}"
        return Failure(says, Fault.SETUP, do, denied=status == 403)
    if status in (404, 405) or code in NO_MODEL:
        return Failure(says, Fault.SETUP, ADDRESS, no_model=True)
    several = status in (400, 422, 501) and (error.param == "n" or bool(ABOUT_N.search(said)))
    return Failure(says, Fault.REQUEST, several=several)


def failure_of_connection(error: BaseException, timeout_s: float) -> Failure:
    """Of a try that got no answer, or a part of one."""
    import httpx2

    chain = list(_causes(error))
    for cause in chain:
        if isinstance(cause, ssl.SSLError) and any(sign in str(cause).upper() for sign in TLS_SET_UP):
            do = "https:// for a server that speaks TLS, http:// for one that does not; SSL_CERT_FILE names an own CA"
            return Failure(f"no TLS connection: {cause.reason or cause}", Fault.SETUP, do)
    unsent = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)
    if any(isinstance(cause, unsent) for cause in chain):
        do = "start it, or check address, port, DNS and proxy; then run the same command again"
        return Failure(f"the endpoint is away: {_last_words(chain)}", Fault.NOW, do, away=True)
    if any(isinstance(cause, (httpx2.TimeoutException, TimeoutError)) for cause in chain):
        do = "raise timeout_s, or ask for fewer tokens; then run the same command again"
        return Failure(f"no whole answer within {timeout_s:g} s", Fault.NOW, do, lost=True)
    return Failure(f"the connection broke before the answer was whole: {_last_words(chain)}", Fault.NOW, lost=True)


def failure_of_nonsense(body: str, content_type: str) -> Failure:
    """Of a success that holds no JSON object."""
    if HTML.match(body) or "html" in content_type:
        says = f"the endpoint answers with a page of HTML: {_start(re.sub('<[^>]*>', ' ', body))}"
        return Failure(says, Fault.SETUP, ADDRESS, lost=True)
    kind = "nothing" if not body.strip() else f"what is no JSON object: {_start(body)}"
    return Failure(f"the endpoint answers with {kind}", Fault.NOW, lost=True)


def failure_of_schema(document: Mapping[str, object], what: str) -> Failure:
    """Of a JSON object that is no chat completion; some gateways send errors as successes."""
    error = document.get("error")
    if isinstance(error, dict):
        code = str(error.get("code", ""))
        busy = code.isdigit() and (int(code) in BUSY or int(code) >= 500)
        return Failure(f"the endpoint answers with an error: {_said(error)}", Fault.NOW if busy else Fault.REQUEST)
    says = f"the endpoint's answer is no chat completion, {what}: {_start(str(dict(document)))}"
    return Failure(says, Fault.REQUEST, lost=True)


def _said(body: object) -> str:
    """The server's own words, from the shapes in which servers put them."""
    for _ in range(3):
        if not isinstance(body, dict):
            break
        body = next((body[name] for name in ("message", "detail", "error", "msg") if body.get(name)), str(body))
    text = "" if body is None else str(body)
    return "a page of HTML" if HTML.match(text) else _start(text)


def _start(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= SHOWN else f"{words[:SHOWN]}..."


def _after_s(headers: Mapping[str, str]) -> float:
    """Retry-After, in seconds or as a date; 0 where there is none that can be read."""
    try:
        if milliseconds := headers.get("retry-after-ms"):
            return max(0.0, float(milliseconds) / 1000)
        given = headers.get("retry-after", "0")
        seconds = (
            float(given) if given.strip()[:1].isdigit() else parsedate_to_datetime(given).timestamp() - time.time()
        )
    except (ValueError, TypeError):
        return 0.0
    return max(0.0, seconds) if seconds == seconds else 0.0


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _last_words(chain: list[BaseException]) -> str:
    """What the innermost cause says that says anything."""
    return _start(next((str(cause) for cause in reversed(chain) if str(cause)), type(chain[0]).__name__))
