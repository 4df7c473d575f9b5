"""A tokenizer's chat template: conversations to text and ids, as `apply_chat_template` makes them, but for two things.

What a user, a system turn or a tool says stays text, also where it spells a token; an assistant's text may spell any
token but those that frame turns. And where a template writes today's date, it is the day that the recipe names.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Any

from jinja2 import TemplateError, nodes
from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import (
    _compile_jinja_template,
    encode_marked_chat,
    mark_control_tokens,
)

from dpo_core.data.pairs import Message, common_prefix
from dpo_core.errors import InputError

THOUGHT_MARK = re.compile(r"think|thought|reason", re.IGNORECASE)
DIRECTIVES = [*"aAbBcdDeFGgHIjklmMpSTuUVwWxXyYZ", "-d", "-m", "-e", "-j", "-I", "-H"]  # of strftime
TOOL_MARK = re.compile(r"tool|function|call", re.IGNORECASE)
MARKS = re.compile("[\U000f0000\U000f0001]")  # transformers puts them around tokens that are meant as text
MOST = 4 << 20  # characters that a template may make of one conversation
SAMPLE: list[dict[str, str]] = [
    {"role": "system", "content": "s"},
    {"role": "user", "content": "u"},
    {"role": "assistant", "content": "a"},
    {"role": "user", "content": "u"},
]


class Refused(ValueError):
    """Why a conversation cannot be encoded, in words for the person whose row it is."""


class ChatTemplate:
    """The template of `tokenizer`; `day` (YYYY-MM-DD) is what it takes for today's date, the calendar's if None."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, day: str | None = None) -> None:
        self.tokenizer = tokenizer
        self._day = day

    def text(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, object]] = (), *, answer_next: bool = False
    ) -> str:
        """A conversation as the template writes it; `answer_next` opens the turn of the assistant. Raises Refused.

        Tokens that stay text have marks around them, which `ids` takes away again.
        """
        chat = [self._marked(_named(message)) for message in messages]
        offered = [self._marked(tool) for tool in tools] or None
        return self._write(chat, offered, answer_next)

    def ids(self, texts: Sequence[str]) -> list[list[int] | Refused]:
        """The ids of what `text` wrote."""
        found: list[list[int] | Refused] = [[] for _ in texts]
        simple = [number for number, text in enumerate(texts) if not MARKS.search(text)]
        if simple:
            encoded = self.tokenizer([texts[number] for number in simple], add_special_tokens=False)["input_ids"]
            for number, ids in zip(simple, encoded, strict=True):
                found[number] = ids
        for number in set(range(len(texts))).difference(simple):
            try:
                found[number] = encode_marked_chat(self.tokenizer, texts[number])
            except ValueError as error:
                found[number] = Refused(str(error))
        return found

    def closed(self) -> tuple[list[int], list[int]]:
        """A short conversation's ids up to where a longer one differs, and the rest; nothing where it is refused."""
        turns = [Message(role=role, content="a") for role in ("user", "assistant", "user")]
        try:
            over, going_on = self.ids([self.text(turns[:2]), self.text(turns)])
        except Refused:
            return [], []
        if isinstance(over, Refused) or isinstance(going_on, Refused):
            return [], []
        shared = common_prefix(over, going_on)
        return over[:shared], over[shared:]

    def marked(self, text: str) -> str:
        """An assistant's text, ready for `ids`."""
        return str(mark_control_tokens(text, self._frame))

    def _write(self, chat: list[Any], tools: list[Any] | None, answer_next: bool) -> str:
        self._require_template()
        try:
            template = dated(self.tokenizer.get_chat_template(None, tools), self._day)
            text = self.tokenizer.apply_chat_template(
                chat, tools=tools, chat_template=template, tokenize=False, add_generation_prompt=answer_next
            )
        except TemplateError as error:
            raise Refused(f"the chat template refuses it: {error}") from None
        except Exception as error:  # whatever an expression of the template meets
            says = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            raise Refused(f"the chat template cannot write it: {says}") from None
        if not isinstance(text, str) or len(text) > MOST:
            raise Refused(f"the chat template makes more than {MOST:,} characters of it")
        return text

    def _require_template(self) -> None:
        if not self.tokenizer.chat_template:
            raise InputError(
                "the pairs are chat messages, but the tokenizer has no chat template",
                where=str(self.tokenizer.name_or_path),
                do="use the instruct variant of the model, add chat_template.jinja to its folder, or give plain-text "
                "pairs",
            )

    def _marked(self, part: Mapping[str, object]) -> object:
        if any(MARKS.search(text) for text in _strings(part)):
            raise Refused("it holds U+F0000 or U+F0001, private characters with which transformers marks text")
        return mark_control_tokens(dict(part), self._frame if part.get("role") == "assistant" else self._control)

    @cached_property
    def _literals(self) -> str:
        """All text that stands in the template."""
        self._require_template()
        given, where = self.tokenizer.chat_template, str(self.tokenizer.name_or_path)
        return "\0".join(_literals_of(text, where) for text in (given.values() if isinstance(given, dict) else [given]))

    @cached_property
    def _control(self) -> re.Pattern[str]:
        """What only template and assistant can write: as transformers has it, and marks of thoughts and calls."""
        literals = self._literals + "\0" + self._sample
        return _any_of(
            token.content
            for token in self.tokenizer.added_tokens_decoder.values()
            if token.special
            or (token.content in literals and not token.content.isspace())
            or THOUGHT_MARK.search(token.content)
            or TOOL_MARK.search(token.content)
        )

    @cached_property
    def _frame(self) -> re.Pattern[str]:
        """What the assistant cannot write either: tokens that begin and end texts, and those around every turn."""
        ends = {str(token) for token in self.tokenizer.special_tokens_map.values() if isinstance(token, str)}
        return _any_of(
            token.content
            for token in self.tokenizer.added_tokens_decoder.values()
            if (token.content in ends or token.content in self._sample)
            and not token.content.isspace()
            and not THOUGHT_MARK.search(token.content)
        )

    @cached_property
    def _sample(self) -> str:
        """A conversation about nothing, with a system turn if the template has one."""
        for chat in (SAMPLE, SAMPLE[1:], SAMPLE[1:2]):
            try:
                return self._write(list(chat), None, True)
            except Refused:
                continue
        return ""


