"""The pairs of this example, from its texts: `python examples/multilingual/pairs.py`.

The answer in the language of the question is chosen. Rejected is one in another language: what the model itself said
(own.jsonl) where it strayed, else the same answer in the four others by turns, so that an answer stands on either side
and only the question says when it is right; where the question quotes a language, in that one. Of every fifth topic
there is one more pair, in one language, with the answer of another topic: the answer has to fit, too. Short facts in
English are trained on as well, so that they are not forgotten.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
FACTS = "../identity/short_facts.jsonl"
LANGUAGES = ("en", "fr", "de", "es", "it")
Row = dict[str, str]


def rows(name: str) -> list[Row]:
    """The lines of a file beside this one."""
    return [json.loads(line) for line in (HERE / name).read_text(encoding="utf-8").splitlines()]


def pairs(texts: list[Row], own: list[Row]) -> Iterator[Row]:
    """One of each question, or two."""
    strayed = {row["question"]: row["answer"] for row in own}
    topics = defaultdict[str, dict[str, Row]](dict)
    for row in texts:
        topics[row["topic"]][row["language"]] = row
    said = list(topics.values())
    for number, topic in enumerate(said):
        for at, language in enumerate(LANGUAGES):
            asked = topic[language]
            other = LANGUAGES[(at + 1 + number % 4) % 5]
            wrong = asked["quoted"] if asked.get("quoted", language) != language else other
            source = "quoting" if "quoted" in asked else "plain"
            if asked["question"] in strayed:
                yield _pair(asked, strayed[asked["question"]], "own")
            else:
                yield _pair(asked, topic[wrong]["answer"], source)
            if number % 5 == 0:
                yield _pair(asked, said[(number + 5) % len(said)][language]["answer"], "fitting")


def _pair(asked: Row, rejected: str, source: str) -> Row:
    chosen, language = asked["answer"], asked["language"]
    return {"prompt": asked["question"], "chosen": chosen, "rejected": rejected, "source": source, "category": language}


if __name__ == "__main__":
    made = [*pairs(rows("texts.jsonl"), rows("own.jsonl")), *(fact | {"category": "en"} for fact in rows(FACTS))]
    lines = [json.dumps(pair, ensure_ascii=False) for pair in made]
    (HERE / "pairs.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"pairs.jsonl: {len(lines)} pairs")
