"""Items that one of the compared models was trained on are left out."""

from dpo_core.evaluate.unseen import Items, unseen_items

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


def test_from_six_hundred_groups_on_a_third_is_sealed_from_the_gate_and_below_none() -> None:
    def items(count: int) -> Items:
        names = [f"{number:016x}" for number in range(count)]
        return Items(list(range(2 * count)), [name for name in names for _ in range(2)], 7)

    gated, shown = items(599).divided(600)
    assert gated == shown == items(599)
    gated, shown = items(600).divided(600)
    assert (len(gated.places), len(shown.places)) == (800, 400)  # names that three divides: 200 groups of two
    assert not set(gated.clusters) & set(shown.clusters)
    assert [gated.clusters[i] for i in range(3)] == [f"{n:016x}" for n in (1, 1, 2)]
    assert (gated.left_out, shown.left_out) == (7, 7)
