"""Every kind of attention answers as transformers' own `generate` does, in slots, or by `generate` itself."""

import pytest
import torch

from dpo_core.model.answers.answers import answers, reply
from dpo_core.model.answers.decoding import Decoding, Effort, plain_decoding
from dpo_core.model.answers.trial import obstacle
from dpo_core.model.encode import encode_prompt
from dpo_core.model.stops import stop_tokens
from tests.dpo_core.model.answers.test_answers import first_difference, same
from tests.dpo_core.model.test_families import OWN_HEAD, PADDED, SHARED, build
from tests.tiny import build_tiny_tokenizer

TOKENIZER = build_tiny_tokenizer()
PROMPTS = [
    *(
        [{"role": "system", "content": "sea"}, {"role": "user", "content": "What is blue?" + tail}]
        for tail in ("", "!")
    ),
    *([{"role": "user", "content": text}] for text in ("?", "My name is Athene. What is the name of the sea?")),
]
TOKENS = 12
SLOTS = [
    *("llama", "mistral", "qwen3", "gemma2", "gemma3_text", "gpt2", "opt", "gpt_oss", "deepseek_v3", "cohere2"),
    *("granite", "smollm3", "modernbert-decoder"),
]
BY_GENERATE = ["mamba2", "falcon", "bloom", "lfm2", "llama4_text"]


def family_model(family):
    return build(family, {**SHARED, **OWN_HEAD, **PADDED}[family] | {"vocab_size": len(TOKENIZER)})


def made(model, decoding, **options):
    found = answers(model, TOKENIZER, PROMPTS, decoding=decoding, **options)
    return {answer[:2]: answer for answer in found}


def generated(model, prompt):
    ids = torch.tensor([list(encode_prompt(prompt, TOKENIZER))])
    stops = stop_tokens(model.generation_config.eos_token_id, TOKENIZER)
    config = plain_decoding(stops, TOKENIZER.pad_token_id, TOKENS)
    row = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)[0]
    return row[ids.shape[1] :].tolist()


@pytest.mark.parametrize("family", [*SLOTS, *BY_GENERATE])
@pytest.mark.filterwarnings("ignore")
def test_a_familys_likeliest_answers_are_those_of_generate_and_samples_do_not_depend_on_the_width(family):
    model = family_model(family)
    assert (obstacle(model) == "") == (family in SLOTS), obstacle(model)
    stops = stop_tokens(model.generation_config.eos_token_id, TOKENIZER)
    counts = Effort()
    likeliest = made(model, Decoding(TOKENS), width=3, counts=counts)
    for number, prompt in enumerate(PROMPTS):
        expected, found = generated(model, prompt), likeliest[number, 0]
        ids = expected[:-1] if expected[-1] in stops else expected
        assert list(found.ids) == ids or first_difference(found.ids, ids) in found.close
    if family in SLOTS:
        assert counts.decoded == counts.tokens - len(PROMPTS)
    how = Decoding(TOKENS, temperature=1.0, top_p=0.9)
    one, other = (made(model, how, samples=2, width=width) for width in (3, 64))
    assert same(one, other)
    assert len({answer.ids for answer in one.values()}) == 2 * len(PROMPTS)
    for decoding, among in ((Decoding(TOKENS), likeliest), (how, one)):
        told: list[int] = []
        alone = reply(model, TOKENIZER, PROMPTS[0], decoding=decoding, tell=told.append)
        assert tuple(told) == alone.ids
        assert same({(0, 0): alone}, {(0, 0): among[0, 0]})
