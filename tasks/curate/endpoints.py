"""Models behind endpoints, and how a model that judges or corrects is asked: there, or on this machine."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dpo_core.data.pairs import Message
from dpo_core.rewards.judge import Ask
from dpo_core.rewards.reward_file import ENDPOINT
from infra.endpoint.chat import ChatRefused, ChatRequest
from infra.endpoint.client import Endpoint
from infra.endpoint.spending import Budget
from infra.settings import load_settings
from infra.store.base import Store
from tasks.curate.records import CurationPlan, Reach
from tasks.runtime.models import local_model, require_usable

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
    """Replies of a model to conversations, one each, by the likeliest tokens; None where an endpoint refuses one.

    `refused` gets its reason: what is made of such replies is not to be remembered, the next run asks again.
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
        from dpo_core.model.answers.answers import texts
        from dpo_core.model.encode import load_tokenizer
        from tasks.runtime.device import load_on_device

        if not loaded:
            folder = local_model(model, load_settings().home)
            require_usable(folder)
            loaded["model"] = load_on_device(folder, threads=reach.threads)
            loaded["tokenizer"] = load_tokenizer(folder)
        return list(texts(loaded["model"], loaded["tokenizer"], conversations, max_new_tokens=REPLY))

    return ask


def endpoint_path(plan: CurationPlan, decoding: Mapping[str, Any]) -> dict[str, Any]:
    """All that decides the answers of a model behind an endpoint, as far as this side knows."""
    named = plan.curation.endpoints[plan.model.removeprefix(ENDPOINT)]
    return {"endpoint": named.url, "model": named.model, **decoding}
