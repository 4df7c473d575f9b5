"""Who answers prompts: a model of this machine, or one behind an endpoint; both by the same interface."""

from collections.abc import Collection, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from dpo_core.curate.prompts import PromptItem
from dpo_core.errors import InputError
from dpo_core.model.identity import numeric_path
from dpo_core.rewards.reward_file import ENDPOINT
from infra.endpoint.chat import ChatRefused, ChatRequest
from infra.store.base import Store
from tasks.curate.answer_store import REFUSED, StoredAnswer
from tasks.curate.endpoints import endpoint_path, open_endpoint
from tasks.curate.records import CurationPlan

Sample = tuple[str, int]  # digest of a prompt, number of the sample


class Answerer(Protocol):
    """Answers prompts. `path`: all that decides a text. `refusals_last`: whether a prompt is refused for good."""

    path: dict[str, object]
    refusals_last: bool

    def draw(self, items: Sequence[PromptItem], missing: Collection[Sample]) -> Iterator[StoredAnswer]:
        """The missing samples of these prompts, as they end; a prompt without answers gives its reason (REFUSED)."""


def answerer_of(plan: CurationPlan, store: Store) -> Answerer:
    """By the recipe's `model`; nothing is loaded before the first answer is drawn."""
    return BehindEndpoint(plan, store) if plan.model.startswith(ENDPOINT) else OnThisMachine(plan)


def _decoding(plan: CurationPlan) -> dict[str, Any]:
    curation = plan.curation
    how = {"temperature": curation.temperature, "top_p": curation.answers.top_p, "seed": curation.seed}
    return {**how, "max_new_tokens": curation.answers.max_new_tokens}


class OnThisMachine:
    """A model folder, on the GPU where there is one."""

    refusals_last = True

    def __init__(self, plan: CurationPlan) -> None:
        from tasks.runtime.device import device_name

        self._plan = plan
        dtype = plan.curation.answers.dtype
        where = numeric_path(model_sha256=plan.model_sha256, dtype=dtype, device=device_name(), threads=plan.threads)
        day = plan.curation.encoding.date
        made = {"tokenizer": plan.tokenizer_sha256, "day": day, "transformers": version("transformers")}
        self.path: dict[str, object] = {**where, **made, **_decoding(plan)}

    def draw(self, items: Sequence[PromptItem], missing: Collection[Sample]) -> Iterator[StoredAnswer]:
        """See Answerer."""
        import torch

        from dpo_core.model.answers.answers import answers
        from dpo_core.model.answers.decoding import Decoding
        from dpo_core.model.encode import load_tokenizer
        from tasks.runtime.device import load_on_device

        plan, refused = self._plan, list[StoredAnswer]()
        folder = Path(plan.model_folder)
        model = load_on_device(folder, threads=plan.threads, trusted_code=plan.trusted_code)
        tokenizer = load_tokenizer(folder, trusted_code=plan.trusted_code)

        def refuse(number: int, why: InputError) -> None:
            refused.append(StoredAnswer(prompt=items[number].key, sample=REFUSED, text=why.says))

        numbers = {item.key: number for number, item in enumerate(items)}
        bf16 = plan.curation.answers.dtype == "bfloat16"
        with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
            found = answers(
                model,
                tokenizer,
                [item.prompt for item in items],
                decoding=Decoding(**_decoding(plan)),
                samples=plan.curation.samples,
                wanted={(numbers[key], sample) for key, sample in missing},
                day=plan.curation.encoding.date,
                refuse=refuse,
            )
            yield from refused
            for answer in found:
                yield StoredAnswer(
                    prompt=items[answer.prompt].key,
                    sample=answer.sample,
                    text=answer.text,
                    tokens=answer.tokens,
                    ended=answer.ended,
                )


class BehindEndpoint:
    """A model behind an OpenAI-compatible endpoint; what was paid for is in the record of calls."""

    refusals_last = False  # a timeout, a limit that its owner may raise

    def __init__(self, plan: CurationPlan, store: Store) -> None:
        self._plan, self._store = plan, store
        self.path = endpoint_path(plan, {**_decoding(plan), "samples": plan.curation.samples})

    def draw(self, items: Sequence[PromptItem], missing: Collection[Sample]) -> Iterator[StoredAnswer]:
        """See Answerer. All samples of a prompt are one request, which is found whole where it was paid for."""
        answers, samples = self._plan.curation.answers, self._plan.curation.samples
        keys = {key for key, _ in missing}
        asked = [item for item in items if item.key in keys]
        extra = self._plan.curation.endpoints[self._plan.model.removeprefix(ENDPOINT)].extra
        requests = (
            ChatRequest(
                messages=list(item.prompt),
                samples=samples,
                temperature=self._plan.curation.temperature,
                top_p=answers.top_p,
                max_tokens=answers.max_new_tokens,
                seed=self._plan.curation.seed,
                extra=extra,
            )
            for item in asked
        )
        endpoint = open_endpoint(self._plan.reach, self._store, self._plan.model)
        for index, reply in endpoint.replies(requests):
            key = asked[index].key
            if isinstance(reply, ChatRefused):
                yield StoredAnswer(prompt=key, sample=REFUSED, text=reply.reason)
                continue
            for number, (text, reason) in enumerate(zip(reply.texts, reply.finish_reasons, strict=True)):
                if (key, number) in missing:
                    yield StoredAnswer(prompt=key, sample=number, text=text.strip(), ended=reason != "length")
        endpoint.close()
