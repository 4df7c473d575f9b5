"""The reward that a recipe names, made of real parts; and the answers of prompts scored by it."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from dpo_core.curate.choice import Candidate, Group
from dpo_core.curate.prompts import PromptItem
from dpo_core.rewards.build import build
from dpo_core.rewards.classifier import LoadedClassifier, load_classifier
from dpo_core.rewards.config import JudgeRules
from dpo_core.rewards.judge import Ask
from dpo_core.rewards.reward import Unscored
from infra.models import fetch_model
from infra.settings import load_settings
from infra.store.base import Store
from tasks.curate.answer_store import StoredAnswer
from tasks.curate.endpoints import ask_of
from tasks.curate.records import CurationPlan
from tasks.runtime.progress import progress_bar

log = logging.getLogger("dpo.curate")


class RewardScorer:
    """The reward of a curation.

    `unscored`: digest of a prompt: why its answers have no scores. `refused`: why an endpoint gave no reply to a
    judge's question, each.
    """

    def __init__(self, plan: CurationPlan, store: Store) -> None:
        assert plan.curation.rewards is not None, "the recipe has a reward"
        self._plan, self._store = plan, store
        self._asks: dict[str, Ask] = {}
        self.refused: list[str] = []
        self.reward = build(plan.curation.rewards, ask=self.ask, load_classifier=_classifier, folder=Path(plan.folder))
        self.unscored: dict[str, str] = {}

    def ask(self, judge: JudgeRules) -> Ask:
        """How a judge's model is reached; one that several judges name is loaded once."""
        if judge.model not in self._asks:
            self._asks[judge.model] = ask_of(self._plan.reach, self._store, judge.model, self.refused)
        return self._asks[judge.model]

    def score(self, item: PromptItem, answers: Sequence[str]) -> list[float] | None:
        """One number an answer; None where this prompt's cannot be scored: the reason is kept."""
        wanted: dict[str, object] = {**item.wanted, "where": item.where}
        try:
            return self.reward.score(item.prompt, answers, wanted)
        except Unscored as error:
            self.unscored[item.key] = error.says
            return None

    def groups(self, items: Sequence[PromptItem], known: Mapping[tuple[str, int], StoredAnswer]) -> list[Group]:
        """The scored answers of each prompt that has some. Raises InputError where the reward tells nothing."""
        found = []
        with progress_bar("score", total=len(items), unit="prompt") as bar:
            for item in items:
                bar.update(1)
                answers = samples_of(item, known, self._plan.curation.samples)
                scores = self.score(item, [one.text for one in answers]) if answers else None
                if scores is not None:
                    candidates = zip(answers, scores, strict=True)
                    found.append(
                        Group(
                            item.key,
                            tuple(Candidate(one.text, score, one.tokens, one.ended) for one, score in candidates),
                        )
                    )
                self.reward.require_informative()
        return found


def samples_of(item: PromptItem, known: Mapping[tuple[str, int], StoredAnswer], samples: int) -> list[StoredAnswer]:
    """A prompt's answers in the order of their samples."""
    return [known[item.key, number] for number in range(samples) if (item.key, number) in known]


def _classifier(model: str) -> LoadedClassifier:
    return load_classifier(fetch_model(model, load_settings().home))
