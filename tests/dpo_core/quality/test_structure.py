"""Rows that compare nothing, and traces of templates and broken exports, on pairs small enough to count by eye."""

import json
import math

import pytest

from dpo_core.data.pairs import EncodedPair
from dpo_core.data.readers import read_pairs
from dpo_core.quality.checks import consistency, duplicates, languages, personal_data, structure
from dpo_core.quality.checks.structure import shared_share
from tests.dpo_core.quality.quality_data import (
    as_pairs,
    make_pair,
    measured,
    null_texts,
    run_check,
    severities,
    through_a_file,
)


def checked(pairs, encoding=None):
    return run_check(structure.CHECK, pairs, encoding=encoding or {})


def distinct(count):
    return [make_pair(f"prompt {row}", f"good {row}", f"poor {row}") for row in range(count)]


def with_ids(pair, chosen, rejected):
    return EncodedPair(pair.pair, (1,), chosen, rejected)


def conversation(*roles):
    prompt = [{"role": role, "content": f"turn {number}"} for number, role in enumerate(roles)]
    answers = [[{"role": "assistant", "content": text}] for text in ("one", "two")]
    return {"prompt": prompt, "chosen": answers[0], "rejected": answers[1]}


def test_sound_pairs_have_no_structure_findings():
    measures, findings = checked(as_pairs(null_texts(0, 300)))
    assert findings == []
    assert {measure.value for measure in measures} == {0}


@pytest.mark.parametrize(
    "answers",
    [("same", "same"), ("same", " same\n"), ("\uff33ame", "Same"), ("fine", " \n")],  # the third: full-width S
)
def test_answers_identical_or_empty_as_text_are_the_readers_to_quarantine(tmp_path, answers):
    rows = [{"prompt": f"p{n}", "chosen": c, "rejected": r} for n, (c, r) in enumerate([("good", "poor"), answers])]
    pairs = through_a_file(tmp_path, rows)
    assert len(pairs) == 1
    assert measured(checked(pairs))["structure/identical_or_empty"] == 0


@pytest.mark.parametrize(("others", "expected"), [(998, "fail"), (999, "warn")])  # 1 of 999 is above .001, of 1000 not
def test_one_useless_pair_in_a_thousand_only_warns(others, expected):
    results = checked([*distinct(others), with_ids(make_pair("p", "a", "b"), (5, 2), (5, 2))])
    found = {check: severity for check, severity in severities(results).items() if check != "structure/end_of_turn"}
    assert found == {"structure/identical_or_empty": expected}


@pytest.mark.parametrize("ids", [((5, 2), (5, 2)), ((5, 2), (2,))], ids=["same tokens", "end of turn alone"])
def test_answers_identical_or_emptied_by_tokenisation_are_useless(ids):
    results = checked([with_ids(make_pair("p", "a", "b"), *ids)])
    assert measured(results)["structure/identical_or_empty"] == 1


def test_one_sided_ends_of_turn_are_counted_by_token_and_by_text():
    cut = with_ids(make_pair("p", "a", "b"), (5, 2), (6, 7))
    written = make_pair("q", "a<|im_end|>", "b")
    assert measured(checked([cut, written, *distinct(2)]))["structure/end_of_turn"] == 0.5


@pytest.mark.parametrize(
    ("check", "pair"),
    [
        ("template_in_text", make_pair("<|im_start|>user\nhello", "a", "b")),
        ("template_in_text", make_pair("p", "a [INST] b [/INST]", "b")),
        ("template_in_text", make_pair("p", "a", "fine\n### Human: more")),
        ("thought_on_one_side", make_pair("p", "<think>hm</think> a", "b")),
        ("speaker_in_answer", make_pair("p", "fine.\n\nHuman: and you?", "b")),
        ("broken_encoding", make_pair("p", "caf\u00c3\u00a9", "b")),  # UTF-8 e-acute read as Latin-1
        ("broken_encoding", make_pair("p", "it\u00e2\u20ac\u2122s", "b")),  # a curly apostrophe read as Windows-1252
        ("broken_encoding", make_pair("caf\ufffd", "a", "b")),
        ("invisible_characters", make_pair("p", "a\u200bb", "b")),
        ("invisible_characters", make_pair("p", "a\u200db", "b")),  # a joiner between Latin letters
        ("invisible_characters", make_pair("p", "\u202eabc", "b")),
        ("invisible_characters", make_pair("p", "a\x07", "b")),
        ("invisible_characters", make_pair("p", "a", "b\U000e0041")),  # a letter of the invisible tag block
        ("nearly_identical", make_pair("p", "word " * 100 + "yes", "word " * 100 + "no")),
    ],
)
def test_each_trace_is_found_in_its_own_check_and_in_no_other(check, pair):
    found = {name for name, value in measured(checked([pair, *distinct(1)])).items() if value}
    assert found == {f"structure/{check}"}


