"""A headless Chromium, driven over its debugging protocol: what a page logs, what it asks for, how it looks."""

import base64
import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE_S = 180  # for an answer: a machine at work may be slow
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--hide-scrollbars",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
)


@dataclass
class Page:
    """One tab. `requests` are the addresses it asked for, `complaints` what it logged as a warning or an error."""

    socket: ClientConnection
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """One command and its answer; what happens in between is noted."""
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while (message := json.loads(self.socket.recv(timeout=PATIENCE_S))).get("id") != number:
            self._note(message)
        assert "error" not in message, (method, message["error"])
        return message["result"]

    def open(self, page: Path | str, width: int, height: int, *, dark: bool = False, media: str = "screen") -> None:
        """Load a file or an address in a window of this size (CSS pixels) and wait until all of it is there."""
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.ask(f"{domain}.enable")
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self.ask("Page.navigate", url=page if isinstance(page, str) else page.as_uri())
        while (message := json.loads(self.socket.recv(timeout=PATIENCE_S))).get("method") != "Page.loadEventFired":
            self._note(message)

    def value(self, expression: str) -> Any:
        """What a JavaScript expression gives."""
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def press(self, key: str, *, ctrl: bool = False) -> None:
        """A key, by the name that events have for it, held and let go."""
        more: dict[str, Any] = {"key": key, "modifiers": 2 if ctrl else 0}
        if key == "Enter":
            more |= {"text": "\r", "windowsVirtualKeyCode": 13}
        elif len(key) == 1 and not ctrl:
            more["text"] = key
        self.ask("Input.dispatchKeyEvent", type="keyDown", **more)
        self.ask("Input.dispatchKeyEvent", type="keyUp", key=key)

    def type(self, text: str) -> None:
        """Text where the cursor is."""
        self.ask("Input.insertText", text=text)

    def until(self, expression: str) -> Any:
        """The first value of a JavaScript expression that is something, within the page's own patience."""
        waits = f"""new Promise((done, fail) => {{
          const end = Date.now() + 30000;
          (function look() {{
            const found = {expression};
            if (found) return done(found);
            if (Date.now() > end) return fail(new Error('nothing came'));
            setTimeout(look, 5);
          }})();
        }})"""
        found = self.ask("Runtime.evaluate", expression=waits, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, (expression, found)
        return found["result"].get("value")

    def picture(self, file: Path, *, whole: bool = False) -> None:
        """A PNG of the window, or of the whole page."""
        data = self.ask("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        file.write_bytes(base64.b64decode(data))

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif message.get("method") == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(params["entry"]["text"])
        elif message.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(params["exceptionDetails"]["text"])


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """A browser of its own with one tab."""
    assert PROGRAM
    command = [PROGRAM, *QUIET, f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr
        said = iter(process.stderr.readline, "")
        port = next(found[1] for line in said if (found := re.search(r"listening on ws://127.0.0.1:(\d+)/", line)))
        with connect(_tab(port), max_size=None, ping_interval=None) as socket:  # who is slow is not gone
            yield Page(socket)
    finally:
        process.terminate()
        process.wait()
        process.stderr.close()


def _tab(port: str) -> str:
    from urllib.request import urlopen

    with urlopen(f"http://127.0.0.1:{port}/json", timeout=10) as answer:
        tabs: list[dict[str, str]] = json.load(answer)
    return next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
