"""A model that learns from its own answers while it is trained: what it learns, what is kept, when it stops."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from dpo_core.curate.online.curves import OnlineFacts
from dpo_core.data.messages import say
from dpo_core.data.pairs import Pair
from dpo_core.errors import InputError
from dpo_core.model.load import load_model
from dpo_core.model.logprobs import plain_model
from dpo_core.model.modes import scoring
from dpo_core.recipe import Encoding, Lora, Training
from dpo_core.train.policy import make_policy
from infra.errors import InfraError
from infra.settings import load_settings
from infra.store import open_store
from tasks.online.batches import read_drawings
from tasks.online.drawing import FreshPair, OnlineDraft, OnlineDrawing
from tasks.online.keeping import keep_learnt
from tasks.online.learner import Learner
from tasks.records import OnlineOutput
from tasks.runtime.pairs import stored_pairs
from tests.endpoint_server import MODEL, loopback_endpoint
from tests.tasks.online_life import OFF, Tracker, figures, learnt, train_in, write_work
from tests.tiny import build_talking_model, scored_examples


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return build_talking_model(tmp_path_factory.mktemp("talking") / "model")


@pytest.fixture(scope="module")
def examples(model):
    return scored_examples(model, 6)


MIXED = {"online": {"offline_share": 0.25, "passes": 3.0, "stop": OFF}}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, model, examples):
    """An undisturbed training, and what it told."""
    folder, tracker = write_work(tmp_path_factory.mktemp("whole") / "run", model, examples, **MIXED), Tracker()
    train_in(folder, tracker)
    return folder, tracker


def told(tracker, name):
    return [row[name] for _, row in sorted(tracker.rows.items()) if name in row]


def test_the_reward_of_its_answers_rises_and_every_curve_is_told_with_the_first_step_after_a_drawing(whole):
    _, tracker = whole
    rewards = told(tracker, "online/reward")
    assert sum(rewards[-4:]) / 4 > sum(rewards[:4]) / 4 + 0.1
    names = ("reward", "tokens", "distinct", "openings", "entropy", "kl", "informative", "prompts", "answers")
    at = [step for step, row in tracker.rows.items() if "online/reward" in row]
    assert at == list(range(1, len(tracker.rows) + 1, 2))
    assert all({f"online/{name}" for name in names} <= tracker.rows[step].keys() for step in at)
    assert told(tracker, "online/kl")[0] == pytest.approx(0, abs=1e-5)
    assert told(tracker, "online/kl")[-1] > 0
    assert 0.5 < told(tracker, "online/entropy")[0] < math.log(384)


def test_a_pair_is_a_better_answer_over_a_worse_one_and_offline_pairs_fill_their_share(whole):
    folder, tracker = whole
    pairs = learnt(folder)
    assert all("a" in pair["row"]["chosen"][0]["content"] for pair in pairs)
    assert not any("a" in pair["row"]["rejected"][0]["content"] for pair in pairs)
    result = json.loads((folder / "result.json").read_text())
    assert result["online"]["pairs"] == len(pairs)
    assert result["online"]["prompts"] == sum(told(tracker, "online/prompts"))
    assert len(pairs) <= 3 * result["steps"]  # of four pairs a step one is from the file


def require_reference(pairs, model):
    """The log-probs that were kept are those of plain transformers on the start model."""
    plain = AutoModelForCausalLM.from_pretrained(model)
    assert pairs
    for pair in pairs:
        for ids, known in zip((pair["chosen_ids"], pair["rejected_ids"]), pair["reference"], strict=True):
            with torch.no_grad():
                logits = plain(torch.tensor([pair["prompt_ids"] + ids])).logits[0]
            logps = logits.double().log_softmax(-1)[len(pair["prompt_ids"]) - 1 : -1]
            assert known == pytest.approx([float(row[token]) for row, token in zip(logps, ids, strict=True)], abs=1e-4)


def test_the_kept_reference_log_probs_are_those_of_the_start_model(whole, model):
    require_reference(learnt(whole[0])[::5], model)


def test_a_run_that_dies_between_two_drawings_goes_on_to_the_same_bits(tmp_path, model, examples, whole):
    folder, expected = write_work(tmp_path / "run", model, examples, **MIXED), whole[0]
    with pytest.raises(KeyboardInterrupt):
        train_in(folder, Tracker(dies_at=6))  # its last checkpoint is of step 3, in the middle of a drawing
    train_in(folder, Tracker())
    ours, theirs = (load_file(place / "model/model.safetensors") for place in (folder, expected))
    assert all(bool((ours[name] == theirs[name]).all()) for name in theirs)
    assert figures(folder) == figures(expected)
    assert learnt(folder) == learnt(expected)


def test_a_lora_is_held_against_the_model_without_its_adapters(tmp_path, model):
    given = {"training": {"lora": {"r": 4}, "learning_rate": 3e-2, "max_steps": 4}}
    folder, tracker = write_work(tmp_path / "run", model, **given), Tracker()
    train_in(folder, tracker)
    assert told(tracker, "online/kl")[0] == pytest.approx(0, abs=1e-5)
    later = [pair for pair in learnt(folder) if pair["row"]["meta"]["step"] == 2]
    require_reference(later, model)


@pytest.mark.parametrize("recomputes", [False, True])
def test_a_model_with_adapters_is_after_its_answers_in_the_mode_that_it_was_in(model, recomputes):
    training = Training(lora=Lora(r=2), gradient_checkpointing=recomputes)
    policy = make_policy(load_model(model), training, seed=0)
    plan = SimpleNamespace(curation=None)
    order = SimpleNamespace(online=SimpleNamespace(plan=plan, encoding=Encoding()), training=training)

    def modes():
        """Of the model's own modules: adapters around them draw nothing."""
        modules = plain_model(policy).named_modules()
        return {n: m.training for n, m in modules if "lora_" not in n and "peft" not in type(m).__module__}

    before = modes()
    with scoring(policy) as scorer, Learner(policy, scorer, "sdpa", None, order)._as_it_answers() as answering:
        assert not any(module.training for module in answering.modules())
    assert modes() == before


