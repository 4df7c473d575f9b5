"""Held-out answers with a shortcut and without, as pairs: what a model makes of the difference is what it learned."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dpo_core.data.digests import digest_json
from dpo_core.data.pairs import Message, Pair
from dpo_core.evaluate.uptake.edits import Editor, edited_as, is_editable, ordinary
from dpo_core.quality.features.ngrams import Feature
from dpo_core.report.documents import ShortcutRecord

MOST = 8  # shortcuts, those that nobody meant first


@dataclass(frozen=True)
class Counterfactual:
    """`pair.chosen` is an answer with the shortcut, `pair.rejected` the same without; made of the pair at `place`."""

    shortcut: str
    place: int
    pair: Pair


def looked_for(shortcuts: Sequence[ShortcutRecord]) -> list[ShortcutRecord]:
    """Those that can be put into an answer, or taken out, each once: unintended ones first.

    A mark that an answer has and more of which it has are one.
    """
    return _editable(shortcuts)[:MOST]


def not_looked_for(shortcuts: Sequence[ShortcutRecord]) -> dict[str, str]:
    """The others, by name, each with why: of them nothing is known."""
    beyond = {shortcut.name: f"beyond the {MOST} strongest" for shortcut in _editable(shortcuts)[MOST:]}
    return beyond | {s.name: "no edit is known for it" for s in shortcuts if not is_editable(feature_of(s))}


def _editable(shortcuts: Sequence[ShortcutRecord]) -> list[ShortcutRecord]:
    found: dict[str, ShortcutRecord] = {}
    for shortcut in sorted(shortcuts, key=lambda s: s.treated == "intended"):
        if is_editable(feature_of(shortcut)):
            found.setdefault(edited_as(feature_of(shortcut)), shortcut)
    return list(found.values())


def feature_of(shortcut: ShortcutRecord) -> Feature:
    """What is looked for in a text."""
    return Feature(shortcut.kind, shortcut.text)


def counterfactuals(
    pairs: Sequence[Pair], shortcuts: Sequence[ShortcutRecord], most: int, seed: int
) -> list[Counterfactual]:
    """For each shortcut one answer of each of (at most) `most` pairs, drawn by lot, as far as it can be edited.

    Pairs whose answers are more than one message of text are left out: calls and thoughts are not edited.
    """
    wanted = looked_for(shortcuts)
    if not wanted or not most:
        return []
    places = [place for place, pair in enumerate(pairs) if _is_text(pair.chosen) and _is_text(pair.rejected)]
    texts = {place: [side[0]["content"] for side in (pairs[place].chosen, pairs[place].rejected)] for place in places}
    instead = ordinary([chosen for chosen, _ in texts.values()], [rejected for _, rejected in texts.values()])
    written = [text for both in texts.values() for text in both]
    found = []
    for shortcut in wanted:
        editor = Editor(feature_of(shortcut), written, instead)
        drawn = sorted(places, key=lambda place: digest_json([seed, shortcut.name, pairs[place].id]))
        made = (_made(editor, shortcut.name, pairs[place], place, texts[place], seed) for place in drawn)
        found += [one for one in made if one is not None][:most]
    return found


def _made(editor: Editor, name: str, pair: Pair, place: int, texts: Sequence[str], seed: int) -> Counterfactual | None:
    """Of one answer of the pair, by lot; of the other where that one cannot be edited."""
    lot = digest_json([seed, name, pair.id])
    for side in random.Random(lot).sample((0, 1), 2):
        edit = editor.edit(texts[side], lot)
        if edit is not None:
            role = (pair.chosen, pair.rejected)[side][0]["role"]
            having, lacking = (Message(role=role, content=text) for text in edit)
            return Counterfactual(name, place, replace(pair, chosen=(having,), rejected=(lacking,), source=name))
    return None


def _is_text(side: Sequence[Message]) -> bool:
    return len(side) == 1 and side[0].keys() == {"role", "content"} and bool(side[0]["content"].strip())
