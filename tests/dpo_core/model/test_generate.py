"""Where answers end, and that nothing in a model's folder decides how they are made."""

import json

import pytest

from dpo_core.errors import InputError
from dpo_core.model.answers.answers import texts
from dpo_core.model.encode import load_tokenizer
from dpo_core.model.load import load_model
from dpo_core.model.stops import named_ends, stop_tokens
from dpo_core.recipe import Training
from dpo_core.train.policy import make_policy, save_policy
from tests.tiny import build_saying, build_tiny_model

QUESTION = [[{"role": "user", "content": "Who made you?"}]]


def answer(folder, most=24):
    return texts(load_model(folder), load_tokenizer(folder), QUESTION, max_new_tokens=most)[0]


def stops(folder):
    return load_tokenizer(folder).convert_ids_to_tokens(stop_tokens(named_ends(folder), load_tokenizer(folder)))


@pytest.mark.parametrize("special", [True, False])
def test_an_answer_ends_where_the_turn_ends_though_the_tokenizers_eos_is_another_token(tmp_path, special):
    folder = build_saying(tmp_path / "model", "yes", "BoW", special=special)
    assert answer(folder) == "yes"
    assert stops(folder) == ["<|endoftext|>", "<|im_end|>"]


def test_an_end_that_only_the_models_files_name_is_one(tmp_path):
    folder = build_saying(tmp_path / "model", "yes,Bo")
    comma = load_tokenizer(folder).convert_tokens_to_ids(",")
    write(folder, eos_token_id=[comma])
    assert answer(folder) == "yes"
    (folder / "generation_config.json").unlink()
    assert answer(folder) == "yes,Bo"
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "eos_token_id": comma}))
    assert answer(folder) == "yes"


def test_a_model_without_a_template_ends_with_its_text(tmp_path):
    folder = build_saying(tmp_path / "model", "yes")
    (folder / "chat_template.jinja").unlink()
    assert stops(folder) == ["<|endoftext|>"]


def write(folder, **values):
    (folder / "generation_config.json").write_text(json.dumps(values))


HOSTILE = {
    "num_beams": 4,
    "num_return_sequences": 3,
    "do_sample": True,
    "temperature": 5.0,
    "top_k": 1000,
    "repetition_penalty": 9.0,
    "no_repeat_ngram_size": 1,
    "suppress_tokens": [*range(60, 200)],
    "begin_suppress_tokens": [*range(60, 300)],
    "bad_words_ids": [[70], [71], [72]],
    "sequence_bias": [[[80], 50.0]],
    "forced_bos_token_id": 77,
    "forced_eos_token_id": 78,
    "exponential_decay_length_penalty": [1, 9.0],
    "min_length": 20,
    "min_new_tokens": 20,
    "max_length": 3,
    "max_time": 1e-9,
    "stop_strings": ["a", "e"],
    "use_cache": False,
    "cache_implementation": "static",
    "prompt_lookup_num_tokens": 4,
    "guidance_scale": 3.0,
    "watermarking_config": {"bias": 50.0, "seeding_scheme": "lefthash"},
    "return_dict_in_generate": True,
    "output_scores": True,
    "typical_p": 0.1,
    "renormalize_logits": True,
    "token_healing": True,
    "custom_entry": 3,
}


@pytest.fixture(scope="module")
def unchanged(tiny_model):
    return answer(tiny_model)


@pytest.mark.parametrize(
    "knobs", [HOSTILE, *({name: value} for name, value in HOSTILE.items())], ids=lambda knobs: next(iter(knobs))
)
def test_no_setting_of_the_folder_changes_an_answer(tmp_path, unchanged, knobs):
    folder = build_tiny_model(tmp_path / "model")
    ends = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
    write(folder, eos_token_id=ends, **knobs)
    assert answer(folder) == unchanged


@pytest.mark.parametrize(
    "wrong", ["{", "[]", '{"eos_token_id": "</s>"}', '{"eos_token_id": [-1]}', '{"eos_token_id": true}']
)
def test_ends_that_cannot_be_read_are_refused_by_file(tmp_path, wrong):
    folder = build_tiny_model(tmp_path / "model")
    (folder / "generation_config.json").write_text(wrong)
    with pytest.raises(InputError) as caught:
        load_model(folder)
    assert caught.value.where.endswith("generation_config.json")
    (folder / "generation_config.json").unlink()
    load_model(folder)


def test_a_saved_model_keeps_its_authors_advice_and_names_every_end(tmp_path):
    base = build_saying(tmp_path / "model", "yes", "BoW", do_sample=False, temperature=0.6, top_p=0.9)
    model = load_model(base)
    model.generation_config.eos_token_id = stop_tokens(named_ends(base), load_tokenizer(base))
    save_policy(make_policy(model, Training(), seed=0), base, tmp_path / "out")
    saved = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert (saved["temperature"], saved["top_p"]) == (0.6, 0.9)
    assert saved["eos_token_id"] == named_ends(tmp_path / "out") == stop_tokens(named_ends(base), load_tokenizer(base))
    assert answer(tmp_path / "out") == "yes"
