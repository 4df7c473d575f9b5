"""Whether the ids that a tokenizer can give have a row in the model's embeddings."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpo_core.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def require_embedded(tokenizer: "PreTrainedTokenizerBase", rows: int, folder: Path) -> None:
    """Raise InputError for a token that can come up and has no row of the `rows` embeddings.

    A special token that neither the template nor the tokenizer writes cannot come up: in a message it stays text.
    """
    try:
        tokenizer("Who are you?")
    except Exception as error:
        says = f"the tokenizer cannot be used: {type(error).__name__}: {error}"
        raise InputError(says, where=str(folder), do="take the tokenizer files of the published model") from None
    beyond = {token: number for token, number in tokenizer.get_vocab().items() if number >= rows}
    if not beyond:
        return
    special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    written = {tokenizer.eos_token, tokenizer.bos_token, *_rendered(tokenizer)}
    used = {token: number for token, number in beyond.items() if token not in special or token in written}
    if used:
        last = max(used, key=lambda token: used[token])
        raise InputError(
            f"the tokenizer gives ids up to {used[last]} ({last!r}), the model has {rows} embeddings",
            where=str(folder),
            do="take the model's own tokenizer, or resize the embeddings (model.resize_token_embeddings), train the "
            "new rows and save it again",
        )


TALKS = (
    [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
    [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}],
)


def _rendered(tokenizer: Any) -> set[str]:
    """Tokens that the chat template writes around a talk."""
    found: set[str] = set()
    for talk in TALKS if tokenizer.chat_template else ():
        with contextlib.suppress(Exception):  # a template without a system turn, say
            ids = tokenizer.apply_chat_template(talk, add_generation_prompt=True, return_dict=False)
            found.update(tokenizer.convert_ids_to_tokens(ids))
    return found
