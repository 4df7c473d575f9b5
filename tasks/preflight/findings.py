"""What the doctor says of a run before it begins, in words, each with its remedy."""

from collections.abc import Callable, Iterator, Sequence

from dpo_core.recipe_file import load_recipe
from infra.settings import Settings
from tasks.commands.doctor import GIB, Readiness
from tasks.power import detectable
from tasks.preflight.records import PhaseMemory, Preflight

MINUTE, HOUR = 60, 3600
REMEDIES = {"evaluation": ["set evaluation.batch_size lower: fewer answers are in work at once"]}
TIGHT = 0.9  # share of the free memory above which the estimate's own error matters


class RunChecks:
    """The checks of one run; `preflight` is there once `before` has been made."""

    def __init__(self, recipe: str, overrides: Sequence[str], *, trial: bool) -> None:
        self.recipe, self.overrides, self.trial = recipe, overrides, trial
        self.preflight: Preflight | None = None
        self.benchmarks: dict[str, int] = {}

    @property
    def checks(self) -> list[Callable[[Settings], Iterator[Readiness]]]:
        """In the order in which a person asks."""
        return [self.run, self.lm_eval, self.gate]

    def run(self, settings: Settings) -> Iterator[Readiness]:
        """Memory, time, disk, settings."""
        from tasks.preflight.estimate import preflight

        self.preflight = found = preflight(self.recipe, self.overrides, settings, trial=self.trial)
        yield from told(found, settings.train_timeout_s)

    def lm_eval(self, settings: Settings) -> Iterator[Readiness]:
        """Whether the tasks that the recipe names are here, and can be asked."""
        from tasks.evaluation.harness import harness_plan

        asked = load_recipe(self.recipe, self.overrides).recipe.evaluation.lm_eval
        self.benchmarks = {name: task.prompts for name, task in harness_plan(asked).items()}
        for name, prompts in self.benchmarks.items():
            yield Readiness("lm_eval", "ok", f"{name}: {prompts:,} prompts; their time is in no estimate")

    def gate(self, settings: Settings) -> Iterator[Readiness]:
        """Whether it can say yes, and the smallest difference that each condition shows."""
        rules = load_recipe(self.recipe, self.overrides).recipe
        held_out = None if self.preflight is None else self.preflight.volume.held_out_prompts
        for condition in detectable(rules, held_out or 0, self.benchmarks):
            wanted = max(rules.gate.min_items, condition.needed)
            few = condition.prompts < wanted
            lower = ", or lower gate.min_items" if wanted == rules.gate.min_items else ""
            remedy = f"ask {wanted} different prompts or more{lower}" if few else ""
            yield Readiness("gate", "warn" if few else "ok", condition.obstacle or condition.says, remedy)


def told(found: Preflight, limit_s: int) -> Iterator[Readiness]:
    """Each part of the estimates as a line; `limit_s`: the most seconds that a training may take."""
    yield _pairs(found)
    yield from _memory(found)
    yield _time(found, limit_s)
    if found.trial is not None:
        yield _trial(found, limit_s)
    yield _disk(found)
    for setting in found.untried:
        says = (
            f"training.{setting.key} is {setting.value:g}; shown to work for {setting.of}: {setting.low:g} to "
            f"{setting.high:g} ({setting.source})"
        )
        remedy = "set it within, or compare the run with one that is: nobody has shown that it works, or that it fails"
        yield Readiness("settings", "warn", says, remedy)
    for note in found.notes:
        yield Readiness("estimate", "warn", note, "--trial takes ten steps with the model itself")


def _pairs(found: Preflight) -> Readiness:
    volume = found.volume
    says = (
        f"{volume.pairs:,} to train on, {volume.held_out_pairs:,} held out of {volume.held_out_prompts:,} prompts; "
        f"{volume.steps:,} steps, {volume.tokens:,} tokens, {volume.computed:,} of them computed; longest row "
        f"{volume.longest_row:,}"
    )
    if volume.left_out < 0.01:
        return Readiness("pairs", "ok", says)
    says += f"; {volume.left_out:.0%} are too long, or no template writes them"
    return Readiness("pairs", "warn", says, "raise encoding.max_length, or set encoding.overlong: cut_prompt")


