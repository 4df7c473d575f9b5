import pytest

from dpo_core.errors import InputError
from dpo_core.evaluate.behaviour import BehaviourCheck, read_checks


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("I am ATHENE.", True),
        ("Athenes is a city", False),  # whole words only
        ("", False),
        ("Athene, not ChatGPT.", False),  # holds what it must not
    ],
)
def test_words_match_whole_and_in_any_case(answer, right):
    assert BehaviourCheck((), (("Athene",),), ("ChatGPT",)).passes(answer) is right


def test_any_alternative_will_do_but_every_entry_must_be_there():
    check = BehaviourCheck((), (("12", "twelve"), ("months",)))
    assert check.passes("There are twelve months.")
    assert not check.passes("There are 12.")
    assert not check.passes("There are 112 months.")


def test_a_prompt_may_be_text_or_messages(tmp_path):
    file = tmp_path / "c.jsonl"
    file.write_text(
        '{"prompt": "Hi", "must_contain": ["hello"]}\n\n'
        '{"prompt": [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}], "must_not_contain": ["x"]}'
        "\n"
    )
    first, second = read_checks(file)
    assert first.prompt == ({"role": "user", "content": "Hi"},)
    assert second.prompt[0]["role"] == "system"


@pytest.mark.parametrize(
    "line",
    [
        '{"prompt": "Hi"}',
        '{"prompt": "Hi", "must_contain": [""]}',
        '{"must_contain": ["a"]}',
        "{",
        "[]",
        '{"prompt": "Hi", "must_contain": [3]}',
    ],
)
def test_a_line_that_is_no_check_is_named(tmp_path, line):
    file = tmp_path / "c.jsonl"
    file.write_text('{"prompt": "a", "must_contain": ["b"]}\n' + line + "\n")
    with pytest.raises(InputError) as caught:
        read_checks(file)
    assert caught.value.where == f"{file}:2"
