"""Profiles of data sets, and what counts as a shift between two."""

import json

import numpy as np
import pytest
from scipy import stats

from dpo_core.data.pairs import EncodedPair, Pair
from dpo_core.quality.checks.drift import CHECK, shift_of
from dpo_core.quality.profile import profile_of
from dpo_core.recipe import Validation
from tests.dpo_core.quality.quality_data import (
    answer,
    as_pairs,
    make_pair,
    null_texts,
    run_check,
    severities,
    table_of_pairs,
)

GARDEN = ["roses", "tulips", "soil", "prune", "compost", "seeds", "water", "shade", "hedge", "lawn"]
KITCHEN = ["oven", "flour", "butter", "simmer", "garlic", "onion", "roast", "whisk", "dough", "spice"]


def profile(pairs):
    return json.loads(json.dumps(profile_of(table_of_pairs(pairs, [CHECK]))))


def drift(pairs, previous, **limits):
    return run_check(CHECK, pairs, Validation(**limits), previous=previous)


def from_source(pairs, source):
    return [EncodedPair(Pair(p.pair.prompt, p.pair.chosen, p.pair.rejected, source=source), (), (), ()) for p in pairs]


def about(words, seed, count):
    rng = np.random.default_rng(seed)
    return [make_pair(" ".join(rng.choice(words, 8)), answer(rng), answer(rng)) for _ in range(count)]


def test_sets_drawn_alike_do_not_alarm():
    # 15 distributions, Holm at .01: one false alarm in a hundred comparisons is allowed for
    previous = profile(as_pairs(null_texts(0, 300)))
    alarms = [severities(drift(as_pairs(null_texts(seed, 200)), previous)) for seed in range(1, 13)]
    assert alarms == [{}] * 12


def test_the_same_pairs_in_another_order_have_the_same_digest_and_other_pairs_another():
    pairs = as_pairs(null_texts(0, 50))
    assert profile(pairs)["digest"] == profile(pairs[::-1])["digest"]
    assert profile(pairs)["digest"] != profile(pairs[:-1])["digest"]
    swapped = [EncodedPair(Pair(p.pair.prompt, p.pair.rejected, p.pair.chosen), (), (), ()) for p in pairs]
    assert profile(pairs)["digest"] != profile(swapped)["digest"]


def test_a_profile_is_small_and_holds_no_text():
    pairs = [make_pair(f"secret{row}", f"hidden{row}", f"covert{row}") for row in range(200)]
    text = json.dumps(profile(pairs))
    assert len(text) < 10_000
    assert not any(word in text for word in ("secret", "hidden", "covert"))


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        (
            "length_of_chosen",
            as_pairs(null_texts(0, 300)),
            [make_pair(f"prompt {n}", "w " * 200, "w") for n in range(300)],
        ),
        ("source", from_source(as_pairs(null_texts(0, 300)), "web"), from_source(as_pairs(null_texts(1, 300)), "shop")),
        ("topic", about(GARDEN, 0, 300), [*about(GARDEN, 1, 150), *about(KITCHEN, 2, 150)]),
        (
            "longer_side",
            as_pairs(null_texts(0, 300)),
            [make_pair(f"prompt {n}", f"{a} more", b) for n, (a, b) in enumerate(null_texts(1, 300))],
        ),
        (
            "format_list",
            as_pairs(null_texts(0, 300)),
            [make_pair(f"prompt {n}", f"{a}\n- b", b) for n, (a, b) in enumerate(null_texts(1, 300))],
        ),
        (
            "language_of_rejected",
            [make_pair(f"p{n}", "a", "this is the answer to that question") for n in range(100)],
            [make_pair(f"p{n}", "a", "das ist die Antwort auf eine Frage") for n in range(100)],
        ),
    ],
)
def test_each_planted_shift_warns_and_says_by_how_much(name, before, after):
    results = drift(after, profile(before))
    assert severities(results)[f"drift/{name}"] == "warn"
    finding = next(f for f in results[1] if f.check == f"drift/{name}")
    assert "%" in finding.says
    assert finding.statistics["psi"] > 0.25
    assert len(finding.tables[0].rows) >= 1


def test_a_large_shift_of_a_handful_of_pairs_is_chance():
    results = drift(as_pairs(null_texts(1, 6)), profile(from_source(as_pairs(null_texts(0, 6)), "web")))
    assert results[1] == []
    assert all(measure.warn_above is None for measure in results[0])


def test_a_real_shift_within_the_limit_is_told():
    before = [*from_source(as_pairs(null_texts(0, 500)), "a"), *from_source(as_pairs(null_texts(1, 500)), "b")]
    after = [*from_source(as_pairs(null_texts(2, 620)), "a"), *from_source(as_pairs(null_texts(3, 380)), "b")]
    assert severities(drift(after, profile(before))) == {"drift/source": "info"}
    assert severities(drift(after, profile(before), max_drift=0.01)) == {"drift/source": "warn"}


def test_pairs_of_one_prompt_count_as_one():
    # 100 pairs of 5 prompts: chi-square on 5 against 5
    before = [make_pair(f"p{n % 5}", f"this is the answer number {n}", "x") for n in range(100)]
    after = [make_pair(f"q{n % 5}", f"das ist die Antwort {n}", "x") for n in range(100)]
    assert "drift/language_of_chosen" not in severities(drift(after, profile(before)))


def test_psi_js_and_p_by_hand():
    # shares .5, .5 to .8, .2, each plus half a pair: PSI = .2970 ln(80.5/50.5) - .2970 ln(50.5/20.5) * -1
    shift = shift_of({"a": 50, "b": 50}, {"a": 80, "b": 20})
    delta = 80.5 / 101 - 50.5 / 101
    assert shift.psi == pytest.approx(delta * np.log(80.5 / 50.5) + delta * np.log(50.5 / 20.5))
    half = np.array([0.65, 0.35])
    expected = sum(stats.entropy(np.array(shares), half, base=2) / 2 for shares in ([0.5, 0.5], [0.8, 0.2]))
    assert shift.js == pytest.approx(expected)
    # chi-square: 4 cells, (50 - 65)^2 / 65 * 2 + (50 - 35)^2 / 35 * 2 = 19.78
    assert shift.p == pytest.approx(stats.chi2.sf(2 * 225 / 65 + 2 * 225 / 35, 1))


def test_a_profile_of_another_version_is_not_compared():
    measures, findings = drift(as_pairs(null_texts(0, 20)), {"schema": 99})
    assert measures == []
    assert findings[0].severity == "info"
