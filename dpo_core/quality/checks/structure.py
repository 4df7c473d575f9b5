"""Is each row a comparison at all, between two whole answers without traces of some template or broken export."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpo_core.quality import traces
from dpo_core.quality.results import Results, gathered, share_of_rows
from dpo_core.quality.table import PairTable
from dpo_core.quality.text.words import Bools
from dpo_core.recipe import Validation
from dpo_core.report.results import Finding

UNEVEN_FAIL = 0.01  # share of pairs
TRACE_WARN = 0.001  # share of pairs: below, odd rows are told and no more
BROKEN_FAIL = 0.05  # share of pairs: the export as a whole is broken, not a few rows
HIDDEN = traces.CONTROL | traces.ZERO_WIDTH | traces.BIDI
ENCODING = {
    "over_length": "pairs were set aside because they are longer than encoding.max_length; raise it, or set "
    "encoding.overlong to cut_prompt",
    "prompts_cut": "pairs had the oldest part of their prompt cut to fit encoding.max_length; raise it if that part "
    "matters",
    "boundary_merges": "pairs had the end of their prompt and the start of an answer joined by the tokenizer, so the "
    "prompt was cut back to the last token that both sides share",
}


def check_structure(table: PairTable, validation: Validation, encoding: Mapping[str, int] | None = None) -> Results:
    """Useless, one-sided and broken rows. `encoding`: what dpo_core.model.encode counted, if anything."""
    measures, findings = gathered(
        share_of_rows(row.check, table, row.bad, row.says, warn_above=row.warn, fail_above=row.fail)
        for row in _rows(table, validation.max_identical)
    )
    return measures, [*findings, *_of_encoding(encoding or {})]


class _Row(NamedTuple):
    check: str
    bad: Bools
    says: str
    warn: float | None = TRACE_WARN
    fail: float | None = None


def _rows(table: PairTable, max_identical: float) -> Iterator[_Row]:
    pair, prompt, chosen, rejected = (table[f"structure_{name}"] for name in ("pair", "prompt", "chosen", "rejected"))
    answer, every = chosen | rejected, prompt | chosen | rejected
    same = traces.SAME_TEXT | traces.SAME_TOKENS | traces.NO_TOKENS
    useless = (pair & same != 0) | (answer & traces.EMPTY != 0)
    yield _Row(
        "structure/identical_or_empty",
        useless,
        "have two equal answers, or an empty one (as text, or as the tokens trained on): nothing can be learnt from "
        "them. Remove them.",
        warn=0.0,
        fail=max_identical,
    )
    yield _Row(
        "structure/nearly_identical",
        (pair & traces.NEARLY_SAME != 0) & ~useless,
        f"have answers that are the same but for {1 - traces.NEARLY:.0%} in one place. Fine if that place is what "
        "people judged; else drop them.",
        warn=None,
    )
    yield _Row(
        "structure/end_of_turn",
        pair & (traces.UNEVEN_TOKEN | traces.UNEVEN_MARK) != 0,
        "end the turn on one side only, so the model learns to stop (or not to) instead of what to say: "
        "an answer was cut, or an end-of-turn string stands in its text. Mend or remove them.",
        warn=0.0,
        fail=UNEVEN_FAIL,
    )
    yield _Row(
        "structure/template_in_text",
        every & traces.MARKER != 0,
        "have template strings in their text (<|im_start|>, [INST], ### Human: and the like), which are trained on as "
        f"plain text ({_sides(chosen, rejected, traces.MARKER)}). Parse the export into messages.",
    )
    yield _Row(
        "structure/thought_on_one_side",
        (chosen ^ rejected) & traces.THOUGHT != 0,
        f"have <think> tags in one answer only ({_sides(chosen, rejected, traces.THOUGHT)}): whether to think aloud is "
        "learnt from them. Strip the tags, or keep them on both sides.",
    )
    yield _Row(
        "structure/speaker_in_answer",
        answer & traces.SPOKEN != 0,
        "have a line that begins with Human: or Assistant: in an answer "
        f"({_sides(chosen, rejected, traces.SPOKEN)}), and a model learns to go on talking for both. Cut the answer "
        "there, or split it into turns.",
    )
    yield _Row(
        "structure/broken_encoding",
        every & (traces.REPLACEMENT | traces.MOJIBAKE) != 0,
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
    yield _Row(
        "structure/turns",
        pair & (traces.SYSTEMS | traces.TURNS) != 0,
        "have several system messages, or turns that do not alternate between user and assistant: some chat templates "
        "refuse them, some merge them. Check how the transcripts were cut.",
    )


def _sides(chosen: NDArray[np.uint16], rejected: NDArray[np.uint16], bits: int) -> str:
    one, other = chosen & bits != 0, rejected & bits != 0
    return f"only in chosen: {int((one & ~other).sum())}, only in rejected: {int((other & ~one).sum())}"


def _of_encoding(counts: Mapping[str, int]) -> Iterator[Finding]:
    for name, says in ENCODING.items():
        if counts.get(name):
            numbers: dict[str, float | int | str] = {"pairs": counts[name]}
            yield Finding(f"structure/{name}", "info", f"{counts[name]} {says}", statistics=numbers)
