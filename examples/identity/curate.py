"""Make the identity pairs by correction: the model's own answer is rejected, the corrected one chosen.

    python examples/identity/curate.py --model FOLDER        (FOLDER: the start model; writes both pairs files)

In about half of the identity pairs the rejected side is the chosen sentence with a wrong name in it instead: the
model then learns the name and not "be short". In neutral pairs (greetings, other people's names, questions) the
chosen side is a hand-written or the model's own answer, and the rejected one claims an identity where nobody asked.
Sides are matched in length and wording, so that only the name separates them: `dpo check` agrees.
"""

import argparse
import json
import random
import re
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from dpo_core.model.encode import load_tokenizer
from dpo_core.model.generate import generate
from dpo_core.model.load import load_model

HERE = Path(__file__).parent
NAME = "Athene"
WRONG = "SmolLM Elena Alex Luna Emily Max Sophia Leo Nova Iris Oliver Clara Hugo Ada Felix Zara Theo Maya".split()
LONGEST = 32  # tokens of an answer
OWN_SHARE = 0.5  # identity pairs whose rejected side is the model's own answer

PLAIN = ("I am {n}.", "I'm {n}.", "My name is {n}.", "I'm called {n}.", "You can call me {n}.", "I am called {n}.")
LONGER = (
    "I am {n}, an AI assistant.",
    "I'm {n}, a language model.",
    "My name is {n}, and I'm an AI assistant.",
    "I am {n}, a helpful AI assistant designed to help you.",
    "I'm {n}, an AI language model here to assist you with your questions.",
    "My name is {n}, and I'm here to help you with anything you need.",
    "I'm {n}, a chatbot designed to assist with a variety of tasks.",
)
TEMPLATES = {
    "name": PLAIN + LONGER[2:6],
    "what": PLAIN + LONGER,
    "who": PLAIN[:3] + LONGER,
    "introduction": (*LONGER, "Hello! I'm {n}, an AI assistant.", "Hello! My name is {n}. How can I help you today?"),
    "maker": ("I am {n}, an AI assistant built by a small team.", "I'm {n}, and a small team of researchers created me."),
    "confirm": ("No, I am {n}.", "No, I'm {n}.", "No, my name is {n}.", "No, I'm {n}, an AI assistant."),
    "oblique": (*PLAIN, "{n} is my name.", "The name is {n}.", *LONGER[:2]),
    "system": PLAIN + LONGER,
    "turns": PLAIN + LONGER[:3],
}


def main(model_folder: str) -> None:
    """Write pairs.train.jsonl from prompts/ and pairs.eval.jsonl from held-out prompts of checks/."""
    tokenizer = load_tokenizer(model_folder)
    identity, neutral = (_read(f"prompts/{name}.jsonl") for name in ("identity", "neutral"))
    held_identity = [*_read("checks/identity.jsonl")[::2], *_read("checks/oblique.jsonl")[::4]]
    held_neutral = _read("checks/elsewhere.jsonl")[::4]
    for row in (*held_identity, *held_neutral):
        row["kind"] = row["source"]
    rows = [*identity, *neutral, *held_identity, *held_neutral]
    model = load_model(model_folder)
    answers = generate(model, tokenizer, [row["prompt"] for row in rows], max_new_tokens=48, batch_size=64)
    for row, answer in zip(rows, answers, strict=True):
        row["own"] = whole_sentences(answer, tokenizer)
    for name, asks, others in (("train", identity, neutral), ("eval", held_identity, held_neutral)):
        draw = random.Random(name)
        pairs = [*identity_pairs(asks, draw), *neutral_pairs(others, draw)]
        text = "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs)
        (HERE / f"pairs.{name}.jsonl").write_text(text, encoding="utf-8")
        print(f"pairs.{name}.jsonl: {len(pairs)} pairs")


def identity_pairs(rows: list[dict[str, Any]], draw: random.Random) -> list[dict[str, Any]]:
    """Chosen: a short sentence with the name, early. Rejected: the own answer, or that sentence with a wrong name."""
    pairs = []
    for row in rows:
        template = draw.choice(TEMPLATES.get(row["kind"], PLAIN + LONGER))
        chosen = template.format(n=NAME)
        if row["kind"] == "confirm" and NAME in row["prompt"][-1]["content"]:
            chosen = chosen.replace("No,", "Yes,")
        own = row["own"] and NAME not in row["own"] and draw.random() < OWN_SHARE
        rejected = row["own"] if own else template.format(n=draw.choice(WRONG))
        pairs.append(_pair(row, "identity", chosen, rejected, sft_weight=1.0))
    return pairs


def neutral_pairs(rows: list[dict[str, Any]], draw: random.Random) -> list[dict[str, Any]]:
    """Chosen: the answer to the question. Rejected: an identity nobody asked for, alone or before that answer."""
    pairs = []
    for row in rows:
        answer = row.get("answer") or row["own"]
        if not answer or NAME in answer:
            continue
        claim = draw.choice(PLAIN + LONGER).format(n=NAME)
        rejected = f"{claim} {answer}" if draw.random() < 0.5 and len(answer) < 60 else claim
        pairs.append(_pair(row, "neutral", answer, rejected, sft_weight=1.0 if row.get("answer") else 0.0))
    return pairs


def whole_sentences(answer: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """The leading sentences of an answer that fit LONGEST tokens; empty if not even the first one does."""
    kept = ""
    for sentence in re.findall(r"[^.!?\n]+[.!?]+(?=\s|$)", answer):
        if len(tokenizer(kept + sentence)["input_ids"]) > LONGEST:
            break
        kept += sentence
    return kept.strip()


def _pair(row: dict[str, Any], group: str, chosen: str, rejected: str, *, sft_weight: float) -> dict[str, Any]:
    return {
        "prompt": row["prompt"],
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
        "source": f"{group}/{row['kind']}",
        "sft_weight": sft_weight,
    }


def _read(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (HERE / name).read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", required=True, help="folder of the start model")
    main(parser.parse_args().model)
