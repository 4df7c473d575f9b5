"""Bits that flip and files that are cut short, in all that a run reads again: noticed before use, by name."""

import random
import shutil
from pathlib import Path

import pytest
import torch

from dpo_core.records import Record
from dpo_core.train.checkpoint import load_checkpoint, newest_valid, save_checkpoint
from infra.errors import Damaged, InfraError
from infra.store.folder import FolderStore
from tasks.reference.store import ReferenceStore, load_reference
from tasks.runtime.stages import remembered
from tests.faults.promises import keep
from tests.faults.runs import as_new, new_place

FLIPS, CUTS = 12, 6  # of each file
RESPONSES = [((1, 2), (i, 3)) for i in range(8)]


def damages(data: bytes, seed: object):
    """The bytes with one bit flipped, or cut short, at places drawn by lot."""
    draw = random.Random(f"{seed}")
    for _ in range(FLIPS):
        at = draw.randrange(len(data))
        yield data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :]
    for _ in range(CUTS):
        yield data[: draw.randrange(len(data))]


def damage(path: Path, seed: object, how: str) -> None:
    """Once, in place: what is written beside the file stays."""
    data = path.read_bytes()
    every = list(damages(data, seed))
    with path.open("r+b") as file:
        fresh = every[0] if how == "bit flipped" else every[-1]
        file.write(fresh)
        file.truncate(len(fresh))


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("DPO_HOME", str(tmp_path))
    return FolderStore(tmp_path / "store")


def test_a_damaged_checkpoint_is_skipped_by_name_and_the_one_before_is_whole(tmp_path, caplog):
    layer = torch.nn.Linear(3, 3)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    older = save_checkpoint(tmp_path, 5, layer, optimizer, {"history": []})
    newest = save_checkpoint(tmp_path, 10, layer, optimizer, {"history": []})
    assert sorted(file.name for file in newest.iterdir()) == ["manifest.json", "state.json", "state.safetensors"]
    for file in newest.iterdir():
        whole = file.read_bytes()
        for bytes_ in damages(whole, file.name):
            file.write_bytes(bytes_)
            caplog.clear()
            assert newest_valid(tmp_path) == older, f"{file.name}: {bytes_[:80]!r}"
            assert f"checkpoint_damaged folder={newest}" in caplog.text
        file.write_bytes(whole)
    assert newest_valid(tmp_path) == newest
    assert load_checkpoint(newest, layer, optimizer)["step"] == 10


def test_a_damaged_reference_shard_gives_no_number_and_is_removed_by_name(store, caplog):
    path = {"model": "m", "dtype": "float32"}
    reference = ReferenceStore(store, path)
    keys = reference.keys(RESPONSES)
    values = {key: torch.tensor([float(i), 1.0]) for i, key in enumerate(keys)}
    shard = reference.append(values)
    reference.publish()
    [index] = [key for key in store.list("reference/") if "/index/" in key]
    for key in (shard, index):
        whole = store.get_bytes(key)
        for bytes_ in damages(whole, key.count("/")):
            (store.root / key).write_bytes(bytes_)
            caplog.clear()
            if key == shard:
                with pytest.raises(InfraError, match="the reference log-probs of 8 answers are gone"):
                    load_reference(store, path, RESPONSES)
            else:  # an index is derived: the shard is asked itself
                assert load_reference(store, path, RESPONSES).keys() == values.keys()
            assert f"reference_damaged key={key}" in caplog.text
            assert not store.exists(key)
            store.put_bytes(key, whole)
    assert all(bool((load_reference(store, path, RESPONSES)[key] == values[key]).all()) for key in keys)


CODE = ("dpo_core.errors",)


class Steps(Record):
    steps: int


def test_a_damaged_stage_record_is_computed_again(store, caplog):
    _, stage = remembered(store, "train", {"a": 1}, lambda: Steps(steps=24), output=Steps, code=CODE)
    whole = store.get_bytes(stage.key)
    for bytes_ in damages(whole, "stage"):
        (store.root / stage.key).write_bytes(bytes_)
        caplog.clear()
        output, again = remembered(store, "train", {"a": 1}, lambda: Steps(steps=24), output=Steps, code=CODE)
        assert (output, again.cached) == (Steps(steps=24), False)
        assert f"stage_record_damaged key={stage.key}" in caplog.text
    assert remembered(store, "train", {"a": 1}, lambda: Steps(steps=0), output=Steps, code=CODE)[0] == Steps(steps=24)


def test_a_damaged_model_or_manifest_is_refused_by_name_and_nothing_wrong_is_brought_here(store, tiny_model, tmp_path):
    store.put_folder("models/m", tiny_model)
    for name in ("model.safetensors", "config.json", "tokenizer.json", "MANIFEST.json"):
        file = store.root / "models" / "m" / name
        whole = file.read_bytes()
        for bytes_ in damages(whole, name):
            with file.open("wb") as written:
                written.write(bytes_)
            target = tmp_path / "here"
            with pytest.raises(Damaged) as caught:
                store.get_folder("models/m", target)
            assert f"models/m/{name}" in caught.value.where
            here = {f.name: f.read_bytes() for f in target.rglob("*") if f.is_file()}
            assert all(content == (tiny_model / known).read_bytes() for known, content in here.items())
            shutil.rmtree(target, ignore_errors=True)
        file.write_bytes(whole)
    store.get_folder("models/m", tmp_path / "here")


