"""A model with modelling code of its own: refused unread, or, pinned in the recipe, the same in every process."""

import json
import os
import shutil
from contextlib import nullcontext
from hashlib import sha1, sha256
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dpo_core.data.pairs import Pair
from dpo_core.errors import InputError
from dpo_core.model.encode import load_tokenizer
from dpo_core.model.identity import digest_model, digest_tokenizer
from dpo_core.model.load import load_model
from dpo_core.model.remote_code import digest_code, trusted_code
from dpo_core.recipe_file import load_recipe
from infra.errors import BadSetting
from infra.store.folder import FolderStore
from tasks import score as score_module
from tasks.evaluation.measure import Inquiry, measure
from tasks.reference.store import reference_sums
from tasks.runtime.models import local_model
from tasks.runtime.pairs import encoded_pairs
from tasks.score import score
from tasks.train import _write_order
from tasks.training import worker as train_worker
from tests.recipes import NOUNS, keep_rows, pair, tiny_recipe
from tests.tiny import bring_own_code, build_tiny_model


@pytest.fixture
def canary(tmp_path):
    """A file that is there once code of the model's own has run."""
    return tmp_path / "canary"


@pytest.fixture
def folder(tmp_path, canary):
    return bring_own_code(build_tiny_model(tmp_path / "model"), canary)


def test_without_a_pin_it_is_refused_and_the_digest_to_write_is_told(folder, canary, tmp_path):
    with pytest.raises(InputError, match=r"holds modeling_own\.py, which can run code") as caught:
        local_model(str(folder), tmp_path)
    assert f"trust_remote_code: {digest_code(folder)}" in caught.value.do
    assert not canary.exists()


def test_a_wrong_pin_is_refused_before_anything_is_run(folder, canary, tmp_path):
    read = digest_code(folder)
    (folder / "modeling_own.py").write_text((folder / "modeling_own.py").read_text() + "\nimport os\n")
    for load in (load_model, lambda folder, trusted_code: local_model(str(folder), tmp_path, pin=trusted_code)):
        with pytest.raises(InputError, match=f"its digest is {digest_code(folder)}, not {read}") as caught:
            load(folder, trusted_code=read)
        assert f"trust_remote_code: {digest_code(folder)}" in caught.value.do
    assert not canary.exists()


def test_a_pinned_folder_may_hold_no_pickle_and_point_nowhere_else(folder, canary):
    pin, config = digest_code(folder), json.loads((folder / "config.json").read_text())
    (folder / "weights.pkl").write_text("")
    with pytest.raises(InputError, match=r"weights\.pkl, which can run code"):
        load_model(folder, trusted_code=pin)
    (folder / "weights.pkl").unlink()
    for place in ("someone/else--modeling_own.OwnModel", "../other/modeling_own.OwnModel"):
        config["auto_map"]["AutoModelForCausalLM"] = place
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(InputError, match="asks for code of another place"):
            load_model(folder, trusted_code=pin)
    assert not canary.exists()


def test_a_pin_for_a_model_without_code_is_refused(tiny_model, tmp_path):
    with pytest.raises(InputError, match="the model folder holds no code of its own"):
        local_model(str(tiny_model), tmp_path, pin="0" * 64)


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def git_blob(data):
    return sha1(b"blob %d\0" % len(data) + data).hexdigest()


def cached(folder, cache, blob_name=git_blob):
    """The folder as the hub's cache has it: files are links to blobs named by their content."""
    snapshot, blobs = cache / "models--org--own" / "snapshots" / COMMIT, cache / "models--org--own" / "blobs"
    blobs.mkdir(parents=True)
    for file in (file for file in folder.rglob("*") if file.is_file()):
        blob, link = blobs / blob_name(file.read_bytes()), snapshot / file.relative_to(folder)
        shutil.copy(file, blob)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return snapshot


def test_a_commit_pins_a_model_that_was_fetched_from_the_hub(folder, canary, tmp_path, monkeypatch):
    (folder / "sub").mkdir()
    (folder / "sub" / "more.py").write_text("")
    # `git hash-object` of an empty file; also git's well-known name of it
    assert git_blob(b"") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    snapshot, asked = cached(folder, tmp_path / "hub"), []
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda model, **how: asked.append((model, how["revision"])) or snapshot
    )
    assert local_model("org/own", tmp_path, pin=COMMIT) == snapshot
    assert asked == [("org/own", COMMIT)]
    assert trusted_code(COMMIT, snapshot) == digest_code(folder)
    large = cached(folder, tmp_path / "lfs", lambda data: sha256(data).hexdigest())
    assert trusted_code(COMMIT, large) == digest_code(folder)
    assert not canary.exists()


def test_a_commit_pins_no_folder_whatever_its_path(folder, canary, tmp_path):
    for model in (folder, cached(folder, tmp_path / "hub")):
        with pytest.raises(BadSetting, match="does not come from the hub") as caught:
            local_model(str(model), tmp_path, pin=COMMIT)
        assert "the run without trust_remote_code prints it" in caught.value.do
    with pytest.raises(InputError, match="no folder that the hub's cache has"):
        trusted_code(COMMIT, folder)
    assert not canary.exists()


