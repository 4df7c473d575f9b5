"""The card of a model version: what it is, what it came from, what was measured, what is not known of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from yaml import YAMLError

from dpo_core.recipe_loss import OPTIONS
from dpo_core.report.documents import Estimate, EvaluationEvidence, UptakeRecord
from dpo_core.report.markdown import plain
from dpo_core.report.numbers import number
from dpo_core.report.sentences import preferred_sentences, trivial_sentence, unlooked_sentence

TRAINED_WITH = (
    *("loss", *dict.fromkeys(option for options in OPTIONS.values() for option in options), "beta", "learning_rate"),
    *("sft_weight", "num_train_epochs", "max_steps", "train_batch_size", "dtype"),
)

NAMED = 12  # shortcuts that were not looked for


@dataclass(frozen=True)
class CardFacts:
    """What a card says beside its figures. `origins`: label and value, in order, of what leads back to its making."""

    name: str
    version: int
    made: str  # day
    base_model: str
    licence: str | None
    pairs: Mapping[str, int]  # trained on, held out, quarantined, dropped
    warnings: Sequence[str]  # of the data check
    training: Mapping[str, Any]  # the recipe's section
    seed: int
    verdict: str  # in words
    reasons: Sequence[str]
    baseline: str  # what it was compared with
    origins: Mapping[str, str] = field(default_factory=dict)


def licence_of(folder: Path) -> str | None:
    """What the model card in a folder calls the model's licence; None where it does not."""
    try:
        return str(ModelCard.load(folder / "README.md", ignore_metadata_errors=True).data.license or "") or None
    except (
        OSError,
        ValueError,
        AttributeError,
        YAMLError,
    ):  # none there, or another's that cannot be read: no reason to stop
        return None


def shortened(card: str, most: int, where: str) -> str:
    """The card without its metadata, cut at the end of a line to at most so many characters; `where` is the whole."""
    body = card.split("\n---\n", 1)[-1].strip()
    if len(body) <= most:
        return body
    rest = f"\n\nThe rest is in {where}."
    kept = body[: most - len(rest)]
    return kept[: kept.rfind("\n")] + rest


def base_name(model: str) -> str:
    """What people call a start model: without folders, repositories and digests before and behind it."""
    name = model.partition("#")[0].rstrip("/")
    return name if "@" in name or name.startswith("models:") else name.rpartition("/")[2] or name


def model_card(facts: CardFacts, evidence: EvaluationEvidence) -> str:
    """Markdown with Hugging Face's metadata block (huggingface_hub's ModelCardData)."""
    sections = [
        f"---\n{_metadata(facts, evidence).to_yaml()}\n---",
        f"# {facts.name}, version {facts.version}",
        f"`{base_name(facts.base_model)}`, trained further on preference pairs with {_method(facts)}, {facts.made}. "
        f"{facts.verdict}",
        "\n".join(f"- {plain(reason)}" for reason in facts.reasons),
        "## What was measured",
        _metrics(facts, evidence),
        _sealed(evidence),
        trivial_sentence(evidence.trivial),
        " ".join(map(plain, preferred_sentences(evidence.preferred))),
        "## Shortcuts of the data",
        _uptake(evidence.uptake, evidence.not_looked_for),
        plain(unlooked_sentence(evidence.not_looked_for, NAMED)),
        "## Data",
        "; ".join(f"{count:,} pairs {what}" for what, count in facts.pairs.items()) + ".",
        "\n".join(f"- {plain(warning)}" for warning in facts.warnings),
        "## Training",
        _table(("key", "value"), [*trained_with(facts), ("seed", str(facts.seed))]),
        "## Limits",
        "Nothing is known of this version but what the tables above show, on the questions that were asked and with "
        f"{_answers(evidence)}. Safety, bias and truth were measured only as far as one of these metrics is about "
        "them.",
        "## Licence",
        f"{facts.licence}, as the start model's card says; that of the pairs is their source's."
        if facts.licence
        else "Not known: the start model's folder names none. Those of the start model and of the pairs hold.",
        "## Where it comes from",
        _table(("", ""), [("base model", facts.base_model), *facts.origins.items()]),
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def _answers(evidence: EvaluationEvidence) -> str:
    rows = (row for suite in evidence.checks.values() for row in suite)
    sampled = max((len(row.sampled.get("challenger", ())) for row in rows), default=0)
    return f"greedy answers, {sampled} sampled ones in behaviour and retention" if sampled else "greedy answers"


def _method(facts: CardFacts) -> str:
    loss = facts.training.get("loss", "sigmoid")
    if loss == "sigmoid":
        return "Direct Preference Optimization (Rafailov et al. 2023)"
    return "the loss " + (loss if isinstance(loss, str) else " + ".join(f"{w:g} {name}" for name, w in loss.items()))


def _metadata(facts: CardFacts, evidence: EvaluationEvidence) -> ModelCardData:
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type="held-out",
            dataset_name="held-out questions",
            metric_type=name,
            metric_value=round(estimate.value, 4),
        )
        for name, estimate in evidence.means["challenger"].items()
    ]
    return ModelCardData(
        base_model=facts.base_model,
        license=facts.licence,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["dpo", "preference-optimization", "dpo-pipeline"],
        model_name=facts.name,
        eval_results=results or None,
    )


def _metrics(facts: CardFacts, evidence: EvaluationEvidence) -> str:
    others = ["reference", *(["baseline"] if facts.baseline != "reference" else [])]
    rows = [
        (
            name,
            *(_value(evidence.means[who].get(name)) for who in others),
            f"{number(estimate.value)} ({number(estimate.low)} to {number(estimate.high)})",
        )
        for name, estimate in evidence.means["challenger"].items()
    ]
    heads = {"reference": "start model", "baseline": facts.baseline}
    return _table(("metric", *(heads[who] for who in others), "this version (95 % interval)"), rows)


def _value(estimate: Estimate | None) -> str:
    return "" if estimate is None else str(number(estimate.value))


def _sealed(evidence: EvaluationEvidence) -> str:
    if not evidence.sealed:
        return "The same questions decided whether it is promoted: the figures look a little better than they are."
    return f"Those of {', '.join(evidence.sealed)} are of a third that decided nothing."


def _uptake(found: Sequence[UptakeRecord], others: Mapping[str, str]) -> str:
    if not found:
        return "" if others else "No feature of the answers gave the chosen one away: none was looked for in the model."
    rows = [
        (
            u.name,
            f"{u.towards}, {u.treated}",
            "yes" if u.learnt else "no" if u.items else "not measured",
            _interval(u.preference.get("challenger")),
            f"{u.shown['baseline'].value:.0%} → {u.shown['challenger'].value:.0%}" if u.shown else "",
        )
        for u in found
    ]
    head = (
        "feature",
        "side, and what was done",
        "learnt",
        "preference for it alone (0.5: none)",
        "answers that show it",
    )
    return _table(head, rows)


def _interval(estimate: Estimate | None) -> str:
    return "" if estimate is None else f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def trained_with(facts: CardFacts) -> list[tuple[str, str]]:
    """The keys of the recipe that people ask for first, with their values."""
    shown = {key: facts.training.get(key) for key in TRAINED_WITH}
    return [(key, str(value)) for key, value in shown.items() if value is not None and value is not False]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(map(plain, cells))} |"

    return "\n".join([line(head), "|" + "---|" * len(head), *map(line, rows)])
