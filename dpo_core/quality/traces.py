"""What is odd in a pair's form, as bits: the facts that dpo_core.quality.structure counts."""

import re
import unicodedata
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from dpo_core.data.pairs import EncodedPair, Message, Pair
from dpo_core.quality.text.characters import unreadable
from dpo_core.quality.text.words import Chunk

NEARLY = 0.98  # share of the longer answer that beginning and end have in common
NEARLY_LEAST = 100  # characters from which on that is looked at
END_MARKS = ("<|im_end|>", "<|eot_id|>", "<|endoftext|>", "<|end_of_text|>", "<end_of_turn>", "</s>", "<eos>")
TEMPLATE = re.compile(
    r"<[|\uff5c][^<>|\uff5c\s]{1,40}[|\uff5c]>|</?s>|<(?:start|end)_of_turn>|<(?:bos|eos|pad|unk)>"
    r"|\[/?INST\]|<</?SYS>>|</?tool_(?:call|response)>|(?m:^###? ?(?:Human|Assistant|Instruction|Response):)"
)
THINK = re.compile(r"</?think(?:ing)?>")
SPEAKER = re.compile(r"(?m)^[ \t]*(?:Human|Assistant) ?:")
BEFORE = {  # what may stand before a turn of this role
    "system": ("start", "system"),
    "user": ("start", "system", "assistant"),
    "assistant": ("user", "tool"),
    "tool": ("assistant", "tool"),
}
# bits of one text
EMPTY, MARKER, THOUGHT, SPOKEN, CONTROL, ZERO_WIDTH, BIDI, REPLACEMENT, MOJIBAKE = (1 << bit for bit in range(9))
UNREADABLE = {
    "control": CONTROL,
    "zero_width": ZERO_WIDTH,
    "bidi": BIDI,
    "replacement": REPLACEMENT,
    "mojibake": MOJIBAKE,
}
# bits of a pair
SAME_TEXT, SAME_TOKENS, NO_TOKENS, UNEVEN_TOKEN, UNEVEN_MARK, SYSTEMS, TURNS, NEARLY_SAME = (
    1 << bit for bit in range(8)
)


def columns(chunk: Chunk) -> dict[str, NDArray[np.generic]]:
    """Bits of each text (`structure_prompt`, `_chosen`, `_rejected`) and of the pair (`structure_pair`), uint16."""
    flags = np.array([_text_bits(text) for text in chunk.strings], dtype=np.uint16)
    for name, found in unreadable(chunk.texts).items():
        flags |= found * np.uint16(UNREADABLE[name])
    prompt, chosen, rejected = flags.reshape(-1, 3).T
    rows = zip(chunk.pairs, chunk.strings[1::3], chunk.strings[2::3], strict=True)
    return {
        "structure_prompt": prompt.copy(),
        "structure_chosen": chosen.copy(),
        "structure_rejected": rejected.copy(),
        "structure_pair": np.array([_pair_bits(*row) for row in rows], dtype=np.uint16),
    }


def _text_bits(text: str) -> int:
    bits = 0 if text and not text.isspace() else EMPTY
    tag = "<" in text
    if (tag or "INST]" in text or "##" in text) and TEMPLATE.search(text):
        bits |= MARKER
    if tag and THINK.search(text):
        bits |= THOUGHT
    if ("Human" in text or "Assistant" in text) and SPEAKER.search(text):
        bits |= SPOKEN
    return bits


def _pair_bits(encoded: EncodedPair, chosen: str, rejected: str) -> int:
    bits = 0
    if _same(chosen.strip(), rejected.strip()):
        bits |= SAME_TEXT
    elif shared_share(chosen, rejected) > NEARLY:
        bits |= NEARLY_SAME
    ids, others = encoded.chosen_ids, encoded.rejected_ids
    if ids and ids == others:
        bits |= SAME_TOKENS
    if ids and min(len(ids), len(others)) < 2:  # one token is the end of the turn alone
        bits |= NO_TOKENS
    if ids[-1:] != others[-1:]:
        bits |= UNEVEN_TOKEN
    if ("<" in chosen or "<" in rejected) and any((mark in chosen) != (mark in rejected) for mark in END_MARKS):
        bits |= UNEVEN_MARK
    return bits | _role_bits(encoded.pair)


def _same(one: str, other: str) -> bool:
    """Equal as they stand, or in compatibility form (full-width letters, composed accents)."""
    if one == other or (one.isascii() and other.isascii()):
        return one == other
    return unicodedata.normalize("NFKC", one) == unicodedata.normalize("NFKC", other)


def shared_share(one: str, other: str) -> float:
    """Share of the longer text that common beginning and end cover; 0 for short texts."""
    short, long = sorted((len(one), len(other)))
    if long < NEARLY_LEAST or short < NEARLY * long:
        return 0.0
    start = _common(one, other, short)
    end = _common(one[start:][::-1], other[start:][::-1], short - start)
    return (start + end) / long


def _common(one: str, other: str, longest: int) -> int:
    """Length of the common beginning, by bisection: slices compare at the speed of memory."""
    low, high = 0, longest
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle - 1)
    return low


def _role_bits(pair: Pair) -> int:
    if pair.plain:
        return 0
    systems = sum(message["role"] in ("system", "developer") for message in pair.prompt)
    bits = SYSTEMS if systems > 1 else 0
    odd = any(not _alternate([*pair.prompt, *side]) for side in (pair.chosen, pair.rejected))
    return bits | (TURNS if odd else 0)


def _alternate(messages: Iterable[Message]) -> bool:
    """System first, then user and assistant in turn; tool results stand between two turns of the assistant."""
    last = "start"
    for message in messages:
        role = "system" if message["role"] == "developer" else message["role"]
        if last not in BEFORE[role]:
            return False
        last = role
    return True
