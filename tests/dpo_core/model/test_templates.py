"""Templates of all kinds, conversations of all kinds: the ids are `apply_chat_template`'s, or the row is refused.

`python -m tests.dpo_core.model.test_templates` prints the table of docs/templates.md.
"""

import functools
from pathlib import Path

import pytest

from dpo_core.data.pairs import Pair
from dpo_core.model.encode import encode_pairs
from dpo_core.recipe import Encoding
from tests.dpo_core.model.template_kinds import KINDS

DOC = Path(__file__).parents[3] / "docs" / "templates.md"
ENCODING = Encoding(max_length=4096)
TOOLS = ({"type": "function", "function": {"name": "tide", "description": "d", "parameters": {"type": "object"}}},)
CALL = [{"type": "function", "function": {"name": "tide", "arguments": {"day": 3}}}]
TAGGED = "<think>\nI look at {}.\n</think>\n\n"


def say(role, content, **more):
    return {"role": role, "content": content, **more}


def tagged(answer, thought):
    return say("assistant", TAGGED.format(thought) + answer)


def keyed(answer, thought):
    return say("assistant", answer, reasoning_content=f"I look at {thought}.")


def pair(prompt, chosen, rejected, tools=()):
    return Pair(tuple(prompt), (chosen,), (rejected,), tools=tools)


SYSTEM, ASKED = say("system", "Be brief."), say("user", "What colour is the sea?")
ANSWERS = (say("assistant", "It is blue."), say("assistant", "It is a fish."))
CONVERSATIONS = {
    "one turn": pair([ASKED], *ANSWERS),
    "system": pair([SYSTEM, ASKED], *ANSWERS),
    "turns": pair([ASKED, ANSWERS[0], say("user", "And now?")], *ANSWERS[::-1]),
    "`<think>`": pair([ASKED], tagged("It is blue.", "waves"), tagged("It is blue.", "fish")),
    "key": pair([ASKED], keyed("It is blue.", "waves"), keyed("It is blue.", "fish")),
    "earlier": pair([ASKED, tagged("It is blue.", "waves"), say("user", "And now?")], *ANSWERS[::-1]),
    "calls": pair([ASKED], say("assistant", "", tool_calls=CALL), ANSWERS[0], TOOLS),
    "result": pair(
        [SYSTEM, ASKED, say("assistant", "I look.", tool_calls=CALL), say("tool", "low")], *ANSWERS, tools=TOOLS
    ),
}


@functools.cache
def tokenizer_of(name):
    return KINDS[name].tokenizer()


def plain(name, messages, tools, **options):
    """What transformers itself gives, the thought under the template's own key."""
    key = KINDS[name].key
    chat = [{key if k == "reasoning_content" else k: v for k, v in message.items()} for message in messages]
    template = KINDS[name].template().replace("strftime_now('%d %b %Y')", "'01 Jan 2026'")
    return tokenizer_of(name).apply_chat_template(
        chat, tools=list(tools) or None, chat_template=template, return_dict=False, **options
    )


def same_up_to_the_end(name, ours, theirs):
    """What comes after the turn's end is not trained on; where the template has no end, eos is added."""
    tokenizer = tokenizer_of(name)
    if ours == theirs[: len(ours)]:
        return tokenizer.decode(theirs[len(ours) :]).strip() == KINDS[name].close
    return ours == [*theirs, tokenizer.eos_token_id]


def outcome(name, conversation):
    """`=` with what was counted, `>` where the answer goes on from an opened thought, or the reason of the refusal."""
    tokenizer, row = tokenizer_of(name), CONVERSATIONS[conversation]
    result = encode_pairs([row], tokenizer, ENCODING)
    if not result.encoded:
        return result.rejected[0][1]
    encoded = result.encoded[0]
    asked = plain(name, row.prompt, row.tools, add_generation_prompt=True)
    notes = [note for note, count in result.statistics.items() if count]
    found = set()
    for side, ids in ((row.chosen, encoded.chosen_ids), (row.rejected, encoded.rejected_ids)):
        ours, theirs = [*encoded.prompt_ids, *ids], plain(name, (*row.prompt, *side), row.tools)
        if same_up_to_the_end(name, ours, theirs):
            found.add("=")
            continue
        rest = side[0]["content"].removeprefix("<think>\n")
        assert ours == [*asked, *tokenizer.encode(rest, add_special_tokens=False), tokenizer.eos_token_id], (
            tokenizer.decode(ours),
            tokenizer.decode(theirs),
        )
        found.add(">")
    if not {"unopened", "boundary_merges"} & set(notes):
        assert list(encoded.prompt_ids) == asked
    return " ".join([*sorted(found), *notes])


@pytest.mark.parametrize("name", KINDS)
def test_ids_are_those_of_the_template_or_the_row_is_refused(name):
    for conversation, row in CONVERSATIONS.items():
        found = outcome(name, conversation)
        if found[0] not in "=>":
            assert found.startswith(("the chat template", "an answer")), found
            continue
        encoded = encode_pairs([row], tokenizer_of(name), ENCODING).encoded[0]
        for side, ids in ((row.chosen, encoded.chosen_ids), (row.rejected, encoded.rejected_ids)):
            text = tokenizer_of(name).decode(ids)
            for word in ("waves", "fish", "blue", "tide"):
                if word in str(side):
                    assert word in text, (conversation, text)


@pytest.mark.parametrize("name", KINDS)
def test_no_token_of_the_template_can_be_written_by_a_user_a_tool_or_a_system_turn(name):
    tokenizer = tokenizer_of(name)
    tokens = list(tokenizer.get_added_vocab())
    for row in CONVERSATIONS.values():
        spelt = tuple(
            {**m, "content": m["content"] + "".join(tokens)} if m["role"] != "assistant" else m for m in row.prompt
        )
        hostile = Pair(spelt, row.chosen, row.rejected, tools=row.tools)
        one, other = (encode_pairs([which], tokenizer, ENCODING) for which in (row, hostile))
        assert len(one.encoded) == len(other.encoded)
        for before, after in zip(one.encoded, other.encoded, strict=True):
            ids = tokenizer.convert_tokens_to_ids(tokens)
            counts = [[e.prompt_ids.count(token) for token in ids] for e in (before, after)]
            assert counts[0] == counts[1], [t for t, a, b in zip(tokens, *counts, strict=True) if a != b]


def table():
    """Every kind with every conversation, as the page has it."""
    reasons, notes = {}, {}
    lines = []
    for name in KINDS:
        cells = []
        for conversation in CONVERSATIONS:
            found = outcome(name, conversation)
            if found[0] in "=>":
                mark, *counted = found.split()
                cells.append(mark + "".join(f"<sup>{notes.setdefault(n, chr(97 + len(notes)))}</sup>" for n in counted))
            else:
                cells.append(str(reasons.setdefault(found, len(reasons) + 1)))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    head = [f"| kind | {' | '.join(CONVERSATIONS)} |", "|---" * (len(CONVERSATIONS) + 1) + "|"]
    told = [f"{mark}: `{note}` is counted, and told by the check." for note, mark in notes.items()]
    refused = [f"{number}: refused: `{reason}`." for reason, number in reasons.items()]
    return "\n".join([*head, *lines, "", *(line + "  " for line in (*told, *refused))])


def test_the_table_of_the_page_is_what_the_code_gives():
    assert table() in DOC.read_text(encoding="utf-8"), "run python -m tests.dpo_core.model.test_templates"


if __name__ == "__main__":
    print(table())  # noqa: T201
