"""What was forgotten: an append-only record in the store that every writer and every reader of a version goes by."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infra.errors import Damaged
from infra.ledger.chain import Chain, again_if_moved
from infra.ledger.create_only import require_create_only
from infra.store.base import Store

PREFIX = "forgotten"


class ForgottenRecord(BaseModel):
    """One decision: ids of rows, of prompts, and of the words of a pair, any of which keeps a row out."""

    model_config = ConfigDict(frozen=True, extra="allow")

    asked: str = Field(description="the id as it was given")
    ids: tuple[str, ...] = Field(description="SHA-256 each, hex")
    why: str = ""
    who: str = ""


def forgotten_records(store: Store) -> list[ForgottenRecord]:
    """All decisions, oldest first. Raises Damaged where the record was changed."""
    return _checked(store, Chain(store, PREFIX))


def forgotten(store: Store) -> frozenset[str]:
    """Every id (hex) that keeps a row out: of the row, of its prompt, or of its words."""
    return frozenset(name for record in forgotten_records(store) for name in record.ids)


def forget(store: Store, asked: str, ids: Sequence[str], *, why: str, who: str) -> bool:
    """Record that these are forgotten; False where all of them were already."""
    require_create_only(store)

    @again_if_moved
    def append() -> bool:
        chain = Chain(store, PREFIX)
        known = _checked(store, chain)
        new = sorted(set(ids).difference(*(record.ids for record in known)))
        if not new:
            return False
        record = ForgottenRecord(asked=asked, ids=tuple(new), why=why, who=who)
        chain.append(record.model_dump(mode="json"), base=len(known))
        return True

    return append()


def _checked(store: Store, chain: Chain) -> list[ForgottenRecord]:
    found = []
    for entry in chain.entries():
        try:
            found.append(ForgottenRecord.model_validate(entry.body))
        except ValidationError:
            do = "put it back from a backup or the bucket's versions: without it, what was forgotten would come back"
            where = f"{store.url}/{PREFIX}/{entry.seq:010d}.json"
            raise Damaged("an entry of what was forgotten cannot be read", where=where, do=do) from None
    return found
