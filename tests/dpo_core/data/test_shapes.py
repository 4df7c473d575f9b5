import json

import pytest

from dpo_core.data.messages import BadRow
from dpo_core.data.pairs import Pair, text_of
from dpo_core.data.shapes import format_of, to_pair

USER = {"role": "user", "content": "Hi"}
YES, NO = {"role": "assistant", "content": "Yes"}, {"role": "assistant", "content": "No"}


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"prompt": [USER], "chosen": [YES], "rejected": [NO]}, "TRL explicit prompt, messages"),
        ({"chosen": [USER, YES], "rejected": [USER, NO]}, "TRL implicit prompt, messages"),
        ({"prompt": "Hi", "chosen": [YES], "rejected": [NO]}, "TRL explicit prompt, messages"),
        (
            {"input": {"messages": [USER], "tools": []}, "preferred_output": [YES], "non_preferred_output": [NO]},
            "OpenAI preference",
        ),
    ],
)
def test_every_shape_of_messages_gives_the_same_pair(row, name):
    pair = to_pair(row, "f:1")
    assert (pair.prompt, pair.chosen, pair.rejected, pair.plain) == ((USER,), (YES,), (NO,), False)
    assert format_of(row) == name


def parts(*texts):
    return [{"text": text} for text in texts]


SYSTEM = {"role": "system", "content": "Be kind"}
OTHER_SHAPES = {
    "HH transcript": {"chosen": "\n\nHuman: Hi\n\nAssistant: Yes", "rejected": "\n\nHuman: Hi\n\nAssistant: No "},
    "HH transcript, prompt apart": {"prompt": "\n\nHuman: Hi\n\nAssistant:", "chosen": " Yes", "rejected": " No"},
    "scored answers (UltraFeedback)": {
        "instruction": "Hi",
        "completions": [
            {"model": "m", "response": "So", "overall_score": 5.0, "critique": ""},
            {"model": "y", "response": "Yes", "overall_score": 9.0},
            {"model": "n", "response": "No", "overall_score": 1.5},
        ],
    },
    "ShareGPT": {
        "conversations": [{"from": "human", "value": "Hi"}],
        "chosen": {"from": "gpt", "value": "Yes"},
        "rejected": [{"from": "gpt", "value": "No"}],
    },
    "LLaMA-Factory messages": {
        f"{side}_messages": [
            {"role": m["role"], "content": [{"type": "text", "value": m["content"]}], "loss_weight": 1.0}
            for m in (USER, answer)
        ]
        for side, answer in (("chosen", YES), ("rejected", NO))
    },
    "Gemini preference": {
        "contents": [{"role": "user", "parts": parts("H", "i")}],
        "completions": [
            {"score": 0.0, "completion": {"role": "model", "parts": parts("No")}},
            {"score": 1.0, "completion": {"role": "model", "parts": parts("Yes")}},
        ],
    },
    "TRL explicit prompt, messages": {"prompt": "Hi", "chosen": [USER, YES], "rejected": [USER, NO]},
}


@pytest.mark.parametrize(("name", "row"), OTHER_SHAPES.items(), ids=OTHER_SHAPES)
def test_other_peoples_files_give_the_same_pair(name, row):
    pair = to_pair(row, "f:1")
    assert (pair.prompt, pair.chosen, pair.rejected, pair.plain) == ((USER,), (YES,), (NO,), False)
    assert format_of(row) == name.partition(", prompt apart")[0]


def test_scored_answers_keep_scores_and_models():
    pair = to_pair(OTHER_SHAPES["scored answers (UltraFeedback)"], "f:1")
    assert pair.meta == {
        "chosen_score": 9.0,
        "rejected_score": 1.5,
        "answers": 3,
        "chosen_model": "y",
        "rejected_model": "n",
    }


def test_overall_score_counts_only_where_no_better_score_is_given():
    """UltraFeedback's overall_score has known faults; the mean of its aspects has not."""
    answers = [
        {"response": "Yes", "overall_score": 1.0, "fine-grained_score": 4.5},
        {"response": "No", "overall_score": 10.0, "fine-grained_score": 2.0},
    ]
    assert to_pair({"instruction": "Hi", "completions": answers}, "f:1").chosen == (YES,)


