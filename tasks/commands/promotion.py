"""What a person decides about versions: promote, approve, roll back, hold. Each again changes nothing."""

import datetime
import json
from pathlib import Path

from dpo_core.errors import InputError
from infra.errors import ObjectMissing
from infra.ledger.chain import Entry
from infra.ledger.promotions import CHAMPION, Promotions
from infra.ledger.standing import Standing, Waiting
from infra.registry import versions
from infra.registry.versions import Version
from infra.settings import load_settings
from infra.store import open_store
from tasks.documents import LedgerDocument, LedgerEntry, PromotionDocument
from tasks.lineage import KEY
from tasks.runtime.provenance import user

UNKNOWN = "unknown"
HELLO = "Hello!"


def ledger_of(name: str) -> Promotions:
    """The ledger of a registered model. Raises InputError where no version of it is registered."""
    try:
        versions.by_number(name, 1)
    except ObjectMissing:
        if (
            versions.by_alias(name, CHAMPION) is None
            and not Promotions(open_store(load_settings()), name).chain.entries()
        ):
            do = "look at the names on the MLflow page; `dpo retrain` registers the first version"
            raise InputError("no version of this model is registered", where=name, do=do) from None
    return Promotions(open_store(load_settings(), patient=True), name)


def promote_version(name: str, number: int, why: str, who: str = "") -> PromotionDocument:
    """Make a version champion, whatever the gate said of it; where approval is required, ask for it instead.

    Raises InputError for a version that waits for approval.
    """
    who = who or user() or UNKNOWN
    version, ledger = versions.by_number(name, number), ledger_of(name)
    standing = ledger.settle()
    if standing.champion == number:
        return _document(name, number, standing, changed=False, state="promoted")
    waits = standing.waiting.get(number)
    if waits is not None and not waits.is_over(_now()):
        do = f"dpo approve {name} {number} --why ... (by another person than {waits.requested_by or UNKNOWN})"
        raise InputError(f"version {number} waits for approval", where=f"models:/{name}/{number}", do=do)
    days = _approval_days(version)
    if days is not None:
        expires = (_now() + datetime.timedelta(days=days)).isoformat(timespec="seconds")
        ledger.record("waiting", standing, who=who, why=why, expires=expires, requested_by=who, **_facts(version))
        return _document(name, number, ledger.settle(), changed=True, state="waiting_for_approval")
    try_out(name, number)
    ledger.record("promoted", standing, who=who, why=why, verdict=_verdict(version), **_facts(version))
    return _document(name, number, ledger.settle(), changed=True, state="promoted")


def roll_back(name: str, to: int | None, why: str, who: str = "") -> PromotionDocument:
    """Make an earlier version champion again; those promoted since are barred until a person promotes them.

    Raises InputError where there is no earlier champion, or `to` was none.
    """
    ledger = ledger_of(name)
    standing, where = ledger.settle(), f"registered model {name}"
    target = to if to is not None else standing.previous
    last = standing.last_move
    if to is None and last is not None and last.body["kind"] == "rolled_back" and last.body["why"] == why:
        return _document(name, standing.champion, standing, changed=False, state="rolled_back")
    if target is None:
        do = f"`dpo history {name}` shows every champion; `dpo promote {name} VERSION --why ...` takes any version"
        raise InputError("there is no earlier champion to go back to", where=where, do=do)
    if target == standing.champion:
        return _document(name, target, standing, changed=False, state="rolled_back")
    if target not in standing.champions:
        do = f"`dpo promote {name} {target} --why ...` makes it champion; rollback goes to {standing.champions}"
        raise InputError(f"version {target} was never champion", where=where, do=do)
    version = versions.by_number(name, target)
    try_out(name, target)
    ledger.record("rolled_back", standing, who=who or user() or UNKNOWN, why=why, **_facts(version))
    return _document(name, target, ledger.settle(), changed=True, state="rolled_back")


def approve(name: str, number: int, by: str, why: str, *, reject: bool = False) -> PromotionDocument:
    """Answer for a version that waits: it becomes champion, or (`reject`) does not.

    Raises InputError where it does not wait, waits no longer, was asked for by the same person, or was compared with a
    champion that is one no more.
    """
    version, ledger = versions.by_number(name, number), ledger_of(name)
    standing = ledger.settle()
    waits = _waiting(name, number, standing)
    if by == waits.requested_by and not reject:
        do = f"have somebody else run: dpo approve {name} {number} --by THEIR-NAME --why ..."
        raise InputError(
            f"{by} asked for this promotion, and cannot approve it", where=f"models:/{name}/{number}", do=do
        )
    if reject:
        ledger.record("refused", standing, who=by, why=why, **_facts(version))
        return _document(name, number, ledger.settle(), changed=True, state="refused")
    if standing.held:
        do = f"dpo hold {name} --lift --why ..., then approve"
        raise InputError(f"promotion is on hold: {standing.held}", where=f"registered model {name}", do=do)
    if standing.champion != waits.over:
        now = f"version {standing.champion}" if standing.champion else "none"
        do = f"run its recipe again: it is compared with the present champion; or dpo promote {name} {number} --why ..."
        raise InputError(
            f"version {number} was compared with version {waits.over} as champion, which is {now} now",
            where=f"models:/{name}/{number}",
            do=do,
        )
    try_out(name, number)
    facts = {**_facts(version), "evidence": waits.evidence, "requested_by": waits.requested_by}
    ledger.record("promoted", standing, who=by, why=why, approved=True, **facts)
    return _document(name, number, ledger.settle(), changed=True, state="promoted")


