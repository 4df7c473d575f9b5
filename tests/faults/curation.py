"""One life of `dpo curate`: the command as it is, which notes each answer that is drawn, and each that is stored."""

import os
import sys
from pathlib import Path

TRACE = "CURATION_TRACE"


def main() -> None:
    from flows.cli.app import main as dpo
    from tasks.curate import answer_store, answerers

    path = Path(os.environ[TRACE])
    draw, append = answerers.OnThisMachine.draw, answer_store.AnswerStore._append

    def note(what: str, key: str, sample: int) -> None:
        with path.open("a") as file:
            file.write(f"{what} {key} {sample}\n")

    def noted_draw(self, items, missing):
        for answer in draw(self, items, missing):
            note("drawn", answer.prompt, answer.sample)
            yield answer

    def noted_append(self, answers):
        append(self, answers)
        for answer in answers:
            note("stored", answer.prompt, answer.sample)

    answerers.OnThisMachine.draw, answer_store.AnswerStore._append = noted_draw, noted_append
    sys.argv[0] = "dpo"
    dpo()


if __name__ == "__main__":
    main()
