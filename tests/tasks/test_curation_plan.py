"""A curation named by its content: what changes the pairs changes the name, and moving a file does not."""

import pytest
import yaml

from dpo_core.curate.curation import load_curation
from tasks.curate.plan import content_of, sources_of
from tests.recipes import write_jsonl
from tests.tiny import build_tiny_model

MODELS = ("writer", "reward", "judge", "second")
CURATION = {
    "name": "c",
    "model": "org/answers",
    "prompts": {"sources": [{"path": "asked.jsonl"}]},
    "correction": {"model": "./writer", "rewriting": {"instruction": "Be brief."}, "better": True},
    "rewards": {
        "classifier": {"model": "./reward"},
        "judge": {"model": "./judge"},
        "panel": {"second-1.5": {"model": "./second"}},  # the name of a judge may have a dot
    },
}


@pytest.fixture
def named(tmp_path, monkeypatch):
    """By what each model stands in the content of the curation in a folder, beside its models."""
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))

    def of(folder):
        write_jsonl(folder / "asked.jsonl", [{"prompt": "who?"}])
        (folder / "curate.yaml").write_text(yaml.safe_dump(CURATION))
        curation = load_curation(folder / "curate.yaml")
        content = content_of(curation, sources_of(curation), {}, folder)
        rewards = content["rewards"]
        sections = (content["correction"], rewards["classifier"], rewards["judge"], rewards["panel"]["second-1.5"])
        return [section["model"] for section in sections]

    return of


def test_a_model_that_scores_judges_or_corrects_is_known_by_its_weights_and_its_chat_template(tmp_path, named):
    for place in ("one", "moved"):
        for name in MODELS:
            build_tiny_model(tmp_path / place / name)
    assert len({*(before := named(tmp_path / "one"))}) == 1
    assert named(tmp_path / "moved") == before
    for name in MODELS:
        weights = tmp_path / "one" / name / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert not {*(retrained := named(tmp_path / "one"))} & {*before}
    for name in MODELS:
        (tmp_path / "one" / name / "chat_template.jinja").write_text("{{ messages[0].content }}")
    assert not {*named(tmp_path / "one")} & {*before, *retrained}


def test_days_of_traces_are_known_by_the_traces_alone(tmp_path):
    def content(prompts=None, feedback=None):
        text = {"name": "c", "model": "org/answers", "prompts": prompts, "feedback": feedback}
        rule = {"correction": {"rules": {"rules": [{"name": "short", "sentences": 1}]}}} if prompts else {}
        file = tmp_path / "curate.yaml"
        file.write_text(yaml.safe_dump({key: value for key, value in (text | rule).items() if value}))
        return content_of(load_curation(file), {"traces:a": "digest"}, {}, tmp_path)

    for days in (7, 30):
        with_days = content({"sources": [{"path": "traces:a", "days": days}]})
        assert with_days == content({"sources": [{"path": "traces:a"}]})
        assert content(feedback={"traces": "a", "days": days}) == content(feedback={"traces": "a"})
