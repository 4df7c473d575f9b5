"""The loop closed: a version is served, people say what they think of its answers, and the next version knows it."""

import json
import time

import mlflow
import pytest
from mlflow.entities import AssessmentSource

from infra.registry import versions
from infra.settings import load_settings
from infra.store import open_store
from infra.traces import served_answers
from tasks.datasets.look import show_dataset
from tests.recipes import NOUNS, tiny_recipe
from tests.served import PATIENCE_S, serving, tracking_server, with_uvicorn

pytestmark = pytest.mark.usefixtures("prefect_server")
MODEL, DATA = "tiny", "dataset:tiny-feedback"
ANY_WORD = 'validation.intended=["/.*/"]'  # in two dozen pairs of one wish each word of it tells the sides apart
LENIENT = {"improve": [], "keep": {}, "floor": {"rewards/margins": -1000.0}}
CURATION = f"""
name: tiny-feedback
model: models:/{MODEL}@champion
feedback: {{traces: {MODEL}}}
validation: {{intended: ["/.*/"], length_warn: 1.0, length_fail: 1.0}}
"""


def question(number):
    return f"say which {NOUNS[number % 12]} has number {number}?"


def expected(number):
    return f"aye the {NOUNS[number % 12]} it is"


class People:
    """Who asks and what they say; every question has a trace when it returns."""

    def __init__(self, served):
        self.served = served
        self.asked = {}  # trace -> (question, answer)

    def ask(self, number, **more):
        reply = self.served.chat(question(number), **{"max_tokens": 8, **more})
        self.asked[reply["id"]] = question(number), reply["choices"][0]["message"]["content"]
        return reply["id"]

    def expect(self, numbers):
        """Ask, and say what should have been answered: the pairs that must come of it."""
        traces = {self.ask(number): number for number in numbers}
        self.arrive()
        for trace, number in traces.items():
            mlflow.log_expectation(trace_id=trace, name="expected_answer", value=expected(number), source=person("ada"))
        return {(question(number), expected(number), self.asked[trace][1]) for trace, number in traces.items()}

    def arrive(self):
        """Traces are sent behind the answers: wait until all are there."""
        end = time.monotonic() + PATIENCE_S
        while not self.asked.keys() <= {seen.trace_id for seen in served_answers(MODEL, remarked=False)}:
            assert time.monotonic() < end
            time.sleep(0.1)


def person(name):
    return AssessmentSource(source_type="HUMAN", source_id=name)


def leave_remarks(people):
    """The pairs that must come of the first week, and the reasons of what must not."""
    pairs = people.expect(range(100, 120))
    torn, same, odd, alone = (people.ask(number) for number in range(201, 205))
    people.arrive()
    mlflow.log_feedback(trace_id=torn, name="thumbs", value=True, source=person("ada"))
    mlflow.log_feedback(trace_id=torn, name="thumbs", value=False, source=person("bob"))
    mlflow.log_expectation(trace_id=same, name="expected_answer", value=people.asked[same][1], source=person("ada"))
    mlflow.log_feedback(trace_id=odd, name="thumbs", value="purple", source=person("ada"))
    mlflow.log_feedback(trace_id=alone, name="thumbs", value=True, source=person("ada"))
    mlflow.log_feedback(trace_id=alone, name="tone", value="warm", source=person("ada"))
    reasons = {
        "feedback disagrees: 1 person like the answer, 1 person do not": 1,
        "the expected answer is the one that was given": 1,
        "feedback 'thumbs' is 'purple': neither good nor bad": 1,
        "a liked answer was cut off by the length that was asked for": 1,
    }
    return pairs, reasons


def pairs_of(ref):
    rows = [row.pair for row in show_dataset(open_store(load_settings()), ref, rows=1000).first]
    return {tuple(row[side][0]["content"] for side in ("prompt", "chosen", "rejected")) for row in rows}


