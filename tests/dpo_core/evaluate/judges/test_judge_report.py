import json
import math

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from dpo_core.errors import InputError
from dpo_core.evaluate.judges.agreement import influences, kappa
from dpo_core.evaluate.judges.judge_report import judge_report, report_of, require_kappa
from dpo_core.evaluate.judges.labels import Labelled, read_labels
from dpo_core.evaluate.judges.leanings import lean, longer
from dpo_core.rewards.config import JudgeRules
from dpo_core.rewards.judge import Judge, Verdict
from tests.dpo_core.rewards.test_judge import answers_in

CHOICES = np.array(["first", "second", "tie"])
OTHER = {"first": "second", "second": "first"}


def labelled_pairs(rng, count):
    """Pairs with lengths and labels by lot; the better answer begins with +, as only people and good judges see."""
    pairs = []
    for number in range(count):
        lengths = np.exp(rng.normal(4, 0.7, size=2)).astype(int) + 1
        label = "first" if rng.random() < 0.5 else "second"
        first, second = ("+" * (label == side) + "x" * length for side, length in zip(OTHER, lengths, strict=True))
        generators = ("mine", "other") if rng.random() < 0.5 else ("other", "mine")
        prompt = ({"role": "user", "content": f"question {number}"},)
        pairs.append(Labelled(prompt, first, second, label, generators))
    return pairs


def simulated(rng, *, first_place=0.0, length=0.0, errs=0.0):
    """A judge that names the first place, or the longer answer, with some chance, else the better one but for errors.

    What is drawn for a pair holds in both orders, but for the place.
    """
    drawn = {}

    def reply(question):
        first, second = answers_in(question)
        if rng.random() < first_place:
            return "VERDICT: A"
        pair = frozenset([first, second])
        if pair not in drawn:
            follows, wrong = rng.random(2)
            best = max(pair, key=len) if follows < length else max(pair, key=lambda text: text.startswith("+"))
            drawn[pair] = min(pair - {best}, default=best) if follows >= length and wrong < errs else best
        return "VERDICT: A" if drawn[pair] == first else "VERDICT: B"

    return Judge(lambda questions: [reply(question) for question in questions], JudgeRules(model="mine"))


def reports(seeds=20, count=150, **kind):
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        yield judge_report(simulated(rng, **kind), labelled_pairs(rng, count))


def test_a_position_bias_of_30_percent_is_named_with_its_size():
    found = list(reports(first_place=0.3))
    assert sum(report.first_place.low <= 0.3 <= report.first_place.high for report in found) >= 18  # of 20, 95 % each
    assert sum(report.follows_place.low <= 0.3 <= report.follows_place.high for report in found) >= 18
    assert all(report.first_place.low > 0.15 for report in found)
    assert np.mean([report.first_place.value for report in found]) == pytest.approx(0.3, abs=0.02)
    assert np.mean([report.changed for report in found]) == pytest.approx(0.3, abs=0.02)
    assert sum(report.length.pull.low <= 0 <= report.length.pull.high for report in found) >= 18  # and no other leaning
    assert sum(report.length_slope.low <= 0 <= report.length_slope.high for report in found) >= 18


def test_a_leaning_to_length_is_named_with_its_size():
    found = list(reports(length=0.4, errs=0.1))
    assert sum(report.length.pull.low <= 0.4 <= report.length.pull.high for report in found) >= 18
    assert np.mean([report.length.pull.value for report in found]) == pytest.approx(0.4, abs=0.03)
    assert all(report.length_slope.low > 0 for report in found)
    assert all(report.length.share.low > 0.5 for report in found)
    assert all(report.first_place.low <= 0 <= report.first_place.high for report in found)


def test_a_judge_that_errs_at_random_leans_to_nothing():
    found = list(reports(errs=0.2))
    for of in (lambda r: r.length.pull, lambda r: r.own.pull, lambda r: r.length_slope, lambda r: r.first_place):
        assert sum(of(report).low <= 0 <= of(report).high for report in found) >= 18