def _named(message: Message) -> Mapping[str, object]:
    """The thought under every name that templates have for it (`thinking` is transformers' doing)."""
    thought = message.get("reasoning_content")
    return message if thought is None else {**message, "reasoning": thought}


def dated(template: str, day: str | None) -> str:
    """A template that takes `day` for today's, as it stands where it asks for none; None: the calendar's."""
    return _clock(day) + template if day and "strftime_now" in template else template


@lru_cache(maxsize=16)
def _clock(day: str) -> str:
    """What makes a template's `strftime_now` tell this day: Jinja to stand before the template, on a line of its own.

    transformers lets no function into a template but its own.
    """
    date = datetime.fromisoformat(day)
    told = "".join(f"|replace('%{name}', '{date.strftime('%' + name)}')" for name in DIRECTIVES)
    return "{%- macro strftime_now(format) -%}{{ format" + told + " }}{%- endmacro %}\n"


@lru_cache(maxsize=16)
def _literals_of(template: str, where: str) -> str:
    try:
        tree = _compile_jinja_template(template).environment.parse(template)
    except TemplateError as error:
        raise InputError(
            f"the chat template is no Jinja: {error}",
            where=where,
            do="mend the template, or take the tokenizer files that belong to the model",
        ) from None
    constants = {node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str)}
    return "\0".join(constants.union(node.data for node in tree.find_all(nodes.TemplateData)))


def _any_of(tokens: Iterable[str]) -> re.Pattern[str]:
    """One pattern, the longest token first; the look at the first character makes thousands of tokens cheap."""
    longest_first = sorted({token for token in tokens if token}, key=lambda token: (-len(token), token))
    if not longest_first:
        return re.compile("(?!)")
    starts = "".join(re.escape(start) for start in sorted({token[0] for token in longest_first}))
    return re.compile(f"(?=[{starts}])(?:{'|'.join(map(re.escape, longest_first))})")


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)
