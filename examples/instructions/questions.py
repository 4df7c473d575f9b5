"""The prompts and the questions of this example: one sentence on a topic, and a constraint that a program can check.

    python examples/instructions/questions.py

Topics that are trained on are never asked about; of the kinds of constraint some are never trained on. What an answer
must be stands in its row, by the keys of prompt files (docs/recipe.md): the reward of the curation and the check of
the evaluation are one rule.
"""

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dpo_core.rewards.rules import own_checks

FOLDER = Path(__file__).parent
SEED = 20
TRAINED, ASKED = 15, 8  # prompts of a kind
Constraint = tuple[str, dict[str, Any], str, str]  # in words, keys of a prompt file, a right answer, a wrong one
TOPICS = (
    "a lighthouse, honey, the library, rain, a busy market, elephants, the bridge, a nurse, an old castle, chocolate, "
    "a quiet lake, the moon, a baker, snow, a train station, bees, deserts, the museum, a school garden, tea, a pilot, "
    "the ocean, a telescope, horses, a small village, volcanoes, a diary, summer, bread, a candle, fish, the dentist, "
    "wool, a violin, the desert fox, an orchard"
)
OTHERS = (
    "a forest path, penguins, coffee, the teacher, a kite, rivers, an umbrella, dolphins, a mountain cabin, cheese, "
    "the doctor, a music festival, stars, a bicycle, winter, a hotel"
)
CARRIERS = (
    "Write one sentence about {}.",
    "Tell me one thing about {} in a sentence.",
    "Say something short about {}.",
)
WORDS = ("often", "people", "warm", "small", "always", "good", "bright", "old")
PLAIN = "It is a fine thing."
LONG = "It stands where people meet, talk and trade on most days of the week, and at night there is nobody at all."
FIRST, LAST = ("Today", "Some", "Perhaps", "Often"), ("every day", "my friend", "in the end", "for everyone")


def short(draw: random.Random) -> Constraint:
    """At most so many words."""
    most = draw.choice([6, 8, 10])
    return (
        draw.choice(["Use at most {} words.", "Use no more than {} words."]).format(most),
        {"max_words": most},
        PLAIN,
        f"{PLAIN} {LONG}",
    )


def include(draw: random.Random) -> Constraint:
    """A word that must stand in it."""
    word = draw.choice(WORDS)
    said = draw.choice(["Use the word '{}'.", "The word '{}' must be in it."]).format(word)
    return said, {"must_contain": [word]}, f"It is {word} there.", PLAIN


def avoid(draw: random.Random) -> Constraint:
    """A frequent word that must not."""
    word = draw.choice(["the", "and", "is", "a"])
    said = draw.choice(["Do not use the word '{}'.", "Avoid the word '{}'."]).format(word)
    return said, {"must_not_contain": [word]}, "We like it much.", f"We like {word} much."


def lowercase(draw: random.Random) -> Constraint:
    """No capital letter."""
    said = draw.choice(["Write in lowercase letters only.", "Use no capital letters."])
    return said, {"must_not_match": [r"[A-Z]"]}, PLAIN.lower(), PLAIN


def no_comma(draw: random.Random) -> Constraint:
    """No comma."""
    said = draw.choice(["Do not use commas.", "There must be no comma in it."])
    return said, {"must_not_match": [","]}, PLAIN, LONG


def begins(draw: random.Random) -> Constraint:
    """Its first word."""
    word = draw.choice(FIRST)
    said = draw.choice(["Begin with the word '{}'.", "The first word must be '{}'."]).format(word)
    return said, {"must_match": [rf"\A\W*{word}\b"]}, f"{word} it is fine.", PLAIN


def ends(draw: random.Random) -> Constraint:
    """Its last words."""
    words = draw.choice(LAST)
    said = draw.choice(["End with the words '{}'.", "The last words must be '{}'."]).format(words)
    return said, {"must_match": [rf"(?i)\b{words}\W*\Z"]}, f"It is fine {words}.", f"{words.title()}: {PLAIN}"


def quotes(draw: random.Random) -> Constraint:
    """All of it in quotation marks."""
    said = draw.choice(["Put your whole answer in double quotation marks.", "Wrap it in double quotation marks."])
    return said, {"must_match": [r'\A"[^"]+"\Z']}, f'"{PLAIN}"', 'It is "fine".'


def dashes(draw: random.Random) -> Constraint:
    """Two lines, each begun by a dash."""
    said = draw.choice(["Write two lines that each begin with a dash.", "Answer with two bullet points ('- ')."])
    return said, {"must_match": [r"\A- [^\n]+\n+- [^\n]+\Z"]}, f"- {PLAIN}\n- It is old.", f"- {PLAIN}"


