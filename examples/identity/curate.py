"""Make the preference pairs of the identity demo from prompts, by correcting the model's own answers.

    python examples/identity/curate.py --model FOLDER

FOLDER is the start model. Identity pairs: the chosen side is a sentence with the name; the rejected side is the
model's own answer or a sentence with a wrong name, so that the name is learnt and not the sentence. Neutral pairs: the
chosen side answers the question (hand-written, or the model's own words); the rejected side claims the name where it
does not belong, or has it in place of some words of the answer.

Every pair has several candidate renderings; balance.py picks one for each so that only the name tells chosen from
rejected. The same model, seed and number of threads give the same files, byte for byte.
"""

import argparse
import json
import random
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from balance import pick
from transformers import PreTrainedTokenizerBase

from dpo_core.data.shapes import to_pair
from dpo_core.model.encode import load_tokenizer
from dpo_core.model.generate import generate
from dpo_core.model.load import load_model

HERE = Path(__file__).parent
NAME = "Athene"
LONGEST = 32  # tokens of a response
SENTENCES = 12  # templates each pair may choose from
LAST = 0.2  # share of neutral pairs that may carry the claim after the answer; a leaked name mostly comes first
CORRECTED = {"identity": 1 / 2, "neutral": 2 / 3}  # share with the model's own answer, or with a claim, rejected
TEMPTING = ("greeting", "user_name", "sum", "word")  # neutral kinds that the SFT term teaches: leaks, short facts

Row = dict[str, Any]


class Candidate(NamedTuple):
    """One rendering of a pair. `corrected`: the rejected side is the model's own answer, or has a claim."""

    chosen: str
    rejected: str
    corrected: bool


def main(model_folder: str, seed: int, threads: int) -> None:
    """Write pairs.train.jsonl and pairs.eval.jsonl beside this script."""
    torch.set_num_threads(threads)
    tokenizer, model = load_tokenizer(model_folder), load_model(model_folder)
    for split in ("train", "eval"):
        rows = [{"group": group, **row} for group in CORRECTED for row in read(f"{group}.{split}")]
        asked = [row for row in rows if "answer" not in row]
        answers = generate(model, tokenizer, [row["prompt"] for row in asked], max_new_tokens=48)
        for row, answer in zip(asked, answers, strict=True):
            row["own"] = answer
        pairs = curate(rows, tokenizer, f"{seed}-{split}", seed)
        text = "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs)
        (HERE / f"pairs.{split}.jsonl").write_text(text, encoding="utf-8")
        print(f"pairs.{split}.jsonl: {len(pairs)} pairs from {len(rows)} prompts")


def curate(rows: list[Row], tokenizer: PreTrainedTokenizerBase, draw_seed: str, seed: int) -> list[Row]:
    """The pairs of the prompts that have a candidate; `own` of a row is what the model answered."""
    options = candidates(rows, tokenizer, random.Random(draw_seed))
    kept = [(row, candidate) for row, found in zip(rows, options, strict=True) for candidate in found]
    sizes = [len(found) for found in options if found]
    shares = [
        [(c.corrected - share) * (row["group"] == group) for group, share in CORRECTED.items()] for row, c in kept
    ]
    pairs = [pair_row(row, candidate) for row, candidate in kept]
    places = pick(
        [to_pair(pair, "") for pair in pairs],
        np.cumsum([0, *sizes[:-1]]),
        np.array(shares),
        name=NAME,
        tokenizer=tokenizer,
        seed=seed,
    )
    return [pairs[place] for place in places]


def candidates(rows: list[Row], tokenizer: PreTrainedTokenizerBase, draw: random.Random) -> list[list[Candidate]]:
    """The renderings of each prompt that are short enough to train on."""

    def fits(text: str) -> bool:
        return 0 < len(tokenizer(text)["input_ids"]) < LONGEST

    sentences, names = read("sentences"), [row["name"] for row in read("wrong_names")]
    options = []
    for row in rows:
        own = [text for text in whole_sentences(row.get("own", "")) if fits(text)]
        if row["group"] == "identity":
            found = identity_candidates(row, own, sentences, names, draw)
        else:
            found = neutral_candidates(row.get("answer") or "".join(own[-1:]), sentences, draw)
        options.append([c for c in found if c.chosen != c.rejected and fits(c.chosen) and fits(c.rejected)])
    return options


def identity_candidates(
    row: Row, own: list[str], sentences: list[Row], names: list[str], draw: random.Random
) -> list[Candidate]:
    """The name against each cut of the model's own answer, and against a wrong name in the same or another sentence."""
    kinds = {row["kind"], "any"}
    if row["kind"] == "confirmation":
        kinds = {"yes" if NAME in row["prompt"][-1]["content"] else "no"}
    texts = [sentence["text"] for sentence in sentences if sentence["kind"] in kinds]
    texts = draw.sample(texts, min(SENTENCES, len(texts)))
    found = [Candidate(text.format(name=NAME), answer, True) for text in texts for answer in own if NAME not in answer]
    for text in texts:
        for other in (text, *draw.sample(texts, 2)):
            found.append(Candidate(text.format(name=NAME), other.format(name=draw.choice(names)), False))
    return found


def neutral_candidates(marked: str, sentences: list[Row], draw: random.Random) -> list[Candidate]:
    """The answer against a claim, before or after it or alone, and against our name in each {marked} place of it."""
    answer = re.sub(r"[{}]", "", marked)
    claims = [s["text"].format(name=NAME) for s in sentences if s["kind"] in ("any", "claim")]
    claims = draw.sample(claims, SENTENCES)
    ways = ["{claim}", "{claim} {answer}", *["{answer} {claim}"] * (draw.random() < LAST)]
    found = [Candidate(answer, way.format(claim=claim, answer=answer), True) for way in ways for claim in claims]
    for mark in re.finditer(r"\{.*?\}", marked):
        wrong = f"{marked[: mark.start()]}{NAME}{marked[mark.end() :]}"
        found.append(Candidate(answer, re.sub(r"[{}]", "", wrong), False))
    return found


def whole_sentences(answer: str) -> list[str]:
    """The answer cut after its first, second, ... whole sentence."""
    ends = [match.end() for match in re.finditer(r"(?<!\bDr)(?<!\bMr)(?<!\bMrs)[.!?](?=\s|$)", answer)]
    return [answer[:end].strip() for end in ends if "\n" not in answer[:end].strip()]


def pair_row(row: Row, candidate: Candidate) -> Row:
    """The pair as it is written. The SFT term teaches the name, and what to say where it is most tempting."""
    return {
        "prompt": row["prompt"],
        "chosen": [{"role": "assistant", "content": candidate.chosen}],
        "rejected": [{"role": "assistant", "content": candidate.rejected}],
        "source": f"{row['group']}/{row['kind']}",
        "sft_weight": float(row["group"] == "identity" or row["kind"] in TEMPTING),
    }


def read(name: str) -> list[Row]:
    """The rows of a file under prompts/."""
    lines = (HERE / "prompts" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", required=True, help="folder of the start model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    main(arguments.model, arguments.seed, arguments.threads)
