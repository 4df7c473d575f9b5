"""Approval in a real browser, on Prefect's own page: python -m tests.e2e.form_in_browser [FOLDER FOR A PICTURE]

A server, a worker, a store on S3 and the deployment `approve`; a version that waits; its form is opened, filled in by
keys and sent; the version is champion, and the ledger says who. Then another version's form is open while `dpo approve`
is faster: the form ends and says so. Some minutes, so it is no part of the suite; what it holds there is in
test_schedule.py (the form, filled in by request) and tasks/test_forms.py (its end).
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from tests.browser import Page, browser
from tests.e2e.test_schedule import Orchestra, _log, _wait_for_end, _wait_for_server, running
from tests.s3_server import BUCKET, S3Server, run_s3_server

PREFECT = [sys.executable, "-m", "prefect"]
RESUME = "[...document.querySelectorAll('button')].find(e => e.innerText.trim() === 'Resume')"
DIALOG = "document.querySelector('[role=dialog]')"


def until(seen: Callable[[], Any], what: str, patience_s: float = 120) -> Any:
    """What `seen` gives, once it gives something."""
    end = time.monotonic() + patience_s
    while not (found := seen()):
        assert time.monotonic() < end, f"never seen: {what}"
        time.sleep(0.3)
    return found


def open_form(tab: Page, page: str) -> str:
    """Open a suspended run's page and its form, as a person does; what the form says."""
    tab.open(page, 1280, 900)
    until(lambda: tab.value(f"!!({RESUME})"), "the button Resume")
    tab.value(f"{RESUME}.click()")
    until(lambda: tab.value(f"{DIALOG}?.querySelectorAll('textarea').length === 2"), "the form")
    return str(tab.value(f"{DIALOG}.innerText"))


def fill_in(tab: Page, **words: str) -> None:
    """`approve` is chosen, `by` and `why` are typed."""
    choose = (
        f"(e => {{ e.value = '{words.pop('approve')}'; e.dispatchEvent(new Event('change', {{bubbles: true}})); }})"
    )
    tab.value(f"{choose}({DIALOG}.querySelector('select'))")
    for place, text in enumerate(words.values()):
        tab.value(f"{DIALOG}.querySelectorAll('textarea')[{place}].focus()")
        tab.ask("Input.insertText", text=text)


def submit(tab: Page) -> None:
    """Send the form, and wait until it is gone: what is refused stays open, and a busy server is asked once more."""
    tab.requests.clear()
    for patience_s in (60.0, 300.0):
        tab.value(f"[...{DIALOG}.querySelectorAll('button')].find(e => e.innerText.trim() === 'Submit').click()")
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            if tab.value(f"!({DIALOG})"):
                return
            time.sleep(0.3)
    raise AssertionError((tab.value("document.body.innerText"), tab.requests, tab.complaints))


def run_page(api: str, run_id: str) -> str:
    """The page of a run."""
    return f"{api.removesuffix('/api')}/runs/flow-run/{run_id}"


def prepare(home: Path, port: int, s3: S3Server) -> dict[str, str]:
    """Point this process, and all that it starts, to a home, a server and a store of its own."""
    os.environ.update(
        {
            **s3.environment(),
            "DPO_STORE_URL": f"s3://{BUCKET}/dpo",
            "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
            "PREFECT_HOME": str(home / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DPO_HOME": str(home / "dpo"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{home / 'dpo' / 'mlflow.db'}",
            "DO_NOT_TRACK": "true",
            "PYTHONWARNINGS": "ignore",
        }
    )
    (home / "dpo").mkdir()
    return dict(os.environ)


def form_of(orchestra: Orchestra, version: int) -> str:
    """The suspended run that asks for a version, once it is there."""

    def found() -> str:
        runs = orchestra.post("/flow_runs/filter", {"flows": {"name": {"any_": ["approve"]}}})
        return next((run["id"] for run in runs if run["parameters"].get("version") == version), "")

    run_id: str = until(found, "a run of approve")
    state = _wait_for_end(orchestra, run_id, ends=("PAUSED", "FAILED", "CRASHED"))
    assert state["type"] == "PAUSED", _log(orchestra, run_id)
    return run_id


def both_ways(orchestra: Orchestra, tab: Page, pictures: Path | None) -> None:
    """The whole story, asserted."""
    from infra.registry import versions
    from infra.settings import load_settings, prepare_environment
    from infra.store import open_store
    from tasks.commands import promotion
    from tasks.runtime.approval import TAG
    from tests.letters import register_letters

    prepare_environment(load_settings())
    store = open_store(load_settings())
    register_letters("athene", "ab", tags={letter: {TAG: "7"} for letter in "ab"})

    promotion.promote(store, "athene", 1, who="ada", why="behaviour/identity rose from 0 to 95.8 %")
    run_id = form_of(orchestra, 1)
    said = open_form(tab, run_page(orchestra.api, run_id))
    assert "Shall version 1 of athene replace no champion? ada asked for it" in said
    fill_in(tab, approve="yes", by="grace", why="read 30 answers")
    if pictures:
        tab.picture(pictures / "approval-form.png")
    submit(tab)
    state = _wait_for_end(orchestra, run_id)
    assert state["type"] == "COMPLETED", f"{state}\n{_log(orchestra, run_id)}"
    last = promotion.history(store, "athene").entries[-1]
    assert (last.kind, last.version, last.who, last.why) == ("approve", 1, "grace", "read 30 answers")
    assert getattr(versions.by_alias("athene", "champion"), "number", None) == 1
    sys.stdout.write("filled in on the page: version 1 is champion, by grace\n")

    promotion.promote(store, "athene", 2, who="ada", why="it rose again")
    run_id = form_of(orchestra, 2)
    promotion.approve(store, "athene", 2, by="linus", why="faster")
    state = orchestra.get(f"/flow_runs/{run_id}")["state"]
    assert (state["type"], state["name"]) == ("CANCELLED", "AlreadyApproved"), state
    tab.open(run_page(orchestra.api, run_id), 1280, 900)
    until(lambda: "AlreadyApproved" in str(tab.value("document.body.innerText")), "the state's name on the page")
    assert not tab.value(f"!!({RESUME})"), "there is nothing left to fill in"
    sys.stdout.write(f"overtaken by dpo approve: {state['name']}: {state['message']}\n")


def main(pictures: Path | None) -> None:
    import socket

    with ExitStack() as running_here:
        scratch = partial(tempfile.TemporaryDirectory, ignore_cleanup_errors=True)
        home, objects = (Path(running_here.enter_context(scratch())) for _ in range(2))
        s3 = running_here.enter_context(run_s3_server(objects))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = prepare(home, port, s3)
        orchestra = Orchestra(environment["PREFECT_API_URL"], environment)
        server = [*PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        worker = [*PREFECT, "worker", "start", "--pool", "dpo-pool", "--type", "process"]
        running_here.enter_context(running(server, environment, home / "server.log"))
        _wait_for_server(orchestra, home / "server.log", patience_s=400)
        orchestra.prefect("work-pool", "create", "dpo-pool", "--type", "process")
        orchestra.prefect("deploy", "--name", "approve")
        running_here.enter_context(running(worker, environment, home / "worker.log"))
        both_ways(orchestra, running_here.enter_context(browser(home / "profile")), pictures)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
