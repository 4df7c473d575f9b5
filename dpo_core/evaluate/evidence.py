"""What several models answered to the same questions, side by side: all that the gate decides on and a report shows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from dpo_core.data.digests import prompt_digest
from dpo_core.data.pairs import Message, Pair, text_of
from dpo_core.evaluate.behaviour import BehaviourCheck
from dpo_core.evaluate.generations import Prompts, generation_scores
from dpo_core.evaluate.intervals import mean_interval
from dpo_core.evaluate.pairs.slices import metric_of, slices_of
from dpo_core.evaluate.pairs.values import PairValues, summarise
from dpo_core.evaluate.preferred import EVEN, JUDGED, JudgedBy, even_items, judged_items, preferred
from dpo_core.evaluate.scores import UNLIMITED, Scores
from dpo_core.evaluate.soundness import faults, run_on
from dpo_core.evaluate.suites import SHOWN, answered, flips, shares_right
from dpo_core.evaluate.unseen import Items
from dpo_core.evaluate.uptake.counterfactuals import Counterfactual, not_looked_for
from dpo_core.evaluate.uptake.learnt import Probes, preferences, uptake
from dpo_core.quality.text.refusals import refuses
from dpo_core.quality.words import count_words
from dpo_core.recipe_release import ANSWER_REWARD, BREVITY, EQUAL_LENGTH, LM_EVAL, WIN_RATE, is_share
from dpo_core.report.documents import (
    AgainRecord,
    DivergenceRecord,
    Estimate,
    EvaluationEvidence,
    ItemScores,
    PreferredRecord,
    SampleAnswers,
    ShortcutRecord,
    UnsoundAnswer,
)

PAIR_METRICS = ("rewards/accuracies", "rewards/margins")
PAIRS, SAMPLES = "pairs", "samples"  # held-out pairs, and prompts of some of them, among the names of suites
Suites = Mapping[str, Sequence[BehaviourCheck]]  # behaviour/NAME and retention/NAME


@dataclass(frozen=True)
class Questions:
    """What every model was asked: suites, sample prompts, held-out pairs, answers with and without a shortcut.

    `items` are those that may be compared, of the held-out `pairs` (PAIRS), the samples (SAMPLES) and of each suite;
    `trivial`: of each pair what rules that understand nothing say; `judged_by`: who compared answers to the samples.
    """

    suites: Suites
    samples: Sequence[tuple[Message, ...]]
    pairs: Sequence[Pair]
    items: Mapping[str, Items]
    shortcuts: Sequence[ShortcutRecord] = ()
    edited: Sequence[Counterfactual] = ()
    trivial: Mapping[str, Sequence[float]] = field(default_factory=dict)
    judged_by: JudgedBy | None = None


@dataclass(frozen=True)
class Measured:
    """One model: its answers by suite (and to the "samples"), NLL of each paragraph (nats a token), held-out pairs.

    `nll`: by the digest of each paragraph. `uptake`: of each counterfactual the reward with the shortcut minus the one
    without; `sampled`: by suite, several answers to each question, drawn by lot, where the recipe asks for them. `wins`
    and `rewards`: of each answer to the samples how far it is better than the baseline's, and its own reward; None: no
    score. `again`: of answers that were asked for twice, what became of them. `benchmarks`: by task of lm-eval the
    score of each of its documents. `cut`: by suite, which answers did not end within the length allowed.
    """

    answers: Mapping[str, Sequence[str]]
    nll: Mapping[str, float]
    pairs: Mapping[str, Sequence[float]]
    uptake: Sequence[float] = ()
    sampled: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    wins: Sequence[float | None] = ()
    rewards: Sequence[float | None] = ()
    again: Mapping[str, int] = field(default_factory=dict)
    benchmarks: Mapping[str, Sequence[float]] = field(default_factory=dict)
    cut: Mapping[str, Sequence[bool]] = field(default_factory=dict)


def draw_samples(pairs: Sequence[Pair], count: int) -> list[tuple[Message, ...]]:
    """Held-out prompts for the report, spread over the data's sources."""
    chat = [pair for pair in pairs if not pair.plain]
    distinct = {prompt_digest(pair.prompt): pair for pair in chat}
    by_source: dict[str, list[Pair]] = {}
    for pair in distinct.values():
        by_source.setdefault(pair.source, []).append(pair)
    rounds = [
        group[i]
        for i in range(max(map(len, by_source.values()), default=0))
        for group in by_source.values()
        if i < len(group)
    ]
    return [pair.prompt for pair in rounds[:count]]