def test_a_system_turn_comes_along():
    gemini = {**OTHER_SHAPES["Gemini preference"], "systemInstruction": {"role": "system", "parts": parts("Be kind")}}
    sharegpt = {**OTHER_SHAPES["ShareGPT"], "system": "Be kind"}
    for row in (gemini, sharegpt):
        assert to_pair(row, "f:1").prompt == (SYSTEM, USER)


def test_a_transcript_is_cut_at_its_turns_and_a_marker_of_the_speaker_stays_text():
    start = "\n\nHuman: Hi\n\nAssistant: Ask\n\nHuman: Well\n\nAssistant: "
    row = {"chosen": start + "Yes\n\nAssistant: so", "rejected": start + "No"}
    pair = to_pair(row, "f:1")
    assert [m["content"] for m in pair.prompt] == ["Hi", "Ask", "Well"]
    assert pair.chosen[0]["content"] == "Yes\n\nAssistant: so"
    assert format_of(row) == "HH transcript"


TOOLS = [{"type": "function", "function": {"name": "time", "parameters": {"type": "object", "properties": {}}}}]
CALL = {"type": "function", "function": {"name": "time", "arguments": {"zone": "UTC"}}}


def test_tools_and_their_calls_are_carried_and_arguments_become_objects():
    as_text = {"id": "1", "type": "function", "function": {"name": "time", "arguments": '{"zone": "UTC"}'}}
    called = [
        {"role": "assistant", "content": None, "tool_calls": [as_text]},
        {"role": "tool", "content": "noon", "tool_call_id": "1", "name": None},
        YES,
    ]
    row = {"input": {"messages": [USER], "tools": TOOLS}, "preferred_output": called, "non_preferred_output": [NO]}
    pair = to_pair(row, "f:1")
    assert pair.tools == tuple(TOOLS)
    assert pair.chosen[0] == {"role": "assistant", "content": "", "tool_calls": [{**CALL, "id": "1"}]}
    assert pair.chosen[1] == {"role": "tool", "content": "noon", "tool_call_id": "1"}
    assert Pair.from_row(pair.to_row()) == pair
    assert text_of(pair.chosen) == 'time({"zone": "UTC"})\nnoon\nYes'


def test_tools_are_taken_as_json_text_too_and_sharegpt_calls_become_tool_calls():
    talk = [
        {"from": "human", "value": "Hi"},
        {"from": "function_call", "value": '{"name": "time", "arguments": {"zone": "UTC"}}'},
        {"from": "observation", "value": "noon"},
    ]
    row = {**OTHER_SHAPES["ShareGPT"], "conversations": talk, "tools": json.dumps(TOOLS)}
    pair = to_pair(row, "f:1")
    assert pair.tools == tuple(TOOLS)
    assert pair.prompt[1:] == (
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "noon"},
    )


def test_two_calls_of_different_arguments_are_a_comparison():
    other = {"type": "function", "function": {"name": "time", "arguments": {"zone": "CET"}}}
    sides = [[{"role": "assistant", "content": "", "tool_calls": [call]}] for call in (CALL, other)]
    assert to_pair({"prompt": [USER], "chosen": sides[0], "rejected": sides[1]}, "f:1").tools == ()


def test_without_tools_a_pairs_id_is_what_it_was():
    """Stored reference log-probs and splits outlive a new column."""
    assert to_pair(GOOD, "f:1").id == "fb739e60ba0f568b26e6387f8dba30760be085d1c176998dbfa2ff1118aed8cc"


def test_explicit_text_stays_as_it_is_written():
    pair = to_pair({"prompt": "The sky is", "chosen": " blue.", "rejected": " green."}, "f:1")
    assert pair.plain
    assert [m["content"] for m in (*pair.prompt, *pair.chosen, *pair.rejected)] == ["The sky is", " blue.", " green."]


def test_implicit_text_is_cut_where_trl_cuts_it():
    trl = pytest.importorskip("trl", reason="the oracle")
    row = {"chosen": "The sky is blue and wide.", "rejected": "The sky is green."}
    theirs = trl.extract_prompt(row)
    pair = to_pair(row, "f:1")
    ours = {
        "prompt": pair.prompt[0]["content"],
        "chosen": pair.chosen[0]["content"],
        "rejected": pair.rejected[0]["content"],
    }
    assert ours == {key: theirs[key] for key in ours}
    assert ours["prompt"] == "The sky is"


