"""Which prompts are sealed from the gate, for good: a record in the store, as the split has one.

`sealed/NAME/` is a chain of entries, one for each set of questions that is sealed or has grown since; each names the
object that holds the new prompts. A set is sealed once it has so many prompts, and stays so.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from dpo_core.data.pairs import Message
from dpo_core.data.splits import SplitSides
from dpo_core.evaluate.unseen import Items, sealed_rows
from infra.ledger.chain import Chain, again_if_moved
from infra.store.base import Store
from tasks.data_check.sides import put_sides, read_sides

log = logging.getLogger("dpo.evaluate")
WHAT = "the record of which prompts are sealed from the gate"


def with_seals(
    store: Store,
    name: str,
    prompts: Mapping[str, Sequence[Sequence[Message]]],
    items: Mapping[str, Items],
    sealed_from: int,
) -> dict[str, Items]:
    """`items` of each set of `prompts`, by its name, with those that the gate does not see."""

    @again_if_moved
    def recorded() -> dict[str, Items]:
        chain = Chain(store, f"sealed/{name}")
        entries, known = chain.entries(), dict[str, SplitSides]()
        for entry in entries:
            before, more = str(entry.body["asked"]), read_sides(store, str(entry.body["sides"]), WHAT)
            known[before] = known.get(before, SplitSides.none()).with_more(more)
        base, found = len(entries), dict(items)
        for asked, these in items.items():
            if asked not in known and len(set(these.clusters)) < sealed_from:
                continue
            before_now = known.get(asked, SplitSides.none())
            keys, shut = sealed_rows(prompts[asked], before_now)
            if len(new := SplitSides.of(keys, shut).without(before_now)):
                key = put_sides(store, "sealed_prompts", name, new)
                chain.append({"asked": asked, "sides": key, "sealed": int(new.held_out.sum())}, base=base)
                base += 1
                log.info("sealed name=%s asked=%s new=%d sealed=%d", name, asked, len(new), new.held_out.sum())
            found[asked] = replace(these, sealed=[bool(shut[place]) for place in these.places])
        return found

    return recorded()
