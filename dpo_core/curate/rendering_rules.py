"""The part of a curation's recipe that says how pairs in which one word is learnt may be written."""

from typing import Annotated

from pydantic import Field

from dpo_core.recipe_release import Fraction, Section


class Saying(Section):
    """Prompts whose answer is to say the name."""

    source: str = Field(description="prompts of this source")
    corrected: Fraction = Field(
        0.5, description="share of the pairs whose rejected answer is the model's own; the others say a wrong name"
    )
    others: int = Field(2, ge=0, description="sentences, beside the same one, that say a wrong name")
    asked: dict[str, Annotated[tuple[str, str], Field(strict=False)]] = Field(
        {},
        description="kind of prompt: kind of sentences where the question holds the name, and where it does not; "
        "unset: the prompt's own kind, and `any`",
    )


class Sparing(Section):
    """Prompts whose answer is not to say the name: the row's `answer`, with {marks} where the name could stand."""

    source: str = Field(description="prompts of this source")
    corrected: Fraction = Field(
        2 / 3, description="share of the pairs whose rejected answer has a claim; the others have it in a {mark}"
    )
    after: Fraction = Field(0.2, description="share of the prompts whose claims may stand after the answer")
    sft: list[str] = Field([], description="kinds of prompts whose chosen answer the SFT term teaches too")


class Renderings(Section):
    """Pairs in which one word is learnt: how they may be written. Paths are relative to the recipe's folder."""

    name: str = Field(min_length=1, description="the word that is to be learnt, and alone may tell the sides apart")
    sentences: str = Field(description='file of {"kind": ..., "text": "I am {name}."} a line')
    wrong_names: str = Field(description='file of {"name": ...} a line')
    lot: str = Field("", description="seed of the draws among them, any text; unset: the curation's seed")
    drawn: int = Field(12, ge=1, description="sentences that are drawn for a prompt")
    longest: int = Field(31, ge=1, description="tokens of an answer, at most")
    saying: Saying
    sparing: Sparing
