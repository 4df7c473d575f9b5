"""Answers from an endpoint: what is asked, what is kept, what is spent. A real server on loopback keeps the bill."""

import itertools
import json
import logging
import threading

import pytest

from infra.endpoint import caller
from infra.endpoint.chat import Call, ChatRefused, ChatReply, ChatRequest, checked_url
from infra.endpoint.client import Endpoint
from infra.endpoint.spending import Budget, BudgetSpent
from infra.errors import BadSetting, Rejected, Unavailable
from infra.store.folder import FolderStore
from tests.endpoint_server import MODEL, loopback_endpoint, text_of

AMPLE = Budget(calls=1000, tokens=10**9)
KEY = "canary-0123456789abcdef"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(caller, "FIRST_S", 0.01)


@pytest.fixture
def served():
    with loopback_endpoint() as (url, bill):
        yield url, bill


@pytest.fixture
def ask(served, tmp_path):
    """An endpoint on the test's store; each is another run of the same curation."""
    made = []

    def endpoint(**options):
        options = {"budget": AMPLE, "scope": "test", "timeout_s": 60.0, "retries": 3} | options
        made.append(Endpoint(options.pop("url", served[0]), options.pop("model", MODEL), store(tmp_path), **options))
        return made[-1]

    yield endpoint
    for endpoint in made:
        endpoint.close()


def store(tmp_path):
    return FolderStore(tmp_path / "store")


def asked(text, **options):
    return ChatRequest([{"role": "user", "content": text}], **options)


def prompts(count, **options):
    return [asked(f"prompt {number}", **options) for number in range(count)]


def in_order(endpoint, requests):
    outcomes = dict(endpoint.replies(requests))
    return [outcomes[number] for number in range(len(requests))]


def test_every_request_gets_the_answers_that_the_endpoint_gave_it(ask, served):
    replies = in_order(ask(), prompts(20, samples=3))
    bodies = {body["messages"][0]["content"]: body for body in served[1].bodies}
    assert [reply.texts for reply in replies] == [
        [text_of(bodies[f"prompt {number}"], index) for index in range(3)] for number in range(20)
    ]
    assert replies[0] == ChatReply(replies[0].texts, 10, 15, ["stop"] * 3)


def test_what_is_sent_is_what_was_asked_for(ask, served):
    in_order(ask(), [asked("hi", samples=2, temperature=0.7, top_p=0.9, max_tokens=7, seed=3, extra={"stop": ["x"]})])
    [body] = served[1].bodies
    seed = body.pop("seed")
    assert 0 <= seed < 2**31
    assert body == {
        "model": MODEL,
        "messages": [{"role": "user", "content": "hi"}],
        "n": 2,
        "temperature": 0.7,
        "top_p": 0.9,
        "max_tokens": 7,
        "stop": ["x"],
    }


def test_a_parameter_that_is_none_is_not_sent(ask, served):
    extra = {"max_completion_tokens": 9, "top_p": None, "seed": None}
    in_order(ask(), [asked("hi", temperature=None, extra=extra)])
    assert served[1].bodies[0].keys() == {"model", "messages", "max_completion_tokens"}


def test_a_limit_of_tokens_that_is_named_otherwise_counts_against_the_budget():
    # 2 answers, and 1 byte in a message: 8 + 1 tokens of the prompt
    request = asked("a", samples=2, extra={"max_completion_tokens": 300})
    assert Call("http://host/v1", "m", request, number=0, offset=0, count=2).most_tokens == 9 + 600


def test_a_second_run_asks_for_nothing_that_was_answered(ask, served):
    first = in_order(ask(), prompts(10))
    again = ask()
    assert in_order(again, prompts(10)) == first
    assert again.counts() == (0, 10, 0)
    assert in_order(ask(scope="another curation"), prompts(10)) == first
    assert served[1].total == 10


def test_equal_requests_of_one_run_are_one_call(ask, served):
    served[1].delay_s = 0.1
    replies = in_order(ask(), [asked("the same")] * 6)
    assert len({tuple(reply.texts) for reply in replies}) == 1
    assert served[1].total == 1


