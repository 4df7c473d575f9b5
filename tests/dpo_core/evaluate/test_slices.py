"""Parts of the held-out pairs, and rules that understand nothing, which every accuracy has to beat."""

import pytest

from dpo_core.data.pairs import Pair
from dpo_core.evaluate.gate import decide
from dpo_core.evaluate.pairs.slices import metric_of, slices_of
from dpo_core.evaluate.pairs.trivial import trivial_rules
from dpo_core.evaluate.scores import Scores
from dpo_core.recipe import Recipe
from dpo_core.recipe_release import Gate, is_share


def pair(asked="which of the two is it that you want?", chosen="a", rejected="b", **more):
    said = [({"role": role, "content": text},) for role, text in (("user", asked), ("assistant", chosen))]
    return Pair(said[0], said[1], ({"role": "assistant", "content": rejected},), **more)


def test_a_kind_of_one_value_is_no_part():
    assert slices_of([pair(), pair()]) == {}
    assert slices_of([]) == {}


def test_each_pair_is_in_the_part_of_its_source_language_length_and_category():
    german = "was ist das und wie kann ich es mit der Hand machen?"
    pairs = [
        pair(source="web", meta={"category": "sums"}),
        pair(german, chosen="b" * 50, source="web"),
        pair(german, chosen="b" * 500, source="book", meta={"category": "names"}),
    ]
    assert slices_of(pairs) == {
        "source=web": [0, 1],
        "source=book": [2],
        "language=de": [1, 2],
        "language=en": [0],
        "length=short": [0],
        "length=middle": [1],
        "length=long": [2],
        "category=sums": [0],
        "category=names": [2],
    }


def test_only_the_commonest_values_of_a_kind_are_parts():
    pairs = [pair(source=f"s{number % 30}") for number in range(65)]  # the first five stand three times
    found = [name for name in slices_of(pairs) if name.startswith("source=")]
    assert len(found) == 20
    assert {f"source=s{number}" for number in range(5)} <= set(found)


def test_a_part_that_got_worse_is_rejected_though_the_whole_is_better():
    name = metric_of("language=de")
    groups = [str(number) for number in range(200)]

    def scores(whole, part):
        return {"rewards/accuracies": Scores(whole, groups), name: Scores(part, groups[:60])}

    before = scores([0.5] * 200, [1.0] * 60)
    after = scores([1.0] * 200, [0.0] * 30 + [1.0] * 30)
    rules = Gate(improve=["rewards/accuracies"], keep={name: 0.05})
    decision = decide(after, before, rules)
    assert decision.verdict == "reject_regression"
    assert decision.reasons[0].startswith("rewards/accuracies[language=de]: 1 -> 0.5")


def test_a_part_without_pairs_was_not_measured_and_holds():
    found = {"rewards/accuracies": Scores([1.0] * 40, [str(i) for i in range(40)])}
    before = {"rewards/accuracies": Scores([0.5] * 40, [str(i) for i in range(40)])}
    decision = decide(found, before, Gate(floor={metric_of("language=fr"): 0.5}))
    assert (decision.verdict, decision.reasons) == (
        "hold_underpowered",
        ["rewards/accuracies[language=fr] was not measured"],
    )


def test_a_recipe_may_name_a_part_of_a_known_kind_and_no_other():
    data = {"name": "n", "model": "m", "data": {"train": "t"}}
    name = metric_of("length=long")
    assert Recipe(**data, gate={"floor": {name: 0.5}}).gate.floor == {name: 0.5}
    assert is_share(name)
    with pytest.raises(ValueError, match="which evaluation does not measure"):
        Recipe(**data, gate={"floor": {metric_of("colour=red"): 0.5}})


def test_the_longer_answer_and_the_words_are_rules_of_their_own():
    trained = [pair(chosen=f"certainly it is {n}", rejected=f"perhaps it is {n}") for n in range(60)]
    held_out = [pair(chosen="certainly", rejected="perhaps not at all"), pair(chosen="x y", rejected="z"), pair()]
    found = trivial_rules(trained, held_out)
    assert found["longer answer"] == [0.0, 1.0, 0.5]
    assert found["bag of words"] == [1.0, 0.5, 0.5]  # no word of the others was ever seen
    assert set(trivial_rules([], held_out)) == {"longer answer"}