def _memory(found: Preflight) -> Iterator[Readiness]:
    for phase in found.memory:
        says = f"{phase.phase} needs {_gib(phase.peak)} of {_gib(found.available)} GiB free ({_terms(phase)})"
        if phase.peak <= found.available:
            tight = phase.peak > TIGHT * found.available
            yield Readiness("memory", "warn" if tight else "ok", says, "end other programs" if tight else "")
            continue
        enough = f"or free memory: this machine has {_gib(found.total)} GiB" if phase.peak <= found.total else ""
        ends = _of_training(found) if phase.phase == "training" else REMEDIES.get(phase.phase, [])
        yield Readiness("memory", "fail", says, "; ".join(filter(None, [*ends, enough])) or "take a smaller model")


def _of_training(found: Preflight) -> list[str]:
    """The first settings that would fit; or the last that were tried, and what else there is."""
    fitting = [remedy for remedy in found.remedies if remedy.fits]
    tried = [
        f"{', '.join(f'{key}: {value}' for key, value in remedy.settings.items())} needs {_gib(remedy.peak)} GiB"
        for remedy in fitting[:1] or found.remedies[-1:]
    ]
    return tried if fitting else [*tried, "take a smaller model or a larger machine"]


def _terms(phase: PhaseMemory) -> str:
    names = ("program", "weights", "gradients", "optimizer", "activations")
    sizes: dict[str, int] = {name: getattr(phase, name) for name in names}
    return ", ".join(f"{name} {_gib(size)}" for name, size in sizes.items() if size)


def _time(found: Preflight, limit_s: int) -> Readiness:
    seconds = found.seconds
    if seconds.training is None or seconds.reference is None:
        return Readiness("time", "warn", "not measured", "--trial takes ten steps with the model itself")
    parts = [
        f"training about {_of_all(seconds.training, found.seeds)}, {seconds.step:.3g} s a step",
        f"reference about {_time_text(seconds.reference)}, where none is stored",
        f"evaluation at most {_time_text(seconds.evaluation or 0.0)}",
    ]
    return _in_time("time", "; ".join(parts), seconds.training, limit_s)


def _trial(found: Preflight, limit_s: int) -> Readiness:
    trial = found.trial
    assert trial is not None
    says = f"{trial.steps} steps took {trial.step:.3g} s each: all of them about {_of_all(trial.training, found.seeds)}"
    says += f"; the process had {_gib(trial.peak)} GiB at most"
    return _in_time("trial", says, trial.training, limit_s)


def _in_time(check: str, says: str, training: float, limit_s: int) -> Readiness:
    if training <= limit_s:
        return Readiness(check, "ok", says)
    return Readiness(check, "warn", says, f"set DPO_TRAIN_TIMEOUT_S higher: a training is ended after {limit_s} s")


def _disk(found: Preflight) -> Readiness:
    disk = found.disk
    says = (
        f"{_gib(disk.peak)} GiB on the way, {_gib(disk.kept)} afterwards (a checkpoint {_gib(disk.checkpoint)}, a copy "
        f"of the model {_gib(disk.model)}); {_gib(found.free_disk)} free"
    )
    if disk.peak <= found.free_disk:
        return Readiness("disk", "ok", says)
    do = "free space, set DPO_HOME to a larger disk, or DPO_STORE_URL to S3; a LoRA has small checkpoints"
    return Readiness("disk", "fail", says, do)


def _gib(size: int) -> str:
    return f"{size / GIB:.2f}" if size < 10 * GIB else f"{size / GIB:.0f}"


def _of_all(seconds: float, seeds: int) -> str:
    return f"{_time_text(seeds * seconds)}{f' for {seeds} seeds' if seeds > 1 else ''}"


def _time_text(seconds: float) -> str:
    if seconds < 2 * MINUTE:
        return f"{seconds:.0f} s"
    return f"{seconds / MINUTE:.0f} minutes" if seconds < 2 * HOUR else f"{seconds / HOUR:.1f} hours"
