"""Items that one of the compared models was trained on are left out."""

from dpo_core.data.splits import SplitSides
from dpo_core.evaluate.unseen import Items, sealed_rows, unseen_items

LONG = " ".join(f"word{number}" for number in range(30))  # 26 shingles of five words
OTHERS = [f"{name} stands by itself" for name in ("one", "two", "three", "four")]


def said(*texts: str, system: str = "") -> list[list[dict]]:
    turns = [[{"role": "user", "content": text}] for text in texts]
    return [[{"role": "system", "content": system}, *turn] for turn in turns] if system else turns


def test_what_asks_the_same_is_left_out_whatever_the_system_message_says() -> None:
    found = unseen_items(said("What is it?", *OTHERS), [said("what  is IT?", system="Be kind.")])
    assert (found.places, found.left_out) == ([1, 2, 3, 4], 1)


def test_what_asks_nearly_the_same_is_left_out() -> None:
    assert unseen_items(said(*OTHERS, LONG), [said(f"{LONG} please")]).places == [0, 1, 2, 3]


def test_wordings_of_one_question_are_one_cluster() -> None:
    clusters = unseen_items(said(*OTHERS, LONG, f"{LONG} please"), []).clusters
    assert len(set(clusters)) == 5
    assert clusters[4] == clusters[5]


def test_a_turn_of_the_assistant_is_no_part_of_what_is_asked() -> None:
    one, other = said("Why?", "Why?")
    answered = [*one, {"role": "assistant", "content": "Because."}, {"role": "user", "content": "And?"}]
    again = [*other, {"role": "assistant", "content": "No reason."}, {"role": "user", "content": "and?"}]
    assert unseen_items([answered], [[again]]).left_out == 1


def test_the_gate_sees_what_is_not_sealed_and_people_what_is_and_asked_in_no_other_wording() -> None:
    whole = Items([0, 1, 2, 4], ["a", "b", "b", "c"], 7)
    assert whole.divided() == (whole, whole)
    gated, shown = Items([0, 1, 2, 4], ["a", "b", "b", "c"], 7, [True, False, True, False]).divided()
    assert (gated.places, gated.clusters, gated.left_out) == ([1, 4], ["b", "c"], 7)
    assert (shown.places, shown.clusters, shown.left_out) == ([0], ["a"], 7)


def test_a_third_of_the_groups_is_sealed_each_of_them_whole() -> None:
    asked = [said(f"{number} {LONG} {number}{more}")[0] for number in range(3) for more in ("", " please")]
    asked += said(*(f"question {number}" for number in range(600)))
    keys, sealed = sealed_rows(asked, SplitSides.none())
    assert 0.257 < sealed.mean() < 0.410  # 603 groups: four standard deviations each way
    clusters = unseen_items(asked, []).clusters
    assert len({(name, bool(shut)) for name, shut in zip(clusters, sealed, strict=True)}) == len(set(clusters))
    assert len(keys) == 606
