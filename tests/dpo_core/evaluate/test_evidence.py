"""What stands side by side after an evaluation."""

import dataclasses
import json

import numpy as np
import pytest

from dpo_core.data.pairs import Message, Pair
from dpo_core.evaluate.behaviour import BehaviourCheck
from dpo_core.evaluate.evidence import Measured, Questions, draw_samples, side_by_side
from dpo_core.evaluate.gate import decide
from dpo_core.evaluate.generations import length_ratios
from dpo_core.evaluate.intervals import mean_interval
from dpo_core.evaluate.preferred import JudgedBy
from dpo_core.evaluate.scores import SOUND, Scores
from dpo_core.evaluate.unseen import Items
from dpo_core.recipe_release import Gate
from dpo_core.report.sentences import preferred_sentences


def asked(text: str) -> tuple[Message, ...]:
    return ({"role": "user", "content": text},)


CAPITAL, SUM = asked("The capital of France?"), asked("2 + 2?")
SUITES = {"retention/facts": [BehaviourCheck(CAPITAL, (("Paris",),)), BehaviourCheck(SUM, (("4", "four"),))]}


def measured(*answers: str, margins: tuple[float, ...] = (0.0, 0.0), nll: tuple[float, ...] = ()) -> Measured:
    values = {"rewards/margins": list(margins), "rewards/accuracies": [float(margin > 0) for margin in margins]}
    paragraphs = dict(zip(("digest 1", "digest 2"), nll, strict=False))
    return Measured({"retention/facts": answers, "samples": [answers[0]]}, paragraphs, values)


REFERENCE = measured("It is Paris.", "Five.", nll=(3.0, 2.0))
CHALLENGER = measured("It is Lyon.", "It is four.", margins=(0.5, -0.1), nll=(2.5, 2.0))
MODELS = {"reference": REFERENCE, "challenger": CHALLENGER, "baseline": REFERENCE}
PAIRS = [Pair(CAPITAL, (), (), source="web"), Pair(SUM, (), (), source="book")]
BOTH = Items([0, 1], ["a", "b"])  # 10 and 11: names are hexadecimal


def evidence(**items: Items):
    compared = {"pairs": BOTH, "retention/facts": BOTH, "samples": Items([0], ["a"])} | items
    return side_by_side(MODELS, Questions(SUITES, [asked("The capital?")], PAIRS, compared)).to_document()


EVIDENCE = evidence()


def test_a_question_lost_and_one_won_are_flips_although_the_mean_stays() -> None:
    means = {who: row["retention/facts"]["value"] for who, row in EVIDENCE["means"].items()}
    assert means == {"reference": 0.5, "challenger": 0.5, "baseline": 0.5}
    flips = EVIDENCE["flips"]["retention/facts"]
    assert flips["lost"] == [{"prompt": "The capital of France?", "before": "It is Paris.", "after": "It is Lyon."}]
    assert [row["after"] for row in flips["won"]] == ["It is four."]


def test_flips_are_against_what_it_is_gated_against() -> None:
    champion = measured("It is Lyon.", "It is four.")
    models = {"reference": REFERENCE, "challenger": CHALLENGER, "baseline": champion}
    compared = {"pairs": BOTH, "retention/facts": BOTH, "samples": Items([0], ["a"])}
    flips = side_by_side(models, Questions(SUITES, [asked("The capital?")], PAIRS, compared)).flips["retention/facts"]
    assert (flips.lost, flips.won) == ([], [])


def test_the_items_of_a_text_are_minus_its_nll_so_that_more_is_better_everywhere() -> None:
    assert EVIDENCE["items"]["challenger"]["retention/neutral_text"]["values"] == [-2.5, -2.0]
    assert EVIDENCE["items"]["baseline"]["retention/neutral_text"]["values"] == [-3.0, -2.0]
    assert EVIDENCE["items"]["baseline"]["retention/neutral_text"]["clusters"] == ["digest 1", "digest 2"]


