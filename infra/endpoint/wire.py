"""One try of one call, over HTTP by the openai package: what comes back, or a TryFailed that says what went wrong."""

import json
import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from infra.endpoint.failures import (
    Failure,
    Fault,
    TryFailed,
    failure_of_connection,
    failure_of_nonsense,
    failure_of_schema,
    failure_of_status,
)
from infra.errors import BadSetting
from infra.secrets import count_as_secret

if TYPE_CHECKING:
    import openai

CONNECT_S = 10.0  # seconds that a connection may take, where `timeout_s` is not less
LARGEST = 64 << 20  # bytes of an answer
UNLISTED = (404, 405, 500, 501)  # to the question for models; `transformers serve` fails (500) where HF_HOME is empty
NO_KEY = "none"  # the openai package wants one; it is not sent


class Completion(NamedTuple):
    """The choices of one answer: a text and a finish reason each. Tokens None: not told."""

    texts: list[str]
    finish_reasons: list[str]
    prompt_tokens: int | None
    completion_tokens: int | None


class Wire:
    """A connection to one endpoint, for many threads. The key is read from the environment, and sent to it alone."""

    def __init__(self, url: str, *, api_key_env: str, timeout_s: float, at_once: int) -> None:
        import httpx2
        import openai

        self.url, self.api_key_env, self.timeout_s = url, api_key_env, timeout_s
        key = _key(api_key_env)
        http = openai.DefaultHttpxClient(
            timeout=httpx2.Timeout(timeout_s, connect=min(timeout_s, CONNECT_S)),
            limits=httpx2.Limits(max_connections=at_once + 1),
            follow_redirects=False,  # the key is for this address
        )
        self._headers: dict[str, str | openai.Omit] = {} if key else {"Authorization": openai.Omit()}
        self._client = openai.OpenAI(api_key=key or NO_KEY, base_url=url, max_retries=0, http_client=http)

    def ask(self, body: dict[str, Any], idempotency_key: str) -> Completion:
        """One POST to /chat/completions. Raises TryFailed."""
        import openai

        headers = {**self._headers, "Idempotency-Key": idempotency_key, "Accept": "application/json"}
        try:
            asked = self._client.chat.completions.with_streaming_response
            extra = {name: value for name, value in body.items() if name not in ("model", "messages")}
            with asked.create(
                model=body["model"], messages=body["messages"], extra_body=extra, extra_headers=headers
            ) as response:
                text = self._whole(response)
                content_type = response.headers.get("content-type", "")
        except openai.APIError as error:
            raise TryFailed(self._failure(error)) from None
        return _read(text, content_type)

    def models(self) -> list[str] | None:
        """What the endpoint says it serves; None if it does not say. Raises TryFailed."""
        import openai

        try:
            with self._client.models.with_streaming_response.list(
                extra_headers=self._headers, timeout=min(self.timeout_s, CONNECT_S)
            ) as response:
                text, content_type = self._whole(response), response.headers.get("content-type", "")
        except openai.APIStatusError as error:
            if error.status_code in UNLISTED:
                return None
            raise TryFailed(self._failure(error)) from None
        except openai.APIError as error:
            raise TryFailed(self._failure(error)) from None
        listed = _json(text, content_type).get("data")
        if not isinstance(listed, list):
            return None
        return sorted(str(entry["id"]) for entry in listed if isinstance(entry, dict) and "id" in entry)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _whole(self, response: "openai.APIResponse[Any]") -> str:
        """The body, read for `timeout_s` at most: a server that sends a byte now and then has no end."""
        import httpx2

        deadline, parts, size = time.monotonic() + self.timeout_s, [], 0
        try:
            for part in response.iter_bytes():
                parts.append(part)
                size += len(part)
                if time.monotonic() > deadline:
                    raise TryFailed(failure_of_connection(TimeoutError(), self.timeout_s))
                if size > LARGEST:
                    says = f"the endpoint's answer is longer than {LARGEST >> 20} MiB"
                    raise TryFailed(Failure(says, Fault.REQUEST, lost=True))
        except httpx2.RequestError as error:
            raise TryFailed(failure_of_connection(error, self.timeout_s)) from None
        return b"".join(parts).decode("utf-8", "replace")

    def _failure(self, error: "openai.APIError") -> Failure:
        import openai

        if isinstance(error, openai.APIStatusError):
            return failure_of_status(error, self.api_key_env)
        return failure_of_connection(error, self.timeout_s)


def _key(variable: str) -> str:
    """The key, "" if there is none. It is struck out of every message from now on. Raises BadSetting."""
    count_as_secret(variable)
    key = os.environ.get(variable, "").strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        do = "set it to the key alone, without quotes, spaces or line ends"
        raise BadSetting("the key holds a character that no key has", where=f"environment, {variable}", do=do)
    return key


def _json(text: str, content_type: str) -> dict[str, object]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise TryFailed(failure_of_nonsense(text, content_type))
    return document


def _read(text: str, content_type: str) -> Completion:
    """The answers in a chat completion. An endpoint may leave out what nobody can do without, or add to it."""
    document = _json(text, content_type)
    choices = document.get("choices")
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise TryFailed(failure_of_schema(document, "it has no list of choices"))
    if all(isinstance(choice.get("index"), int) for choice in choices):
        choices = sorted(choices, key=lambda choice: choice["index"])
    read = [_choice(choice, document) for choice in choices]
    usage = document.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    prompt, completion = (_count(counts.get(name)) for name in ("prompt_tokens", "completion_tokens"))
    return Completion([text for text, _ in read], [reason for _, reason in read], prompt, completion)


def _choice(choice: dict[str, object], document: dict[str, object]) -> tuple[str, str]:
    """Text and finish reason; a refusal in words is a reason, its words are no answer."""
    message, reason = choice.get("message"), str(choice.get("finish_reason") or "")
    if not isinstance(message, dict):
        raise TryFailed(failure_of_schema(document, "a choice has no message"))
    content = message.get("content")
    if isinstance(content, list):  # in parts
        content = "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    if content is not None and not isinstance(content, str):
        raise TryFailed(failure_of_schema(document, "a message's content is no text"))
    if message.get("refusal") and not content:
        return "", "refusal"
    if message.get("tool_calls") and not content:
        return "", "tool_calls"
    return content or "", reason


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
