"""Pairs that people judged, which a judge is held against."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from dpo_core.data.digests import digest_json, prompt_digest
from dpo_core.data.messages import BadRow, messages_of, say
from dpo_core.data.pairs import Message, text_of
from dpo_core.errors import InputError
from dpo_core.judging.lines import COMPARED, holds_judgements, read_judged
from dpo_core.judging.verdicts import agreed
from dpo_core.rewards.judge import Match
from dpo_core.rewards.questions_to_judges import Choice

SHAPE = (
    'a line is {"prompt", "chosen", "rejected"}, or {"prompt", "first", "second", "label": "first", "second" or "tie"}'
)
SIDES = (("chosen", "rejected"), ("first", "second"))


@dataclass(frozen=True)
class Labelled:
    """Two answers to a prompt, and which one people prefer. `generators`: who wrote them, "" where nobody says."""

    prompt: tuple[Message, ...]
    first: str
    second: str
    label: Choice
    generators: tuple[str, str] = ("", "")
    where: str = ""  # file and line

    @property
    def match(self) -> Match:
        """What a judge is asked about."""
        return Match(self.prompt, self.first, self.second)

    @property
    def cluster(self) -> str:
        """Pairs of one prompt are one group in every interval."""
        return prompt_digest(self.prompt)


def read_labels(path: str | Path) -> list[Labelled]:
    """Labelled pairs from a JSONL file; InputError with file and line where one is not right.

    Which of `chosen` and `rejected` becomes the first one is by lot, fixed by their text: a label that always said
    `first` would agree with a judge that always says so. `SIDE_generator` says who wrote an answer. A file of
    judgements (`dpo judge`) is read too: what people agree on, both answers bad being a tie.
    """
    path = Path(path)
    if holds_judgements(path):
        return _of_judgements(path)
    if not path.is_file():
        raise InputError("there is no such file of labels", where=str(path), do="check labels; " + SHAPE)
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text: {error.reason}", where=str(path), do="save it as UTF-8") from None
    found = [_labelled(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise InputError("the file of labels is empty", where=str(path), do="add pairs that people judged; " + SHAPE)
    return found


def _of_judgements(path: Path) -> list[Labelled]:
    judged = read_judged([path])
    found = []
    for item in judged.judged_items():
        choice = agreed(judged.of(item.id), judged.settlement(item.id))
        if len(item.answers) == 2 and choice in COMPARED:
            label: Choice = "tie" if choice == "bad" else choice  # type: ignore[assignment]
            first, second = (text_of(answer) for answer in item.answers)
            by = (item.writers[0], item.writers[1]) if item.writers else ("", "")
            found.append(Labelled(item.prompt, first, second, label, by, f"{path}: item {item.id}"))
    if not found:
        do = "judge on with `dpo judge`, or settle what people disagree on"
        raise InputError("people agree on no item of these judgements", where=str(path), do=do)
    return found


def _labelled(line: str, where: str) -> Labelled:
    try:
        return _of_row(json.loads(line), where)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not a labelled pair: {error}", where=where, do=SHAPE) from None


def _of_row(row: object, where: str) -> Labelled:
    if not isinstance(row, dict):
        raise BadRow("it is no object")
    sides = next((sides for sides in SIDES if row.keys() >= set(sides)), None)
    if sides is None or "prompt" not in row:
        raise BadRow("it has no prompt with two answers")
    prompt = say("user", row["prompt"]) if isinstance(row["prompt"], str) else messages_of(row["prompt"], "prompt")
    texts = [row[side] if isinstance(row[side], str) else text_of(messages_of(row[side], side)) for side in sides]
    generators = [str(row.get(f"{side}_generator") or "") for side in sides]
    label: Choice = "first"
    if sides[0] == "first":
        if row.get("label") not in get_args(Choice):
            raise BadRow(f"label is {row.get('label')!r}, none of first, second and tie")
        label = row["label"]
    elif int(digest_json([prompt, sorted(texts)])[:8], 16) % 2 == (texts[0] < texts[1]):
        texts, generators, label = texts[::-1], generators[::-1], "second"
    return Labelled(tuple(prompt), texts[0], texts[1], label, (generators[0], generators[1]), where)
