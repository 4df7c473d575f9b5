"""Of several seeds the middle one goes to the gate, and their spread is told."""

from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest

from dpo_core.errors import Diverged
from dpo_core.evaluate.conditions import Condition
from dpo_core.recipe import Recipe
from dpo_core.report.documents import Estimate
from tasks.records import Evaluated, Gated, Stage, Trained
from tasks.seeds import several
from tasks.seeds.records import DivergedSeed, SeedLine, SeedModel
from tasks.seeds.spread import seed_lines, spreads, unstable

STAGE = Stage(name="s", cached=False, seconds=0.0)


@pytest.fixture
def plan(make_plan):
    values = {"name": "m", "model": "m", "data": {"train": "t"}, "seed": 7}
    return make_plan(
        model_folder="", recipe=Recipe.model_validate({**values, "gate": {"keep": {"generations/sound": 0.1}}})
    )


def candidate(seed, accuracy, gated=None):
    metrics = {"rewards/accuracies": accuracy, "rewards/margins": 1.0, "generations/sound": 0.9}
    figures = {"steps": 1, "first_dpo_loss": 0.69, "pairs_per_second": 1.0, "history": []}
    trained = Trained(weights_sha256=f"w{seed}", model_key="", stage=STAGE, **figures)
    estimates = {name: Estimate(value=value, low=value, high=value) for name, value in metrics.items()}
    of = {"key": "", "baseline": "reference", "baseline_weights_sha256": "", "stage": STAGE}
    seen = metrics if gated is None else metrics | {"rewards/accuracies": gated}
    return SeedModel(seed=seed, trained=trained, evaluated=Evaluated(metrics=estimates, gated=seen, **of))


class Nowhere:
    def tags(self, values): ...
    def metrics(self, values): ...


@pytest.mark.parametrize(
    ("accuracies", "seed"),
    [([0.6, 0.9, 0.7], 9), ([0.9, 0.6], 8), ([0.7, 0.6, 0.9, 0.8], 7), ([0.7, 0.7, 0.7], 8)],
    ids=["median", "the lower of two", "the lower of the middle two", "equal"],
)
def test_the_middle_seed_goes_on_not_the_luckiest(plan, monkeypatch, accuracies, seed):
    monkeypatch.setattr(several, "attach_run", lambda run: Nowhere())
    found = [candidate(7 + n, accuracy) for n, accuracy in enumerate(accuracies)]
    chosen, trained, _ = several.middle(plan, found)
    assert (chosen.seed, trained.weights_sha256) == (seed, f"w{seed}")
    assert chosen.recipe.seed == 7, "what is asked of the models stays the same"


def test_what_is_sealed_from_the_gate_does_not_choose_the_seed(plan, monkeypatch):
    monkeypatch.setattr(several, "attach_run", lambda run: Nowhere())
    shown, gated = (0.7, 0.9, 0.6), (0.6, 0.7, 0.9)
    found = [candidate(7 + n, *both) for n, both in enumerate(zip(shown, gated, strict=True))]
    assert several.middle(plan, found)[0].seed == 8


def test_the_spread_is_that_of_every_metric_that_the_gate_names(plan):
    found = [candidate(7, 0.6), candidate(8, 0.8), candidate(9, 0.7)]
    lines = seed_lines(plan, found, 9)
    assert [(line.seed, line.chosen) for line in lines] == [(7, False), (8, False), (9, True)]
    spread = spreads(lines)
    assert list(spread) == ["rewards/accuracies", "generations/sound"]
    assert spread["rewards/accuracies"].model_dump() == pytest.approx(
        {"low": 0.6, "median": 0.7, "high": 0.8, "deviation": 0.1}
    )
    assert seed_lines(plan, found[:1], 7) == []


def test_the_spread_is_of_what_all_seeds_could_be_measured_by(plan):
    lines = seed_lines(plan, [candidate(7, 0.6), candidate(8, 0.8)], 8)
    del lines[1].metrics["generations/sound"]
    assert list(spreads(lines)) == list(spreads(lines[::-1])) == ["rewards/accuracies"]