DIFFERENT = [
    {"url": "http://other/v1"},
    {"model": "other"},
    {"offset": 1},
    {"number": 1},
    {"count": 2},
    *({"request": asked("a", **change)} for change in (
        {"temperature": 0.5}, {"top_p": 0.5}, {"max_tokens": 5}, {"seed": 5}, {"seed": None}, {"extra": {"stop": "x"}}
    )),
    {"request": asked("b")},
    {"request": ChatRequest([{"role": "system", "content": "a"}])},
]  # fmt: skip


def test_whatever_could_change_an_answer_makes_another_digest():
    plain = {"url": "http://host/v1", "model": "m", "request": asked("a"), "number": 0, "offset": 0, "count": 1}
    digests = [Call(**(plain | change)).digest for change in ({}, *DIFFERENT)]
    assert len(set(digests)) == len(digests)
    assert Call(**plain).digest == digests[0]


def test_no_more_calls_are_under_way_than_at_once(ask, served):
    served[1].delay_s = 0.05
    in_order(ask(at_once=3), prompts(12))
    assert served[1].busiest == 3


def test_requests_are_taken_from_an_endless_source_as_they_are_needed(ask, served):
    replies = ask(at_once=2).replies(asked(f"prompt {number}") for number in itertools.count())
    assert len([next(replies) for _ in range(5)]) == 5
    replies.close()
    assert served[1].total <= 8  # five given out, two under way, one taken up


@pytest.mark.parametrize("most", [1, 2, 3])
def test_choices_that_are_missing_are_asked_for_again(ask, served, most):
    served[1].most_choices = most
    [reply] = in_order(ask(), [asked("hi", samples=5)])
    asked_for = [body.get("n", 1) for body in served[1].bodies]
    assert asked_for == {1: [5, 1, 1, 1, 1], 2: [5, 3, 1], 3: [5, 2]}[most]
    assert len(set(reply.texts)) == 5
    assert reply.completion_tokens == 25
    assert in_order(ask(), [asked("hi", samples=5)]) == [reply]
    assert served[1].total == len(asked_for)


def test_more_choices_than_asked_for_are_left(ask, served):
    served[1].faults = [lambda handler, body: handler.answer(200, handler.completion(body | {"n": 4}))]
    [reply] = in_order(ask(), [asked("hi", samples=2)])
    assert len(reply.texts) == 2
    assert reply.completion_tokens == 20


def test_an_endpoint_that_refuses_several_answers_to_a_call_is_asked_one_by_one(ask, served):
    served[1].fault_for = lambda body: "400: 'n' must be 1" if body.get("n", 1) > 1 else None
    requests = prompts(4, samples=3)
    first = in_order(ask(at_once=1), requests)
    assert [len(reply.texts) for reply in first] == [3] * 4
    assert [body.get("n") for body in served[1].bodies].count(3) == 1
    assert in_order(ask(), requests) == first
    assert served[1].total == 12


def test_an_endpoint_without_choices_is_asked_three_times(ask, served):
    served[1].fault_for = lambda body: lambda handler, body: handler.answer(200, handler.completion(body, choices=[]))
    with pytest.raises(Rejected, match="gives 0 of 2 answers, in 3 calls"):
        in_order(ask(), [asked("hi", samples=2)])
    assert served[1].total == 3


CHOICES = [
    ({"content": None}, "content_filter", ("", "content_filter")),
    ({"content": ""}, "length", ("", "length")),
    ({"content": None, "tool_calls": [{"id": "1"}]}, "tool_calls", ("", "tool_calls")),
    ({"content": None, "refusal": "I will not."}, "stop", ("", "refusal")),
    ({"content": [{"type": "text", "text": "in "}, {"type": "text", "text": "parts"}]}, "stop", ("in parts", "stop")),
    ({"content": "no reason"}, None, ("no reason", "")),
]


@pytest.mark.parametrize(("message", "reason", "read"), CHOICES)
def test_an_answer_without_text_says_why(ask, served, message, reason, read):
    choices = [{"index": 0, "message": message, "finish_reason": reason}]
    served[1].faults = [lambda handler, body: handler.answer(200, handler.completion(body, choices=choices))]
    [reply] = in_order(ask(), [asked("hi")])
    assert (reply.texts[0], reply.finish_reasons[0]) == read


