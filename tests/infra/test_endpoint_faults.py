"""An endpoint that is away, slow, broken or answers nonsense: which request suffers, what is said, what is kept."""

import socket
import ssl
import subprocess
import threading
from contextlib import suppress

import pytest

from infra.endpoint import caller
from infra.endpoint.chat import ChatRefused, ChatReply, ChatRequest
from infra.endpoint.client import Endpoint
from infra.endpoint.spending import Budget
from infra.errors import BadSetting, InfraError, Rejected, Unavailable
from infra.store.folder import FolderStore
from tests.endpoint_server import MODEL, loopback_endpoint


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(caller, "FIRST_S", 0.01)


@pytest.fixture
def served():
    with loopback_endpoint() as (url, bill):
        yield url, bill


def endpoint_at(url, tmp_path, **options):
    options = {"budget": Budget(1000, 10**9), "scope": "test", "timeout_s": 60.0, "retries": 2, "at_once": 4} | options
    return Endpoint(url, options.pop("model", MODEL), FolderStore(tmp_path / "store"), **options)


def prompts(count):
    return [ChatRequest([{"role": "user", "content": f"prompt {number}"}]) for number in range(count)]


def outcomes_of(endpoint, count=6):
    outcomes = dict(endpoint.replies(prompts(count)))
    return [outcomes[number] for number in range(count)]


@pytest.mark.parametrize("fault", ["429", "500", "503", "408", "409", "nonsense", "cut", "drop", "paid, drop"])
def test_what_passes_is_tried_again_and_billed_once(served, tmp_path, fault):
    served[1].faults = [fault, fault]
    endpoint = endpoint_at(served[0], tmp_path)
    assert all(isinstance(outcome, ChatReply) for outcome in outcomes_of(endpoint))
    assert (served[1].total, endpoint.spent().calls, endpoint.spent().in_doubt) == (6, 6, 0)
    assert len(served[1].bodies) == 8


@pytest.mark.parametrize("fault", ["400", "401", "403", "404", "413", "422", "html"])
def test_what_no_second_try_can_help_is_tried_once(served, tmp_path, fault):
    served[1].fault_for = lambda body: fault
    with pytest.raises(InfraError):
        list(endpoint_at(served[0], tmp_path).replies(prompts(1)))
    assert len(served[1].bodies) == 1


@pytest.mark.parametrize("fault", ["500: a bug", "nonsense", "drop", "400: too long", "403: flagged"])
def test_where_one_prompt_fails_the_run_goes_on(served, tmp_path, fault):
    outcomes_of(endpoint_at(served[0], tmp_path), 1)
    served[1].fault_for = lambda body: fault if body["messages"][0]["content"] == "prompt 3" else None
    outcomes = outcomes_of(endpoint_at(served[0], tmp_path))
    assert [isinstance(outcome, ChatRefused) for outcome in outcomes] == [False, False, False, True, False, False]
    assert served[1].total == 5


def test_a_prompt_without_an_answer_in_time_is_refused_and_stays_counted_until_it_is_answered(served, tmp_path):
    served[1].fault_for = lambda body: "trickle" if body["messages"][0]["content"] == "prompt 3" else None
    endpoint = endpoint_at(served[0], tmp_path, timeout_s=0.3, retries=0)
    assert outcomes_of(endpoint)[3] == ChatRefused("no whole answer within 0.3 s")
    assert endpoint.spent()[::2] == (6, 1)
    served[1].fault_for = lambda body: None
    endpoint = endpoint_at(served[0], tmp_path)
    assert isinstance(outcomes_of(endpoint)[3], ChatReply)
    assert (endpoint.spent().calls, endpoint.spent().in_doubt, endpoint.spent().lost) == (6, 0, 1)
    assert endpoint.counts().asked_again == 1


FOR_ALL = {
    "401: who are you": (BadSetting, "401: who are you", "OPENAI_API_KEY"),
    "403: not you": (BadSetting, "403: not you", "OPENAI_API_KEY"),
    "402: pay first": (BadSetting, "402: pay first", "top up the account"),
    "404: no such model": (BadSetting, "no such model; the endpoint lists tiny", "name one of them instead of 'tiny'"),
    "400: bad temperature": (Rejected, "refuses every request, .*: bad temperature", "correct what it says"),
    "429: slow down": (Unavailable, "429: slow down", "ask with fewer calls at once"),
    "503: loading": (Unavailable, "503: loading", "run the same command again"),
    "html": (BadSetting, "a page of HTML: Welcome", "ends in /v1"),
    "nonsense": (Unavailable, "no JSON object: tra la la; no answer to 20 requests", "the endpoint's log"),
    "500: bug": (Unavailable, "500: bug; no answer to 20 requests", "the endpoint's log"),
}


@pytest.mark.parametrize("fault", FOR_ALL)
def test_where_all_fail_the_run_stops_and_says_why_where_and_what_to_do(served, tmp_path, fault):
    kind, says, do = FOR_ALL[fault]
    served[1].fault_for = lambda body: fault
    with pytest.raises(kind, match=says) as caught:
        outcomes_of(endpoint_at(served[0], tmp_path), 40)
    assert do in caught.value.do
    assert caught.value.where == f"{served[0]} (tiny)"
    assert len(served[1].bodies) <= 3 * (20 + 4)  # it does not go through them all


