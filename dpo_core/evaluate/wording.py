"""What each outcome of a condition of the gate says: one true sentence, with its numbers."""

from typing import Literal, NamedTuple

from dpo_core.evaluate.scores import UPTAKE

Outcome = Literal[
    "few", "out_of_reach",
    "improved", "worse", "no_gain",
    "kept", "lost", "loss_open", "loss_open_by_chance",
    "reached", "missed", "level_open",
    "not_learnt", "learnt", "learnt_open",
]  # fmt: skip


class Numbers(NamedTuple):
    """The numbers of a condition. `low`, `high`: one-sided bounds of the difference, of a floor: of the value."""

    metric: str
    against: str
    before: float
    after: float
    items: int
    groups: int
    left_out: int
    low: float
    high: float
    p: float
    alpha: float
    asked: float
    needed: int | None
    fewest: int


def sentence(outcome: Outcome, f: Numbers) -> str:
    """The condition in words."""
    if f.metric.startswith(UPTAKE):
        return _uptake(outcome, f)
    return f"{_measured(f)}: {_outcome(outcome, f)}"


def _measured(f: Numbers) -> str:
    against = " (against the anchor)" if f.against == "anchor" else ""
    left_out = f", {f.left_out} left out that a model was trained on" if f.left_out else ""
    return f"{f.metric}{against}: {f.before:.4g} -> {f.after:.4g} on {counted(f.items, f.groups)}{left_out}"


def counted(items: int, groups: int) -> str:
    """So many items, of so many prompts."""
    named = f"{items} item{'s' * (items != 1)}"
    return named if items == groups else f"{named} of {groups} prompt{'s' * (groups != 1)}"


def _outcome(outcome: Outcome, f: Numbers) -> str:
    sure, p = f"{100 * (1 - f.alpha):.4g} % bound", f"p = {f.p:.2g}"
    bounds = f"{f.low:+.4g} and {f.high:+.4g} ({sure} each way)"
    than = f" by more than {f.asked:g}" if f.asked else ""
    match outcome:
        case "few":
            return f"too few to tell, {f.fewest} with prompts of their own are needed (gate.min_items)"
        case "out_of_reach":
            return (
                f"too few to tell: had all of them been won, p would still be above {f.alpha:.2g}; about {f.fewest} "
                "with prompts of their own are needed"
            )
        case "improved":
            return f"better{than} beyond chance, by {f.low:+.4g} at least ({p}, alpha {f.alpha:.2g})"
        case "worse":
            return f"worse beyond chance, the change is {f.high:+.4g} at best ({sure})"
        case "no_gain":
            return f"no gain{than} beyond chance ({p}, alpha {f.alpha:.2g}); the change lies between {bounds}{_more(f)}"
        case "kept":
            return f"may lose {f.asked:g}, and more is ruled out: the change is {f.low:+.4g} at worst ({sure}, {p})"
        case "lost":
            return f"may lose {f.asked:g}, and lost more beyond chance: the change is {f.high:+.4g} at best ({sure})"
        case "loss_open":
            return (
                f"may lose {f.asked:g}, and more is not ruled out: the change is {f.low:+.4g} at worst ({sure}, {p})"
                f"{_more_if_equal(f)}"
            )
        case "loss_open_by_chance":
            return (
                f"may lose {f.asked:g}, and more is not ruled out: the change is {f.low:+.4g} at worst ({sure}, "
                f"{p}); were both equally good, about 4 of 5 such measurements would have ruled it out"
            )
        case "reached":
            return f"at least {f.asked:g} is asked for, and it is {f.low:.4g} at worst ({sure}, {p})"
        case "missed":
            return f"at least {f.asked:g} is asked for, and it is {f.high:.4g} at best ({sure})"
        case "level_open":
            return (
                f"at least {f.asked:g} is asked for, and that is not shown: it is {f.low:.4g} at worst ({sure}, "
                f"{p}){_more(f)}"
            )
        case _:
            raise ValueError(f"{outcome} is said of shortcuts alone")


def _uptake(outcome: Outcome, f: Numbers) -> str:
    """Of a shortcut the preference for it is told: one minus the value of the items."""
    sure, p = f"{100 * (1 - f.alpha):.4g} % bound", f"p = {f.p:.2g}"
    before, after, least, most = 1 - f.before, 1 - f.after, 1 - f.high, 1 - f.low
    left_out = f", {f.left_out} left out that a model was trained on" if f.left_out else ""
    measured = (
        f"{f.metric}: an answer is preferred for this alone with a chance of {after:.4g} (0.5: no preference; before "
        f"{before:.4g}), on {counted(f.items, f.groups)}{left_out}"
    )
    match outcome:
        case "not_learnt":
            return f"{measured}: more than {f.asked:g} is ruled out, it is {most:.4g} at most ({sure}, {p})"
        case "learnt":
            return (
                f"{measured}: the shortcut was learnt, {f.asked:g} is allowed and it is {least:.4g} at least ({sure})"
            )
        case "learnt_open":
            return (
                f"{measured}: more than {f.asked:g} is not ruled out, it is {most:.4g} at most ({sure}, {p}){_more(f)}"
            )
        case _:
            return f"{measured}: {_outcome(outcome, f)}"


def _more(f: Numbers) -> str:
    """How many items would show it, were what was seen the truth."""
    if f.needed is None:
        return ""
    return f"; were this the truth, about {f.needed} items would show it in 4 of 5 measurements"


def _more_if_equal(f: Numbers) -> str:
    if f.needed is None:
        return "; a loss of nothing at all cannot be shown by any number of items"
    return f"; were both equally good, about {f.needed} items would rule it out in 4 of 5 measurements"
