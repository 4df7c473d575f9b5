import json

import pytest

from dpo_core.errors import InputError
from dpo_core.evaluate.behaviour import BehaviourCheck, read_checks
from dpo_core.rewards.schemas import fits


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


def check_of(tmp_path, **row):
    file = tmp_path / "c.jsonl"
    file.write_text(json.dumps({"prompt": "Hi", **row}) + "\n")
    [check] = read_checks(file)
    return check


@pytest.mark.parametrize(
    ("row", "right", "wrong"),
    [
        ({"must_match": r"^\d{4}-\d\d$"}, "2026-11", "in 2026-11"),
        ({"must_match": ["a", "b"]}, "cab", "car"),
        ({"must_not_match": "(?i)sorry"}, "Of course.", "So SORRY"),
        ({"number": 1234.5}, "It is 7, no: 1,234.50", "1234.5 and then 7"),
        ({"number": -3, "tolerance": 0.2}, "\u22123.1 degrees", "3.1 degrees"),
        ({"number": 0}, "it is 0", "none at all"),
        ({"number": -5}, "x = -5", "x-5"),
        ({"number": 4}, "I am GPT-4.", "It is (-4)."),
        ({"number": -5}, "答案是-5", "答案是5"),
        ({"number": -3}, "The point is (2,-3).", "The point is (2,3)."),
        ({"number": 10}, "8-10", "between 8 and -10"),
        ({"number": 17}, "2024-05-17", "17-05-2024"),
        ({"number": 3}, "8.-3.", "3.-8."),
        ({"json_schema": True}, '```json\n{"a": [1]}\n```', "{a: 1}"),
        ({"json_schema": {"type": "object", "required": ["age"]}}, '{"age": 3}', '{"name": "x"}'),
        (
            {"language": "de"},
            "Das ist nicht mit dem Wasser zu machen, und es ist gut.",
            "It is not the end of the day.",
        ),
        ({"language": "zh"}, "\u96e8\u662f\u4ece\u4e91\u4e2d\u964d\u843d\u7684\u6c34\u6ef4", "rain"),
        ({"declines": True}, "I'm sorry, but I can't help with that.", "First, open the window."),
        ({"declines": False}, "First, open the window.", "No, I won't do that."),
        ({"max_words": 3}, "one two three", "one two three four"),
        ({"min_words": 2, "max_words": 2}, "one two", "one"),
        ({"max_sentences": 2}, "One. Two!", "One. Two! Three?"),
        ({"min_sentences": 2}, "One.\nTwo", "One"),
        ({"must_contain": "Paris", "max_words": 2}, "In Paris", "It is in Paris"),
    ],
)
def test_an_answer_is_held_to_what_is_asked_of_it_beside_words(tmp_path, row, right, wrong):
    check = check_of(tmp_path, **row)
    assert (check.passes(right), check.passes(wrong)) == (True, False)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"must_contains": ["a"]}, "unknown key 'must_contains'"),
        ({"must_match": "(a"}, "(a is no regular expression: missing )"),
        ({"must_match": "(a+)+$"}, "does not end within 1 s"),
        ({"json_schema": {"type": "objekt"}}, "json_schema is none: 'objekt' is not valid"),
        ({"json_schema": {"items": {"pattern": "(a+)+$"}}}, "does not end within 1 s"),
        ({"json_schema": {"patternProperties": {"(a": True}}}, "json_schema is none: '(a' is not a 'regex'"),
        (
            {"json_schema": {"patternProperties": {"(a+)+$": True}, "additionalProperties": False}},
            "does not end within 1 s",
        ),
        (
            {"json_schema": {"anyOf": [{"patternProperties": {"^k": True}}], "unevaluatedProperties": False}},
            "write additionalProperties for the latter",
        ),
        ({"json_schema": {"$ref": "#/$defs/name"}}, "refers to what is not in it: #/$defs/name"),
        ({"json_schema": {"$ref": "https://example.org/schema.json"}}, "refers to what is not in it: https://example"),
        ({"json_schema": {"$ref": "#"}}, "refers to itself before it asks anything"),
        (
            {"json_schema": {"items": {"$ref": "#/$defs/a"}, "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}}},
            "refers to itself before it asks anything",
        ),
        ({"json_schema": {"properties": {"default": {"pattern": "(a+)+$"}}}}, "does not end within 1 s"),
        ({"json_schema": {"$defs": {"enum": {"$ref": "#/$defs/name"}}}}, "refers to what is not in it: #/$defs/name"),
        ({"language": "tlh"}, "language 'tlh' is not told"),
        ({"tolerance": 1.0}, "it asks nothing of the answer"),
        ({"number": "3"}, "number: Input should be a valid number"),
        ({"must_contain": ["a"], "prompt": [{"role": "user"}]}, "prompt"),
    ],
)
def test_a_demand_that_cannot_be_meant_is_refused_before_anything_is_asked(tmp_path, row, says):
    with pytest.raises(InputError) as caught:
        check_of(tmp_path, **row)
    assert says in caught.value.says
    assert caught.value.where.endswith("c.jsonl:1")


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        ({"type": "array", "items": {"$ref": "#"}}, "[[], []]", "[" * 300 + "]" * 300),  # deeper than can be followed
        ({"multipleOf": 0.01}, "0.5", "9" * 400),  # no float is as large
        ({"multipleOf": 0.5}, "2", "NaN"),
        ({"properties": {"patternProperties": True, "const": {"const": 1}}}, '{"const": 1}', '{"const": 2}'),
    ],
)
def test_an_answer_that_no_schema_can_be_held_against_does_not_fit_it(tmp_path, schema, right, wrong):
    check = check_of(tmp_path, json_schema=schema)
    assert (check.passes(right), check.passes(wrong)) == (True, False)