def test_scores_of_a_task_of_lm_eval_are_items_like_others_less_those_that_were_trained_on() -> None:
    models = {
        who: dataclasses.replace(model, benchmarks={"lm_eval/sums": [1.0, float(who == "challenger"), 0.0]})
        for who, model in MODELS.items()
    }
    compared = {"pairs": BOTH, "retention/facts": BOTH, "samples": Items([0], ["a"])}
    compared |= {"lm_eval/sums": Items([0, 1], ["a", "b"], 1)}
    document = side_by_side(models, Questions(SUITES, [asked("The capital?")], PAIRS, compared)).to_document()
    found = {who: document["items"][who]["lm_eval/sums"] for who in ("challenger", "baseline")}
    assert found["challenger"] == {"values": [1.0, 1.0], "clusters": ["a", "b"], "left_out": 1}
    assert found["baseline"]["values"] == [1.0, 0.0]
    mean = document["metrics"]["lm_eval/sums"]
    assert (mean["value"], mean["high"]) == (1.0, 1.0)  # a share's interval ends there
    assert 0 < mean["low"] < 1


def test_every_answer_stands_beside_those_of_the_other_models() -> None:
    row = EVIDENCE["checks"]["retention/facts"][1]
    assert (row["reference"], row["challenger"], row["baseline"]) == ("Five.", "It is four.", "Five.")
    assert row["passes"] is True
    assert EVIDENCE["samples"][0]["challenger"] == "It is Lyon."


def test_the_metrics_are_the_challengers() -> None:
    assert EVIDENCE["metrics"]["rewards/margins"]["value"] == 0.2  # (0.5 - 0.1) / 2
    assert EVIDENCE["slices"]["source=web"]["rewards/accuracies"]["value"] == 1.0
    assert EVIDENCE["slices"]["source=book"]["rewards/accuracies"]["value"] == 0.0
    assert json.loads(json.dumps(EVIDENCE, allow_nan=False)) == EVIDENCE


def test_samples_come_from_every_source_before_a_second_of_one() -> None:
    pairs = [Pair(asked(text), (), (), source=text[0]) for text in ("a1", "a2", "a3", "b1", "a1")]
    texts = [prompt[0]["content"] for prompt in draw_samples(pairs, 3)]
    assert texts == ["a1", "b1", "a2"]


def test_an_item_that_a_model_was_trained_on_is_in_no_figure_and_is_counted() -> None:
    document = evidence(pairs=Items([1], ["b"], 1))
    scores = document["items"]["challenger"]["rewards/margins"]
    assert scores == {"values": [-0.1], "clusters": ["b"], "left_out": 1}
    assert document["metrics"]["rewards/margins"]["value"] == -0.1
    assert document["slices"]["source=book"]["rewards/margins"]["value"] == -0.1
    assert "source=web" not in document["slices"]
    assert not any("[" in name for name in document["means"]["challenger"])  # parts stand in `slices`
    part = document["items"]["challenger"]["rewards/accuracies[source=web]"]
    assert part == {"values": [], "clusters": [], "left_out": 1}


def test_beside_the_accuracy_of_each_part_stand_those_of_rules_that_understand_nothing() -> None:
    compared = {"pairs": BOTH, "retention/facts": BOTH, "samples": Items([], [])}
    found = side_by_side(
        MODELS, Questions(SUITES, [asked("The capital?")], PAIRS, compared, trivial={"longer answer": [0.0, 0.5]})
    )
    parts = {name: row["longer answer"].value for name, row in found.slices.items()}
    assert (parts["source=web"], parts["source=book"]) == (0.0, 0.5)
    assert found.trivial["longer answer"].value == 0.25


def test_where_no_pair_is_left_there_is_no_figure_of_pairs() -> None:
    document = evidence(pairs=Items([], [], 2))
    assert "rewards/margins" not in document["metrics"]
    assert document["items"]["challenger"]["rewards/margins"]["values"] == []


