"""Answers that are drawn for an evaluation are drawn once."""

from types import SimpleNamespace

import pytest

from dpo_core.data.pairs import Pair
from dpo_core.evaluate.behaviour import BehaviourCheck
from dpo_core.model.answers.decoding import Decoding
from dpo_core.model.encode import load_tokenizer
from dpo_core.model.load import load_model
from dpo_core.recipe import Recipe
from infra.store.folder import FolderStore
from tasks.evaluation import measure as measuring
from tasks.evaluation import sampled
from tasks.evaluation.measure import Inquiry, measure
from tasks.evaluation.sampled import Drawing, draw
from tests.recipes import keep_rows

PROMPTS = [({"role": "user", "content": text},) for text in ("say stone", "say river", "say stone")]


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path / "store")


def drawn(tiny_model, store, prompts, samples, **changes):
    how = Drawing(Decoding(6, temperature=1.0), "2026-01-01", 8, {"weights": "w", **changes})
    found = draw(load_model(tiny_model), load_tokenizer(tiny_model), prompts, samples, how, store)
    return [[one.text for one in told] for told in found]


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


def test_one_more_question_asks_one_question_and_scores_no_pair_again(tiny_model, store, make_plan, monkeypatch):
    prompt, said = ({"role": "user", "content": "who?"},), [({"role": "assistant", "content": text},) for text in "ab"]
    parts = keep_rows(store, "data/d", "eval", [Pair(prompt, *said)], load_tokenizer(tiny_model))
    checked = SimpleNamespace(**parts, data_sha256="d", ids_sha256="i")

    def measured(questions, **changes):
        recipe = Recipe.model_validate(
            {"name": "m", "model": "m", "data": {"train": "p"}, "evaluation": {"max_new_tokens": 6, "again": 2}}
        )
        plan = make_plan(recipe=recipe, model_folder=str(tiny_model), **changes)
        suites = {"retention/facts": [BehaviourCheck(({"role": "user", "content": text},)) for text in questions]}
        asked = Inquiry(suites, PROMPTS[:1], [], logps=True, path={"weights": "w"})
        return measure(tiny_model, plan, store, checked, asked)

    answered, scored = [], []
    answers, score = sampled.answers, measuring.score
    monkeypatch.setattr(
        sampled, "answers", lambda *a, wanted, **how: answered.append(len(wanted)) or answers(*a, wanted=wanted, **how)
    )
    monkeypatch.setattr(
        measuring, "score", lambda model, rows, **how: scored.append(len(rows)) or score(model, rows, **how)
    )
    few = measured(["say lake", "say tree", "say hill"])
    assert {name: len(cut) for name, cut in few.cut.items()} == {"retention/facts": 3, "samples": 1}
    assert answered == [4, 2], "three questions and a sample; two of the questions once more"
    assert few.again == {"asked": 2, "changed": 0, "flipped": 0}
    more = measured(["say lake", "say rock", "say tree", "say hill"])
    assert answered[2] == 1
    assert answered[3:] in ([], [1]), "the new one may be among those that are asked once more"
    assert sum(scored) == 2, "both sides of the pair, once"
    without = [text for place, text in enumerate(more.answers["retention/facts"]) if place != 1]
    assert (without, more.answers["samples"]) == (few.answers["retention/facts"], few.answers["samples"])
    assert (more.kept, more.logps) == (few.kept, few.logps)
    del answered[:]
    measured(["say lake", "say rock", "say tree", "say hill"])
    assert answered == []
    measured(["say lake", "say rock"], force=True)
    assert (answered, sum(scored)) == ([3, 2], 4)


def test_a_paragraph_is_known_again_by_its_text_whatever_stands_beside_it(tiny_model, store, make_plan, tmp_path):
    def known(text):
        path = tmp_path / "neutral.txt"
        path.write_text(text)
        asked = {"max_new_tokens": 1, "again": 0, "neutral_text": str(path)}
        given = {"name": "m", "model": "m", "data": {"train": "p"}, "evaluation": asked}
        plan = make_plan(recipe=Recipe.model_validate(given), model_folder=str(tiny_model))
        return measure(tiny_model, plan, store, SimpleNamespace(), Inquiry({}, PROMPTS[:1], [], False, None)).nll

    both, last = known("The sea is blue.\n\nThe sky is grey.\n"), known("The sky is grey.")
    assert (len(both), len(last)) == (2, 1)
    [(name, nll)] = last.items()
    assert both[name] == pytest.approx(nll, abs=1e-5)
    assert not last.keys() & known("The sky was grey.").keys()
