"""A judge held against people, before it decides anything."""

import math
from collections.abc import Sequence

from dpo_core.errors import InputError
from dpo_core.evaluate.intervals import Interval, mean_interval
from dpo_core.evaluate.judges.agreement import kappa
from dpo_core.evaluate.judges.labels import Labelled
from dpo_core.evaluate.judges.leanings import Leaning, lean, length_slope, longer, own, place
from dpo_core.records import Record
from dpo_core.rewards.judge import Judge, Verdict

FEWEST_LABELS = 20  # different prompts


class JudgeReport(Record):
    """What a judge's verdicts on labelled pairs show; intervals are of 95 %, over prompts."""

    judge: str
    pairs: int
    prompts: int
    unread: int  # pairs of which a reply could not be read: a tie
    agreement: Interval  # share of pairs whose verdict is people's
    kappa: Interval  # the same beyond chance, ties being a verdict of their own; NaN where all say one thing
    ties: float  # share of the judge's verdicts
    people_ties: float
    changed: float  # share of pairs whose two orders disagree
    first_place: Interval  # share of pairs whose first place won in both orders, less that of the second
    follows_place: Interval  # share of pairs whose same place won in both orders
    length: Leaning | None  # to the longer answer; None: none is longer
    length_slope: Interval | None  # log-odds for each doubling of the length, given people's label
    own: Leaning | None  # to answers that the judge's model wrote; None: no row says that it wrote one


def judge_report(judge: Judge, labelled: Sequence[Labelled], *, wrote_as: str = "") -> JudgeReport:
    """Ask a judge about labelled pairs in both orders, and hold it against people.

    `wrote_as`: the judge's name among the pairs' generators; unset, its model's. Raises InputError where too many of
    its replies cannot be read.
    """
    verdicts = judge.verdicts([pair.match for pair in labelled])
    return report_of(judge.name, labelled, verdicts, wrote_as=wrote_as or judge.config.model)


def report_of(
    name: str, labelled: Sequence[Labelled], verdicts: Sequence[Verdict], *, wrote_as: str = ""
) -> JudgeReport:
    """The same of verdicts that are there already."""
    clusters = [pair.cluster for pair in labelled]
    people, choices = [pair.label for pair in labelled], [verdict.choice for verdict in verdicts]
    same = [float(one == other) for one, other in zip(people, choices, strict=True)]
    first, follows = place(verdicts, clusters)
    return JudgeReport(
        judge=name,
        pairs=len(labelled),
        prompts=len(set(clusters)),
        unread=sum(not verdict.read for verdict in verdicts),
        agreement=mean_interval(same, clusters),
        kappa=kappa(people, choices, clusters),
        ties=choices.count("tie") / len(choices),
        people_ties=people.count("tie") / len(people),
        changed=sum(verdict.read and verdict.straight != verdict.swapped for verdict in verdicts) / len(verdicts),
        first_place=first,
        follows_place=follows,
        length=lean(labelled, verdicts, longer(labelled)),
        length_slope=length_slope(labelled, verdicts),
        own=lean(labelled, verdicts, own(labelled, wrote_as)) if wrote_as else None,
    )


def require_labels(judge: str, labelled: Sequence[Labelled], *, where: str) -> None:
    """Raise InputError for labels of fewer than 20 prompts: whatever an estimate from them, it says too little."""
    prompts = len({pair.cluster for pair in labelled})
    if prompts < FEWEST_LABELS:
        says = f"the labels are of {prompts} prompts: they cannot say whether {judge} is to be trusted"
        raise InputError(says, where=where, do=f"label pairs of {FEWEST_LABELS} prompts at least; a hundred say much")


def require_kappa(report: JudgeReport, min_kappa: float, *, where: str) -> None:
    """Raise InputError, with what the judge leans to, where its kappa lies below `min_kappa`. `where`: the labels.

    The estimate decides, not the lower end of its interval: to show four times in five that a judge of 0.7 is above 0.6
    takes some 400 labelled pairs, so by the lower end teams would write a number that means nothing. The interval is
    shown.
    """
    found = report.kappa
    if math.isnan(found.value):
        says = "people and judge say the same of every pair, always the same: that shows no agreement beyond chance"
        raise InputError(says, where=where, do="label pairs of which now the first and now the second answer is better")
    if found.value < min_kappa:
        says = (
            f"{report.judge} agrees with people too little: kappa {found.value:.2f} "
            f"(95 % interval {found.low:.2f} to {found.high:.2f}) is below min_kappa {min_kappa:g}{_leanings(report)}"
        )
        do = "take a better judge or rubric, or pairs that are easier to judge; read where it differs from people"
        raise InputError(says, where=where, do=do)


def _leanings(report: JudgeReport) -> str:
    """In words: what is shown to lie away from 0."""
    of_length, of_own = (None if leaning is None else leaning.pull for leaning in (report.length, report.own))
    named = [("the first place", report.first_place), ("the longer answer", of_length), ("its own answers", of_own)]
    shown = [
        f"{'leans to' if value.value > 0 else 'leans away from'} {what} by {abs(value.value):.0%}"
        for what, value in named
        if value is not None and (value.low > 0 or value.high < 0)
    ]
    return f"; it {', '.join(shown)}" if shown else ""
