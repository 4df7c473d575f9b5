"""Which pairs belong together: those with the same prompt, and those of one origin.

The same prompt is the same `prompt_key`. Copies and leaks are looked for by `compared_key`, in which Unicode's ways to
write one text are one. Parts of a prompt are compared by themselves: its questions, one by one (`question_keys`) or all
of them (`split_key`: what is held out), and its text without what whole data sets share (`asked`).
"""

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dpo_core.data.pairs import Message, Pair, text_of
from dpo_core.quality.table import Block, Columns, PairTable

SAMPLE = 100_000  # pairs
ORIGINS: Mapping[str, tuple[str, ...]] = {  # column: the keys of a row's `meta` that may hold it
    "annotator": ("annotator", "annotator_id", "worker", "worker_id", "rater", "labeler", "labeller"),
    "chosen_model": ("chosen_model", "chosen-model", "chosen_system", "model_chosen", "chosen_generator"),
    "rejected_model": ("rejected_model", "rejected-model", "rejected_system", "model_rejected", "rejected_generator"),
}


def prompt_key(prompt: Iterable[Message]) -> str:
    """A prompt as compared: roles and text (tool calls too), case folded, runs of white space as one space.

    Prompts of one key are the same: in the sample and the clusters of every test.
    """
    return "\n".join(f"{m['role']}: {' '.join(text_of((m,)).casefold().split())}" for m in prompt)


def compared_key(prompt: Iterable[Message]) -> str:
    """The key in Unicode's compatibility form: texts that cannot be told apart are one, however they were typed."""
    key = prompt_key(prompt)
    return key if key.isascii() else unicodedata.normalize("NFKC", key)


def question_keys(prompt: Iterable[Message]) -> list[str]:
    """The compared key of each question in a conversation: a benchmark asks one, wherever it comes."""
    return [compared_key((message,)) for message in prompt if message["role"] == "user"]


def split_key(prompt: Sequence[Message]) -> str:
    """What is asked, whatever the system message says and the assistant has answered; all turns where no user speaks.

    Prompts of one key are on one side of the split. A change of this function moves pairs between training and
    held-out data.
    """
    return "\n".join(question_keys(prompt)) or compared_key(prompt)


def asked(prompt: Iterable[Message]) -> str:
    """The text of a prompt without roles and system message: what is compared where prompts are nearly equal."""
    return text_of(message for message in prompt if message["role"] not in ("system", "developer"))


def prompt_columns(block: Block) -> Columns:
    """Which pairs belong together.

    `prompt` (of its key), `source`, `annotator`, `chosen_model`, `rejected_model`: digests (int64, 0: not given) whose
    names are read from one of their rows (`origin`). `answers`: (N, 2) digests of the texts of the chosen and the
    rejected one. `prompt_length`: characters (int32).
    """
    rows = [pair.pair for pair in block.pairs]
    return {
        "prompt": digests(prompt_key(row.prompt) for row in rows),
        "answers": np.stack([digests(block.strings[1::3]), digests(block.strings[2::3])], axis=1),
        "prompt_length": np.array([len(text) for text in block.strings[::3]], np.int32),
        **{name: digests(origin(row, name) for row in rows) for name in ("source", *ORIGINS)},
    }


def origin(pair: Pair, column: str) -> str:
    """What a row says about its source, annotator or models; empty if nothing."""
    if column == "source":
        return pair.source
    value = next((pair.meta[key] for key in ORIGINS[column] if pair.meta.get(key) is not None), "")
    return str(value)


def digest(content: str | bytes) -> int:
    """The first 63 bits of a BLAKE2b digest, 0 for nothing: among a million, two are equal by chance 5e-8."""
    if not content:
        return 0
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big") >> 1


def digests(contents: Iterable[str | bytes]) -> NDArray[np.int64]:
    """The `digest` of each."""
    return np.array([digest(content) for content in contents], dtype=np.int64)


def prompt_clusters(table: PairTable, rows: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """A cluster number for each pair (of `rows`): equal for equal prompts.

    Where the table has a column `prompt_group` (groups.py), nearly equal prompts are one cluster too.
    """
    column = table["prompt_group" if "prompt_group" in table.columns else "prompt"]
    numbers = np.unique(column if rows is None else column[rows], return_inverse=True)[1]
    return np.asarray(numbers, dtype=np.int64)


def sample_rows(prompts: NDArray[np.int64], limit: int = SAMPLE) -> NDArray[np.int64]:
    """At most about `limit` rows, in order: those of the prompts with the lowest digests, each prompt whole.

    `prompts`: the column of that name. A prompt's place depends on its text alone, so the sample is stable.
    """
    if len(prompts) <= limit:
        return np.arange(len(prompts))
    bound = np.partition(prompts, limit - 1)[limit - 1]
    return np.flatnonzero(prompts <= bound)
