import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import t
from sklearn.linear_model import LogisticRegression

from dpo_core.data.digests import prompt_digest
from dpo_core.evaluate.intervals import mean_interval
from dpo_core.evaluate.judges.logistic import fit
from dpo_core.evaluate.judges.win_rate import CALIPER, Contest, at_equal_length, even_in_length, wins_of
from dpo_core.rewards.config import JudgeRules
from dpo_core.rewards.judge import Judge
from tests.dpo_core.rewards.test_judge import answers_in, longest


def contest(number, challenger, champion):
    return Contest(({"role": "user", "content": f"question {number}"},), challenger, champion)


def rates(rows, wins):
    """The rate as it is, and at equal lengths."""
    clusters, more = [prompt_digest(r.prompt) for r in rows], [len(r.challenger) - len(r.champion) for r in rows]
    rate = mean_interval(wins, clusters)
    return rate, at_equal_length(np.array(wins, dtype=float), np.array(more, dtype=float), clusters, rate)


def drawn(rng, count, at_equal, by_length):
    """Contests of a challenger that is longer by 60 characters on average, judged with a leaning to length."""
    more = rng.normal(60, 80, count).astype(int)
    won = rng.random(count) < expit(at_equal + by_length * np.tanh(more / more.std()))
    rows = [contest(i, "x" * (500 + d), "x" * 500) for i, d in enumerate(more)]
    return rows, [float(value) for value in won], more


def test_a_win_rate_counts_ties_half_and_asks_nothing_of_equal_answers():
    asked = []

    def ask(questions):
        asked.extend(questions)
        return [longest(*answers_in(question)) for question in questions]

    rows = [
        contest(0, "long answer", "short"),
        contest(1, "same", "same"),
        contest(2, "a", "bc"),
        contest(3, "ab", "cd"),
    ]
    judge = Judge(ask, JudgeRules(model="m"))
    assert (wins_of(judge, rows), judge.unread, len(asked)) == ([1.0, 0.5, 0.0, 0.5], 0, 6)


def test_a_judge_of_places_alone_gives_ties():
    judge = Judge(lambda asked: ["A"] * len(asked), JudgeRules(model="m"))
    assert wins_of(judge, [contest(i, "a", "b") for i in range(9)]) == [0.5] * 9


@pytest.mark.parametrize(("at_equal", "by_length"), [(0.0, 1.5), (0.7, 1.5), (-1.0, 0.0)])
def test_the_length_controlled_rate_covers_the_rate_at_equal_lengths(at_equal, by_length):
    rng, held, raw = np.random.default_rng(0), 0, []
    for _ in range(60):
        rows, wins, _ = drawn(rng, 150, at_equal, by_length)
        rate, controlled = rates(rows, wins)
        held += controlled.low <= expit(at_equal) <= controlled.high
        raw.append(rate.value)
    assert held >= 54  # of 60, at 95 %
    if by_length:
        assert np.mean(raw) > expit(at_equal) + 0.08  # what the longer answers alone would have won


def test_it_is_the_logistic_regression_of_sklearn_but_for_the_penalty():
    rows, wins, more = drawn(np.random.default_rng(0), 5000, 0.4, 1.2)
    x = np.tanh(more / more.std())[:, None]
    plain = LogisticRegression(C=np.inf, tol=1e-8).fit(x, wins)
    assert rates(rows, wins)[1].value == pytest.approx(expit(plain.intercept_[0]), abs=1e-3)


@pytest.mark.parametrize("more", [(2000, 2001, 2002, 2003), (2000, 2100, 2200, 2250), (2000, 1800, 1500, 1600)])
def test_where_every_answer_is_far_longer_nothing_is_known_of_equal_lengths(more):
    rows = [contest(i, "x" * (10 + extra), "x" * 10) for i, extra in enumerate(more * 5)]
    rate, controlled = rates(rows, [1.0, 0.0, 1.0, 1.0] * 5)
    assert controlled == (rate.value, 0.0, 1.0)


def test_answers_of_one_length_leave_the_rate_as_it_is():
    rows = [contest(i, "ab", "cd") for i in range(30)]
    rate, controlled = rates(rows, [float(i % 3 != 0) for i in range(30)])
    assert controlled == rate


