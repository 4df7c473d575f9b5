import math

import numpy as np
import pytest

from dpo_core.errors import InputError
from dpo_core.rewards.build import build
from dpo_core.rewards.config import Rewards
from dpo_core.rewards.ensemble import Ensemble
from dpo_core.rewards.entry_point import FunctionReward
from dpo_core.rewards.reward import Unscored, Watched

ASKED = [{"role": "user", "content": "What is the sea?"}]


class Given:
    """Scores that a test names."""

    def __init__(self, name, scores):
        self.name, self.scores = name, scores

    def score(self, prompt, answers, wanted):
        return self.scores


@pytest.mark.parametrize(
    ("scores", "says"),
    [
        ([1.0, math.nan], "the reward mine gave nan to answer 2 of 2"),
        ([-math.inf, 1.0], "gave -inf to answer 1 of 2"),
        ([1.0], "gave 1 scores for 2 answers"),
        (None, "gave a NoneType for 2 answers"),
        (["7", 1.0], "gave '7' to answer 1"),
        ([True, 1.0], "gave True to answer 1"),
    ],
)
def test_what_is_no_finite_number_is_refused_with_reward_and_prompt(scores, says):
    with pytest.raises(Unscored) as caught:
        Watched(Given("mine", scores)).score(ASKED, ["a", "b"], {})
    assert says in caught.value.says
    assert "(What is the sea?)" in caught.value.where


def test_a_reward_that_tells_nothing_of_100_prompts_is_known():
    watched, value = Watched(Given("mine", [0.5, 0.5])), 0.0
    for number in range(100):
        watched.require_informative()
        assert not watched.flat
        watched.reward.scores = [value + number, value + number]  # other scores for other prompts tell nothing either
        watched.score(ASKED, ["a", "b"], {})
    with pytest.raises(InputError, match="the same score, for all of 100 prompts"):
        watched.require_informative()


def test_one_prompt_whose_answers_differ_is_enough():
    watched = Watched(Given("mine", [0.5, 0.6]))
    watched.score(ASKED, ["a", "b"], {})
    watched.reward.scores = [0.5, 0.5]
    for _ in range(200):
        watched.score(ASKED, ["a", "b"], {})
    assert not watched.flat


def test_the_mean_of_an_ensemble_is_of_standardised_scores():
    scores = {"a": [1.0, 2.0, 6.0], "b": [300.0, 100.0, 200.0], "c": [7.0, 7.0, 7.0]}
    ensemble = Ensemble([Given(*item) for item in scores.items()], weights={"a": 2.0})
    z = {name: (np.array(row) - np.mean(row)) / (np.std(row) or 1) for name, row in scores.items()}
    assert ensemble.score(ASKED, ["x", "y", "z"], {}) == pytest.approx((2 * z["a"] + z["b"]) / 4)


def test_a_vote_is_the_share_of_the_others_that_each_prefers_an_answer_to():
    ensemble = Ensemble([Given("a", [1.0, 2.0, 900.0]), Given("b", [3.0, 3.0, 1.0])], by="vote")
    # a: 0, 1/2, 1; b: of the two others one tie and one win: 3/4, 3/4, 0
    assert ensemble.score(ASKED, ["x", "y", "z"], {}) == pytest.approx([0.375, 0.625, 0.5])


def test_a_member_of_an_ensemble_without_scores_is_named():
    with pytest.raises(Unscored, match="the reward b gave nan"):
        Ensemble([Given("a", [1.0]), Given("b", [math.nan])]).score(ASKED, ["x"], {})


def written(folder, code):
    (folder / "mine.py").write_text(code)
    return FunctionReward("mine.py:good", folder=folder)


def test_a_function_of_a_file_beside_the_recipe_is_a_reward(tmp_path):
    code = "import numpy\n\ndef good(prompt, answers, wanted):\n"
    code += "    return numpy.array([len(a) + wanted['more'] for a in answers])\n"
    reward = written(tmp_path, code)
    assert reward.score(ASKED, ["a", "abc"], {"more": 2}) == [3.0, 5.0]
    assert len(reward.digest) == 64


def test_a_function_of_a_package_is_a_reward():
    assert FunctionReward("tests.dpo_core.rewards.test_reward:by_length", folder=None).score(ASKED, ["ab"], {}) == [2.0]


