"""What is known of a run before it begins: what `dpo doctor RUN.yaml --json` has under `preflight`."""

from typing import Literal

from pydantic import Field

from dpo_core.records import Record


class PhaseMemory(Record):
    """Bytes that the processes of a phase need at most, on this machine or its GPU."""

    phase: Literal["reference", "training", "evaluation"] = Field(description="of the run")
    peak: int = Field(description="bytes at most, of all its processes")
    process: int = Field(description="bytes at most of one process that computes")
    program: int = Field(description="of them: the program itself and, to train, the kernels that steps have it make")
    weights: int = Field(description="bytes")
    gradients: int = Field(0, description="bytes")
    optimizer: int = Field(0, description="bytes: two moments of each weight that is trained")
    activations: int = Field(0, description="bytes that the forward pass of the largest row keeps")


class Remedy(Record):
    """Settings with which the training needs less."""

    settings: dict[str, str] = Field(description="keys of the recipe")
    peak: int = Field(description="bytes at most, of all processes of the training")
    fits: bool = Field(description="in what is free now")


class Volume(Record):
    """What the run has to compute; tokens of a text that is shared in a row count once where it is."""

    steps: int = Field(description="optimizer steps of one seed")
    pairs: int = Field(description="trained on, each once")
    held_out_pairs: int = Field(description="pairs that are not trained on")
    held_out_prompts: int = Field(description="different prompts of theirs")
    left_out: float = Field(description="share of pairs that are too long, or that no template writes")
    tokens: int = Field(description="of prompts and answers in all steps: the metric num_tokens")
    computed: int = Field(description="tokens that go through the model in them")
    longest_row: int = Field(description="tokens of the largest forward pass")
    responses: int = Field(description="answers that the reference scores")
    answer_tokens: int = Field(description="their tokens")


class Duration(Record):
    """Seconds, from a measured speed; null where it could not be measured."""

    reference: float | None = Field(description="log-probs under the reference, were none stored yet")
    training: float | None = Field(description="all steps of one seed, and the checkpoints")
    step: float | None = Field(description="a step, on average")
    evaluation: float | None = Field(
        description="of all seeds, at most, were every answer as long as may be: a model more is asked than there are "
        "seeds, as a champion's answers are remembered"
    )


class Trial(Record):
    """What the first steps of the run itself took, and what all take if they go on so."""

    steps: int = Field(description="taken")
    step: float = Field(description="seconds a step, the first left out")
    training: float = Field(description="seconds for all steps and checkpoints of one seed")
    peak: int = Field(description="bytes at most of the process that trained, a checkpoint included")
    program: int = Field(description="of them: before the model was there")


class DiskUse(Record):
    """Bytes on this machine's disk; what lies in S3 is not among them."""

    peak: int = Field(description="at most, on the way")
    kept: int = Field(description="afterwards")
    checkpoint: int = Field(description="a checkpoint; three lie there while one is written")
    model: int = Field(description="a copy of the model")


class UntriedSetting(Record):
    """A setting of the recipe outside what was shown to work."""

    key: str = Field(description="of the recipe")
    value: float = Field(description="in the recipe")
    low: float = Field(description="least that was shown to work")
    high: float = Field(description="most that was shown to work")
    of: str = Field(description="for what")
    source: str = Field(description="who showed it")


class Preflight(Record):
    """A run before it begins, from its recipe, the lengths of its pairs and the shapes of its model."""

    weights: int = Field(description="of the model: how many")
    trained: int = Field(description="of them, or of its adapters: how many are trained")
    ranks: int = Field(description="processes that train")
    seeds: int = Field(1, description="that are trained one after the other, each with all steps: training.seeds")
    device: Literal["cpu", "cuda"] = Field(description="where the model computes")
    mode: str = Field(description="how log-probs are computed: shared, packed or padded")
    volume: Volume = Field(description="what there is to compute")
    memory: list[PhaseMemory] = Field(description="empty where it could not be counted")
    available: int = Field(description="bytes of memory that are free now, of the machine or of its GPU")
    total: int = Field(description="bytes of memory that it has")
    remedies: list[Remedy] = Field([], description="what needs less, where the memory is too small")
    seconds: Duration = Field(description="how long it takes")
    trial: Trial | None = Field(None, description="with --trial")
    disk: DiskUse = Field(description="what it writes")
    free_disk: int = Field(description="bytes that are free where DPO_HOME is")
    untried: list[UntriedSetting] = Field([], description="settings outside what was shown to work")
    notes: list[str] = Field([], description="what could not be found out, and why")