@pytest.mark.parametrize(
    "text", ["\u4f60\u597d\u5417\u6211\u5f88\u597d", "\u043f\u0440\u0438\u0432\u0435\u0442", "stra\u00dfe"]
)
def test_utf8_read_as_latin1_is_found_in_other_scripts_too(text):
    broken = make_pair("p", text.encode().decode("latin-1"), "b")
    assert measured(checked([broken]))["structure/broken_encoding"] == 1


@pytest.mark.parametrize(
    "text",
    [
        "\u00c0 la carte \u2013 d\u00e9j\u00e0 vu\u00a0!",
        "S\u00c3O PAULO, \u00c2NGELA",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian needs its non-joiner
        "a family: \U0001f468\u200d\U0001f469\u200d\U0001f467",
        "if a < b and b > c: x[0]",
        "The Assistant: a play in two acts",
        "tab\there\r\n",
        "\u00ab tr\u00e8s \u00bb\u2026 na\u00efve, " + "pass\u00e9\u2026 oubli\u00e9\u00bb " * 4,
        "\u00ab\u0421\u0421\u0421\u0420\u00bb, \u00ab\u0420\u0421\u00bb " * 4,
    ],
)
def test_what_belongs_in_a_text_is_no_trace(text):
    assert checked([make_pair("p", text, "b")])[1] == []


@pytest.mark.parametrize(
    "roles", [("system", "system", "user"), ("user", "user"), ("user", "assistant", "system", "user")]
)
def test_turns_in_disorder_are_the_readers_to_quarantine(tmp_path, roles):
    path = tmp_path / "turns.jsonl"
    path.write_text(json.dumps(conversation(*roles)) + "\n" + json.dumps(conversation("user")))
    read = read_pairs(path)
    assert (len(read.pairs), len(read.quarantined)) == (1, 1)
    assert "turn" in read.quarantined[0].reason


def test_tool_turns_alternate_too(tmp_path):
    pairs = through_a_file(tmp_path, [conversation("system", "user", "assistant", "tool", "assistant", "user")])
    assert len(pairs) == 1
    assert checked(pairs)[1] == []


def test_both_sides_thinking_is_no_asymmetry():
    assert checked([make_pair("p", "<think>a</think> b", "<think>c</think> d")])[1] == []


def test_what_encoding_counted_is_told():
    _, findings = checked(distinct(2), {"over_length": 3, "prompts_cut": 0, "boundary_merges": 1})
    assert {f.check: f.statistics["pairs"] for f in findings} == {
        "structure/over_length": 3,
        "structure/boundary_merges": 1,
    }


def test_shared_share_counts_beginning_and_end_once():
    # 60 + 59 of 120 characters; "a" * 119 overlaps itself and must not count twice
    assert shared_share("x" * 60 + "1" + "y" * 59, "x" * 60 + "2" + "y" * 59) == pytest.approx(119 / 120)
    assert shared_share("a" * 119, "a" * 120) == pytest.approx(119 / 120)
    assert shared_share("short", "short") == 0


def test_an_empty_table_measures_nothing_that_could_pass():
    checks = (structure, duplicates, consistency, languages, personal_data)
    results = [run_check(module.CHECK, []) for module in checks]
    values = [measure.value for measures, _ in results for measure in measures]
    assert len(values) > 15
    assert all(math.isnan(value) for value in values)
