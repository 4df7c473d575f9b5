"""The part of a training recipe that has the model in training answer, and learn from its own answers."""

from pydantic import Field

from dpo_core.recipe_release import Amount, Fraction, Section


class OnlineStop(Section):
    """When a run that learns from its own answers has run away.

    The newest answers are compared with the first ones, each those of the next `window` prompts; no rule is looked at
    before there are so many. A share of 0 switches its rule off.
    """

    window: int = Field(32, ge=1, description="prompts whose answers are looked at together")
    longer: float = Field(
        1.5, gt=1, description="mean length in tokens, times that of the first answers, or its inverse: beyond, stop"
    )
    distinct: Fraction = Field(
        0.7, description="share of different word pairs in a prompt's answers, of that of the first: below, stop"
    )
    openings: Fraction = Field(0.5, description="entropy of the first words, of that of the first: below, stop")
    entropy: Fraction = Field(0.25, description="entropy a token, of that of the first answers: below, stop")
    kl: float | None = Field(
        1.0,
        gt=0,
        description="nats a token that answers are likelier than under the reference (a loss without one: not looked "
        "at): above, stop; null: any",
    )
    reward: Amount = Field(
        1.0, description="standard deviations of the first scores that the mean reward may fall: below, stop"
    )
    informative: Fraction = Field(0.05, description="share of prompts whose answers make a pair: below, stop")


class Online(Section):
    """Every few steps the model answers its next prompts as it is then; a reward makes pairs of them: the next batches.

    Paths are relative to the recipe's folder.
    """

    curation: str = Field(
        description="recipe of a curation by `rewards`: its prompts, answers, rewards and choice are used, its model "
        "is the one in training"
    )
    every: int = Field(4, ge=1, description="optimizer steps on the answers of one drawing")
    prompts: int | None = Field(
        None, ge=1, description="prompts of a drawing; unset: as many as the steps after it have room for fresh pairs"
    )
    passes: float = Field(1.0, gt=0, description="passes over the prompts: with training.max_steps unset they decide")
    offline_share: float = Field(0.0, ge=0, lt=1, description="share of a step's pairs that are taken from data.train")
    stop: OnlineStop = Field(OnlineStop(), description="when answers have run away: the training ends there")

    def fresh(self, batch_size: int) -> int:
        """Most pairs of a step that are made of new answers."""
        return batch_size - self.offline(batch_size)

    def offline(self, batch_size: int) -> int:
        """Pairs of a step that are taken from data.train."""
        return min(round(self.offline_share * batch_size), batch_size - 1)

    def drawing(self, batch_size: int) -> int:
        """Prompts asked at a time."""
        return self.prompts or self.every * self.fresh(batch_size)
