"""Pairs by correction: the model's own answer is rejected, the same with its faults mended is chosen."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from dpo_core.curate.correct import Corrected, Uncorrected, corrected
from dpo_core.curate.curation import CorrectionWay
from dpo_core.curate.prompts import PromptItem
from dpo_core.curate.rewriting import rewritten
from dpo_core.data.pairs import Pair
from dpo_core.errors import InputError
from infra.store.base import Store
from tasks.curate.answer_store import StoredAnswer
from tasks.curate.endpoints import ask_of
from tasks.curate.records import CurationPlan
from tasks.curate.ways.choose import UNANSWERED, said
from tasks.curate.ways.judges import admitted
from tasks.curate.ways.rendered import rendered
from tasks.curate.ways.scoring import RewardScorer, samples_of

NO_BETTER = "the reward finds the correction no better than the answer"
QUANTILES = (0.0, 0.5, 0.9, 1.0)
Row = tuple[PromptItem, str]  # a prompt and the model's answer


def corrected_pairs(
    plan: CurationPlan, store: Store, items: Sequence[PromptItem], known: Mapping[tuple[str, int], StoredAnswer]
) -> tuple[list[Pair], dict[str, object]]:
    """The pairs in the order of the prompts, and what the stage's record says of the corrections."""
    how = plan.curation.correction
    assert how is not None, "the recipe corrects"
    if how.renderings is not None:
        return rendered(plan, items, known)
    scorer = RewardScorer(plan, store) if how.better else None
    refused = scorer.refused if scorer else []
    judges = admitted(plan.curation.rewards, scorer.ask) if scorer else {}
    rows = [(item, one.text) for item in items for one in samples_of(item, known, plan.curation.samples)]
    found = _corrections(plan, store, rows, how, refused)
    answered = {item.key for item, _ in rows}
    kept, dropped = [], Counter({UNANSWERED: sum(item.key not in answered for item in items)})
    for (item, answer), correction in zip(rows, found, strict=True):
        if isinstance(correction, Uncorrected):
            dropped[correction.reason] += 1
        elif scorer and not _is_better(scorer, item, answer, correction.text):
            dropped[NO_BETTER] += 1
        else:
            kept.append((_pair(item, answer, correction), correction.distance))
    if not kept:
        says = "; ".join(f"{count}: {reason}" for reason, count in dropped.most_common())
        do = "look at some answers: the rules of correction must be meant for what they say"
        raise InputError(f"no pair came of {len(rows)} answers ({says})", where=plan.curation.name, do=do)
    distances = np.array([distance for _, distance in kept])
    changes = {f"{share:g}": float(np.quantile(distances, share)) for share in QUANTILES}
    record = {"dropped": dict(+dropped), "notes": [], "changes": changes, "judges": judges, "refused": len(refused)}
    return [pair for pair, _ in kept], record


def _corrections(
    plan: CurationPlan, store: Store, rows: Sequence[Row], how: CorrectionWay, refused: list[str]
) -> list[Corrected | Uncorrected]:
    """By rules first; the stronger model gets what they left, and its reply stands for both."""
    by_rules = [corrected(answer, how.rules, item.wanted) for item, answer in rows]
    if how.model is None or how.rewriting is None:
        return list(by_rules)
    before = [found.text if isinstance(found, Corrected) else row[1] for found, row in zip(by_rules, rows, strict=True)]
    asked = [(item.prompt, text) for (item, _), text in zip(rows, before, strict=True)]
    return rewritten(asked, how.rewriting, ask_of(plan.reach, store, how.model, refused))


def _is_better(scorer: RewardScorer, item: PromptItem, answer: str, correction: str) -> bool:
    scores = scorer.score(item, [correction, answer])
    return scores is not None and scores[0] > scores[1]


def _pair(item: PromptItem, answer: str, correction: Corrected) -> Pair:
    meta = {"corrected_by": list(correction.by), "change": round(correction.distance, 6)}
    return Pair(item.prompt, said(correction.text), said(answer), source=item.source, meta=meta, where=item.where)
