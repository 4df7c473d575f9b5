"""Who may ask the page's server, and what every answer of it forbids."""

import socket

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from infra.errors import BadSetting
from infra.pages.loopback import address, guarded, listening, new_token


async def answer(request: Request) -> JSONResponse:
    return JSONResponse(len(await request.body()))


ROUTES = [Route("/", answer), Route("/api/x", answer, methods=["POST"])]


def client(token="secret", host="127.0.0.1:8000"):
    return TestClient(guarded(ROUTES, token), base_url=f"http://{host}")


@pytest.mark.parametrize(
    ("token", "header", "code"),
    [
        ("secret", "secret", 200),
        ("secret", "Secret", 401),
        ("secret", "", 401),
        ("secret", None, 401),
        ("", "", 200),
        ("", "anything", 200),
        ("", None, 401),  # without a token a foreign page may still set no header
    ],
)
def test_only_who_has_the_token_is_answered(token, header, code):
    headers = {} if header is None else {"X-Token": header}
    found = client(token).post("/api/x", content=b"{}", headers=headers)
    assert found.status_code == code
    if code == 401:
        assert found.json()["do"] == "open the whole address that `dpo judge` printed"


@pytest.mark.parametrize(("host", "code"), [("127.0.0.1:1", 200), ("localhost:1", 200), ("evil.example.com", 400)])
def test_another_name_for_this_machine_is_refused(host, code):
    assert client(host=host).get("/").status_code == code


def test_no_answer_lets_a_text_become_a_program():
    headers = client().get("/").headers
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


def test_a_body_that_is_too_large_is_refused():
    found = client().post("/api/x", content=b"x" * (1 << 20) + b"x", headers={"X-Token": "secret"})
    assert found.status_code == 413


def test_a_port_that_is_taken_says_so_and_0_takes_one_that_is_free():
    with listening(0) as listener:
        port = listener.getsockname()[1]
        assert listener.getsockname()[0] == "127.0.0.1"
        with pytest.raises(BadSetting, match="cannot be used") as caught, listening(port):
            pass
        assert caught.value.where == f"127.0.0.1:{port}"
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port))


def test_the_token_stands_where_no_request_carries_it():
    token = new_token()
    assert address(80, token) == f"http://127.0.0.1:80/#{token}"
    assert len({new_token() for _ in range(20)}) == 20
    assert address(80, "") == "http://127.0.0.1:80/"
