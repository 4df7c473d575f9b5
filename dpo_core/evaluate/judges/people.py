"""How far people who judged the same items agree with each other, and whether they lean to the left."""

import math
from collections import defaultdict
from itertools import combinations

from pydantic import Field

from dpo_core.evaluate.intervals import Interval, mean_interval
from dpo_core.evaluate.judges.agreement import kappa
from dpo_core.judging.lines import COMPARED, Judged, Judgement
from dpo_core.judging.lots import lot
from dpo_core.judging.verdicts import disagreements
from dpo_core.records import Record


class WithInterval(Record):
    """A share or a kappa with its 95 % interval over prompts; nulls where it is not defined."""

    value: float | None = Field(description="the estimate")
    low: float | None = Field(description="of the 95 % interval")
    high: float | None = Field(description="of the 95 % interval")

    @classmethod
    def of(cls, interval: Interval) -> "WithInterval":
        """NaN becomes null."""
        value, low, high = (None if math.isnan(number) else number for number in interval)
        return cls(value=value, low=low, high=high)


class Person(Record):
    """What one person did."""

    name: str
    judged: int = Field(description="items decided on; of an item judged twice, once")
    skipped: int = Field(description="items left to others")
    ties: int = Field(description="both answers equally good")
    bad: int = Field(description="both answers bad")
    edited: int = Field(description="answers corrected")
    left: WithInterval | None = Field(
        description="share of the preferred answers that stood left, 0.5 without a lean; null: none"
    )
    seconds: float | None = Field(description="median time a decision; null: not known")


class Agreement(Record):
    """Two people on the items that both compared; choices are first, second, tie and bad."""

    people: tuple[str, str]
    items: int
    agreement: WithInterval = Field(description="share of the items of which both say the same")
    kappa: WithInterval = Field(description="agreement beyond chance (Cohen); null where both always say one thing")


class PeopleReport(Record):
    """Who judged, how far they agree, and what is to be settled."""

    people: list[Person] = Field(description="in the order of their first judgement")
    pairs: list[Agreement] = Field(description="of each two people who judged the same items")
    together: Agreement | None = Field(
        description="any two judgements of an item, in an order by lot; null: no item has two"
    )
    disagreements: list[str] = Field(description="items that are to be settled")
    settled: int = Field(description="disagreements that somebody settled")


def people_report(judged: Judged) -> PeopleReport:
    """What a file of judgements says of the people who made it."""
    voices = {item.id: [one for one in judged.of(item.id) if one.choice in COMPARED] for item in judged.judged_items()}
    shared: dict[tuple[str, str], list[tuple[Judgement, Judgement]]] = defaultdict(list)
    together: list[tuple[Judgement, Judgement]] = []
    for said in voices.values():
        ordered = sorted(said, key=lambda one: one.by)
        for one, other in combinations(ordered, 2):
            shared[one.by, other.by].append((one, other))
        if len(said) > 1:
            one, other = sorted(ordered, key=lambda voice: lot(voice.item, voice.by))[:2]
            together.append((one, other))
    return PeopleReport(
        people=[_person(name, judged, said) for name, said in judged.people().items()],
        pairs=[_agreement(names, both, judged) for names, both in shared.items()],
        together=_agreement(("one", "another"), together, judged) if together else None,
        disagreements=disagreements(judged),
        settled=sum(judged.settlement(name) is not None for name in voices),
    )


def _agreement(names: tuple[str, str], both: list[tuple[Judgement, Judgement]], judged: Judged) -> Agreement:
    clusters = [judged.items[one.item].cluster for one, _ in both]
    left, right = [one.choice for one, _ in both], [other.choice for _, other in both]
    same = [float(one == other) for one, other in zip(left, right, strict=True)]
    return Agreement(
        people=names,
        items=len(both),
        agreement=WithInterval.of(mean_interval(same, clusters)),
        kappa=WithInterval.of(kappa(left, right, clusters)),
    )


def _person(name: str, judged: Judged, said: list[Judgement]) -> Person:
    newest = {one.item: one for one in said if not one.settles}.values()
    decided = [one for one in newest if one.choice != "skip"]
    sided = [one for one in decided if one.choice in ("first", "second") and one.left]
    times = sorted(one.seconds for one in decided if one.seconds > 0)
    counts = {choice: sum(one.choice == choice for one in newest) for choice in ("skip", "tie", "bad", "edit")}
    clusters = [judged.items[one.item].cluster for one in sided]
    return Person(
        name=name,
        judged=len(decided),
        skipped=counts["skip"],
        ties=counts["tie"],
        bad=counts["bad"],
        edited=counts["edit"],
        left=WithInterval.of(mean_interval([float(one.choice == one.left) for one in sided], clusters))
        if sided
        else None,
        seconds=times[len(times) // 2] if times else None,
    )
