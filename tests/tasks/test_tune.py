"""A trial that is gone on with after a kill, and what is said of trials at the end."""

import json
import signal
import sys
import threading
from types import SimpleNamespace

import psutil
import pytest
import torch
from filelock import Timeout
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState
from prefect import flow

from dpo_core.errors import Diverged, InputError
from dpo_core.recipe import Recipe
from dpo_core.recipe_tune import Tune
from dpo_core.tune.choice import choose
from dpo_core.tune.rungs import RUNGS
from dpo_core.tune.space import Axis, space_of
from infra.errors import ProcessFailed
from infra.settings import load_settings
from infra.store import open_store
from infra.tracking.runs import open_run
from tasks.records import Checked, MeasureOutput, Scored
from tasks.train import _places, training_inputs
from tasks.training.process import Listener, launch
from tasks.tune import conclude, judge
from tasks.tune import study as studies
from tasks.tune.begin import begin_search
from tasks.tune.records import Search, TrialMeasures, TuningSplit
from tasks.tune.trial import limits_of_rung, try_settings, try_side_by_side

RATE = "training.learning_rate"


@pytest.fixture
def search(tmp_path, monkeypatch, make_plan):
    """Of one setting, on 80 pairs."""
    monkeypatch.setenv("DPO_HOME", str(tmp_path))
    tune = {"trials": 4, "seeds": 2, "space": {RATE: [1e-5, 1e-3]}, "constraints": {"drift": 5.0}}
    recipe = Recipe(name="n", model="m", data={"train": "t"}, training={"learning_rate": 1e-5}, tune=tune)
    run = open_run("tune", run_key=str(tmp_path), run_name="search", artifact_root=str(tmp_path))
    return Search(
        plan=make_plan(recipe=recipe, model_folder="", run_id=run.id),
        split=TuningSplit.model_construct(rows=None, trained_on=80, judged_on=8, prompts=8),
        study="s",
        space=space_of(recipe, rows=80, parameters=10),
        limits={"drift": [float("-inf"), 5.0]},
        side_by_side=1,
    )


