"""Pairs from what people said on the page of `dpo judge`, without the personal data in them."""

from collections import Counter
from dataclasses import dataclass, replace

from dpo_core.curate.personal import PersonalData, cleaned, names_of
from dpo_core.data.pairs import Pair
from dpo_core.judging.lines import Judged
from dpo_core.judging.verdicts import pairs_of_judged


@dataclass(frozen=True)
class PairsOfJudgements:
    """The pairs, items without one by reason, and how many answers people judged."""

    pairs: tuple[Pair, ...]
    dropped: dict[str, int]
    answers: int


def pairs_of_judgements(judged: Judged, *, personal_data: PersonalData = "mask") -> PairsOfJudgements:
    """A pair for each item that people agree on. The same judgements give the same pairs in the same order."""
    made = pairs_of_judged(judged)
    dropped = Counter(reason for _, reason in made.left_out)
    pairs = []
    for pair in made.pairs:
        clean = cleaned(pair, personal_data)
        if clean.refused:
            dropped[clean.refused] += 1
            continue
        people = names_of(pair.meta["annotator"].split(", "), personal_data)
        meta = {**pair.meta, "annotator": people} | ({"masked": clean.masked} if clean.masked else {})
        pairs.append(replace(clean.pair, meta=meta))
    answers = sum(len(judged.items[item].answers) for item, _ in judged.voices())
    return PairsOfJudgements(tuple(pairs), dict(dropped), answers)
