"""A token is drawn by the model's law, by numbers that belong to the answer; what rounding could change is known."""

import math

import numpy as np
import pytest
import torch
from numpy.random import Philox
from scipy.stats import chi2
from transformers import TopPLogitsWarper

from dpo_core.errors import InputError
from dpo_core.model.answers.decoding import Decoding
from dpo_core.model.answers.sampling import CLOSE, choose, stream

DRAWS = 5000
LIMIT = 0.001  # of a chi-square's p; seeds are fixed, so that a test that passes once passes always


def scores(tokens, spread=1.5, seed=0):
    return spread * torch.randn(tokens, generator=torch.Generator().manual_seed(seed))


def drawn(logits, how, count=DRAWS):
    """How often each token came, each draw by a stream of its own."""
    found = [token for token, _ in choose(logits.expand(count, -1), [Philox(key=i) for i in range(count)], how)]
    return torch.bincount(torch.tensor(found), minlength=len(logits)).double()


def unlikeliness(counts, law):
    """p of Pearson's chi-square; tokens that are expected less than five times count as one."""
    assert counts[law == 0].sum() == 0
    counts, expected = counts[law > 0], counts.sum() * law[law > 0]
    rare = expected < 5
    if rare.any():
        counts = torch.cat([counts[~rare], counts[rare].sum()[None]])
        expected = torch.cat([expected[~rare], expected[rare].sum()[None]])
    return chi2.sf(float(((counts - expected) ** 2 / expected).sum()), len(counts) - 1)


@pytest.mark.parametrize(("tokens", "temperature"), [(2, 1.0), (37, 0.5), (600, 1.0), (600, 0.5)])  # 600: three blocks
def test_tokens_are_drawn_by_softmax_at_the_temperature(tokens, temperature):
    logits = scores(tokens)
    law = (logits.double() / temperature).softmax(-1)
    assert unlikeliness(drawn(logits, Decoding(1, temperature)), law) > LIMIT


def test_a_law_that_is_a_little_off_would_be_seen():
    logits = scores(37)
    law = (logits.double() / 0.9).softmax(-1)
    assert unlikeliness(drawn(logits, Decoding(1, 1.0)), law) < LIMIT


@pytest.mark.parametrize(("top_p", "temperature"), [(0.9, 1.0), (0.5, 1.0), (0.8, 0.5), (0.05, 1.0)])
def test_the_nucleus_is_that_of_transformers_and_tokens_are_drawn_in_it_by_their_odds(top_p, temperature):
    logits = scores(300)
    law = TopPLogitsWarper(top_p)(None, logits[None] / temperature)[0].double().softmax(-1)
    assert 0 < (law > 0).sum() < 300
    counts = drawn(logits, Decoding(1, temperature, top_p), 3000)
    assert counts[law == 0].sum() == 0
    if (law > 0).sum() > 1:
        assert unlikeliness(counts, law) > LIMIT
    assert (counts[law > 0.01] > 0).all()


def test_what_the_other_rows_are_does_not_change_a_draw():
    logits = torch.stack([scores(300, seed=i) for i in range(50)])
    for how in (Decoding(1), Decoding(1, 1.0), Decoding(1, 0.7, 0.6)):
        together = choose(logits, [Philox(key=i) for i in range(50)], how)
        assert together == [choose(logits[i : i + 1], [Philox(key=i)], how)[0] for i in range(50)]


def test_a_stream_belongs_to_a_seed_a_prompt_and_a_sample():
    first = [stream(*key).random_raw(2).tolist() for key in KEYS]
    assert first == [stream(*key).random_raw(2).tolist() for key in KEYS]
    assert len({tuple(numbers) for numbers in first}) == len(KEYS)


KEYS = [(0, (1, 2, 3), 0), (1, (1, 2, 3), 0), (0, (1, 2, 3), 1), (0, (1, 2, 4), 0), (0, (1, 2), 30), (0, (1, 2), 3)]


class Near:
    """In a stream's place: its numbers are all `number`."""

    def __init__(self, number):
        self.number = number

    def random_raw(self, count):
        return np.full(count, int(self.number * 2**53) << 11, dtype=np.uint64)


ROWS = 1000
NUCLEUS = 0.7


def edges(kind):
    """Two tokens a row, decided within three CLOSE of an edge: decoding, log-odds of the first token, streams."""
    off = 3 * CLOSE * (2 * torch.rand(ROWS, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 1)
    if kind == "best":
        return Decoding(1), off, [Philox(key=i) for i in range(ROWS)]
    if kind == "nucleus":  # whether the second token is in it
        odds = math.log(NUCLEUS / (1 - NUCLEUS)) + off / (NUCLEUS * (1 - NUCLEUS))
        return Decoding(1, 1.0, NUCLEUS), odds, [Philox(key=i) for i in range(ROWS)]
    odds = torch.linspace(-4, 4, ROWS, dtype=torch.float64)
    return Decoding(1, 1.0), odds, [Near(number) for number in (odds + off).sigmoid().tolist()]


@pytest.mark.parametrize("kind", ["best", "halves", "nucleus"])
def test_rounding_changes_no_token_but_those_that_are_told_to_be_close(kind):
    """Rounding of the logits' difference by less than CLOSE. Most rows are further from the edge, and are not close."""
    found = []
    for sign in (0, 1, -1):
        how, odds, streams = edges(kind)
        rounded = torch.stack([odds + sign * 0.9 * CLOSE, torch.zeros(ROWS, dtype=torch.float64)], dim=1)
        found.append(choose(rounded, streams, how))
    changed = [i for i in range(ROWS) if len({tokens[i][0] for tokens in found}) == 2]
    assert len(changed) > 5
    assert all(found[0][i][1] for i in changed)
    assert 0.05 * ROWS < sum(close for _, close in found[0]) < 0.45 * ROWS


@pytest.mark.parametrize("how", [Decoding(1), Decoding(1, 1.0), Decoding(1, 1.0, 0.5)])
@pytest.mark.parametrize("wrong", [[float("nan")], [float("inf")], [float("nan"), float("-inf")]])
def test_logits_that_are_no_numbers_are_an_error_and_not_an_answer(how, wrong):
    logits = scores(40).repeat(3, 1)
    logits[1, : len(wrong)] = torch.tensor(wrong)
    with pytest.raises(InputError, match="NaN or infinite") as caught:
        choose(logits, [Philox(key=i) for i in range(3)], how)
    assert caught.value.do


def test_a_token_that_cannot_be_is_never_drawn():
    logits = torch.full((300,), float("-inf"))
    logits[[3, 299]] = 0.0
    for how in (Decoding(1, 1.0), Decoding(1, 0.5, 0.999)):
        assert set(drawn(logits, how, 500).nonzero()[:, 0].tolist()) == {3, 299}


@pytest.mark.parametrize("wrong", [{"max_new_tokens": 0}, {"temperature": -1.0}, {"temperature": float("nan")},
                                   {"top_p": 0.0}, {"top_p": 1.5}])  # fmt: skip
def test_a_decoding_that_cannot_be_is_refused_by_its_field(wrong):
    with pytest.raises(InputError) as caught:
        Decoding(**{"max_new_tokens": 1, **wrong})
    assert caught.value.where == next(iter(wrong))
