"""Traces small enough to see by eye which pairs follow from them, and which do not."""

import pytest

from dpo_core.curate.feedback import CUT_OFF, SAME, TracedAnswer, pairs_of_feedback
from dpo_core.curate.remarks import RemarkRules, Said
from dpo_core.data.pairs import text_of
from dpo_core.errors import InputError
from dpo_core.quality.prompts.identity import origin
from dpo_core.quality.text.placeholders import Placeholders
from dpo_core.quality.text.redaction import KINDS

BLUE = "The sea is blue."


def said(value, by="ada", name="feedback", kind="human", when=1):
    return Said(name, value, by, kind, when)


def expected(value, by="ada", when=1):
    return said(value, by, "expected_answer", when=when)


def trace(name, answer, *remarks, prompt="What is the sea?", version=3, when=0, **more):
    wanted = tuple(r for r in remarks if r.name == "expected_answer")
    votes = tuple(r for r in remarks if r.name != "expected_answer")
    asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    return TracedAnswer(name, when, asked, answer, f"athene/{version}", feedback=votes, expectations=wanted, **more)


def made(*traces, **options):
    return pairs_of_feedback(traces, source="traces:athene", **options)


def words(pair):
    return text_of(pair.prompt), text_of(pair.chosen), text_of(pair.rejected)


def reasons(found):
    return {name: item.reason for item in (*found.quarantined, *found.dropped) for name in item.trace_ids}


def test_an_expected_answer_is_chosen_over_the_one_that_was_given():
    found = made(trace("t1", "It is red.", expected(BLUE)))
    [pair] = found.pairs
    assert words(pair) == ("What is the sea?", BLUE, "It is red.")
    assert pair.source == "traces:athene"
    assert pair.meta == {"by": "expectation", "traces": ["t1"], "annotator": "ada", "rejected_model": "athene/3"}
    assert found.used == ("t1",)


def test_a_liked_answer_is_chosen_over_a_disliked_one_to_the_same_prompt():
    found = made(
        trace("t1", "It is red.", said(False, "bob"), version=2),
        trace("t2", BLUE, said(True), prompt="what is  the sea?"),  # the same prompt, as everywhere else
        trace("t3", BLUE, said(True), prompt="Another?"),
    )
    [pair] = found.pairs
    assert words(pair)[1:] == (BLUE, "It is red.")
    assert (pair.meta["by"], pair.meta["traces"], pair.meta["annotator"]) == ("votes", ["t1", "t2"], "ada, bob")
    assert [origin(pair, side) for side in ("chosen_model", "rejected_model")] == ["athene/3", "athene/2"]
    assert found.counts["liked, waiting"] == 1


def test_a_like_or_a_dislike_alone_makes_no_pair_and_waits():
    found = made(
        trace("t1", "a", said(True), prompt="1"),
        trace("t2", "b", said(False), prompt="2"),
        trace("t3", "c", prompt="3"),
    )
    assert (found.pairs, found.used, found.quarantined) == ((), (), ())
    counts = found.counts
    assert (counts["liked, waiting"], counts["disliked, waiting"], counts["without a remark"]) == (1, 1, 1)


def test_each_trace_is_in_one_pair_at_most():
    liked = [trace(f"l{i}", f"good {i}", said(True), when=i) for i in range(3)]
    disliked = [trace(f"d{i}", f"bad {i}", said(False), when=i) for i in range(2)]
    found = made(*liked, *disliked)
    assert [pair.meta["traces"] for pair in found.pairs] == [["d0", "l0"], ["d1", "l1"]]
    assert found.counts["liked, waiting"] == 1
    again = made(*liked, *disliked, trace("d2", "bad 2", said(False), when=9), used=found.used)
    assert [pair.meta["traces"] for pair in again.pairs] == [["d2", "l2"]]
    assert again.counts["used before"] == 4


def test_traces_of_one_prompt_with_one_expectation_are_one_pair():
    found = made(*(trace(f"t{i}", "It is red.", expected(BLUE, by), when=i) for i, by in enumerate(["ada", "bob"])))
    [pair] = found.pairs
    assert pair.meta["traces"] == list(found.used) == ["t0", "t1"]
    assert pair.meta["annotator"] == "ada, bob"


@pytest.mark.parametrize(
    ("remarks", "says"),
    [
        ([said(True, "ada"), said(False, "bob")], "feedback disagrees: 1 person like the answer, 1 person do not"),
        ([said(True), said(1, name="rating"), said(False, name="helpful")], "feedback disagrees"),
        ([expected(BLUE, "ada"), expected("It is deep.", "bob")], "two different answers are expected"),
        ([expected(BLUE, "ada"), said(True, "bob")], "1 person like the answer, 1 person expect another"),
    ],
)
def test_people_who_contradict_each_other_decide_nothing(remarks, says):
    for split in (False, True):  # on one trace, and on two of the same answer
        traces = [trace("t1", "Red.", *remarks[:1]), trace("t2", "Red.", *remarks[1:])]
        found = made(*traces) if split else made(trace("t1", "Red.", *remarks))
        assert (found.pairs, found.used) == ((), ())
        assert found.quarantined
        assert all(reason.startswith(says) for reason in reasons(found).values())


