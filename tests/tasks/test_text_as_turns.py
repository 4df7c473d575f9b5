"""Plain text on a model with a chat template: warned, and what the warning says to write helps."""

import json

import pytest

from dpo_core.data.pairs import with_ids
from dpo_core.errors import InputError
from dpo_core.model.encode import load_tokenizer
from dpo_core.recipe import Encoding, Validation
from infra.settings import load_settings
from tasks.data_check.pipeline import examine_request
from tasks.data_check.request import Request
from tests.dpo_core.quality.quality_data import null_texts
from tests.tiny import build_tiny_model


@pytest.fixture
def examine(tmp_path):
    """Examine pairs of chance that are text, with the tiny model's tokenizer."""

    def examine_it(text="plain", *, prompt=True):
        texts = null_texts(0, 40)
        rows = [{"prompt": f"question {i}?", "chosen": a, "rejected": b} for i, (a, b) in enumerate(texts)]
        if not prompt:
            rows = [{"chosen": f"say {i} {a}", "rejected": f"say {i} {b}"} for i, (a, b) in enumerate(texts)]
        path, folder = tmp_path / "pairs.jsonl", tmp_path / text
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        folder.mkdir()
        model = str(build_tiny_model(tmp_path / "model"))
        settings = load_settings().model_copy(update={"num_threads": 1, "home": tmp_path})
        request = Request(str(path), None, Validation(), Encoding(), model, split=False, text=text)
        return examine_request(request, folder, settings), load_tokenizer(model)

    return examine_it


def test_text_is_warned_of_and_the_warnings_key_makes_turns_of_it(examine):
    plain, tokenizer = examine()
    (finding,) = [f for f in plain.findings if f.check == "structure/without_turns"]
    assert finding.severity == "warn"
    assert finding.says.startswith("40 pairs are plain text, and the model has a chat template")
    assert "data.text: turns" in finding.says
    assert plain.result.verdict != "pass"

    turns, _ = examine("turns")
    assert not [f for f in turns.findings if f.check == "structure/without_turns"]
    (row,) = with_ids(turns.spool.pairs([3]), [next(turns.ids.parts()).lines()[3]])
    chat = [{"role": "user", "content": "question 3?"}, {"role": "assistant", "content": row.pair.chosen[0]["content"]}]
    whole = tokenizer.apply_chat_template(chat, return_dict=False)
    assert [*row.prompt_ids, *row.chosen_ids] == whole[:-1]  # the line break after the end of turn is not trained on


def test_texts_without_a_prompt_are_no_turns(examine):
    with pytest.raises(InputError, match="where it ends in their texts is not known"):
        examine("turns", prompt=False)