def test_choices_are_read_in_the_order_of_their_index(ask, served):
    choices = [{"index": i, "message": {"content": str(i)}, "finish_reason": "stop"} for i in (2, 0, 1)]
    served[1].faults = [lambda handler, body: handler.answer(200, handler.completion(body, choices=choices))]
    assert in_order(ask(), [asked("hi", samples=3)])[0].texts == ["0", "1", "2"]


def test_tokens_that_are_not_told_are_unknown_to_the_caller_and_estimated_for_the_budget(ask, served):
    served[1].faults = [lambda handler, body: handler.answer(200, handler.completion(body, usage=None))]
    endpoint = ask()
    [reply] = in_order(endpoint, [asked("123456")])
    assert (reply.prompt_tokens, reply.completion_tokens) == (None, None)
    # prompt: 8 for the message and 6 bytes / 3; answer: "123456: " and 8 hex digits are 16 bytes, 6 tokens
    assert endpoint.spent().tokens == 8 + 2 + 6


def test_the_budget_of_calls_stops_at_the_last_one_and_a_raised_one_goes_on(ask, served):
    served[1].delay_s = 0.02
    got = []
    with pytest.raises(BudgetSpent, match="5 of 5 calls") as caught:  # noqa: PT012
        for answer in ask(budget=Budget(5, 10**9), at_once=8).replies(prompts(20)):
            got.append(answer)
    assert "raise the budget's calls" in caught.value.do
    assert (len(got), served[1].total) == (5, 5)
    with pytest.raises(BudgetSpent):
        in_order(ask(budget=Budget(5, 10**9)), prompts(20))  # another run has no budget of its own
    assert served[1].total == 5
    endpoint = ask(budget=Budget(20, 10**9))
    assert len(in_order(endpoint, prompts(20))) == 20
    assert (served[1].total, endpoint.spent().calls) == (20, 20)
    assert len(in_order(ask(budget=Budget(0, 0)), prompts(20))) == 20  # all there


def test_the_budget_of_tokens_counts_what_was_used_and_stops_before_what_could_be(ask, served):
    # a prompt of 8 bytes is estimated at 8 + 3 tokens; with 20 for the answer a call may take 31, and takes 15
    with pytest.raises(BudgetSpent, match=r"45 of 75 tokens; the next call could take 31 tokens more"):
        in_order(ask(budget=Budget(100, 75), at_once=1), prompts(9, max_tokens=20))
    assert served[1].total == 3
    endpoint = ask(budget=Budget(100, 90), at_once=8)
    with pytest.raises(BudgetSpent):
        in_order(endpoint, prompts(9, max_tokens=20))
    assert endpoint.spent()[:2] == (4, 60)  # 45 + 31 fit into 90, 60 + 31 do not


def test_several_clients_of_one_curation_share_its_budget_to_the_call(ask, served):
    served[1].delay_s = 0.01
    clients = [ask(budget=Budget(10, 10**9), at_once=3) for _ in range(3)]

    def run(number):
        with pytest.raises(BudgetSpent):
            list(clients[number].replies(prompts(30)[number * 10 : number * 10 + 10]))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (served[1].total, ask().spent().calls) == (10, 10)


def test_a_server_that_asks_to_be_left_alone_for_long_is_not_waited_for(ask, served):
    served[1].fault_for = lambda body: lambda handler, body: handler.answer(429, {}, Retry_After="7200")
    with pytest.raises(Unavailable, match="429"):
        in_order(ask(), prompts(3))
    assert len(served[1].bodies) <= 3


def test_another_curation_has_a_budget_of_its_own(ask, served):
    in_order(ask(budget=Budget(3, 10**9)), prompts(3))
    in_order(ask(budget=Budget(3, 10**9), scope="other"), prompts(6)[3:])
    assert served[1].total == 6


