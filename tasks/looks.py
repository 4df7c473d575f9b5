"""Looks at the held-out items: each candidate that is gated on them makes the best score of the year look better.

`looks/NAME/` is a chain of entries, one a candidate: what was looked at, with what, in which run. A look counts for a
year, and as long as half of the items that are compared now were looked at then.
"""

import datetime
import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from infra.ledger.chain import Chain, Entry, again_if_moved
from infra.store.base import Store
from tasks.runtime.provenance import user

log = logging.getLogger("dpo.release")
YEAR = datetime.timedelta(days=365)


class Look(NamedTuple):
    """`number` of this look among those that count; `fresh_needed`: new items after which the earlier ones do not."""

    number: int
    fresh_needed: int


def look(
    store: Store,
    name: str,
    *,
    challenger: str,
    evaluation: str,
    run_id: str,
    items: Sequence[str],
    now: datetime.datetime | None = None,
) -> Look:
    """Record that a challenger (its weights) is gated on these items; the same again is the same look.

    Those that came after its first look that counts do not: a candidate that passed is not held later because of them,
    nor where other code evaluates it anew: it keeps its place among the candidates that were gated on these items, so
    no more of them are let through than looks are planned. On other items, half of them old, it is the last.
    """
    compared, since = set(items), (now or datetime.datetime.now(datetime.UTC)) - YEAR
    chain = Chain(store, f"looks/{name}")
    data = json.dumps(sorted(compared)).encode()
    key = f"looked_at/{name}/{hashlib.sha256(data).hexdigest()}.json"
    own = {"challenger": challenger, "items": key}
    same = own | {"evaluation": evaluation}

    @again_if_moved
    def recorded() -> list[Entry]:
        entries = chain.entries()
        for place, entry in enumerate(entries, 1):
            if same.items() <= entry.body.items():
                return entries[:place]
        store.put_bytes(key, data)
        body = same | {"mlflow_run_id": run_id, "count": len(compared), "who": user()}
        return [*entries, chain.append(body, base=len(entries))]

    counted = list(_counted(store, recorded(), compared, since))
    places = [place for place, (entry, _) in enumerate(counted, 1) if own.items() <= entry.body.items()]
    counted = counted[: places[0]] if places else counted
    names = [str(entry.body["challenger"]) for entry, _ in counted]
    seen = compared.intersection(set().union(*(items for _, items in counted)))
    candidates = {challenger, *names}
    return Look(len(candidates), max(0, 2 * len(seen) - len(compared) + 1))


def _counted(
    store: Store, entries: Sequence[Entry], compared: set[str], since: datetime.datetime
) -> Iterator[tuple[Entry, set[str]]]:
    """The looks since then at half of these items or more, with the items of each."""
    read: dict[str, set[str]] = {}
    for entry in entries:
        if datetime.datetime.fromisoformat(entry.at) < since:
            continue
        key = str(entry.body["items"])
        if key not in read:
            read[key] = set(json.loads(store.get_bytes(key)))
        if 2 * len(read[key] & compared) >= len(compared):
            yield entry, read[key]
