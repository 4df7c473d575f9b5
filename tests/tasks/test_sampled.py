"""Answers that are drawn for an evaluation are drawn once."""

import pytest

from dpo_core.model.answers.decoding import Decoding
from dpo_core.model.encode import load_tokenizer
from dpo_core.model.load import load_model
from infra.store.folder import FolderStore
from tasks.evaluation import sampled
from tasks.evaluation.sampled import Drawing, draw

PROMPTS = [({"role": "user", "content": text},) for text in ("say stone", "say river", "say stone")]


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path / "store")


def drawn(tiny_model, store, prompts, samples, **changes):
    how = Drawing(Decoding(6, temperature=1.0), "2026-01-01", 8, {"weights": "w", **changes})
    return draw(load_model(tiny_model), load_tokenizer(tiny_model), prompts, samples, how, store)


def test_more_answers_or_questions_draw_only_what_is_missing_and_leave_the_others_as_they_were(
    tiny_model, store, monkeypatch
):
    asked = []
    engine = sampled.answers
    monkeypatch.setattr(
        sampled, "answers", lambda *given, wanted, **how: asked.append(wanted) or engine(*given, wanted=wanted, **how)
    )
    two = drawn(tiny_model, store, PROMPTS[:1], 2)
    three = drawn(tiny_model, store, PROMPTS, 3)
    assert asked == [{(0, 0), (0, 1)}, {(0, 2), (1, 0), (1, 1), (1, 2)}]
    assert three[0][:2] == two[0]
    assert three[2] == three[0], "a prompt that stands twice is asked once"
    assert len({*three[0], *three[1]}) > 1
    assert drawn(tiny_model, store, PROMPTS, 3) == three
    assert len(asked) == 2
    assert drawn(tiny_model, store, PROMPTS, 3, weights="of another model") == three  # the same model, in truth
    assert len(asked) == 3
