"""Pairs to token ids: chat template, prompt boundary, one end-of-turn token, length limit."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from dpo_core.data.pairs import EncodedPair, Message, Pair, common_prefix
from dpo_core.errors import InputError
from dpo_core.model.chat_template import ChatTemplate, Refused
from dpo_core.model.remote_code import require_no_other_code
from dpo_core.model.shorten import shortened
from dpo_core.model.thoughts import continuation, opened_by, pieces_of, squeezed, thought_of
from dpo_core.recipe import Encoding

BATCH = 256  # pairs tokenised at once
COUNTED = (
    *("boundary_merges", "prompts_cut", "over_length", "without_turns", "unopened"),
    *("system_left_out", "tools_left_out", "turns_left_out", "thoughts_left_out"),
)


class Texts(NamedTuple):
    """A pair as text: its prompt, and the prompt with either answer. `notes`: what else is true of it, of COUNTED."""

    prompt: str
    chosen: str
    rejected: str
    notes: tuple[str, ...] = ()


class Ids(NamedTuple):
    """The same as ids: the prompt, and what follows it. `merged`: the tokenizer joined prompt and answer."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]
    merged: bool
    notes: tuple[str, ...]

    def length(self) -> int:
        """Of the prompt with the longer answer."""
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))


@dataclass(frozen=True)
class EncodeResult:
    """What became of each pair.

    `statistics` counts pairs: `boundary_merges` (the tokenizer joined the end of the prompt with the start of an
    answer, so the prompt was cut back to the last common token), `prompts_cut`, `over_length`, `without_turns` (plain
    text, and the model has a template), `unopened` (the template opens an answer with what this one does not begin
    with), and what the template leaves out of the prompt: `system_`, `tools_`, `turns_` and `thoughts_left_out`.
    """

    encoded: list[EncodedPair]
    rejected: list[tuple[Pair, str]]
    statistics: dict[str, int]


