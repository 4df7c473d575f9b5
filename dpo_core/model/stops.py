"""Where an answer ends: one set of tokens for training, evaluation, chat and serving."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dpo_core.errors import InputError
from dpo_core.model.folder.files import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

GENERATION = "generation_config.json"


def stop_tokens(named: int | Sequence[int] | None, tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """The ids that end an answer, sorted: those `named` by the model, the tokenizer's own, the template's.

    Gemma and Phi end a turn with another token than their tokenizer's end of text; their models name both.
    """
    from_model = [named] if isinstance(named, int) else list(named or ())
    return sorted({*from_model, int(tokenizer.eos_token_id), *_template_ends(tokenizer)})


def named_ends(folder: Path) -> list[int]:
    """The ids that the model's files name: its generation config, or where that names none its configuration."""
    for name in (GENERATION, "config.json"):
        values = _values(folder / name)
        for part in (values, values.get("text_config")):
            found = part.get("eos_token_id") if isinstance(part, dict) else None
            ids = found if isinstance(found, list) else [] if found is None else [found]
            if not all(type(number) is int and number >= 0 for number in ids):
                do = "write the number of the token that ends a turn, or a list of such numbers"
                raise InputError(f"eos_token_id is {found}", where=str(folder / name), do=do)
            if ids:
                return sorted(set(ids))
    return []


def generation_values(folder: Path) -> dict[str, object]:
    """How the authors of a model would have it decoded; empty if they do not say. We use the ends of it alone."""
    return _values(folder / GENERATION)


def _values(file: Path) -> dict[str, object]:
    return read_json(file) if file.is_file() else {}


def _template_ends(tokenizer: "PreTrainedTokenizerBase") -> set[int]:
    """The tokens that stand behind an answer in a training row; none without a template, or if it refuses a turn."""
    from dpo_core.data.pairs import Message, Pair
    from dpo_core.model.encode import encode_pairs
    from dpo_core.recipe import Encoding

    if not tokenizer.chat_template:
        return set()
    asked, yes, no = (
        (Message(role=role, content=text),)
        for role, text in (("user", "Say yes."), ("assistant", "yes"), ("assistant", "no"))
    )
    ends: set[int] = set()
    tokens = {*tokenizer.added_tokens_decoder, *tokenizer.all_special_ids}
    for row in encode_pairs([Pair(asked, yes, no)], tokenizer, Encoding(max_length=1 << 20)).encoded:
        for token in reversed(row.chosen_ids):
            if token in tokens:
                ends.add(token)
            elif str(tokenizer.decode([token])).strip():
                break
    return ends
