"""What a challenger is compared with: the baseline, the anchor, the reference of every reward; who trained on what."""

import logging
from dataclasses import dataclass
from typing import Literal

from dpo_core.errors import InputError
from infra.errors import InfraError
from infra.registry import versions
from infra.registry.versions import Version
from infra.store.base import Store
from tasks.ancestry import line_of, training_rows
from tasks.records import Checked, Plan, Trained
from tasks.runtime.start import START, START_WEIGHTS

log = logging.getLogger("dpo.evaluate")
BASELINE, BASELINE_WEIGHTS = "gate.baseline", "dpo.baseline_weights_sha256"  # tags of a version, by its gate
TOKENIZER = "dpo.tokenizer_sha256"  # tag of a version
Against = Literal["reference", "champion", "version"]


@dataclass(frozen=True)
class Base:
    """A start model that is no registered version: its weights, and the name that it is fetched by."""

    weights_sha256: str
    model: str


@dataclass(frozen=True)
class Baselines:
    """The models of one comparison, by their weights.

    `reference`: the model that all rewards are measured against, the same for every version of a line. `anchor`: the
    version that no keep condition may drift from; None where it is the baseline. `trained_on`: keys in the store of
    every row that one of the models, or of those that it descends from, was trained on.
    """

    against: Against
    baseline: str
    reference: Base
    anchor: str | None
    trained_on: list[str]


def baselines(store: Store, plan: Plan, checked: Checked, trained: Trained) -> Baselines:
    """Who takes part. Raises InputError or InfraError for a version that cannot."""
    anchor = _anchor(plan)
    reference = _base(anchor) if anchor else _start(plan)
    against, version, baseline = _baseline(plan, trained, reference)
    in_play = [found for found in (anchor, version, _started_from(plan)) if found is not None]
    weights = anchor.weights_sha256 if anchor else None
    own = [trained.online.rows] if trained.online else []
    return Baselines(
        against=against,
        baseline=baseline,
        reference=reference,
        anchor=None if weights in (None, baseline, trained.weights_sha256) else weights,
        trained_on=sorted({checked.train_key, *own, *training_rows(store, in_play)}),
    )


def require_comparable(plan: Plan) -> None:
    """Raise InputError or InfraError where the version to compare with cannot be: before anything is trained."""
    wanted = plan.recipe.retrain.against
    if isinstance(wanted, int):
        _weights(versions.by_number(plan.recipe.name, wanted), plan)
    elif wanted == "champion" and plan.champion is not None:
        _weights(plan.champion, plan)
    if plan.recipe.gate.anchor is not None:
        versions.by_number(plan.recipe.name, plan.recipe.gate.anchor)


def _anchor(plan: Plan) -> Version | None:
    wanted = plan.recipe.gate.anchor
    anchor = versions.by_number(plan.recipe.name, wanted) if wanted is not None else plan.first_champion
    if anchor is not None and not _same_tokenizer(anchor, plan):
        log.warning("anchor_left_out version=%d reason='it has another tokenizer'", anchor.number)
        return None
    return anchor


def _same_tokenizer(version: Version, plan: Plan) -> bool:
    """Whether log-probs of the same ids can be compared; a version of another program does not say.

    A trained model's tokenizer is saved anew, in other bytes: the ones that the two lines began with are compared.
    """
    start = _started_from(plan)
    began = _first_of(start).tags.get(TOKENIZER) if start else plan.tokenizer_sha256
    return _first_of(version).tags.get(TOKENIZER, began) == began


def _first_of(version: Version) -> Version:
    *_, first = line_of(version)
    return first


def _baseline(plan: Plan, trained: Trained, reference: Base) -> tuple[Against, Version | None, str]:
    """What the challenger must beat, and its weights: the champion by default, the reference while there is none.

    Where the challenger is the champion already, what that champion was gated against.
    """
    wanted, champion = plan.recipe.retrain.against, plan.champion
    if wanted == "base":
        return "reference", None, reference.weights_sha256
    if isinstance(wanted, int):
        version = versions.by_number(plan.recipe.name, wanted)
        return "version", version, _weights(version, plan)
    if champion is None:
        return "reference", None, reference.weights_sha256
    if _weights(champion, plan) != trained.weights_sha256:
        return "champion", champion, champion.weights_sha256
    weights = champion.tags.get(BASELINE_WEIGHTS, reference.weights_sha256)
    if champion.tags.get(BASELINE) != "champion":
        return "reference", None, weights
    return "champion", versions.by_weights(plan.recipe.name, weights), weights


def _weights(version: Version, plan: Plan) -> str:
    name = plan.recipe.name
    if not _same_tokenizer(version, plan):
        raise InputError(
            f"version {version.number} has another tokenizer than the start model: their log-probs cannot be compared",
            where=f"models:/{name}/{version.number}",
            do="set retrain.against to base; later versions are compared with what this run makes, once a person has "
            "promoted it (dpo promote)",
        )
    if not version.weights_sha256:
        raise InfraError(
            f"version {version.number} was registered by another program: it names no weights",
            where=f"models:/{name}/{version.number}",
            do="take the alias champion off it on the MLflow page, or name another version in retrain.against",
        )
    return version.weights_sha256


def _start(plan: Plan) -> Base:
    version = _started_from(plan)
    return _base(version) if version else Base(plan.weights_sha256, plan.start_model)


def _started_from(plan: Plan) -> Version | None:
    return versions.resolve(plan.start_model) if plan.start_model.startswith("models:/") else None


def _base(version: Version) -> Base:
    """The model that the first of a version's line started from; the version itself where nobody wrote that down."""
    first = _first_of(version)
    weights, model = first.tags.get(START_WEIGHTS), first.tags.get(START, "")
    if weights and model and not model.startswith("models:/"):
        return Base(weights, model)
    return Base(first.weights_sha256, "")
