"""From judgements to pairs: what people say of an item together, and the pair that it makes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from dpo_core.data.messages import as_compared
from dpo_core.data.pairs import Message, Pair
from dpo_core.judging.items import JudgedItem
from dpo_core.judging.lines import COMPARED, Judged, JudgedChoice, Judgement

DISAGREE = "people disagree, and nobody has settled it"
NO_PAIR = {
    "tie": "the answers are equally good",
    "bad": "both answers are bad",
    "fine": "the answer needs no correction",
    "skip": "everybody skipped it",
}


@dataclass(frozen=True)
class JudgedPairs:
    """The pairs of some judgements, in their order, and the items that gave none, with the reason."""

    pairs: tuple[Pair, ...]
    left_out: tuple[tuple[str, str], ...]


def agreed(said: Sequence[Judgement], settlement: Judgement | None) -> JudgedChoice | None:
    """What people say of an item: the settlement, else what more than half of them say; None: they disagree."""
    if settlement is not None:
        return settlement.choice
    choices: list[JudgedChoice] = [one.choice for one in said if one.choice != "skip"]
    if not choices:
        return "skip"
    most = max(choices, key=choices.count)
    return most if 2 * choices.count(most) > len(choices) else None


def disagreements(judged: Judged) -> list[str]:
    """Items that people compared and do not agree on, in order; nobody has settled them yet."""
    return [
        item
        for item, said in judged.voices()
        if len(said) > 1 and len(judged.items[item].answers) == 2 and agreed(said, judged.settlement(item)) is None
    ]


def pairs_of_judged(judged: Judged, *, source: str = "judgements") -> JudgedPairs:
    """A pair for each item that people agree on, one for each correction. The same lines give the same pairs.

    `meta` of a pair: `by` (judgements or correction), `annotator`, `votes`, `judged` (the item), and who wrote the
    answers where that is known. `source`: of items that name none.
    """
    pairs: list[Pair] = []
    left_out: list[tuple[str, str]] = []
    names = dict.fromkeys(said.item for said in judged.standing())
    for item in (judged.items[name] for name in names):
        said, settlement = judged.of(item.id), judged.settlement(item.id)
        made = list(_corrected(item, said) if len(item.answers) == 1 else _preferred(item, said, settlement))
        pairs += [replace(pair, source=pair.source or source) for pair in made]
        if not made:
            choice = agreed(said, settlement) if len(item.answers) == 2 else _without_edit(said)
            left_out.append((item.id, DISAGREE if choice is None else NO_PAIR[choice]))
    return JudgedPairs(tuple(pairs), tuple(left_out))


def _without_edit(said: Sequence[Judgement]) -> JudgedChoice:
    return "fine" if any(one.choice == "fine" for one in said) else "skip"


def _preferred(item: JudgedItem, said: Sequence[Judgement], settlement: Judgement | None) -> Iterator[Pair]:
    choice = agreed(said, settlement)
    if choice not in ("first", "second"):
        return
    better = 0 if choice == "first" else 1
    people = [one for one in (*said, *([settlement] if settlement else [])) if one.choice == choice]
    meta = _meta(item, "judgements", people, {"votes": sum(one.choice in COMPARED for one in said)})
    if item.writers:
        meta |= {"chosen_model": item.writers[better], "rejected_model": item.writers[1 - better]}
    yield _pair(item, item.answers[better], item.answers[1 - better], meta)


def _corrected(item: JudgedItem, said: Sequence[Judgement]) -> Iterator[Pair]:
    """One pair for each different correction."""
    [answer] = item.answers
    texts = dict.fromkeys(one.text for one in said if one.choice == "edit")
    for text in texts:
        edited: Message = {**answer[0], "content": text}
        if as_compared([edited]) != as_compared(answer):
            people = [one for one in said if one.choice == "edit" and one.text == text]
            meta = _meta(item, "correction", people, {"rejected_model": item.writers[0]} if item.writers else {})
            yield _pair(item, (edited,), answer, meta)


def _meta(item: JudgedItem, by: str, people: Sequence[Judgement], more: dict[str, object]) -> dict[str, object]:
    names = sorted({one.by for one in people})
    return {"by": by, "annotator": ", ".join(names), "judged": item.id, **more}


def _pair(item: JudgedItem, chosen: Sequence[Message], rejected: Sequence[Message], meta: dict[str, object]) -> Pair:
    return Pair(
        prompt=item.prompt,
        chosen=tuple(chosen),
        rejected=tuple(rejected),
        source=item.source,
        plain=item.plain,
        tools=item.tools,
        meta=meta,
        row_id=item.row_id,
    )
