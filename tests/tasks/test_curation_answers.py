"""What a curation keeps of what a model says, and what the next run asks again. An endpoint on loopback answers."""

from hashlib import sha256
from types import SimpleNamespace

import pytest
import yaml

from dpo_core.curate.curation import load_curation
from dpo_core.curate.prompts import PromptItem
from dpo_core.errors import InputError
from dpo_core.rewards.reward_file import Spending
from infra.settings import load_settings
from infra.store import open_store
from tasks.curate import answer, pair
from tasks.curate.endpoints import ask_of
from tasks.curate.prompts import put_prompts
from tasks.curate.records import CurationPlan, Gathered, Reach
from tasks.records import Stage
from tests.endpoint_server import MODEL, loopback_endpoint
from tests.tiny import build_tiny_model

PROMPTS = [PromptItem(({"role": "user", "content": f"What is {what}?"},)) for what in ("tin", "gold", "iron")]
CURATION = {
    "name": "c",
    "model": "endpoint:loop",
    "prompts": {"sources": [{"path": "asked.jsonl"}]},
    "answers": {"samples": 6, "pilot": 0},
    "rewards": {"judge": {"model": "endpoint:loop", "mode": "score", "rubric": "chance", "max_unread": 1.0}},
    "choice": {"alike": 1.0, "longer_wins": 1.0},
}


class Room:
    """One curation on a store of its own. What holds a word of `refuses` is refused; the judge decides by chance."""

    def __init__(self, folder, url, bill):
        self.folder, self.url, self.bill, self.refuses = folder, url, bill, ()
        self.store = open_store(load_settings())
        bill.fault_for = self._fault

    def _fault(self, body):
        said = str(body["messages"])
        if any(word in said for word in self.refuses):
            return "400: too long"
        return _scored if "chance" in said else None

    def plan(self, **changes):
        (self.folder / "curate.yaml").write_text(
            yaml.safe_dump({**CURATION, "endpoints": {"loop": {"url": self.url, "model": MODEL}}, **changes})
        )
        curation = load_curation(self.folder / "curate.yaml")
        nothing = {"sources": {}, "content": {}, "threads": 1, "force": False, "run_id": "", "run_url": ""}
        return CurationPlan(curation=curation, folder=str(self.folder), model=curation.model, **nothing)

    def gathered(self, items=PROMPTS):
        put_prompts(self.store, "prompts.jsonl", items)
        stage = Stage(name="gather", cached=False, seconds=0.0)
        return Gathered(key="prompts.jsonl", prompts=len(items), by_source={}, left_out={}, stage=stage)

    def answered(self, plan):
        return answer.answer.fn(plan, self.gathered())

    def paired(self, plan):
        return pair.pair_answers.fn(plan, self.gathered(), self.answered(plan))


def _scored(handler, body):
    number = 1 + int(sha256(str(body["messages"]).encode()).hexdigest(), 16) % 10
    message = {"role": "assistant", "content": f"SCORE: {number}"}
    handler.answer(200, handler.completion(body, choices=[{"index": 0, "finish_reason": "stop", "message": message}]))


@pytest.fixture
def room(tmp_path, monkeypatch):
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    run = SimpleNamespace(metrics=lambda values: None, json=lambda name, document: None)
    for module in (answer, pair):
        monkeypatch.setattr(module, "attach_run", lambda run_id: run)
    (tmp_path / "asked.jsonl").write_text("")
    with loopback_endpoint() as (url, bill):
        yield Room(tmp_path, url, bill)


def test_a_prompt_that_an_endpoint_refused_is_asked_again_by_the_next_run_and_its_pair_joins_the_others(room):
    rules = room.plan(rewards={"rules": {"must_match": "[0-7]$"}})
    room.refuses = ("gold",)
    first = room.paired(rules)
    assert (first.pairs, first.dropped["no answer came"]) == (2, 1)
    room.refuses = ()
    before = room.bill.total
    assert room.answered(rules).refused == {}
    assert room.bill.total == before + 1
    assert room.paired(rules).pairs == 3
    assert room.answered(rules).drawn == 0


def test_pairs_are_made_again_where_an_endpoint_refused_a_judges_question_and_else_looked_up(room):
    plan = room.plan()
    room.answered(plan)
    room.refuses = ("gold",)
    first = room.paired(plan)
    assert (first.pairs, first.dropped["the answers have no scores"], first.refused) == (2, 1, 6)
    room.refuses = ()
    again = room.paired(plan)
    assert (again.pairs, again.refused, again.stage.cached) == (3, 0, False)
    assert room.paired(plan).stage.cached


def test_a_pilot_that_promises_too_little_stops_the_same_command_again_before_more_is_paid_for(room):
    # of 2 prompts none gives a pair: at most 1 - 0.025 ** (1 / 2) = 84 % of all do (Clopper and Pearson)
    pilot = {"samples": 2, "pilot": 2, "min_yield": 0.85}
    plan = room.plan(rewards={"rules": {"must_match": "never"}}, answers=pilot)
    for _ in range(2):
        with pytest.raises(InputError, match="the pilot promises too little"):
            room.answered(plan)
        assert room.bill.total == 2


def test_a_question_too_long_for_a_model_of_this_machine_has_no_reply_and_the_others_have_theirs(tmp_path, room):
    folder = build_tiny_model(tmp_path / "judge", max_positions=64)
    reach = Reach(endpoints={}, budget=Spending(), scope="c", seed=0, threads=1)
    asked = [[{"role": "user", "content": text}] for text in ("sea?", "sea? " * 40, "sky?")]
    refused = []
    replies = ask_of(reach, room.store, str(folder), refused)(asked)
    assert [reply is None for reply in replies] == [False, True, False]
    assert refused == []  # it would be too long tomorrow


def test_what_an_endpoint_does_not_take_is_left_out_of_answers_and_judgements_and_other_extras_are_other_answers(room):
    extra = {"temperature": None, "top_p": None, "max_completion_tokens": 400, "reasoning_effort": "low"}
    endpoint = {"url": room.url, "model": MODEL, "extra": extra}
    made = room.paired(room.plan(endpoints={"loop": endpoint}))
    assert {*map(frozenset, room.bill.bodies)} == {
        frozenset({"model", "messages", "seed", "max_completion_tokens", "reasoning_effort", *more})
        for more in ((), "n")
    }
    other = room.plan(endpoints={"loop": {**endpoint, "extra": {**extra, "reasoning_effort": "high"}}})
    assert room.paired(other).answers != made.answers


@pytest.mark.parametrize("extra", [{"temperature": 0.5}, {"model": None}, {"stream": True}])
def test_what_the_recipe_decides_elsewhere_is_no_extra(room, extra):
    with pytest.raises(InputError, match=f"extra names {next(iter(extra))}, which is set by the rest of the recipe"):
        room.plan(endpoints={"loop": {"url": room.url, "model": MODEL, "extra": extra}})
