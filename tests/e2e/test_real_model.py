"""SmolLM2-135M-Instruct end to end, a few steps: the model fetched, converted, trained, evaluated, registered."""

import gzip
import json
import math
import os
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MODEL = yaml.safe_load((ROOT / "examples/identity/retrain.yaml").read_text())["model"]
REAL_PAIRS = ROOT.parent / "shared/data/hh-rlhf.test.jsonl.gz"

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DPO_HOME", str(folder))
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        yield folder


def some(source: Path, target: Path, rows: int) -> Path:
    """A few rows of the shorter half of a JSONL file."""
    lines = source.read_text().splitlines()
    lines = sorted(lines, key=len)[: len(lines) // 2]
    target.write_text("".join(line + "\n" for line in lines[:: len(lines) // rows][:rows]))
    return target


@pytest.fixture(scope="module")
def done(home, tmp_path_factory):
    from flows.retrain import retrain

    folder, demo = tmp_path_factory.mktemp("recipe"), ROOT / "examples/identity"
    recipe = {
        "name": "short",
        "model": MODEL,
        "data": {
            "train": str(some(demo / "pairs.train.jsonl", folder / "train.jsonl", 8)),
            "eval": str(some(demo / "pairs.eval.jsonl", folder / "eval.jsonl", 2)),
        },
        "validation": {"min_pairs": 10, "intended": ["Athene"], "length_warn": 1.0, "length_fail": 1.0},
        "training": {"learning_rate": 2e-5, "train_batch_size": 4, "sft_weight": 1.0, "freeze_embeddings": True},
        "evaluation": {
            "max_new_tokens": 4,
            "samples": 1,
            "again": 0,
            "uptake_pairs": 0,
            "behaviour": {"identity": str(some(demo / "checks/identity.jsonl", folder / "identity.jsonl", 1))},
        },
        "gate": {"improve": ["rewards/margins"]},
    }
    path = folder / "retrain.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return retrain(str(path))


def test_the_first_dpo_term_is_ln_2_on_the_real_model(done):
    assert done.document.training.first_dpo_loss == pytest.approx(math.log(2), abs=1e-5)
    assert done.document.training.steps == 2


def test_two_steps_already_widen_the_held_out_margin(done):
    rows = {row.metric: row for row in done.display.before_after}
    assert rows["rewards/margins"].challenger > rows["rewards/margins"].reference == 0.0
    assert done.document.version == 1


@pytest.fixture(scope="module", params=["shipped", pytest.param("hh-rlhf", marks=pytest.mark.campaign)])
def pairs_file(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    if request.param == "shipped":
        return some(ROOT / "examples/identity/pairs.eval.jsonl", folder / "pairs.jsonl", 3)
    if not REAL_PAIRS.is_file():
        pytest.skip("the multi-turn HH-RLHF pairs are not beside this checkout")
    with gzip.open(REAL_PAIRS, "rt") as lines:
        rows = [row for row in map(json.loads, lines) if len(row["prompt"]) >= 3]
    short = sorted(rows, key=lambda row: len(json.dumps(row)))[40:43]
    path = folder / "hh.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in short))
    return path


def test_evaluate_agrees_with_plain_transformers_one_sequence_at_a_time(home, pairs_file):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from flows.evaluate import evaluate
    from tasks.runtime.models import local_model

    found = evaluate(MODEL, str(pairs_file))
    folder = local_model(MODEL, home)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    rows = [json.loads(line) for line in pairs_file.read_text().splitlines()]

    def logp(prompt, answer):
        start = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
        whole = start + answer[0]["content"] + "<|im_end|>"
        skip = len(tokenizer(start)["input_ids"])
        ids = torch.tensor([tokenizer(whole)["input_ids"]])
        with torch.no_grad():
            logps = model(ids).logits.log_softmax(-1)[0, :-1]
        return logps.gather(1, ids[0, 1:, None])[skip - 1 :].double().sum().item()

    for side in ("chosen", "rejected"):
        expected = sum(logp(row["prompt"], row[side]) for row in rows) / len(rows)
        assert found.metrics[f"logps/{side}"].value == pytest.approx(expected, rel=1e-3)
    assert found.pairs == len(rows)
    assert os.environ["HF_HUB_OFFLINE"] == "1"  # nothing came from a hub
