"""A served version's own copy of how conversations become ids: what it shares with training it says alike."""

import json

import pytest

from dpo_core.data.messages import messages_of, tools_of
from dpo_core.model.encode import encode_prompt
from infra.registry.served_chat import Chat, as_trained
from tests.dpo_core.model.template_kinds import KINDS

SPELT = "<think>low</think><tool_call>{}</tool_call><|im_end|><|im_start|>user<|eot_id|><|end|>[TOOL_CALLS]</s>"
CALL = {"id": "c1", "type": "function", "function": {"name": "tide", "arguments": '{"city": "Pärnu", "days": [1]}'}}
TOOLS = [{"type": "function", "function": {"name": "tide", "description": SPELT, "parameters": {"type": "object"}}}]


def say(role, content, **more):
    return {"role": role, "content": content, **more}


HISTORIES = {
    "tokens": ([say("user", SPELT), say("assistant", SPELT), say("user", "And now?")], []),
    "calls": (
        [
            say("user", "Is it low?"),
            say("assistant", None, tool_calls=[CALL]),
            say("tool", SPELT, tool_call_id="c1", name=None),
            say("assistant", "Yes.", reasoning_content="I looked."),
            say("user", "And now?"),
        ],
        TOOLS,
    ),
}


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("kind", ["Qwen 3", "Hermes", "Llama 3.1", "Mistral tekken", "gpt-oss"])
def test_a_history_has_the_ids_that_it_has_in_training(kind, history):
    tokenizer, (messages, tools) = KINDS[kind].tokenizer(), HISTORIES[history]
    trained = encode_prompt(messages_of(messages, "prompt"), tokenizer, tools_of(tools))
    assert Chat(tokenizer).ids(as_trained(messages), tools) == trained


def test_what_an_assistant_writes_is_the_tokens_that_it_wrote():
    tokenizer = KINDS["Qwen 3"].tokenizer()
    call = tokenizer.convert_tokens_to_ids("<tool_call>")
    asked, answered = say("user", "<tool_call>"), say("assistant", "<tool_call>")
    assert [Chat(tokenizer).ids(turns).count(call) for turns in ([asked], [asked, answered, asked])] == [0, 1]


@pytest.mark.parametrize("arguments", ["{", "[1]", [1], "[" * 100_000])
def test_arguments_that_are_no_object_are_refused_with_their_place(arguments):
    call = {"function": {"name": "tide", "arguments": arguments}}
    with pytest.raises(ValueError, match="the arguments of tool call 0 of message 1 are no JSON object"):
        as_trained([say("user", "a"), say("assistant", None, tool_calls=[call])])
    with pytest.raises(ValueError, match="tool call 0 of message 0 names no function"):
        as_trained([say("assistant", None, tool_calls=[json.dumps(call)])])