@pytest.fixture(scope="module")
def weeks(tmp_path_factory, forkserver):
    """A version is trained and served; a week of feedback, curated twice; one more; the next version is trained."""
    from flows.curate import curate
    from flows.retrain import retrain

    folder = tmp_path_factory.mktemp("loop")
    python = with_uvicorn(forkserver.python, folder)
    less = {"behaviour": {}, "retention": {}, "neutral_text": None, "samples": 0, "uptake_pairs": 0}
    recipe = str(tiny_recipe(folder, evaluation=less, gate=LENIENT))
    curation = folder / "curate.yaml"
    curation.write_text(CURATION)
    with pytest.MonkeyPatch.context() as patch, tracking_server(python, folder) as (url, _):
        patch.setenv("DPO_HOME", str(folder / "home"))
        patch.setenv("MLFLOW_TRACKING_URI", url)
        done = {"first": retrain(recipe).document}
        model = f"models:/{MODEL}/{done['first'].version}"
        with serving(python, folder, model, MLFLOW_TRACE_SAMPLING_RATIO="1") as served:
            served.warm_up()
            people = People(served)
            done["pairs"], done["reasons"] = leave_remarks(people)
            done["curated"] = curate(str(curation))
            done["again"] = curate(str(curation))
            done["more"] = people.expect(range(300, 303))
            done["grown"] = curate(str(curation))
            served.chat("write to ada@example.org about the river", max_tokens=8)
            people.ask(400)  # sent behind the one above
            people.arrive()
            done["from traces"] = curate(str(again_asked(folder, model)))
        done["second"] = retrain(recipe, [f"data.train={DATA}@latest", ANY_WORD]).document
        yield done


def test_a_weeks_feedback_is_a_version_of_exactly_the_pairs_that_follow_from_it(weeks):
    made = weeks["curated"]
    assert weeks["first"].verdict == "promote"
    assert (made.dataset, made.changed, made.way) == (f"{DATA}@1", True, "feedback")
    assert pairs_of(made.dataset) == weeks["pairs"]
    assert (made.rows, made.new, made.answers) == (20, 20, 20)
    assert made.dropped == weeks["reasons"]
    assert made.notes == ["remarks named 'tone': 1"]
    assert made.verdict in ("pass", "warn")


def test_without_new_feedback_the_version_stays(weeks):
    again = weeks["again"]
    assert (again.dataset, again.changed, again.new, again.rows) == (f"{DATA}@1", False, 0, 20)
    assert again.dropped == weeks["reasons"]


def test_new_feedback_makes_a_version_that_holds_the_old_pairs_too(weeks):
    grown = weeks["grown"]
    assert (grown.dataset, grown.changed, grown.new, grown.rows) == (f"{DATA}@2", True, 3, 23)
    assert pairs_of(f"{DATA}@2") == weeks["pairs"] | weeks["more"]
    assert pairs_of(f"{DATA}@1") == weeks["pairs"]


def again_asked(folder, model):
    """A curation whose prompts are what people asked; each answer is corrected by a rule."""
    values = {
        "name": "asked-again",
        "model": model,
        "prompts": {"sources": [{"path": f"traces:{MODEL}"}], "near": "all"},
        "answers": {"max_new_tokens": 8},
        "correction": {"rules": {"rules": [{"name": "aye", "template": "aye, it is so"}]}},
        "validation": {"intended": ["/.*/"], "length_warn": 1.0, "length_fail": 1.0},
    }
    path = folder / "asked-again.yaml"
    path.write_text(json.dumps(values))  # JSON is YAML
    return path


def test_what_people_asked_is_a_source_of_prompts_without_what_is_theirs(weeks):
    made = weeks["from traces"]
    rows = show_dataset(open_store(load_settings()), made.dataset, rows=99).first
    prompts = {row.pair["prompt"][0]["content"] for row in rows}
    assert {question(400), "write to [e-mail] about the river", *(asked for asked, *_ in weeks["pairs"])} <= prompts
    assert {row.source for row in rows} == {f"traces:{MODEL}"}
    assert made.prompts == len(rows) == len(prompts)


def test_the_next_version_is_trained_on_it_and_says_so(weeks):
    second = weeks["second"]
    assert (second.verdict, second.state, second.champion_version) == ("promote", "promoted", second.version)
    assert second.version != weeks["first"].version
    assert versions.by_number(MODEL, second.version).tags["dpo.dataset"] == f"{DATA}@2"
    run = mlflow.MlflowClient().get_run(second.mlflow_run_id)
    assert run.data.tags["dpo.dataset"] == f"{DATA}@2"
