"""Draws by hash: fair, the same again, and unmoved by items that are added."""

from dpo_core.judging.lots import Lots
from tests.dpo_core.judging.said import item

ITEMS = [item(n) for n in range(400)]


def test_sides_are_fair_and_another_person_s_are_drawn_anew():
    lots = Lots(seed=1)
    anna, ben = ([lots.left(one.id, by) for one in ITEMS] for by in ("anna", "ben"))
    assert anna == [lots.left(one.id, "anna") for one in ITEMS]
    for sides in (anna, ben):
        assert 160 < sides.count("first") < 240  # 200, and 4 standard deviations
    assert 160 < sum(one == other for one, other in zip(anna, ben, strict=True)) < 240


def test_items_that_are_added_move_no_other():
    lots = Lots(seed=2)
    few, all_of_them = lots.order(ITEMS[:200]), lots.order(ITEMS)
    known = {one.id for one in ITEMS[:200]}
    assert [name for name in all_of_them if name in known] == few
    assert few != [one.id for one in ITEMS[:200]]
    assert Lots(seed=3).order(ITEMS[:200]) != few


def test_a_larger_overlap_only_adds_items_for_two():
    small, large = ({one.id for one in ITEMS if Lots(0, share).wanted(one.id) == 2} for share in (0.1, 0.3))
    assert small < large
    assert 80 < len(large) < 160  # 120, and 4 standard deviations (37)
    assert all(Lots(0, 1.0).wanted(one.id) == 2 for one in ITEMS)
    assert all(Lots(0, 0.0).wanted(one.id) == 1 for one in ITEMS)
