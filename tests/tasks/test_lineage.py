"""From a model version back to everything it came from, with every digest compared."""

import json
import shutil
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest

from dpo_core.data.pairs import Pair, digest_pairs
from dpo_core.model.identity import digest_weights
from dpo_core.recipe_file import load_recipe
from flows.cli.app import run
from infra.errors import InfraError
from infra.registry import versions
from infra.registry.weights import PLACE
from infra.store.folder import FolderStore
from tasks.commands.lineage import trace
from tasks.datasets.trained import trained_models
from tasks.lineage import DIGEST, KEY, write_lineage
from tasks.records import Stage
from tests.recipes import pair, tiny_recipe


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("DPO_HOME", str(tmp_path))
    return FolderStore(tmp_path / "store")


@pytest.fixture
def version(store, tmp_path, monkeypatch):
    """Version 2 of `tiny`, trained from version 1 of `base`, which has a record too."""
    known, registry = {}, tmp_path / "registry"

    def by_number(name, number):
        return known[name, number]

    monkeypatch.setattr(versions, "by_number", by_number)
    monkeypatch.setattr(versions, "registered_files", lambda *_: versions.file_digests(registry, "*.j*"))
    monkeypatch.setattr(versions, "by_weights", lambda name, weights: known.get((name, 1)))
    recipe = load_recipe(str(tiny_recipe(tmp_path / "recipe")), []).recipe
    weights = digest_weights(tmp_path / "recipe" / "model")
    store.put_folder(f"models/{weights}", tmp_path / "recipe" / "model")
    shutil.copytree(tmp_path / "recipe" / "model", registry)
    rows = [pair("stone", number, "say") for number in range(4)]
    pairs = [Pair(*(tuple(row[name]) for name in ("prompt", "chosen", "rejected"))) for row in rows]
    for key, some in (("data/d/train.jsonl", pairs[:3]), ("data/d/eval.jsonl", pairs[3:])):
        store.put_bytes(key, "".join(json.dumps(p.to_row()) + "\n" for p in some).encode())
    for part in ("train", "eval"):
        store.put_bytes(f"data/d/i/{part}.ids.jsonl", b"[[1],[2],[3]]\n")
    store.put_bytes("reports/tiny-data-0/quality.html", b"<p>")
    store.put_bytes("evaluations/e.json", b"{}")

    def registered(name, number, model):
        stage = Stage(name="stage", cached=False, seconds=0.0, key="stages/x.json")
        plan = SimpleNamespace(
            recipe=recipe.model_copy(update={"name": name, "model": model}),
            run_id=f"run-{number}",
            files={recipe.data.train: "1" * 64, f"/some/where/{Path(recipe.data.train).name}": "9" * 64},
            model_sha256="2" * 64,
            weights_sha256=weights,
            tokenizer_sha256="3" * 64,
            trusted_code=None,
            start_model=model,
        )
        checked = SimpleNamespace(
            train_key="data/d/train.jsonl",
            eval_key="data/d/eval.jsonl",
            train_ids_key="data/d/i/train.ids.jsonl",
            eval_ids_key="data/d/i/eval.ids.jsonl",
            data_sha256=digest_pairs(pairs[:3], pairs[3:]),
            report=str(tmp_path / "reports/tiny-data-0/quality.html"),
            stage=stage,
        )
        empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # SHA-256 of nothing
        named = f"reference/r/{empty}.safetensors"
        store.put_bytes(named, b"")
        scored = SimpleNamespace(path={"model": "m"}, rows=8, shards=[named], stage=stage)
        trained = SimpleNamespace(weights_sha256=weights, model_key=f"models/{weights}", stage=stage, online=None)
        evaluated = SimpleNamespace(key="evaluations/e.json", stage=stage)
        tags = write_lineage(store, plan, checked, scored, trained, evaluated)
        known[name, number] = versions.Version(number, f"run-{number}", weights, tags)

    registered("base", 1, "./model")
    registered("tiny", 2, "models:/base/1")
    return known["tiny", 2]


def statuses(found):
    return {link.what: link.status for link in found.links}


def test_a_version_leads_to_everything_and_to_its_parent(store, version):
    found = trace(store, "tiny", 2)
    assert found.verdict == "pass"
    assert statuses(found) == {
        "record": "verified",
        "weights": "verified",
        "data": "verified",
        "reference": "verified",
        "evaluation": "verified",
        "report": "verified",
        "base model": "recorded",
        "registered": "verified",
        "code": "recorded",
    }
    assert (found.parent.name, found.parent.version, found.parent.parent) == ("base", 1, None)
    assert found.recipe["training"]["learning_rate"] == 3e-3
    assert found.environment.packages["torch"]
    assert "/some/where" not in json.dumps(json.loads(store.get_bytes(version.tags[KEY]))["data"])


