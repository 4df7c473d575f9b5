"""Several scored answers to one prompt (UltraFeedback, Gemini, distilabel): the best one against the worst."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from dpo_core.data.messages import BadRow, kind_of, messages_of, say
from dpo_core.data.pairs import Message

# UltraFeedback's overall_score turned some 1s into 10s (argilla/ultrafeedback-binarized-preferences), so it comes last
DISTILABEL_ASKS = ("instruction", "prompt", "input")
RatedSides = tuple[list[Message], list[Message], list[Message], dict[str, object]]  # prompt, best, worst, `meta`
SCORES = ("score", "fine-grained_score", "overall_score")


class ScoredAnswer(NamedTuple):
    """One answer with its score and, where known, the model that wrote it."""

    messages: list[Message]
    score: float
    model: str | None


def ultrafeedback_sides(row: Mapping[str, object]) -> RatedSides:
    """Prompt, best and worst answer, and their scores and models, of `instruction` and `completions`."""
    prompt = row.get("prompt", row.get("instruction"))
    messages = say("user", prompt) if isinstance(prompt, str) else messages_of(prompt, "prompt")
    items = _items(row["completions"])
    name = next((name for name in SCORES if items and items[0].get(name) is not None), "score")
    answers = []
    for number, item in enumerate(items):
        place = f"completions[{number}]"
        text = item.get("response")
        if not isinstance(text, str):
            raise BadRow(f"{place}.response is {kind_of(text)}, not text")
        model = item.get("model") if isinstance(item.get("model"), str) else None
        answers.append(ScoredAnswer(say("assistant", text), number_of(item.get(name), f"{place}.{name}"), model))
    return (messages, *_best_and_worst(answers))


def gemini_sides(row: Mapping[str, object]) -> RatedSides:
    """The same of Gemini's `contents`, `systemInstruction` and `completions[].completion`."""
    system = row.get("systemInstruction") or row.get("system_instruction")
    prompt = [_content(system, "systemInstruction", "system")] if system else []
    contents = row["contents"]
    if not isinstance(contents, list) or not contents:
        raise BadRow(f"contents is {'an empty list' if contents == [] else kind_of(contents)}, not a list of turns")
    prompt += [_content(item, f"contents[{number}]") for number, item in enumerate(contents)]
    answers = []
    for number, item in enumerate(_items(row["completions"])):
        place = f"completions[{number}]"
        score = number_of(item.get("score"), f"{place}.score")
        answers.append(
            ScoredAnswer([_content(item.get("completion"), f"{place}.completion", "assistant")], score, None)
        )
    return (prompt, *_best_and_worst(answers))


def distilabel_sides(row: Mapping[str, Any]) -> RatedSides:
    """The same of distilabel's `instruction`, `generations` and `ratings`; answers that nobody rated are left out."""
    name = next((name for name in DISTILABEL_ASKS if row.get(name)), "instruction")
    prompt, texts = row.get(name), row["generations"]
    marks = row["ratings"] if "ratings" in row else row["rating"]
    models = row.get("generation_models") or []
    for column, value in (("generations", texts), ("ratings", marks)):
        if not isinstance(value, list):
            raise BadRow(f"{column} is {kind_of(value)}, not a list")
    if len(texts) != len(marks):
        raise BadRow(f"{len(texts)} generations have {len(marks)} ratings")
    answers = []
    for number, (text, mark) in enumerate(zip(texts, marks, strict=True)):
        if text is None or mark is None:
            continue
        if not isinstance(text, str):
            raise BadRow(f"generations[{number}] is {kind_of(text)}, not text")
        model = models[number] if isinstance(models, list) and len(models) == len(texts) else None
        score = number_of(mark, f"ratings[{number}]")
        answers.append(ScoredAnswer(say("assistant", text), score, model if isinstance(model, str) else None))
    if len(answers) < 2:
        raise BadRow(f"generations holds {len(answers)} rated answers: a pair needs two")
    messages = say("user", prompt) if isinstance(prompt, str) else messages_of(prompt, name)
    return (messages, *_best_and_worst(answers))


def number_of(value: object, place: str) -> float:
    """A finite number. Raises BadRow: text, NaN and numbers past float64 are none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadRow(f"{place} is {kind_of(value)}, not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise BadRow(f"{place} is no finite number")
    return number


def _items(value: object) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise BadRow(f"completions is {kind_of(value)}, not a list of scored answers")
    if len(value) < 2:
        raise BadRow(f"completions holds {len(value)} answers: a pair needs two")
    return value


def _content(item: object, place: str, role: str | None = None) -> Message:
    """One of Gemini's turns: `{"role": "user" | "model", "parts": [{"text"}]}`."""
    if not isinstance(item, Mapping) or not isinstance(item.get("parts"), list) or not item["parts"]:
        raise BadRow(f"{place} is not a turn: it needs role and parts")
    roles = {"user": "user", "model": "assistant", "system": "system"}
    given = item.get("role", "user")
    if role is None and (not isinstance(given, str) or given not in roles):
        raise BadRow(f"{place} has unknown role {str(given)[:40]!r}; known are user, model")
    if role == "assistant" and given not in ("model", "user"):
        raise BadRow(f"{place} has role {str(given)[:40]!r}: an answer is the model's")
    for part in item["parts"]:
        other = [] if not isinstance(part, Mapping) else [k for k, v in part.items() if k != "text" and v is not None]
        if other or not isinstance(part, Mapping) or not isinstance(part.get("text"), str):
            raise BadRow(f"{place} holds {', '.join(map(str, other))[:80] or 'no text'}: only text can be trained on")
    return {"role": role or roles[given], "content": "".join(part["text"] for part in item["parts"])}


def _best_and_worst(answers: list[ScoredAnswer]) -> tuple[list[Message], list[Message], dict[str, object]]:
    best, worst = max(answers, key=lambda a: a.score), min(answers, key=lambda a: a.score)
    if best.score == worst.score:
        raise BadRow(f"all {len(answers)} answers have the same score: none is better")
    meta: dict[str, object] = {"chosen_score": best.score, "rejected_score": worst.score, "answers": len(answers)}
    if best.model and worst.model:
        meta |= {"chosen_model": best.model, "rejected_model": worst.model}
    return best.messages, worst.messages, meta
