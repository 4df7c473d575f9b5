"""Models behind endpoints, and how a model that judges or corrects is asked: there, or on this machine."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dpo_core.data.pairs import Message
from dpo_core.errors import InputError
from dpo_core.rewards.judge import Ask
from dpo_core.rewards.reward_file import ENDPOINT
from infra.endpoint.chat import ChatRefused, ChatRequest
from infra.endpoint.client import Endpoint
from infra.endpoint.spending import Budget
from infra.settings import load_settings
from infra.store.base import Store
from tasks.curate.records import CurationPlan, Reach
from tasks.runtime.models import local_model, require_usable

log = logging.getLogger("dpo.curate")
REPLY = 512  # tokens of a reply of a model on this machine
ENDLESS = 10**15  # calls or tokens: no limit was set


def open_endpoint(reach: Reach, store: Store, model: str) -> Endpoint:
    """The endpoint that `endpoint:NAME` means. What it spends counts for all runs of one scope."""
    named = reach.endpoints[model.removeprefix(ENDPOINT)]
    budget = Budget(calls=reach.budget.calls or ENDLESS, tokens=reach.budget.tokens or ENDLESS)
    return Endpoint(
        named.url,
        named.model,
        store,
        budget=budget,
        scope=reach.scope,
        api_key_env=named.api_key_env,
        at_once=named.at_once,
        timeout_s=named.timeout_s,
        retries=named.retries,
    )


def require_there(reach: Reach, store: Store, models: Iterable[str]) -> None:
    """Every endpoint among the models that a recipe names answers, before anything is spent."""
    for model in dict.fromkeys(models):
        if model.startswith(ENDPOINT):
            endpoint = open_endpoint(reach, store, model)
            endpoint.require_there()
            endpoint.close()


def ask_of(reach: Reach, store: Store, model: str, refused: list[str]) -> Ask:
    """Replies of a model to conversations, one each, by the likeliest tokens.

    None where a question is longer than a model of this machine reads, or an endpoint refuses it: then `refused` gets
    the reason, and what is made of such replies is not to be remembered, for the next run asks again.
    """
    if not model.startswith(ENDPOINT):
        return _local_ask(reach, model)
    named = reach.endpoints[model.removeprefix(ENDPOINT)]
    endpoint = open_endpoint(reach, store, model)

    def ask(conversations: Sequence[Sequence[Message]]) -> list[str | None]:
        replies: list[str | None] = [None] * len(conversations)
        requests = (
            ChatRequest(
                messages=list(messages),
                temperature=named.temperature,
                max_tokens=named.max_tokens,
                seed=reach.seed,
                extra=named.extra,
            )
            for messages in conversations
        )
        for index, reply in endpoint.replies(requests):
            if isinstance(reply, ChatRefused):
                refused.append(reply.reason)
            else:
                replies[index] = reply.texts[0]
        return replies

    return ask


def _local_ask(reach: Reach, model: str) -> Ask:
    """Of a model on this machine, which is loaded at the first question."""
    loaded: dict[str, Any] = {}

    def ask(conversations: Sequence[Sequence[Message]]) -> list[str | None]:
        from dpo_core.model.answers.answers import NoRoom, answers
        from dpo_core.model.answers.decoding import Decoding
        from dpo_core.model.encode import load_tokenizer
        from tasks.runtime.device import load_on_device

        if not loaded:
            folder = local_model(model, load_settings().home)
            require_usable(folder)
            loaded["model"] = load_on_device(folder, threads=reach.threads)
            loaded["tokenizer"] = load_tokenizer(folder)
        replies: list[str | None] = [None] * len(conversations)

        def refuse(number: int, why: InputError) -> None:
            if not isinstance(why, NoRoom):
                raise why  # a template that refuses one question refuses all
            log.warning("question_too_long model=%s question=%d of=%d", model, number + 1, len(conversations))

        model_and_tokenizer = loaded["model"], loaded["tokenizer"]
        for answer in answers(*model_and_tokenizer, conversations, decoding=Decoding(REPLY), refuse=refuse):
            replies[answer.prompt] = answer.text
        return replies

    return ask


def endpoint_path(plan: CurationPlan, decoding: Mapping[str, Any]) -> dict[str, Any]:
    """All that decides the answers of a model behind an endpoint, as far as this side knows."""
    named = plan.curation.endpoints[plan.model.removeprefix(ENDPOINT)]
    extra = {"extra": named.extra} if named.extra else {}
    return {"endpoint": named.url, "model": named.model, **decoding, **extra}