def test_a_file_of_the_same_name_hides_nobody_who_was_trained_on_the_other(store, version):
    def made_of(digest):
        return SimpleNamespace(ref="dataset:d@1", sha256="0" * 64, sources=[SimpleNamespace(sha256=digest * 64)])

    assert [(model.model, model.version) for model in trained_models(store, [version], [made_of("1")])] == [("tiny", 2)]
    assert trained_models(store, [version], [made_of("9")]) == []


@pytest.mark.parametrize(
    ("prefix", "what"),
    [("models/", "weights"), ("data/", "data"), ("reference/", "reference"), ("evaluations/", "evaluation")],
)
def test_what_was_changed_or_is_gone_is_named(store, version, prefix, what):
    for key in list(store.list(prefix)):
        store.put_bytes(key, b"[]")
    found = trace(store, "tiny", 2)
    assert (found.verdict, statuses(found)[what]) == ("fail", "damaged")
    for key in list(store.list(prefix)):
        store.delete(key)
    assert statuses(trace(store, "tiny", 2))[what] == "missing"


@pytest.mark.parametrize("name", ["config.json", "chat_template.jinja", "added_tokens.json"])
def test_a_file_of_the_registered_version_that_was_swapped_is_named(store, version, tmp_path, name):
    (tmp_path / "registry" / name).write_text("another")
    found = trace(store, "tiny", 2)
    assert (found.verdict, statuses(found)["registered"], statuses(found)["weights"]) == ("fail", "damaged", "verified")
    assert f"{name} not as trained" in next(link.says for link in found.links if link.what == "registered")


def test_a_changed_record_is_not_believed(store, version):
    data = store.get_bytes(version.tags[KEY])
    store.put_bytes(version.tags[KEY], data.replace(b'"rows": 8', b'"rows": 9'))
    assert statuses(trace(store, "tiny", 2))["record"] == "damaged"
    assert version.tags[DIGEST] != sha256(store.get_bytes(version.tags[KEY])).hexdigest()


def test_the_command_prints_the_tree_and_its_exit_code_tells_damage(store, version, capsys):
    assert run(["lineage", "tiny", "2"]) == 0
    out = capsys.readouterr().out
    assert "models:/tiny/2  MLflow run run-2" in out
    assert "models:/base/1  MLflow run run-1" in out
    assert "training.learning_rate: 0.003" in out  # the recipe: what it sets
    assert "encoding.max_length" not in out  # and not what it leaves as it is
    store.put_bytes("evaluations/e.json", b"[]")
    assert run(["lineage", "tiny", "2", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["verdict"] == "fail"


def test_a_version_without_a_record_says_how_to_get_one(store, monkeypatch, capsys):
    monkeypatch.setattr(versions, "by_number", lambda *_: versions.Version(1, "run", "a" * 64, {}))
    assert run(["lineage", "tiny", "1", "--json"]) == 2
    assert "run its recipe again" in json.loads(capsys.readouterr().out)["error"]["do"]


def test_records_of_earlier_and_later_versions_are_read_and_one_that_is_none_says_so(store, version):
    key = version.tags[KEY]
    record = json.loads(store.get_bytes(key))
    del record["base"]["own_code_sha256"]  # as before it was known
    record["environment"]["gpu"], record["later"] = "H200", {"x": 1}
    store.put_bytes(key, json.dumps(record).encode())
    assert trace(store, "tiny", 2).environment.python == record["environment"]["python"]
    store.put_bytes(key, b'{"name": "tiny"}')
    with pytest.raises(InfraError, match="the record of this version cannot be read") as caught:
        trace(store, "tiny", 2)
    assert caught.value.where.endswith(key)


def test_weights_that_were_removed_on_purpose_are_not_missing_and_a_command_makes_them_again(store, version, capsys):
    tags = {PLACE: "removed 2026-11-29 by keep=4"}
    versions.by_number("base", 1).tags.update(tags), version.tags.update(tags)
    store.drop_folder(f"models/{version.weights_sha256}")
    found = trace(store, "tiny", 2)
    assert (found.passes, statuses(found)["weights"], statuses(found)["registered"]) == (True, "recorded", "verified")
    assert run(["lineage", "tiny", "2"]) == 0
    out = capsys.readouterr().out
    assert "removed 2026-11-29 by keep=4" in out
    for number in (1, 2):  # the parent's are told too
        [command] = [line for line in out.splitlines() if f"--run-id run-{number} --artifact-path recipe.json" in line]
        assert command.endswith("dpo retrain again.yaml")


def test_a_parents_number_that_another_model_has_now_is_damage(store, version, monkeypatch):
    parent = versions.by_number("base", 1)
    other = versions.Version(1, parent.run_id, "9" * 64, parent.tags)
    monkeypatch.setattr(versions, "by_number", lambda name, number: other if name == "base" else version)
    found = trace(store, "tiny", 2)
    assert (found.verdict, statuses(found)["parent"]) == ("fail", "damaged")