@pytest.mark.parametrize(
    "document", [{"choices": "none"}, {"choices": [{}]}, {"choices": [{"message": {"content": 3}}]}]
)
def test_an_answer_with_another_schema_refuses_the_request(served, tmp_path, document):
    served[1].faults = [lambda handler, body: handler.answer(200, document)]
    refused = [outcome for outcome in outcomes_of(endpoint_at(served[0], tmp_path)) if isinstance(outcome, ChatRefused)]
    assert len(refused) == 1
    assert "is no chat completion" in refused[0].reason


def test_an_error_in_the_clothes_of_a_success_is_read(served, tmp_path):
    served[1].faults = [lambda handler, body: handler.answer(200, {"error": {"code": 502, "message": "provider"}})]
    assert all(isinstance(outcome, ChatReply) for outcome in outcomes_of(endpoint_at(served[0], tmp_path)))


def test_after_many_refusals_without_an_answer_nothing_more_is_asked(served, tmp_path):
    served[1].fault_for = lambda body: "400: no"
    with pytest.raises(Rejected, match="20 of 20"):
        outcomes_of(endpoint_at(served[0], tmp_path), 200)
    assert len(served[1].bodies) < 30


def test_many_refusals_beside_answers_stop_nothing(served, tmp_path):
    served[1].fault_for = lambda body: None if body["messages"][0]["content"] == "prompt 0" else "400: no"
    outcomes = outcomes_of(endpoint_at(served[0], tmp_path, at_once=1), 25)
    assert sum(isinstance(outcome, ChatRefused) for outcome in outcomes) == 24
    outcomes = outcomes_of(endpoint_at(served[0], tmp_path, at_once=1), 25)  # its one answer is in the record now
    assert sum(isinstance(outcome, ChatRefused) for outcome in outcomes) == 24


def test_an_endpoint_that_goes_away_is_named_and_what_it_gave_is_kept(tmp_path):
    with loopback_endpoint() as (url, _):
        endpoint = endpoint_at(url, tmp_path)
        outcomes_of(endpoint, 3)
        endpoint.close()
    with pytest.raises(Unavailable, match="the endpoint is away") as caught:
        outcomes_of(endpoint_at(url, tmp_path), 6)
    assert caught.value.where == f"{url} (tiny)"
    endpoint = endpoint_at(url, tmp_path)
    assert len(outcomes_of(endpoint, 3)) == 3
    assert endpoint.spent() == (3, 45, 0, 0)  # nothing is counted for calls that were never sent


def test_an_endpoint_that_takes_no_answer_to_any_request_is_slow(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        with pytest.raises(Unavailable, match=r"no whole answer within 0.2 s") as caught:
            outcomes_of(endpoint_at(url, tmp_path, timeout_s=0.2, retries=1))
    assert "timeout_s" in caught.value.do


def test_a_redirect_is_not_followed_with_the_key(served, tmp_path):
    with loopback_endpoint() as (elsewhere, other):
        to = f"{elsewhere}/chat/completions?token=canary99"
        served[1].fault_for = lambda body: lambda handler, body: handler.answer(307, {}, Location=to)
        with pytest.raises(BadSetting, match=f"moved to {elsewhere}") as caught:
            outcomes_of(endpoint_at(served[0], tmp_path))
        assert other.bodies == []
        assert "canary99" not in str(caught.value)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Signed by nobody whom anybody trusts."""
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout key.pem -out cert.pem"
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return folder


def accept(server):
    with suppress(OSError):  # the client hangs up
        server.accept()


def test_a_certificate_that_nobody_trusts_is_named(certificate, tmp_path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    with socket.create_server(("127.0.0.1", 0)) as plain, context.wrap_socket(plain, server_side=True) as server:
        thread = threading.Thread(target=accept, args=(server,))
        thread.start()
        with pytest.raises(BadSetting, match=r"no TLS connection: .*CERTIFICATE_VERIFY_FAILED") as caught:
            endpoint_at(f"https://127.0.0.1:{server.getsockname()[1]}/v1", tmp_path).require_there()
        thread.join()
    assert "SSL_CERT_FILE" in caught.value.do


def test_https_to_a_server_that_speaks_http_is_named(served, tmp_path):
    with pytest.raises(BadSetting, match="no TLS connection"):
        endpoint_at(served[0].replace("http:", "https:"), tmp_path).require_there()


def test_before_anything_is_spent_the_endpoint_is_asked_what_it_serves(served, tmp_path, caplog):
    assert endpoint_at(served[0], tmp_path).require_there() == [MODEL]
    assert caplog.records == []
    endpoint_at(served[0], tmp_path, model="typo").require_there()
    assert "model_not_listed model='typo'" in caplog.text
    served[1].models = None  # an endpoint that does not tell
    assert endpoint_at(served[0], tmp_path, model="typo").require_there() is None
    assert served[1].bodies == []


def test_an_address_of_nothing_is_told_before_anything_is_spent(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(Unavailable, match=r"the endpoint is away: .*refused"):
        endpoint_at(url, tmp_path).require_there()


def test_a_key_with_a_line_end_inside_is_refused_without_being_shown(served, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "canary\ncanary")
    with pytest.raises(BadSetting, match="a character that no key has") as caught:
        endpoint_at(served[0], tmp_path)
    assert "canary" not in str(caught.value)
