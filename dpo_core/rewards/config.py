"""The `rewards` of a recipe of curation: what scores answers, and how a judge is admitted."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from dpo_core.recipe_release import Finite, Fraction, Section
from dpo_core.rewards.wishes import Wishes

Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Kind = Literal["rules", "classifier", "judge", "entry_point"]
KINDS: tuple[Kind, ...] = ("rules", "classifier", "judge", "entry_point")


class Length(Section):
    """A graded rule: from 0 to 1, by how long an answer is."""

    prefer: Literal["target", "shorter", "longer"] = Field(
        "target",
        description="target: closest to `target` is best; shorter, longer: without an end. Both have a loophole: an "
        "empty answer is the shortest, one that never ends the longest",
    )
    unit: Literal["words", "sentences", "characters"] = Field("words", description="what is counted")
    target: int | None = Field(None, ge=1, description="how many of them are best, for prefer: target")

    @model_validator(mode="after")
    def _target_where_meant(self) -> "Length":
        if (self.target is not None) != (self.prefer == "target"):
            raise ValueError("prefer: target needs `target`, how many are best; shorter and longer have none")
        return self


class Rules(Wishes):
    """Rules that a program decides: each is met or not, `length` is graded. The reward is the weighted share met."""

    asked: bool = Field(
        False,
        description="one more rule: what the prompt's own line asks, by these keys or IFEval's instruction_id_list and "
        "kwargs",
    )
    instructions: dict[str, dict[str, Any]] = Field(
        {}, description="IFEval's checkable instructions: kind: its arguments; docs/rewards.md has all 25"
    )
    length: Length | None = Field(None, description="a graded rule on how long an answer is")
    count: Literal["share", "all"] = Field(
        "share", description="share: weighted share of the rules met; all: 1 where all are met, else 0"
    )
    weights: dict[str, Weight] = Field({}, description="rule (a key, or a kind of instruction): its weight; 1 each")

    @property
    def rules(self) -> list[str]:
        """The names of all rules, as `weights` takes them. `tolerance` is part of `number`."""
        others = ["asked"] * self.asked + list(self.instructions) + ["length"] * (self.length is not None)
        return self.set_keys + others

    @model_validator(mode="after")
    def _some_rule(self) -> "Rules":
        if not self.rules:
            raise ValueError("no rule is named: give it one, for instance max_sentences: 2")
        if unknown := sorted(self.weights.keys() - set(self.rules)):
            raise ValueError(f"weights names {unknown[0]}, which is no rule here: {', '.join(self.rules)} are")
        if self.count == "all" and self.length is not None:
            raise ValueError("count: all takes rules that are met or not, and length is graded: take one of them out")
        return self


class Classifier(Section):
    """A reward model, or a classifier, of transformers."""

    model: str = Field(description="sequence classification model: folder or HF id (safetensors)")
    label: str | None = Field(
        None, description="of a model with several labels: the one whose log-probability is the reward"
    )
    max_length: int | None = Field(
        None, ge=8, description="most tokens of prompt and answer; unset: what the model says. Nothing is cut"
    )
    batch_size: int = Field(16, ge=1, description="answers in one forward, of like length")


class EntryPoint(Section):
    """A function of the user's own: function(prompt, answers, wanted) gives one number an answer."""

    function: str = Field(description="package.module:function, or path.py:function from the recipe's folder")


class JudgeRules(Section):
    """A language model that is asked which answer is better, or how good one is."""

    model: str = Field(description="who judges: endpoint:NAME of `endpoints`, or a model as `model` takes it")
    rubric: str = Field(
        "how well the answer does what the user asks: correct, complete, clear, and no longer than it need be",
        min_length=1,
        description="what counts, in words for the judge",
    )
    mode: Literal["compare", "score"] = Field(
        "compare", description="compare: two answers, in both orders; score: one answer, by a number"
    )
    explain: bool = Field(True, description="the judge gives its reasons before its verdict")
    low: Finite = Field(1.0, description="mode: score: the number of the worst answer")
    high: Finite = Field(10.0, description="mode: score: the number of the best answer")
    opponents: int | None = Field(
        None, ge=1, description="mode: compare: other answers that each answer meets at least; unset: all"
    )
    max_unread: Fraction = Field(
        0.1, description="largest share of replies without a verdict that can be read: above, stop"
    )
    labels: str | None = Field(
        None,
        description="pairs that people judged, which the judge is held against: JSON lines, or a file of `dpo judge`",
    )
    min_kappa: float | None = Field(
        None,
        ge=-1,
        le=1,
        description="least agreement with `labels` beyond chance, Cohen's kappa: below, the judge is refused",
    )

    @model_validator(mode="after")
    def _can_be_meant(self) -> "JudgeRules":
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.min_kappa is not None and self.labels is None:
            raise ValueError("min_kappa needs labels: a file of pairs that people judged")
        return self


class Rewards(Section):
    """What scores answers: one of the four kinds, or several, combined."""

    rules: Rules | None = Field(None, description="rules that a program decides")
    classifier: Classifier | None = Field(None, description="a reward model, or a classifier")
    judge: JudgeRules | None = Field(None, description="a language model as judge")
    entry_point: EntryPoint | None = Field(None, description="a function of your own")
    panel: dict[str, JudgeRules] = Field({}, description="further judges: name: what `judge` takes")
    combine: Literal["mean", "vote"] = Field(
        "mean",
        description="of several: mean of their scores, each in its standard deviations among a prompt's answers; vote: "
        "share of the other answers that each prefers an answer to",
    )
    weights: dict[str, Weight] = Field({}, description="of several: kind, or judge of the panel: its weight; 1 each")

    @property
    def names(self) -> list[str]:
        """Of all rewards."""
        return [kind for kind in KINDS if getattr(self, kind) is not None] + list(self.panel)

    @property
    def judges(self) -> dict[str, JudgeRules]:
        """All judges by name."""
        return ({"judge": self.judge} if self.judge else {}) | self.panel

    @model_validator(mode="after")
    def _some_reward(self) -> "Rewards":
        if not self.names:
            raise ValueError(f"no reward is named: give it one of {', '.join(KINDS)}")
        if taken := sorted(self.panel.keys() & set(KINDS)):
            raise ValueError(f"a judge of the panel is called {taken[0]}, which is a kind of reward: call it otherwise")
        if unknown := sorted(self.weights.keys() - set(self.names)):
            raise ValueError(f"weights names {unknown[0]}, which is no reward here: {', '.join(self.names)} are")
        return self
