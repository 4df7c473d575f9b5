"""What a round takes from the one before it, and when there is no further one."""

import logging
from pathlib import Path

from dpo_core.curate.curation import Curation, Rounds, load_curation
from dpo_core.curate.curves import RoundFacts, runaway
from dpo_core.data.digests import digest_json
from dpo_core.errors import InputError
from dpo_core.model.identity import digest_model
from dpo_core.recipe import Recipe
from dpo_core.recipe_file import load_recipe
from dpo_core.records import Record
from dpo_core.rewards.reward_file import load_reward_file
from infra.errors import ObjectMissing
from infra.settings import load_settings
from infra.store import open_store
from tasks.curate.documents import CurateDocument, RoundLine
from tasks.curate.plan import answering_model, content_of, fixed_version, sources_of
from tasks.documents import Retrained
from tasks.evaluation.harness import harness_plan
from tasks.evaluation.judged import content_of_rewards
from tasks.online.plan import online_inputs
from tasks.plan import by_content
from tasks.runtime.models import local_model
from tasks.runtime.named import digests_of

log = logging.getLogger("dpo.rounds")


class Story(Record):
    """The rounds so far. `key`: digest of the recipes, and of the files and models that they name."""

    key: str
    rounds: Rounds
    first_model: str
    first_seed: int = 0
    overrides: list[str]
    lines: tuple[RoundLine, ...] = ()

    @property
    def model(self) -> str:
        """Who answers in the next round, and is trained on its pairs."""
        return next((line.model for line in reversed(self.lines) if line.model), self.first_model)

    @property
    def curation_overrides(self) -> list[str]:
        """Of the next round's curation: who answers, and random numbers of its own."""
        seed = self.first_seed + len(self.lines)
        return [*self.overrides, f"model={self.model}", f"seed={seed}"]

    @property
    def retrain_recipe(self) -> str:
        """The recipe of every round's training."""
        return self.rounds.retrain

    def retrain_overrides(self, made: CurateDocument) -> list[str]:
        """Of the next round's training: its pairs, its start, and its reference where that stays the first model."""
        fixed = self.lines and self.rounds.reference == "fixed"
        found = [f"data.train={made.dataset}", f"model={self.model}"]
        return [*found, *([f"reference={self.first_model}"] if fixed else [])]

    def with_round(self, line: RoundLine) -> "Story":
        """One more."""
        return self.model_copy(update={"lines": (*self.lines, line)})

    @property
    def facts(self) -> list[RoundFacts]:
        """What is watched, of each round's answers."""
        found = [(line.number, line.curation.facts) for line in self.lines]
        return [facts.model_copy(update={"number": number}) for number, facts in found if facts is not None]


def begin(recipe: str, overrides: list[str]) -> Story:
    """Read the recipe of a curation with rounds. Raises InputError."""
    curation = load_curation(recipe, overrides)
    if curation.rounds is None:
        raise InputError("the recipe has no rounds", where=recipe, do="add rounds: {retrain: retrain.yaml}")
    model = fixed_version(curation.model)  # an alias moves with the first round: the reference must not
    return Story(
        key=_key(curation, model, Path(recipe).parent.resolve()),
        rounds=curation.rounds,
        first_model=model,
        first_seed=curation.seed,
        overrides=overrides,
    )


def _key(curation: Curation, model: str, folder: Path) -> str:
    """What the recipes say, and what stands in all that they name: the training's pairs alone are each round's own."""
    assert curation.rounds is not None, "begin has looked"
    found = answering_model(curation, model, load_settings())
    content = content_of(curation, sources_of(curation), found, folder)
    run = load_recipe(curation.rounds.retrain).recipe
    return digest_json([content, curation.rounds.reference, run.model_dump(mode="json"), *_named(run)])


def _named(run: Recipe) -> list[object]:
    """What stands in the files and models that a recipe names, and in those that these name in their turn."""
    found: list[object] = [digests_of(run, [run.data.eval] if run.data.eval else [])]
    online = online_inputs(run.training.online) if run.training.online else None
    if more := by_content(online, harness_plan(run.evaluation.lm_eval)):
        found.append(more)
    if run.evaluation.rewards:
        rewards = Path(run.evaluation.rewards)
        found.append(content_of_rewards(load_reward_file(rewards), rewards.parent, {}))
    if run.reference and not run.reference.startswith("models:/"):  # an alias moves with the rounds themselves
        found.append(digest_model(local_model(run.reference, load_settings().home, pin=run.trust_remote_code)))
    return found


def recorded(story: Story) -> RoundLine | None:
    """The next round, where it was made before: its gate may find another champion now, and must not decide anew.

    One without a training, which other limits would have, is made again.
    """
    try:
        line = RoundLine.model_validate_json(open_store(load_settings()).get_bytes(_place(story)))
    except ObjectMissing:
        return None
    return line if line.model or ran_away(story, line.curation) else None


def _place(story: Story) -> str:
    return f"stages/rounds/{digest_json([story.key, story.model, len(story.lines)])}.json"


def ran_away(story: Story, made: CurateDocument) -> bool:
    """Whether the answers of the next round are such that no model should be trained on them."""
    facts = [] if made.facts is None else [made.facts]
    return bool(facts and runaway([*story.facts, *facts], story.rounds.stop))


def finished(story: Story) -> str:
    """Why there is no further round, in words; empty: go on."""
    if not story.lines:
        return ""
    last, limit = story.lines[-1], story.rounds.count
    if told := runaway(story.facts, story.rounds.stop):
        untrained = [] if last.model else [f"nothing was trained on {last.curation.dataset}, which is @latest now"]
        return "; ".join([*told, *untrained])
    if last.verdict != "promote":
        return f"round {last.number}: the gate found no gain ({last.verdict})"
    return f"round {last.number} was the last of {limit}" if last.number >= limit else ""


def record(story: Story, made: CurateDocument, trained: Retrained | None) -> RoundLine:
    """What a round came to, written down; `trained`: None where its answers had run away.

    One that was made before is replaced by one that was promoted alone: the champion now may be of a later round.
    """
    document = trained.document if trained else None
    metrics: dict[str, object] = {name: value.value for name, value in document.metrics.items()} if document else {}
    line = RoundLine(
        number=len(story.lines) + 1,
        curation=made,
        model=f"models:/{document.model}/{document.version}" if document else None,
        verdict=document.verdict if document else None,
        metrics=metrics,
    )
    if line.verdict == "promote" or recorded(story) is None:
        open_store(load_settings(), patient=True).put_bytes(_place(story), line.model_dump_json(by_alias=True).encode())
    log.info("round number=%d dataset=%s model=%s verdict=%s", line.number, made.dataset, line.model, line.verdict)
    return line
