"""Judgements in the files of other programs: what a record of theirs is read into, and what every reader shares."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from dpo_core.data.conversations import side_of
from dpo_core.data.digests import digest_json
from dpo_core.data.messages import BadRow, kind_of, require_words, say
from dpo_core.data.pairs import Message, text_of
from dpo_core.errors import InputError
from dpo_core.judging.items import JudgedItem, compared
from dpo_core.judging.lines import Judged, JudgedChoice, Judgement, problem_of

ForeignFormat = Literal["argilla", "label-studio"]
UNKNOWN_TIME = "1970-01-01T00:00:00+00:00"
TIES = ("tie", "both good", "equal", "same", "neutral")
BAD = ("bad", "both bad", "neither", "none")
FIRST = ("first", "a", "left", "1", "response1", "response 1", "answer1", "answer 1", "response a", "answer a")
SECOND = ("second", "b", "right", "2", "response2", "response 2", "answer2", "answer 2", "response b", "answer b")


@dataclass(frozen=True)
class ForeignVote:
    """What one person said of a record, in the order in which the record has its answers.

    `mark`: what the id of the judgement that went there begins with; empty: it was made there; None: nobody can tell.
    """

    by: str
    choice: JudgedChoice
    note: str = ""
    when: str = UNKNOWN_TIME
    mark: str | None = None


@dataclass(frozen=True)
class ForeignRecord:
    """A record of another program: an item, and what was said of it. `where`: its place in the file.

    `turned`: the record has the second of the item's answers first.
    """

    item: JudgedItem
    turned: bool
    votes: tuple[ForeignVote, ...]
    where: str

    def judgements(self) -> Iterator[Judgement]:
        """Each vote, under an id of what it says. Raises BadRow for one that is too long, or no text."""
        other = {"first": "second", "second": "first"} if self.turned else {}
        for vote in self.votes:
            choice = other.get(vote.choice, vote.choice)
            said = {"item": self.item.id, "by": vote.by, "choice": choice, "note": vote.note, "when": vote.when}
            try:
                yield Judgement.model_validate({"id": digest_json(list(said.values()))[:32], **said})
            except ValidationError as error:
                raise BadRow(f"what {vote.by[:40]!r} says: {problem_of(error)}") from None


def fresh_judgements(records: Iterable[ForeignRecord], judged: Judged) -> Iterator[tuple[JudgedItem, Judgement]]:
    """What each person says of an item by the last vote there, unless they say so here or it was taken in before.

    Who changed their mind and came back says what they said once: an id holds the judgement that it replaces as well.
    What went there and comes back as it was is nothing that they say now.
    """
    latest = {
        (said.item, said.by): (record.item, said, vote.mark)
        for record in records
        for vote, said in zip(record.votes, record.judgements(), strict=True)
    }
    earlier: dict[tuple[str, str], list[Judgement]] = defaultdict(list)
    for said in judged.judgements.values():
        earlier[said.item, said.by].append(said)
    for key, (item, said, mark) in latest.items():
        before = earlier[key]
        stands = [one for one in before if one.id not in judged.undone][-1:]
        # what the program had last: taken in from it, for the page tells which answer stood left, or sent there
        there = [one for one in before if not one.left or (mark and one.id.startswith(mark))][-1:]
        if mark is None:
            there = there or before
        if all((one.choice, one.note) != (said.choice, said.note) for one in (*stands, *there)):
            name = digest_json([said.id, before[-1].id])[:32] if before else said.id
            yield item, said.model_copy(update={"id": name})


Reader = Callable[[Mapping[str, object], str], ForeignRecord]
NOBODY: Mapping[str, str] = {}
NOTHING: Mapping[str, JudgedItem] = {}


def read_records(path: Path, reader: Reader, program: str) -> tuple[list[ForeignRecord], list[InputError]]:
    """The records of a JSON array or of JSON lines, and what is wrong with the others.

    Raises InputError where the file is no such file, or no record of it can be read.
    """
    do = f"export it from {program} again, as JSON"
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = (
            json.loads(text)
            if text.lstrip().startswith("[")
            else [json.loads(line) for line in text.split("\n") if line.strip()]
        )
    except OSError as error:
        raise InputError(f"the file cannot be read: {error.strerror or error}", where=str(path), do=do) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"the file is no JSON: {error}", where=str(path), do=do) from None
    records: list[ForeignRecord] = []
    wrong: list[InputError] = []
    for number, row in enumerate(rows, 1):
        where = f"{path}:record {number}"
        try:
            if not isinstance(row, Mapping):
                raise BadRow(f"it is {kind_of(row)}, not an object")
            record = reader(row, where)
            list(record.judgements())  # a vote may be none
            records.append(record)
        except BadRow as bad:
            wrong.append(InputError(f"not a record of {program}: {bad}", where=where, do=do))
    if not records:
        raise wrong[0] if wrong else InputError("the file has no records", where=str(path), do=do)
    return records, wrong


def field_of(row: Mapping[str, object], names: Sequence[str], place: str) -> Any:
    """The first of these fields that is there. Raises BadRow."""
    name = next((name for name in names if row.get(name) not in (None, "", [])), None)
    if name is None:
        raise BadRow(
            f"{place} lacks {' or '.join(names)}; it has {', '.join(sorted(map(str, row)))[:200] or 'nothing'}"
        )
    return row[name]


def item_of(shown: Mapping[str, object], went: JudgedItem | None) -> tuple[JudgedItem, bool]:
    """The item of a prompt and two answers, and whether it has these the other way round. Raises BadRow.

    `shown`: what the record has of each, by its place there; `went`: the item that it was made of, which it stays
    while the texts are those that went.
    """
    if went is not None and tuple(shown.values()) == shown_texts(went):
        return went, False
    asked, *answers = shown.items()
    prompt = prompt_of_field(asked[1], asked[0])
    one, other = (text_of_field(answer, place) for place, answer in answers)
    item = compared(prompt, say("assistant", one), say("assistant", other))
    return item, item.answers[0][0]["content"] != one


def prompt_of_field(value: object, place: str) -> tuple[Message, ...]:
    """Text or messages as a prompt. Raises BadRow."""
    asked = side_of(value, place)
    prompt = say("user", asked) if isinstance(asked, str) else asked
    require_words(prompt, place)
    return tuple(prompt)


def text_of_field(value: object, place: str) -> str:
    """Text, or messages as text. Raises BadRow."""
    side = side_of(value, place)
    text = side if isinstance(side, str) else text_of(side)
    require_words(say("assistant", text), place)
    return text


def choice_of(value: object, place: str, names: Sequence[str] = ()) -> JudgedChoice:
    """What a label means; `names`: what the record calls its two answers. Raises BadRow."""
    told = str(value).strip().casefold().replace("_", " ").replace("-", " ")
    mine = [name.casefold().replace("_", " ").replace("-", " ") for name in names]
    for choice, labels in (
        ("first", (*mine[:1], *FIRST)),
        ("second", (*mine[1:2], *SECOND)),
        ("tie", TIES),
        ("bad", BAD),
    ):
        if told in labels:
            return choice  # type: ignore[return-value]
    raise BadRow(f"{place} is {str(value)[:40]!r}: which answer that prefers is not known")


def shown_texts(item: JudgedItem) -> tuple[str, str, str]:
    """Prompt and answers as a text each: a question as it is, a conversation with its roles."""
    first, second = map(text_of, item.answers)
    if len(item.prompt) == 1:
        return text_of(item.prompt), first, second
    prompt = "\n\n".join(f"{message['role']}: {text_of([message])}" for message in item.prompt)
    return prompt, first, second


def compared_items(judged: Judged) -> Iterator[tuple[JudgedItem, list[Judgement]]]:
    """Each item of two answers with what each person said last of it, who settled it last; skips left out."""
    for item in judged.judged_items():
        if len(item.answers) == 2:
            said = {one.by: one for one in judged.of(item.id) if one.choice != "skip"}
            if (settlement := judged.settlement(item.id)) is not None:
                said.pop(settlement.by, None)
                said[settlement.by] = settlement
            yield item, list(said.values())
