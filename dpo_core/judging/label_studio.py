"""Label Studio's files: tasks with annotations, as it exports and imports them as JSON.

Made for a project with `<Pairwise name="preference" toName="answer1,answer2"/>`, `<Choices name="verdict">` (tie, both
bad) and `<TextArea name="note">` over `$prompt`, `$answer1`, `$answer2`: docs/judging.md has the configuration.
"""

from collections.abc import Iterator, Mapping

from dpo_core.data.messages import BadRow, kind_of
from dpo_core.judging.foreign import (
    NOBODY,
    NOTHING,
    UNKNOWN_TIME,
    ForeignRecord,
    ForeignVote,
    choice_of,
    compared_items,
    field_of,
    item_of,
    shown_texts,
)
from dpo_core.judging.items import JudgedItem
from dpo_core.judging.lines import Judged, JudgedChoice, Judgement

PROMPTS = ("prompt", "instruction", "question", "input")
FIRST = ("answer1", "text1", "response1", "output1", "left", "chosen")
SECOND = ("answer2", "text2", "response2", "output2", "right", "rejected")
CHOOSING = {"pairwise": "selected", "choices": "choices"}  # types of results, and what has the choice in them
NAMES = ("preference", "verdict")
SIDES = {"first": "left", "second": "right"}
VERDICTS = {"tie": "tie", "bad": "both bad"}


def label_studio_tasks(judged: Judged) -> Iterator[dict[str, object]]:
    """A task an item. Its data names people by the marks of their results: there a person is a number."""
    for item, said in compared_items(judged):
        data = dict(zip(("prompt", "answer1", "answer2"), shown_texts(item), strict=True))
        people = {"judged": item.id, "judged_by": {_mark(one): one.by for one in said}}
        yield {"data": data | people, "annotations": [_annotation(one) for one in said]}


def _annotation(said: Judgement) -> dict[str, object]:
    result: list[dict[str, object]] = []
    if said.choice in SIDES:
        result.append(_result("preference", "answer1", "pairwise", {"selected": SIDES[said.choice]}, said))
    else:
        result.append(_result("verdict", "prompt", "choices", {"choices": [VERDICTS[said.choice]]}, said))
    if said.note:
        result.append(_result("note", "prompt", "textarea", {"text": [said.note]}, said))
    return {"result": result, "was_cancelled": False, "lead_time": said.seconds, "created_at": said.when}


def _result(name: str, to: str, kind: str, value: dict[str, object], said: Judgement) -> dict[str, object]:
    return {"id": f"{_mark(said)}-{name}", "from_name": name, "to_name": to, "type": kind, "value": value}


def _mark(said: Judgement) -> str:
    """What the ids of its results begin with."""
    return said.id[:10]


def label_studio_people(judged: Judged) -> dict[str, str]:
    """Whose the marks of our results are, for tasks whose data does not say it."""
    return {_mark(said): said.by for said in judged.judgements.values()}


def label_studio_record(
    row: Mapping[str, object],
    where: str,
    people: Mapping[str, str] = NOBODY,
    known: Mapping[str, JudgedItem] = NOTHING,
) -> ForeignRecord:
    """A task of Label Studio. Raises BadRow for one that lacks what it needs.

    `people`: as `label_studio_people`; `known`: the items that may have gone there, by id.
    """
    data = row.get("data")
    if not isinstance(data, Mapping):
        raise BadRow(f"data is {kind_of(data)}, not an object")
    annotations = row.get("annotations", row.get("completions"))
    if not isinstance(annotations, list):
        raise BadRow(f"annotations is {kind_of(annotations)}, not a list: a task without what people said")
    named = data.get("judged_by")
    names = named if isinstance(named, Mapping) else people
    votes = (_vote(given, names, f"annotations[{n}]") for n, given in enumerate(annotations))
    fields = {"prompt": PROMPTS, "answer1": FIRST, "answer2": SECOND}
    shown = {f"data.{name}": field_of(data, names, "data") for name, names in fields.items()}
    item, turned = item_of(shown, known.get(str(data.get("judged"))))
    return ForeignRecord(item, turned, tuple(vote for vote in votes if vote is not None), where)


def _vote(given: object, names: Mapping[str, object], place: str) -> ForeignVote | None:
    """What an annotation says; None for one that was cancelled. `names`: whose the marks of our own results are."""
    if not isinstance(given, Mapping):
        raise BadRow(f"{place} is {kind_of(given)}, not an object")
    if given.get("was_cancelled"):
        return None
    result = given.get("result")
    if not isinstance(result, list) or not all(isinstance(one, Mapping) for one in result):
        raise BadRow(f"{place}.result is {kind_of(result)}, not a list of objects")
    marks = [str(one["id"]).rpartition("-")[0] for one in result if _is_ours(one)]
    mark = next((mark for mark in marks if names.get(mark)), "")
    if marks and not mark:
        raise BadRow(f"{place} was made here, and neither data.judged_by nor the file that it goes to says by whom")
    by = str(names[mark]) if mark else _person(field_of(given, ("completed_by",), place))
    when = str(given.get("created_at") or UNKNOWN_TIME)
    return ForeignVote(by, _choice(result, f"{place}.result"), _note(result), when, mark)


def _is_ours(result: Mapping[str, object]) -> bool:
    """Whether its id is one of `_result`; those of Label Studio end in no name."""
    return str(result.get("id")).endswith(f"-{result.get('from_name')}")


def _person(value: object) -> str:
    if isinstance(value, Mapping):
        return str(field_of(value, ("email", "username", "first_name", "id"), "completed_by"))
    return f"label-studio-{value}" if isinstance(value, int) else str(value)


def _choice(result: list[Mapping[str, object]], place: str) -> JudgedChoice:
    """What the pairwise result says; else the choices that are named as ours; else the first, whatever their name."""
    told = [(number, one) for number, one in enumerate(result) if str(one.get("type")) in CHOOSING]
    if not told:
        raise BadRow(f"{place} has no result of type pairwise or choices")
    number, one = min(told, key=lambda found: (found[1]["type"] != "pairwise", found[1].get("from_name") not in NAMES))
    value, place = one.get("value"), f"{place}[{number}].value"
    if not isinstance(value, Mapping):
        raise BadRow(f"{place} is {kind_of(value)}, not an object")
    name = CHOOSING[str(one["type"])]
    chosen = field_of(value, (name,), place)
    return choice_of(chosen[0] if isinstance(chosen, list) else chosen, f"{place}.{name}")


def _note(result: list[Mapping[str, object]]) -> str:
    for one in result:
        value = one.get("value")
        if one.get("type") == "textarea" and isinstance(value, Mapping):
            text = value.get("text")
            return "\n".join(map(str, text)) if isinstance(text, list) else str(text or "")
    return ""
