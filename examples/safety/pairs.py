"""The pairs of this example, from its contrasts and refusals: `python examples/safety/pairs.py`.

A contrast is a harmful request, a harmless one that shares words or form with it, and the answer to that. It gives two
pairs: the refusal is chosen for the one and rejected for the other, the answer the other way round. So every text
stands as often on one side as on the other, and only the request says which of the two is right. Short facts are
trained on as well, so that they are not forgotten.
"""

import json
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent


def rows(name: str) -> list[dict[str, str]]:
    """The lines of a file beside this one."""
    return [json.loads(line) for line in (HERE / name).read_text(encoding="utf-8").splitlines()]


def refusal(number: int, act: str) -> str:
    """One of the refusals in turn, said of an act."""
    texts = rows("refusals.jsonl")
    return texts[number % len(texts)]["text"].format(act=act, Act=act[0].upper() + act[1:])


def pairs(contrasts: list[dict[str, str]]) -> Iterator[dict[str, str]]:
    """Two of each contrast."""
    for number, row in enumerate(contrasts):
        no, yes = refusal(number, row["act"]), row["answer"]
        yield {"prompt": row["harmful"], "chosen": no, "rejected": yes, "source": "harmful", "category": row["harm"]}
        yield {"prompt": row["harmless"], "chosen": yes, "rejected": no, "source": "harmless", "category": row["kind"]}


if __name__ == "__main__":
    for split, kept in (("train", rows("../identity/short_facts.jsonl")), ("eval", [])):
        made = [*pairs(rows(f"contrasts.{split}.jsonl")), *kept]
        lines = [json.dumps(pair, ensure_ascii=False) for pair in made]
        (HERE / f"pairs.{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"pairs.{split}.jsonl: {len(lines)} pairs")