@pytest.mark.parametrize(
    ("changed", "differs"),
    [
        ({"recipe": {"gate": {"keep": {"retention/facts": 0.2}}}}, "limits"),
        ({"recipe": {"evaluation": {"max_new_tokens": 9}}}, "evaluation.max_new_tokens"),
        ({"files": {"facts.jsonl": "f", "neutral.txt": "n2"}}, "evaluation.neutral_text"),
        ({"tokenizer_sha256": "t2"}, "tokenizer"),
        ({"ids": "i2"}, "ids"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_study_belongs_to_its_limits_texts_and_tokens(search, make_plan, changed, differs):
    def begin(recipe=None, ids="i", **plan):
        evaluation = {"retention": {"facts": "facts.jsonl"}, "neutral_text": "neutral.txt"}
        values = {"evaluation": evaluation, "gate": {"keep": {"retention/facts": 0.1}}}
        for section, keys in (recipe or {}).items():
            values[section] = {**values[section], **keys}
        tune = {"trials": 4, "space": {RATE: [1e-5, 1e-3]}}
        recipe = Recipe(name="n", model="m", data={"train": "t"}, training={"learning_rate": 1e-5}, tune=tune, **values)
        known = {"recipe": recipe, "model_folder": "", "files": {"facts.jsonl": "f", "neutral.txt": "n"}}
        rows = Checked.model_construct(data_sha256="d", ids_sha256=ids)
        split = TuningSplit.model_construct(rows=rows, trained_on=80, judged_on=8, prompts=8)
        return begin_search.fn(make_plan(**known | plan), split)

    begin()
    begin()
    with pytest.raises(InputError, match=f"of another recipe: {differs} differ"):
        begin(**changed)


def test_weights_of_bf16_are_counted_each_and_not_by_their_bytes(search, make_plan, tmp_path):
    folder, size = tmp_path / "model", 2_200_000_000  # bytes of 1.1 billion, more than a small model has
    folder.mkdir()
    tensor = {"dtype": "BF16", "shape": [1_100, 1_000_000], "data_offsets": [0, size]}
    header = json.dumps({"weight": tensor}).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)  # no room of the disk is taken
    recipe = search.plan.recipe.model_copy(update={"tune": Tune(trials=4)})
    split = search.split.model_copy(update={"rows": Checked.model_construct(data_sha256="d", ids_sha256="i")})
    begun = begin_search.fn(make_plan(recipe=recipe, model_folder=str(folder)), split)
    assert (begun.space[RATE].low, begun.space[RATE].high) == (1e-7, 1e-5)


def measures(value=0.6, drift=0.0):
    metrics = {"preference": value, "drift": drift, "rewards/margins": 1.0}
    return TrialMeasures(weights_sha256="w", steps=1, pairs=8, forwards=0, metrics=metrics, judged="k")


def test_a_trial_that_is_gone_on_with_keeps_what_it_has_spent_and_trains_what_is_left(search, monkeypatch):
    trained = []

    def judged(plan, *_):
        if len(trained) == 3:
            trained.append("killed")
            raise KeyboardInterrupt
        trained.append(plan.recipe.seed)
        return measures()

    monkeypatch.setattr(judge, "judged", judged)
    [number] = studies.begun_trials(search)
    with pytest.raises(KeyboardInterrupt):
        try_settings.fn(search, number)
    study = studies.open_study("s")
    before = study.trials[number].user_attrs[studies.RECORDS]
    assert [record["eighths"] for record in before] == [1, 2, 4]
    assert studies.begun_trials(search) == [number]
    try_settings.fn(search, number)
    after = study.trials[number].user_attrs[studies.RECORDS]
    assert after[:3] == before
    assert [(record["eighths"], record["seed"]) for record in after[3:]] == [(8, 0), (8, 1)]
    assert trained == [0, 0, 0, "killed", 0, 1]


def test_what_diverges_has_spent_its_pairs_and_is_told_without_figures(search, monkeypatch):
    def judged(plan, *_):
        if plan.recipe.training.num_train_epochs > 0.25:
            raise Diverged("step 3: loss or gradient is not finite", where="f:1", do="look")
        return measures()

    monkeypatch.setattr(judge, "judged", judged)
    rows = Checked.model_construct(eval_key="k")
    search = search.model_copy(update={"split": search.split.model_copy(update={"rows": rows})})
    [number] = studies.begun_trials(search)
    try_settings.fn(search, number)
    found = conclude.conclude.fn(search, "run.yaml", search.plan.recipe)
    [trial] = found.trials
    assert [(rung.eighths, bool(rung.metrics)) for rung in trial.rungs] == [(1, True), (2, True), (4, False)]
    assert trial.reason == "diverged on 4/8 of the pairs: step 3: loss or gradient is not finite"
    assert found.spent["pairs"] == 10 + 20 + 40
    assert (found.state, trial.state, trial.value) == ("none_holds", "pruned", 0.6)


def test_settings_that_cannot_be_trained_twice_are_left_out_and_the_own_ones_end_the_search(search, monkeypatch):
    """What else is at work may take the memory once; a rank that has no room for it never will."""
    kept = {"own": 1}

    def judged(plan, *_):
        if plan.recipe.training.learning_rate == 1e-5 and kept["own"]:
            kept["own"] -= 1
            raise ProcessFailed("the training process was killed by SIGKILL", where="here", do="free memory")
        if plan.recipe.training.learning_rate != 1e-5:
            raise ProcessFailed("the training process was killed by SIGKILL", where="here", do="free memory")
        return measures()

    monkeypatch.setattr(judge, "judged", judged)

    def try_once():
        [number] = studies.begun_trials(search)
        try_settings.fn(search, number)

    with pytest.raises(ProcessFailed):
        try_once()  # the recipe's own
    try_once()
    with pytest.raises(ProcessFailed):
        try_once()  # the other, once
    try_once()
    assert studies.begun_trials(search) == []
    own, other = studies.tried(studies.open_study("s"))
    assert (own.state, other.state) == (TrialState.COMPLETE, TrialState.PRUNED)
    reason = "could not be trained, twice: the training process was killed by SIGKILL"
    assert other.user_attrs[studies.REASON] == reason
    assert not studies.holds(other)


@pytest.fixture
def one_training(search, monkeypatch):
    """`judged` as it is, of a training that `train` stands for; what it measures is `ask`."""

    def judge_it(train, ask=None):
        rows = Checked.model_construct(data_sha256="d", ids_sha256="i", eval_key="k")
        split = search.split.model_copy(update={"rows": rows})
        scored = Scored.model_construct(path="", forwards=0)
        monkeypatch.setattr(judge, "score", lambda *_: scored)
        monkeypatch.setattr(judge, "_measured", lambda *_: None)
        monkeypatch.setattr(judge, "train", lambda *_: train(search.plan, rows, scored))
        monkeypatch.setattr(judge, "_ask", lambda *_, **__: ask(search.plan, split, scored))
        return judge.judged(search.plan, split, {}, 80)

    return judge_it


def test_a_training_that_diverged_leaves_neither_folder_nor_checkpoints(one_training, tmp_path):
    store, left = open_store(load_settings()), []

    def train(*asked):
        folder, checkpoints = _places(asked[0], training_inputs(*asked))
        (folder / "checkpoints" / "step-00000050").mkdir(parents=True)
        store.put_bytes(f"{checkpoints}/step-00000050/model.safetensors", b"weights")
        left.extend([folder, checkpoints])
        raise Diverged("step 53: loss or gradient is not finite", where="f:1", do="look")

    with pytest.raises(Diverged):
        one_training(train)
    folder, checkpoints = left
    assert not folder.exists()
    assert list(store.list(f"{checkpoints}/")) == []


def test_nobody_trains_the_same_settings_while_their_model_is_measured_and_removed(one_training, monkeypatch):
    trained = SimpleNamespace(model_key="models/w", weights_sha256="w", steps=1)
    monkeypatch.setattr(judge, "stored_model", lambda *_: "nowhere")
    monkeypatch.setattr(judge, "_metrics", lambda *_: {})
    monkeypatch.setattr(judge, "_shifts", lambda *_: [])
    monkeypatch.setattr(judge, "_rows", lambda *_: [])

    def ask(plan, split, scored):
        with pytest.raises(Timeout):
            judge._alone(plan, split, scored).acquire(timeout=0)

    assert one_training(lambda *_: trained, ask).weights_sha256 == "w"


def test_what_the_budget_cut_is_finished_under_a_larger_one(search, monkeypatch):
    def within(pairs):
        tune = search.plan.recipe.tune.model_copy(update={"trials": None, "pairs": pairs})
        plan = search.plan.model_copy(update={"recipe": search.plan.recipe.model_copy(update={"tune": tune})})
        larger = search.model_copy(update={"plan": plan})
        while numbers := studies.begun_trials(larger):
            for number in numbers:
                try_settings.fn(larger, number)
        lines = [conclude._line(trial, None) for trial in studies.tried(studies.open_study("s"))]
        return [(line.state, line.reason, [rung.eighths for rung in line.rungs]) for line in lines]

    monkeypatch.setattr(judge, "judged", lambda plan, *_: measures(0.6 + 100 * plan.recipe.training.learning_rate))
    own = ("finished", "", [1, 2, 4, 8, 8])  # 10 + 20 + 40 + 2 * 80 pairs of 80
    assert within(300) == [own, ("running", "the budget was spent before 8/8 of the pairs", [1, 2, 4])]
    assert within(459) == [own, ("running", "the budget was spent before 8/8 of the pairs", [1, 2, 4])]
    assert within(460) == [own, own]


@pytest.mark.parametrize("breaks_at", [0.1, 0.5, 1.0])
def test_settings_that_break_a_limit_are_no_better_than_others_for_their_value(search, monkeypatch, breaks_at):
    """The recipe's own rate is too high: each pair right, and a model that is broken. It goes on to its end as ever."""
    own = search.plan.recipe.training.learning_rate

    def judged(plan, *_):
        if plan.recipe.training.learning_rate != own:
            return measures(0.7)
        return measures(1.0, drift=9.0 if plan.recipe.training.num_train_epochs >= breaks_at else 0.0)

    monkeypatch.setattr(judge, "judged", judged)
    rows = Checked.model_construct(eval_key="k")
    search = search.model_copy(update={"split": search.split.model_copy(update={"rows": rows})})
    while numbers := studies.begun_trials(search):
        for number in numbers:
            try_settings.fn(search, number)
    found = conclude.conclude.fn(search, "run.yaml", search.plan.recipe)
    assert [line.reason for line in found.trials] == ["does not hold: drift 9 (at most 5)", ""]
    assert (found.state, found.recommended) == ("better", found.trials[1].number)


@pytest.fixture
def two(search):
    """As many trials side by side, of a range, within so many pairs."""

    def within(pairs):
        tune = search.plan.recipe.tune.model_copy(update={"trials": None, "pairs": pairs})
        plan = search.plan.model_copy(update={"recipe": search.plan.recipe.model_copy(update={"tune": tune})})
        space = {RATE: Axis(low=1e-5, high=1e-3, log=True)}
        return search.model_copy(update={"plan": plan, "space": space, "side_by_side": 2})

    return within


def test_the_recipes_own_settings_run_alone_to_their_end_and_no_more_begin_than_the_budget_holds(two, monkeypatch):
    monkeypatch.setattr(judge, "judged", lambda *_: measures())
    assert studies.begun_trials(two(240)) == [0]
    assert studies.begun_trials(two(240)) == [0], "gone on with"
    try_settings.fn(two(240), 0)
    assert studies.begun_trials(two(240)) == [1], "10 pairs are left of 240, of which the own settings took 230"
    assert studies.begun_trials(two(250)) == [1, 2]


def test_what_trains_beside_a_trial_is_not_in_its_budget(two, monkeypatch):
    """The own settings take 230 pairs, each other trial 10, then 20; the second one is tried in a training of 20."""
    search, calls = two(280), []

    def judged(*_):
        calls.append(None)
        if len(calls) == 5 + 2:
            try_settings.fn(search, 2)
        return measures()

    monkeypatch.setattr(judge, "judged", judged)
    [own] = studies.begun_trials(search)
    try_settings.fn(search, own)
    assert studies.begun_trials(search) == [1, 2]
    try_settings.fn(search, 1)
    _, first, second = studies.open_study("s").trials
    assert [[record["pairs"] for record in trial.user_attrs[studies.RECORDS]] for trial in (first, second)] == [
        [10, 20],
        [10],
    ]
    assert second.user_attrs[studies.WAITS] == 20


@pytest.mark.parametrize("count", [1, 2])
def test_ctrl_c_ends_the_training_of_each_trial_and_no_other_begins(
    search, prefect_server, tmp_path, monkeypatch, count
):
    python, started = tmp_path / "python", []
    python.write_text("#!/bin/sh\nexec sleep 600\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))

    def listened(process):
        started.append(process)
        if len(started) == count:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        return Listener(process)

    monkeypatch.setattr("tasks.training.process.Listener", listened)
    monkeypatch.setattr(judge, "judged", lambda *_: launch(tmp_path, load_settings()))
    before = psutil.Process().children(recursive=True)
    numbers = [*studies.begun_trials(search), studies.trial_of(studies.open_study("s"), search).number]
    with pytest.raises(KeyboardInterrupt):
        flow(lambda: try_side_by_side(search, numbers[:count]), name="some")()
    assert len(started) == count
    assert [child for child in psutil.Process().children(recursive=True) if child not in before] == []


def test_a_trial_without_one_seed_of_its_last_rung_has_not_finished(search):
    study = studies.open_study("s")
    records = [{"eighths": e, "measures": measures(v).model_dump(mode="json")} for e, v in ((4, 0.7), (8, 0.9))]
    trial = study.ask({RATE: CategoricalDistribution([1e-5, 1e-3])})
    trial.set_user_attr(studies.RECORDS, records)
    trial.report(0.7, 4)
    study.tell(trial, state=TrialState.PRUNED)
    [point] = [conclude._point(trial, search) for trial in studies.tried(study)]
    assert (point.values, point.finished) == ({4: (0.7,)}, False)
    assert choose([point], own=0) is None


def test_the_start_model_is_measured_anew_by_another_tokenizer_or_of_other_ids(search, monkeypatch):
    asked, store = [], open_store(load_settings())
    found = MeasureOutput(answers={}, logps=None, nll={}, uptake={})
    monkeypatch.setattr(judge, "_ask", lambda *_, **__: asked.append(1) or found)

    def measured(ids="i", **plan):
        rows = Checked.model_construct(data_sha256="d", ids_sha256=ids)
        split = TuningSplit.model_construct(rows=rows, trained_on=80, judged_on=8, prompts=8)
        scored = Scored.model_construct(path="")
        judge._measured(store, search.plan.model_copy(update=plan), split, scored, {}, {}, {})
        return len(asked)

    assert [measured(), measured(), measured("i2"), measured(tokenizer_sha256="t2")] == [1, 1, 2, 3]


@pytest.mark.parametrize(("reference", "drift"), [("base", -0.25), ("start", -0.5)])
def test_a_trial_is_judged_against_the_start_model_whatever_its_reference(search, monkeypatch, reference, drift):
    # one pair of two tokens a side: reference -4, start -3.5 where it is another model, trained -3
    store, row = open_store(load_settings()), SimpleNamespace(chosen_ids=[1, 2])
    monkeypatch.setattr(judge, "_rows", lambda *_: [row])
    monkeypatch.setattr(judge, "reference_sums", lambda *_: (torch.tensor([-4.0]), torch.tensor([-4.0])))

    def answers(value, logps):
        logps = {"chosen": [value], "rejected": [-4.0]} if logps else None
        return MeasureOutput(answers={"samples": []}, logps=logps, nll={}, uptake={})

    monkeypatch.setattr(judge, "_ask", lambda *_, logps, **__: answers(-3.5, logps))
    plan = search.plan.model_copy(update={"model_sha256": "start", "reference_sha256": reference})
    rows = Checked.model_construct(data_sha256="d", ids_sha256="i")
    split = TuningSplit.model_construct(rows=rows, trained_on=80, judged_on=1, prompts=1)
    scored = Scored.model_construct(path="")
    start = judge._measured(store, plan, split, scored, {}, {}, {})
    trained = answers(-3.0, logps=True)
    found = judge._metrics(plan, [row], judge._shifts(store, [row], scored, start, trained), {}, start, trained)
    assert (found["drift"], found["rewards/margins"]) == (drift, -2 * drift)


def test_the_objective_of_a_group_of_prompts_is_its_sum_and_the_number_of_pairs(search):
    rows = [SimpleNamespace(pair=SimpleNamespace(prompt=({"role": "user", "content": asked},))) for asked in "aba"]
    found = judge._by_group(search.plan, rows, [(1.0, 0.0), (-2.0, 0.0), (4.0, 1.0)])
    # preference: 1 / (1 + exp(-margin / 10)) of margins 1 and 3, and of -2
    assert found == [(pytest.approx(0.524979 + 0.574443, abs=2e-6), 2), (pytest.approx(0.450166, abs=1e-6), 1)]


def test_trials_that_saw_all_pairs_keep_their_figures_by_group_and_are_compared_by_them(search, monkeypatch):
    """The second setting gains 0.05 in the mean, by one prompt of eight: luck of the draw."""
    gained = {1e-5: [(0.5, 1)] * 8, 1e-3: [(0.9, 1), *[(0.5, 1)] * 7]}

    def judged(plan, *_):
        found = gained[plan.recipe.training.learning_rate]
        return measures(sum(value for value, _ in found) / 8).model_copy(update={"by_group": found})

    monkeypatch.setattr(judge, "judged", judged)
    while numbers := studies.begun_trials(search):
        for number in numbers:
            try_settings.fn(search, number)
    records = studies.tried(studies.open_study("s"))[1].user_attrs[studies.RECORDS]
    assert [(r["eighths"], "by_group" in r["measures"]) for r in records] == [
        *((1, False), (2, False), (4, False)),
        *((8, True), (8, True)),
    ]
    rows = Checked.model_construct(eval_key="k")
    search = search.model_copy(update={"split": search.split.model_copy(update={"rows": rows})})
    found = conclude.conclude.fn(search, "run.yaml", search.plan.recipe)
    peak = found.trials[1].number
    assert (found.state, found.recommended, found.peak, found.spread) == ("own_settings", 0, peak, 0.0)
    assert found.gain_half_width == pytest.approx(0.05 * 2.36462, rel=1e-4)  # one of n gains g: SE g / n; t(7)


@pytest.mark.parametrize(
    ("now", "start", "chosen", "ratio"),
    [
        (30, 100, 20, 1.0),  # on the way from the start model's answers to the chosen ones
        (10, 100, 20, 0.5),  # shorter than either: half the chosen ones' words
        (300, 100, 20, 3.0),  # longer than either: three times the start model's
        (150, 100, 200, 1.0),
        (50, 100, 200, 0.5),
        (0, 100, 0, 0.0),  # silence is short even where the chosen answers say nothing
    ],
)
def test_answers_that_become_as_long_as_the_chosen_ones_have_not_changed_in_length(now, start, chosen, ratio):
    assert judge.length_ratio(now, start, chosen) == ratio


def test_suites_are_asked_from_half_of_the_pairs_on_and_what_is_cheap_always():
    cheap = {"drift": [0.0, 1.0], "length": [0.5, 2.0], "retention/neutral_text": [0.0, 1.0]}
    limits = cheap | {"retention/facts": [0.0, 0.1]}
    assert [limits_of_rung(limits, eighths) for eighths in RUNGS] == [cheap, cheap, limits, limits]
