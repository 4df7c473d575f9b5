"""The program of the trial: it renders and encodes a few words, and is killed where that does not end.

It imports nothing of ours and no torch, so that it starts in a moment. One line of JSON as a file is begun, one when it
is done.
"""

import datetime
import json
import resource
import sys

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

TALK = [
    {"role": "user", "content": "Who are you?"},
    {"role": "assistant", "content": "I am a model."},
    {"role": "user", "content": "And what is the sea?"},
]
TEXT = "Who are you? I am a model.\nÄpfel, 你好, 12345\t" * 8


class Generation(Extension):
    """`{% generation %}`: in transformers it marks what the assistant wrote."""

    tags = {"generation"}  # noqa: RUF012 (as jinja declares it)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The body as it is."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def tell(**found: object) -> None:
    """One line to who asked."""
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


def render(text: str) -> int:
    """Characters that a template makes of a short talk; a template that refuses it makes none."""

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", Generation]
    )
    environment.globals |= {
        "raise_exception": refuse,
        "strftime_now": lambda form: datetime.datetime.now().strftime(form),
    }
    environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    known = {"messages": TALK, "add_generation_prompt": True, "tools": None, "documents": None}
    marks = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return len(environment.from_string(text).render(**known, **marks))


def encode(file: str) -> int:
    """Tokens that a tokenizer makes of a short text, and characters that it makes of them again."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(file)
    ids = tokenizer.encode(TEXT, add_special_tokens=True).ids
    return max(len(ids), len(tokenizer.decode(ids)))


def main() -> None:
    """Read the order, set the limits, try one after the other."""
    order = json.load(sys.stdin)
    resource.setrlimit(resource.RLIMIT_CPU, (order["seconds"], order["seconds"] + 1))
    resource.setrlimit(resource.RLIMIT_AS, (order["memory"], order["memory"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for file, text in order["templates"].items():
        tell(file=file, begun=True)
        try:
            tell(file=file, size=render(text))
        except (MemoryError, OverflowError, RecursionError) as error:
            tell(file=file, error=f"{type(error).__name__} on a few words")
        except Exception:  # what it refuses, and what is no template, is told where it is used
            tell(file=file, size=0)
    if order["tokenizer"]:
        tell(file="tokenizer.json", begun=True)
        try:
            tell(file="tokenizer.json", size=encode(order["tokenizer"]))
        except BaseException as error:  # a panic of the library is no Exception
            tell(file="tokenizer.json", error=str(error).splitlines()[0][:200] if str(error) else type(error).__name__)


if __name__ == "__main__":
    main()
