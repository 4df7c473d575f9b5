"""Prompts that must not be trained on, held out or of a benchmark: read, and indexed for comparison."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dpo_core.data.messages import ROLES, BadRow, messages_of
from dpo_core.data.pairs import Message
from dpo_core.errors import InputError
from dpo_core.quality.postings import Postings, PromptIndex, distinct, has
from dpo_core.quality.prompts.identity import asked, compared_key, digests, question_keys
from dpo_core.quality.text.minhash import SHINGLE
from dpo_core.quality.words import Hashes, Ints, TextArray
from dpo_core.recipe import Validation

HELD_OUT = "held_out"  # name of the index of held-out prompts
NGRAM = 8  # words
COMMON, COMMON_SHARE, COMMON_MOST = 10, 0.01, 100  # a shingle in more prompts (of this share: at most) is boilerplate
BLOCK = 1000  # prompts laid out at once (memory)
DO = 'write one {"prompt": ...} a line, or plain text with one prompt a line'


def indexes_of(held_out: Iterable[Sequence[Message]], validation: Validation) -> list[PromptIndex]:
    """The prompts that must not be trained on: those held out, and those of the benchmarks. Raises InputError."""
    own = index_prompts(HELD_OUT, held_out)
    return [*([own] if len(own) else []), *index_benchmarks(validation.benchmarks)]


def index_prompts(name: str, prompts: Iterable[Sequence[Message]], *, turns: bool = False) -> PromptIndex:
    """Index a collection of prompts; of conversations with `turns` their last question."""
    kept: dict[str, Sequence[Message]] = {}
    counts = Counter[str]()
    for messages in prompts:
        key = question_keys(messages)[-1] if turns else compared_key(messages)
        counts[key] += 1
        kept.setdefault(key, messages)
    sizes, (shingles, owners), (ngrams, whose, place) = _laid_out([asked(messages) for messages in kept.values()])
    common = np.union1d(_common(shingles, len(kept)), _common(distinct(ngrams, whose)[0], len(kept)))
    boilerplate = Postings.of(common, np.zeros(len(common), dtype=np.int64))
    own, rare = ~has(boilerplate, shingles), ~has(boilerplate, ngrams)
    return PromptIndex(
        name,
        turns,
        np.array(list(counts.values()), dtype=np.int64),
        sizes,
        np.bincount(owners[own], minlength=len(kept)),
        Postings.of(digests(counts).view(np.uint64), np.arange(len(kept))),
        Postings.of(shingles[own], owners[own]),
        Postings.of(ngrams[rare], whose[rare], place[rare]),
        boilerplate,
    )


def _laid_out(texts: Sequence[str]) -> tuple[Ints, tuple[Hashes, Ints], tuple[Hashes, Ints, Ints]]:
    """Words of each text; different shingles and whose; n-grams, whose, and their place."""
    blocks = []
    for start in range(0, max(len(texts), 1), BLOCK):
        words = TextArray.of(texts[start : start + BLOCK]).words
        shingles, owners = distinct(*words.shingles(SHINGLE))
        ngrams, whose = words.shingles(NGRAM, short=False)
        place = np.arange(len(ngrams)) - np.searchsorted(whose, whose)
        blocks.append((np.diff(words.bounds), shingles, owners + start, ngrams, whose + start, place))
    sizes, shingles, owners, ngrams, whose, place = (np.concatenate(part) for part in zip(*blocks, strict=True))
    return sizes, (shingles, owners), (ngrams, whose, place)


def _common(hashes: Hashes, count: int) -> Hashes:
    """Hashes that stand in so many of the `count` texts that they say nothing."""
    values, texts = np.unique(hashes, return_counts=True)
    return values[texts > min(max(COMMON, COMMON_SHARE * count), COMMON_MOST)]


def index_benchmarks(files: Mapping[str, str]) -> list[PromptIndex]:
    """The prompts of `validation.benchmarks`, an index each. Raises InputError."""
    return [index_prompts(f"benchmark_{name}", read_prompts(path), turns=True) for name, path in files.items()]


def read_prompts(path: str) -> list[tuple[Message, ...]]:
    """Prompts of a file: JSON lines with `prompt` (text or messages), or one prompt a line. Raises InputError."""
    try:
        text = Path(path).read_text("utf-8-sig")
    except OSError as error:
        says = f"the prompts cannot be read: {error.strerror or error}"
        raise InputError(says, where=path, do="check the path, and who may read it") from None
    except UnicodeDecodeError:
        raise InputError("the prompts are not UTF-8 text", where=path, do="save the file as UTF-8") from None
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise InputError("the file has no prompts", where=path, do=DO)
    if not lines[0][1].lstrip().startswith("{"):
        return [_user(line.strip()) for _, line in lines]
    return [_prompt_of(line, f"{path}:{number}") for number, line in lines]


def _prompt_of(line: str, where: str) -> tuple[Message, ...]:
    try:
        prompt: Any = json.loads(line)["prompt"]
        messages = _user(prompt) if isinstance(prompt, str) else tuple(messages_of(_read_turns(prompt), "prompt"))
        if any(message["role"] == "user" and message["content"].strip() for message in messages):
            return messages
        says = "it has no words of a user"
    except BadRow as error:
        says = str(error)
    except (ValueError, KeyError, TypeError, RecursionError):
        says = "it is no JSON object with a prompt"
    raise InputError(f"this line has no prompt: {says}", where=where, do=DO)


def _read_turns(prompt: object) -> object:
    """Of a conversation the turns that are compared, the user's, and others that are plain text."""
    if not isinstance(prompt, list):
        return prompt
    return [t for t in prompt if not isinstance(t, dict) or t.get("role") == "user" or _is_plain(t)]


def _is_plain(turn: dict[str, object]) -> bool:
    return turn.get("role") in ROLES and isinstance(turn.get("content"), str) and not turn.get("function_call")


def _user(text: str) -> tuple[Message, ...]:
    return ({"role": "user", "content": text},)
