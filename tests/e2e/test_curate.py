"""A curation as a team runs it: prompts in, a data set version out, every answer paid for once."""

import json
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import yaml

from dpo_core.curate.prompt_set import record_keys
from dpo_core.curate.prompts import PromptItem
from dpo_core.data.splits import SplitSides
from dpo_core.errors import InputError
from infra.datasets.names import parse
from infra.datasets.shelf import find
from infra.settings import load_settings
from infra.store import open_store
from tasks.data_check.sides import record_sides
from tasks.datasets.look import show_dataset
from tasks.datasets.write import add_source
from tests.endpoint_server import MODEL, loopback_endpoint
from tests.recipes import write_jsonl

pytestmark = pytest.mark.usefixtures("prefect_server")
SUBJECTS = "rivers bridges candles mirrors baskets ladders pillows buttons gardens letters windows stones".split()  # noqa: SIM905
LABELLED = [(n, noun) for n in range(3) for noun in SUBJECTS]
VERBS = "make mend sell move clean".split()  # noqa: SIM905


@pytest.fixture(scope="module")
def endpoint():
    with loopback_endpoint() as (url, bill):
        yield url, bill


@pytest.fixture(scope="module")
def write(tmp_path_factory, endpoint):
    """Write a recipe of 60 prompts, four answers each, of which one with a 7 in it is the better; its path."""
    folder = tmp_path_factory.mktemp("curation")
    prompts = [{"prompt": f"How does one {verb} {subject}?", "source": verb} for verb in VERBS for subject in SUBJECTS]
    write_jsonl(folder / "prompts.jsonl", prompts)
    write_jsonl(folder / "held-out.jsonl", [{"prompt": "How does one make rivers?"}])

    def written(**changes):
        values = {
            "name": "sevens",
            "model": "endpoint:loop",
            "endpoints": {"loop": {"url": endpoint[0], "model": MODEL}},
            "prompts": {"sources": [{"path": "prompts.jsonl"}], "keep_out": {"held-out": "held-out.jsonl"}},
            "answers": {"samples": 4},
            "rewards": {"rules": {"must_match": "7"}},
            "choice": {"alike": 1.0},
            "validation": {"intended": ["/.*/"], "length_warn": 1.0, "length_fail": 1.0},
        }
        path = folder / "curate.yaml"
        path.write_text(yaml.safe_dump({**values, **changes}))
        return str(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DPO_HOME", str(folder / "home"))
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        yield written


@pytest.fixture(scope="module")
def made(write):
    """A curation from nothing."""
    from flows.curate import curate

    return curate(write())


def test_the_best_of_several_answers_is_chosen_over_a_worse_one_and_the_version_holds_the_pairs(made):
    assert made.dataset == "dataset:sevens@1"
    assert made.left_out == {"equals a prompt of benchmark held-out": 1}
    assert (made.prompts, made.answers, made.changed) == (59, 236, True)
    assert made.rows + sum(made.dropped.values()) == 59
    shown = show_dataset(open_store(load_settings()), "sevens@1", rows=100)
    assert len(shown.first) == made.rows
    for row in shown.first:
        assert "7" in row.pair["chosen"][0]["content"]
        assert "7" not in row.pair["rejected"][0]["content"]
    version = find(open_store(load_settings()), parse("sevens@1"))
    assert version.made_by.run_id == made.mlflow_run_id
    assert version.by_source.keys() == set(VERBS)


def test_the_command_run_again_asks_nothing_keeps_the_version_and_prints_one_document(made, write, endpoint, capsys):
    from flows.cli.app import run

    paid = endpoint[1].total
    assert run(["curate", write(), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert endpoint[1].total == paid
    assert (again["dataset"], again["changed"]) == (made.dataset, False)
    assert [stage["cached"] for stage in again["stages"]] == [True] * 4
    assert again["spent"][0]["calls"] == paid


def test_a_reward_that_pays_for_length_is_caught_before_there_is_a_version(write):
    from flows.curate import curate

    longer = {"rules": {"length": {"prefer": "longer"}}}
    path = write(name="longer", rewards=longer, validation={}, choice={"alike": 1.0}, correction=None)
    with pytest.raises(InputError, match="no pair came of 59 prompts"):
        curate(path)


def test_a_name_that_is_another_data_sets_is_refused_before_anything_is_asked_unless_it_is_to_grow(
    write, made, endpoint
):
    from flows.curate import curate

    paid, said = endpoint[1].total, [{"role": "assistant", "content": text} for text in ("yes", "no")]
    row = {"prompt": [{"role": "user", "content": "Is it?"}], "chosen": said[:1], "rejected": said[1:]}
    path = write(name="finished")
    write_jsonl(Path(path).with_name("pairs.jsonl"), [row])
    add_source(open_store(load_settings()), "finished", str(Path(path).with_name("pairs.jsonl")))
    with pytest.raises(InputError, match=r"dataset:finished@1 was made by `dpo data add`") as caught:
        curate(path)
    assert (caught.value.where, "grow: true" in caught.value.do) == ("name: finished", True)
    rules = {"rules": {"rules": [{"name": "all", "template": "{answer}!"}]}}
    with pytest.raises(InputError, match="dataset:sevens@1 was made by a curation by rewards"):
        curate(write(rewards=None, correction=rules))
    assert endpoint[1].total == paid
    grown = curate(write(name="finished", grow=True))
    assert (grown.dataset, grown.rows, grown.new) == ("dataset:finished@2", made.rows + 1, made.rows)


def by_chance(handler, body):
    """A judge whose number has nothing to do with what people say."""
    number = 1 + int(sha256(body["messages"][-1]["content"].encode()).hexdigest(), 16) % 10
    message = {"role": "assistant", "content": f"SCORE: {number}"}
    handler.answer(200, handler.completion(body, choices=[{"index": 0, "finish_reason": "stop", "message": message}]))


def test_a_judge_that_agrees_with_nobody_is_refused_before_it_sees_an_answer_of_the_pilot(write, endpoint):
    from flows.curate import curate

    bill = endpoint[1]
    rules = {"model": "endpoint:loop", "mode": "score", "explain": False, "rubric": "sevens", "labels": "labels.jsonl"}
    path = write(name="judged", rewards={"judge": {**rules, "min_kappa": 0.6}}, answers={"samples": 2, "pilot": 10})
    labels = [{"prompt": f"How is {noun} {n}?", "chosen": f"{noun} {n}", "rejected": f"no {n}"} for n, noun in LABELLED]
    write_jsonl(Path(path).with_name("labels.jsonl"), labels)
    before = len(bill.bodies)
    bill.fault_for = lambda body: by_chance if "sevens" in str(body["messages"]) else None
    with pytest.raises(InputError, match="kappa"):
        curate(path)
    bill.fault_for = lambda body: None
    judged = [str(body["messages"]) for body in bill.bodies[before:] if "sevens" in str(body["messages"])]
    assert len(judged) == 2 * len(labels)
    assert all("How is " in asked for asked in judged)


def test_an_answer_corrected_by_rules_is_chosen_over_itself(write):
    from flows.curate import curate

    rules = [{"name": "plain", "pattern": r"^How does one (.*)\?: .*$", "by": r"One can \1 with care."}]
    made = curate(write(name="corrected", rewards=None, correction={"rules": {"rules": rules}}, answers={"samples": 1}))
    assert made.rows == made.prompts == 59
    assert 0 < made.changes["0.5"] <= 1
    shown = show_dataset(open_store(load_settings()), "corrected", rows=1)
    pair = shown.first[0].pair
    assert pair["chosen"][0]["content"].startswith("One can ")
    assert pair["rejected"][0]["content"].startswith("How does one ")


def held_out_on_record(model, *prompts):
    """Put prompts on the record of a model as held out by an earlier run."""
    asked = [PromptItem(({"role": "user", "content": text},)) for text in prompts]
    sides = SplitSides.of(record_keys(asked), np.ones(len(asked), np.bool_))
    record_sides(open_store(load_settings()), model, sides, base=0, data_sha256="d")


@pytest.mark.parametrize("own_pairs", [True, False])
def test_what_the_run_asks_or_holds_out_is_not_answered_unless_its_held_out_pairs_come_of_this(write, own_pairs):
    from flows.curate import curate

    name = f"kept-{own_pairs}".lower()
    rules = {"rules": [{"name": "plain", "pattern": r"^How does one (.*)\?: .*$", "by": r"One can \1 with care."}]}
    sources = {"sources": [{"path": "prompts.jsonl"}], "run": "run.yaml"}
    path = Path(write(name=name, rewards=None, correction={"rules": rules}, answers={"samples": 1}, prompts=sources))
    answers = [{"role": "assistant", "content": text} for text in ("With care.", "Not at all.")]
    pair = {"prompt": "How does one sell rivers?", "chosen": answers[:1], "rejected": answers[1:]}
    write_jsonl(path.with_name("eval.jsonl"), [{**pair, "prompt": [{"role": "user", "content": pair["prompt"]}]}])
    write_jsonl(path.with_name("suite.jsonl"), [{"prompt": "How does one move bridges?", "must_contain": ["a"]}])
    data = {"train": f"dataset:{name}@latest"} | ({"eval": "eval.jsonl"} if own_pairs else {})
    suites = {"behaviour": {"care": "suite.jsonl"}}
    run = {"name": name, "model": "./none", "data": data, "evaluation": suites}
    path.with_name("run.yaml").write_text(yaml.safe_dump(run))
    held_out_on_record(name, "How does one clean stones?")
    made = curate(str(path))
    suite = {"equals a prompt of suite behaviour/care": 1}
    held_out = {"equals a held-out prompt": 1, "held out by the record of an earlier run": 1}
    assert made.left_out == (suite | held_out if own_pairs else suite)
    assert made.rows == 60 - sum(made.left_out.values())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"endpoints": {}}, "which `endpoints` does not have"),
        ({"answers": {"samples": 1}}, "leaves nothing to choose among"),
        ({"answers": {"temperature": 0.0}}, "gives the same answer each time"),
        ({"prompts": {"sources": [{"path": "traces:a", "days": 7}, {"path": "traces:a"}]}}, "the same traces"),
        ({"prompts": {"sources": [{"path": "p.jsonl", "days": 7}]}}, "days is of traces"),
        ({"rewards": None}, "makes pairs in one way"),
        ({"promts": {}}, "unknown key 'promts'"),
        (
            {"prompts": {"sources": [{"path": "p"}], "run": "r.yaml"}, "model": "m", "rounds": {"retrain": "r.yaml"}},
            "leave prompts.run out",
        ),
    ],
)
def test_a_recipe_that_cannot_be_meant_is_refused_with_its_key(write, changes, says):
    from dpo_core.curate.curation import load_curation

    with pytest.raises(InputError, match=says):
        load_curation(write(**changes))
