"""Some rows as they are trained on, token by token: what the model reads, and what it is trained to write."""

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

from pydantic import Field

from dpo_core.data.pairs import Pair
from dpo_core.data.readers import stream_rows
from dpo_core.errors import InputError
from dpo_core.recipe_file import load_recipe, looks_like_recipe, recipe_of_pairs
from dpo_core.records import Document, Record
from infra.settings import load_settings
from tasks.data_check.rows import taken
from tasks.runtime.models import local_model
from tasks.runtime.sources import local_source

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Token(Record):
    """One token."""

    id: int = Field(description="its id")
    text: str = Field(description="as the tokenizer writes it")
    special: bool = Field(description="a token of its own (a template's mark), not a piece of text")


class TokenRow(Record):
    """One pair as it is trained on."""

    where: str = Field(description="file and row")
    context: list[Token] = Field(description="the prompt: read, not trained on")
    chosen: list[Token] = Field(description="trained on, up to the end of the turn")
    rejected: list[Token] = Field(description="the same of the other answer")


class RefusedRow(Record):
    """A pair that has no ids."""

    where: str = Field(description="file and row")
    reason: str = Field(description="why not")


class TokenRows(Document):
    """`dpo check DATA --show-ids N`: the first pairs, token by token."""

    rows: list[TokenRow] = Field(description="pairs that can be used")
    refused: list[RefusedRow] = Field(description="pairs that the tokenizer or its template cannot write")


def token_rows(data: str, model: str | None, count: int, overrides: Sequence[str] = ()) -> TokenRows:
    """The first `count` pairs of `data`, or of the recipe that it names, encoded as a run does. Raises InputError."""
    from dpo_core.model.encode import encode_pairs, load_tokenizer
    from dpo_core.model.remote_code import trusted_code

    settings = load_settings()
    if looks_like_recipe(data):
        recipe = load_recipe(data, overrides).recipe
        model = model or recipe.model
    else:
        recipe = recipe_of_pairs(data, None, model, [], overrides)
    if model is None:
        raise InputError(
            "--show-ids needs a tokenizer, and no model is named", where=data, do="add --model, or name a recipe"
        )
    data, turns, pin = recipe.data.train, recipe.data.text == "turns", recipe.trust_remote_code
    folder = local_model(model, settings.home, pin=pin)
    tokenizer = load_tokenizer(folder, trusted_code=trusted_code(pin, folder))
    rows = (row for row in stream_rows(local_source(data, settings.home)) if isinstance(row, Pair))
    result = encode_pairs([taken(row, turns) for row in islice(rows, count)], tokenizer, recipe.encoding)
    return TokenRows(
        rows=[
            TokenRow(
                where=row.pair.where,
                context=_tokens(row.prompt_ids, tokenizer),
                chosen=_tokens(row.chosen_ids, tokenizer),
                rejected=_tokens(row.rejected_ids, tokenizer),
            )
            for row in result.encoded
        ],
        refused=[RefusedRow(where=pair.where, reason=reason) for pair, reason in result.rejected],
    )


def _tokens(ids: Sequence[int], tokenizer: "PreTrainedTokenizerBase") -> list[Token]:
    special = {*tokenizer.all_special_ids, *tokenizer.get_added_vocab().values()}
    return [Token(id=token, text=_text(token, tokenizer), special=token in special) for token in ids]


def _text(token: int, tokenizer: "PreTrainedTokenizerBase") -> str:
    """A token's text; a part of a character, which has none, as the tokenizer calls it."""
    text = str(tokenizer.decode([token]))
    return str(tokenizer.convert_ids_to_tokens(token)) if "\ufffd" in text or not text else text