def test_a_refused_request_costs_nothing_and_the_others_go_on(ask, served):
    served[1].fault_for = lambda body: "400: too long" if body["messages"][0]["content"] == "prompt 2" else None
    endpoint = ask(budget=Budget(6, 10**9))
    outcomes = in_order(endpoint, prompts(6))
    assert outcomes[2] == ChatRefused("the endpoint answers 400: too long")
    assert sum(isinstance(outcome, ChatReply) for outcome in outcomes) == 5
    assert (endpoint.spent().calls, served[1].total) == (5, 5)
    served[1].fault_for = lambda body: None  # the endpoint was given a longer context since
    assert isinstance(in_order(ask(), prompts(6))[2], ChatReply)


def test_the_key_is_sent_and_stands_nowhere_else(ask, served, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("MY_ENDPOINT", KEY)  # a name that nobody takes for a secret's
    caplog.set_level(logging.DEBUG)
    said = []
    served[1].faults = ["500: key " + KEY]
    served[1].fault_for = lambda body: f"400: bad key {KEY}" if "prompt 1" in str(body) else None
    endpoint = ask(api_key_env="MY_ENDPOINT")
    said += in_order(endpoint, prompts(3))
    served[1].fault_for = lambda body: f"401: Incorrect API key provided: {KEY}"
    with pytest.raises(BadSetting, match="MY_ENDPOINT") as caught:
        in_order(endpoint, [asked("another")])
    assert {headers["authorization"] for headers in served[1].headers} == {f"Bearer {KEY}"}
    kept = b"".join(file.read_bytes() for file in (tmp_path / "store").rglob("*") if file.is_file())
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("dpo")]
    assert KEY not in f"{said}{caught.value!r}{caught.value}{kept}{ours}{caplog.text}"
    assert "***" in str(said)


def test_without_a_key_no_authorization_is_sent(ask, served, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    endpoint = ask()
    assert endpoint.require_there() == [MODEL]
    in_order(endpoint, [asked("hi")])
    assert "authorization" not in served[1].headers[0]


def test_every_try_of_a_call_has_the_same_idempotency_key_and_every_call_its_own(ask, served):
    served[1].faults = ["500", "500"]
    in_order(ask(at_once=1), prompts(2))
    keys = [headers["idempotency-key"] for headers in served[1].headers]
    assert len(keys) == 4
    assert len(set(keys[:3])) == 1
    assert len(set(keys)) == 2


def test_the_record_tells_how_often_a_call_was_sent_in_vain(ask, served, tmp_path):
    served[1].heeds_keys = False
    served[1].faults = ["paid, drop", "paid, 502", "429"]
    endpoint = ask()
    in_order(endpoint, [asked("hi")])
    assert endpoint.spent().lost == 2  # what a server that does not heed the key may have billed once more
    assert served[1].total == 3
    [reply] = [
        json.loads(store(tmp_path).get_bytes(key)) for key in store(tmp_path).list("endpoint/") if "reply" in key
    ]
    assert (reply["tries"], reply["lost"]) == (4, 2)


def test_two_clients_at_once_pay_for_each_call_once(ask, served):
    served[1].delay_s = 0.02
    results = {}

    def run(name):
        results[name] = in_order(ask(), prompts(30))

    threads = [threading.Thread(target=run, args=(name,)) for name in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results[0] == results[1] == results[2]
    assert served[1].total == 30


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("host/v1", "no address"),
        ("ftp://host/v1", "no address"),
        ("http://host:port/v1", "no address"),
        ("https://me:canary@host/v1", "no credentials"),
        ("https://host/v1?key=canary", "no credentials"),
    ],
)
def test_an_address_that_is_none_or_holds_a_secret_is_refused(url, says):
    with pytest.raises(BadSetting, match=says) as caught:
        checked_url(url)
    assert "canary" not in str(caught.value)


def test_one_address_written_in_two_ways_is_one():
    assert checked_url("https://Host:8000/v1/") == checked_url("https://host:8000/v1")


@pytest.mark.parametrize(
    "wrong",
    [
        {"samples": 0},
        {"max_tokens": 0},
        {"temperature": float("nan")},
        {"top_p": 2.0},
        {"extra": {"n": None}},
        {"extra": {"seed": 3}},
    ],
)
def test_what_cannot_be_asked_is_refused_before_it_is(wrong):
    with pytest.raises(BadSetting, match="cannot be asked"):
        asked("hi", **wrong)