def test_a_reward_that_pays_for_length_is_stopped_by_the_rule_on_length(tmp_path, model):
    longer = {"rewards": {"rules": {"length": {"prefer": "longer", "unit": "characters"}}}}
    stop = {"window": 24, "distinct": 0.0, "openings": 0.0, "entropy": 0.0, "kl": None}
    given = {"online": {"passes": 12.0, "stop": stop}, "training": {"learning_rate": 3e-2}}
    answers = {"answers": {"samples": 4, "max_new_tokens": 16}}
    folder, tracker = write_work(tmp_path / "run", model, curation=longer | answers, **given), Tracker()
    train_in(folder, tracker)
    result = json.loads((folder / "result.json").read_text())
    assert "the reward may pay for length (training.online.stop.longer)" in result["online"]["ended"]
    assert result["online"]["ran_away"]
    lengths = [row["online/tokens"] for row in result["online"]["curves"]]
    assert lengths[-1] > 1.5 * lengths[0]
    assert told(tracker, "online/tokens") == lengths  # that of the last drawing too, which no step came after
    assert all(pair["row"]["meta"]["step"] < result["steps"] for pair in learnt(folder))


def test_a_separator_of_lines_in_an_answer_ends_no_line_of_what_is_kept(tmp_path):
    said = say("assistant", "one\u2028two\u2029three\x85four"), say("assistant", "no")
    pair = Pair(tuple(say("user", "?")), *map(tuple, said))
    fresh = FreshPair(row=pair.to_row(), prompt_ids=(1,), chosen_ids=(2,), rejected_ids=(3,), reference=None)
    facts = dict.fromkeys(OnlineFacts.model_fields, 0)
    drawing = OnlineDrawing(facts=facts, prompts=1, tokens=2, pairs=[fresh], dropped={})
    (tmp_path / "online.jsonl").write_text(f"{drawing.model_dump_json()}\n")
    assert read_drawings(tmp_path / "online.jsonl") == [drawing]
    (tmp_path / "online.jsonl").write_text(f"{fresh.model_dump_json()}\n")
    store = open_store(load_settings().model_copy(update={"store_url": str(tmp_path / "store")}))
    output = keep_learnt(store, tmp_path, OnlineOutput(pairs=1, prompts=1, answers=2, tokens=2), {})
    assert stored_pairs(store, output.rows) == [pair]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("[float('nan')] * len(answers)", "the answers have no scores.*gave nan to answer 1"),
        ("[1.0] * len(answers)", "all scores are equal"),
    ],
)
def test_a_reward_that_tells_nothing_ends_the_run_before_its_first_step(tmp_path, model, body, says):
    curation = {"rewards": {"entry_point": {"function": "own.py:own"}}}
    folder = write_work(tmp_path / "run", model, curation=curation, prompts=36)
    (folder / "own.py").write_text(f"def own(prompt, answers, wanted):\n    return {body}\n")
    with pytest.raises(InputError, match=rf"(?s)no pair came of the first \d+ prompts.*{says}"):
        train_in(folder, Tracker())


