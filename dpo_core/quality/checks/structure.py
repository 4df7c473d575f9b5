"""Is each row a comparison between two whole answers, without traces of some template or broken export.

What cannot be a comparison at all (no text, equal texts, turns in disorder) never gets here: the reader quarantines it.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpo_core.data.pairs import EncodedPair
from dpo_core.quality.check import Check, Facts
from dpo_core.quality.results import Results, Statistics, gathered, share_of_rows
from dpo_core.quality.table import Block, Columns, PairTable
from dpo_core.quality.text.characters import unreadable
from dpo_core.quality.words import Bools
from dpo_core.recipe import Validation
from dpo_core.report.results import Finding, Measure

UNEVEN_FAIL = 0.01  # share of pairs
TRACE_WARN = 0.001  # share of pairs: below, odd rows are only reported
BROKEN_FAIL = 0.05  # share of pairs: the export as a whole is broken, not a few rows
NEARLY = 0.98  # share of the longer answer that beginning and end have in common
NEARLY_LEAST = 100  # characters from which on that is looked at
END_MARKS = ("<|im_end|>", "<|eot_id|>", "<|endoftext|>", "<|end_of_text|>", "<end_of_turn>", "</s>", "<eos>")
TEMPLATE = re.compile(
    r"<[|\uff5c][^<>|\uff5c\s]{1,40}[|\uff5c]>|</?s>|<(?:start|end)_of_turn>|<(?:bos|eos|pad|unk)>"
    r"|\[/?INST\]|<</?SYS>>|</?tool_(?:call|response)>|(?m:^###? ?(?:Human|Assistant|Instruction|Response):)"
)
THINK = re.compile(r"</?think(?:ing)?>")
SPEAKER = re.compile(r"(?m)^[ \t]*(?:Human|Assistant) ?:")
# bits of one text
MARKER, THOUGHT, SPOKEN, CONTROL, ZERO_WIDTH, BIDI, REPLACEMENT, MOJIBAKE = (1 << bit for bit in range(8))
UNREADABLE = {
    "control": CONTROL,
    "zero_width": ZERO_WIDTH,
    "bidi": BIDI,
    "replacement": REPLACEMENT,
    "mojibake": MOJIBAKE,
}
HIDDEN = CONTROL | ZERO_WIDTH | BIDI
# bits of a pair
SAME_TOKENS, NO_TOKENS, UNEVEN_TOKEN, UNEVEN_MARK, NEARLY_SAME = (1 << bit for bit in range(5))
ENCODING = {
    "over_length": "pairs were quarantined because they are longer than encoding.max_length; raise it, or set "
    "encoding.overlong to cut_prompt",
    "prompts_cut": "pairs had the oldest turns of their prompt, or the beginning of its last one, cut to fit "
    "encoding.max_length; raise it if that part matters",
    "boundary_merges": "pairs had the end of their prompt and the start of an answer joined by the tokenizer, so the "
    "prompt was cut back to the last token that both sides share",
    "thoughts_left_out": "pairs have thoughts in earlier turns that the chat template leaves out, as it does in use: "
    "they are not read. Nothing to do, unless the template is the wrong one",
}
WARNED = {  # of encoding too, but what is trained on is not what the row says, or not how the model is asked
    "without_turns": "pairs are plain text, and the model has a chat template: they are trained on without it, which "
    "is not how chat, behaviour checks and serving ask the model. To have prompt and answers taken as turns, write "
    "data.text: turns in the recipe",
    "unopened": "pairs have an answer that does not begin as the chat template opens one (with a thought, say), so it "
    "is trained on after another header than the model is asked with. Put the beginning into the answers (an empty "
    "<think></think>, say), or take the template without it",
    "system_left_out": "pairs have a system turn that the chat template leaves out: put its text into the first user "
    "turn, or remove it",
    "tools_left_out": "pairs offer tools that the chat template leaves out: write them into a turn, or remove them",
    "turns_left_out": "pairs have turns in their prompt of which the chat template leaves something out (what is said "
    "beside calls, or the calls): run dpo check with --show-ids to see what is read",
}


def structure_bits(block: Block) -> Columns:
    """Bits of each text (`structure_prompt`, `_chosen`, `_rejected`) and of the pair (`structure_pair`), uint16."""
    flags = np.array([_text_bits(text) for text in block.strings], dtype=np.uint16)
    for name, found in unreadable(block.texts).items():
        flags |= found * np.uint16(UNREADABLE[name])
    prompt, chosen, rejected = flags.reshape(-1, 3).T
    rows = zip(block.pairs, block.strings[1::3], block.strings[2::3], strict=True)
    return {
        "structure_prompt": prompt.copy(),
        "structure_chosen": chosen.copy(),
        "structure_rejected": rejected.copy(),
        "structure_pair": np.array([_pair_bits(*row) for row in rows], dtype=np.uint16),
    }


def check_structure(facts: Facts, validation: Validation) -> Results:
    """Useless, one-sided and broken rows, and what encoding counted."""
    table = facts.table
    measures, findings = gathered(
        share_of_rows(row.check, table, row.bad, row.says, warn_above=row.warn, fail_above=row.fail)
        for row in _rows(table, validation.max_identical)
    )
    warned = [_warned(name, facts, says) for name, says in WARNED.items() if facts.encoding.get(name)]
    measures += [measure for measure, _ in warned]
    return measures, [*findings, *(finding for _, finding in warned), *_of_encoding(facts.encoding)]


def _text_bits(text: str) -> int:
    bits = 0
    tag = "<" in text
    if (tag or "INST]" in text or "##" in text) and TEMPLATE.search(text):
        bits |= MARKER
    if tag and THINK.search(text):
        bits |= THOUGHT
    if ("Human" in text or "Assistant" in text) and SPEAKER.search(text):
        bits |= SPOKEN
    return bits


def _pair_bits(encoded: EncodedPair, chosen: str, rejected: str) -> int:
    bits = NEARLY_SAME if shared_share(chosen, rejected) > NEARLY else 0
    ids, others = encoded.chosen_ids, encoded.rejected_ids
    if ids and ids == others:
        bits |= SAME_TOKENS
    if ids and min(len(ids), len(others)) < 2:  # one token is the end of the turn alone
        bits |= NO_TOKENS
    if ids[-1:] != others[-1:]:
        bits |= UNEVEN_TOKEN
    if ("<" in chosen or "<" in rejected) and any((mark in chosen) != (mark in rejected) for mark in END_MARKS):
        bits |= UNEVEN_MARK
    return bits


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


class _Row(NamedTuple):
    check: str
    bad: Bools
    says: str
    warn: float | None = TRACE_WARN
    fail: float | None = None


def _rows(table: PairTable, max_identical: float) -> Iterator[_Row]:
    pair, prompt, chosen, rejected = (table[f"structure_{name}"] for name in ("pair", "prompt", "chosen", "rejected"))
    answer, every = chosen | rejected, prompt | chosen | rejected
    useless = pair & (SAME_TOKENS | NO_TOKENS) != 0
    yield _Row(
        "structure/identical_or_empty",
        useless,
        "have two equal answers, or an empty one, as the tokens trained on: nothing can be learnt from them. "
        "Remove them.",
        warn=0.0,
        fail=max_identical,
    )
    yield _Row(
        "structure/nearly_identical",
        (pair & NEARLY_SAME != 0) & ~useless,
        f"have answers that are the same but for {1 - NEARLY:.0%} in one place. Fine if that place is what "
        "people judged; else drop them.",
        warn=None,
    )
    yield _Row(
        "structure/end_of_turn",
        pair & (UNEVEN_TOKEN | UNEVEN_MARK) != 0,
        "end the turn on one side only, so the model learns to stop (or not to) instead of what to say: "
        "an answer was cut, or an end-of-turn string stands in its text. Mend or remove them.",
        warn=0.0,
        fail=UNEVEN_FAIL,
    )
    yield _Row(
        "structure/template_in_text",
        every & MARKER != 0,
        "have template strings in their text (<|im_start|>, [INST], ### Human: and the like), which are trained on as "
        f"plain text ({_sides(chosen, rejected, MARKER)}). Parse the export into messages.",
    )
    yield _Row(
        "structure/thought_on_one_side",
        (chosen ^ rejected) & THOUGHT != 0,
        f"have <think> tags in one answer only ({_sides(chosen, rejected, THOUGHT)}): whether to think aloud is "
        "learnt from them. Strip the tags, or keep them on both sides.",
    )
    yield _Row(
        "structure/speaker_in_answer",
        answer & SPOKEN != 0,
        "have a line that begins with Human: or Assistant: in an answer "
        f"({_sides(chosen, rejected, SPOKEN)}), and a model learns to go on talking for both. Cut the answer "
        "there, or split it into turns.",
    )
    yield _Row(
        "structure/broken_encoding",
        every & (REPLACEMENT | MOJIBAKE) != 0,
        "hold U+FFFD, or UTF-8 that was read as Latin-1 (\u00c3\u00a9 for \u00e9): the text was damaged on its way. "
        "Export it again as UTF-8.",
        fail=BROKEN_FAIL,
    )
    yield _Row(
        "structure/invisible_characters",
        every & HIDDEN != 0,
        "hold control, zero-width or direction-changing characters, which nobody sees and a model learns "
        f"({_sides(chosen, rejected, HIDDEN)}). Strip them.",
    )


def _sides(chosen: NDArray[np.uint16], rejected: NDArray[np.uint16], bits: int) -> str:
    one, other = chosen & bits != 0, rejected & bits != 0
    return f"only in chosen: {int((one & ~other).sum())}, only in rejected: {int((other & ~one).sum())}"


def _warned(name: str, facts: Facts, says: str) -> tuple[Measure, Finding]:
    count = facts.encoding[name]
    says = f"{count} {says}"
    numbers: Statistics = {"pairs": count}
    measure = Measure(f"structure/{name}", count / max(1, len(facts.table)), 0.0, None, says)
    return measure, Finding(measure.check, "warn", says, statistics=numbers)


def _of_encoding(counts: Mapping[str, int]) -> Iterator[Finding]:
    for name, says in ENCODING.items():
        if counts.get(name):
            numbers: Statistics = {"pairs": counts[name]}
            yield Finding(f"structure/{name}", "info", f"{counts[name]} {says}", statistics=numbers)


CHECK = Check("structure", columns=(structure_bits,), run=check_structure)
