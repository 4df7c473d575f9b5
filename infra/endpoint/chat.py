"""What is asked and what comes back, as plain data; a call's digest names it in every record."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple
from urllib.parse import urlsplit

from infra.errors import BadSetting

OWN = {"model", "messages", "n", "stream"}  # not for `extra`
OPTIONAL = {"seed", "temperature", "top_p", "max_tokens"}  # there as None alone
BYTES_A_TOKEN = 3  # of UTF-8: most texts have more, so that an estimate is seldom too low
TOKENS_A_MESSAGE = 8  # of a chat template, about


@dataclass(frozen=True)
class ChatRequest:
    """`samples` answers to `messages`; None leaves a parameter out, also in `extra`, for endpoints that refuse it.

    `max_tokens` is of one answer. `extra` goes into the body as it is (`stop`, `response_format`, ...); an endpoint
    that knows `max_completion_tokens` alone gets it there, and no `max_tokens`. Raises BadSetting.
    """

    messages: Sequence[Mapping[str, object]]
    samples: int = 1
    temperature: float | None = 0.0
    top_p: float | None = 1.0
    max_tokens: int = 512
    seed: int | None = 0
    extra: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        wrong = [
            *(["no messages"] if not self.messages else []),
            *([f"samples {self.samples}"] if self.samples < 1 else []),
            *([f"max_tokens {self.max_tokens}"] if self.max_tokens < 1 else []),
            *([f"temperature {self.temperature}"] if not _within(self.temperature, 0.0, math.inf) else []),
            *([f"top_p {self.top_p}"] if not _within(self.top_p, 0.0, 1.0) else []),
            *(f"extra names {name}, which has a place of its own" for name in sorted(self._misplaced)),
        ]
        if wrong:
            do = "ask with samples and max_tokens of 1 or more, temperature of 0 or more, top_p of 0 to 1"
            raise BadSetting(f"this cannot be asked: {', '.join(wrong)}", where="request to an endpoint", do=do)

    @property
    def most_tokens(self) -> int:
        """Of one answer."""
        limit = self.extra.get("max_completion_tokens")
        return limit if isinstance(limit, int) else self.max_tokens

    @property
    def _misplaced(self) -> set[str]:
        return {name for name, value in self.extra.items() if name in OWN or (name in OPTIONAL and value is not None)}


class ChatReply(NamedTuple):
    """The answers in the order of their samples, one finish reason for each; tokens of all calls that it took.

    An answer without text is "", its finish reason tells why: content_filter, refusal, tool_calls, length, or "" where
    the endpoint gave none. Tokens are None where the endpoint did not count them.
    """

    texts: list[str]
    prompt_tokens: int | None
    completion_tokens: int | None
    finish_reasons: list[str]


class ChatRefused(NamedTuple):
    """The endpoint gives no answers to this request; others may go through. The reason holds no secret."""

    reason: str


@dataclass(frozen=True)
class Call:
    """One HTTP request's worth: `count` samples of a request from sample `offset` on, its call `number`."""

    url: str
    model: str
    request: ChatRequest
    number: int
    offset: int
    count: int

    @cached_property
    def body(self) -> dict[str, object]:
        """What is sent. The seed depends on the request's, on `offset` and `number`: no two calls draw alike."""
        request = self.request
        given = {
            "temperature": request.temperature,
            "top_p": request.top_p,
            "max_tokens": None if "max_completion_tokens" in request.extra else request.max_tokens,
            "seed": None if request.seed is None else _seed(request.seed, self.offset, self.number),
            "n": self.count if self.count > 1 else None,  # servers that know no `n` need not be asked for one
        }
        messages = [dict(message) for message in request.messages]
        whole = {"model": self.model, "messages": messages, **given, **request.extra}
        return {name: value for name, value in whole.items() if value is not None}

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the address, everything that is sent, and which samples of the request these are."""
        seed, place = self.request.seed, [self.number, self.offset, self.count]
        whole = {"url": self.url, "body": self.body, "seed": seed, "place": place}
        text = json.dumps(whole, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def most_tokens(self) -> int:
        """What the call may take: the prompt as estimated, and the longest answer for each sample."""
        return prompt_estimate(self.request.messages) + self.count * self.request.most_tokens


def prompt_estimate(messages: Sequence[Mapping[str, object]]) -> int:
    """Tokens of a prompt, by its bytes; on the high side for most languages."""
    return sum(TOKENS_A_MESSAGE + text_estimate(str(message.get("content") or "")) for message in messages)


def text_estimate(text: str) -> int:
    """Tokens of a text, by its bytes."""
    return math.ceil(len(text.encode("utf-8", "surrogatepass")) / BYTES_A_TOKEN)


def checked_url(url: str) -> str:
    """`url` as digests have it, without a slash at its end. Raises BadSetting where it is none, or holds a secret."""
    try:
        parts = urlsplit(url)
        good, bare = parts.scheme in ("http", "https") and bool(parts.hostname), parts.port is None or parts.port > 0
    except ValueError:
        good = bare = False
    if not (good and bare):
        do = "write it like https://host/v1 or http://127.0.0.1:8000/v1"
        raise BadSetting("this is no address of an endpoint", where=url, do=do)
    if parts.username or parts.password or parts.query or parts.fragment:
        do = "leave user, password, query and fragment out; put the key into an environment variable"
        raise BadSetting("an endpoint's address holds no credentials", where=_bare(url), do=do)
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def _bare(url: str) -> str:
    """`url` without anything that could be a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _seed(seed: int, offset: int, number: int) -> int:
    """31 bits: servers take a signed integer of 32 or 64."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{offset}/{number}".encode()).digest()[:4], "big") >> 1


def _within(value: float | None, low: float, high: float) -> bool:
    return value is None or (low <= value <= high and math.isfinite(value))
