"""A whole run whose gate keeps a task of lm-eval: asked of each model once, compared document by document."""

import pytest

from tests.lm_eval_tasks import write_task
from tests.recipes import tiny_recipe

pytest.importorskip("lm_eval", reason="the extra lm-eval is not installed")
pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(scope="module")
def asked():
    """Tasks and models, as they are asked."""
    return []


@pytest.fixture(scope="module")
def run(tmp_path_factory, asked):
    from dpo_core.evaluate.harness import scores
    from flows.retrain import retrain

    folder, home = tmp_path_factory.mktemp("recipe"), tmp_path_factory.mktemp("home")
    write_task(folder / "tasks")
    write_task(folder / "tasks", "more")
    settings = {"lm_eval": {"tasks": ["sums"], "include_path": "tasks"}}
    recipe = tiny_recipe(folder, evaluation=settings, gate={"keep": {"lm_eval/sums": 0.9}})
    real = scores.item_scores

    def noted(task, *rest, **how):
        asked.append(task.name)
        return real(task, *rest, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DPO_HOME", str(home))
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlflow.db")
        patch.setattr(scores, "item_scores", noted)
        yield lambda *overrides: retrain(str(recipe), ["name=athene", *overrides], False)


@pytest.fixture(scope="module")
def first(run):
    return run()


def test_the_gate_compares_document_by_document(first, asked):
    assert asked == ["sums", "sums"]  # the reference, which is the baseline too, and the challenger
    condition = next(row for row in first.display.gate.conditions if row.metric == "lm_eval/sums")
    assert condition.items == 12
    assert first.document.verdict == "promote"


def test_another_task_is_asked_by_itself_and_a_changed_metric_is_another_one(run, first, asked):
    del asked[:]
    run("evaluation.lm_eval.tasks=[sums, more]")
    assert asked == ["more", "more"]
    del asked[:]
    assert run("evaluation.lm_eval.tasks=[sums, more]").document.changed is False
    run("evaluation.lm_eval.tasks={sums: acc_norm}")
    assert asked == ["sums", "sums"]
