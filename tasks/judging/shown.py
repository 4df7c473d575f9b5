"""Items and judgements as the page shows them: texts, sides, numbers; nothing that tells where an answer is from."""

import json
from collections.abc import Mapping, Sequence

from dpo_core.data.pairs import Message, text_of
from dpo_core.judging.items import JudgedItem
from dpo_core.judging.lines import Judged, Judgement
from tasks.judging.records import Progress, ShownChoice, ShownItem, ShownMessage, Voice


def shown(item: JudgedItem, left: str) -> ShownItem:
    """The item with one of its answers on the left."""
    answers = item.answers if left == "first" else item.answers[::-1]
    one_is_edited = len(answers) == 1
    return ShownItem(
        id=item.id,
        prompt=_messages(item.prompt),
        left=_to_edit(answers[0]) if one_is_edited else _messages(answers[0]),
        right=[] if one_is_edited else _messages(answers[1]),
        tools=json.dumps(list(item.tools), ensure_ascii=False, indent=1) if item.tools else "",
    )


def _messages(messages: Sequence[Message]) -> list[ShownMessage]:
    return [ShownMessage(role=message["role"], text=text_of([message])) for message in messages]


def _to_edit(answer: Sequence[Message]) -> list[ShownMessage]:
    """What an answer says, which is edited, after a turn of what it thought, which stays as it is."""
    [message] = answer
    thoughts = message.get("reasoning_content")
    before = [ShownMessage(role="thoughts", text=thoughts)] if thoughts else []
    return [*before, ShownMessage(role=message["role"], text=message["content"])]


def remark(said: Judgement, left: str) -> Voice:
    """What somebody said, by the sides that are seen now."""
    choice: ShownChoice
    if said.choice == "first" or said.choice == "second":
        choice = "left" if said.choice == left else "right"
    else:
        choice = said.choice
    return Voice(by=said.by, choice=choice, note=said.note, text=said.text)


def progress_of(judged: Judged, wanted: Mapping[str, int], name: str, waiting: int) -> Progress:
    """How far a person and all are; `wanted`: how many people are to judge each item that there is."""
    done = skipped = complete = 0
    for item, said in judged.voices():
        if item in wanted:
            mine = next((one.choice for one in said if one.by == name), "")
            skipped += mine == "skip"
            done += mine not in ("", "skip")
            complete += sum(one.choice != "skip" for one in said) >= wanted[item]
    return Progress(done=done, left=waiting, skipped=skipped, complete=complete, items=len(wanted))
