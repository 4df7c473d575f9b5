"""One drawing: prompts answered by the model as it is, scored, and the pairs that are chosen of the answers.

What is kept of it is whole: pairs as text and as ids, their reference log-probs, figures. All of it follows from the
weights, the run's seed, the step and the prompts, so that a drawing that a kill took is made again alike.
"""

import math
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from dpo_core.curate.choice import Candidate, Choice, Group, Option
from dpo_core.curate.online.curves import OnlineFacts, online_facts
from dpo_core.curate.prompts import PromptItem
from dpo_core.curate.selection import select
from dpo_core.data.digests import digest_json
from dpo_core.data.pairs import EncodedPair, Example, Pair
from dpo_core.model.answers.decoding import Answer
from dpo_core.model.encode import encode_pairs
from dpo_core.model.logprobs import Scorer
from dpo_core.records import Record
from tasks.curate.ways.choose import UNANSWERED, UNSCORED, said
from tasks.curate.ways.scoring import RewardScorer
from tasks.online.learner import Learner, Response, responses_of
from tasks.records import WorkOrder


class FreshPair(Record):
    """A pair of new answers. `reference`: nats of each token of either side; None for a loss that has none."""

    row: dict[str, Any] = Field(description="as a file of pairs has it")
    prompt_ids: tuple[int, ...]
    chosen_ids: tuple[int, ...]
    rejected_ids: tuple[int, ...]
    reference: tuple[tuple[float, ...], tuple[float, ...]] | None

    def example(self) -> Example:
        """As training reads it."""
        known: dict[str, float | None] = {"ref_chosen_logps": None, "ref_rejected_logps": None}
        if self.reference is not None:
            shorter = min(map(len, self.reference))
            for side, values in zip(("chosen", "rejected"), self.reference, strict=True):
                known[f"ref_{side}_logps"] = math.fsum(values)
                known[f"ref_{side}_public_logps"] = math.fsum(values[:shorter])
        row, ids = self.row, (self.prompt_ids, self.chosen_ids, self.rejected_ids)
        return Example(row["id"], *ids, sft_weight=row["sft_weight"], where=row["where"], **known)  # type: ignore[arg-type]


class OnlineDrawing(Record):
    """What came of it. `prompts`: asked, in the run's order of them; `dropped`: of these without a pair, by reason."""

    facts: OnlineFacts
    prompts: int
    tokens: int
    pairs: list[FreshPair]
    dropped: dict[str, int]
    ended: str = Field("", description="why no other follows, in words")


class OnlineDraft:
    """A drawing in work: prompts are added until there are pairs enough."""

    def __init__(
        self, step: int, order: WorkOrder, learner: Learner, scorer: RewardScorer, frozen: Scorer | None
    ) -> None:
        assert order.online is not None, "the run answers prompts"
        self._step, self._order, self._learner, self._scorer, self._frozen = step, order, learner, scorer, frozen
        self._curation, self._encoding = order.online.plan.curation, order.online.encoding
        self._groups: list[Group] = []
        self._measured, self._own, self._reference = 0, 0.0, 0.0  # tokens, and -log p of them, in nats
        self.pairs: list[FreshPair] = []
        self.dropped = Counter[str]()
        self.prompts = self.tokens = 0
        self.answering_s = self.scoring_s = 0.0

    def ask(self, items: Sequence[PromptItem], places: int) -> None:
        """Answers, scores and pairs of these prompts too, which are so many places of the run's order."""
        seed = int(digest_json([self._order.seed, self._curation.seed, self._step, self.prompts])[:15], 16)
        start = time.monotonic()
        answers, refused = self._learner.answers(items, seed)
        scored_from = time.monotonic()
        groups, owners, firsts = [], [], list[Response]()
        for place, (item, found) in enumerate(zip(items, answers, strict=True)):
            if place in refused:
                self.dropped[UNANSWERED] += 1
            elif (group := self._scored(item, found, place)) is None:
                self.dropped[UNSCORED] += 1
            else:
                groups.append(group)
                owners.append(item)
            firsts += [self._learner.response(item, one) for one in found[:1] if one.ids]
            self.tokens += sum(one.tokens + one.ended for one in found)
        self.answering_s += scored_from - start
        self.scoring_s += time.monotonic() - scored_from
        self.prompts += places
        self._measure(firsts)
        self._choose(groups, owners)
        self._groups += groups

    def facts(self) -> OnlineFacts:
        """The figures so far."""
        tokens = self._measured or math.nan
        surprise = (self._own / tokens, self._reference / tokens)
        counts = {"prompts": self.prompts, "pairs": len(self.pairs)}
        return online_facts(self._step, self._groups, self._choice, **counts, surprise=surprise)

    @property
    def _choice(self) -> Choice:
        return self._curation.choice

    def _scored(self, item: PromptItem, found: Sequence[Answer], place: int) -> Group | None:
        scores = self._scorer.score(item, [one.text for one in found])
        if scores is None:
            return None
        pairs = zip(found, scores, strict=True)
        candidates = tuple(Candidate(one.text, score, one.tokens, one.ended) for one, score in pairs)
        return Group(f"{item.key} {self.prompts + place}", candidates)

    def _choose(self, groups: Sequence[Group], owners: Sequence[PromptItem]) -> None:
        selection = select(groups, self._choice, length_warn=self._curation.validation.length_warn)
        self.dropped.update(selection.dropped)
        picks = zip(owners, selection.picks, strict=True)
        encoded = encode_pairs(
            [_pair(item, pick, self._step) for item, pick in picks if pick is not None],
            self._learner.tokenizer,
            self._encoding,
        )
        self.dropped.update(reason for _, reason in encoded.rejected)
        self.pairs += self._with_reference(encoded.encoded)

    def _with_reference(self, encoded: Sequence[EncodedPair]) -> list[FreshPair]:
        reference: list[tuple[tuple[float, ...], tuple[float, ...]] | None] = [None] * len(encoded)
        if not self._order.training.reference_free:
            values = self._learner.reference_logps(responses_of(encoded), self._frozen)
            sides = [tuple(map(float, row.tolist())) for row in values]
            reference = list(zip(sides[0::2], sides[1::2], strict=True))
        return [
            FreshPair(
                row=one.pair.to_row(),
                prompt_ids=one.prompt_ids,
                chosen_ids=one.chosen_ids,
                rejected_ids=one.rejected_ids,
                reference=known,
            )
            for one, known in zip(encoded, reference, strict=True)
        ]

    def _measure(self, firsts: Sequence[Response]) -> None:
        """Add up -log p of the tokens of these answers, in nats: under the model, and under the reference."""
        if not firsts:
            return
        self._measured += sum(len(answer) for _, answer in firsts)
        self._own -= sum(float(values.double().sum()) for values in self._learner.logps(firsts))
        if self._order.training.reference_free:
            self._reference = math.nan
            return
        known = self._learner.reference_logps(firsts, self._frozen)
        self._reference -= sum(float(values.double().sum()) for values in known)


def _pair(item: PromptItem, pick: Option, step: int) -> Pair:
    meta = {"chosen_score": pick.chosen.score, "rejected_score": pick.rejected.score, "step": step}
    where = f"step {step}, {item.where}" if item.where else f"step {step}"
    chosen, rejected = said(pick.chosen.text), said(pick.rejected.text)
    return Pair(item.prompt, chosen, rejected, source=item.source, meta=meta, where=where)