def test_a_leaning_to_its_own_answers_is_named_with_its_size():
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        pairs = labelled_pairs(rng, 150)
        own = ["first" if pair.generators[0] == "mine" else "second" for pair in pairs]
        choices = [mine if rng.random() < 0.3 else pair.label for mine, pair in zip(own, pairs, strict=True)]
        found.append(report_of("j", pairs, [Verdict(choice, choice) for choice in choices], wrote_as="mine").own)
    assert sum(leaning.pull.low <= 0.3 <= leaning.pull.high for leaning in found) >= 18
    assert found[0].pairs == 150
    assert report_of("j", pairs, [Verdict("tie", "tie")] * 150, wrote_as="nobody").own is None


def test_min_kappa_refuses_both_and_says_what_they_lean_to():
    place, length, good = (
        next(reports(seeds=1, **kind)) for kind in ({"first_place": 0.3}, {"length": 0.6}, {"errs": 0.1})
    )
    with pytest.raises(
        InputError, match=r"kappa 0\.\d\d .*is below min_kappa 0.7; it leans to the first place by \d\d%"
    ) as one:
        require_kappa(place, 0.7, where="labels.jsonl")
    with pytest.raises(InputError, match=r"is below min_kappa 0.7; it leans to the longer answer by \d\d%"):
        require_kappa(length, 0.7, where="labels.jsonl")
    assert one.value.where == "labels.jsonl"
    require_kappa(good, 0.7, where="labels.jsonl")


def test_labels_that_all_say_one_thing_admit_nobody():
    rng = np.random.default_rng(0)
    pairs = [pair for pair in labelled_pairs(rng, 200) if pair.label == "first"]
    report = judge_report(simulated(rng), pairs)
    assert math.isnan(report.kappa.value)
    with pytest.raises(InputError, match="always the same"):
        require_kappa(report, 0.5, where="l")


