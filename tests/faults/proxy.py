"""A proxy between S3's clients and a real S3 server that does to chosen requests what networks and servers do.

It passes the Host header on, so that signatures hold. One fault concerns one request; which, a `Plan` decides by the
request's number. What fired is counted.
"""

import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

READS, WRITES = ("GET", "HEAD"), ("PUT", "POST", "DELETE")
ERRORS = {"error 500": (500, "InternalError"), "slow down 503": (503, "SlowDown")}
FAULTS = {  # fault -> methods of the requests it can happen to
    "error 500": (*READS, *WRITES),
    "slow down 503": (*READS, *WRITES),
    "no answer": (*READS, *WRITES),
    "reset": (*READS, *WRITES),
    "cut answer": ("GET",),
    "wrong bytes read": ("GET",),
    "wrong bytes written": ("PUT",),
    "answer lost after the write": WRITES,
}
SILENCE_S = 40  # longer than the client listens


@dataclass
class Plan:
    """Which request suffers what: from request number N on, the next one that the fault can happen to."""

    due: list[tuple[int, str]] = field(default_factory=list)
    seen: int = 0
    fired: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def decide(self, method: str) -> str | None:
        """The fault of this request. Called once a request."""
        with self.lock:
            self.seen += 1
            for planned in self.due:
                number, fault = planned
                if number <= self.seen and method in FAULTS[fault]:
                    self.due.remove(planned)
                    self.fired[fault] += 1
                    return fault
            return None

    def unfire(self, fault: str) -> None:
        """It had nothing to bite on (an empty body): the next request has it."""
        with self.lock:
            self.fired[fault] -= 1
            self.due.insert(0, (0, fault))


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    server: "Proxy"

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def __getattr__(self, name: str):
        if name.startswith("do_"):
            return self.forward
        raise AttributeError(name)

    def forward(self) -> None:
        plan = self.server.plan
        body = self._body()
        fault = plan.decide(self.command)
        if fault in ERRORS:
            self._refuse(*ERRORS[fault])
            return
        if fault == "no answer":
            self.server.closing.wait(SILENCE_S)
            self.close_connection = True
            return
        if fault == "reset":
            self._reset()
            return
        if fault == "wrong bytes written":
            if body:
                body = flip(body, len(body) // 2)
            else:
                plan.unfire(fault)
        answer, data = self._ask(body)
        if fault == "answer lost after the write":
            self._reset()
            return
        if fault in ("cut answer", "wrong bytes read") and (not data or answer.status >= 300):
            plan.unfire(fault)
        elif fault == "wrong bytes read":
            data = flip(data, len(data) // 2)
        self._answer(answer, data, cut=fault == "cut answer" and answer.status < 300)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _ask(self, body: bytes) -> tuple[HTTPResponse, bytes]:
        """The real server's answer."""
        connection = HTTPConnection(*self.server.upstream, timeout=60)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("transfer-encoding", "content-length", "connection", "expect"):
                    connection.putheader(name, value)
            if body or self.command in ("PUT", "POST"):
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()

    def _answer(self, answer: HTTPResponse, data: bytes, *, cut: bool) -> None:
        self.send_response_only(answer.status, answer.reason)
        length = answer.headers.get("Content-Length") if self.command == "HEAD" else str(len(data))
        for name, value in answer.headers.items():
            if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", length)
        self.end_headers()
        if cut and data:
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self.close_connection = True
        elif self.command != "HEAD":
            self.wfile.write(data)

    def _refuse(self, status: int, code: str) -> None:
        text = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>injected</Message></Error>'
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", "0" if self.command == "HEAD" else str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.encode())

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Quietly."""


class Proxy(ThreadingHTTPServer):
    """Listens on loopback for requests to `upstream`."""

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        self.upstream = (str(parts.hostname), int(parts.port or 80))
        self.plan = Plan()
        self.closing = threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is none."""


@contextmanager
def proxy_to(upstream: str) -> Iterator[Proxy]:
    """A running proxy."""
    proxy = Proxy(upstream)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.closing.set()
        proxy.shutdown()
        proxy.server_close()


def flip(data: bytes, at: int, bit: int = 0) -> bytes:
    """`data` with one bit the other way."""
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
