"""What is watched while a model learns from its own answers, drawing by drawing, and when it has run away."""

import math
from collections.abc import Iterable, Sequence

from pydantic import Field

from dpo_core.curate.choice import Choice, Group
from dpo_core.curate.curves import RoundFacts, facts_of
from dpo_core.recipe_online import OnlineStop

COMPARED = ("tokens", "reward", "distinct", "openings", "entropy")  # with the first answers


class OnlineFacts(RoundFacts):
    """The answers of one drawing; `number`: optimizer steps before it."""

    prompts: int = Field(description="asked")
    pairs: int = Field(description="that came of them")
    spread: float = Field(description="standard deviation of the scores")
    entropy: float = Field(
        description="mean surprise of a token of the model's own answers, nats: estimates its entropy"
    )
    kl: float = Field(description="nats a token by which they are likelier than under the reference: estimates the KL")

    @property
    def curves(self) -> dict[str, float]:
        """By the names under which they are logged; what is not known is left out."""
        names = ("reward", "tokens", "words", "distinct", "openings", "entropy", "kl", "informative")
        values = {name: getattr(self, name) for name in (*names, "prompts", "answers", "pairs")}
        return {f"online/{name}": float(value) for name, value in values.items() if math.isfinite(value)}


def online_facts(
    steps: int, groups: Sequence[Group], rules: Choice, *, prompts: int, pairs: int, surprise: Sequence[float]
) -> OnlineFacts:
    """Measure a drawing. `surprise`: mean nats a token of some answers under model and reference; nan: not known."""
    scores = [one.score for group in groups for one in group.candidates if math.isfinite(one.score)]
    mean = math.fsum(scores) / len(scores) if scores else math.nan
    spread = math.sqrt(math.fsum((score - mean) ** 2 for score in scores) / len(scores)) if scores else math.nan
    own, reference = surprise
    known = dict(facts_of(steps, groups, rules))
    return OnlineFacts(**known, prompts=prompts, pairs=pairs, spread=spread, entropy=own, kl=reference - own)


def ran_away(drawings: Sequence[OnlineFacts], rules: OnlineStop) -> list[str]:
    """Why the training should end here, a sentence each; none: go on.

    Limits of their own (`kl`, `informative`) are looked at from the first `window` prompts on; what is compared with
    the first answers, once there are as many others.
    """
    last = _window(reversed(drawings), rules.window)
    if not last:
        return []
    found = _beyond_limits(last, rules)
    first = _window(drawings, rules.window)
    return found + _beyond_first(first, last, rules) if len(first) + len(last) <= len(drawings) else found


def _beyond_limits(last: Sequence[OnlineFacts], rules: OnlineStop) -> list[str]:
    where, found = f"step {last[0].number}", []
    if (share := _mean(last, "informative")) < rules.informative:
        found.append(
            f"{where}: the answers of {share:.1%} of the prompts make a pair, fewer than {rules.informative:.1%}: the "
            "reward no longer tells answers apart (training.online.stop.informative)"
        )
    if rules.kl is not None and (kl := _mean(last, "kl")) > rules.kl:
        found.append(
            f"{where}: answers are {kl:.2f} nats a token likelier than under the reference, more than {rules.kl:g}: "
            "the model has left it (training.online.stop.kl)"
        )
    return found


def _beyond_first(first: Sequence[OnlineFacts], last: Sequence[OnlineFacts], rules: OnlineStop) -> list[str]:
    where, found = f"step {last[0].number}", []
    before, now = ({name: _mean(some, name) for name in COMPARED} for some in (first, last))
    times = now["tokens"] / before["tokens"] if before["tokens"] else math.nan
    if times > rules.longer or times * rules.longer < 1:
        found.append(
            f"{where}: answers have {now['tokens']:.1f} tokens, {times:.2f} times the {before['tokens']:.1f} of the "
            f"first: the reward may pay for {'length' if times > 1 else 'brevity'} (training.online.stop.longer)"
        )
    for name, what in (
        ("distinct", "the share of different word pairs in a prompt's answers"),
        ("openings", "the entropy of their first words"),
        ("entropy", "their entropy a token"),
    ):
        least = getattr(rules, name)
        if now[name] < least * before[name]:
            found.append(
                f"{where}: {what} fell to {now[name]:.3g} from {before[name]:.3g}, below {least:.0%} of it: the "
                f"answers become one (training.online.stop.{name})"
            )
    spread = _mean(first, "spread")
    if now["reward"] < before["reward"] - rules.reward * spread:
        found.append(
            f"{where}: the mean reward fell to {now['reward']:.3g} from {before['reward']:.3g}, by more than "
            f"{rules.reward:g} standard deviations ({spread:.3g}): the training makes it worse "
            "(training.online.stop.reward)"
        )
    return found


def _window(drawings: Iterable[OnlineFacts], prompts: int) -> list[OnlineFacts]:
    """The first of them that have so many prompts together; none where all have fewer."""
    taken, count = list[OnlineFacts](), 0
    for facts in drawings:
        taken.append(facts)
        if (count := count + facts.prompts) >= prompts:
            return taken
    return []


def _mean(drawings: Sequence[OnlineFacts], name: str) -> float:
    """Over prompts; nan where no drawing knows it."""
    known = [(facts.prompts, value) for facts in drawings if math.isfinite(value := getattr(facts, name))]
    weight = sum(prompts for prompts, _ in known)
    return math.fsum(prompts * value for prompts, value in known) / weight if weight else math.nan