def test_kappa_is_sklearns():
    rng = np.random.default_rng(0)
    for count in (20, 200):
        people, judge = (CHOICES[rng.choice(3, count, p=[0.5, 0.3, 0.2])].tolist() for _ in range(2))
        judge[: count // 2] = people[: count // 2]
        assert kappa(people, judge).value == pytest.approx(cohen_kappa_score(people, judge), abs=1e-12)


def test_where_two_agree_on_few_items_kappas_lower_end_is_that_of_the_exact_share():
    # both say first and second equally often, so chance is 1/2; all of n agree: the share's end is 0.025 ** (1 / n)
    for count in (2, 4, 6):
        labels = ["first", "second"] * (count // 2)
        assert kappa(labels, labels).low == pytest.approx(2 * 0.025 ** (1 / count) - 1)


def test_kappas_error_is_that_of_fleiss_cohen_and_everitt():
    # (Psychol. Bull. 1969, 72, 323-327), eq. 13, written out on a table of three
    table = np.array([[53, 5, 2], [11, 14, 5], [1, 6, 3]])
    rows, columns = np.nonzero(table >= 0)
    counts = table[rows, columns]
    people, judge = (CHOICES[np.repeat(side, counts)].tolist() for side in (rows, columns))
    share = table / table.sum()
    row, column = share.sum(1), share.sum(0)
    chance, seen = row @ column, np.trace(share)
    value = (seen - chance) / (1 - chance)
    both = column[:, None] + row[None, :]  # of cell i, j: p.i + pj.
    a = sum(share[i, i] * (1 - (row[i] + column[i]) * (1 - value)) ** 2 for i in range(3))
    b = (1 - value) ** 2 * sum(share[i, j] * both[i, j] ** 2 for i in range(3) for j in range(3) if i != j)
    error = math.sqrt((a + b - (value - chance * (1 - value)) ** 2) / (1 - chance) ** 2 / table.sum())
    found, _, moved = influences(people, judge)
    assert found == pytest.approx(value)
    assert moved.std() / math.sqrt(len(moved)) == pytest.approx(error)
    whole = kappa(people, judge)
    assert 1.96 * error < whole.high - value < 1.3 * 1.96 * error  # t for z, CR2, and the exact share's end


@pytest.mark.parametrize(("count", "copies"), [(30, 0.6), (100, 0.9), (40, 0.98)])
def test_kappas_interval_holds_its_coverage(count, copies):
    rng, shares = np.random.default_rng(1), [0.45, 0.45, 0.1]
    held = 0
    for _ in range(200):  # a judge that copies people's label with chance c, and else draws as they do, has kappa c
        people, drawn = (CHOICES[rng.choice(3, count, p=shares)] for _ in range(2))
        found = kappa(people.tolist(), np.where(rng.random(count) < copies, people, drawn).tolist())
        held += found.low <= copies <= found.high
    assert held >= 184  # 92 %: three standard errors below 95 %, nearly


def test_kappas_interval_knows_that_pairs_of_one_prompt_are_no_independent_ones():
    rng = np.random.default_rng(0)
    people, judge = (CHOICES[rng.choice(2, 40)].tolist() for _ in range(2))
    alone = kappa(people * 5, judge * 5)
    grouped = kappa(people * 5, judge * 5, [str(place) for place in range(40)] * 5)
    assert grouped.value == alone.value
    assert grouped.high - grouped.low > 1.8 * (alone.high - alone.low)  # sqrt(5) = 2.2


def test_agreement_of_all_is_no_certainty():
    found = kappa(["first", "second"] * 10, ["first", "second"] * 10)
    assert found.value == 1.0
    assert 0.6 < found.low < 0.75  # 20 of 20: the share is above 0.832, and 2 * 0.832 - 1 = 0.66
    assert found.high == 1.0


def test_a_leaning_by_hand():
    prompt = ({"role": "user", "content": "?"},)
    rows = [
        ("long", "s", "first", "first"),
        ("long", "s", "second", "first"),
        ("s", "long", "first", "tie"),
        ("a", "b", "tie", "tie"),
    ]
    pairs = [Labelled(prompt, first, second, label) for first, second, label, _ in rows]
    found = lean(pairs, [Verdict(choice, choice) for *_, choice in rows], longer(pairs))
    # people prefer the longer one once, and the judge with them: 1; the shorter one twice, the judge says 1 and 1/2
    assert (found.pairs, found.share.value) == (3, pytest.approx(2.5 / 3))
    assert found.pull.value == pytest.approx(1 + 0.75 - 1)


def test_chosen_and_rejected_take_places_by_lot_and_keep_their_authors(tmp_path):
    file = tmp_path / "l.jsonl"
    rows = [
        {"prompt": f"q{i}", "chosen": f"good {i}", "rejected": [{"role": "assistant", "content": f"bad {i}"}],
         "chosen_generator": "me"}
        for i in range(200)
    ]  # fmt: skip
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_labels(file)
    assert 70 < sum(pair.label == "first" for pair in found) < 130
    for pair in found:
        good = pair.first if pair.label == "first" else pair.second
        assert good.startswith("good")
        assert pair.generators == (("me", "") if pair.label == "first" else ("", "me"))
    assert found == read_labels(file)
    turned = [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in rows]
    file.write_text("".join(json.dumps(row) + "\n" for row in turned))
    assert [pair.first for pair in read_labels(file)] == [pair.first for pair in found]  # whichever is called better


def test_a_label_may_be_a_tie(tmp_path):
    file = tmp_path / "l.jsonl"
    file.write_text('{"prompt": "q", "first": "a", "second": "b", "label": "tie", "second_generator": "me"}\n')
    [pair] = read_labels(file)
    assert (pair.first, pair.second, pair.label, pair.generators) == ("a", "b", "tie", ("", "me"))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"prompt": "q", "first": "a", "second": "b", "label": "A"}', "label is 'A', none of first"),
        ('{"prompt": "q", "chosen": "a"}', "it has no prompt with two answers"),
        ('{"prompt": [], "chosen": "a", "rejected": "b"}', "prompt is an empty list"),
        ('{"prompt": "q", "chosen": 3, "rejected": "b"}', "chosen is a number"),
        ("[]", "it is no object"),
        ("{", "Expecting"),
    ],
)
def test_a_line_that_is_no_labelled_pair_is_named(tmp_path, line, says):
    file = tmp_path / "l.jsonl"
    file.write_text(f'{{"prompt": "q", "chosen": "a", "rejected": "b"}}\n{line}\n')
    with pytest.raises(InputError, match="not a labelled pair") as caught:
        read_labels(file)
    assert says in caught.value.says
    assert caught.value.where == f"{file}:2"


@pytest.mark.parametrize(
    ("content", "says"), [(None, "there is no such file"), (b"\n", "is empty"), (b"\xff", "not UTF-8")]
)
def test_a_file_of_labels_that_cannot_be_read_is_named(tmp_path, content, says):
    file = tmp_path / "l.jsonl"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=says):
        read_labels(file)
