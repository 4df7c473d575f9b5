"""A pair whose prompt is cut to fit: whole old turns first, then the beginning of the oldest turn that is left.

Nothing but text is cut: the system turn stays, and so does all that the template puts around turns.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from dpo_core.data.pairs import Message, Pair

LOOK_AHEAD = 32  # characters in which the next word is looked for


def shortened(pair: Pair, fits: Callable[[Pair], bool]) -> Pair | None:
    """The pair with as much of its prompt as `fits`, or None."""
    head, blocks = _parts(pair.prompt)
    if not blocks:
        return None

    def later(first: int) -> Pair:
        return replace(pair, prompt=(*head, *(message for block in blocks[first:] for message in block)))

    def cut(characters: int) -> Pair:
        oldest, *rest = blocks[-1]
        text: Message = {**oldest, "content": oldest["content"][characters:].lstrip()}
        return replace(pair, prompt=(*head, text, *rest))

    found = _least(1, len(blocks), lambda first: fits(later(first)))
    if found < len(blocks):
        return later(found)
    text = blocks[-1][0]["content"].rstrip()
    found = _least(1, len(text), lambda characters: fits(cut(characters)))
    return cut(_next_word(text, found)) if found < len(text) else None


def _parts(prompt: Sequence[Message]) -> tuple[list[Message], list[list[Message]]]:
    """The system turn, and the turns from one of the user's to the next."""
    head = [message for message in prompt[:1] if message["role"] in ("system", "developer")]
    blocks: list[list[Message]] = []
    for message in prompt[len(head) :]:
        if message["role"] == "user" or not blocks:
            blocks.append([])
        blocks[-1].append(message)
    return head, blocks


def _least(low: int, stop: int, true: Callable[[int], bool]) -> int:
    """The least number from `low` for which it is true, by bisection; `stop` if for none before it."""
    while low < stop:
        middle = (low + stop) // 2
        low, stop = (low, middle) if true(middle) else (middle + 1, stop)
    return low


def _next_word(text: str, start: int) -> int:
    """Where the next word begins, if that is near; scripts without blanks are cut anywhere."""
    if text[start - 1].isspace():
        return start
    for place in range(start, min(start + LOOK_AHEAD, len(text) - 1)):
        if text[place].isspace():
            return place
    return start