def test_people_who_expect_different_answers_to_one_prompt_decide_nothing():
    traces = [trace("t1", "Red.", expected(BLUE)), trace("t2", "Green.", expected("It is deep.", "bob"))]
    assert reasons(made(*traces)) == dict.fromkeys(("t1", "t2"), "people expect different answers to this prompt")
    same = made(traces[0], trace("t2", "Green.", expected("It is deep.")))  # one person may name two good answers
    assert [words(pair)[1] for pair in same.pairs] == [BLUE, "It is deep."]


def test_the_newest_remark_of_a_person_counts():
    liked_after_all = trace("t1", BLUE, said(False, when=1), said(True, when=2))
    corrected = trace("t2", "Red.", said("meh", when=1), said(False, when=5), prompt="Other?")
    again = trace("t3", "Green.", expected("Nonsense", when=1), expected(BLUE, when=2), prompt="Third?")
    found = made(liked_after_all, corrected, again, trace("t4", "Black.", said(False)))
    assert [words(pair)[1:] for pair in found.pairs] == [(BLUE, "Black."), (BLUE, "Green.")]
    assert found.quarantined == ()


@pytest.mark.parametrize("value", ["The sea is blue.", " The sea is blue.\n", {"content": "The sea is blue."}])
def test_an_expectation_that_is_the_answer_is_dropped_with_the_reason(value):
    found = made(trace("t1", BLUE, expected(value)))
    assert (found.pairs, found.used, reasons(found)) == ((), (), {"t1": SAME})


def test_a_liked_answer_that_was_cut_off_is_not_chosen():
    found = made(trace("t1", "The sea is", said(True), ended=False), trace("t2", "Red.", said(False)))
    assert (found.pairs, reasons(found)) == ((), {"t1": CUT_OFF})
    [pair] = made(trace("t1", "The sea is red and", expected(BLUE), ended=False)).pairs
    assert words(pair)[2] == "The sea is red and"


@pytest.mark.parametrize(
    ("value", "scale", "liked"),
    [
        *((value, (0, 1), True) for value in (True, 1, 0.75, "good", "Thumbs-Up", "yes!", "👍", "like")),
        *((value, (0, 1), False) for value in (False, 0, 0.25, "bad", "thumbs down", "No.", "👎")),
        *((value, (0, 1), None) for value in (0.5, 0.3)),
        *((value, (1, 5), liked) for value, liked in ((5, True), (4, True), (3, None), (2, False), (1, False))),
        *((value, (-1, 1), liked) for value, liked in ((1, True), (0, None), (-1, False))),
    ],
)
def test_values_in_every_form_are_likes_or_dislikes(value, scale, liked):
    other = trace("t2", "Other.", said(liked is not True))
    found = made(trace("t1", "This.", said(value)), other, rules=RemarkRules(scale=scale))
    assert [words(pair)[1] for pair in found.pairs] == ([] if liked is None else ["This." if liked else "Other."])
    assert found.counts["neither liked nor disliked"] == (liked is None)


@pytest.mark.parametrize("value", [7, -1, float("nan"), "meh", "", {"stars": 3}, [True]])
def test_a_value_that_nobody_can_read_is_told(value):
    found = made(trace("t1", "a", said(value)), trace("t2", "b", said(False)))
    assert found.pairs == ()
    assert reasons(found)["t1"].startswith("feedback 'feedback' ")


def test_one_star_of_five_is_no_like_where_the_scale_was_not_given():
    found = made(trace("t1", "a", said(1)), trace("t2", "b", said(5)), trace("t3", "c", said(False)))
    assert found.pairs == ()
    says = "feedback 'feedback' has numbers outside of 0 to 1: set feedback.scale"
    assert reasons(found) == {"t1": says, "t2": says}
    with pytest.raises(InputError, match=r"feedback\.scale"):
        RemarkRules(scale=(5, 1))


def test_what_judges_and_other_names_say_is_counted_and_decides_nothing():
    remarks = (said(True, "gpt", kind="llm_judge"), said(True, name="toxic"), said("ocean", name="topic"))
    found = made(trace("t1", BLUE, *remarks), trace("t2", "Red.", said(False)))
    assert (found.pairs, found.quarantined) == ((), ())
    assert (found.counts["remarks of judges"], found.counts["remarks named 'toxic'"]) == (1, 1)
    [pair] = made(
        trace("t1", BLUE, said(True, name="Ocean-like")),
        trace("t2", "Red.", said(False)),
        rules=RemarkRules(votes=("ocean_like", "feedback")),
    ).pairs
    assert words(pair)[1] == BLUE