def as_json(draw: random.Random) -> Constraint:
    """JSON with one key."""
    key = draw.choice(["text", "answer"])
    said = draw.choice(['Answer in JSON with the key "{}".', 'Your answer must be JSON with one key, "{}".'])
    wanted = {"json_schema": {"type": "object", "required": [key]}}
    return said.format(key), wanted, json.dumps({key: PLAIN}), f"{key}: {PLAIN}"


def longer(draw: random.Random) -> Constraint:
    """At least so many words."""
    least = draw.choice([16, 18, 20])
    said = draw.choice(["Use at least {} words.", "Use {} words or more."]).format(least)
    return said, {"min_words": least}, LONG, PLAIN


def capitals(draw: random.Random) -> Constraint:
    """Nothing but capital letters."""
    said = draw.choice(["Write in capital letters only.", "Use no lowercase letters."])
    return said, {"must_not_match": [r"[a-z]"]}, PLAIN.upper(), PLAIN


def question(draw: random.Random) -> Constraint:
    """A question."""
    said = draw.choice(["Make it a question.", "It must end with a question mark."])
    return said, {"must_match": [r"\?\W*\Z"]}, "Is it not fine?", PLAIN


def exclaims(draw: random.Random) -> Constraint:
    """An exclamation mark at its end."""
    said = draw.choice(["End with an exclamation mark.", "The last sign must be '!'."])
    return said, {"must_match": [r"!\W*\Z"]}, "It is so fine!", PLAIN


def digits(draw: random.Random) -> Constraint:
    """A number."""
    said = draw.choice(["Write a number in digits somewhere in it.", "It must have a digit in it."])
    return said, {"must_match": [r"\d"]}, "It has 2 of them.", "It has two of them."


def both(draw: random.Random) -> Constraint:
    """Two words that must stand in it."""
    one, other = draw.sample(WORDS, 2)
    return (
        f"Use the words '{one}' and '{other}'.",
        {"must_contain": [one, other]},
        f"It is {one} and {other}.",
        f"It is {one}.",
    )


def brackets(draw: random.Random) -> Constraint:
    """Something in brackets."""
    said = draw.choice(["Put one word in (brackets).", "A part of it must stand in round brackets."])
    return said, {"must_match": [r"\([^()\n]+\)"]}, "It is (very) fine.", PLAIN


Kind = Callable[[random.Random], Constraint]
TAUGHT: dict[str, Kind] = {
    kind.__name__: kind
    for kind in (short, include, avoid, lowercase, no_comma, begins, ends, quotes, dashes, as_json)
}  # fmt: skip
UNSEEN: dict[str, Kind] = {
    kind.__name__: kind for kind in (longer, capitals, question, exclaims, digits, both, brackets)
}


def drawn(kinds: dict[str, Kind], count: int, topics: str, draw: random.Random) -> list[dict[str, Any]]:
    """So many prompts of each kind, each on another topic."""
    rows = []
    for name, kind in kinds.items():
        for topic in draw.sample(topics.split(", "), count):
            said, asked, right, wrong = kind(draw)
            prompt, wanted = f"{draw.choice(CARRIERS).format(topic)} {said}", {"min_words": 3} | asked
            require_tells(prompt, wanted, right, wrong)
            rows.append({"prompt": prompt, **wanted, "source": name})
    return rows


def require_tells(prompt: str, wanted: dict[str, Any], right: str, wrong: str) -> None:
    """A check that never agrees, or always does, teaches nothing: told here, before anything is trained."""
    agreed = [all(check(answer, prompt) for check in own_checks(wanted)) for answer in (right, wrong)]
    if agreed != [True, False]:
        sys.exit(f"{prompt} {wanted}: right for {right!r}: {agreed[0]}; for {wrong!r}: {agreed[1]}")


def files() -> dict[str, list[dict[str, Any]]]:
    """Every file of rows that this script writes."""
    draw = random.Random(SEED)
    return {
        "prompts.jsonl": drawn(TAUGHT, TRAINED, TOPICS, draw),
        "checks/constraints.jsonl": drawn(TAUGHT, ASKED, OTHERS, draw),
        "checks/other_kinds.jsonl": drawn(UNSEEN, ASKED, OTHERS, draw),
    }


if __name__ == "__main__":
    for name, rows in files().items():
        (FOLDER / name).parent.mkdir(exist_ok=True)
        (FOLDER / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        print(f"{name}: {len(rows)}")
