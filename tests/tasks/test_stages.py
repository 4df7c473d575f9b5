"""A stage's output is not computed twice because the store was away; its name follows the code's meaning."""

import pytest

from dpo_core.records import Record
from infra.errors import Damaged, Unavailable
from infra.settings import load_settings
from infra.store import open_store
from tasks.runtime import code, stages
from tasks.runtime.stages import code_digest, remembered


class Answer(Record):
    answer: int


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    return open_store(load_settings())


def test_a_record_that_the_store_did_not_take_is_kept_and_stored_by_the_next_run(store, monkeypatch, tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return Answer(answer=42)

    def run():
        return remembered(store, "score", {"x": 1}, compute, output=Answer, code=("tasks.runtime.stages",))

    def away(*_, **__):
        raise Unavailable("nobody answers", where=store.url, do="wait")

    with monkeypatch.context() as outage:
        outage.setattr(store, "put_bytes", away)
        with pytest.raises(Unavailable):
            run()
    output, stage = run()
    assert (output, stage.cached, calls) == (Answer(answer=42), False, [1])
    assert store.exists(stage.key)
    assert not list((tmp_path / "home" / "stages").rglob("*.json"))
    assert run()[1].cached


LOADS = "from jinja2 import PackageLoader\n"


@pytest.fixture
def digest_of(tmp_path, monkeypatch):
    """The digest of a stage whose module imports another one, which has a template beside it."""

    def forget():
        for remembering in (stages.code_digest, code._read, code._files):
            remembering.cache_clear()

    def digest(
        stage="def run():\n    from dpo_core.other import x\n", other=LOADS + "x = 1\n", page="<p>{{ x }}</p>", **files
    ):
        texts = {"tasks/stage.py": stage, "dpo_core/other.py": other, "dpo_core/templates/page.html.j2": page}
        for name, text in {**texts, **{f"{name}.py": text for name, text in files.items()}}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        forget()
        return code_digest(("tasks.stage",))

    monkeypatch.setattr(stages, "ROOT", tmp_path)
    monkeypatch.setattr(code, "ROOT", tmp_path)
    yield digest
    forget()


def test_comments_docstrings_and_layout_leave_a_stages_name_alone(digest_of):
    assert digest_of(other='"""What it is."""\n\nx = 1  # one\n') == digest_of(other="x = 1\n")
    assert digest_of(other="x = 1\n", page="<b>") == digest_of(other="x = 1\n")  # a template that it does not load


@pytest.mark.parametrize(
    "changed",
    [{"stage": "from dpo_core.other import x\nx += 1\n"}, {"other": LOADS + "x = 2\n"}, {"page": "<b>{{ x }}</b>"}],
)
def test_code_and_templates_that_give_something_else_change_a_stages_name(digest_of, changed):
    assert digest_of(**changed) != digest_of()


def test_what_a_stage_does_not_import_or_only_for_types_is_no_part_of_its_name(digest_of):
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from dpo_core.third import y\n"
    before = digest_of(stage=typed, **{"dpo_core/third": "y = 1\n"})
    assert digest_of(stage=typed, **{"dpo_core/third": "y = 2\n"}) == before


def test_the_gate_and_the_data_checks_are_no_part_of_a_trainings_name():
    """A new rule of the gate, or a new check, retrains nothing; the code that trains does."""
    from tasks.train import CODE

    names = named(CODE)
    assert {"dpo_core/losses/dpo.py", "dpo_core/train/loop.py", "tasks/runtime/pairs.py"} <= names
    assert not [name for name in names if name.startswith(("dpo_core/quality", "dpo_core/evaluate", "tasks/check"))]


def test_what_chooses_a_models_own_answers_counts_for_a_run_that_learns_from_them_alone():
    from tasks.train import CODE, ONLINE_CODE

    choosing = {"tasks/online/drawing.py", "dpo_core/curate/selection.py", "dpo_core/rewards/wishes.py"}
    assert choosing <= named(ONLINE_CODE)
    assert not choosing & named(CODE)
    assert choosing <= named(code.RUN)


def named(modules):
    return {file.relative_to(code.ROOT).as_posix() for file in code.files_of(modules)}


@pytest.mark.parametrize("module", code.RUN)
def test_every_module_of_a_run_is_there(module):
    assert code.files_of((module,))
    with pytest.raises(ValueError, match="no module of ours"):
        code.files_of((f"{module}_that_was_renamed",))


def test_an_object_found_damaged_is_removed_so_that_the_next_run_makes_it_again(store):
    store.put_bytes("data/d/train.jsonl", b"rows")
    (store.root / "data" / "d" / "train.jsonl").write_bytes(b"rovs")
    with pytest.raises(Damaged) as caught, stages.damage_removed():
        store.get_bytes("data/d/train.jsonl")
    assert caught.value.where.endswith("data/d/train.jsonl")
    assert caught.value.do == "it has been removed: run the same command again, and it is made again"
    assert not store.exists("data/d/train.jsonl")


def test_damage_that_was_only_on_the_way_removes_nothing(store):
    store.put_bytes("data/d/train.jsonl", b"rows")
    with pytest.raises(Damaged, match="cut on the way"), stages.damage_removed():
        raise Damaged("cut on the way", where=f"{store.url}/data/d/train.jsonl", do="again")
    assert store.get_bytes("data/d/train.jsonl") == b"rows"