def test_a_function_of_a_package_is_known_by_every_file_of_the_package(tmp_path, monkeypatch):
    package = tmp_path / "some_rewards"
    good = "def good(prompt, answers, wanted):\n    return [1.0 for _ in answers]\n"
    files = {"__init__.py": "from .impl import good\n", "impl.py": good, "inner/help.py": "X = 1\n"}
    for name, text in files.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    digests = [FunctionReward("some_rewards:good", folder=None).digest]
    for name, text in files.items():
        (package / name).write_text(f"{text}# edited\n")
        digests.append(FunctionReward("some_rewards:good", folder=None).digest)
    assert len(set(digests)) == 4


def by_length(prompt, answers, wanted):
    return [float(len(answer)) for answer in answers]


def test_a_function_cannot_change_what_it_is_given(tmp_path):
    code = "def good(prompt, answers, wanted):\n    prompt[0]['content'] = wanted['a'] = ''\n"
    code += "    answers.append('x')\n    return [1]\n"
    prompt, answers, wanted = [dict(ASKED[0])], ["a"], {"a": 1}
    written(tmp_path, code).score(prompt, answers, wanted)
    assert (prompt, answers, wanted) == (ASKED, ["a"], {"a": 1})


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (
            "def good(p, a, w):\n    return [1 / len(x) for x in a]\n",
            "mine.py:good raised ZeroDivisionError: division by zero (mine.py:2)",
        ),
        ("def good(p, a, w):\n    return None\n", "TypeError"),
        ("def good(p, a, w):\n    return [float('nan')]\n", "the reward mine.py:good gave nan"),
        ("def good(p, a, w):\n    return []\n", "gave 0 scores for 1 answers"),
        ("def good(p, a, w):\n    return 'x'\n", "gave a str for 1 answers"),
    ],
)
def test_a_function_that_fails_on_a_prompt_is_named_with_the_prompt(tmp_path, code, says):
    with pytest.raises(Unscored) as caught:
        written(tmp_path, code).score(ASKED, [""], {"where": "p.jsonl:9"})
    assert says in caught.value.says
    assert caught.value.where == "p.jsonl:9"


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ("mine.py", "'mine.py' names no function"),
        ("gone.py:good", "there is no such file"),
        ("no_such_package.x:good", "no_such_package.x cannot be imported: ModuleNotFoundError"),
        ("mine.py:bad", "mine.py has no function bad"),
        ("mine.py:short", "does not take what it is given"),
        ("broken.py:good", "broken.py cannot be imported: SyntaxError"),
    ],
)
def test_a_function_that_is_not_there_is_refused_at_once(tmp_path, named, says):
    (tmp_path / "mine.py").write_text("def short(prompt):\n    return [1]\n")
    (tmp_path / "broken.py").write_text("def good(:\n")
    with pytest.raises(InputError) as caught:
        FunctionReward(named, folder=tmp_path)
    assert says in caught.value.says
    assert not isinstance(caught.value, Unscored)


def test_a_recipe_with_several_rewards_is_their_ensemble(tmp_path):
    (tmp_path / "mine.py").write_text("def good(prompt, answers, wanted):\n    return [len(a) for a in answers]\n")
    recipe = {"rules": {"must_contain": "sea"}, "entry_point": {"function": "mine.py:good"}, "combine": "vote"}
    reward = build(Rewards.model_validate(recipe), ask=None, load_classifier=None, folder=tmp_path)
    assert reward.score(ASKED, ["the sea", "a very long answer"], {}) == [0.5, 0.5]
    alone = build(Rewards(rules=recipe["rules"]), ask=None, load_classifier=None, folder=tmp_path)
    assert (alone.name, alone.score(ASKED, ["the sea", "x"], {})) == ("rules", [1.0, 0.0])


@pytest.mark.parametrize(
    "recipe",
    [
        {},
        {"rules": {"max_words": 3}, "weights": {"judge": 1.0}},
        {"panel": {"rules": {"model": "x"}}},
        {"judge": {"model": "x", "min_kappa": 0.6}},
        {"judge": {"model": "x", "low": 5, "high": 5}},
    ],
)
def test_a_recipe_of_rewards_that_cannot_be_meant_is_refused(recipe):
    with pytest.raises(ValueError, match=r"no reward|kind of reward|needs labels|is not below"):
        Rewards.model_validate(recipe)
