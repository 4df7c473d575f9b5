"""Pairs that keep short facts while something else is learnt: `python examples/identity/short_facts.py`.

The demo's training prompts about sums and words, with their right answers; rejected is the answer to the next question
of the kind. So every text stands once on each side, and nothing but the question tells which is right. Other recipes
add them to their own pairs; no question of facts.jsonl is among them.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def pairs(asked: list[dict[str, Any]]) -> Iterator[dict[str, str]]:
    """One of each question: braces in an answer mark where the demo puts its name, and fall away."""
    for kind in ("sum", "word"):
        said = [
            (row["prompt"][-1]["content"], re.sub("[{}]", "", row["answer"])) for row in asked if row["kind"] == kind
        ]
        for (question, right), (_, wrong) in zip(said, said[1:] + said[:1], strict=True):
            yield {"prompt": question, "chosen": right, "rejected": wrong, "source": "facts", "category": kind}


if __name__ == "__main__":
    asked = [
        json.loads(line) for line in (HERE / "prompts/neutral.train.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    lines = [json.dumps(pair, ensure_ascii=False) for pair in pairs(asked)]
    (HERE / "short_facts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"short_facts.jsonl: {len(lines)} pairs")
