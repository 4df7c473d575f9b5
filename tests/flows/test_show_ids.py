"""`dpo check --show-ids`: every token of some rows, the trained ones apart."""

import json

import pytest

from flows.cli.app import run
from tests.recipes import tiny_recipe
from tests.tiny import build_tiny_model


@pytest.fixture
def pairs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    build_tiny_model(tmp_path / "model")
    path = tmp_path / "pairs.jsonl"
    path.write_text(
        "".join(
            json.dumps({name: [{"role": role, "content": text}] for name, role, text in row}) + "\n"
            for row in [
                [("prompt", "user", "Hi\nyou"), ("chosen", "assistant", "Yes"), ("rejected", "assistant", "No")],
                [("prompt", "user", "x" * 2000), ("chosen", "assistant", "Yes"), ("rejected", "assistant", "No")],
            ]
        )
    )
    return str(path)


def test_tokens_are_parted_and_the_trained_ones_stand_apart(pairs, capsys):
    assert run(["check", pairs, "--show-ids", "2", "--model", "model"]) == 0
    said = capsys.readouterr().out
    lines = said.splitlines()
    context, chosen = (next(line for line in lines if line.startswith(name)) for name in ("context  ", "chosen "))
    parts = context.removeprefix("context  ").split("\u2502")
    assert parts[0] == "<|im_start|>"
    assert parts[-1] == "\\n"
    turns = "<|im_start|>user\\nHi\\nyou<|im_end|>\\n<|im_start|>assistant\\n"
    assert "".join(parts) == turns
    assert chosen.split() == ["chosen", "Y\u2502e\u2502s\u2502<|im_end|>"]
    assert "not used: over-length" in " ".join(said.split())  # a long path before it breaks the line


def test_the_document_has_every_id(pairs, capsys):
    assert run(["check", pairs, "--show-ids", "1", "--model", "model", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert "".join(token["text"] for token in row["rejected"]) == "No<|im_end|>"
    assert [token["special"] for token in row["rejected"]] == [False, False, True]


def test_a_recipe_brings_its_model_and_encoding(tmp_path, pairs, capsys):
    recipe = tiny_recipe(tmp_path / "recipe", encoding={"max_length": 8})
    assert run(["check", str(recipe), "--show-ids", "1", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["rows"] == []
    assert "encoding.max_length 8" in document["refused"][0]["reason"]


def test_what_it_cannot_do_is_said(pairs, capsys):
    assert run(["check", pairs, "--show-ids", "1"]) == 2
    assert "add --model" in capsys.readouterr().err
    assert run(["check", pairs, "--show-ids", "1", "--model", "model", "--eval", pairs]) == 2
    assert "have no effect" in capsys.readouterr().err
    assert run(["check", pairs, "--show-ids", "1", "--model", "model", "--intended", "Yes"]) == 2
    assert "have no effect" in capsys.readouterr().err


def test_overrides_act_on_what_is_shown(tmp_path, pairs, capsys):
    (tmp_path / "plain.jsonl").write_text('{"prompt": "Hi", "chosen": "Yes", "rejected": "No"}\n')
    recipe = str(tiny_recipe(tmp_path / "recipe"))

    def said(*command):
        assert run(["check", *command, "--show-ids", "1", "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        return ["".join(token["text"] for token in row["context"]) for row in document["rows"]]

    plain = ["plain.jsonl", "--model", "model"]
    assert said(*plain) == ["Hi"]
    assert said(*plain, "--set", "data.text=turns") == ["<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"]
    assert said(recipe) != []
    assert said(recipe, "--set", "encoding.max_length=8") == []
    assert run(["check", *plain, "--show-ids", "1", "--set", "training.beta=1"]) == 2
    assert "no such key" in capsys.readouterr().err
