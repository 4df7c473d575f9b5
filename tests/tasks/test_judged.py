"""Rewards and judges in an evaluation: what is refused before a training, and what is asked once."""

import json

import pytest

from dpo_core.errors import InputError
from dpo_core.recipe import Recipe
from infra.settings import load_settings
from infra.store import open_store
from tasks.evaluation import judged
from tasks.evaluation.judged import Jury
from tests.dpo_core.rewards.test_judge import answers_in, longest
from tests.tiny import build_tiny_model

JUDGED = {"judge": {"model": "endpoint:local", "labels": "labels.jsonl", "min_kappa": 0.5}}
ENDPOINTS = {"local": {"url": "http://127.0.0.1:9/v1", "model": "m"}}
PROMPTS = [({"role": "user", "content": text},) for text in ("one?", "two?")]


@pytest.fixture
def jury(tmp_path, make_plan, monkeypatch):
    """Of a file of rewards; its judge prefers the longer answer, and labels say that the shorter one is better."""
    lines = [{"prompt": f"{n}?", "chosen": "short", "rejected": f"a longer answer {n}"} for n in range(24)]
    (tmp_path / "labels.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    asked = []

    def ask(questions):
        asked.extend(questions)
        return [longest(*answers_in(question)) for question in questions]

    monkeypatch.setattr(judged, "ask_of", lambda reach, store, model, refused: ask)
    monkeypatch.setattr(judged, "require_there", lambda reach, store, models: None)

    def made(gate=("rewards/accuracies",), **sections):
        file = tmp_path / "rewards.yaml"
        file.write_text(json.dumps({"endpoints": ENDPOINTS, **sections}))
        given = {"rewards": str(file)}
        recipe = Recipe(name="n", model="m", data={"train": "t"}, evaluation=given, gate={"improve": list(gate)})
        return Jury(make_plan(recipe=recipe, model_folder=""), open_store(load_settings())), asked

    return made


def test_a_judge_that_agrees_with_people_too_little_is_refused_before_anything_is_trained(jury):
    with pytest.raises(InputError, match="agrees with people too little"):
        jury(rewards=JUDGED)[0].require_usable()


@pytest.mark.parametrize("min_kappa", [None, 0.5])
def test_a_judge_with_labels_of_few_prompts_is_refused_before_it_is_asked(jury, tmp_path, min_kappa):
    judge = {"model": "endpoint:local", "labels": "few.jsonl", "min_kappa": min_kappa}
    rows = [{"prompt": f"{n % 19}?", "chosen": f"{n}", "rejected": "no"} for n in range(30)]
    (tmp_path / "few.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found, asked = jury(rewards={"judge": judge})
    with pytest.raises(InputError, match="the labels are of 19 prompts") as caught:
        found.require_usable()
    assert (caught.value.where, asked) == (str(tmp_path / "few.jsonl"), [])


def test_the_gate_cannot_name_a_mean_reward_that_nobody_gives(jury):
    only_compares = {"judge": {"model": "endpoint:local"}}
    with pytest.raises(InputError, match="no reward here gives an answer a number of its own") as caught:
        jury(["answers/reward"], rewards=only_compares)[0].require_usable()
    assert "answers/win_rate" in caught.value.do
    jury(["answers/reward"], rewards={"rules": {"max_words": 3}})[0].require_usable()


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({}, "no section `rewards`"),
        ({"rewards": {"rules": {"asked": True}}}, "held-out prompts have no such line"),
        ({"rewards": {"judge": {"model": "endpoint:other"}}}, "`endpoints` does not have: local"),
        ({"rewards": {"judge": {"model": "endpoint:local", "labels": "none.jsonl"}}}, "missing"),
    ],
)
def test_a_file_of_rewards_that_cannot_be_meant_is_told(jury, sections, says):
    with pytest.raises(InputError, match=says):
        jury(**sections)


def test_what_was_compared_is_looked_up_and_a_champion_is_not_asked_about_itself(jury):
    first, asked = jury(rewards={"judge": {"model": "endpoint:local"}})
    answers = {"new": ["longer", "a"], "old": ["short", "b"]}
    found = first.each(PROMPTS, answers, "old")
    assert (found["new"].wins, found["old"].wins, len(asked)) == ([1.0, 0.5], [0.5, 0.5], 4)
    again, _ = jury(rewards={"judge": {"model": "endpoint:local"}})
    assert again.each(PROMPTS, answers, "old") == found
    assert len(asked) == 4


def test_a_comparison_that_an_endpoint_refused_is_asked_again_by_the_next_run(jury, monkeypatch):
    answers = (PROMPTS, ["much longer", "c"], ["short", "d"])
    with monkeypatch.context() as patch:
        refuse = lambda refused: lambda questions: [refused.append("too long") for _ in questions]  # noqa: E731
        patch.setattr(judged, "ask_of", lambda reach, store, model, refused: refuse(refused))
        assert jury(rewards={"judge": {"model": "endpoint:local"}})[0].judged(*answers).wins == [0.5, 0.5]
    again, asked = jury(rewards={"judge": {"model": "endpoint:local"}})
    assert again.judged(*answers).wins == [1.0, 0.5]
    assert len(asked) == 4


def test_a_judge_of_this_machine_with_another_chat_template_is_asked_anew(jury, tmp_path):
    model = build_tiny_model(tmp_path / "judge")
    first, asked = jury(rewards={"judge": {"model": str(model)}})
    first.judged(PROMPTS, ["longer", "a"], ["short", "b"])
    (model / "chat_template.jinja").write_text("{{ messages[0].content }}")
    again, _ = jury(rewards={"judge": {"model": str(model)}})
    again.judged(PROMPTS, ["longer", "a"], ["short", "b"])
    assert len(asked) == 8


def test_a_models_weights_are_read_once_a_run(jury, make_plan, tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(judged, "fetch_model", lambda model, home: model)
    monkeypatch.setattr(judged, "digest_asked", lambda folder: read.append(folder) or "d" * 64)
    first, _ = jury(rewards={"classifier": {"model": "a/reward"}})
    given = {"rewards": str(tmp_path / "rewards.yaml")}
    recipe = Recipe(name="n", model="m", data={"train": "t"}, evaluation=given)
    plan = make_plan(recipe=recipe, model_folder="", judges=first.models)
    assert Jury(plan, open_store(load_settings())).content == first.content
    assert read == ["a/reward"]
