"""Training pairs set aside, to choose settings or a checkpoint by; never held-out ones, which the gate needs."""

from collections.abc import Sequence

from dpo_core.data.pairs import Pair
from dpo_core.data.splits import SplitSides, held_out_rows
from dpo_core.errors import InputError
from dpo_core.quality.prompts.groups import group_prompts, sketches
from dpo_core.quality.prompts.identity import digests, split_key

FEWEST = 8  # questions


def set_aside(pairs: Sequence[Pair], share: float, *, lot: str, key: str) -> tuple[list[int], list[int], int]:
    """Places of the pairs to train on, of those set aside, and the number of different questions among these.

    By groups of nearly equal prompts, by a hash: the same prompts always go the same way. `lot`: what it is for; each
    draws anew, as what is left of the held-out pairs has the high places of theirs. Raises InputError, with the
    recipe's `key`, where too few questions come of it.
    """
    prompts = [pair.prompt for pair in pairs]
    groups = group_prompts(digests(split_key(prompt) for prompt in prompts), sketches(prompts)).first
    salted = digests(f"{lot}\n{split_key(prompt)}" for prompt in prompts)
    aside = held_out_rows(salted, groups, SplitSides.none(), share).tolist()
    trained, measured = ([n for n, is_aside in enumerate(aside) if is_aside is side] for side in (False, True))
    asked = len({int(groups[n]) for n in measured})
    if asked < FEWEST:
        raise InputError(
            f"the pairs set aside have {asked} different questions of {len(pairs)} pairs: too few to tell anything",
            where=f"{key}: {share:g}",
            do=f"set {key} higher (0.5 at most), or add pairs: {FEWEST} questions are needed, 50 tell something. A run "
            "that goes on from the champion has what is new to it, and retrain.replay of the rest",
        )
    return trained, measured, asked