def test_a_challenger_that_is_always_longer_by_as_much_is_not_told_from_its_length():
    _, controlled = rates([contest(i, "abc", "d") for i in range(30)], [1.0] * 30)
    assert controlled[1:] == (0.0, 1.0)


def test_contests_even_in_length_are_those_with_one_of_the_opposite_sign_and_as_much():
    # log ratios of 10, 20 and 40 words against 20, and of 20 against 10: only the first and the last are opposites
    ours, theirs = ["x" * size for size in (10, 20, 40, 90, 20)], ["x" * size for size in (20, 20, 10, 10, 10)]
    assert even_in_length(ours, theirs) == [True, True, False, False, True]
    assert even_in_length(theirs, ours) == even_in_length(ours, theirs)
    assert even_in_length(ours[2:4], theirs[2:4]) == [False, False]  # always longer: nothing can be told


@pytest.mark.parametrize("at_equal", [0.0, 0.7])
def test_on_contests_even_in_length_a_leaning_to_length_decides_nothing_and_the_interval_holds_the_truth(at_equal):
    rng, held, means = np.random.default_rng(0), 0, []
    for _ in range(60):
        rows, wins, more = drawn(rng, 300, at_equal, 1.5)
        kept = np.array(even_in_length([row.challenger for row in rows], [row.champion for row in rows]))
        values = [one for one, mine in zip(wins, kept, strict=True) if mine]
        found = mean_interval(values, [str(i) for i in range(len(values))], shares=True)
        of_those = expit(at_equal + 1.5 * np.tanh(more[kept] / more.std())).mean()
        held += found.low <= of_those <= found.high
        means.append(found.value)
        assert (more[kept] > 0).sum() == (more[kept] < 0).sum()
        assert abs(np.log1p(500 + more[kept]).mean() - np.log(501)) <= CALIPER
    assert held >= 54  # of 60, at 95 %
    assert 0.48 <= np.mean(means) <= expit(at_equal) + 0.02  # drawn towards a half, never beyond what it is


@pytest.mark.parametrize(("won", "count"), [(7, 20), (0, 9), (9, 9)])
def test_firths_estimate_of_one_share_adds_half_a_win_and_half_a_loss(won, count):
    y = np.array([1.0] * won + [0.0] * (count - won))
    found = fit(np.ones((count, 1)), y, [str(i) for i in range(count)])
    share = (won + 0.5) / (count + 1)
    assert found.coefficients[0] == pytest.approx(np.log(share / (1 - share)))


def test_sides_that_separate_have_a_finite_slope():
    x = np.linspace(-2, 2, 30)[:, None]
    found = fit(x, (x[:, 0] > 0).astype(float), [str(i) for i in range(30)]).interval(0)
    assert 0 < found.low < found.value < 20


def test_the_limits_of_one_share_are_those_of_its_penalised_likelihood():
    # of an intercept alone: 2 (l(b) - l(limit)) = t^2 with l = (w + 1/2) log p + (n - w + 1/2) log(1 - p)
    y = np.array([1.0] * 14 + [0.0] * 6)
    whole = fit(np.ones((20, 1)), y, [str(i) for i in range(20)])
    found, inflation = whole.interval(0), max(1.0, whole.inflation[0])
    assert inflation < 1.06  # 20 / 19 for the sandwich
    nats = {b: 14.5 * np.log(expit(b)) + 6.5 * np.log(expit(-b)) for b in found}
    for end in (found.low, found.high):
        assert 2 * (nats[found.value] - nats[end]) == pytest.approx(inflation * t.ppf(0.975, 19) ** 2)


def test_rows_of_one_prompt_are_no_independent_ones():
    rows, wins, _ = drawn(np.random.default_rng(0), 60, 0.2, 1.0)
    (_, once), (_, five) = rates(rows, wins), rates(rows * 5, wins * 5)
    assert five.high - five.low == pytest.approx(once.high - once.low, rel=0.1)


def test_columns_that_say_the_same_are_refused():
    with pytest.raises(ValueError, match="not independent"):
        fit(np.ones((5, 2)), np.array([0.0, 1, 0, 1, 1]), list("abcde"))
