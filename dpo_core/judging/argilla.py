"""Argilla's files: what `dataset.records.to_json` writes and `from_json` reads (Argilla 2).

Fields `prompt`, `response1`, `response2`; a label question `preference` (response1, response2, tie, both_bad) and a
text question `note`. Read are also rankings, and other names of the fields that its templates have.
"""

from collections.abc import Iterator, Mapping
from uuid import NAMESPACE_URL, uuid5

from dpo_core.data.messages import BadRow, kind_of
from dpo_core.data.rated_answers import number_of
from dpo_core.judging.foreign import (
    NOBODY,
    NOTHING,
    ForeignRecord,
    ForeignVote,
    choice_of,
    compared_items,
    field_of,
    item_of,
    shown_texts,
)
from dpo_core.judging.items import JudgedItem
from dpo_core.judging.lines import Judged, JudgedChoice

PROMPTS = ("prompt", "instruction", "question", "context", "chat")
ANSWERS = (
    ("response1", "response2"),
    ("response_1", "response_2"),
    ("response-1", "response-2"),
    ("answer1", "answer2"),
    ("response_a", "response_b"),
    ("chosen", "rejected"),
)
QUESTION = ("preference", "choice", "ranking", "preferred", "label")
LABELS = {"first": "response1", "second": "response2", "tie": "tie", "bad": "both_bad"}


def argilla_rows(judged: Judged) -> Iterator[dict[str, object]]:
    """A record an item. A user is a UUID there: of each name the same one every time."""
    for item, said in compared_items(judged):
        pairs = [(one, _user(one.by)) for one in said]
        responses = {"preference": [{"value": LABELS[one.choice], "user_id": user} for one, user in pairs]}
        notes = [{"value": one.note, "user_id": user} for one, user in pairs if one.note]
        prompt, first, second = shown_texts(item)
        yield {
            "id": item.id,
            "fields": {"prompt": prompt, "response1": first, "response2": second},
            "metadata": {},
            "suggestions": {},
            "responses": responses | ({"note": notes} if notes else {}),
            "vectors": {},
            "_server_id": None,
        }


def argilla_people(judged: Judged) -> dict[str, str]:
    """Who went there as which user, but for users whose votes were taken in under the user's own name."""
    people = {said.by for said in judged.judgements.values()}
    return {_user(by): by for by in people if _user(by) not in people}


def _user(name: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"dpo-judge:{name}"))


def argilla_record(
    row: Mapping[str, object],
    where: str,
    people: Mapping[str, str] = NOBODY,
    known: Mapping[str, JudgedItem] = NOTHING,
) -> ForeignRecord:
    """A record of Argilla. Raises BadRow for one that lacks what it needs.

    `people`: as `argilla_people`; `known`: the items that may have gone there, by id.
    """
    fields = row.get("fields")
    if not isinstance(fields, Mapping):
        raise BadRow(f"fields is {kind_of(fields)}, not an object")
    names = next((pair for pair in ANSWERS if all(name in fields for name in pair)), None)
    if names is None:
        has = ", ".join(sorted(map(str, fields)))[:200]
        raise BadRow(f"fields has no two answers, such as response1 and response2; it has {has}")
    responses = row.get("responses") or {}
    if not isinstance(responses, Mapping):
        raise BadRow(f"responses is {kind_of(responses)}, not an object")
    notes = {str(one.get("user_id")): str(one.get("value")) for one in _given(responses.get("note") or [], "note")}
    question = next((name for name in QUESTION if name in responses), None)
    if question is None and responses:
        raise BadRow(
            f"responses has none of {', '.join(QUESTION)}; it has {', '.join(sorted(map(str, responses)))[:200]}"
        )
    votes = []
    for number, given in enumerate(_given(responses[question], question) if question else ()):
        place = f"responses.{question}[{number}]"
        user = str(field_of(given, ("user_id", "user"), place))
        choice = _choice(field_of(given, ("value",), place), f"{place}.value", names)
        votes.append(ForeignVote(people.get(user, user), choice, notes.get(user, "")))
    shown = {"fields.prompt": field_of(fields, PROMPTS, "fields")} | {f"fields.{name}": fields[name] for name in names}
    item, turned = item_of(shown, known.get(str(row.get("id"))))
    return ForeignRecord(item, turned, tuple(votes), where)


def _given(value: object, question: str) -> list[Mapping[str, object]]:
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
        raise BadRow(f"responses.{question} is {kind_of(value)}, not a list of answers of people")
    return value


def _choice(value: object, place: str, names: tuple[str, str]) -> JudgedChoice:
    """A label; or a ranking, as names in their order or with their ranks."""
    if not isinstance(value, list):
        return choice_of(value, place, names)
    if len(value) != 2:
        raise BadRow(f"{place} ranks {len(value)} answers, not two")
    if all(isinstance(one, Mapping) for one in value):
        ranks = [_rank(field_of(one, ("rank",), place), f"{place}.rank") for one in value]
        if ranks[0] == ranks[1]:
            return "tie"
        return choice_of(field_of(value[ranks.index(min(ranks))], ("value",), place), place, names)
    return choice_of(value[0], place, names)


def _rank(value: object, place: str) -> float:
    """A number, or its text. Raises BadRow."""
    try:
        return float(value) if isinstance(value, str) else number_of(value, place)
    except ValueError:
        raise BadRow(f"{place} is {value!r}, not a number") from None