def load_tokenizer(folder: str | Path, *, trusted_code: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder; InputError where it has none or cannot end a turn.

    Code of the model's own runs only if `trusted_code` is its digest.
    """
    if trusted_code is not None:
        require_no_other_code(Path(folder), trusted_code)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=trusted_code is not None)
    except Exception as error:  # of any kind, for a tokenizer's files are somebody else's
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"no tokenizer can be loaded: {reason}",
            where=str(folder),
            do="save the model's tokenizer beside its weights",
        ) from None
    if tokenizer.eos_token_id is None:
        raise InputError(
            "the tokenizer has no end-of-turn token (eos_token)",
            where=str(folder),
            do="set eos_token in tokenizer_config.json",
        )
    return tokenizer


def encode_pairs(pairs: Sequence[Pair], tokenizer: PreTrainedTokenizerBase, encoding: Encoding) -> EncodeResult:
    """Encode every pair, setting aside those that do not fit `encoding.max_length` tokens or that no template writes.

    The ids of prompt and answer are those of `apply_chat_template`, up to the one end of turn. A response is never cut.
    Raises InputError where messages meet a tokenizer without a chat template.
    """
    encoded: list[EncodedPair] = []
    rejected: list[tuple[Pair, str]] = []
    counts: Counter[str] = Counter(dict.fromkeys(COUNTED, 0))
    encoder = _Encoder(tokenizer, encoding)
    for pair, found in encoder.all(pairs):
        if isinstance(found, Ids) and found.length() > encoding.max_length:
            short = encoder.shortened(pair) if encoding.overlong == "cut_prompt" else None
            counts["over_length" if short is None else "prompts_cut"] += 1
            found = short or Refused(_too_long(found, encoding))
        if isinstance(found, Refused):
            rejected.append((pair, str(found)))
            continue
        counts["boundary_merges"] += found.merged
        counts.update(found.notes)
        encoded.append(EncodedPair(pair, tuple(found.prompt), tuple(found.chosen), tuple(found.rejected)))
    return EncodeResult(encoded, rejected, dict(counts))


def encode_prompt(
    messages: Sequence[Message],
    tokenizer: PreTrainedTokenizerBase,
    tools: Sequence[Mapping[str, object]] = (),
    *,
    template: ChatTemplate | None = None,
) -> list[int]:
    """The ids a model continues with its own answer. Special tokens written in a message or a tool stay text.

    `template`: of `tokenizer`; unset, with the calendar's date where a template writes today's. Raises InputError.
    """
    template = template or ChatTemplate(tokenizer)
    try:
        found = template.ids([template.text(messages, tools, answer_next=True)])[0]
    except Refused as refused:
        found = refused
    if isinstance(found, Refused):
        raise InputError(
            f"the conversation cannot be put to the model: {found}",
            where=str(tokenizer.name_or_path),
            do="change the conversation to what the chat template allows, or take another model",
        )
    return found


class _Encoder:
    """Pairs to ids with one tokenizer and one recipe's `encoding`."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, encoding: Encoding) -> None:
        self.tokenizer, self.encoding = tokenizer, encoding
        self.template = ChatTemplate(tokenizer, encoding.date)
        added = tokenizer.added_tokens_decoder.items()  # Phi's <|end|> is special, and in no map of special tokens
        self.special = frozenset([*tokenizer.all_special_ids, *(number for number, token in added if token.special)])

    def all(self, pairs: Sequence[Pair]) -> Iterator[tuple[Pair, Ids | Refused]]:
        """Each pair with its ids; BATCH at once, as most of a tokenizer's call is not its text's."""
        for plain, alike in groupby(pairs, lambda pair: pair.plain):
            rows = list(alike)
            for first in range(0, len(rows), BATCH):
                batch = rows[first : first + BATCH]
                texts = [self._texts(pair) for pair in batch]
                encoded = iter(self._encoded([text for text in texts if isinstance(text, Texts)], plain=plain))
                yield from zip(batch, [next(encoded) if isinstance(t, Texts) else t for t in texts], strict=True)

    def shortened(self, pair: Pair) -> Ids | None:
        """The pair's ids with as much of its prompt as fits; None where too little would be left."""

        def ids(short: Pair) -> Ids | Refused:
            return next(found for _, found in self.all([short]))

        def fits(short: Pair) -> bool:
            found = ids(short)
            return isinstance(found, Ids) and found.length() <= self.encoding.max_length

        short = shortened(pair, fits)
        found = ids(short) if short is not None else None
        return found if isinstance(found, Ids) else None

    def _texts(self, pair: Pair) -> Texts | Refused:
        if pair.plain:
            start, chosen, rejected = (side[0]["content"] for side in (pair.prompt, pair.chosen, pair.rejected))
            return Texts(
                start, start + chosen, start + rejected, ("without_turns",) * bool(self.tokenizer.chat_template)
            )
        try:
            start = self.template.text(pair.prompt, pair.tools, answer_next=True)
            chosen, rejected = (self._answered(pair, side, start) for side in (pair.chosen, pair.rejected))
        except Refused as refused:
            return refused
        notes = self._left_out(pair, start)
        if not (chosen.startswith(start) and rejected.startswith(start)):
            notes = [*notes, "unopened"]
        return Texts(start, chosen, rejected, tuple(notes))

    def _answered(self, pair: Pair, side: Sequence[Message], start: str) -> str:
        """The whole conversation with one answer. Raises Refused where the template does not write all of it."""
        thoughtful = any(thought_of(message) for message in side if message["role"] == "assistant")
        if thoughtful and self.encoding.thoughts == "refuse":
            raise Refused("an answer holds a thought, and encoding.thoughts is refuse")
        whole = self.template.text((*pair.prompt, *side), pair.tools)
        shared = len(start)
        if not whole.startswith(start):
            asked = self.template.text(pair.prompt, pair.tools)
            shared = common_prefix(start, whole)
            if shared < len(asked[: common_prefix(asked, start)].rstrip()):
                raise Refused("the chat template writes the prompt in another way once an answer follows it")
        said = squeezed(whole[shared:])
        pieces = [piece for m in side if m["role"] == "assistant" for piece in pieces_of(m)]
        if all(squeezed(piece) in said for piece in pieces):
            return whole
        mark, content = opened_by(start), side[0]["content"]
        rest = (
            continuation(content, mark) if mark and len(side) == 1 and side[0].keys() == {"role", "content"} else None
        )
        if rest is None:
            raise Refused(_lost(side, thoughtful, self.template))
        return start + self.template.marked(rest.rstrip())  # as the model itself goes on from what it is asked with

    def _left_out(self, pair: Pair, start: str) -> list[str]:
        """What of the prompt the template does not write."""
        if not pair.tools and all(message["role"] == "user" for message in pair.prompt):
            return []
        written, found = squeezed(start), set()
        for message in pair.prompt:
            thought = squeezed(thought_of(message) or "") if message["role"] == "assistant" else ""
            if thought and thought not in written:
                found.add("thoughts_left_out")
            lost = [piece for piece in map(squeezed, pieces_of(message)) if piece not in written and piece != thought]
            if lost and message["role"] != "tool":  # some templates write a tool's answer as JSON
                found.add("system_left_out" if message["role"] in ("system", "developer") else "turns_left_out")
        names = (tool.get("function", tool).get("name", "") for tool in pair.tools)
        if any(squeezed(str(name)) not in written for name in names):
            found.add("tools_left_out")
        return sorted(found)

    def _encoded(self, texts: Sequence[Texts], *, plain: bool) -> list[Ids | Refused]:
        flat = [text for row in texts for text in row[:3]]
        if not flat:
            return []
        ids: list[list[int] | Refused]
        ids = self.tokenizer(flat, split_special_tokens=True)["input_ids"] if plain else self.template.ids(flat)
        rows = zip(texts, ids[0::3], ids[1::3], ids[2::3], strict=True)
        closing = [] if plain else self._closing
        return [self._split(text, closing, *row) for text, *row in rows]

    def _split(self, texts: Texts, closing: list[int], *parts: list[int] | Refused) -> Ids | Refused:
        """The prompt, and what follows it on either side."""
        ids: list[list[int]] = []
        for part in parts:
            if isinstance(part, Refused):
                return part
            ids.append(part)
        start, *sides = ids
        shared = min(common_prefix(start, side) for side in sides)
        if not shared:
            return Refused("the prompt has no token of its own: the tokenizer joins it with both answers")
        chosen, rejected = (self._end_turn(side[shared:], closing) for side in sides)
        merged = shared < len(start) and "unopened" not in texts.notes
        return Ids(start[:shared], chosen, rejected, merged, texts.notes)

    @cached_property
    def _closing(self) -> list[int]:
        """What the template writes behind the last turn's own end: Phi's end of text, which follows no other turn."""
        turn, rest = self.template.closed()
        says_nothing = all(token in self.special or not self._trimmed([token]) for token in rest)
        return rest if says_nothing and self.special.intersection(self._trimmed(turn)[-1:]) else []

    def _end_turn(self, response: list[int], closing: list[int]) -> list[int]:
        """Exactly one end-of-turn token at the end: templates may put something behind it, or leave it out."""
        own = response[: -len(closing)] if closing and response[-len(closing) :] == closing else response
        for body in (self._trimmed(own), self._trimmed(response)):
            if self.special.intersection(body[-1:]):
                return body
        return [*response, self.tokenizer.eos_token_id]

    def _trimmed(self, ids: Sequence[int]) -> list[int]:
        """Without white space at the end."""
        body = list(ids)
        while body and body[-1] not in self.special and not str(self.tokenizer.decode(body[-1:])).strip():
            body.pop()
        return body


def _lost(side: Sequence[Message], thoughtful: bool, template: ChatTemplate) -> str:
    """Why an answer is refused of which the template leaves something out."""
    if not thoughtful:
        return "the chat template leaves out a part of the answer: what is said beside calls, or the calls themselves"
    if any("reasoning_content" in message for message in side):
        return (
            "the chat template leaves out the answer's reasoning_content: write the thought into content, as the model "
            "writes it (<think>...</think>), or remove it"
        )
    return "the chat template leaves out the answer's thought: remove it, or take the template of the reasoning model"


def _too_long(found: Ids, encoding: Encoding) -> str:
    prompt, answer = len(found.prompt), max(len(found.chosen), len(found.rejected))
    return (
        f"over-length: prompt {prompt} + longer answer {answer} tokens exceed encoding.max_length {encoding.max_length}"
    )