def test_answers_that_are_no_language_are_counted_in_every_suite_and_named() -> None:
    models = MODELS | {"challenger": measured("", "It is four.", margins=(0.5, -0.1))}
    compared = {"pairs": BOTH, "retention/facts": BOTH, "samples": Items([0], ["a"])}
    document = side_by_side(models, Questions(SUITES, [asked("The capital?")], PAIRS, compared)).to_document()
    assert document["items"]["challenger"]["generations/sound"]["values"] == [0.0, 0.0, 1.0]  # sample; two facts
    assert document["items"]["baseline"]["generations/sound"]["values"] == [1.0, 1.0, 1.0]
    assert document["unsound"][1] == {"prompt": "The capital of France?", "answer": "", "fault": "is empty"}


def test_an_answer_that_does_not_end_where_the_baselines_did_is_unsound_of_the_challenger_alone() -> None:
    long = "It is four, and four is a number that comes after three and before the next one, which is"
    cut = {"retention/facts": [False, True], "samples": [False]}
    ended = {"retention/facts": [False, False], "samples": [False]}
    challenger = dataclasses.replace(measured("It is Lyon.", long), cut=cut)
    brief = dataclasses.replace(REFERENCE, cut=ended)
    compared = {"pairs": BOTH, "retention/facts": BOTH, "samples": Items([0], ["a"])}
    questions = Questions(SUITES, [asked("The capital?")], PAIRS, compared)

    def sound(challenger: Measured, baseline: Measured) -> dict[str, list[float]]:
        models = {"reference": brief, "challenger": challenger, "baseline": baseline}
        found = side_by_side(models, questions)
        assert [row.fault for row in found.unsound] == ["does not end"] * found.items["challenger"][SOUND].values.count(
            0
        )
        return {who: items[SOUND].values for who, items in found.items.items()}

    assert sound(challenger, brief) == {"challenger": [1.0, 1.0, 0.0], "baseline": [1.0, 1.0, 1.0]}
    # short answers after long ones: nothing is held against either
    assert sound(brief, challenger) == {"challenger": [1.0, 1.0, 1.0], "baseline": [1.0, 1.0, 1.0]}


def test_how_long_the_answers_are_and_how_many_decline_is_told_of_each_model() -> None:
    models = MODELS | {"challenger": measured("I cannot help with that.", "It is four.", margins=(0.5, -0.1))}
    compared = {"pairs": BOTH, "retention/facts": BOTH, "samples": Items([0], ["a"])}
    found = side_by_side(models, Questions(SUITES, [asked("The capital?")], PAIRS, compared)).generated
    # the sample and the first fact: 5 words, which decline; the second: 3
    assert found["challenger"]["words"].value == (5 + 5 + 3) / 3
    assert found["challenger"]["refusals"].value == 2 / 3
    assert found["baseline"]["refusals"].value == 0


def test_scores_that_people_read_are_of_items_that_the_gate_does_not_see_where_some_are_sealed() -> None:
    document = evidence(pairs=Items([0, 1], ["a", "b"], sealed=[True, False]))
    assert document["sealed"] == ["pairs"]
    assert document["metrics"]["rewards/margins"]["value"] == 0.5  # of the sealed pair
    assert document["items"]["challenger"]["rewards/margins"]["values"] == [-0.1]


