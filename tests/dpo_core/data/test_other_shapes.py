"""Files of other trainers and exports: read whole, or refused by name; nothing of a question is left out in silence."""

import json

import pytest

from dpo_core.data.messages import BadRow
from dpo_core.data.pairs import Pair
from dpo_core.data.shapes import format_of, to_pair

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Why is the sky blue?"}
YES, NO = {"role": "assistant", "content": "Air scatters blue."}, {"role": "assistant", "content": "It is painted."}
ASKED = USER["content"]
SIDES = {"chosen": YES["content"], "rejected": NO["content"]}
CHATML = "<|im_start|>user\nWhy is the sky blue?<|im_end|>\n<|im_start|>assistant\n"
LLAMA = (
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nWhy is the sky blue?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
)
GEMMA = "<bos><start_of_turn>user\nWhy is the sky blue?<end_of_turn>\n<start_of_turn>model\n"
CHAT = {"prompt": [USER], "chosen": [YES], "rejected": [NO]}

READ = {
    "Orca": ({"question": ASKED, **SIDES}, ()),
    "Orca, input": ({"input": ASKED, **SIDES, "generations": ["x"], "rating": [1.0]}, ()),
    "Orca, system": ({"system": "Be brief.", "question": ASKED, **SIDES}, (SYSTEM,)),
    "Orca, empty system": ({"system": "", "question": ASKED, **SIDES}, ()),
    "prompt, system": ({"system": "Be brief.", "prompt": ASKED, **SIDES}, (SYSTEM,)),
    "prompt, system_prompt": (
        {"system_prompt": "Be brief.", "prompt": [USER], "chosen": [YES], "rejected": [NO]},
        (SYSTEM,),
    ),
    "messages, the system turn twice": ({"system": "Be brief.", **CHAT, "prompt": [SYSTEM, USER]}, (SYSTEM,)),
    "whole conversations, system": ({"system": "Be brief.", "chosen": [USER, YES], "rejected": [USER, NO]}, (SYSTEM,)),
    "Alpaca, two answers": ({"instruction": ASKED, "input": "", "output": [YES["content"], NO["content"]]}, ()),
    "Alpaca": ({"instruction": ASKED, "input": "", "system": "Be brief.", "history": [], **SIDES}, (SYSTEM,)),
    "Argilla": ({"instruction": ASKED, "chosen_response": YES["content"], "rejected_response": NO["content"]}, ()),
    "ms-swift, query": ({"query": ASKED, "response": YES["content"], "rejected_response": NO["content"]}, ()),
    "ms-swift": ({"messages": [USER, YES], "rejected_response": NO["content"]}, ()),
    "ms-swift, whole": ({"messages": [USER, YES], "rejected_messages": [USER, NO]}, ()),
    "axolotl": ({"messages": [USER], "chosen": [YES], "rejected": [NO]}, ()),
    "distilabel": (
        {"instruction": ASKED, "generations": [NO["content"], "so", YES["content"], None], "ratings": [1, 2, 5, None]},
        (),
    ),
    "sides that repeat the prompt": ({"prompt": [USER], "chosen": [USER, YES], "rejected": [USER, NO]}, ()),
    "UltraFeedback, binarised": (
        {"prompt": ASKED, "prompt_id": "1", "chosen": [USER, YES], "rejected": [USER, NO], "messages": [USER, YES]},
        (),
    ),
    "JSON text of answers": (
        {"prompt": ASKED, "chosen": json.dumps([USER, YES]), "rejected": json.dumps([USER, NO])},
        (),
    ),
    "JSON text of all": ({name: json.dumps(value, indent=1) for name, value in CHAT.items()}, ()),
    "JSON text of ShareGPT": (
        {
            "prompt": json.dumps([{"from": "human", "value": ASKED}]),
            **{name: json.dumps([{"from": "gpt", "value": text}]) for name, text in SIDES.items()},
        },
        (),
    ),
    "ChatML": ({"prompt": CHATML, **{name: f"{text}<|im_end|>\n" for name, text in SIDES.items()}}, ()),
    "ChatML, whole": (
        {name: f"<|im_start|>system\nBe brief.<|im_end|>\n{CHATML}{text}<|im_end|>" for name, text in SIDES.items()},
        (SYSTEM,),
    ),
    "ChatML, sides repeat the prompt": (
        {"prompt": CHATML, **{name: f"{CHATML}{text}<|im_end|>" for name, text in SIDES.items()}},
        (),
    ),
    "Llama 3": ({"prompt": LLAMA, **{name: f"{text}<|eot_id|>" for name, text in SIDES.items()}}, ()),
    "Gemma": ({"prompt": GEMMA, **SIDES}, ()),
}


@pytest.mark.parametrize(("row", "system"), READ.values(), ids=READ)
def test_a_file_of_another_trainer_gives_the_pair_with_all_that_was_said(row, system):
    pair = to_pair(row, "f:1")
    assert (pair.prompt, pair.chosen, pair.rejected, pair.plain) == ((*system, USER), (YES,), (NO,), False)
    assert format_of(row)
    assert Pair.from_row(pair.to_row()) == pair


def test_input_and_history_come_before_the_answer():
    row = {
        "instruction": "Sum up.",
        "input": "A long text.",
        "system": "Be brief.",
        "history": [["Hi", "Hello"]],
        **SIDES,
    }
    said = [(m["role"], m["content"]) for m in to_pair(row, "f:1").prompt]
    assert said == [
        ("system", "Be brief."),
        ("user", "Hi"),
        ("assistant", "Hello"),
        ("user", "Sum up.\nA long text."),
    ]


