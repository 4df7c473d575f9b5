"""Pairs of scored answers: the best of each prompt against a bad one, length held equal."""

from collections import Counter
from collections.abc import Mapping, Sequence

from dpo_core.curate.choice import Candidate, cut_off
from dpo_core.curate.curves import facts_of
from dpo_core.curate.prompts import PromptItem
from dpo_core.curate.selection import select
from dpo_core.data.messages import say
from dpo_core.data.pairs import Message, Pair
from dpo_core.errors import InputError
from infra.store.base import Store
from tasks.curate.answer_store import StoredAnswer
from tasks.curate.records import CurationPlan
from tasks.curate.ways.judges import admitted
from tasks.curate.ways.scoring import RewardScorer, samples_of

Known = Mapping[tuple[str, int], StoredAnswer]
UNANSWERED, UNSCORED = "no answer came", "the answers have no scores"


def chosen_pairs(
    plan: CurationPlan, store: Store, items: Sequence[PromptItem], known: Known
) -> tuple[list[Pair], dict[str, object]]:
    """The pairs in the order of the prompts, and what the stage's record says of the choice."""
    scorer, curation = RewardScorer(plan, store), plan.curation
    judges = admitted(curation.rewards, scorer.ask)
    groups = scorer.groups(items, known)
    selection = select(groups, curation.choice, length_warn=curation.validation.length_warn)
    by_key = {item.key: item for item in items}
    pairs = [
        _pair(by_key[group.key], pick.chosen, pick.rejected)
        for group, pick in zip(groups, selection.picks, strict=True)
        if pick is not None
    ]
    unanswered = sum(not samples_of(item, known, curation.samples) for item in items)
    dropped = Counter(selection.dropped) + Counter({UNANSWERED: unanswered, UNSCORED: len(scorer.unscored)})
    told = [selection.length.says] if selection.length.says else []
    told += [f"no score, for instance: {next(iter(scorer.unscored.values()))}"] if scorer.unscored else []
    if not pairs:
        says = "; ".join(f"{count}: {reason}" for reason, count in dropped.most_common())
        do = cut_off(groups, curation.choice) + "look at some answers and their scores: the reward, the margin or the "
        do += "temperature leaves nothing to choose"
        raise InputError(f"no pair came of {len(items)} prompts ({says})", where=curation.name, do=do)
    facts = facts_of(1, groups, curation.choice)
    refused = len(scorer.refused)
    return pairs, {"dropped": dict(dropped), "notes": told, "facts": facts, "judges": judges, "refused": refused}


def _pair(item: PromptItem, chosen: Candidate, rejected: Candidate) -> Pair:
    meta = {"chosen_score": chosen.score, "rejected_score": rejected.score}
    return Pair(item.prompt, said(chosen.text), said(rejected.text), source=item.source, meta=meta, where=item.where)


def said(text: str) -> tuple[Message, ...]:
    """An answer as the side of a pair."""
    return tuple(say("assistant", text))