def test_a_question_with_several_answers_counts_by_the_share_of_them_that_is_right() -> None:
    drawn = {"retention/facts": [["Paris.", "Lyon.", "It is Paris.", "Paris"], ["5", "four", "Four.", "five"]]}
    challenger = dataclasses.replace(CHALLENGER, sampled=drawn)
    models = MODELS | {"challenger": challenger}
    compared = {"pairs": BOTH, "retention/facts": BOTH, "samples": Items([0], ["a"])}
    found = side_by_side(models, Questions(SUITES, [asked("The capital?")], PAIRS, compared))
    assert found.items["challenger"]["retention/facts"].values == [0.75, 0.5]
    assert found.items["baseline"]["retention/facts"].values == [1.0, 0.0]
    row = found.checks["retention/facts"][1]
    assert (row.challenger, row.passes) == ("It is four.", True), "beside the likeliest answer"
    assert row.right == {"challenger": [False, True, True, False]}
    mean = found.means["challenger"]["retention/facts"]
    assert (mean.value, 0 <= mean.low < mean.high <= 1) == (0.625, True)


def test_the_gate_sees_whose_answers_are_better_but_for_prompts_without_a_score() -> None:
    def judged(who: Measured, wins: list[float | None], rewards: list[float | None]) -> Measured:
        answers = {**who.answers, "samples": ["long enough", "short", "?"]}
        return dataclasses.replace(who, answers=answers, wins=wins, rewards=rewards)

    same = judged(REFERENCE, [0.5] * 3, [1.0, 2.0, 0.0])
    models = {"reference": same, "baseline": same, "challenger": judged(CHALLENGER, [1.0, 0.5, None], [3.0, 2.0, None])}
    compared = {"pairs": BOTH, "retention/facts": BOTH, "samples": Items([0, 1, 2], ["a", "b", "c"])}
    prompts = [asked(text) for text in ("one?", "two?", "three?")]
    questions = Questions(SUITES, prompts, PAIRS, compared, judged_by=JudgedBy(["rules"], unscored="too long"))
    found = side_by_side(models, questions)
    assert found.items["challenger"]["answers/win_rate"].values == [1.0, 0.5]
    assert found.items["baseline"]["answers/win_rate"].values == [0.5, 0.5]
    assert found.items["challenger"]["answers/reward"].values == [3.0, 2.0]
    assert found.items["challenger"]["answers/win_rate_equal_length"].clusters == ["a", "b"]  # no text differs
    assert found.preferred is not None
    assert (found.preferred.prompts, found.preferred.unscored, found.preferred.tied) == (2, 1, 0.5)
    assert found.preferred.reward["baseline"].value == 1.5
    said = " ".join(preferred_sentences(found.preferred))
    assert "better to 75.0% of 2 held-out prompts" in said
    assert "1 more have no score (too long)" in said


def test_answers_that_decline_repeat_themselves_or_grow_are_metrics_of_every_model_and_of_the_gate() -> None:
    loop = "again and again and so on " * 4
    models = MODELS | {"challenger": measured(loop, "I cannot say.", margins=(0.5, -0.1))}
    compared = {"pairs": BOTH, "retention/facts": BOTH, "samples": Items([], [])}
    found = side_by_side(models, Questions(SUITES, [asked("The capital?")], PAIRS, compared))
    mine, theirs = found.items["challenger"], found.items["baseline"]
    assert mine["generations/answered"].values == [1.0, 0.0]
    assert mine["generations/varied"].values == [pytest.approx(6 / 21), 1.0]  # 21 4-grams, 6 different ones
    assert found.means["challenger"]["generations/length"].value == pytest.approx((24 + 3) / (3 + 1))
    assert theirs["generations/length"].values == [1.0, 1.0]
    assert "generations/brevity" in found.metrics  # of several seeds the middle one by it may be asked for
    assert mine["generations/brevity"].values == [-value for value in mine["generations/length"].values]
    rules = Gate.model_validate({"improve": [], "keep": {"generations/brevity": 0.25}, "min_items": 2, "alpha": 0.4})
    scores = [{name: Scores(**dict(s)) for name, s in found.items[who].items()} for who in ("challenger", "baseline")]
    [condition] = decide(*scores, rules).conditions
    assert condition.difference == pytest.approx(1 - 27 / 4)
    assert condition.verdict == "reject_regression"


