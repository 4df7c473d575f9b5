"""The tags that say who ran what, from which commit."""

import subprocess
from types import SimpleNamespace

import pytest

from tasks.runtime.provenance import provenance

RECIPE = SimpleNamespace(model="./model")


@pytest.fixture
def repository(tmp_path, monkeypatch):
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(name, "a@b")

    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    (tmp_path / "run.yaml").write_text("name: a\n")
    git("init", "-q")
    git("add", "run.yaml")
    git("commit", "-qm", "a")
    return tmp_path, git("rev-parse", "HEAD").strip()


def test_a_run_names_its_file_user_base_model_and_commit_and_whether_that_is_all(repository, monkeypatch):
    folder, commit = repository
    monkeypatch.setenv("LOGNAME", "ana")
    monkeypatch.setenv("GIT_DIR", "/elsewhere")  # a hook's environment does not name another repository
    tags = provenance(RECIPE.model, folder / "run.yaml")
    assert tags["mlflow.source.name"] == "run.yaml"
    assert (tags["mlflow.user"], tags["dpo.start_model"]) == ("ana", "./model")
    assert (tags["mlflow.source.git.commit"], tags["mlflow.source.git.dirty"]) == (commit, "false")
    (folder / "run.yaml").write_text("name: b\n")
    assert provenance(RECIPE.model, folder / "run.yaml")["mlflow.source.git.dirty"] == "true"


def test_in_an_image_the_commit_is_that_of_its_build_and_nothing_is_claimed_of_changes(repository, monkeypatch):
    folder, _ = repository
    monkeypatch.setenv("DPO_GIT_COMMIT", "b" * 40)
    tags = provenance(RECIPE.model, folder / "run.yaml")
    assert tags["mlflow.source.git.commit"] == "b" * 40
    assert "mlflow.source.git.dirty" not in tags


def test_without_git_or_a_repository_no_commit_is_claimed(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert "mlflow.source.git.commit" not in provenance(RECIPE.model, tmp_path / "run.yaml")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "mlflow.source.git.commit" not in provenance(RECIPE.model, tmp_path / "run.yaml")