def overwrite(file):
    file.write_text("import os")  # through the link, into the blob


def replace_by_a_file(file):
    file.unlink()
    file.write_text("import os")


def copy(file):
    data = file.read_bytes()
    file.unlink()
    file.write_bytes(data)


def link_elsewhere(file):
    elsewhere = file.parent.parent / git_blob(b"import os")
    elsewhere.write_bytes(b"import os")
    file.unlink()
    file.symlink_to(f"../{elsewhere.name}")


@pytest.mark.parametrize("change", [overwrite, replace_by_a_file, copy, link_elsewhere])
def test_a_file_of_a_snapshot_that_is_no_blob_of_its_content_is_refused(folder, canary, tmp_path, change):
    snapshot = cached(folder, tmp_path / "hub")
    change(snapshot / "modeling_own.py")
    with pytest.raises(InputError, match=r"modeling_own\.py is not the file that the hub named") as caught:
        trusted_code(COMMIT, snapshot)
    assert f"trust_remote_code: {digest_code(snapshot)}" in caught.value.do
    assert not canary.exists()


@pytest.mark.parametrize(("pin", "says"), [(True, "by name, not by a switch"), ("main", "should match pattern")])
def test_a_recipe_names_code_by_its_digest(tmp_path, pin, says):
    recipe = tiny_recipe(tmp_path)
    with pytest.raises(InputError, match=says):
        load_recipe(str(recipe), [f"trust_remote_code={json.dumps(pin)}"])


def test_code_is_part_of_a_models_name(folder, tmp_path):
    """The log-probs that the store keeps and every stage's record are named by it."""
    model, tokenizer = digest_model(folder), digest_tokenizer(folder)
    (folder / "modeling_own.py").write_text((folder / "modeling_own.py").read_text().replace("/ 2", "/ 3"))
    assert digest_model(folder) != model
    assert digest_tokenizer(folder) != tokenizer


@pytest.fixture
def plan(tmp_path, monkeypatch, canary, make_plan):
    """A plan on a tiny recipe whose model halves its logits."""
    recipe = tiny_recipe(tmp_path / "recipe")
    folder = bring_own_code(tmp_path / "recipe" / "model", canary)
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    tracker = SimpleNamespace(metrics=lambda *_: None, tags=lambda *_: None, in_background=nullcontext)
    for module in (score_module, train_worker):
        monkeypatch.setattr(module, "attach_run", lambda _: tracker)
    return make_plan(
        recipe=load_recipe(str(recipe), ["training.max_steps=2"]).recipe,
        model_folder=str(folder),
        model_sha256=digest_model(folder),
        trusted_code=digest_code(folder),
    )


def test_score_train_and_evaluate_run_the_pinned_code(plan, tmp_path, tiny_model):
    store = FolderStore(tmp_path / "home" / "store")
    rows = [pair(NOUNS[i], i, "say") for i in range(12)]
    pairs = [Pair(*(tuple(row[name]) for name in ("prompt", "chosen", "rejected"))) for row in rows]
    tokenizer = load_tokenizer(Path(plan.model_folder), trusted_code=plan.trusted_code)
    parts = {k: v for part in ("train", "eval") for k, v in keep_rows(store, "data/d", part, pairs, tokenizer).items()}
    checked = SimpleNamespace(**parts, data_sha256="d", ids_sha256="i", aside_key="")
    scored = score.fn(plan, checked)

    plain, encoded = load_model(tiny_model), encoded_pairs(store, checked.train_key, checked.train_ids_key)
    chosen, rejected = reference_sums(store, scored.path, encoded)
    for ids, answer, stored in [(e.prompt_ids, e.chosen_ids, s) for e, s in zip(encoded, chosen, strict=True)]:
        halved = plain(torch.tensor([ids + answer])).logits[0, len(ids) - 1 : -1] / 2
        expected = halved.log_softmax(-1).gather(1, torch.tensor(answer)[:, None]).double().sum()
        assert stored.item() == pytest.approx(expected.item(), abs=1e-4)

    work = tmp_path / "work"
    _write_order(work, store, plan, checked, scored)
    train_worker.run(work)  # it stops where policy and reference differ at the first step
    assert json.loads((work / "result.json").read_text())["first_dpo_loss"] == pytest.approx(0.693147, abs=1e-5)
    assert digest_code(work / "model") == plan.trusted_code
    assert type(load_model(work / "model", trusted_code=plan.trusted_code)).__name__ == "OwnModel"

    asked = Inquiry({}, [], encoded[:1], logps=True, path=None)
    found = measure(work.parent / "recipe" / "model", plan, store, checked, asked)
    assert found.logps["rejected"] == pytest.approx(rejected.tolist(), abs=1e-4)
    assert found.uptake["with"] == pytest.approx(chosen.tolist()[:1], abs=1e-4)
