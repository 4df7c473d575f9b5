"""What a model answers to the questions of this example where it strays into another language.

`python examples/multilingual/own.py MODEL` writes own.jsonl: the first whole sentences of such answers.
"""

import json
import sys
from pathlib import Path

from dpo_core.data.messages import say
from dpo_core.model.answers.answers import texts
from dpo_core.model.encode import load_tokenizer
from dpo_core.model.load import load_model
from dpo_core.quality.text.language import LANGUAGES, languages
from dpo_core.quality.text.refusals import sentences
from dpo_core.quality.words import TextArray, count_words
from infra.settings import load_settings
from tasks.runtime.models import local_model

HERE = Path(__file__).parent
ENOUGH, LEAST, MOST = 8, 4, 32  # words


def beginning(answer: str) -> str:
    """Its first whole sentences, until they have words enough; nothing where it has none."""
    kept = ""
    for sentence in sentences(answer):
        if not sentence.strip().endswith((".", "!", "?")) or count_words(kept) >= ENOUGH:
            break
        kept = f"{kept} {sentence.strip()}".strip()
    return kept if LEAST <= count_words(kept) <= MOST else ""


if __name__ == "__main__":
    folder = local_model(sys.argv[1], load_settings().home)
    rows = [json.loads(line) for line in (HERE / "texts.jsonl").read_text(encoding="utf-8").splitlines()]
    prompts = [say("user", row["question"]) for row in rows]
    answers = texts(load_model(folder), load_tokenizer(folder), prompts, max_new_tokens=48)
    said = [beginning(answer) for answer in answers]
    told = [LANGUAGES[number] for number in languages(TextArray.of(said)).tolist()]  # clearly so, by function words
    with (HERE / "own.jsonl").open("w", encoding="utf-8") as file:
        for row, answer, language in zip(rows, said, told, strict=True):
            if answer and language not in ("unknown", row["language"]):
                kept = {"language": row["language"], "question": row["question"], "answer": answer}
                file.write(json.dumps(kept, ensure_ascii=False) + "\n")