def side_by_side(models: Mapping[str, Measured], asked: Questions) -> EvaluationEvidence:
    """The evidence of `reference`, `challenger`, `baseline`, and `anchor` if there is one.

    Only items that may be compared are counted. Where some are sealed, the figures are of those, and the gate sees the
    others.
    """
    suites, samples, pairs, items = asked.suites, asked.samples, asked.pairs, dict(asked.items)
    if asked.judged_by is not None:
        items[JUDGED] = judged_items(items[SAMPLES], models)
    parts, divided = slices_of(pairs), {name: these.divided() for name, these in items.items()}
    gated, shown = (_evened({name: both[side] for name, both in divided.items()}, models) for side in (0, 1))
    prompts = {SAMPLES: list(samples), **{name: [check.prompt for check in checks] for name, checks in suites.items()}}
    unsound = {who: _unsound(models, who, prompts) for who in models}
    learnt = {
        side: Probes(asked.shortcuts, asked.edited, pairs, which[PAIRS]) for side, which in enumerate((gated, shown))
    }
    scores = _all_scores(models, suites, gated, unsound, prompts)
    more = {
        who: _of_slices(model, parts, gated[PAIRS]) | preferences(learnt[0], model.uptake)
        for who, model in models.items()
    }
    sealed = [name for name, (mine, others) in divided.items() if mine is not others]
    figures = _all_scores(models, suites, shown, unsound, prompts) if sealed else scores
    places, clusters = shown[PAIRS].places, list(shown[PAIRS].clusters)
    values = {name: [column[i] for i in places] for name, column in models["challenger"].pairs.items()}
    compared = PairValues(values, clusters, [pairs[i].source for i in places])
    means = {
        who: {name: _mean(name, s) for name, s in by_metric.items() if s.values} for who, by_metric in figures.items()
    }
    texts = {who: _texts(models[who], shown) for who in SHOWN}
    of_pairs = {name: Estimate.of(interval) for name, interval in summarise(compared).items()} if places else {}
    return EvaluationEvidence(
        metrics=of_pairs | {name: mean for name, mean in means["challenger"].items() if name not in of_pairs},
        means={who: {name: found[name] for name in found if name != BREVITY} for who, found in means.items()},
        sealed=sealed,
        slices=_slices(models["challenger"].pairs, asked.trivial, parts, shown[PAIRS]),
        trivial=_trivial(asked, shown[PAIRS]),
        items={
            who: {name: ItemScores(**asdict(s)) for name, s in (by_metric | more[who]).items()}
            for who, by_metric in scores.items()
            if who != "reference"
        },
        flips={name: flips(models, name, suites[name]) for name in suites},
        samples=[
            SampleAnswers(prompt=text_of(prompt), **{who: models[who].answers["samples"][i] for who in SHOWN})
            for i, prompt in enumerate(samples)
        ],
        checks={name: answered(models, name, checks) for name, checks in suites.items()},
        unsound=_told(models["challenger"], prompts, unsound["challenger"]),
        uptake=uptake(
            learnt[1],
            {who: models[who].uptake for who in SHOWN},
            {who: models[who].pairs["rewards/accuracies"] for who in SHOWN},
            texts,
        ),
        not_looked_for=not_looked_for(asked.shortcuts),
        preferred=_preferred(asked, models, shown),
        again={who: _again(models[who].again) for who in SHOWN if models[who].again},
        generated={who: _generated(*found) for who, found in texts.items()},
    )


def _evened(items: Mapping[str, Items], models: Mapping[str, Measured]) -> Mapping[str, Items]:
    """With those of the judged prompts to which the answers of challenger and baseline are even in length."""
    return {**items, EVEN: even_items(items[JUDGED], models, SAMPLES)} if JUDGED in items else items


def _told(
    model: Measured, prompts: Mapping[str, Sequence[Sequence[Message]]], unsound: Mapping[str, Sequence[str]]
) -> list[UnsoundAnswer]:
    return [
        UnsoundAnswer(prompt=text_of(prompt), answer=answer, fault=fault)
        for name, found in unsound.items()
        for prompt, answer, fault in zip(prompts[name], model.answers[name], found, strict=True)
        if fault
    ]


def _generated(texts: Sequence[str], clusters: Sequence[str]) -> dict[str, Estimate]:
    """What the answers look like: their words, and how many decline."""
    if not texts:
        return {}
    words = mean_interval([float(count_words(text)) for text in texts], clusters, answers=False)
    refusals = mean_interval([float(refuses(text)) for text in texts], clusters)
    return {"words": Estimate.of(words), "refusals": Estimate.of(refusals)}


def _preferred(asked: Questions, models: Mapping[str, Measured], shown: Mapping[str, Items]) -> PreferredRecord | None:
    by = asked.judged_by
    return None if by is None else preferred(by, models, SAMPLES, shown[SAMPLES], shown[JUDGED])


def _again(counts: Mapping[str, int]) -> AgainRecord:
    flags = [1.0] * counts["changed"] + [0.0] * (counts["asked"] - counts["changed"])
    return AgainRecord(asked=counts["asked"], changed=Estimate.of(mean_interval(flags)), flipped=counts["flipped"])


