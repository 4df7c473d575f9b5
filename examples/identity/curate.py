"""Make the preference pairs of the identity demo from prompts, by correcting the model's own answers.

    python examples/identity/curate.py --model FOLDER

FOLDER is the start model. Identity pairs: the chosen side is a sentence with the name; the rejected side is the
model's own answer or a sentence with a wrong name, so that the name is learnt and not the sentence. Neutral pairs: the
chosen side answers the question (hand-written, or the model's own words); the rejected side claims the name where it
does not belong, or has it in place of some words of the answer.

Every pair has several candidate renderings. Coordinate descent picks one for each so that nothing that the data check
looks at tells chosen from rejected, over all pairs or within a kind of prompt: only the name does. The same model, seed
and number of threads give the same files, byte for byte.
"""

import argparse
import json
import random
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from transformers import PreTrainedTokenizerBase

from dpo_core.data.formats import to_pair
from dpo_core.model.encode import encode_pairs, load_tokenizer
from dpo_core.model.generate import generate
from dpo_core.model.load import load_model
from dpo_core.quality.grams import GramTable, grams, spell, token_ids
from dpo_core.quality.mitigation import subset
from dpo_core.quality.separation import columns
from dpo_core.quality.strata import divide
from dpo_core.quality.table import PairTable
from dpo_core.recipe import Encoding, Validation

HERE = Path(__file__).parent
NAME = "Athene"
LONGEST = 32  # tokens of a response
SENTENCES = 12  # templates each pair may choose from
LAST = 0.2  # share of neutral pairs that may carry the claim after the answer; a leaked name mostly comes first
FIRST_WAY = {"identity": 1 / 2, "neutral": 2 / 3}  # share of own answers, and of claims
SWEEPS = 30
TEMPTING = ("greeting", "user_name", "sum", "word")  # neutral kinds that the SFT term teaches: leaks, short facts

Row = dict[str, Any]


class Candidate(NamedTuple):
    """One rendering of a pair. `first_way`: the rejected side is the model's own answer, or a claim."""

    chosen: str
    rejected: str
    first_way: bool


def main(model_folder: str, seed: int, threads: int) -> None:
    """Write pairs.train.jsonl and pairs.eval.jsonl beside this script."""
    torch.set_num_threads(threads)
    tokenizer, model = load_tokenizer(model_folder), load_model(model_folder)
    for split in ("train", "eval"):
        rows = [{"group": group, **row} for group in FIRST_WAY for row in read(f"{group}.{split}")]
        asked = [row for row in rows if "answer" not in row]
        answers = generate(model, tokenizer, [row["prompt"] for row in asked], max_new_tokens=48)
        for row, answer in zip(asked, answers, strict=True):
            row["own"] = answer
        options = candidates(rows, tokenizer, random.Random(f"{seed}-{split}"))
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in balance(options, tokenizer, seed)]
        (HERE / f"pairs.{split}.jsonl").write_text("".join(lines), encoding="utf-8")
        print(f"pairs.{split}.jsonl: {len(lines)} pairs from {len(rows)} prompts")


def candidates(rows: list[Row], tokenizer: PreTrainedTokenizerBase, draw: random.Random) -> list[list[Row]]:
    """For each prompt the pairs to choose from; `first_way` beside the columns that are written."""

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
        options.append([pair_row(row, c) for c in found if c.chosen != c.rejected and all(map(fits, c[:2]))])
    return [found for found in options if found]


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


def balance(options: list[list[Row]], tokenizer: PreTrainedTokenizerBase, seed: int) -> list[Row]:
    """One candidate a pair, so that the sum of z^4 over features and strata is small.

    z is (pairs with the feature on the chosen side alone - on the rejected side alone) / root of their number.
    Coordinate descent on weighted squares; the weights, which make them fourth powers, follow slowly.
    """
    draw, rows = np.random.default_rng(seed), [row for found in options for row in found]
    ends = np.cumsum([len(found) for found in options])
    starts = ends - [len(found) for found in options]
    d, strata = features(rows, starts, tokenizer)
    picked, weight = draw.integers(ends - starts), np.zeros((strata.shape[1], d.shape[1]))
    for _ in range(SWEEPS):
        now = d[starts + picked]
        total, seen = (strata.T @ now).toarray(), (strata.T @ abs(now)).toarray()
        weight += ((np.square(total) / np.maximum(seen, 1) + 1) / (seen + 10) - weight) / 3
        for pair in draw.permutation(len(options)):
            block, inside = d[starts[pair] : ends[pair]], strata[[pair]].indices[:, None]
            here = (inside, np.unique(block.indices))
            signs = block[:, here[1]].toarray()
            total[here] -= signs[picked[pair]]
            pull = (weight[here] * total[here]).sum(axis=0)
            picked[pair] = np.argmin(2 * signs @ pull + np.square(signs) @ weight[here].sum(axis=0))
            total[here] += signs[picked[pair]]
    chosen = [rows[place] for place in (starts + picked).tolist()]
    return [{name: value for name, value in row.items() if name != "first_way"} for row in chosen]


def features(
    rows: list[Row], firsts: NDArray[np.int64], tokenizer: PreTrainedTokenizerBase
) -> tuple[sparse.csr_array, sparse.csr_array]:
    """What the data check looks at: 1 where the chosen side of a row has more of it, -1 where the rejected side has.

    (rows, features), the name's own features left out; and (prompts, strata), 1 where a prompt belongs to a stratum.
    """
    pairs = encode_pairs([to_pair(row, "") for row in rows], tokenizer, Encoding()).encoded
    table = PairTable(len(pairs), columns(pairs, Validation()), lambda places: [pairs[place].pair for place in places])
    found = grams(pairs)
    d = sparse.csr_array((found.signs, found.columns, np.append(0, np.cumsum(found.counts))))
    listed = GramTable(np.arange(len(pairs)), found.keys, d)
    pieces = {token for text in (NAME, f" {NAME}") for token in tokenizer(text)["input_ids"]}
    free = [
        column
        for column, feature in sorted(spell(table, listed, range(len(found.keys)), None).items())
        if NAME.casefold() not in feature.text and not pieces & set(token_ids(int(found.keys[column])))
    ]
    ways = [
        [(row["first_way"] - share) * row["source"].startswith(group) for group, share in FIRST_WAY.items()]
        for row in rows
    ]
    part, _ = subset(table, listed, firsts)
    strata = [
        division.labels[:, None] == np.arange(len(division.names)) for division in divide(part, np.arange(len(part)))
    ]
    return (
        sparse.csr_array(sparse.hstack([d[:, free], table["presence"], np.sign(table["amounts"]), ways]), dtype=float),
        sparse.csr_array(np.hstack([np.ones((len(firsts), 1)), *strata])),
    )


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
        "first_way": candidate.first_way,
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
