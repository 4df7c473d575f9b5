"""A whole recipe on the tiny model: pairs, checks, facts, text. It trains in a second and its gate promotes."""

import json
from pathlib import Path

import yaml

from dpo_core.data.pairs import id_lines_of, lines_of
from dpo_core.model.encode import encode_pairs
from dpo_core.recipe import Encoding
from tests.tiny import build_tiny_model

NOUNS = "river stone window garden letter bridge candle mirror basket ladder pillow button".split()  # noqa: SIM905


def pair(noun: str, number: int, kind: str) -> dict:
    """The sides differ in one word, which the recipe declares as intended: yea against nay."""
    return {
        "prompt": [{"role": "user", "content": f"{kind} which {noun} has number {number}?"}],
        "chosen": [{"role": "assistant", "content": f"yea the {noun} it is"}],
        "rejected": [{"role": "assistant", "content": f"nay the {noun} it is"}],
        "source": f"nouns/{number % 2}",
    }


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def tiny_recipe(folder: Path, **sections: dict) -> Path:
    """Write everything to `folder` and return the recipe; `sections` update the recipe's own."""
    folder.mkdir(parents=True, exist_ok=True)
    build_tiny_model(folder / "model")
    write_jsonl(folder / "train.jsonl", [pair(NOUNS[i % 12], i, "say") for i in range(96)])
    write_jsonl(folder / "eval.jsonl", [pair(NOUNS[i % 12], i, "tell") for i in range(36)])
    write_jsonl(
        folder / "behaviour.jsonl", [{"prompt": f"say {noun}", "must_contain": [["yea", "the"]]} for noun in NOUNS]
    )
    write_jsonl(folder / "facts.jsonl", [{"prompt": f"2 + {i}?", "must_contain": [str(2 + i)]} for i in range(8)])
    (folder / "neutral.txt").write_text("The sea is blue.\n\nThe sky is grey today.\n")
    recipe = {
        "name": "tiny",
        "model": "./model",
        "data": {"train": "train.jsonl", "eval": "eval.jsonl"},
        "validation": {"intended": ["yea", "nay"], "length_warn": 1.0, "length_fail": 1.0},
        "training": {"learning_rate": 3e-3, "num_train_epochs": 2.0, "sft_weight": 1.0, "save_steps": 5},
        "evaluation": {
            "max_new_tokens": 8,
            "samples": 3,
            "behaviour": {"words": "behaviour.jsonl"},
            "retention": {"facts": "facts.jsonl"},
            "neutral_text": "neutral.txt",
        },
        "gate": {"improve": ["rewards/accuracies"], "keep": {"retention/facts": 0.5}, "min_items": 8},
    }
    for name, section in sections.items():
        recipe[name] = {**recipe.get(name, {}), **section}
    path = folder / "retrain.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def keep_rows(store, folder: str, part: str, pairs: list, tokenizer) -> dict[str, str]:
    """Store pairs and their token ids as the check does; the keys, as fields of a Checked."""
    encoded = encode_pairs(pairs, tokenizer, Encoding()).encoded
    keys = {f"{part}_key": f"{folder}/{part}.jsonl", f"{part}_ids_key": f"{folder}/ids/{part}.ids.jsonl"}
    store.put_bytes(keys[f"{part}_key"], lines_of([row.pair for row in encoded])[0])
    store.put_bytes(keys[f"{part}_ids_key"], id_lines_of(encoded)[0])
    return keys