@pytest.mark.parametrize(
    ("prompt", "answer", "says"),
    [
        ([], "a", "messages is an empty list"),
        ([{"role": "narrator", "content": "x"}], "a", "messages[0] has unknown role"),
        ([{"role": "user"}], "a", "messages[0] is not a message"),
        ([{"role": "assistant", "content": "x"}], "a", "the conversation begins with the assistant"),
        (
            [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}],
            "a",
            "the prompt ends with the assis",
        ),
        ([{"role": "user", "content": " "}], "a", "prompt is empty"),
        ("x", "  ", "answer is empty"),
        ("x", "\0", "answer holds a NUL"),
    ],
)
def test_a_trace_that_cannot_be_trained_on_is_set_aside_and_the_others_go_on(prompt, answer, says):
    found = made(trace("bad", answer, expected(BLUE), prompt=prompt), trace("good", "Red.", expected(BLUE)))
    assert found.used == ("good",)
    assert reasons(found)["bad"].startswith(says)


@pytest.mark.parametrize(
    "value", [7, ["facts"], {"role": "user", "content": "x"}, "", [{"role": "user", "content": "x"}]]
)
def test_an_expectation_that_is_no_answer_is_told(value):
    assert "the expectation 'expected_answer'" in reasons(made(trace("t1", "Red.", expected(value))))["t1"]


def test_tools_of_a_prompt_are_the_pairs_and_other_tools_are_another_prompt():
    tool = {"type": "function", "function": {"name": "tide"}}
    found = made(trace("t1", BLUE, said(True), tools=[tool]), trace("t2", "Red.", said(False)))
    assert found.pairs == ()
    [pair] = made(trace("t1", "Red.", expected(BLUE), tools=[tool])).pairs
    assert pair.tools == (tool,)


PERSONAL = trace(
    "t1",
    "Write to bob@sea.org.",
    expected("Write to ADA@sea.org or bob@sea.org, or call +49 30 1234567.", "carl@sea.org"),
    prompt="I am ada@sea.org (+49 (30) 123-4567). Whom do I write to?",
)


def test_personal_data_is_masked_and_one_value_is_one_placeholder():
    [pair] = made(PERSONAL).pairs
    assert words(pair) == (
        "I am [e-mail] ([phone]). Whom do I write to?",
        "Write to [e-mail] or [e-mail 2], or call [phone].",
        "Write to [e-mail 2].",
    )
    assert pair.meta["masked"] == {"e-mail": 2, "phone": 1}
    assert pair.meta["annotator"].startswith("person-")
    assert made(PERSONAL).pairs == (pair,)


def test_personal_data_is_refused_or_kept_by_the_key():
    refused = made(PERSONAL, personal_data="refuse")
    assert (refused.pairs, refused.used) == ((), ())
    assert reasons(refused) == {"t1": "it holds personal data: e-mail, phone"}
    [kept] = made(PERSONAL, personal_data="keep").pairs
    assert "ada@sea.org" in words(kept)[0]
    assert kept.meta["annotator"] == "carl@sea.org"


def test_answers_that_only_a_masked_value_told_apart_make_no_pair():
    found = made(trace("t1", "Call +49 30 1234567.", expected("Call +49 30 7654321.")))
    assert words(found.pairs[0])[1:] == ("Call [phone].", "Call [phone 2].")  # another number is another placeholder
    same = made(trace("t1", "Write to ada@sea.org", expected("Write to ADA@SEA.ORG")))
    assert reasons(same) == {"t1": "its two answers differ in personal data alone, which is masked"}


def test_a_masked_text_holds_nothing_that_would_be_found():
    text = "4111 1111 1111 1111, DE89 3704 0044 0532 0130 00, a@b.org, 8.8.8.8, sk-abcdefghijklmnopqrstuvwx1, "
    text += "+1 212 555 0123"
    masked = Placeholders().masked(text)
    assert not any(kind.stands_in(masked) for kind in KINDS)
    assert masked == "[card], [IBAN], [e-mail], [IP address], [key], [phone]"
    assert Placeholders().masked(masked) == masked


def test_the_order_in_which_traces_come_changes_nothing():
    traces = [
        trace(f"t{i}", f"a {i % 5}", said(i % 2 == 0, f"p{i}"), prompt=f"p{i % 3}", when=i % 4) for i in range(24)
    ]
    found, backwards = made(*traces), made(*reversed(traces), traces[3])
    assert [pair.id for pair in found.pairs] == [pair.id for pair in backwards.pairs]
    assert (found.used, found.counts) == (backwards.used, backwards.counts)
    assert found.pairs