def test_typed_text_parts_are_joined():
    parts = [{"type": "text", "text": "Y"}, {"type": "text", "text": "es"}]
    pair = to_pair({"prompt": [USER], "chosen": [{"role": "assistant", "content": parts}], "rejected": [NO]}, "f:1")
    assert pair.chosen == (YES,)


def test_a_pairs_own_columns_are_kept():
    pair = to_pair(
        {"prompt": "a", "chosen": "b", "rejected": "c", "source": "s", "sft_weight": 0.5, "meta": {"k": 1}}, "f:9"
    )
    assert (pair.source, pair.sft_weight, pair.meta, pair.where) == ("s", 0.5, {"k": 1}, "f:9")


GOOD = {"prompt": [USER], "chosen": [YES], "rejected": [NO]}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"chosen": None}, "chosen is null"),
        ({"chosen": 3}, "chosen is a number, not text or a list of messages"),
        ({"chosen": True}, "chosen is a boolean, not text or a list of messages"),
        ({"chosen": []}, "chosen is an empty list"),
        ({"chosen": [{"role": "assistant", "content": 5}]}, "chosen[0].content is a number, not text"),
        ({"chosen": [{"role": "assistant", "content": None}]}, "chosen[0].content is null, not text"),
        (
            {"chosen": [{"role": "bot", "content": "x"}]},
            "chosen[0] has unknown role 'bot'; known are system, developer, user, assistant, tool",
        ),
        ({"chosen": [{"content": "x"}]}, "chosen[0] is not a message: it needs role and content"),
        ({"chosen": [USER]}, "chosen has a turn of role 'user': an answer is the assistant's"),
        ({"chosen": [{"role": "tool", "content": "x"}]}, "chosen has no turn of the assistant"),
        ({"chosen": [{"role": "assistant", "content": "  "}]}, "chosen is empty"),
        ({"chosen": [NO]}, "chosen and rejected are identical"),
        ({"chosen": [{"role": "assistant", "content": " No "}]}, "chosen and rejected are identical"),
        ({"chosen": "Yes"}, "one side is text and the other messages"),
        (
            {"chosen": [{"role": "assistant", "content": [{"type": "image_url"}]}]},
            "chosen[0] holds image_url: only text can be trained on",
        ),
        ({"images": ["x.png"]}, "column 'images': only text can be trained on"),
        ({"chosen": [{"role": "assistant", "content": "a\0b"}]}, "chosen holds a NUL character"),
        (
            {"chosen": [{"role": "assistant", "content": "\ud800"}]},
            "chosen holds half of a surrogate pair, which is no text",
        ),
        ({"prompt": [USER, YES]}, "the prompt ends with an assistant turn: there is nothing to answer"),
        ({"prompt": " "}, "prompt is empty"),
        ({"prompt": [USER, USER]}, "turns 1 and 2 are both the user's"),
        ({"prompt": [YES, USER]}, "the conversation begins with the assistant"),
        ({"prompt": [SYSTEM, SYSTEM, USER]}, "turn 2 is a system turn: there may be one, at the beginning"),
        ({"prompt": [USER, {"role": "tool", "content": "x"}]}, "turn 2 is a tool's, but the assistant called none"),
        (
            {
                "chosen": [{"role": "assistant", "content": "\ufb01t"}],
                "rejected": [{"role": "assistant", "content": "fit"}],
            },
            "chosen and rejected are identical",
        ),
        (
            {"chosen": [{"role": "assistant", "content": "ab\ufffd\ufffdcd"}]},
            "chosen holds 2 replacement characters (U+FFFD) in 6: its text was lost",
        ),
        (
            {"chosen": [{"role": "assistant", "content": "Caf\u00c3\u00a9 \u00c3\u00a0 la cr\u00c3\u00a8me"}]},
            "chosen is mojibake, 3 times in 18 characters: decoded as what it is not",
        ),
        (
            {"tools": "{"},
            "tools is no JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        ),
        ({"tools": {"name": "x"}}, "tools is an object, not a list of objects"),
        ({"chosen": [{**YES, "tool_calls": [{"function": {}}]}]}, "chosen[0].tool_calls[0] names no function"),
        (
            {"chosen": [{**YES, "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]}]},
            "chosen[0].tool_calls[0].arguments is a list, not an object",
        ),
        ({"chat_template": "{{ x }}"}, "column 'chat_template': a template is never taken from the data"),
        ({"score_chosen": "5"}, "score_chosen is text, not a number"),
        ({"chosen_score": float("nan")}, "chosen_score is no finite number"),
        ({"sft_weight": -1}, "sft_weight is -1, not a number from 0"),
        ({"sft_weight": "1"}, "sft_weight is 1, not a number from 0"),
        ({"sft_weight": 10**400}, f"sft_weight is 1{'0' * 39}, not a number from 0"),
        ({"source": "\ud800"}, "source holds half of a surrogate pair, which is no text"),
        ({"meta": "x"}, "meta is text, not an object"),
        ({"meta": {"score": float("inf")}}, "meta is no JSON: Out of range float values are not JSON compliant"),
    ],
)
def test_a_bad_row_says_what_is_wrong_with_it(change, reason):
    with pytest.raises(BadRow) as caught:
        to_pair({**GOOD, **change}, "f:1")
    assert str(caught.value) == reason


def test_scores_that_contradict_the_label_are_kept_for_the_check_to_judge():
    pair = to_pair({**GOOD, "score_chosen": 1, "score_rejected": 2.5}, "f:1")
    assert pair.meta == {"chosen_score": 1, "rejected_score": 2.5}


def scored(text, score):
    return {"response": text, "score": score}


WIZARD = "contents[0] has unknown role 'wizard'; known are user, model"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "a", "choosen": "b", "rejected": "c"}, "missing column 'chosen'; did you mean 'choosen'?"),
        ({"prompt": "a", "CHOSEN": "b", "rejected": "c"}, "missing column 'chosen'; did you mean 'CHOSEN'?"),
        ({"Prompt": "a", "chosen": "b", "rejected": "c"}, "missing column 'prompt'; did you mean 'Prompt'?"),
        (
            {"prompt": "a", "chosen": "b"},
            "missing column 'rejected'; the row has chosen, prompt; there is no worse answer",
        ),
        (
            {"input": {"messages": [USER]}, "preferred_output": [YES]},
            "missing column 'non_preferred_output'; did you mean 'preferred_output'?",
        ),
        ({"chosen": "abc", "rejected": "xyz"}, "chosen and rejected share no beginning: there is no prompt"),
        ({"chosen": [YES], "rejected": [NO]}, "chosen and rejected share no first message: there is no prompt"),
        ({"chosen": [USER, YES], "rejected": [USER]}, "one side has no answer of its own"),
        (
            {"chosen": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c", "rejected": "\n\nHuman: a\n\nAssistant: d"},
            "chosen ends with the Human's turn: there is no answer",
        ),
        (
            {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: z\n\nAssistant: d"},
            "chosen and rejected are answers to different dialogues",
        ),
        ({"prompt": "a", "completions": []}, "completions holds 0 answers: a pair needs two"),
        ({"prompt": "a", "completions": [scored("x", 1)]}, "completions holds 1 answers: a pair needs two"),
        (
            {"prompt": "a", "completions": [scored("x", 1), scored("y", 1.0)]},
            "all 2 answers have the same score: none is better",
        ),
        (
            {"prompt": "a", "completions": [scored("x", 1), scored("y", "5")]},
            "completions[1].score is text, not a number",
        ),
        (
            {"prompt": "a", "completions": [scored("x", 1), scored("y", float("inf"))]},
            "completions[1].score is no finite number",
        ),
        (
            {"prompt": "a", "completions": [scored("x", 1), scored(None, 2)]},
            "completions[1].response is null, not text",
        ),
        (
            {"contents": [{"role": "user", "parts": [{"inlineData": {"mimeType": "image/png"}}]}], "completions": []},
            "contents[0] holds inlineData: only text can be trained on",
        ),
        ({"contents": [{"role": "wizard", "parts": parts("a")}], "completions": []}, WIZARD),
        (
            {"contents": [{"role": "user", "parts": parts("a")}]},
            "missing column 'completions'; the row has contents",
        ),
        (
            {"conversations": [{"from": "cat", "value": "a"}], "chosen": "b", "rejected": "c"},
            "conversations[0] is from 'cat'; known are human, user, gpt, assistant, system, "
            "function_call, observation, tool",
        ),
    ],
)
def test_a_column_or_a_prompt_that_is_missing_is_named(row, reason):
    with pytest.raises(BadRow) as caught:
        to_pair(row, "f:1")
    assert str(caught.value) == reason
