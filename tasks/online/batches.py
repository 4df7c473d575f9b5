"""The batches of a run that learns from its own answers: before every few steps a drawing, whose pairs are divided."""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from dpo_core.curate.online.curves import ran_away
from dpo_core.curate.prompts import PromptItem
from dpo_core.data.digests import digest_json
from dpo_core.data.pairs import Example
from dpo_core.errors import InputError
from dpo_core.model.logprobs import Scorer
from dpo_core.train.batches import batch_at
from tasks.curate.ways.scoring import RewardScorer
from tasks.online.drawing import FreshPair, OnlineDraft, OnlineDrawing
from tasks.online.learner import Learner
from tasks.online.prompts import drawings
from tasks.records import OnlineOutput, WorkOrder

log = logging.getLogger("dpo.online")
USED_UP = "the prompts are used up"
FILE = "online.jsonl"  # every drawing so far, a line each: in a checkpoint, and of a finished run


class OnlineBatches:
    """See `dpo_core.train.batches.Batches`. `offline`: pairs that are mixed in; `before`: drawings of a checkpoint."""

    def __init__(
        self,
        order: WorkOrder,
        items: Sequence[PromptItem],
        offline: Sequence[Example],
        learner: Learner,
        scorer: RewardScorer,
        frozen: Scorer | None,
        before: Sequence[OnlineDrawing] = (),
    ) -> None:
        training = order.training
        assert training.online is not None, "the run answers prompts"
        self._order, self._items, self._offline = order, items, offline
        self._learner, self._scorer, self._frozen = learner, scorer, frozen
        self._online, self._batch = training.online, training.train_batch_size
        self._size = min(self._online.drawing(self._batch), len(items))
        self.total = training.max_steps or drawings(training, len(items)) * self._online.every
        self.drawings = list(before)
        self._examples: list[Example] = []
        self._orders: dict[int, list[PromptItem]] = {}
        self._seconds: dict[str, float] = {}
        self._since, self._warned = time.monotonic(), False
        if before:
            self._examples = [pair.example() for pair in before[-1].pairs]

    def at(self, step: int) -> Sequence[Example]:
        """See Batches. Raises InputError where the first prompts give no pair, or the reward tells nothing."""
        number, place = divmod(step, self._online.every)
        if number == len(self.drawings):
            self._draw(step)
        if self.drawings[number].ended:
            return []
        if not (fresh := self._fresh(place)):
            self.drawings[number] = self.drawings[number].model_copy(update={"ended": self._used_up()})
        offline = self._online.offline(self._batch)
        if not fresh or not offline:
            return fresh
        mixed = batch_at(step, examples=len(self._offline), batch_size=offline, seed=self._order.seed)
        return [*fresh, *(self._offline[i] for i in mixed)]

    def size(self, step: int) -> int:
        """See Batches."""
        number, place = divmod(step, self._online.every)
        fresh = len(self.drawings[number].pairs[place :: self._online.every])
        offline = self._online.offline(self._batch)
        known = {"examples": len(self._offline), "batch_size": offline, "seed": self._order.seed}
        return fresh + (len(batch_at(step, **known)) if offline else 0)

    def epoch(self, steps: int) -> float:
        """See Batches: passes over the prompts."""
        return sum(drawing.prompts for drawing in self.drawings) / len(self._items)

    def told(self, step: int) -> Mapping[str, float]:
        """See Batches: the figures of a drawing, with the first step after it."""
        number, place = divmod(step, self._online.every)
        if place:
            return {}
        drawing = self.drawings[number]
        tokens = sum(earlier.tokens for earlier in self.drawings[: number + 1])
        return {**drawing.facts.curves, "online/tokens_generated": float(tokens), **self._seconds}

    def kept(self) -> Mapping[str, str]:
        """See Batches: every drawing so far."""
        return {FILE: "".join(f"{drawing.model_dump_json()}\n" for drawing in self.drawings)}

    def trained(self, steps: int) -> list[FreshPair]:
        """The pairs of so many steps."""
        per = self._online.every
        places = ((number, place) for number in range(len(self.drawings)) for place in range(per))
        done = [(number, place) for number, place in places if number * per + place < steps]
        return [pair for number, place in done for pair in self.drawings[number].pairs[place::per]]

    def output(self, steps: int) -> OnlineOutput:
        """What so many steps learned from, in figures."""
        every, last = self.drawings, self.drawings[-1]
        return OnlineOutput(
            pairs=len(self.trained(steps)),
            prompts=sum(drawing.prompts for drawing in every),
            answers=sum(drawing.facts.answers for drawing in every),
            tokens=sum(drawing.tokens for drawing in every),
            ended=last.ended,
            ran_away=bool(last.ended) and not last.ended.startswith(USED_UP),
            curves=[{"step": float(drawing.facts.number), **drawing.facts.curves} for drawing in every],
        )

    def _fresh(self, place: int) -> list[Example]:
        """The pairs of a step: never more than it has room for, as a drawing keeps no more."""
        return self._examples[place :: self._online.every]

    def _used_up(self, taken: int = 0) -> str:
        return f"{USED_UP}: {self._asked + taken} were asked, {self._online.passes:g} passes over {len(self._items)}"

    def _draw(self, step: int) -> None:
        """Ask until every step has a pair, or why there is none is known."""
        between = time.monotonic() - self._since
        draft = OnlineDraft(step, self._order, self._learner, self._scorer, self._frozen)
        earlier, ended = [drawing.facts for drawing in self.drawings], ""
        while len(draft.pairs) < self._online.every and not ended:
            places = self._next(draft.prompts)
            if not places:
                ended = self._used_up(draft.prompts)
                break
            draft.ask(self._items_at(places), len(places))
            self._scorer.reward.require_informative()
            ended = "; ".join(ran_away([*earlier, draft.facts()], self._online.stop)) or self._none(draft)
        if draft.pairs and ended.startswith(USED_UP):
            ended = ""  # there are some steps yet
        if ended and not self.drawings:
            self._refuse(draft, ended)
        if ended:
            log.warning("online_ended step=%d why='%s'", step, ended)
        self.drawings.append(
            OnlineDrawing(
                facts=draft.facts(),
                prompts=draft.prompts,
                tokens=draft.tokens,
                pairs=[] if ended else draft.pairs[: self._online.every * self._online.fresh(self._batch)],
                dropped=dict(draft.dropped),
                ended=ended,
            )
        )
        self._examples = [pair.example() for pair in self.drawings[-1].pairs]
        self._told(draft, between)

    def _none(self, draft: OnlineDraft) -> str:
        """Why it is no use to ask on, where as many prompts as are looked at together gave no pair."""
        if draft.pairs or draft.prompts < max(self._online.stop.window, self._size):
            return ""
        return f"no pair came of {draft.prompts} prompts ({_reasons(draft)})"

    def _refuse(self, draft: OnlineDraft, ended: str) -> None:
        """Before the first step: nothing is trained."""
        unscored = next(iter(self._scorer.unscored.values()), "")
        says = f"no pair came of the first {draft.prompts} prompts ({_reasons(draft)})" if not draft.pairs else ended
        do = "look at some answers and their scores: reward, choice.margin or temperature leave nothing to choose"
        raise InputError(says + (f"; for instance: {unscored}" if unscored else ""), where="training.online", do=do)

    @property
    def _asked(self) -> int:
        return sum(drawing.prompts for drawing in self.drawings)

    def _next(self, taken: int) -> range:
        """The next places of the run's order of prompts."""
        first = self._asked + taken
        return range(first, min(first + self._size, math.floor(len(self._items) * self._online.passes + 1e-9)))

    def _items_at(self, places: range) -> list[PromptItem]:
        """Each pass has an order of its own, a lot by prompt; where two meet, a prompt is asked once."""
        found: dict[str, PromptItem] = {}
        for place in places:
            item = self._order_of(place // len(self._items))[place % len(self._items)]
            found.setdefault(item.key, item)
        return list(found.values())

    def _order_of(self, number: int) -> list[PromptItem]:
        if number not in self._orders:
            lot = {item.key: digest_json([self._order.seed, number, item.key]) for item in self._items}
            self._orders[number] = sorted(self._items, key=lambda item: lot[item.key])
        return self._orders[number]

    def _told(self, draft: OnlineDraft, between: float) -> None:
        """Times of a drawing; a reward that is slower than the steps is told once, with numbers."""
        self._since, every = time.monotonic(), self._online.every
        if self._seconds and not self._warned and draft.scoring_s > max(between, 1.0):
            self._warned = True
            facts = (draft.scoring_s, draft.prompts, every, between, draft.answering_s)
            log.warning(
                "reward_slow says='scoring took %.1f s for the answers to %d prompts, the %d steps before it %.1f s, "
                "answering %.1f s: the reward decides how long the run takes'",
                *facts,
            )
        self._seconds = {"online/answering_s": draft.answering_s, "online/scoring_s": draft.scoring_s}


def read_drawings(path: Path) -> list[OnlineDrawing]:
    """What `OnlineBatches.kept` wrote; none where there is no such file."""
    if not path.is_file():
        return []
    return [OnlineDrawing.model_validate_json(line) for line in path.read_bytes().splitlines()]


def _reasons(draft: OnlineDraft) -> str:
    return "; ".join(f"{count}: {reason}" for reason, count in draft.dropped.most_common()) or "no reason is known"
