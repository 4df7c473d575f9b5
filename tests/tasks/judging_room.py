"""A desk with people at it, for tests: who says what, without a page."""

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.judging.desk import Desk
from tasks.judging.records import JudgingPage, PageRequest
from tasks.judging.served import JudgingOptions, OpenDesk, open_desk

WINDOWS = itertools.count()


def pairs_file(path: Path, count: int = 10) -> str:
    rows = [{"prompt": f"question {n}?", "chosen": f"yes {n}", "rejected": f"no {n}"} for n in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@contextmanager
def room(source: str, folder: Path, **options: object) -> Iterator[OpenDesk]:
    with open_desk(source, JudgingOptions(**{"to": folder / "j.jsonl", **options}), folder / "home") as opened:
        yield opened


class Someone:
    """A person in a window of their own, who sits down at once unless they are not sure."""

    def __init__(self, desk: Desk, name: str, *, sure: bool = True) -> None:
        self.desk, self.name, self.session = desk, name, f"w{next(WINDOWS)}"
        self.welcome = desk.begin(self.ask(sure=sure))

    def ask(self, **more: object) -> PageRequest:
        return PageRequest.model_validate({"name": self.name, "session": self.session, **more})

    def page(self, view: str = "judge") -> JudgingPage:
        return self.desk.page(self.ask(view=view))

    def says(self, choice: str, view: str = "judge", **more: object) -> JudgingPage:
        """Of what lies before them."""
        item = self.page(view).item
        assert item is not None
        return self.desk.judge(self.ask(item=item.id, choice=choice, view=view, **more))

    def prefers(self, word: str, view: str = "judge") -> JudgingPage:
        """The answer that begins with this word."""
        item = self.page(view).item
        assert item is not None
        return self.says("left" if item.left[0].text.startswith(word) else "right", view)

    def undo(self) -> JudgingPage:
        return self.desk.undo(self.ask())