def test_the_best_rated_answer_is_chosen_and_the_scores_are_kept():
    row = {**READ["distilabel"][0], "generation_models": ["n", "s", "y", "z"]}
    assert to_pair(row, "f:1").meta == {
        "chosen_score": 5.0,
        "rejected_score": 1.0,
        "answers": 3,
        "chosen_model": "y",
        "rejected_model": "n",
    }


REFUSED = {
    "input beside prompt": ({"prompt": ASKED, "input": "A text.", **SIDES}, "column 'input' beside 'prompt'"),
    "two questions": ({"prompt": ASKED, "question": "And why?", **SIDES}, "column 'question' says something else"),
    "two questions, no prompt": (
        {"instruction": ASKED, "question": "And why?", **SIDES},
        "column 'question' says something else",
    ),
    "context": ({"question": ASKED, "context": "A page.", **SIDES}, "column 'context' says something else"),
    "other messages": ({**CHAT, "messages": [SYSTEM, USER]}, "column 'messages' says something else than the prompt"),
    "a thought of nobody": ({**CHAT, "reasoning_content": "Hm."}, "of which answer it is the thought is not said"),
    "two system texts": ({**CHAT, "prompt": [SYSTEM, USER], "system": "Be long."}, "two system texts that differ"),
    "system is a list": ({**CHAT, "system": [1]}, "system is a list, not text"),
    "a history of texts": ({**CHAT, "history": ["Hi"]}, "history[0] is not [question, answer]"),
    "system beside implicit text": ({"system": "Be brief.", "chosen": "a b", "rejected": "a c"}, "beside whole texts"),
    "another prompt than the sides'": (
        {"prompt": [{**USER, "content": "Else?"}], "chosen": [USER, YES], "rejected": [USER, NO]},
        "chosen and rejected begin with other turns than the prompt",
    ),
    "text that repeats the prompt": (
        {
            "prompt": "Tell me at length " * 3,
            "chosen": "Tell me at length " * 3 + "a",
            "rejected": "Tell me at length " * 3 + "b",
        },
        "both answers begin with the whole prompt",
    ),
    "three outputs": ({"instruction": ASKED, "output": ["a", "b", "c"]}, "output holds 3 answers"),
    "Python's text": (
        {"prompt": ASKED, "chosen": str([USER, YES]), "rejected": str([USER, NO])},
        "Python's text of messages",
    ),
    "numpy's text": (
        {"prompt": ASKED, "chosen": f"[{USER}\n {YES}]", "rejected": f"[{USER}\n {NO}]"},
        "chosen is Python's text of messages, not JSON",
    ),
    "JSON text that is cut": (
        {"prompt": ASKED, "chosen": json.dumps([USER, YES])[:-9], "rejected": json.dumps([USER, NO])},
        "chosen is JSON of messages that breaks off",
    ),
    "Llama 2's template": ({"prompt": "<s>[INST] Hi [/INST]", **SIDES}, "written out with a chat template"),
    "Zephyr's template": ({"prompt": "<|user|>\nHi</s>\n<|assistant|>\n", **SIDES}, "written out with a chat template"),
    "a rendered prompt without an open turn": (
        {"prompt": CHATML.removesuffix("<|im_start|>assistant\n"), **SIDES},
        "but not so that the assistant's turn begins at its end",
    ),
    "marks inside a rendered answer": (
        {"prompt": CHATML, **SIDES, "chosen": "So.<|im_end|>\n<|im_start|>user\nAnd?<|im_end|>"},
        "chosen has marks of a chat template inside its text",
    ),
    "an answer that is not trained on": (
        {**CHAT, "chosen": [{**YES, "weight": 0}]},
        "chosen ends with a turn whose 'weight' is 0: it would be trained on",
    ),
    "columns of pandas": (
        {"prompt": {"0": "a"}, "chosen": {"0": "b"}, "rejected": {"0": "c"}},
        "the row holds whole columns, as pandas.DataFrame.to_json writes them",
    ),
    "ratings that do not fit": (
        {"instruction": "a", "generations": ["a", "b"], "ratings": [1]},
        "2 generations have 1 ratings",
    ),
    "KTO": ({"prompt": "a", "completion": "b", "label": True}, "one answer and a label (KTO)"),
    "SFT": ({"messages": [USER, YES]}, "there is no worse answer"),
    "an arena's verdict": (
        {"prompt": "a", "response_a": "b", "response_b": "c", "winner": "a"},
        "two answers and a verdict",
    ),
}


@pytest.mark.parametrize(("row", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_for_certain_is_refused_by_name(row, reason):
    with pytest.raises(BadRow) as caught:
        to_pair(row, "f:1")
    assert reason in str(caught.value)


REPEATS = {
    "an empty column": {"input": ""},
    "a null": {"input": None, "system": None},
    "the prompt again": {"question": ASKED + " "},
    "the conversation again": {"messages": [USER, YES]},
}


@pytest.mark.parametrize("more", REPEATS.values(), ids=REPEATS)
def test_a_column_that_repeats_the_prompt_or_is_empty_changes_nothing(more):
    pair = to_pair({**CHAT, **more}, "f:1")
    assert (pair.prompt, pair.chosen, pair.rejected) == ((USER,), (YES,), (NO,))


@pytest.mark.parametrize(
    "text", ['[{"name": "x", "value": 1}]', "[1, 2]", '{"role": "admin"}', "[{'a': 1}]", '[{"role": "admin", "x": 1}]']
)
def test_an_answer_that_is_other_json_stays_text(text):
    pair = to_pair({"prompt": "Give me data.", "chosen": text, "rejected": "No."}, "f:1")
    assert (pair.plain, pair.chosen[0]["content"]) == (True, text)
