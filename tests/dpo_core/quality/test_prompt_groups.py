"""Nearly equal prompts belong together: how near, how stably, and what follows for the tests and the split."""

import numpy as np
import pytest
from scipy import stats

from dpo_core.quality.checks import duplicates
from dpo_core.quality.prompts.groups import group_columns, group_prompts, sketches
from dpo_core.quality.prompts.identity import digest, prompt_columns
from dpo_core.quality.table import Block
from dpo_core.recipe import Validation
from tests.dpo_core.quality.quality_data import answer, make_pair, measured, run_check
from tests.dpo_core.quality.quality_data import separated as separation_of

LONG = " ".join(f"word{number}" for number in range(30))  # 26 shingles of five words


def said(text, system=None):
    turns = [{"role": "user", "content": text}]
    return [{"role": "system", "content": system}, *turns] if system else turns


def grouped(*prompts):
    """The first row of each prompt's group, and which prompts are of a template."""
    messages = [said(prompt) if isinstance(prompt, str) else prompt for prompt in prompts]
    groups = group_prompts(np.array([digest(str(prompt)) for prompt in prompts]), sketches(messages))
    return groups.first.tolist(), groups.template.tolist()


def checked(pairs):
    """The check of duplicates, groups of nearly equal prompts included."""
    prompts = prompt_columns(Block(pairs, Validation()))["prompt"]
    groups = group_columns(prompts, group_prompts(prompts, sketches([pair.pair.prompt for pair in pairs])))
    return run_check(duplicates.CHECK, pairs, more=groups)


def others(count):
    """Prompts that are like no other."""
    return [answer(np.random.default_rng(number)) for number in range(count)]


def test_prompts_that_differ_at_an_end_are_one_group_named_by_its_first_row():
    # 26 shingles each; one word more at the end: 26 of 27 in common; another first word: 25 of 27
    first, _ = grouped(*others(4), LONG, "Hello", LONG + " please", LONG.replace("word0", "say"), "Hello", "Hello all")
    assert first == [0, 1, 2, 3, 4, 5, 4, 4, 5, 9]


def test_short_prompts_are_alike_only_where_all_words_are_the_same():
    prompts = [f"prompt {number}" for number in range(3000)]
    assert grouped(*prompts, "Prompt: 7!")[0] == [*range(3000), 7]


def test_what_stands_between_two_prompts_joins_them():
    words = [f"word{number}" for number in range(36)]
    chain = [" ".join(words[start : start + 30]) for start in (0, 2, 4, 6)]  # neighbours: 24 of 28 shingles in common
    assert grouped(*others(6), chain[0], chain[3])[0][6:] == [6, 7]  # 20 of 32
    assert grouped(*others(6), *chain)[0][6:] == [6, 6, 6, 6]


def test_the_system_message_and_the_case_are_no_part_of_what_is_asked():
    asked = said(LONG, "Be kind."), said(LONG.upper(), "Be brief."), said("?!"), said("...")
    assert grouped(*others(4), *asked)[0][4:] == [4, 4, 6, 7]


@pytest.mark.parametrize(("common", "jaccard"), [(32, 0.8), (24, 0.5)])
def test_the_share_that_is_grouped_is_that_of_64_draws(common, jaccard):
    """Two sets of 36 shingles with `common` in both: J = common / (72 - common). 45 of 64 minima must agree."""
    rng = np.random.default_rng(common)
    found, trials = 0, 200
    assert common / (72 - common) == pytest.approx(jaccard, abs=1e-9)
    for _ in range(trials):
        words = [f"w{number}" for number in rng.integers(0, 1 << 40, 40 + 36 - common)]
        one, other = (" ".join(words[start : start + 40]) for start in (0, 36 - common))
        found += grouped(one, other, *"abc")[0][1] == 0
    expected = stats.binom.sf(44, 64, jaccard)
    assert abs(found / trials - expected) < 4 * np.sqrt(expected * (1 - expected) / trials) + 0.01


def test_rows_added_later_leave_the_groups_of_the_others_as_they_are():
    rng = np.random.default_rng(0)
    asked = [answer(rng) for _ in range(60)]
    prompts = [f"{question} {tail}" for question in asked for tail in ("please", "please now", "now, please")]
    rng.shuffle(prompts)
    early, late = grouped(*prompts[:120])[0], grouped(*prompts)[0]
    assert late[:120] == early
    assert len(set(late)) == 60


def test_a_template_filled_in_makes_no_group_of_many_questions():
    filled = [f"{LONG} {name}" for name in map(str, range(30))]  # 26 of 28 shingles in common
    first, template = grouped(*others(60), *filled, filled[3])
    assert first == [*range(90), 63]  # 30 of 90 prompts are more than a tenth; equal ones stay together
    assert template == [False] * 60 + [True] * 31


def test_a_handful_of_prompts_is_never_one_group_alone():
    assert grouped(LONG, LONG + " a", LONG + " b")[0] == [0, 1, 2]  # nothing would be left to hold out


def reworded(*, alike=True):
    """120 questions, each in 5 wordings; whether "zebra" is in the chosen or the rejected answer, the question decides.

    By pairs z = 5 * 28 / sqrt(600) = 5.7; by questions z = 28 / sqrt(120) = 2.6. It also decides which 8 of 60 words
    stand in the chosen answer, and which 8 in the rejected one.
    """
    rng = np.random.default_rng(1)
    for sign in rng.permutation(np.repeat([1, -1], [74, 46])).tolist():
        asked, own = answer(rng, 60), rng.permutation([f"own{number:02}" for number in range(60)])
        for wording in range(5):
            prompt = f"{asked} {wording}" if alike else answer(rng, 60)
            chosen, rejected = [f"zebra {answer(rng)}", f"horse {answer(rng)}"][::sign]
            yield make_pair(prompt, " ".join([chosen, *own[:8]]), " ".join([rejected, *own[8:16]]))


@pytest.fixture(scope="module")
def separated():
    """What tells the sides apart, when the wordings of a question are nearly equal and when they are not."""
    return [separation_of(list(reworded(alike=alike)), Validation()) for alike in (True, False)]


def test_what_goes_with_the_question_and_not_with_the_label_is_no_shortcut(separated):
    by_question, by_pair = ([f.feature for f in findings if f.severity != "info"] for _, findings in separated)
    assert "first word 'zebra'" in by_pair
    assert by_question == []


def test_what_goes_with_the_question_cannot_be_learnt_across_folds(separated):
    by_question, by_pair = (measured(results)["shortcut/probe_words"] for results in separated)
    assert by_question < 0.55 < 0.65 < by_pair  # lower bounds of the accuracy


def test_near_prompts_are_told_with_their_number():
    pairs = [make_pair(text, "yes", "no") for text in (LONG, LONG + " a", *others(8))]
    results = checked(pairs)
    found = next(f for f in results[1] if f.check == "consistency/near_prompts")
    assert (found.severity, found.statistics["pairs"], found.statistics["groups"]) == ("info", 2, 1)
    assert measured(results)["consistency/template_prompts"] == 0
