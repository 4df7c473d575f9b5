"""Plain text on a model with a chat template: warned, and what the warning says to write helps."""

import json

import pytest

from dpo_core.data.pairs import with_ids
from dpo_core.errors import InputError
from dpo_core.model.encode import load_tokenizer
from dpo_core.recipe import Encoding, Validation
from dpo_core.recipe_file import recipe_of_evaluation, recipe_of_pairs
from infra.settings import load_settings
from tasks.commands.check_pairs import check_only
from tasks.commands.evaluate_model import evaluate_model
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


def test_an_evaluation_warns_too_and_the_override_that_it_names_makes_turns_of_it(tmp_path, tiny_model, caplog):
    texts = null_texts(0, 4)
    plain = [{"prompt": f"question {i}?", "chosen": a, "rejected": b} for i, (a, b) in enumerate(texts)]
    roles = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
    chat = [{key: [{"role": roles[key], "content": text}] for key, text in row.items()} for row in plain]
    for name, rows in {"plain": plain, "chat": chat}.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def logps(name, *overrides):
        rules = recipe_of_evaluation(str(tiny_model), str(tmp_path / f"{name}.jsonl"), overrides)
        metrics = evaluate_model.fn(rules, None, 0.1).metrics
        return metrics["logps/chosen"].value, metrics["logps/rejected"].value

    as_text = logps("plain")
    (told,) = [record.getMessage() for record in caplog.records if "plain_text" in record.getMessage()]
    assert "pairs=4" in told
    caplog.clear()
    override = told.partition("--set ")[2].split()[0]
    assert logps("plain", override) == logps("chat") != as_text
    assert "plain_text" not in caplog.text


def test_an_evaluation_refuses_keys_that_it_does_not_read():
    with pytest.raises(InputError, match="no such key") as caught:
        recipe_of_evaluation("model", "pairs.jsonl", ["training.beta=1"])
    assert "set data.text, trust_remote_code or keys of encoding" in caught.value.do
    assert recipe_of_evaluation("model", "pairs.jsonl", ["encoding.max_length=64"]).encoding.max_length == 64


def test_a_check_of_bare_pairs_takes_the_key_that_its_warning_names(tmp_path, tiny_model):
    rows = [{"prompt": f"question {i}?", "chosen": a, "rejected": b} for i, (a, b) in enumerate(null_texts(0, 40))]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def findings(*overrides):
        rules = recipe_of_pairs(str(path), None, str(tiny_model), [], overrides)
        settings = load_settings().model_copy(update={"num_threads": 1, "home": tmp_path})
        document = check_only(rules, tmp_path / "report", settings, model=str(tiny_model))
        return [finding.check for finding in document.findings]

    assert "structure/without_turns" in findings()
    assert "structure/without_turns" not in findings("data.text=turns")


def test_texts_without_a_prompt_are_no_turns(examine):
    with pytest.raises(InputError, match="where it ends in their texts is not known"):
        examine("turns", prompt=False)
