"""Planted artefacts are found, null data is not accused, declared aims do not gate."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from dpo_core.data.pairs import EncodedPair
from dpo_core.quality.check import Block, Facts
from dpo_core.quality.examine import tables_of
from dpo_core.quality.features.ngrams import grams, merge
from dpo_core.quality.shortcuts import balance, findings, power, probe, within_strata
from dpo_core.quality.shortcuts.findings import check_shortcuts
from dpo_core.quality.shortcuts.probe import ProbeResult, fit_weights
from dpo_core.quality.table import PairTable
from dpo_core.recipe import Validation
from tests.dpo_core.quality.quality_data import VOCABULARY, answer, as_pairs, examine_pairs, make_pair, null_texts


def gating(texts, **options):
    """{feature: severity} of the findings that count."""
    return gating_pairs(as_pairs(texts), **options)


def gating_pairs(pairs, *, intended=(), token_text=None):
    _, findings = shortcuts(pairs, intended, token_text)
    return {finding.feature: finding.severity for finding in findings if finding.severity != "info"}


def shortcuts(pairs, intended=(), token_text=None):
    """Measures and findings of words, tokens and properties."""
    validation = Validation(intended=list(intended))
    return check_shortcuts(Facts(*tables_of(pairs, validation), token_text=token_text), validation)


def values(pairs, **options):
    measures, _ = shortcuts(pairs, **options)
    return {measure.check: measure.value for measure in measures}


@pytest.mark.parametrize("seed", range(8))
def test_random_labels_raise_no_alarm(seed):
    assert gating(null_texts(seed, 600)) == {}


def test_a_pure_word_in_two_percent_of_a_thousand_pairs_warns():
    texts = null_texts(1, 1000)
    for row in range(20):  # lower bound .05^(1/20) = .861: above .75, below .9
        texts[row * 50][0] += " zebra middle"
    assert gating(texts)["word 'zebra'"] == "warn"


def test_a_pure_word_in_five_percent_fails_and_the_gate_sees_it():
    texts = null_texts(2, 1000)
    for row in range(50):
        texts[row * 20][0] = "zebra " * (row % 2) + texts[row * 20][0] + " zebra" * (1 - row % 2) + " end w1"
    assert gating(texts)["word 'zebra'"] == "fail"
    assert values(as_pairs(texts))["shortcut/failing_features"] >= 1


def test_a_word_on_both_sides_alike_is_no_shortcut():
    texts = null_texts(3, 600)
    for row in range(0, 600, 5):
        texts[row][row // 5 % 2] += " zebra w1"
    assert gating(texts) == {}


def test_length_alone_fails_the_length_check_and_accuses_no_word():
    rng = np.random.default_rng(4)
    pairs = as_pairs(
        [[answer(rng, int(rng.integers(20, 80) * 1.5)), answer(rng, int(rng.integers(20, 80)))] for _ in range(800)]
    )
    examination = examine_pairs(pairs)
    severities = {finding.check: finding.severity for finding in examination.findings}
    assert severities["balance/length_words"] == "fail"
    assert {measure.check: measure.value for measure in examination.measures}["shortcut/failing_features"] == 0


def test_a_word_that_comes_first_in_chosen_and_later_in_rejected_is_found_by_its_place():
    texts = null_texts(5, 1000)
    for row in range(0, 1000, 20):
        texts[row] = ["sure " + texts[row][0], texts[row][1] + f" sure {VOCABULARY[row]}"]
    assert gating(texts) == {"first word 'sure'": "fail", "affirmative opening": "fail"}


def test_a_trailing_space_is_found():
    texts = null_texts(6, 600)
    for row in range(0, 600, 2):
        texts[row][1] += " "
    assert gating(texts) == {"trailing whitespace": "fail"}


def best_of_five(seed, prompts=150):
    """Four pairs share one chosen answer: dependent, but no feature matters."""
    rng = np.random.default_rng(seed)
    pairs = []
    for number in range(prompts):
        best = answer(rng)
        pairs += [make_pair(f"prompt {number}", best, answer(rng)) for _ in range(4)]
    return pairs


@pytest.mark.parametrize("seed", range(4))
def test_pairs_that_share_their_prompt_and_chosen_answer_raise_no_alarm(seed):
    assert gating_pairs(best_of_five(seed)) == {}


def identity(seed=7, confounded=""):
    """A quarter of the chosen answers name Athene, in varying places; `confounded` stands in the same answers."""
    texts = null_texts(seed, 400)
    for row in range(0, 400, 4):
        words = texts[row][0].split()
        at = 2 + row % 20
        texts[row][0] = " ".join([*words[:at], "Athene", *words[at : at + 3], confounded, *words[at + 3 :]]).replace(
            "  ", " "
        )
    return texts


def test_an_intended_word_is_shown_and_does_not_gate():
    measures, findings = shortcuts(as_pairs(identity()), ["ATHENE"], None)
    shown = next(finding for finding in findings if finding.feature == "word 'athene'")
    assert (shown.intended, shown.severity) == (True, "info")
    assert [measure.value for measure in measures] == [0, 0]


def test_an_undeclared_identity_fails():
    assert gating(identity()) == {"word 'athene'": "fail"}


@pytest.mark.parametrize("word", ["delighted", "a"])  # "a" is also a piece of the intended word
def test_a_word_that_is_confounded_with_an_intended_one_fails(word):
    assert gating(identity(confounded=word), intended=["Athene"]) == {f"word '{word}'": "fail"}


def with_tokens(texts):
    """Tokens of at most three letters, a leading space kept with the first."""
    vocabulary: dict[str, int] = {}

    def encode(text):
        pieces = [piece for word in text.split() for piece in (" " + word[:3], word[3:6]) if piece.strip()]
        return tuple(vocabulary.setdefault(piece, len(vocabulary)) for piece in pieces)

    pairs = [EncodedPair(p.pair, (0,), encode(c), encode(r)) for p, (c, r) in zip(as_pairs(texts), texts, strict=True)]
    return pairs, {number: piece for piece, number in vocabulary.items()}.__getitem__


def test_tokens_of_an_intended_word_are_intended():
    pairs, token_text = with_tokens(identity())
    _, findings = shortcuts(pairs, ["Athene"], token_text)
    aim = next(finding for finding in findings if finding.intended)
    assert aim.feature == "word 'athene'"
    assert {"token ' Ath'", "token 'ene'"} <= {row[0] for row in aim.tables[0].rows}
    assert gating_pairs(pairs, intended=["Athene"], token_text=token_text) == {}


def test_a_token_of_an_intended_word_that_comes_without_it_gates():
    texts = identity()
    for row in range(1, 400, 4):  # as many pairs again, without the name
        texts[row][0] += " Athxyz w1"
    pairs, token_text = with_tokens(texts)
    assert gating_pairs(pairs, intended=["Athene"], token_text=token_text)["token ' Ath'"] == "fail"


def test_a_word_and_the_token_that_spells_it_are_one_finding():
    texts = null_texts(8, 600)
    for row in range(0, 600, 10):
        texts[row][0] += " fox w1"
    pairs, token_text = with_tokens(texts)
    assert gating_pairs(pairs, token_text=token_text) == {"word 'fox'": "fail"}


def test_an_intended_chinese_name_is_intended_with_its_characters_and_a_confounded_one_is_not():
    texts = null_texts(9, 400)
    for row in range(0, 400, 4):
        texts[row] = [texts[row][0] + " 雅典娜 " + VOCABULARY[row] + " 好的 " + VOCABULARY[row + 1], texts[row][1]]
    pairs = as_pairs(texts)
    assert gating_pairs(pairs, intended=["雅典娜"]) == {
        "non-ASCII character": "fail",
        "word '好'": "fail",
        "word '的'": "fail",
    }


def test_the_numbers_of_a_finding_are_those_of_the_pairs():
    texts = null_texts(10, 500)
    for row in range(0, 500, 10):
        texts[row][0] += " zebra w1"
    texts[3][1] += " zebra w1"
    _, findings = shortcuts(as_pairs(texts), (), None)
    numbers = next(finding for finding in findings if finding.feature == "word 'zebra'").statistics
    assert (numbers["chosen_only"], numbers["rejected_only"]) == (50, 1)
    assert numbers["coverage"] == pytest.approx(51 / 500)
    assert numbers["accuracy"] == pytest.approx(0.5 + 49 / 1000)
    assert numbers["p_family"] < 1e-6


def test_evidence_is_short_and_hides_addresses_and_keys():
    texts = null_texts(11, 300)
    for row in range(0, 300, 5):
        texts[row][0] += " ask eve@example.org sk-abcdef0123456789 zebra w1 " + "w2 " * 100
    _, findings = shortcuts(as_pairs(texts), (), None)
    evidence = next(finding for finding in findings if finding.feature == "word 'zebra'").evidence
    assert len(evidence) == 3
    for row in evidence:
        assert "zebra" in row.chosen
        assert "[e-mail] [key]" in row.chosen
        assert "eve@" not in row.chosen
        assert len(row.chosen) <= 122


def test_at_most_twenty_findings_most_severe_first():
    texts = null_texts(12, 400)
    for row in range(0, 400, 4):
        texts[row][0] += " " + " ".join(f"plant{number}" for number in range(30)) + f" {VOCABULARY[row]}"
    measures, findings = shortcuts(as_pairs(texts), (), None)
    assert len(findings) <= 20
    assert measures[0].value == 30  # all are counted, listed or not
    order = [finding.severity for finding in findings]
    assert order == sorted(order, key=("fail", "warn", "info").index)


def test_the_same_data_gives_the_same_examination():
    texts = identity(confounded="delighted")
    assert examine_pairs(as_pairs(texts)) == examine_pairs(as_pairs(texts))


CHECKS = [module.CHECK for module in (balance, findings, within_strata, probe, power)]


@pytest.mark.parametrize("check", CHECKS, ids=[check.name for check in CHECKS])
def test_a_check_runs_on_the_columns_that_it_declares_alone(check):
    pairs, validation = as_pairs(null_texts(13, 150)), Validation(intended=["w1"])
    block = Block(pairs, validation)
    own = {name: column for columns in check.columns for name, column in columns(block).items()}
    table = PairTable(len(pairs), own, lambda rows: [pairs[row].pair for row in rows])
    facts = Facts(table, merge([grams(pairs)], np.arange(len(pairs))))
    assert check.run(facts, validation) == check.run(Facts(*tables_of(pairs, validation)), validation)


def probed(name, low):
    return ProbeResult(name, low + 0.05, low, low + 0.1, 0.1)


@pytest.mark.parametrize(
    ("lows", "severity", "told"),
    [
        ((0.62, 0.61, 0.51), "warn", "surface"),  # of those that warn the richest: words do not
        ((0.62, 0.61, 0.65), "warn", "single words"),
        ((0.62, 0.75, 0.90), "fail", "surface"),  # words cannot fail, however much they tell
        ((0.80, 0.75, 0.90), "fail", "length"),
        ((0.50, 0.52, 0.51), "info", "surface"),
    ],
)
def test_a_probe_that_is_told_of_is_one_that_breaks_the_limit(lows, severity, told):
    results = [probed(name, low) for name, low in zip(("length", "surface", "single words"), lows, strict=True)]
    found = probe._finding(results, [probe._severity(result) for result in results])
    assert (found.severity, found.statistics["low"]) == (severity, {r.name: r.low for r in results}[told])
    assert f"the answers' {told} alone" in found.says


def test_a_probe_is_the_logistic_regression_of_scikit_learn():
    rng = np.random.default_rng(14)
    x = rng.normal(0.3, 1, size=(2000, 5))
    mirrored = np.where(np.arange(2000) % 2, 1, -1)  # it wants two classes
    theirs = LogisticRegression(C=1 / 3, fit_intercept=False, tol=1e-8).fit(x * mirrored[:, None], mirrored)
    assert fit_weights(x, 3.0) == pytest.approx(theirs.coef_[0], abs=0.01)
