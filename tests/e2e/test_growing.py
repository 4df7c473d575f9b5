"""A model that is retrained as its data grows: from the base model on all pairs, or from the champion on new ones."""

import json

import pytest

from tests.recipes import NOUNS, pair, tiny_recipe, write_jsonl

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(scope="module")
def weeks(tmp_path_factory):
    """Three weeks of one recipe: the first rows; more rows; nothing but another order. The documents."""
    from flows.retrain import retrain

    folder = tmp_path_factory.mktemp("growing")
    start = {"start": "champion", "replay": 0.25}
    recipe = tiny_recipe(
        folder,
        retrain=start,
        training={"num_train_epochs": 1.0, "early_stopping": {"share": 0.2, "eval_steps": 2}},
        gate={"improve": [], "keep": {}, "floor": {"rewards/accuracies": 0.5}},
    )
    rows = [pair(NOUNS[i % 12], i, "say") for i in range(136)]
    done = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DPO_HOME", str(folder / "home"))
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        for content in (rows[:96], rows, rows[::-1]):
            write_jsonl(folder / "train.jsonl", content)
            done.append(retrain(str(recipe)))
        yield folder, done


def test_each_training_keeps_the_weights_that_were_best_by_pairs_set_aside(weeks):
    _, done = weeks
    kept = [one.document.training.early_stopping for one in done]
    assert all(record.pairs >= 8 and record.best.step <= record.last.step for record in kept[:2])
    found = done[1].document.training
    assert found.steps == kept[1].last.step <= kept[1].planned < 64 / 8  # the pairs set aside take no step


def test_mlflow_has_the_held_out_figures_beside_those_of_the_pairs_set_aside(weeks):
    folder, done = weeks
    from mlflow import MlflowClient

    document = done[1].document
    metrics = MlflowClient(f"sqlite:///{folder}/mlflow.db").get_run(document.mlflow_run_id).data.metrics
    for name in ("rewards/accuracies", "rewards/margins"):
        assert metrics[f"eval_{name}"] == pytest.approx(document.metrics[name].value)
    assert metrics["tuning_loss"] == pytest.approx(document.training.early_stopping.last.value)


def trained_rows(folder, document):
    lineage = json.loads((folder / f"home/store/lineage/tiny/{document.weights_sha256}.json").read_text())
    return lineage, (folder / "home/store" / lineage["data"]["train"]).read_text().splitlines()


def test_while_there_is_no_champion_the_base_model_is_trained_on_all_pairs(weeks):
    folder, done = weeks
    lineage, rows = trained_rows(folder, done[0].document)
    assert (done[0].document.verdict, done[0].document.version) == ("promote", 1)
    assert len(rows) == 96
    assert lineage["parent"] is None


def test_the_champion_is_trained_on_what_is_new_and_on_a_share_of_what_it_knows(weeks):
    folder, done = weeks
    lineage, rows = trained_rows(folder, done[1].document)
    assert lineage["parent"]["version"] == 1
    assert len(rows) == 40 + 24  # a quarter of 96
    numbers = [int(json.loads(row)["prompt"][0]["content"].split()[-1].rstrip("?")) for row in rows]
    assert sum(number >= 96 for number in numbers) == 40


def test_the_same_rows_in_another_order_are_nothing_new(weeks):
    _, done = weeks
    document = done[2].document
    assert document.changed is False
    assert (document.version, document.champion_version) == (2, 2)
    assert [stage.name for stage in document.stages] == ["check"]
    assert "no pair is new to version" in done[2].display.gate.reasons[0]


def test_rewards_of_every_version_are_measured_against_the_first_reference(weeks):
    """The second version starts from the first: against that, the first's reward accuracy would be one half."""
    folder, done = weeks
    key = json.loads((folder / f"home/store/lineage/tiny/{done[1].document.weights_sha256}.json").read_text())[
        "evaluation"
    ]
    evidence = json.loads((folder / "home/store" / key).read_text())
    assert evidence["means"]["reference"]["rewards/accuracies"]["value"] == 0.5
    assert evidence["means"]["baseline"]["rewards/accuracies"]["value"] > 0.9
    first = json.loads((folder / f"home/store/lineage/tiny/{done[0].document.weights_sha256}.json").read_text())
    before = json.loads((folder / "home/store" / first["evaluation"]).read_text())
    assert evidence["means"]["baseline"]["rewards/margins"] == pytest.approx(
        before["means"]["challenger"]["rewards/margins"], rel=1e-5
    )


def ends(recipe):
    """Names of the states in which runs of a recipe ended, oldest first, each with the artifact's first line."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, FlowFilter, FlowFilterName
    from prefect.client.schemas.sorting import FlowRunSort

    found = []
    with get_client(sync_client=True) as client:
        flows = FlowFilter(name=FlowFilterName(any_=["retrain"]))
        for run in client.read_flow_runs(flow_filter=flows, sort=FlowRunSort.START_TIME_ASC):
            if run.parameters["recipe"] == recipe:
                of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
                told = [a for a in client.read_artifacts(artifact_filter=of_run) if a.key == "retrain-tiny"]
                found.append((run.state.type.value, run.state.name, [str(a.data).splitlines()[0] for a in told]))
    return found


def test_each_run_ends_in_a_state_with_a_name_and_an_artifact_on_prefects_page(weeks):
    from flows.retrain import retrain
    from tasks.documents import DataCheckFailed

    folder, done = weeks
    recipe = str(folder / "retrain.yaml")
    with pytest.raises(DataCheckFailed):
        retrain(recipe, ["validation.min_pairs=100000"])
    *weekly, failed = ends(recipe)
    assert failed == ("FAILED", "DataFailed", ["# The data check failed"])
    names = {"promoted": "Promoted", "held": "Held", "rejected": "Rejected", "nothing_new": "NothingNew"}
    assert [(kind, name) for kind, name, _ in weekly] == [("COMPLETED", names[d.document.state]) for d in done]
    assert [name for _, name, _ in weekly] == ["Promoted", "Promoted", "NothingNew"]
    assert weekly[2][2] == ["# tiny version 2: nothing new; champion: version 2"]
