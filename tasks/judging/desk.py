"""The desk at which people judge: hands out one item at a time, and keeps what is said before it hands out the next."""

import logging
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dpo_core.data.messages import as_compared
from dpo_core.data.pairs import Message
from dpo_core.errors import InputError
from dpo_core.judging.items import JudgedItem, JudgingMode
from dpo_core.judging.lines import (
    EDITED,
    Judged,
    JudgedChoice,
    Judgement,
    Line,
    Opened,
    Undo,
    add_lines,
    whole_lines,
    written,
)
from dpo_core.judging.lots import Lots
from dpo_core.judging.verdicts import disagreements
from infra.pages.append_only import AppendOnlyFile
from tasks.judging.opening import JudgedSource
from tasks.judging.records import JudgingPage, PageRequest, View, Welcome
from tasks.judging.sessions import Refusal, Sessions
from tasks.judging.shown import progress_of, remark, shown

if TYPE_CHECKING:
    from dpo_core.evaluate.judges.people import PeopleReport

log = logging.getLogger("dpo.judge")
OPPOSITE: dict[str, JudgedChoice] = {"first": "second", "second": "first"}


class Desk:
    """One source, one file of judgements, any number of people. Calls come one after the other."""

    def __init__(self, source: JudgedSource, file: AppendOnlyFile, mode: JudgingMode, lots: Lots) -> None:
        self.source, self.file, self.mode, self.lots = source, file, mode, lots
        self.judged = Judged()
        add_lines(self.judged, file.data, str(file.path))
        self._require_mode()
        file.heal(whole_lines(file.data))
        self.order = lots.order(source.items.values())
        self.wanted = {name: lots.wanted(name) for name in self.order}
        self.sessions = Sessions({said.by for said in self.judged.judgements.values()})
        self.passed: dict[str, set[str]] = {}  # disagreements that a person left alone
        self.former: dict[str, Judgement] = {}  # what a person took back last
        self.notices = self._changes()
        opened = Opened(
            source=source.name,
            sha256=source.sha256,
            items=len(source.items),
            mode=mode,
            seed=lots.seed,
            overlap=lots.overlap,
            when=_now(),
        )
        if not self.judged.opened or self.judged.opened[-1].model_dump(exclude={"when"}) != opened.model_dump(
            exclude={"when"}
        ):
            self._add(opened)

    def begin(self, asked: PageRequest) -> Welcome:
        """A person sits down. Nothing begins while it is open whether a name is that of somebody else."""
        name = self.sessions.spelt(asked.name)
        welcome = Welcome(name=name, mode=self.mode, source=self.source.name)
        if not asked.sure and self.sessions.in_use(name, asked.session):
            says = f"{name} is judging in another window now. If that is you, go on here: the other window stops."
            return welcome.model_copy(update={"question": "in_use", "says": says})
        mine = self.judged.people().get(name, [])
        if not asked.sure and mine and not self.sessions.was_here(name, asked.session):
            says = f"{name} has judged here before, {len(mine)} times, last on {mine[-1].when[:10]}. Is that you?"
            return welcome.model_copy(update={"question": "known", "says": says})
        self.sessions.begin(name, asked.session)
        return welcome

    def leave(self, asked: PageRequest) -> None:
        """A person went; what lay before them may go to others."""
        self.sessions.leave(asked.name, asked.session)

    def page(self, asked: PageRequest) -> JudgingPage:
        """What this person sees now; the same until they say something."""
        name = self.sessions.require(asked.name, asked.session)
        return self._page(name, asked.view)

    def judge(self, asked: PageRequest) -> JudgingPage:
        """Keep what a person says of an item, then show the next one."""
        name = self.sessions.require(asked.name, asked.session)
        item = self._item(asked.item)
        settles = asked.view == "settle"
        if settles and asked.choice == "skip":
            self.passed.setdefault(name, set()).add(item.id)
            return self._page(name, asked.view)
        settled = self.judged.settlement(item.id) if settles else None
        if settled is not None and settled.by != name:
            raise Refusal(f"{settled.by} has settled this meanwhile", "go on with the next one", kind="settled")
        left = self.lots.left(item.id, name) if len(item.answers) == 2 else ""
        judgement = Judgement(
            id=uuid.uuid4().hex,
            item=item.id,
            by=name,
            choice=self._choice(item, asked, left),
            left=left,
            text=asked.text if asked.choice == "edit" else "",
            note=asked.note.strip(),
            settles=settles,
            seconds=round(asked.seconds, 1),
            when=_now(),
        )
        self._add(*([] if self.judged.knows(item) else [item]), judgement)
        self.sessions.release(name)
        self.former.pop(name, None)
        return self._page(name, asked.view)

    def undo(self, asked: PageRequest) -> JudgingPage:
        """Take back what this person said last, and show it again."""
        name = self.sessions.require(asked.name, asked.session)
        mine = self.judged.people().get(name, [])
        if not mine:
            raise Refusal("there is nothing to take back", "judge on")
        last = mine[-1]
        self._add(Undo(judgement=last.id, by=name, when=_now()))
        self.former[name] = last
        if last.settles:
            self.passed.get(name, set()).discard(last.item)
            return self._page(name, "settle", first=last.item)
        self.sessions.hold(name, last.item)
        return self._page(name, "skipped" if self._fits(last.item, name, skipped=True) else "judge")

    def report(self) -> "PeopleReport":
        """Who judged, and how far they agree."""
        from dpo_core.evaluate.judges.people import (
            people_report,
        )  # scipy: a second that opening the page can do without

        return people_report(self.judged)

    def _page(self, name: str, view: View, first: str = "") -> JudgingPage:
        waiting, unsettled = self._waiting(name), self._disagreements(name)
        held = first
        if view != "settle" and self._fits(self.sessions.held(name), name, skipped=view == "skipped"):
            held = self.sessions.held(name)
        if not held:
            choices = {
                "judge": waiting,
                "settle": unsettled,
                "skipped": [] if view != "skipped" else self._skipped(name),
            }
            held = next(iter(choices[view]), "")
        if held and view != "settle":
            self.sessions.hold(name, held)
        item = self._item(held) if held else None
        left = self._left(item, name)
        former = self.former.get(name)
        return JudgingPage(
            view=view,
            item=shown(item, left) if item else None,
            said=[remark(one, left) for one in self.judged.of(held)] if view == "settle" else [],
            former=remark(former, left) if former and former.item == held else None,
            progress=progress_of(self.judged, self.wanted, name, len(waiting)),
            disagreements=len(unsettled),
            notices=[*self.notices, *self._now_wrong()],
        )

    def _waiting(self, name: str) -> list[str]:
        """Items that wait for this person, in order."""
        elsewhere = self.sessions.held_by_others(name)
        decided = {item: [one.by for one in said if one.choice != "skip"] for item, said in self.judged.voices()}
        found = []
        for item in self.order:
            people = decided.get(item, ())
            if len(people) + elsewhere[item] < self.wanted[item] and self.judged.said_by(item, name) is None:
                found.append(item)
        return found

    def _skipped(self, name: str) -> list[str]:
        """Items that this person left alone before and nobody else took, in order."""
        decided = {item: sum(one.choice != "skip" for one in said) for item, said in self.judged.voices()}
        mine = (item for item in self.order if self._fits(item, name, skipped=True))
        return [item for item in mine if decided.get(item, 0) < self.wanted[item]]

    def _fits(self, item: str, name: str, *, skipped: bool) -> bool:
        """Whether a person has said nothing of an item yet; `skipped`: whether all they did was to skip it."""
        said = self.judged.said_by(item, name)
        return bool(item) and (said is None if not skipped else said is not None and said.choice == "skip")

    def _disagreements(self, name: str) -> list[str]:
        passed = self.passed.get(name, set())
        return [item for item in disagreements(self.judged) if item not in passed]

    def _choice(self, item: JudgedItem, asked: PageRequest, left: str) -> JudgedChoice:
        if (asked.choice in EDITED) != (len(item.answers) == 1) and asked.choice != "skip":
            raise Refusal("this choice does not fit the item", "reload the page")
        if asked.choice == "edit":
            [answer] = item.answers
            edited: Message = {**answer[0], "content": asked.text}
            if not asked.text.strip():
                raise Refusal("the answer is empty", "write what it should say, or skip it")
            if as_compared([edited]) == as_compared(answer):
                raise Refusal("nothing was changed", "change it, or say that it is fine as it is")
        if asked.choice == "left":
            return "first" if left == "first" else "second"
        return OPPOSITE[left] if asked.choice == "right" else asked.choice

    def _left(self, item: JudgedItem | None, name: str) -> str:
        return self.lots.left(item.id, name) if item is not None and len(item.answers) == 2 else "first"

    def _item(self, name: str) -> JudgedItem:
        item = self.source.items.get(name) or self.judged.items.get(name)
        if item is None:
            raise Refusal("this item is not in what is judged here", "reload the page; what was judged is kept")
        return item

    def _add(self, *lines: Line) -> None:
        """On the disk first, then in memory."""
        self.file.add(written(*lines))
        for line in lines:
            self.judged.add(line)

    def _require_mode(self) -> None:
        before = next((opened for opened in self.judged.opened if opened.mode != self.mode), None)
        if before is not None:
            ways = {"compare": "two answers were compared", "edit": "answers were edited"}
            do = "name another file with --to" + (
                ", or add --edit" if before.mode == "edit" else ", or leave --edit out"
            )
            raise InputError(f"in this file {ways[before.mode]}", where=str(self.file.path), do=do)

    def _changes(self) -> list[str]:
        """What differs from what was judged in this file before."""
        gone = [item.id for item in self.judged.judged_items() if item.id not in self.source.items]
        told = []
        if gone:
            says = (
                f"{len(gone)} judged items are no longer in {self.source.name}: "
                "their judgements stay in the file, words and all"
            )
            told.append(says)
            log.warning(
                "judged_items_gone count=%d source=%s action='their judgements stay'", len(gone), self.source.name
            )
        return told

    def _now_wrong(self) -> list[str]:
        told = []
        if self.source.changed():
            told.append(
                f"{self.source.name} was changed since it was opened. This page shows it as it was, and keeps every "
                "judgement; to judge what is in it now, start dpo judge again."
            )
        if not self.file.is_there():
            told.append(
                f"{self.file.path} was moved or removed: judgements go on into the file that it was. "
                "Put it back, or start dpo judge again."
            )
        return told


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
