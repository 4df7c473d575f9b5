"""Tasks of lm-eval: the scores are its own, what is asked has a name by its content, what cannot be asked is told."""

import importlib.util
import os
import random
import shutil

import numpy as np
import pytest
import torch

from dpo_core.errors import InputError
from dpo_core.recipe_evaluation import LmEval
from tests.lm_eval_tasks import SUMS, write_task

REFUSED = {  # of a task file what differs; what is said; what is advised
    "data set": ({"dataset_path": "nobody/nothing", "dataset_kwargs": None}, "not on this machine: HF_HUB", "once"),
    "data file": ({"dataset_kwargs": {"data_files": "no.jsonl"}}, "cannot be loaded: FileNotFoundError", "data_files"),
    "template": ({"doc_to_text": "{{query.text}}"}, "cannot be loaded: UndefinedError", "doc_to_"),
    "pictures": ({"doc_to_image": ["image"]}, "pictures", "text alone"),
    "code": ({"unsafe_code": True}, "code that the model writes", "another task"),
    "perplexity": (
        {"output_type": "loglikelihood_rolling", "metric_list": [{"metric": "word_perplexity"}]},
        "word_perplexity are of all documents together",
        "evaluation.neutral_text",
    ),
    "f1": ({"metric_list": [{"metric": "f1"}]}, "f1 are of all documents together", "acc"),
}


def load(folder, tasks="sums", **settings):
    from dpo_core.evaluate.harness.tasks import load_tasks

    named = tasks if isinstance(tasks, dict) else [tasks]
    [found] = load_tasks(LmEval(tasks=named, include_path=str(folder) if folder else None, **settings))
    return found


def refusal(folder, tasks="sums", **settings):
    with pytest.raises(InputError) as caught:
        load(folder, tasks, **settings)
    return caught.value


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "lm_eval" else find(name))
    error = refusal(write_task(tmp_path))
    assert "its package is not installed" in error.says
    assert "[lm-eval]" in error.do


