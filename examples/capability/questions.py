"""The prompts and the questions of this example: small tasks whose answers a program knows, in three levels.

    python examples/capability/questions.py

Levels 1 and 2 are trained on, and asked about with other numbers and words; level 3 is asked about alone. What an
answer must be stands in its row, by the keys of prompt files (docs/recipe.md): the reward of the curation and the check
of the evaluation are one rule.
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
TRAINED, ASKED = {1: 60, 2: 20}, 8  # prompts of each family and level; the model is right now and then on level 1
Task = tuple[str, dict[str, Any], str, str]  # prompt, keys of a prompt file, a right answer, a wrong one
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
NAMED = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
WORDS = (
    "apple bear cat dog egg fish goat hat ice jam key lamp moon nut owl pen rain sun tree van wolf yarn zebra boat cup "
    "door flag glass horse iron"
)
WORDINGS = {
    "sums": ["What is {} + {}?", "How much is {} plus {}?", "Add {} and {}."],
    "differences": ["What is {} - {}?", "How much is {} minus {}?", "Subtract {1} from {0}."],
}


def sums(level: int, draw: random.Random) -> Task:
    """Two numbers: of one digit, of two and one, of two."""
    first = draw.randint(2, 9) if level == 1 else draw.randint(11, 89)
    second = draw.randint(11, 99 - min(first, 88)) if level == 3 else draw.randint(2, 9)
    return number_task("sums", first, second, first + second, draw)


def differences(level: int, draw: random.Random) -> Task:
    """The same, less."""
    first = draw.randint(4, 10) if level == 1 else draw.randint(21, 98)
    second = draw.randint(11, first - 2) if level == 3 else draw.randint(2, min(9, first - 1))
    return number_task("differences", first, second, first - second, draw)


def number_task(family: str, first: int, second: int, right: int, draw: random.Random) -> Task:
    """The last number of the answer counts."""
    asked = draw.choice(WORDINGS[family]).format(first, second)
    return (
        asked,
        {"number": right},
        f"With {first} and {second} it is {right}.",
        f"It is {right + draw.choice([-1, 1, 10])}.",
    )


def largest(level: int, draw: random.Random) -> Task:
    """Of two, three or five numbers the largest or the smallest."""
    numbers = draw.sample(range(10, 100), {1: 2, 2: 3, 3: 5}[level])
    word, which = draw.choice([("largest", max), ("smallest", min)])
    right, wrong = which(numbers), next(number for number in numbers if number != which(numbers))
    asked = f"Which is the {word} of these numbers: {', '.join(map(str, numbers))}? Answer with the number only."
    return asked, {"must_match": [rf"\A\D*{right}\D*\Z"]}, f"It is {right}.", f"{wrong}"


def sorting(level: int, draw: random.Random) -> Task:
    """Three numbers of one digit, of two digits; four."""
    numbers = draw.sample(range(1, 10) if level == 1 else range(10, 100), 4 if level == 3 else 3)
    asked = f"Sort these numbers from smallest to largest: {', '.join(map(str, numbers))}."
    run = r"\D{1,6}".join(map(str, sorted(numbers)))
    wanted = {"must_match": [rf"(?<!\d){run}(?!\d)\D*\Z"]}
    right, wrong = (", ".join(map(str, sorted(numbers, reverse=turned))) for turned in (False, True))
    return asked, wanted, f"Sorted: {right}.", wrong


def days(level: int, draw: random.Random) -> Task:
    """The day after; before; in two days."""
    place = draw.randrange(7)
    step, asked = {
        1: (1, draw.choice(["Which day comes after {}?", "Today is {}. Which day is tomorrow?"])),
        2: (-1, draw.choice(["Which day comes before {}?", "Today is {}. Which day was yesterday?"])),
        3: (2, draw.choice(["Today is {}. Which day is it in two days?", "Which day is two days after {}?"])),
    }[level]
    right, given = DAYS[(place + step) % 7], DAYS[place]
    others = [day for day in DAYS if day not in (right, given)]
    wanted = {"must_contain": [right], "must_not_contain": others}
    return asked.format(given), wanted, f"After {given}, it is {right}.", f"It is {draw.choice(others)}."


def counting(level: int, draw: random.Random) -> Task:
    """Words of a list: two or three, four or five, six or seven."""
    count = draw.choice({1: [2, 3], 2: [4, 5], 3: [6, 7]}[level])
    asked = f"How many words are in this list: {', '.join(draw.sample(WORDS.split(), count))}?"
    others = [text for n in range(11) if n != count for text in (str(n), NAMED[n]) if text != "one"]
    wanted = {"must_contain": [[str(count), NAMED[count]]], "must_not_contain": others}
    return asked, wanted, f"This one has {NAMED[count]} words.", f"There are {count + 1} words."


FAMILIES: dict[str, Callable[[int, random.Random], Task]] = {
    family.__name__: family for family in (sums, differences, largest, sorting, days, counting)
}


def drawn(family: str, level: int, count: int, draw: random.Random, known: set[str]) -> list[dict[str, Any]]:
    """So many prompts that are not in `known`, or as many as there are."""
    rows = []
    for _ in range(200 * count):
        prompt, wanted, right, wrong = FAMILIES[family](level, draw)
        if prompt not in known and len(rows) < count:
            known.add(prompt)
            require_tells(prompt, wanted, right, wrong)
            rows.append({"prompt": prompt, **wanted, "source": f"{family}, level {level}"})
    return rows


def require_tells(prompt: str, wanted: dict[str, Any], right: str, wrong: str) -> None:
    """A check that never agrees, or always does, teaches nothing: told here, before anything is trained."""
    agreed = [all(check(answer, prompt) for check in own_checks(wanted)) for answer in (right, wrong)]
    if agreed != [True, False]:
        sys.exit(f"{prompt} {wanted}: right for {right!r}: {agreed[0]}; for {wrong!r}: {agreed[1]}")


def files() -> dict[str, list[dict[str, Any]]]:
    """Every file of rows that this script writes; a prompt stands in one of them."""
    draw, known = random.Random(SEED), set[str]()
    trained, asked, harder = [], [], []
    for family in FAMILIES:
        for level in (1, 2):
            asked += drawn(family, level, ASKED, draw, known)
        harder += drawn(family, 3, ASKED, draw, known)
    for family in FAMILIES:
        for level in (1, 2):
            trained += drawn(family, level, TRAINED[level], draw, known)
    return {"prompts.jsonl": trained, "checks/tasks.jsonl": asked, "checks/harder.jsonl": harder}


if __name__ == "__main__":
    for name, rows in files().items():
        (FOLDER / name).parent.mkdir(exist_ok=True)
        (FOLDER / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        print(f"{name}: {len(rows)}")
