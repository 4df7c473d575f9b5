"""Talk to one model, or to two side by side, in the terminal or through a pipe."""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dpo_core.data.pairs import Message
from dpo_core.errors import InputError
from flows.cli.console import printable

if TYPE_CHECKING:
    from tasks.commands.chat import Speaker

HELP = "/reset forgets the conversation, /system TEXT sets the system prompt, /quit (or Ctrl-D) ends it"


def talk(models: Sequence[str], max_new_tokens: int) -> None:
    """Read lines from stdin until /quit or its end, and answer each. Two models keep a conversation each."""
    from tasks.commands.chat import load_speaker

    conversations = []
    for model in models:
        speaker = load_speaker(model)
        if not speaker.chats:
            do = "take its instruct variant, or add chat_template.jinja to its folder"
            raise InputError("this model has no chat template: it goes on with plain text alone", where=model, do=do)
        conversations.append(Conversation(speaker, max_new_tokens))
    console, notes = Console(highlight=False), Console(stderr=True, highlight=False, style="dim")
    notes.print(f"{' | '.join(models)}: {HELP}", markup=False)
    while (line := _read()) is not None and line != "/quit":
        command, _, rest = line.partition(" ")
        if command in ("/reset", "/system"):
            for conversation in conversations:
                conversation.restart(rest if command == "/system" else None)
            notes.print("a new conversation")
        elif line.startswith("/"):
            notes.print(HELP, markup=False)
        elif line and len(conversations) == 1:
            _stream(conversations[0], line, console)
        elif line:
            _side_by_side(conversations, line, console)


class Conversation:
    """What was said so far to and by one model."""

    def __init__(self, speaker: "Speaker", max_new_tokens: int) -> None:
        self.speaker = speaker
        self._max_new_tokens = max_new_tokens
        self._messages: list[Message] = []

    def restart(self, system: str | None) -> None:
        """Forget all turns; a `system` text replaces the system prompt, None keeps it."""
        kept = [message for message in self._messages if message["role"] == "system"]
        fresh: list[Message] = [{"role": "system", "content": system}] if system else []
        self._messages = kept if system is None else fresh

    def say(self, line: str, show: Callable[[str], object]) -> None:
        """Show the answer, piece by piece; Ctrl-C cuts it short. A refused turn is taken back and explained."""
        asked = [*self._messages, Message(role="user", content=line)]
        pieces: list[str] = []

        def came(piece: str) -> None:
            pieces.append(piece)
            show(piece)

        try:
            self.speaker.reply(asked, came, max_new_tokens=self._max_new_tokens)
        except KeyboardInterrupt:
            show(" [cut short]")
        except InputError as error:
            show(f"[{error.says}: {error.do}]")
            return
        self._messages = [*asked, Message(role="assistant", content="".join(pieces))]


def _read() -> str | None:
    """The next line without white space around it; None at the end. Only people see a prompt."""
    if not sys.stdin.isatty():
        return line.strip() if (line := sys.stdin.readline()) else None
    import readline  # noqa: F401  (arrow keys and history for input())

    try:
        return input("\nyou> ").strip()
    except (EOFError, KeyboardInterrupt):
        return None


def _stream(conversation: Conversation, line: str, console: Console) -> None:
    conversation.say(line, lambda piece: console.print(printable(piece), end="", markup=False, soft_wrap=True))
    console.print()


def _side_by_side(conversations: Sequence[Conversation], line: str, console: Console) -> None:
    answers = [""] * len(conversations)

    def table() -> Table:
        grid = Table(expand=True)
        for conversation in conversations:
            grid.add_column(conversation.speaker.name, ratio=1, overflow="fold")
        grid.add_row(*map(Text, answers))
        return grid

    with Live(table(), console=console, auto_refresh=False, vertical_overflow="visible") as live:

        def show(number: int, piece: str) -> None:
            answers[number] += printable(piece)
            live.update(table(), refresh=console.is_terminal)

        for number, conversation in enumerate(conversations):
            conversation.say(line, partial(show, number))
