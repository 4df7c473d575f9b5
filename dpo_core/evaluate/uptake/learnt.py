"""What a model makes of each shortcut of its data, before and after training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.special import expit

from dpo_core.data.pairs import Pair, text_of
from dpo_core.evaluate.intervals import mean_interval
from dpo_core.evaluate.scores import UPTAKE, Scores
from dpo_core.evaluate.unseen import Items
from dpo_core.evaluate.uptake.counterfactuals import Counterfactual, feature_of, looked_for
from dpo_core.evaluate.uptake.edits import amount, shows
from dpo_core.report.documents import Estimate, ShortcutRecord, UptakeRecord

Shown = Mapping[str, tuple[Sequence[str], Sequence[str]]]  # of each model: generated answers, and each one's cluster


@dataclass(frozen=True)
class Probes:
    """The shortcuts, answers with and without them, and of the held-out pairs those that may be compared."""

    shortcuts: Sequence[ShortcutRecord]
    edited: Sequence[Counterfactual]
    pairs: Sequence[Pair]
    items: Items

    @property
    def clusters(self) -> dict[int, str]:
        """Of each pair that may be compared, by its place."""
        return dict(zip(self.items.places, self.items.clusters, strict=True))


def preferences(asked: Probes, margins: Sequence[float]) -> dict[str, Scores]:
    """For the gate, of one model: by metric the chance that it does not prefer an answer for the shortcut alone.

    `margins`: of each counterfactual, its reward with the shortcut minus the reward without. An item is
    1 - sigmoid(margin), the Bradley-Terry chance by which DPO reads rewards (Rafailov et al. 2023, equation 1): 0.5 is
    no preference, and more is better.
    """
    found = {}
    for shortcut in looked_for(asked.shortcuts):
        if shortcut.treated != "intended":
            towards, clusters = _towards(asked, shortcut, margins)
            made = sum(edit.shortcut == shortcut.name for edit in asked.edited)
            values = expit([-margin for margin in towards]).tolist()
            found[UPTAKE + shortcut.name] = Scores(values, clusters, made - len(values))
    return found


def uptake(
    asked: Probes,
    margins: Mapping[str, Sequence[float]],
    accuracies: Mapping[str, Sequence[float]],
    answers: Shown,
) -> list[UptakeRecord]:
    """Of every shortcut that can be put into an answer. All by model: `challenger`, `baseline`, `reference`.

    `accuracies` are of all held-out pairs, `margins` of the counterfactuals.
    """
    return [_uptake(asked, shortcut, margins, accuracies, answers) for shortcut in looked_for(asked.shortcuts)]


def _uptake(
    asked: Probes,
    shortcut: ShortcutRecord,
    margins: Mapping[str, Sequence[float]],
    accuracies: Mapping[str, Sequence[float]],
    answers: Shown,
) -> UptakeRecord:
    rewards = {who: _towards(asked, shortcut, values)[0] for who, values in margins.items()}
    clusters = _towards(asked, shortcut, margins["challenger"])[1]
    points = _signs(asked, shortcut)
    wrong, right = ([place for place, sign in points if sign == side] for side in (-1, 1))
    feature = feature_of(shortcut)
    shown = {who: [float(shows(feature, text)) for text in texts] for who, (texts, _) in answers.items()}
    of_answers = answers["challenger"][1]
    change = [new - old for new, old in zip(rewards["challenger"], rewards["baseline"], strict=True)]
    more = [new - old for new, old in zip(shown["challenger"], shown["baseline"], strict=True)]
    chances = {who: expit(values).tolist() for who, values in rewards.items()}
    reward = _estimates(rewards, clusters, answers=False)
    return UptakeRecord(
        name=shortcut.name,
        towards=shortcut.towards,
        treated=shortcut.treated,
        items=len(clusters),
        prompts=len(set(clusters)),
        reward=reward,
        change=_estimate(change, clusters, answers=False) if change else None,
        preference={who: _chance(found) for who, found in _estimates(chances, clusters, answers=False).items()},
        pairs_against=len(wrong),
        accuracy_against=_accuracies(asked, accuracies, wrong),
        pairs_with=len(right),
        accuracy_with=_accuracies(asked, accuracies, right),
        answers=len(more),
        shown=_estimates(shown, of_answers),
        shown_change=_estimate(more, of_answers, answers=False) if more else None,
        learnt=bool(clusters) and reward["challenger"].low > 0,
    )


def _chance(found: Estimate) -> Estimate:
    """The part of an interval in which a chance can lie: t over few prompts knows no limits, and loses none by them."""
    return found.model_copy(update={"low": max(found.low, 0.0), "high": min(found.high, 1.0)})


def _towards(asked: Probes, shortcut: ShortcutRecord, margins: Sequence[float]) -> tuple[list[float], list[str]]:
    """What the shortcut is worth on each item that may be compared, in the direction in which the data has it."""
    cluster = asked.clusters
    sign = 1 if shortcut.towards == "chosen" else -1
    found = [
        (sign * margin, cluster[edit.place])
        for edit, margin in zip(asked.edited, margins, strict=True)
        if edit.shortcut == shortcut.name and edit.place in cluster
    ]
    return [margin for margin, _ in found], [name for _, name in found]


def _signs(asked: Probes, shortcut: ShortcutRecord) -> list[tuple[int, int]]:
    """Pairs that may be compared: 1 where the shortcut points to the chosen answer, -1 to the rejected one, else 0."""
    feature, towards = feature_of(shortcut), 1 if shortcut.towards == "chosen" else -1
    found = []
    for place in asked.items.places:
        chosen, rejected = (
            amount(feature, text_of(side)) for side in (asked.pairs[place].chosen, asked.pairs[place].rejected)
        )
        found.append((place, towards * ((chosen > rejected) - (chosen < rejected))))
    return found


def _accuracies(asked: Probes, accuracies: Mapping[str, Sequence[float]], places: Sequence[int]) -> dict[str, Estimate]:
    cluster = asked.clusters
    names = [cluster[place] for place in places]
    return _estimates({who: [values[place] for place in places] for who, values in accuracies.items()}, names)


def _estimates(
    values: Mapping[str, Sequence[float]], clusters: Sequence[str], *, answers: bool = True
) -> dict[str, Estimate]:
    return {who: _estimate(found, clusters, answers=answers) for who, found in values.items()} if clusters else {}


def _estimate(values: Sequence[float], clusters: Sequence[str], *, answers: bool) -> Estimate:
    return Estimate.of(mean_interval(values, clusters, answers=answers))
