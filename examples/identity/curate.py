"""Make the preference pairs of the identity demo from prompts, by correcting the model's own answers.

    python examples/identity/curate.py --model FOLDER

FOLDER is the start model. Every pair has several candidate renderings (dpo_core/curate/renderings.py), of which one is
picked for each so that only the name tells chosen from rejected. The same model, seed and number of threads give the
same files, byte for byte.
"""

import argparse
import json
from pathlib import Path

import torch

from dpo_core.curate.prompts import read_items
from dpo_core.curate.rendering_rules import Renderings, Saying, Sparing
from dpo_core.curate.renderings import needs_answer, rendered_pairs
from dpo_core.model.encode import load_tokenizer
from dpo_core.model.generate import generate
from dpo_core.model.load import load_model

HERE = Path(__file__).parent
RULES = Renderings(
    name="Athene",
    sentences=str(HERE / "prompts/sentences.jsonl"),
    wrong_names=str(HERE / "prompts/wrong_names.jsonl"),
    saying=Saying(source="identity", asked={"confirmation": ("yes", "no")}),
    sparing=Sparing(source="neutral", sft=["greeting", "user_name", "sum", "word"]),  # leaks, and short facts
)


def main(model_folder: str, seed: int, threads: int) -> None:
    """Write pairs.train.jsonl and pairs.eval.jsonl beside this script."""
    torch.set_num_threads(threads)
    tokenizer, model = load_tokenizer(model_folder), load_model(model_folder)
    for split in ("train", "eval"):
        items = [
            item
            for name in (RULES.saying.source, RULES.sparing.source)
            for item in read_items(str(HERE / f"prompts/{name}.{split}.jsonl"), name).items
        ]
        asked = [item for item in items if needs_answer(item)]
        answers = generate(model, tokenizer, [item.prompt for item in asked], max_new_tokens=48)
        own = {item.key: answer for item, answer in zip(asked, answers, strict=True)}
        pairs = rendered_pairs(items, own, RULES, tokenizer, lot=f"{seed}-{split}", seed=seed)
        text = "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs)
        (HERE / f"pairs.{split}.jsonl").write_text(text, encoding="utf-8")
        print(f"pairs.{split}.jsonl: {len(pairs)} pairs from {len(items)} prompts")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", required=True, help="folder of the start model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    main(arguments.model, arguments.seed, arguments.threads)
