"""The model in training as one that answers, and the frozen model that its answers are held against.

The reference of a LoRA is the model with its adapters off, and takes no memory; any other is a second model beside the
one in training, in fp32.
"""

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dpo_core.curate.prompts import PromptItem
from dpo_core.data.pairs import EncodedPair
from dpo_core.errors import InputError
from dpo_core.model.answers.answers import answers
from dpo_core.model.answers.decoding import Answer, Decoding
from dpo_core.model.attention import segment_attention
from dpo_core.model.chat_template import ChatTemplate
from dpo_core.model.encode import encode_prompt
from dpo_core.model.load import load_model
from dpo_core.model.logprobs import Scorer, plain_model
from dpo_core.model.modes import scoring
from dpo_core.model.score import score_with
from tasks.records import OnlineOrder, WorkOrder

Response = tuple[tuple[int, ...], tuple[int, ...]]
Frozen = AbstractContextManager[Scorer | None]


class Learner:
    """`policy` with its `scorer`, and how it computed attention before it was made one."""

    def __init__(
        self,
        policy: torch.nn.Module,
        scorer: Scorer,
        attention: str,
        tokenizer: PreTrainedTokenizerBase,
        order: WorkOrder,
    ) -> None:
        assert order.online is not None, "the run answers prompts"
        self._policy, self._scorer, self._attention, self.tokenizer = policy, scorer, attention, tokenizer
        self._curation, self._day = order.online.plan.curation, order.online.encoding.date
        self._dtype = order.training.dtype

    def answers(self, items: Sequence[PromptItem], seed: int) -> tuple[list[list[Answer]], dict[int, str]]:
        """Of each prompt its answers in the order of their samples; and why some have none, by place."""
        how, refused = self._curation.answers, dict[int, str]()
        decoding = Decoding(how.max_new_tokens, self._curation.temperature, how.top_p, seed)
        found: list[list[Answer]] = [[] for _ in items]

        def refuse(place: int, why: InputError) -> None:
            refused[place] = why.says

        with self._as_it_answers() as model:
            for answer in answers(
                model,
                self.tokenizer,
                [item.prompt for item in items],
                decoding=decoding,
                samples=self._curation.samples,
                day=self._day,
                refuse=refuse,
            ):
                found[answer.prompt].append(answer)
        return [sorted(of_one, key=lambda answer: answer.sample) for of_one in found], refused

    def response(self, item: PromptItem, answer: Answer) -> Response:
        """A prompt and an answer to it as the ids that were drawn, without the end."""
        template = ChatTemplate(self.tokenizer, self._day)
        return tuple(encode_prompt(item.prompt, self.tokenizer, template=template)), answer.ids

    def logps(self, responses: Sequence[Response]) -> list[Tensor]:
        """Nats of each token of each response, fp32, under the model as it is now."""
        return _scored(self._scorer, responses, self._dtype)

    def reference_logps(self, responses: Sequence[Response], frozen: Scorer | None) -> list[Tensor]:
        """The same under the reference: `frozen`, or this model without its adapters."""
        if frozen is not None:
            return _scored(frozen, responses, self._dtype)
        without: Any = self._policy
        with without.disable_adapter():
            return _scored(self._scorer, responses, self._dtype)

    @contextlib.contextmanager
    def _as_it_answers(self) -> Iterator[PreTrainedModel]:
        model = plain_model(self._policy)
        training = model.training  # adapters say they train where the model around them does not
        bf16 = self._dtype == "bfloat16"
        self._policy.eval()  # recomputes nothing, where gradients are checkpointed
        try:
            with (
                segment_attention(model, self._attention),
                torch.autocast(model.device.type, torch.bfloat16, enabled=bf16),
            ):
                yield model
        finally:
            self._policy.train(training)


def frozen_reference(order: WorkOrder, online: OnlineOrder, device: torch.device) -> Frozen:
    """A second model, where the one in training cannot be its own reference; entered once."""
    training = order.training
    if training.reference_free or (training.lora is not None and order.from_reference):
        return contextlib.nullcontext()
    model = load_model(Path(online.reference_folder), trusted_code=order.trusted_code)
    model.requires_grad_(False)
    model.to(device)  # type: ignore[arg-type]
    model.eval()
    return cast(Frozen, scoring(model))


def responses_of(pairs: Sequence[EncodedPair]) -> list[Response]:
    """Chosen and rejected in turn."""
    return [(pair.prompt_ids, answer) for pair in pairs for answer in (pair.chosen_ids, pair.rejected_ids)]


def _scored(scorer: Scorer, responses: Sequence[Response], dtype: str) -> list[Tensor]:
    found = dict(score_with(scorer, responses, dtype=dtype))
    return [found[place] for place in range(len(responses))]
