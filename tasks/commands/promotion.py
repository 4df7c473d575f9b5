"""What people do to a model's champion by hand: promote, roll back, hold, approve; and the history of it all."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime

from dpo_core.data.pairs import Message
from dpo_core.errors import InputError
from infra.errors import ObjectMissing
from infra.ledger.chain import Moved
from infra.ledger.champion import Champion
from infra.ledger.promotions import MOVES, Kind, PromotionRecord, Standing, expired, overtaken, still_waiting
from infra.registry import versions
from infra.registry.aliases import is_registered
from infra.registry.production import PRODUCTION
from infra.registry.versions import Version
from infra.registry.weights import removed, require_weights
from infra.store.base import Store
from tasks.commands.waits import too_late, wait_of
from tasks.ledger_documents import History, HistoryEntry, PromotionDocument
from tasks.runtime.approval import move_record, policy_of, wait_record
from tasks.runtime.forms import follow

log = logging.getLogger("dpo.promotion")


def promote(store: Store, name: str, version: int, *, who: str, why: str) -> PromotionDocument:
    """Make a version champion, whatever its gate said; where approval is required, it waits for that first."""
    found = versions.by_number(name, version)
    policy = policy_of(found)
    champion = Champion(store, name)
    seen = champion.settle()

    def decide(state: Standing) -> PromotionRecord | None:
        if state.champion == version:
            return None
        require_weights(name, version, versions.by_number(name, version).tags)
        _require_unmoved(seen, state, name, "to promote over it")
        if policy.required and not _approved(state, version):
            wait = still_waiting(state, datetime.now(UTC)).get(version)
            if wait is not None and not wait.what.by_run and wait.what.over_weights_sha256 == state.weights:
                return None  # a run's wait becomes a person's: no later verdict ends it
            return wait_record(state, found, policy, who=who, why=why)
        return move_record("promote", state, found, who=who, why=why)

    return _done(champion, seen, decide)


def rollback(store: Store, name: str, to: int | None, *, who: str, why: str) -> PromotionDocument:
    """Back to the champion before, or to version `to`: it is fetched, checked, and has to answer before it is named.

    The same rollback again (by the same person, for the same reason), while it is what made the champion, goes no
    further: it completes one that was killed.
    """
    _require_model(name)
    champion, answered = Champion(store, name), set[int]()
    seen = champion.settle()

    def decide(state: Standing) -> PromotionRecord | None:
        made = None if state.moved is None else state.moved.what
        same = made is not None and (made.kind, made.who, made.why) == ("rollback", who, why)
        if (same and to is None) or (to is not None and to == state.champion):
            return None
        _require_unmoved(seen, state, name, "to go back from it")
        number = to if to is not None else _previous(state, name)
        found = versions.by_number(name, number)
        _require_approval(state, found, name)
        if number not in answered:
            _require_answer(name, found.number)
            answered.add(number)
        require_weights(name, number, versions.by_number(name, number).tags)  # which may have been removed since
        return move_record("rollback", state, found, who=who, why=why)

    return _done(champion, seen, decide)


def hold(store: Store, name: str, *, lift: bool, who: str, why: str) -> PromotionDocument:
    """No run promotes anything of this name, until the hold is lifted."""
    _require_model(name)
    champion = Champion(store, name)

    def decide(state: Standing) -> PromotionRecord | None:
        if (state.held is None) == lift:
            return None
        return PromotionRecord(kind="lift" if lift else "hold", who=who, why=why)

    return _done(champion, champion.settle(), decide)


def approve(
    store: Store, name: str, version: int, *, by: str, why: str, reject: bool = False, entry: int | None = None
) -> PromotionDocument:
    """Promote a version that waits for approval, or end its wait. Not by who asked for it, not after its expiry.

    `entry`: the wait that is meant, by its number in the ledger; None: the one that there is.
    """
    kind: Kind = "decline" if reject else "approve"
    found = versions.by_number(name, version)
    champion, late = Champion(store, name), list[str]()

    def decide(state: Standing) -> PromotionRecord | None:
        late.clear()
        last = state.settled.get(version)
        if last is not None and (last.what.kind, last.what.who, last.what.why) == (kind, by, why):
            return None
        wait = wait_of(state, name, version, entry)
        if expired(wait, datetime.now(UTC)):
            late.append(str(wait.what.expires))
            return move_record("expire", state, found, who="", why="nobody approved it in time")
        if wait.what.who and wait.what.who.casefold() == by.strip().casefold():
            says, do = f"{by} asked for this version: somebody else approves it", "name another person with --by"
            raise InputError(says, where=f"{name} version {version}", do=do)
        if not reject:
            tags = versions.by_number(name, version).tags
            require_weights(name, version, tags)
            if wait.what.by_run and (verdict := tags.get("gate.verdict", "promote")) != "promote":
                says = f"a run gated it again since it waits, {verdict}: {tags.get('gate.reasons', '')}"
                do = f"dpo promote {name} {version} --why ... asks for approval all the same; --reject ends the wait"
                raise InputError(says, where=f"{name} version {version}", do=do)
        if not reject and state.weights != wait.what.over_weights_sha256:
            says = f"version {state.champion} is champion now, and version {version} was compared with {wait.what.over}"
            do = (
                f"run the same `dpo retrain` again: it compares them; dpo promote {name} {version} --why ... asks for "
                "approval over it; --reject ends the wait"
            )
            raise InputError(says, where=f"{name} version {version}", do=do)
        return move_record(kind, state, found, who=by, why=why)

    document = _done(champion, champion.settle(), decide)
    if late:
        raise too_late(name, version, late[0])
    return document


def history(store: Store, name: str, *, verify: bool = False) -> History:
    """Every record of a name, in order. Reading checks the whole chain; `verify` also the weights that it names."""
    champion = Champion(store, name)
    view = champion.look()
    state = view.state
    if not state.records:
        _require_model(name)
    problems = _problems(name, state) if verify else []
    waits, said = still_waiting(state, datetime.now(UTC)), [record.what for record in state.records]
    ours = [version for version in versions.all_versions() if version.name == name]
    copied = any(version.tags.get(PRODUCTION) for version in ours if version.number == state.champion)
    if view.alias != state.champion:
        problems.append(f"the alias champion is on version {view.alias}, the ledger says {state.champion}")
    elif state.moved and view.shown[0] < state.moved.seq and copied:
        says = f"entry {state.moved.seq} is not finished, so that its copy for production may be missing"
        problems.append(f"{says}; the next promotion, hold or run of {name} tries it again, and logs why it fails")
    return History(
        model=name,
        champion_version=state.champion,
        verdict="fail" if problems else "pass",
        held=state.held.what.why if state.held else None,
        waiting=sorted(waits),
        overtaken=overtaken(state, datetime.now(UTC)),
        expired=sorted(state.waiting.keys() - waits.keys()),
        barred=sorted({w.version for w in said if w.weights_sha256 in state.barred and w.version is not None}),
        weights_removed=sorted(version.number for version in ours if removed(version.tags)),
        problems=problems,
        entries=[HistoryEntry(seq=r.seq, at=r.at, sha256=r.sha256, **r.what.model_dump()) for r in state.records],
    )


def _problems(name: str, state: Standing) -> list[str]:
    """Versions whose weights are others than the ledger recorded; deleted ones are told too."""
    said = []
    for record in {r.what.version: r for r in state.records if r.what.version is not None}.values():
        try:
            found = versions.by_number(name, record.what.version or 0)
        except ObjectMissing as error:
            said.append(f"entry {record.seq}: {error.says}")
            continue
        if found.weights_sha256 != record.what.weights_sha256:
            said.append(f"entry {record.seq}: version {found.number} has other weights than were recorded")
    return said


def _done(
    champion: Champion, seen: Standing, decide: Callable[[Standing], PromotionRecord | None]
) -> PromotionDocument:
    state = champion.commit(decide)
    follow(champion.name, seen, state)
    last = state.records[-1] if state.records else None
    changed = state.seq > seen.seq
    action = last.what.kind if last is not None and changed else "none"
    log.info("promotion name=%s action=%s champion=%s", champion.name, action, state.champion)
    return PromotionDocument(
        model=champion.name,
        action=action,
        changed=changed,
        champion_version=state.champion,
        held=state.held is not None,
        waiting=sorted(still_waiting(state, datetime.now(UTC))),
        overtaken=overtaken(state, datetime.now(UTC)),
        entry=state.seq,
    )


def _require_unmoved(seen: Standing, state: Standing, name: str, what_for: str) -> None:
    """Who decided over one champion does not decide over another that he has not heard of."""
    if state.moved != seen.moved:
        says = "the champion was taken away" if state.champion is None else f"version {state.champion} became champion"
        do = f"look at `dpo history {name}`; run the command again {what_for}"
        raise Moved(f"{says} meanwhile", where=name, do=do)


def _approved(state: Standing, version: int) -> bool:
    return any(r.what.kind == "approve" and r.what.version == version for r in state.records)


def _previous(state: Standing, name: str) -> int:
    if state.previous is None:
        do = f"name a version: dpo rollback {name} --to VERSION --why ..."
        raise InputError("there is no champion before this one to go back to", where=name, do=do)
    return state.previous[0]


def _require_approval(state: Standing, found: Version, name: str) -> None:
    """A rollback goes past no approval: what needs one, and never was champion, is not gone back to."""
    was_champion = any(r.what.kind in MOVES and r.what.version == found.number for r in state.records)
    if policy_of(found).required and not was_champion:
        do = f"ask for it: dpo promote {name} {found.number} --why ..."
        says = "it never was champion, and needs approval to become one"
        raise InputError(says, where=f"{name} version {found.number}", do=do)


def _require_model(name: str) -> None:
    if not is_registered(name):
        do = "look at the models on the MLflow page"
        raise InputError("no such model is registered", where=name, do=do)


def _require_answer(name: str, version: int) -> None:
    """Fetch the version, compare every digest, and have it answer one question, by the code that its run trusted."""
    from tasks.commands.chat import load_speaker

    speaker = load_speaker(f"models:/{name}/{version}")
    pieces: list[str] = []
    if speaker.chats:
        speaker.reply([Message(role="user", content="Hello.")], pieces.append, max_new_tokens=8)
    else:
        pieces.append(speaker.next_token("Hello."))
    log.info("smoke_answer name=%s version=%d text=%r", name, version, "".join(pieces))
