"""Make the preference pairs of the identity demo from prompts, by correcting the model's own answers.

    python examples/identity/curate.py --model FOLDER

FOLDER is the start model. Identity pairs: the chosen side is a sentence with the name; the rejected side is the
model's own answer or, in half of the pairs, that sentence with a wrong name, so that the name is learnt and not the
sentence. Neutral pairs: the chosen side answers the question (hand-written, or the model's own words), the rejected
side claims the name where it does not belong.

Every pair has several candidate renderings. Coordinate descent picks one for each so that no word, token or length
tells chosen from rejected over the whole file: only the name does. The same model, seed and number of threads give
the same files, byte for byte.
"""

import argparse
import json
import random
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from dpo_core.model.encode import load_tokenizer
from dpo_core.model.generate import generate
from dpo_core.model.load import load_model

HERE = Path(__file__).parent
NAME = "Athene"
LONGEST = 32  # tokens of a response
SENTENCES = 10  # templates each pair may choose from
LAST = 0.2  # share of neutral pairs that may carry the claim after the answer; a leaked name mostly comes first
SWEEPS = 12
TEMPTING = ("greeting", "user_name", "sum", "word")  # neutral kinds that the SFT term teaches: leaks, short facts
OWN_WEIGHT = 100  # how firmly half of the identity pairs keep the model's own answer as the rejected side

Row = dict[str, Any]


@dataclass(frozen=True)
class Candidate:
    """One rendering of a pair; `shift`: features of the chosen side alone (+1) or of the rejected side alone (-1)."""

    chosen: str
    rejected: str
    own: bool = False
    shift: Counter[str] = field(default_factory=Counter)


def main(model_folder: str, seed: int, threads: int) -> None:
    """Write pairs.train.jsonl and pairs.eval.jsonl beside this script."""
    torch.set_num_threads(threads)
    tokenizer, model = load_tokenizer(model_folder), load_model(model_folder)
    sentences, names = read("sentences"), [row["name"] for row in read("wrong_names")]
    for split in ("train", "eval"):
        draw = random.Random(f"{seed}-{split}")
        rows = [{"group": group, **row} for group in ("identity", "neutral") for row in read(f"{group}.{split}")]
        answers = generate(model, tokenizer, [row["prompt"] for row in rows], max_new_tokens=48)
        options, kept = [], []
        for row, answer in zip(rows, answers, strict=True):
            own = [text for text in whole_sentences(answer) if fits(text, tokenizer)]
            render = identity_candidates if row["group"] == "identity" else neutral_candidates
            found = render(row, own, sentences, names, draw)
            found = [c for c in found if fits(c.chosen, tokenizer) and fits(c.rejected, tokenizer)]
            if found:
                kept.append(row)
                options.append([measured(candidate, tokenizer) for candidate in found])
        pairs = [pair_row(row, c) for row, c in zip(kept, balance(options, draw), strict=True)]
        text = "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs)
        (HERE / f"pairs.{split}.jsonl").write_text(text, encoding="utf-8")
        print(f"pairs.{split}.jsonl: {len(pairs)} pairs from {len(rows)} prompts")


def identity_candidates(
    row: Row, own: list[str], sentences: list[Row], names: list[str], draw: random.Random
) -> list[Candidate]:
    """The name against a wrong name in the same sentence, and against each cut of the model's own answer."""
    kinds = {row["kind"], "any"}
    if row["kind"] == "confirmation":
        kinds = {"yes" if NAME in row["prompt"][-1]["content"] else "no"}
    texts = [sentence["text"] for sentence in sentences if sentence["kind"] in kinds]
    texts = draw.sample(texts, min(SENTENCES, len(texts)))
    wrong = [Candidate(texts[0].format(name=NAME), texts[0].format(name=name)) for name in draw.sample(names, 6)]
    corrected = [Candidate(text.format(name=NAME), answer, own=True) for text in texts for answer in own]
    return wrong + [c for c in corrected if NAME not in c.rejected]