class TestWithThePackage:
    @pytest.fixture(autouse=True)
    def _installed(self):
        pytest.importorskip("lm_eval", reason="the extra lm-eval is not installed")

    @pytest.fixture(scope="class")
    def loaded(self, tiny_model):
        from dpo_core.model.encode import load_tokenizer
        from dpo_core.model.load import load_model

        return load_model(tiny_model), load_tokenizer(tiny_model)

    @pytest.mark.parametrize("settings", [{}, {"limit": 5}, {"num_fewshot": 2}, {"apply_chat_template": True}], ids=str)
    def test_scores_are_those_of_simple_evaluate_for_every_model_in_turn(
        self, settings, tmp_path, tiny_model, loaded, monkeypatch
    ):
        from lm_eval import simple_evaluate
        from lm_eval.tasks import TaskManager

        from dpo_core.evaluate.harness.scores import item_scores

        write_task(tmp_path, fewshot_split="test")
        monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda results: None)  # asks pip, for seconds
        monkeypatch.chdir(tmp_path)  # where lm-eval looks for data files
        found = simple_evaluate(
            model="hf",
            model_args={"pretrained": str(tiny_model), "dtype": "float32"},
            tasks=["sums"],
            task_manager=TaskManager(include_path=str(tmp_path), include_defaults=False),
            device="cpu",
            batch_size=8,
            bootstrap_iters=0,
            **settings,
        )
        monkeypatch.chdir(os.sep)
        expected = [row["acc_norm"] for row in sorted(found["samples"]["sums"], key=lambda row: row["doc_id"])]
        asked = LmEval(tasks={"sums": "acc_norm"}, include_path=str(tmp_path), **settings)
        task = load(tmp_path, {"sums": "acc_norm"}, **settings)
        assert item_scores(task, *loaded, asked) == expected
        assert item_scores(task, *loaded, asked) == expected  # the next model is shown the same examples
        assert 0 < sum(expected) < len(expected)

    def test_the_first_metric_that_documents_have_is_taken_and_less_is_turned_round(self, tmp_path, loaded):
        from dpo_core.evaluate.harness.scores import item_scores

        wrong = [{"metric": "acc", "aggregation": "mean", "higher_is_better": False}]
        write_task(tmp_path / "up")
        write_task(tmp_path / "down", metric_list=wrong)
        up, down = (load(tmp_path / where) for where in ("up", "down"))
        asked = LmEval(tasks=["sums"])
        assert (up.metric, up.filter) == ("acc", "none")
        assert item_scores(down, *loaded, asked) == [0.0 - score for score in item_scores(up, *loaded, asked)]

    def test_a_name_by_content_moves_with_its_folder_and_changes_with_what_is_asked(self, tmp_path):
        here = load(write_task(tmp_path / "here")).sha256
        shutil.copytree(tmp_path / "here", tmp_path / "there")
        assert load(tmp_path / "there").sha256 == here
        others = {
            "a document": load(write_task(tmp_path / "1", documents=[{**SUMS[0], "question": "?"}, *SUMS[1:]])),
            "its order": load(write_task(tmp_path / "2", documents=SUMS[::-1])),
            "the wording": load(write_task(tmp_path / "3", doc_to_text="{{question}}?")),
            "the metric": load(tmp_path / "here", {"sums": "acc_norm"}),
            "how many": load(tmp_path / "here", limit=5),
            "examples": load(write_task(tmp_path / "4", fewshot_split="test"), num_fewshot=1),
        }
        assert len({here, *(task.sha256 for task in others.values())}) == 1 + len(others)

    def test_code_beside_a_task_file_is_part_of_its_content(self, tmp_path):
        folder = write_task(tmp_path, process_docs="!function helper.docs")
        found = []
        for code in ("def docs(rows):\n    return rows\n", "def docs(rows):\n    return rows.select([0])\n"):
            (folder / "helper.py").write_text(code)
            os.utime(folder / "helper.py", (len(code), len(code)))  # lm-eval looks at the time of change
            found.append(load(folder))
        assert [len(task.prompts) for task in found] == [12, 1]
        (folder / "beside.py").write_text("")
        assert load(folder).sha256 != found[1].sha256

    def test_a_group_and_a_tag_are_all_documents_of_their_tasks(self, tmp_path):
        for name in ("one", "two"):
            write_task(tmp_path, name, SUMS[: 3 if name == "one" else 4], tag="both_by_tag")
        (tmp_path / "group.yaml").write_text("group: both\ntask: [one, two]\n")
        by_group, by_tag = load(tmp_path, "both"), load(tmp_path, "both_by_tag")
        assert list(by_group.tasks) == list(by_tag.tasks) == ["one", "two"]
        assert len(by_group.prompts) == len(by_tag.prompts) == 7

    def test_prompts_tell_documents_apart_that_ask_in_the_same_words(self, tmp_path):
        rows = [{"question": "Which?", "choices": ["a", name]} for name in "bc"] + SUMS[:1]
        found = load(write_task(tmp_path, documents=rows))
        assert found.prompts == ["Which?\na\nb", "Which?\na\nc", "0 + 1 ="]

    def test_everybody_elses_random_numbers_go_on_as_they_were(self, tmp_path):
        write_task(tmp_path)
        for anew in (random.seed, np.random.seed, torch.manual_seed):
            anew(7)
        load(tmp_path)
        found = (random.random(), np.random.random(), torch.rand(1).item())
        for anew in (random.seed, np.random.seed, torch.manual_seed):
            anew(7)
        assert found == (random.random(), np.random.random(), torch.rand(1).item())

    def test_an_unknown_name_is_told_with_those_that_are_near(self, tmp_path, monkeypatch):
        from lm_eval.tasks import TaskManager

        def small(include_path, include_defaults=False):
            return TaskManager(include_path=include_path, include_defaults=False)

        monkeypatch.setattr("lm_eval.tasks.TaskManager", small)  # its own tasks are thousands of files
        error = refusal(write_task(tmp_path), "sum")
        assert error.says == "lm-eval has no task 'sum'"
        assert "did you mean sums?" in error.do

    def test_a_folder_that_is_missing_and_a_file_that_is_no_task_are_told(self, tmp_path):
        assert refusal(tmp_path / "none").where.endswith("none")
        write_task(tmp_path, "other")
        (tmp_path / "sums.yaml").write_text("task: [")
        error = refusal(tmp_path)
        assert error.where == str(tmp_path / "sums.yaml")

    @pytest.mark.parametrize(("changes", "says", "do"), REFUSED.values(), ids=REFUSED)
    def test_what_cannot_be_asked_or_compared_is_told_with_its_file(self, changes, says, do, tmp_path):
        error = refusal(write_task(tmp_path, **changes))
        assert says in error.says
        assert do in error.do
        assert error.where == str(tmp_path / "sums.yaml")

    def test_more_examples_than_there_are_are_told_before_anything_is_trained(self, tmp_path):
        error = refusal(write_task(tmp_path, fewshot_split="test"), num_fewshot=40)
        assert "cannot be loaded: ValueError" in error.says

    @pytest.mark.parametrize(("metric", "known"), [("bleu", "acc, acc_norm"), ("acc,strict", "none")])
    def test_a_metric_or_filter_that_the_task_has_not_is_told_with_those_that_it_has(self, metric, known, tmp_path):
        assert known in refusal(write_task(tmp_path), {"sums": metric}).do