def divergence_of(k1: Sequence[float], k3: Sequence[float], prompts: Sequence[Sequence[Message]]) -> DivergenceRecord:
    """Both estimates with their intervals, over prompts."""
    names = [prompt_digest(prompt) for prompt in prompts]
    k1_mean, k3_mean = (Estimate.of(mean_interval(list(values), names, answers=False)) for values in (k1, k3))
    return DivergenceRecord(prompts=len(names), k1=k1_mean, k3=k3_mean)


def _of_slices(model: Measured, parts: Mapping[str, Sequence[int]], items: Items) -> dict[str, Scores]:
    """The accuracy on each part of the held-out pairs, as the gate may name it."""
    return {metric_of(name): _part(model.pairs["rewards/accuracies"], part, items) for name, part in parts.items()}


def _part(values: Sequence[float], part: Sequence[int], items: Items) -> Scores:
    inside = set(part)
    kept = [(place, name) for place, name in zip(items.places, items.clusters, strict=True) if place in inside]
    return Scores([values[place] for place, _ in kept], [name for _, name in kept], len(part) - len(kept))


def _slices(
    pairs: Mapping[str, Sequence[float]],
    trivial: Mapping[str, Sequence[float]],
    parts: Mapping[str, Sequence[int]],
    items: Items,
) -> dict[str, dict[str, Estimate]]:
    found, columns = {}, {metric: pairs[metric] for metric in PAIR_METRICS} | dict(trivial)
    for name, part in parts.items():
        scores = {metric: _part(column, part, items) for metric, column in columns.items()}
        if scores[PAIR_METRICS[0]].values:
            found[name] = {m: Estimate.of(mean_interval(s.values, s.clusters)) for m, s in scores.items()}
    return found


def _trivial(asked: Questions, items: Items) -> dict[str, Estimate]:
    values = {name: [column[place] for place in items.places] for name, column in asked.trivial.items()}
    return {name: Estimate.of(mean_interval(kept, items.clusters)) for name, kept in values.items() if kept}


def _texts(model: Measured, items: Mapping[str, Items]) -> tuple[list[str], list[str]]:
    """All generated answers that may be compared, and the cluster of each."""
    asked = [(name, which) for name, which in items.items() if model.answers.get(name)]
    texts = [model.answers[name][place] for name, which in asked for place in which.places]
    return texts, [cluster for _, which in asked for cluster in which.clusters]


def _unsound(models: Mapping[str, Measured], who: str, prompts: Prompts) -> dict[str, list[str]]:
    """The fault of every answer, by suite; nothing where a model without a chat template gave none."""
    model, baseline = models[who], models["baseline"]

    def endless(name: str) -> list[bool]:
        if who != "challenger" or name not in model.cut:
            return []
        return run_on(model.answers[name], model.cut[name], baseline.answers[name], baseline.cut[name])

    return {
        name: faults(model.answers[name], asked, endless(name))
        for name, asked in prompts.items()
        if model.answers[name]
    }


def _mean(name: str, scores: Scores) -> Estimate:
    shares = is_share(name) or name.startswith(LM_EVAL)  # as far as its values are
    answers = name not in UNLIMITED
    return Estimate.of(mean_interval(scores.values, scores.clusters, answers=answers, shares=shares))


def _all_scores(
    models: Mapping[str, Measured],
    suites: Suites,
    items: Mapping[str, Items],
    unsound: Mapping[str, Mapping[str, Sequence[str]]],
    prompts: Prompts,
) -> dict[str, dict[str, Scores]]:
    """Per-item values of every metric that the gate may name, but for parts and shortcuts; more is better."""
    others = models["baseline"].answers
    return {
        who: _scores(model, suites, items) | generation_scores(model.answers, others, unsound[who], prompts, items)
        for who, model in models.items()
    }


def _scores(model: Measured, suites: Suites, items: Mapping[str, Items]) -> dict[str, Scores]:
    """Those of pairs, questions, documents and text."""

    def scores_of(values: Sequence[float], which: Items) -> Scores:
        return Scores([values[place] for place in which.places], which.clusters, which.left_out)

    scores = {name: scores_of(model.pairs[name], items[PAIRS]) for name in PAIR_METRICS}
    for name, checks in suites.items():
        scores[name] = scores_of(shares_right(checks, model, name), items[name])
    for name, values in model.benchmarks.items():
        scores[name] = scores_of(values, items[name])
    judged = ((WIN_RATE, model.wins, JUDGED), (EQUAL_LENGTH, model.wins, EVEN), (ANSWER_REWARD, model.rewards, JUDGED))
    for name, column, which in judged:
        if len(column):
            scores[name] = scores_of([math.nan if value is None else value for value in column], items[which])
    if model.nll:
        scores["retention/neutral_text"] = Scores([-nll for nll in model.nll.values()], list(model.nll))
    return scores
