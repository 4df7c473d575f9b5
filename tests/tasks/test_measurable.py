"""What the gate asks for and no item could show is told before anything is trained."""

import json
from types import SimpleNamespace

import pytest

from dpo_core.data.pairs import Pair, lines_of
from dpo_core.errors import InputError
from dpo_core.recipe import Recipe
from infra.store.folder import FolderStore
from tasks.evaluation.measurable import require_measurable
from tests.tiny import build_tiny_model


def said(role, text):
    return ({"role": role, "content": text},)


@pytest.fixture
def ask(tmp_path, make_plan, tiny_model):
    """A gate's rules before held-out pairs of two sources."""
    store = FolderStore(tmp_path / "store")

    def asked(*, evaluation=None, folder=tiny_model, plain=False, **gate):
        pairs = [
            Pair(said("user", f"{n}?"), said("assistant", "yes"), said("assistant", "no"), source=source, plain=plain)
            for n, source in enumerate(("web", "web", "book"))
        ]
        store.put_bytes("eval", lines_of(pairs)[0])
        recipe = Recipe(name="n", model="m", data={"train": "t"}, gate=gate, evaluation=evaluation or {})
        plan = make_plan(recipe=recipe, model_folder=str(folder))
        require_measurable(store, plan, SimpleNamespace(eval_key="eval"))

    return asked


@pytest.mark.parametrize("rule", ["floor", "keep"])
def test_a_part_without_a_pair_is_told_with_those_that_there_are(ask, rule):
    ask(**{rule: {"rewards/accuracies[source=web]": 0.5}})
    with pytest.raises(InputError, match=r"no held-out pair is of rewards/accuracies\[source=wiki\]") as caught:
        ask(**{rule: {"rewards/accuracies[source=wiki]": 0.5}})
    assert caught.value.where == f"gate.{rule}"
    assert "source=book, source=web" in caught.value.do


def test_an_empty_text_that_must_not_get_worse_is_told(ask, tmp_path):
    (tmp_path / "neutral.txt").write_text(" \n\n")
    text = {"neutral_text": str(tmp_path / "neutral.txt")}
    ask(evaluation=text)
    with pytest.raises(InputError, match="the file is empty"):
        ask(evaluation=text, keep={"retention/neutral_text": 0.1})


def test_questions_to_a_model_without_a_chat_template_are_told(ask, tmp_path):
    from transformers import AutoTokenizer

    folder = build_tiny_model(tmp_path / "plain")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = None
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    tokenizer.save_pretrained(folder)
    with pytest.raises(InputError, match="no chat template, so nothing can be asked of it: behaviour/x"):
        ask(folder=folder, evaluation={"behaviour": {"x": "x.jsonl"}}, keep={"behaviour/x": 0.1})
    plain = {"lm_eval": {"tasks": ["sums"]}}
    ask(folder=folder, evaluation=plain)
    with pytest.raises(InputError, match="cannot be asked by one") as caught:
        ask(folder=folder, evaluation={"lm_eval": {"tasks": ["sums"], "apply_chat_template": True}})
    assert caught.value.where == "evaluation.lm_eval.apply_chat_template"


def test_answers_to_held_out_text_that_asks_nothing_are_told(ask):
    rewards = {"rewards": "r.yaml"}
    ask(evaluation=rewards, improve=["answers/win_rate"])
    with pytest.raises(InputError, match="no held-out pair is a chat"):
        ask(evaluation=rewards, improve=["answers/win_rate"], plain=True)


REFUSES = "{% if messages[0].role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"


@pytest.mark.parametrize("prompt", [[{"role": "system", "content": "Be brief."}, *said("user", "a")], "a" * 40])
def test_a_question_that_cannot_be_put_to_the_model_is_told_with_its_line(ask, tmp_path, prompt):
    folder = build_tiny_model(tmp_path / "model", max_positions=40)
    template = folder / "chat_template.jinja"
    template.write_text(REFUSES + template.read_text())
    lines = [{"prompt": text, "must_contain": ["a"]} for text in ("b", prompt)]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    says = "the chat template refuses it: no system turn" if isinstance(prompt, list) else "the model reads 40"
    with pytest.raises(InputError, match=says) as caught:
        ask(folder=folder, evaluation={"behaviour": {"x": str(tmp_path / "x.jsonl")}})
    assert caught.value.where == f"{tmp_path}/x.jsonl:2"