def test_an_unknown_key_is_answered_with_the_nearest(tmp_path):
    with pytest.raises(InputError) as caught:
        check_of(tmp_path, must_contains=["a"])
    assert caught.value.do == "did you mean 'must_contain'?"


def test_a_question_that_stands_twice_is_named(tmp_path):
    file = tmp_path / "c.jsonl"
    file.write_text('{"prompt": "a", "must_contain": ["b"], "id": 7}\n' * 2)
    with pytest.raises(InputError, match="the id 7 stands twice") as caught:
        read_checks(file)
    assert caught.value.where == f"{file}:2"


def test_a_pattern_that_only_an_answer_shows_to_be_endless_is_named_with_its_line(tmp_path):
    check = check_of(tmp_path, must_match=r"^(x|xx)+$")
    with pytest.raises(InputError, match="does not end within 1 s on 61 characters") as caught:
        check.passes("x" * 60 + "!")
    assert caught.value.where == f"{tmp_path / 'c.jsonl'}:1"


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/schema.json", "file:///etc/hostname"])
def test_a_schema_fetches_nothing(address, monkeypatch):
    def asked(*_, **__):
        raise AssertionError("the network was asked")

    monkeypatch.setattr("urllib.request.urlopen", asked)
    monkeypatch.setattr("socket.create_connection", asked)
    with pytest.raises(InputError, match="refers to what is not in it"):
        fits({}, {"$ref": address})


def test_a_pattern_inside_a_schema_ends(tmp_path):
    check = check_of(tmp_path, json_schema={"patternProperties": {"^k": {"pattern": r"^(x|xx)+$"}}})
    assert check.passes('{"k": "xx"}')
    assert not check.passes('{"k": "y"}')
    assert check.passes('{"other": "y"}')
    with pytest.raises(InputError, match="does not end within 1 s on 61 characters"):
        check.passes(json.dumps({"k": "x" * 60 + "!"}))


@pytest.mark.parametrize("rest", [False, {"type": "integer"}])
def test_what_no_pattern_of_a_schema_names_is_told_by_patterns_that_end(tmp_path, rest):
    properties = {"patternProperties": {r"^(x|xx)+$": True}, "additionalProperties": rest}
    check = check_of(tmp_path, json_schema={"properties": {"name": {"type": "string"}}, **properties})
    assert check.passes('{"name": "Ada", "xxx": "anything"}')
    assert check.passes('{"y": 1}') == (rest is not False)
    assert not check.passes('{"y": "text"}')
    with pytest.raises(InputError, match="does not end within 1 s on 61 characters"):
        check.passes(json.dumps({"x" * 60 + "!": 1}))
