"""What an answer thinks before it speaks: under a key of its own, or between marks in its content."""

import re

from dpo_core.data.pairs import Message

CLOSES = {  # by the mark that opens a thought
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "<seed:think>": "</seed:think>",
    "[THINK]": "[/THINK]",
    "\u25c1think\u25b7": "\u25c1/think\u25b7",
    "<|START_THINKING|>": "<|END_THINKING|>",
}
BOTH = re.compile("|".join(f"{re.escape(o)}(.*?){re.escape(c)}" for o, c in CLOSES.items()), re.DOTALL)
OPENED = re.compile(f"({'|'.join(map(re.escape, CLOSES))})\\s*$")


def thought_of(message: Message) -> str | None:
    """The thought of a message without its marks; None where it has none."""
    if (given := message.get("reasoning_content")) is not None:
        return given
    return _parted(message["content"])[0]


def pieces_of(message: Message) -> list[str]:
    """All that a template has to write of a message: its thought, what it says, the functions that it calls."""
    thought, said = _parted(message["content"])
    calls = [str(call["function"]["name"]) for call in message.get("tool_calls", ())]
    return [message.get("reasoning_content", ""), thought or "", *said, *calls]


def opened_by(text: str) -> str | None:
    """The mark that opens a thought at the end of a text, if there is one."""
    found = OPENED.search(text)
    return found[1] if found else None


def continuation(content: str, mark: str) -> str | None:
    """What follows where `mark` stands already: the content without it; None if no thought is closed in it."""
    if CLOSES[mark] not in content:
        return None
    rest = content.lstrip()
    return rest.removeprefix(mark).lstrip() if rest.startswith(mark) else rest


def squeezed(text: str) -> str:
    """Without white space, which templates trim and add, and without the marks of `chat_template`."""
    return "".join(text.translate({0xF0000: None, 0xF0001: None}).split())


def _parted(content: str) -> tuple[str | None, list[str]]:
    """The thought, and the texts around it. A close alone: the generation prompt had the other mark."""
    if found := BOTH.search(content):
        thought = next(group for group in found.groups() if group is not None)
        return thought, [content[: found.start()], content[found.end() :]]
    for close in CLOSES.values():
        if close in content:
            thought, _, said = content.rpartition(close)
            return thought, [said]
    return None, [content]
