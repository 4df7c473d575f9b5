"""Two estimates of the KL divergence whose expectation is the divergence itself."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import entropy

from dpo_core.model.encode import load_tokenizer
from dpo_core.model.load import load_model
from dpo_core.recipe import Encoding, Training
from dpo_core.recipe_evaluation import Evaluation
from tasks.evaluation.divergence import _drawn, _k1, _k3
from tests.tiny import build_talking_model


def test_the_end_that_is_scored_is_the_one_that_was_drawn(tmp_path):
    folder = build_talking_model(tmp_path / "model")
    tokenizer = load_tokenizer(folder)
    ends = tokenizer.convert_tokens_to_ids(["a", "<|im_end|>"])  # as likely as each other
    model = load_model(folder)
    model.generation_config.eos_token_id = ends
    recipe = SimpleNamespace(
        evaluation=Evaluation(max_new_tokens=64), encoding=Encoding(), training=Training(dtype="float32")
    )
    prompts = [({"role": "user", "content": f"{number}?"},) for number in range(16)]
    drawn = _drawn(model, tokenizer, SimpleNamespace(recipe=recipe), prompts)
    # 16 answers end by one token alone with a chance of 2^-15
    assert {ids[-1] for _, ids in drawn} == {*ends}
    assert not {*ends} & {token for _, ids in drawn for token in ids[:-1]}


def test_both_estimates_have_the_divergence_as_their_expectation_and_k3_varies_less_and_is_never_negative():
    ours, theirs = np.array([0.5, 0.3, 0.15, 0.05]), np.array([0.4, 0.3, 0.2, 0.1])
    answers = [list(answer) for answer in itertools.product(range(4), repeat=2)]  # of two tokens each
    rows = [(np.log(ours[answer]), np.log(theirs[answer])) for answer in answers]
    chance = np.array([ours[answer].prod() for answer in answers])
    k1, k3 = (np.array([estimate(*row) for row in rows]) for estimate in (_k1, _k3))
    assert chance @ k1 == pytest.approx(2 * entropy(ours, theirs))
    assert chance @ k3 == pytest.approx(2 * entropy(ours, theirs))
    assert min(k3) >= 0 > min(k1)
    assert chance @ np.square(k3 - chance @ k3) < chance @ np.square(k1 - chance @ k1)
