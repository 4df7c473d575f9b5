"""Pictures of the judging page for docs/images, of made-up answers: python -m tests.judging_pictures docs/images"""

import json
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from tasks.judging.served import JudgingOptions, OpenDesk, open_desk
from tests.browser import Page, browser

ANSWERS = [
    (
        "My sourdough is dense and gummy inside. What went wrong?",
        "Most likely it is underproofed, or it was cut while still hot.\n\n"
        "1. Let the dough rise until it has grown by half and a poked finger leaves a dent that fills slowly.\n"
        "2. Bake until the middle reaches 96 °C.\n"
        "3. Wait two hours before you cut it: the crumb sets as it cools.\n\n"
        "If your starter does not double in four to six hours after feeding, feed it twice a day for some days first.",
        "Sourdough is a wonderful tradition that goes back thousands of years! There are many reasons why bread may be "
        "dense. It could be the flour, the water, the oven, the weather or the starter. I would recommend that you try "
        "another recipe and follow it closely. Baking takes practice, so do not give up!",
    ),
    (
        "How many days does February have in 2028?",
        "29. The year 2028 can be divided by four, and is no full century.",
        "February has 28 days.",
    ),
    (
        "Write a polite line that declines a meeting on Friday.",
        "Thank you for the invitation. I cannot make it on Friday; would Monday morning suit you?",
        "I won't come on Friday.",
    ),
]


@contextmanager
def answering(opened: OpenDesk) -> Iterator[None]:
    """The desk's page is served in this process."""
    config = uvicorn.Config(
        opened.app, log_level="error", access_log=False, lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [opened.listener]})
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


def sit_down(tab: Page, url: str, name: str, width: int = 1280, height: int = 860, **options: bool) -> None:
    """A person in a new window of this size, which knows nothing of who sat there before."""
    tab.open("about:blank", width, height)
    tab.open(url, width, height, **options)
    tab.until("!state.busy")
    tab.value("sessionStorage.clear()")
    tab.open("about:blank", width, height)
    tab.open(url, width, height, **options)
    tab.until("document.activeElement.id === 'name'")
    tab.type(name)
    tab.press("Enter")
    tab.until("!state.busy && (!$('item').hidden || !$('question').hidden)")


def say(tab: Page, key: str) -> None:
    """A judgement, and whatever comes after it."""
    before = tab.value("state.page.item.id")
    tab.press(key)
    tab.until(f"!state.busy && state.page.item?.id !== {json.dumps(before)}")


def take(tab: Page, place: Path, folder: Path) -> None:
    """Desktop, phone and dark of comparing, the agreement, a disagreement, and editing."""
    rows = [
        {"prompt": f"{prompt}{' ' * round}", "chosen": good, "rejected": bad}
        for round in range(12)
        for prompt, good, bad in ANSWERS
    ]
    source = place / "support-answers.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with open_desk(str(source), JudgingOptions(to=place / "j.jsonl", overlap=0.5), place) as opened, answering(opened):
        for name, odd in (("Anna", "t"), ("Ben", "x")):
            sit_down(tab, opened.url, name)
            for number in range(16):
                good = tab.value("$('left').textContent").startswith("A") and any(
                    answer[1][:20] in tab.value("$('left').textContent") for answer in ANSWERS
                )
                say(tab, odd if number % 7 == 6 else "ArrowLeft" if good else "ArrowRight")
        longest = "$('prompt').textContent.includes('sourdough')"
        while not tab.value(longest):
            say(tab, "ArrowLeft")
        tab.picture(folder / "judge-desktop.png")
        tab.press("g")
        tab.until("$('report').open")
        tab.value("document.activeElement.blur()")
        tab.picture(folder / "judge-agreement.png")
        for name, width, height, dark in (("phone", 390, 844, False), ("dark", 1280, 860, True)):
            tab.open("about:blank", width, height)
            tab.open(opened.url, width, height, dark=dark)
            tab.until("!state.busy && !$('item').hidden")
            tab.picture(folder / f"judge-{name}.png")
        tab.press("d")
        tab.until("!state.busy && state.view === 'settle'")
    with open_desk(str(source), JudgingOptions("edit", to=place / "e.jsonl"), place) as opened, answering(opened):
        sit_down(tab, opened.url, "Anna")
        while not tab.value(longest):
            say(tab, "f")
        tab.press("e")
        tab.value("$('text').setSelectionRange(0, $('text').value.indexOf('There are'))")
        tab.type("Most likely the dough did not rise long enough. ")
        tab.picture(folder / "judge-edit.png")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch, browser(Path(scratch) / "profile") as tab:
        take(tab, Path(scratch), Path(sys.argv[1]))