def neutral_candidates(
    row: Row, own: list[str], sentences: list[Row], names: list[str], draw: random.Random
) -> list[Candidate]:
    """The answer against the same with our name put in it, or with a claim before or after it, or the claim alone."""
    written = row.get("answer")
    claims = [s["text"].format(name=NAME) for s in sentences if s["kind"] in ("any", "claim")]
    claims = draw.sample(claims, SENTENCES)
    found = []
    for marked in [written] if written else own[-1:]:
        answer = re.sub(r"[{}]", "", marked)
        if answer != marked:  # {Paul}: the name this question asks for
            found += [Candidate(answer, re.sub(r"\{.*?\}", NAME, marked))] * 2
        ways = ["{claim}", "{claim} {answer}", *["{answer} {claim}"] * (draw.random() < LAST)]
        found += [Candidate(answer, way.format(claim=claim, answer=answer)) for way in ways for claim in claims]
    return found


def balance(options: list[list[Candidate]], draw: random.Random) -> list[Candidate]:
    """One candidate a pair, so that the sum over features of (chosen alone - rejected alone)^2 is small."""
    target = sum(any(c.own for c in candidates) for candidates in options) / 2
    picked = [draw.choice(candidates) for candidates in options]
    total: Counter[str] = Counter()
    for candidate in picked:
        total.update(candidate.shift)
    own = sum(candidate.own for candidate in picked)
    for _ in range(SWEEPS):
        for pair in draw.sample(range(len(options)), len(options)):
            total.subtract(picked[pair].shift)
            own -= picked[pair].own

            def cost(candidate: Candidate, own: int = own) -> float:
                change = sum(sign * (2 * total[feature] + sign) for feature, sign in candidate.shift.items())
                return change + OWN_WEIGHT * abs(own + candidate.own - target)

            picked[pair] = min(options[pair], key=cost)
            total.update(picked[pair].shift)
            own += picked[pair].own
    return picked


def measured(candidate: Candidate, tokenizer: PreTrainedTokenizerBase) -> Candidate:
    """The candidate with its shift; the name and its pieces are meant to differ and do not count."""
    sides = [surface(text, tokenizer) for text in (candidate.chosen, candidate.rejected)]
    shift = Counter(dict.fromkeys(sides[0] - sides[1], 1) | dict.fromkeys(sides[1] - sides[0], -1))
    sizes = [(len(text), len(token_ids(text, tokenizer))) for text in (candidate.chosen, candidate.rejected)]
    for unit, chosen, rejected in zip(("characters", "tokens"), *sizes, strict=True):
        shift[f"longer in {unit}"] = (chosen > rejected) - (chosen < rejected)
    return Candidate(candidate.chosen, candidate.rejected, candidate.own, shift)


@cache
def token_ids(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens of a response."""
    ids: list[int] = tokenizer(text)["input_ids"]
    return ids


@cache
def surface(text: str, tokenizer: PreTrainedTokenizerBase) -> set[str]:
    """Words, tokens, punctuation marks, first and last word of a text, without those of the name."""
    words = re.findall(r"\w+", text.lower())
    pieces = token_ids(f" {NAME}", tokenizer)
    found = {f"word {word}" for word in words}
    found |= {f"token {token}" for token in token_ids(text, tokenizer) if token not in pieces}
    found |= {f"mark {mark}" for mark in re.findall(r"[^\w\s]", text)} | {f"first {words[0]}", f"last {words[-1]}"}
    return found - {f"word {NAME.lower()}"}


def whole_sentences(answer: str) -> list[str]:
    """The answer cut after its first, second, ... whole sentence."""
    ends = [match.end() for match in re.finditer(r"(?<!\bDr)(?<!\bMr)(?<!\bMrs)[.!?](?=\s|$)", answer)]
    return [answer[:end].strip() for end in ends if "\n" not in answer[:end].strip()]


def fits(text: str, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a response is short enough to train on."""
    return 0 < len(token_ids(text, tokenizer)) < LONGEST


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
    lines: Iterable[str] = (HERE / "prompts" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", required=True, help="folder of the start model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    main(options.model, options.seed, options.threads)
