"""The alias `champion` as a projection of the ledger: committed first, then shown, and repaired where that broke off.

The registry's tag `dpo.ledger` (number and digest of the last entry that the alias is known to show) tells a late
projection, which is ours to finish, from an alias that somebody moved: docs/ledger.md, crash point by crash point.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from infra.errors import Damaged, InfraError, Rejected
from infra.ledger.chain import Chain, Moved
from infra.ledger.create_only import require_create_only
from infra.ledger.promotions import MOVES, LedgerRecord, PromotionRecord, Standing, state_of
from infra.registry import versions
from infra.registry.aliases import alias_and_tag, is_registered, move_alias, set_model_tag
from infra.registry.production import copy_if_asked
from infra.store.base import Store

log = logging.getLogger("dpo.ledger")
ALIAS, SHOWN = "champion", "dpo.ledger"
PREVIOUS = "previous-champion"  # alias of the version that a rollback goes to, for people
LOOK_AGAIN_S = 1.0  # before an alias is called moved by others: a process of ours may be between its two writes
TRIES = 5


@dataclass(frozen=True)
class View:
    """Registry and ledger, as they were read: the registry first, so that the ledger is never behind it."""

    alias: int | None
    shown: tuple[int, str]  # the last entry that the alias is known to show
    state: Standing


class Champion:
    """The champion of a model name."""

    def __init__(self, store: Store, name: str) -> None:
        self._store, self.name = store, name
        self.chain = Chain(store, f"promotions/{name}")

    def look(self) -> View:
        """Read both, change nothing. Raises Damaged where the ledger is not what the registry saw of it."""
        alias, tag = alias_and_tag(self.name, ALIAS, SHOWN)
        seq, _, sha256 = (tag or "0:").partition(":")
        shown = (int(seq), sha256)
        entries = self.chain.entries()
        if shown[0] and (len(entries) < shown[0] or entries[shown[0] - 1].sha256 != shown[1]):
            what = "was changed" if len(entries) >= shown[0] else "is missing"
            do = "put it back from a backup or the bucket's versions; dpo history --verify looks again"
            where = f"{self._store.url}/{self.chain.prefix}/{shown[0]:010d}.json"
            raise Damaged(f"entry {shown[0]} of the ledger {what}: the registry has seen another", where=where, do=do)
        return View(alias, shown, state_of(entries))

    def settle(self) -> Standing:
        """Finish what a killed process left, record what others did to the alias; the state that holds now."""
        view = self.look()
        self._require_registered(view)
        if self._foreign(view):
            time.sleep(LOOK_AGAIN_S)
            view = self.look()
        if self._foreign(view):
            self._record_outside(view)
            view = self.look()
        if view.shown[0] < view.state.seq:
            log.info("ledger_repairs name=%s champion=%s entry=%d", self.name, view.state.champion, view.state.seq)
            self.show(must_copy=False)
            view = self.look()
        return view.state

    def commit(self, decide: Callable[[Standing], PromotionRecord | None]) -> Standing:
        """Append what `decide` makes of the state (None: nothing), then show it. A lost race decides again."""
        for last in (*[False] * (TRIES - 1), True):
            state = self.settle()
            record = decide(state)  # which may itself raise Moved: a person's decision is not made again for him
            if record is None:
                return state
            try:
                self.append(record, base=state.seq)
            except Moved:
                if last:
                    raise
                continue
            self.show(must_copy=record.kind in MOVES)
            return self.look().state
        raise AssertionError

    def append(self, record: PromotionRecord, *, base: int) -> None:
        """Write the record as entry `base + 1`. Raises Moved where another was first."""
        require_create_only(self._store)
        self.chain.append(record.model_dump(mode="json"), base=base)
        said = (self.name, base + 1, record.kind, record.version)
        log.info("ledger_appended name=%s entry=%d kind=%s version=%s", *said)

    def show(self, *, must_copy: bool) -> None:
        """Set the alias to what the ledger's end says, read it back, and write down that it shows this entry.

        A copy for production that fails is left to the next command, which may well be the one that goes back from
        this champion; with `must_copy` it is an error.
        """
        for _ in range(TRIES):
            view = self.look()
            if view.alias == view.state.champion:
                if view.state.records and view.shown[0] < (end := view.state.records[-1]).seq:
                    self._show_previous(view.state)
                    if view.alias is not None and not self._copied(view.alias, must_copy, moved=_moves(view)):
                        return
                    set_model_tag(self.name, SHOWN, f"{end.seq}:{end.sha256}")
                return
            move_alias(self.name, ALIAS, view.state.champion)
        do = "another process sets it too: wait for it, then run again"
        raise InfraError("the alias champion does not stay as it was set", where=f"registered model {self.name}", do=do)

    def _show_previous(self, state: Standing) -> None:
        """An alias for people: a version that somebody deleted since keeps nobody from the rest."""
        before = state.previous and state.previous[0]
        try:
            move_alias(self.name, PREVIOUS, before)
        except Rejected as error:
            if before is None:
                raise
            says = "previous_champion_not_shown name=%s version=%d reason=%r"
            log.warning(says, self.name, before, error.says)
            move_alias(self.name, PREVIOUS, None)

    def _copied(self, version: int, must_copy: bool, *, moved: bool) -> bool:
        try:
            copy_if_asked(self.name, version, moved=moved)
        except InfraError as error:
            if must_copy:
                raise
            says = 'production_not_copied name=%s version=%d reason=%r action="the next command tries it again"'
            log.warning(says, self.name, version, error.says)
            return False
        return True

    def _require_registered(self, view: View) -> None:
        """Raise InfraError where the ledger tells of a registered model that is gone: its numbers would mean others."""
        if view.state.records and not view.shown[0] and view.alias is None and not is_registered(self.name):
            says = "the ledger tells of this model, and the registry has none of its name"
            do = "put MLflow's database back from a backup; who deleted the model gives the new one another name"
            raise InfraError(says, where=f"registered model {self.name}", do=do)

    def _foreign(self, view: View) -> bool:
        """Whether the alias is where no record of ours has put it, or may still be about to."""
        last: LedgerRecord | None = view.state.moved
        if view.alias == view.state.champion:
            return False
        late = last is not None and view.shown[0] < last.seq and view.alias == last.what.over
        return not late

    def _record_outside(self, view: View) -> None:
        state, alias = view.state, view.alias
        weights = "" if alias is None else versions.by_number(self.name, alias).weights_sha256
        first = not state.records
        why = "the alias was there before the ledger" if first else "the alias was moved, and not by dpo"
        record = PromotionRecord(
            kind="adopt" if first else "outside_change",
            version=alias,
            weights_sha256=weights,
            over=state.champion,
            over_weights_sha256=state.weights,
            why=why,
        )
        if not first:
            says = 'alias_moved_outside name=%s from=%s to=%s action="recorded; later runs respect it"'
            log.warning(says, self.name, state.champion, alias)
        try:
            self.append(record, base=state.seq)
        except Moved:  # another process of ours records it
            return
        self.show(must_copy=False)


def _moves(view: View) -> bool:
    """Whether an entry that is not shown yet made the champion: an alias that people moved elsewhere stays else."""
    return view.state.moved is not None and view.shown[0] < view.state.moved.seq
