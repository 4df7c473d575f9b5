"""The smoke detector: what it plants is what it says, and the checks find it."""

import pytest

from dpo_core.quality.shortcuts import power
from dpo_core.quality.shortcuts.power import plant
from dpo_core.quality.words import words
from tests.dpo_core.quality import planted
from tests.dpo_core.quality.quality_data import make_pair


@pytest.fixture(scope="module")
def thousand():
    """Pairs that differ by chance only, with prompts of three lengths."""
    pairs = [pair.pair for pair in planted.null(0, 1000)]
    longer = [make_pair(f"{'so ' * (row % 3)}what about {row}?", "", "").pair.prompt for row in range(1000)]
    return [power.replace(pair, prompt=prompt) for pair, prompt in zip(pairs, longer, strict=True)]


@pytest.fixture(scope="module")
def results(thousand):
    return {result.name: result for result in plant(thousand)}


@pytest.mark.parametrize(
    "name",
    [
        "a word in 5% of pairs, always chosen",
        "an opener in 2.5% of pairs, mid-text on the other side",
        "two words as neighbours in 5% of chosen answers, apart in the rejected ones",
        "a word in 5% of pairs, chosen with short prompts, rejected with long ones",
        "a space after 10 % of the rejected answers",
        "the longer answer wins 75 % of pairs",
    ],
)
def test_what_is_large_enough_is_found_in_a_thousand_pairs(results, name):
    assert results[name].found == results[name].planted


def test_a_word_in_ten_of_a_thousand_pairs_is_beyond_what_can_be_told_from_chance(results):
    """10 : 0 has p = 2 / 2^10; among some 5,000 features it takes 20 (test_least_detectable_is_that_of_the_study)."""
    assert results["a word in 1% of pairs, always chosen"].found == 0


def copies_seen_by(function, pairs, monkeypatch):
    """The texts that a plant makes of the pairs."""
    seen = []
    facts = power._facts
    monkeypatch.setattr(
        power, "_facts", lambda given, texts, **words: seen.append(texts) or facts(given, texts, **words)
    )
    function(pairs, power._swapped(pairs, power.np.random.default_rng(0)), power.np.random.default_rng(0))
    return seen[0]


def test_neighbours_are_words_that_both_answers_have(thousand, monkeypatch):
    texts = copies_seen_by(power._neighbours, thousand, monkeypatch)
    with_them = [sides for sides in texts if "zqleft0" in sides[0]]
    assert len(with_them) == 50
    for chosen, rejected in with_them:
        assert "zqleft0 zqright0" in chosen
        assert {"zqleft0", "zqright0"} <= set(words(rejected))
        assert "zqleft0 zqright0" not in rejected


def test_a_word_whose_side_goes_by_the_prompt_is_even_over_all_pairs(thousand, monkeypatch):
    texts = copies_seen_by(power._by_prompt, thousand, monkeypatch)
    sides = [tuple("zqturn0" in text for text in pair) for pair in texts]
    assert (sides.count((True, False)), sides.count((False, True)), sides.count((True, True))) == (25, 25, 0)


def test_too_few_pairs_for_strata_are_not_counted_as_a_miss(thousand):
    assert not [result for result in plant(thousand[:100]) if "short prompts" in result.name]


def test_of_a_thousand_pairs_with_few_long_prompts_only_the_words_that_fit_are_planted(thousand):
    """430 prompts are as long as the upper third begins: 70 are longer, which hold two words of 25 pairs."""
    lengths = [10] * 500 + [20] * 430 + [30] * 70
    prompts = [make_pair("x" * length, "", "").pair.prompt for length in lengths]
    pairs = [power.replace(pair, prompt=prompt) for pair, prompt in zip(thousand, prompts, strict=True)]
    random = power.np.random.default_rng(0)
    (result,) = power._by_prompt(pairs, power._swapped(pairs, random), random)
    assert (result.pairs, result.planted) == (50, 2)