def hold(name: str, why: str, *, lift: bool = False, who: str = "") -> PromotionDocument:
    """Stop runs and approvals from promoting anything; or (`lift`) let them again."""
    ledger = ledger_of(name)
    standing = ledger.settle()
    changed = bool(standing.held) == lift
    if changed:
        ledger.record("lifted" if lift else "held", standing, who=who or user() or UNKNOWN, why=why)
        standing = ledger.settle()
    return _document(name, standing.champion, standing, changed=changed, state="lifted" if lift else "held")


def history(name: str, *, verify: bool = False) -> LedgerDocument:
    """Every entry, oldest first; changes nothing. With `verify`, the weights of every champion are compared too.

    Raises Damaged for a chain that was changed by hand.
    """
    ledger = ledger_of(name)
    entries, alias = ledger.read(), versions.by_alias(name, CHAMPION)
    standing = ledger.standing(entries)
    problems = _problems(name, entries) if verify else []
    return LedgerDocument(
        model=name,
        champion_version=standing.champion,
        alias_version=alias.number if alias else None,
        barred=sorted(standing.barred),
        held=standing.held,
        waiting=sorted(number for number, waits in standing.waiting.items() if not waits.is_over(_now())),
        verified=verify and not problems,
        problems=problems,
        entries=[_line(entry) for entry in entries],
    )


def try_out(name: str, number: int) -> None:
    """Fetch a version as it was registered, load it, and have it answer: a champion must do that much.

    Raises ObjectMissing or Damaged where its weights are gone or others, InputError where they are no model.
    """
    from dpo_core.model.encode import load_tokenizer
    from dpo_core.model.generate import generate
    from tasks.runtime.device import load_on_device
    from tasks.runtime.models import require_usable

    settings = load_settings()
    folder: Path = versions.download(name, number, settings.home / "downloads")
    require_usable(folder)
    model, tokenizer = load_on_device(folder, threads=settings.num_threads), load_tokenizer(folder)
    if tokenizer.chat_template:
        generate(model, tokenizer, [({"role": "user", "content": HELLO},)], max_new_tokens=4, batch_size=1)


def _waiting(name: str, number: int, standing: Standing) -> Waiting:
    where, waits = f"models:/{name}/{number}", standing.waiting.get(number)
    if waits is None:
        known = {standing.champion: "it is the champion", **dict.fromkeys(standing.refused, "it was refused")}
        says = f"version {number} does not wait for approval: {known.get(number, 'nobody asked for it')}"
        raise InputError(says, where=where, do=f"dpo history {name} tells what became of it")
    if waits.is_over(_now()):
        do = f"run its recipe again, or dpo promote {name} {number} --why ...: both ask anew"
        raise InputError(f"the request has expired, on {waits.expires}", where=where, do=do)
    return waits


def _approval_days(version: Version) -> float | None:
    """How long a promotion of this version waits for approval; None: its recipe asks for none."""
    key = version.tags.get(KEY)
    if key is None:
        return None
    rules = json.loads(open_store(load_settings()).get_bytes(key))["recipe"].get("promotion", {})
    return float(rules["approval_days"]) if rules.get("approval") == "required" else None


def _facts(version: Version) -> dict[str, object]:
    record = version.tags.get("gate.record", "")
    return {
        "version": version.number,
        "weights_sha256": version.weights_sha256,
        "evidence": {"gate": record, "evaluation": version.tags.get("dpo.evaluation", "")},
    }


def _verdict(version: Version) -> str:
    """What the gate said of it, for the ledger: a person may know better."""
    return version.tags.get("gate.verdict", "none")


def _problems(name: str, entries: list[Entry]) -> list[str]:
    """Champions whose weights in the registry are not those of the ledger."""
    found = []
    for entry in entries:
        number, weights = entry.body.get("version"), entry.body.get("weights_sha256")
        if entry.body["kind"] not in ("promoted", "rolled_back") or number is None:
            continue
        try:
            if versions.by_number(name, number).weights_sha256 != weights:
                found.append(f"entry {entry.seq}: version {number} has other weights in the registry now")
        except ObjectMissing:
            found.append(f"entry {entry.seq}: version {number} is gone from the registry")
    return found


def _line(entry: Entry) -> LedgerEntry:
    body = entry.body
    return LedgerEntry(
        seq=entry.seq,
        at=entry.at,
        kind=body["kind"],
        version=body.get("version"),
        over=body.get("over"),
        who=body["who"],
        why=body["why"],
        weights_sha256=body.get("weights_sha256") or "",
        evidence=body.get("evidence") or {},
        sha256=entry.sha256,
    )


def _document(name: str, version: int | None, standing: Standing, *, changed: bool, state: str) -> PromotionDocument:
    return PromotionDocument.model_validate(
        {
            "schema": 1,
            "model": name,
            "version": version,
            "champion_version": standing.champion,
            "state": state,
            "changed": changed,
            "seq": standing.seq,
        }
    )


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
