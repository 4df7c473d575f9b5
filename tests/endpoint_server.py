"""An OpenAI-compatible endpoint on loopback that keeps a bill, heeds Idempotency-Key, and misbehaves when told to."""

import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODEL = "tiny"
Fault = str | Callable[["Handler", dict], None]


def text_of(body: dict, index: int) -> str:
    """The answer is a function of the prompt, the seed and the place among the choices."""
    prompt = body["messages"][-1]["content"]
    return f"{prompt}: " + hashlib.sha256(f"{prompt}/{body.get('seed')}/{index}".encode()).hexdigest()[:8]


class Bill:
    """What the endpoint saw. `faults` are used up, one a call; `fault_for` decides by the body where none is left."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.billed: Counter[str] = Counter()  # by Idempotency-Key
        self.kept: dict[str, bytes] = {}  # what a key was answered with
        self.bodies: list[dict] = []
        self.headers: list[dict[str, str]] = []
        self.faults: list[Fault] = []
        self.fault_for: Callable[[dict], Fault | None] = lambda body: None
        self.heeds_keys = True
        self.most_choices = 100
        self.busy = self.busiest = 0
        self.models: list[str] | None = [MODEL]
        self.delay_s = 0.0

    @property
    def total(self) -> int:
        return sum(self.billed.values())


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def bill(self) -> Bill:
        return self.server.bill

    def log_message(self, *_arguments) -> None:
        pass

    def do_GET(self) -> None:
        if self.bill.models is None:
            self.answer(404, {"detail": "Not Found"})
        else:
            self.answer(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in self.bill.models]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        bill = self.bill
        with bill.lock:
            bill.bodies.append(body)
            bill.headers.append({name.lower(): value for name, value in self.headers.items()})
            fault = bill.faults.pop(0) if bill.faults else bill.fault_for(body)
            bill.busy += 1
            bill.busiest = max(bill.busy, bill.busiest)
        try:
            time.sleep(bill.delay_s)
            if callable(fault):
                fault(self, body)
            else:
                self.fail(fault, body) if fault else self.answer(200, self.completion(body))
        finally:
            with bill.lock:
                bill.busy -= 1

    def completion(self, body: dict, **changes: object) -> bytes:
        """A paid answer; to a key that was answered before the same, unpaid."""
        key, bill = self.headers.get("Idempotency-Key", ""), self.bill
        with bill.lock:
            if bill.heeds_keys and key in bill.kept:
                return bill.kept[key]
            bill.billed[key] += 1
            count = min(body.get("n", 1), bill.most_choices)
            choices = [
                {"index": i, "finish_reason": "stop", "message": {"role": "assistant", "content": text_of(body, i)}}
                for i in range(count)
            ]
            document = {"id": "x", "object": "chat.completion", "model": MODEL, "choices": choices}
            document["usage"] = {"prompt_tokens": 10, "completion_tokens": 5 * count, "total_tokens": 10 + 5 * count}
            document |= changes
            bill.kept[key] = json.dumps({name: value for name, value in document.items() if value is not None}).encode()
            return bill.kept[key]

    def answer(self, status: int, content: object, **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def fail(self, fault: str, body: dict) -> None:
        """`429`, `500: words`: that status. `paid, ...` bills first. Else one of the names below."""
        if fault.startswith("paid, "):
            self.completion(body)
            fault = fault.removeprefix("paid, ")
        status, _, words = fault.partition(": ")
        if status.isdigit():
            self.answer(int(status), {"error": {"message": words or "no", "param": None}}, Retry_After="0")
        elif fault == "html":
            self.answer(200, b"<!DOCTYPE html><html><body>Welcome</body></html>", Content_Type="text/html")
        elif fault == "nonsense":
            self.answer(200, b"tra la la")
        elif fault == "cut":  # fewer bytes than promised
            data = self.completion(body)
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
        elif fault == "drop":
            self.close_connection = True
        elif fault == "trickle":  # a byte now and then: no read ever waits for long
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            for _ in range(1000):
                time.sleep(0.05)
                self.wfile.write(b" ")
                self.wfile.flush()
        elif fault == "slow":
            time.sleep(3)
            self.close_connection = True
        else:
            raise AssertionError(fault)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    bill: Bill

    def handle_error(self, *_arguments) -> None:  # a client that was killed, or gave up
        pass


@contextmanager
def loopback_endpoint():
    """Its address (.../v1) and its bill."""
    server = Server(("127.0.0.1", 0), Handler)
    server.bill = Bill()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", server.bill
    finally:
        server.shutdown()
        server.server_close()
