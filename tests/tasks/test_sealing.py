"""What is sealed from the gate stays sealed, and what the gate has seen is never shown as sealed."""

import random

import pytest

from dpo_core.data.splits import SplitSides
from dpo_core.evaluate.unseen import sealed_rows, unseen_items
from infra.errors import Damaged
from infra.ledger.chain import Chain
from infra.settings import load_settings
from infra.store import open_store
from tasks.evaluation.sealing import with_seals

WORDS = "river stone window garden letter bridge candle mirror basket ladder pillow button".split()  # noqa: SIM905
FEW = 60


def question(number, wording=""):
    """Thirty words of its own, in one of its wordings."""
    asked = " ".join(random.Random(number).choices(WORDS, k=30))
    return said(f"{number} {asked}{wording}")


def said(text):
    return ({"role": "user", "content": text},)


FIRST = [question(number) for number in range(90)]
WORDINGS = [question(number, wording) for number in range(90) for wording in (" please", " if you can")]
GROWN = {
    "new questions behind": [*FIRST, *(question(n) for n in range(90, 150))],
    "new questions in front": [*(question(n) for n in range(90, 150)), *FIRST],
    "new wordings of each": [*WORDINGS, *FIRST],
    "shuffled, half of them gone": random.Random(1).sample(FIRST, 45),
}


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("DPO_HOME", str(tmp_path))
    return open_store(load_settings())


@pytest.fixture
def seal(store):
    """Seal a set of questions of a model; of each question whether the gate does not see it, empty: it sees all."""

    def sealed(asked, name="n", metric="retention/facts", sealed_from=FEW):
        items = {metric: unseen_items(asked, [])}
        return list(with_seals(store, name, {metric: asked}, items, sealed_from)[metric].sealed)

    return sealed


def test_below_so_many_questions_the_gate_sees_all_and_nothing_is_recorded(seal, store):
    assert seal(FIRST[: FEW - 1]) == []
    assert Chain(store, "sealed/n").entries() == []
    assert 0 < sum(seal(FIRST[:FEW])) < FEW


@pytest.mark.parametrize("grown", GROWN.values(), ids=GROWN)
def test_no_question_moves_whatever_is_asked_beside_it_later(seal, grown):
    before = dict(zip(map(str, FIRST), seal(FIRST), strict=True))
    after = dict(zip(map(str, grown), seal(grown), strict=True))
    known = before.keys() & after.keys()
    assert {one: after[one] for one in known} == {one: before[one] for one in known}


def test_new_wordings_are_where_their_question_is_and_would_have_moved_some_without_the_record(seal):
    before = seal(FIRST)
    after = seal([*FIRST, *WORDINGS])
    assert after[90:] == [shut for shut in before for _ in range(2)]
    anew = sealed_rows([*FIRST, *WORDINGS], SplitSides.none())[1].tolist()
    assert anew[:90] != before


def test_a_wording_that_joins_a_sealed_and_an_open_question_is_seen_by_the_gate_and_moves_neither(seal):
    def near(seed, start):
        return said(" ".join(random.Random(seed).choices([f"w{n}" for n in range(500)], k=80)[start : start + 60]))

    def joins(one, other, between):
        beside = FIRST[:10]  # three of three alike would be a template
        apart, together = (
            len(set(unseen_items([*asked, *beside], []).clusters)) for asked in ([one, other], [one, between, other])
        )
        return (apart, together) == (12, 11)

    for seed in range(1000):
        one, between, other = near(seed, 0), near(seed, 6), near(seed, 12)
        first = [one, other, *FIRST]
        if sealed_rows(first[:2], SplitSides.none())[1].tolist() == [True, False] and joins(one, other, between):
            break
    assert seal(first)[:2] == [True, False]
    asked = [one, other, *FIRST, between]
    found = seal(asked)
    assert (found[0], found[1], found[-1]) == (True, False, False)
    items = unseen_items(asked, [])
    gated, shown = type(items)(items.places, items.clusters, 0, found).divided()
    assert 0 not in shown.places, "the gate looks at its question in other words"
    assert {1, len(asked) - 1} <= set(gated.places)


def test_a_set_that_shrinks_stays_sealed_and_another_set_or_model_goes_by_itself(seal, store):
    before = seal(FIRST)
    assert seal(FIRST[:10]) == before[:10]
    assert seal(FIRST[:10], metric="samples") == seal(FIRST[:10], name="m") == []
    assert len(Chain(store, "sealed/n").entries()) == 1


def test_a_record_that_was_changed_is_not_gone_by(seal, store):
    seal(FIRST)
    key = str(Chain(store, "sealed/n").entries()[0].body["sides"])
    store.put_bytes(key, store.get_bytes(key)[:-8] + b"\xff" * 8)
    with pytest.raises(Damaged, match="which prompts are sealed from the gate was changed"):
        seal(FIRST)