def test_an_endpoint_that_goes_away_leaves_a_checkpoint_and_the_run_goes_on_asking_nothing_again(
    tmp_path, model, monkeypatch
):
    answered: list[str] = []

    def judge(handler, body):
        """More for an answer with an a in it."""
        answered.append(question := body["messages"][-1]["content"])
        score = 9 if "a" in question.rpartition("ANSWER")[0].rpartition("ANSWER")[2] else 2
        message = {"role": "assistant", "content": f"SCORE: {score}"}
        choices = [{"index": 0, "finish_reason": "stop", "message": message}]
        handler.answer(200, handler.completion(body, choices=choices))

    with loopback_endpoint() as (url, bill):
        bill.fault_for = lambda body: judge
        curation = {
            "endpoints": {"loop": {"url": url, "model": MODEL, "retries": 0}},
            "rewards": {"judge": {"model": "endpoint:loop", "mode": "score", "explain": False}},
            "answers": {"samples": 3, "max_new_tokens": 8},
        }
        small = {"curation": curation, "online": {"every": 1}, "prompts": 12}
        folders = [write_work(tmp_path / name, model, **small) for name in ("a", "b")]
        train_in(folders[0], Tracker())
        asked = sorted(answered)
        answered.clear()
        monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))  # whose store has no reply yet
        bill.fault_for = lambda body: judge if len(answered) < len(asked) - 3 else "503"
        with pytest.raises(InfraError, match=r"the same command goes on after step [1-9]"):
            train_in(folders[1], Tracker())
        bill.fault_for = lambda body: judge
        train_in(folders[1], Tracker())
    assert sorted(answered) == asked
    assert learnt(folders[0]) == learnt(folders[1])


def test_prompts_that_are_used_up_end_the_training_with_the_reason(tmp_path, model):
    """Hardly any group is informative, so that each drawing asks on."""
    curation = {"rewards": {"rules": {"must_match": "^b.*b.*b"}}}
    folder = write_work(tmp_path / "run", model, curation=curation, online={"prompts": 4, "stop": OFF}, prompts=36)
    train_in(folder, Tracker())
    result = json.loads((folder / "result.json").read_text())
    assert result["online"]["ended"] == "the prompts are used up: 36 were asked, 1 passes over 36"
    assert not result["online"]["ran_away"]
    assert 0 < result["steps"] < 18


def test_a_reward_that_is_slower_than_the_steps_is_told_once_with_numbers(tmp_path, model, monkeypatch, caplog):
    real = OnlineDraft.ask

    def slow(self, items, places):
        real(self, items, places)
        self.scoring_s = 1000.0

    monkeypatch.setattr(OnlineDraft, "ask", slow)
    train_in(write_work(tmp_path / "run", model, online={"every": 1}, prompts=12), Tracker())
    (said,) = (record.getMessage() for record in caplog.records if "reward_slow" in record.getMessage())
    assert "scoring took 1000.0 s for the answers to 4 prompts, the 1 steps before it" in said


def test_several_processes_are_refused(tmp_path, model, monkeypatch):
    folder = write_work(tmp_path / "run", model)
    monkeypatch.setattr(Accelerator, "num_processes", 2)
    with pytest.raises(InputError, match="runs in one process, and here are 2"):
        train_in(folder, Tracker())
