"""Who is better, by rewards that score and judges that compare."""

import pytest

from dpo_core.evaluate.judges.panel import Panel
from dpo_core.rewards.config import JudgeRules, Rules
from dpo_core.rewards.judge import Judge, JudgeReward
from dpo_core.rewards.rules import RuleReward
from tests.dpo_core.rewards.test_judge import answers_in, longest

PROMPTS = [({"role": "user", "content": text},) for text in ("one?", "two?", "three?")]
SHORT = RuleReward(Rules(max_words=2))


class Reward:
    """By a table; None: no score."""

    def __init__(self, name, table):
        self.name, self.table, self.asked = name, table, []

    def score(self, prompt, answers, wanted):
        self.asked += answers
        return [self.table[answer] for answer in answers]


def test_the_answer_with_the_higher_reward_wins_and_an_equal_one_ties():
    panel = Panel([SHORT], {})
    assert panel.wins(PROMPTS, ["a b", "a b c", "a"], ["a b c", "a b", "b"]) == [1.0, 0.0, 0.5]
    assert panel.scores(PROMPTS, ["a b", "a b c", "a"]) == [1.0, 0.0, 1.0]


def test_a_judge_is_asked_in_both_orders_and_several_vote_by_their_weights():
    asked = []

    def ask(questions):
        asked.extend(questions)
        return [longest(*answers_in(question)) for question in questions]

    judge = JudgeReward(Judge(ask, JudgeRules(model="m")))
    panel = Panel([SHORT, judge], {"rules": 3.0})
    # rules: won, tied, tied; the judge, for whom longer is better: lost, won, tied without being asked
    assert panel.wins(PROMPTS, ["a b", "aaa", "a"], ["a b c", "b", "a"]) == [0.75, 0.625, 0.5]
    assert len(asked) == 4


def test_of_no_prompts_a_judge_is_asked_nothing():
    panel = Panel([JudgeReward(Judge(lambda questions: 1 / 0, JudgeRules(model="m"))), SHORT], {})
    assert panel.wins([], [], []) == []


def test_an_answer_is_scored_once_and_a_prompt_without_a_score_counts_nowhere():
    reward = Reward("own", {"a": 1.0, "b": float("nan"), "c": 0.5})
    panel = Panel([reward], {})
    assert panel.wins(PROMPTS, ["a", "b", "c"], ["c", "a", "c"]) == [1.0, None, 0.5]
    assert panel.scores(PROMPTS, ["a", "b", "c"]) == [1.0, None, 0.5]
    assert sorted(reward.asked) == ["a", "a", "b", "c", "c"]  # to each prompt by itself
    assert "nan" in panel.unscored


def test_a_judge_that_gives_numbers_is_asked_once_an_answer():
    asked = []

    def ask(questions):
        asked.extend(questions)
        return [f"SCORE: {len(question[0]['content'].split('ANSWER>>>')[1].split()[0])}" for question in questions]

    judge = JudgeReward(Judge(ask, JudgeRules(model="m", mode="score")))
    panel = Panel([judge], {})
    assert panel.wins(PROMPTS, ["aa", "b", "cc"], ["a", "bb", "dd"]) == [1.0, 0.0, 0.5]
    assert panel.scores(PROMPTS, ["aa", "b", "cc"]) == pytest.approx([2.0, 1.0, 2.0])
    assert len(asked) == 6