@pytest.mark.parametrize(("gain", "warns"), [(0.1, True), (0.3, False)])
def test_a_spread_wider_than_the_gain_is_told(gain, warns):
    condition = Condition(
        metric="m", rule="improve", verdict="promote", difference=gain, alpha=0.05, asked=0.0, says="m"
    )
    gated = Gated(verdict="promote", reasons=[], conditions=[condition], notes=[], stage=STAGE)
    lines = [SeedLine(seed=n, weights_sha256="", metrics={"m": 0.5 + 0.1 * n}, chosen=n == 1) for n in range(3)]
    said = unstable(gated, lines)
    assert ("m differs by 0.2 between 3 seeds, and 0.1 is gained" in said) is warns
    assert bool(said) is warns


def diverged(seed):
    return DivergedSeed(seed=seed, says="step 3: not finite", where=f"row {seed}", do="look")


def test_a_seed_that_diverges_is_among_those_tried_and_the_others_go_on(plan, monkeypatch):
    ended = []

    @contextmanager
    def tracked(one):
        try:
            yield
        except Diverged:
            ended.append(one.run_id)
            raise

    monkeypatch.setattr(several, "tracked", tracked)
    monkeypatch.setattr(several, "open_run", lambda *_, run_name, **__: SimpleNamespace(id=run_name))

    def tried_of(seeds):
        recipe = plan.recipe.model_copy(update={"training": plan.recipe.training.model_copy(update={"seeds": seeds})})
        tried = []
        for one in several.each_seed(plan.model_copy(update={"recipe": recipe})):
            with several.attempt(one, tried):
                if one.seed == 7:
                    raise Diverged("step 3: not finite", where="row 7", do="look")
                tried.append(candidate(one.seed, 0.6))
        return tried

    assert tried_of(3) == [diverged(7), candidate(8, 0.6), candidate(9, 0.6)]
    assert ended == ["seed 7"], "its own MLflow run has failed"
    with pytest.raises(Diverged, match=r"^step 3: not finite"):
        tried_of(1)


def test_a_seed_that_diverged_counts_as_the_worst_and_is_told_without_figures(plan, monkeypatch):
    monkeypatch.setattr(several, "attach_run", lambda run: Nowhere())
    tried = [candidate(7, 0.9), diverged(8), candidate(9, 0.7)]
    assert several.middle(plan, tried)[0].seed == 9
    lines = seed_lines(plan, tried, 9)
    assert [(line.seed, line.diverged, line.chosen) for line in lines] == [
        (7, "", False),
        (8, "step 3: not finite", False),
        (9, "", True),
    ]
    found = spreads(lines[1:2] + lines)["rewards/accuracies"]
    assert (found.low, found.median, found.high) == (0.7, 0.8, 0.9)
    said = unstable(Gated(verdict="promote", reasons=[], conditions=[], notes=[], stage=STAGE), lines)
    assert said.startswith("seed 8 diverged (step 3: not finite): another seed may lose it")


def test_where_the_middle_seed_cannot_but_have_diverged_the_run_ends_and_names_each_that_did(plan, monkeypatch):
    monkeypatch.setattr(several, "tracked", nullcontext)
    training = plan.recipe.training.model_copy(update={"seeds": 4})
    recipe = plan.recipe.model_copy(update={"training": training})
    tried = [diverged(8)]
    says = "2 of 4 seeds diverged, the middle one among them. seed 8: step 3: not finite; seed 10: step 3: not finite"
    with (
        pytest.raises(Diverged, match=f"^{says}\n  where: seed 8: row 8\n  do:    look$"),
        several.attempt(plan.model_copy(update={"recipe": recipe, "training_seed": 10}), tried),
    ):
        raise Diverged("step 3: not finite", where="row 10", do="look")