def test_answers_in_another_language_than_their_question_are_a_metric() -> None:
    said = "Die Hauptstadt ist Paris, und das ist auch nicht der Ort, an dem wir sind."
    question = asked("What is the capital of France, and where is it that you have been to?")
    models = MODELS | {"challenger": measured(said, "It is four.", margins=(0.5, -0.1))}
    suites = {"retention/facts": [BehaviourCheck(question, (("Paris",),)), BehaviourCheck(SUM, (("4",),))]}
    compared = {"pairs": BOTH, "retention/facts": BOTH, "samples": Items([], [])}
    found = side_by_side(models, Questions(suites, [asked("The capital?")], PAIRS, compared))
    assert found.items["challenger"]["generations/language"].values == [0.0, 1.0]
    assert found.items["baseline"]["generations/language"].values == [1.0, 1.0]


def test_a_ratio_of_lengths_is_that_of_all_words_and_not_told_where_one_prompt_has_them_all() -> None:
    assert np.mean(length_ratios([30, 6, 3], [10, 12, 5], ["a", "b", "c"])) == pytest.approx(39 / 27)
    assert length_ratios([7, 9], [7, 9], ["a", "b"]) == [1.0, 1.0]
    for others, clusters in (([0, 0], ["a", "b"]), ([4, 0], ["a", "b"]), ([4, 5], ["a", "a"])):
        assert length_ratios([3, 5], others, clusters) == []


@pytest.mark.parametrize(("prompts", "most"), [(20, 4), (72, 1)])
def test_the_interval_of_a_ratio_of_lengths_holds_its_coverage(prompts: int, most: int) -> None:
    random, held, draws = np.random.default_rng(2), 0, 1000
    for _ in range(draws):
        owners = np.repeat(np.arange(prompts), random.integers(1, most + 1, prompts))
        others = 1 + random.poisson(20 * random.gamma(2, 0.5, prompts)[owners])  # long and short, alike in a prompt
        own = random.poisson(1.25 * others * random.gamma(4, 0.25, prompts)[owners])
        values = length_ratios(own.tolist(), others.tolist(), list(map(str, owners)))
        low, high = mean_interval(values, list(map(str, owners)), answers=False)[1:]
        held += low <= 1.25 <= high
    assert abs(held / draws - 0.95) <= 0.02


def test_the_interval_of_a_ratio_of_lengths_holds_it_where_a_few_of_twenty_answers_are_most_of_the_words() -> None:
    random, held, draws = np.random.default_rng(6), 0, 1000
    prompts = [str(place) for place in range(20)]
    for _ in range(draws):  # log-normal, its deviation 0.94: half of 20 answers have 81 % of the words
        topics = 0.5 * random.normal(size=20)
        own, others = (np.rint(words * np.exp(topics + 0.8 * random.normal(size=20))) for words in (70, 100))
        low, high = mean_interval(length_ratios(own.tolist(), others.tolist(), prompts), prompts, answers=False)[1:]
        held += low <= 0.7 <= high
    assert abs(held / draws - 0.95) <= 0.02


def test_an_empty_answer_is_none_and_one_that_loops_in_another_language_counts_as_both() -> None:
    loop = "und das ist auch nicht der Ort, " * 6
    question = asked("What is the capital of France, and where is it that you have been to?")
    models = MODELS | {"challenger": measured(loop, "", margins=(0.5, -0.1))}
    suites = {"retention/facts": [BehaviourCheck(question, (("Paris",),)), BehaviourCheck(SUM, (("4",),))]}
    compared = {"pairs": BOTH, "retention/facts": BOTH, "samples": Items([], [])}
    found = side_by_side(models, Questions(suites, [asked("The capital?")], PAIRS, compared))
    mine = found.items["challenger"]
    assert mine["generations/answered"].values == [1.0, 0.0]
    assert mine["generations/language"].values == [0.0, 1.0]
    assert mine["generations/varied"].values[0] < 0.5
