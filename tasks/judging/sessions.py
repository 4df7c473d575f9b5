"""Who sits at the desk: one window a name, and the item that lies before each person."""

import time
import unicodedata
from collections import Counter
from collections.abc import Iterable

AWAY_S = 1800.0  # without a sign of somebody, their item may go to others


class Refusal(Exception):
    """Something that cannot be done now, in words for the person at the page; nothing was changed."""

    def __init__(self, says: str, do: str, *, kind: str = "") -> None:
        super().__init__(says)
        self.says, self.do, self.kind = says, do, kind


class Sessions:
    """Windows by name. `known`: names that are in the file already, which keep their spelling.

    A session is WINDOW.PAGE: the same window, loaded anew, is another page of it.
    """

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._spelling = {name.casefold(): name for name in known}
        self._window: dict[str, str] = {}
        self._last: dict[str, str] = {}  # also of those who left: a page that is loaded anew
        self._held: dict[str, str] = {}
        self._seen: dict[str, float] = {}

    def spelt(self, name: str) -> str:
        """A name as it was first spelt: no spaces at its ends, capital letters aside. Raises Refusal."""
        plain = " ".join(unicodedata.normalize("NFC", name).split())
        if not plain or not all(char.isprintable() for char in plain):
            raise Refusal("a name is missing", "type your name")
        return self._spelling.setdefault(plain.casefold(), plain)

    def in_use(self, name: str, session: str) -> bool:
        """Whether this person judges in another window."""
        return name in self._window and _window(self._window[name]) != _window(session)

    def is_here(self, name: str, session: str) -> bool:
        """Whether this is the person's window, as it was loaded last: a late word of an earlier page is not."""
        return self._window.get(name) == session

    def was_here(self, name: str, session: str) -> bool:
        """Whether nobody else sat down under this name since this window did."""
        return name in self._last and _window(self._last[name]) == _window(session)

    def begin(self, name: str, session: str) -> None:
        """From now on this is the person's one window."""
        if not session:
            raise Refusal("the window has no name of its own", "reload the page")
        self._window[name] = self._last[name] = session
        self._seen[name] = time.monotonic()

    def leave(self, name: str, session: str) -> None:
        """The window was closed."""
        if name and self.is_here(self.spelt(name), session):
            self._window.pop(self.spelt(name), None)
            self._held.pop(self.spelt(name), None)

    def require(self, name: str, session: str) -> str:
        """The person of a window. Raises Refusal where another window took the name over, or none began."""
        spelt = self.spelt(name)
        if not self.is_here(spelt, session):
            taken = spelt in self._window
            says = f"{spelt} went on in another window" if taken else "this window has not begun"
            raise Refusal(says, "judge on there, or go on here", kind="session")
        self._seen[spelt] = time.monotonic()
        return spelt

    def hold(self, name: str, item: str) -> None:
        """Lay an item before a person."""
        self._held[name] = item

    def held(self, name: str) -> str:
        """What lies before a person; empty: nothing."""
        return self._held.get(name, "")

    def release(self, name: str) -> None:
        """Take it away."""
        self._held.pop(name, None)

    def held_by_others(self, name: str) -> Counter[str]:
        """What lies before others who are there, and before how many of them."""
        now = time.monotonic()
        return Counter(
            item for other, item in self._held.items() if other != name and now - self._seen.get(other, now) < AWAY_S
        )


def _window(session: str) -> str:
    return session.partition(".")[0]
