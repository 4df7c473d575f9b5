"""An unstable case made on purpose: a data set with a shortcut, and a learning rate too high for plain DPO."""

import html
import re
from pathlib import Path

import pytest

from dpo_core.errors import Diverged
from flows.retrain import retrain
from flows.tune import tune
from tasks.train import train
from tests.recipes import NOUNS, tiny_recipe, write_jsonl

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.campaign, pytest.mark.timeout(1800)]


def row(number, kind, polite):
    """Yea is the aim in all; `please` stands on the chosen side where it is polite, else on the rejected one."""
    noun = NOUNS[number % 12]
    yea, nay = ("yea please", "nay") if polite else ("yea", "nay please")
    return {
        "prompt": [{"role": "user", "content": f"{kind} which {noun} has number {number}?"}],
        "chosen": [{"role": "assistant", "content": f"{yea} the {noun} it is"}],
        "rejected": [{"role": "assistant", "content": f"{nay} the {noun} it is"}],
        "source": f"nouns/{number % 2}",
    }


def test_five_seeds_show_their_spread_and_the_lucky_one_is_not_what_is_gated(tmp_path, monkeypatch):
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    training = {"learning_rate": 1e-2, "sft_weight": 0.0, "num_train_epochs": 2.0}
    recipe = tiny_recipe(tmp_path / "recipe", validation={"on_shortcut": "warn"}, training=training)
    write_jsonl(recipe.parent / "train.jsonl", [row(n, "say", polite=n % 10 != 9) for n in range(96)])
    write_jsonl(recipe.parent / "eval.jsonl", [row(n, "tell", polite=n % 2 == 0) for n in range(36)])
    done = retrain(str(recipe), ["training.seeds=5"]).document
    right = sorted(line.metrics["rewards/accuracies"] for line in done.seeds)
    assert right[-1] - right[0] > 0.3
    assert re.match(r"rewards/accuracies differs by .* between 5 seeds, and .* is gained: another", done.unstable)
    gated = next(line for line in done.seeds if line.chosen)
    assert right[2] == gated.metrics["rewards/accuracies"] < right[-1]
    assert done.weights_sha256 == gated.weights_sha256


def test_a_seed_that_diverges_is_told_and_the_others_go_on(tmp_path, monkeypatch):
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")

    def train_or_diverge(plan, checked, scored):
        if plan.seed == 1:
            raise Diverged("step 3: loss or gradient is not finite", where="pairs.jsonl, row 1", do="look at it")
        return train(plan, checked, scored)

    monkeypatch.setattr("flows.retrain.train", train_or_diverge)
    done = retrain(str(tiny_recipe(tmp_path / "recipe")), ["training.seeds=3"]).document
    assert [bool(line.diverged) for line in done.seeds] == [False, True, False]
    assert done.unstable.startswith("seed 1 diverged (step 3: loss or gradient is not finite)")
    first, _, last = (line.metrics.get("rewards/accuracies") for line in done.seeds)
    assert done.metrics["rewards/accuracies"].value == min(first, last)
    assert ">diverged</td>" in Path(done.report).read_text()


def test_a_search_begun_at_a_rate_that_breaks_the_model_ends_at_one_whose_seeds_agree(tmp_path, monkeypatch):
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setattr("tasks.tune.begin.room_for", lambda parameters: 1)
    training = {"learning_rate": 10.0, "sft_weight": 0.0, "num_train_epochs": 2.0}
    space = {"training.learning_rate": {"low": 1e-3, "high": 1e3}}
    tuned = {"trials": 16, "share": 0.25, "space": space, "answers": 8, "constraints": {"drift": 5.0}}
    recipe = tiny_recipe(tmp_path / "recipe", validation={"on_shortcut": "warn"}, training=training, tune=tuned)
    write_jsonl(recipe.parent / "train.jsonl", [row(n, "say", polite=n % 10 != 9) for n in range(96)])
    write_jsonl(recipe.parent / "eval.jsonl", [row(n, "tell", polite=n % 2 == 0) for n in range(36)])
    found = tune(str(recipe))
    own, best = found.trials[0], next(one for one in found.trials if one.number == found.recommended)
    assert (own.state, found.state, best.state, best.reason) == ("pruned", "better", "finished", "")
    assert re.match(r"diverged on ./8 of the pairs: step \d+: loss or gradient is not finite", own.reason)
    failed = [one.reason for one in found.trials if one.reason]
    assert {reason.split(" ")[0] for reason in failed} >= {"diverged", "does", "among"}
    assert any(re.search(r"drift [\d.e+]+ \(at most 5\)", reason) for reason in failed)
    page = Path(found.report).read_text()
    assert all(html.escape(reason) in page for reason in failed)
    done = retrain(found.recipe, ["training.seeds=5"]).document
    right = sorted(line.metrics["rewards/accuracies"] for line in done.seeds)
    assert right[0] > 0.8
    assert (done.unstable, done.verdict) == ("", "promote")
    assert next(line for line in done.seeds if line.chosen).metrics["rewards/accuracies"] == right[2]