KINDS = (  # in the home of a run that is finished, or was killed as it evaluated
    "store/data/*/train.jsonl",
    "store/data/*/eval.jsonl",
    "store/reference/*/*.safetensors",
    "store/reference/*/index/*.safetensors",
    "store/models/*/model.safetensors",
    "store/models/*/MANIFEST.json",
    "store/stages/check/*.json",
    "store/stages/score/*.json",
    "store/stages/train/*.json",
    "store/stages/measure/*.json",
    "store/answers/*/*.jsonl",
    "store/reports/*-data-*/quality.html",
    "store/profiles/tiny.json",
)
LATER = (
    "store/stages/held_out/*.json",
    "store/stages/evaluate/*.json",
    "store/stages/gate/*.json",
    "store/evaluations/*.json",
    "store/lineage/tiny/*.json",
    "store/reports/tiny-????????????/retrain.html",
    "downloads/models/*/model.safetensors",
    "mlartifacts/**/model.safetensors",
)
HOWS = ("bit flipped", "cut short")
STATES = {"finished": KINDS + LATER, "killed as it evaluates": KINDS}


@pytest.fixture(scope="module")
def place(tmp_path_factory, forkserver):
    """Two homes to copy: of a run that is finished, and of one that was killed as it evaluated."""
    made = new_place(tmp_path_factory.mktemp("damage"), forkserver)
    made.document = made.complete()
    made.homes = {"finished": made.folder / "finished", "killed as it evaluates": made.folder / "killed"}
    shutil.copytree(made.home, made.homes["finished"], symlinks=True)
    killed = as_new(made, "killed")
    life = killed.start()
    life.kill_when(lambda: list(killed.home.glob("store/stages/measure/*.json")))
    assert killed.left_over() == []
    made.killed_run = life.run_id()
    shutil.copytree(killed.home, made.homes["killed as it evaluates"], symlinks=True)
    return made


def expected(place, state):
    return place.document if state == "finished" else None


@pytest.mark.campaign
@pytest.mark.timeout(600)
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize(("state", "kind"), [(state, kind) for state, kinds in STATES.items() for kind in kinds])
def test_a_damaged_file_is_named_and_refused_or_made_again_and_changes_no_weight(place, state, kind, how, record):
    run = as_new(place, f"{state}-{kind.replace('/', '_').replace('*', '')}-{how}".replace(" ", "-"))
    shutil.copytree(place.homes[state], run.home, symlinks=True)
    file = sorted(run.home.glob(kind))[0]
    damage(file, kind, how)
    key = file.relative_to(run.home).as_posix().removeprefix("store/")
    if kind.startswith("store/"):
        assert key in run.damaged(), "`dpo store verify` names it"
    codes, said = [], []
    while True:
        life = run.start()
        codes.append(life.wait())
        log = life.errors()
        if codes[-1] == 0:
            document = life.document()
            break
        error = life.document()["error"]
        said.append(f"{error['says']} | {error['do']}")
        assert key in error["where"] or "reference/" in error["where"], error
        if len(codes) == 3:
            document = None
            break
    still = run.damaged()
    named = "damaged" in log or bool(said)
    record(what="damage", state=state, kind=kind, how=how, codes=codes, errors=said, named=named)
    record(repaired=document is not None and (not kind.startswith("store/") or key not in still))
    assert document is not None, said
    assert document["weights_sha256"] == place.document["weights_sha256"]
    assert document["verdict"] == "promote"
    if kind.startswith("store/") and key in still:
        assert not said, "nothing that was left to do reads it"
        assert document["version"] == 1


@pytest.mark.campaign
@pytest.mark.timeout(600)
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("count", [1, 2], ids=["the newest checkpoint", "all checkpoints"])
def test_a_run_goes_on_from_the_newest_checkpoint_that_is_whole(place, count, how, record):
    record(what="damage", state="killed as it trains", kind=f"the {count} newest checkpoints", how=how)
    run = as_new(place, f"checkpoint-{count}-{how}")
    life = run.start()
    life.kill_when(lambda: len([*run.home.glob("runs/*/checkpoints/step-????????/manifest.json")]) == 2)
    assert run.left_over() == []
    folders = sorted(run.home.glob("runs/*/checkpoints/step-????????"), reverse=True)
    for folder in folders[:count]:
        damage(folder / "state.safetensors", folder.name, how)
    document = run.complete()
    log = run.lives[-1].errors()
    record(codes=[0], errors=[], named="checkpoint_damaged" in log, repaired=True)
    assert all(f"checkpoint_damaged folder={folder}" in log for folder in folders[:count]), log
    assert (f"resumed step={int(folders[1].name[-8:])}" in log) == (count == 1), log
    keep(run, document, place.document["weights_sha256"])
