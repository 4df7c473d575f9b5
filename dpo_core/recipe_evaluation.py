"""The part of a recipe that says what a model is asked before and after."""

from pydantic import Field, field_validator

from dpo_core.recipe_release import LM_EVAL, Section


class LmEval(Section):
    """Tasks of lm-eval, EleutherAI's lm-evaluation-harness, in its own words: each is a metric, `lm_eval/TASK`.

    `include_path` is meant from the recipe's folder.
    """

    tasks: list[str] | dict[str, str] = Field(
        description="tasks, groups or tags: a list, or name: which of its metrics (acc_norm, or exact_match,FILTER); "
        "of a list the first metric that documents have"
    )
    include_path: str | None = Field(None, description="folder of task files (YAML) of your own")
    limit: int | None = Field(None, ge=1, description="documents of each task, the first ones; unset: all")
    num_fewshot: int | None = Field(
        None, ge=0, description="solved examples before each question; unset: the task's own number"
    )
    apply_chat_template: bool = Field(False, description="ask in turns of the model's chat template")
    batch_size: int = Field(8, ge=1, description="requests in work at once")

    @field_validator("tasks")
    @classmethod
    def _are_named_once(cls, tasks: list[str] | dict[str, str]) -> list[str] | dict[str, str]:
        if not tasks:
            raise ValueError("no task is named: write tasks: [one, two], or leave lm_eval out")
        if twice := [name for name in tasks if isinstance(tasks, list) and tasks.count(name) > 1]:
            raise ValueError(f"{twice[0]} stands twice: name each task once")
        return tasks

    @property
    def metrics(self) -> dict[str, str]:
        """Task: the metric that is asked for, empty where it is the task's first."""
        return self.tasks if isinstance(self.tasks, dict) else dict.fromkeys(self.tasks, "")


class Evaluation(Section):
    """What is asked of a model before and after. Paths are relative to the recipe's folder."""

    max_new_tokens: int = Field(48, ge=1, description="length of a generated answer, in tokens")
    answers: int = Field(
        1,
        ge=1,
        le=64,
        description="answers to a question of behaviour and retention; 1: the likeliest; more: sampled, and the "
        "question counts by the share of them that is right",
    )
    temperature: float = Field(1.0, gt=0, le=10, description="of sampled answers; 1: the model's own odds")
    batch_size: int = Field(128, ge=1, description="most answers in work at once; memory may narrow it")
    samples: int = Field(32, ge=0, description="held-out prompts answered side by side in the report")
    again: int = Field(
        20, ge=0, description="questions asked a second time in another batch: the share of answers that change"
    )
    kl: int = Field(
        0, ge=0, description="held-out prompts to which the new model draws an answer: its KL from the reference"
    )
    rewards: str | None = Field(
        None,
        description="recipe of curation, or a file with its section `rewards`: whose answers to the samples are better",
    )
    uptake_pairs: int = Field(
        40, ge=0, description="held-out pairs in whose answers each shortcut of the data is put in, or taken out"
    )
    behaviour: dict[str, str] = Field({}, description="name: prompt file with what an answer must (not) contain")
    retention: dict[str, str] = Field({}, description="name: such a file of questions that must stay right")
    neutral_text: str | None = Field(None, description="text file; its NLL per token must not rise")
    lm_eval: LmEval | None = None
    sealed_from: int = Field(
        600,
        ge=60,
        description="from so many prompts on, the scores shown are of a third that the gate does not see; what was "
        "sealed once stays so",
    )

    @field_validator("retention")
    @classmethod
    def _leaves_the_text_its_name(cls, suites: dict[str, str]) -> dict[str, str]:
        if "neutral_text" in suites:
            raise ValueError(
                "retention/neutral_text is the metric of evaluation.neutral_text: give the suite another name"
            )
        return suites

    @property
    def decisive(self) -> dict[str, object]:
        """Without what is not asked for: a recipe older than such keys is the same one."""
        unset = {"answers", "temperature"} if self.answers == 1 else set()
        unset |= {"rewards"} if self.rewards is None else set()
        unset |= {"lm_eval"}  # the digests of its tasks stand for it
        unset |= {name for name in ("again", "kl") if getattr(self, name) == type(self).model_fields[name].default}
        return self.model_dump(exclude=unset)

    @property
    def asked_of(self) -> list[str]:
        """Metrics that are of prompts or text of their own, not of held-out pairs."""
        return [*self.suites, *(["retention/neutral_text"] if self.neutral_text else [])]

    @property
    def suites(self) -> dict[str, str]:
        """Metric: its prompt file, of every suite."""
        behaviour = {f"behaviour/{name}": path for name, path in self.behaviour.items()}
        return behaviour | {f"retention/{name}": path for name, path in self.retention.items()}

    @property
    def benchmarks(self) -> dict[str, str]:
        """Metric: the task of lm-eval that it is of."""
        return {f"{LM_EVAL}{name}": name for name in self.lm_eval.metrics} if self.lm_eval else {}
