import pytest

from dpo_core.data.formats import BadRow, format_of, to_pair

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


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "a", "choosen": "b", "rejected": "c"}, "missing column 'chosen'; did you mean 'choosen'?"),
        ({"prompt": "a", "CHOSEN": "b", "rejected": "c"}, "missing column 'chosen'; did you mean 'CHOSEN'?"),
        ({"Prompt": "a", "chosen": "b", "rejected": "c"}, "missing column 'prompt'; did you mean 'Prompt'?"),
        ({"prompt": "a", "chosen": "b"}, "missing column 'rejected'; the row has chosen, prompt"),
        (
            {"question": "a", "chosen": "b", "rejected": "c"},
            "missing column 'prompt'; the row has chosen, question, rejected",
        ),
        (
            {"input": {"messages": [USER]}, "preferred_output": [YES]},
            "missing column 'non_preferred_output'; did you mean 'preferred_output'?",
        ),
        ({"chosen": "abc", "rejected": "xyz"}, "chosen and rejected share no beginning: there is no prompt"),
        ({"chosen": [YES], "rejected": [NO]}, "chosen and rejected share no first message: there is no prompt"),
        ({"chosen": [USER, YES], "rejected": [USER]}, "one side has no answer of its own"),
    ],
)
def test_a_column_or_a_prompt_that_is_missing_is_named(row, reason):
    with pytest.raises(BadRow) as caught:
        to_pair(row, "f:1")
    assert str(caught.value) == reason
