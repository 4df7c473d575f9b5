"""Each of many answers is its own, however they are batched, asked for or interrupted, and none costs a row more."""

import json
import os
import random

import pytest
import torch

from dpo_core.errors import InputError
from dpo_core.model.answers import trial
from dpo_core.model.answers.answers import answers, texts
from dpo_core.model.answers.decoding import Decoding, Effort
from dpo_core.model.encode import encode_prompt, load_tokenizer
from dpo_core.model.load import load_model
from dpo_core.model.stops import stop_tokens
from tests.dpo_core.model.answers.test_sampling import LIMIT, unlikeliness
from tests.tiny import build_saying, build_tiny_model

SYSTEM = {"role": "system", "content": "Answer in a word."}
WORDS = ["name", "sea", "blue", "Athene", "answer", "what", "is", "my", "system", "?"]
SAMPLED = Decoding(10, temperature=1.0, seed=3)


def asking(count):
    """Prompts of many lengths, every third with a system prompt, one asked twice."""
    draw = random.Random(0)
    prompts = []
    for number in range(count - 1):
        text = " ".join(draw.choices(WORDS, k=draw.choice([1, 2, 5, 12])))
        prompts.append([SYSTEM] * (number % 3 == 0) + [{"role": "user", "content": text}])
    return [*prompts, prompts[0]]


PROMPTS = asking(10)
SAMPLES = 3


@pytest.fixture(scope="module")
def tiny(tiny_model):
    return load_model(tiny_model), load_tokenizer(tiny_model)


def made(tiny, prompts=PROMPTS, decoding=SAMPLED, samples=SAMPLES, **options):
    found = list(answers(*tiny, prompts, decoding=decoding, samples=samples, **options))
    assert len({answer[:2] for answer in found}) == len(found)
    return {answer[:2]: answer for answer in found}


@pytest.fixture(scope="module")
def expected(tiny):
    return made(tiny)


def same(found, expected):
    """But for rounding: a place that is told to be close may differ, and what follows it; it is rare."""
    assert set(found) == set(expected)
    off = [key for key in found if found[key][2:6] != expected[key][2:6]]
    for key in off:
        assert first_difference(found[key].ids, expected[key].ids) in found[key].close, key
    return len(off) <= len(found) // 20


def first_difference(one, other):
    """The place of the first token that differs; the end counts as one."""
    pairs = zip([*one, None], [*other, None], strict=False)
    return next(place for place, (ours, theirs) in enumerate(pairs) if ours != theirs)


def test_every_sample_of_every_prompt_is_made_once_and_samples_differ(expected):
    assert set(expected) == {(prompt, sample) for prompt in range(len(PROMPTS)) for sample in range(SAMPLES)}
    assert len({answer.ids for answer in expected.values()}) == (len(PROMPTS) - 1) * SAMPLES
    for sample in range(SAMPLES):  # the prompt that was asked twice
        assert expected[0, sample][1:] == expected[len(PROMPTS) - 1, sample][1:]


@pytest.mark.parametrize("width", [1, 7, 64])
def test_the_width_changes_no_answer(tiny, expected, width):
    assert same(made(tiny, width=width), expected)


def test_nor_does_the_order_of_the_prompts(tiny, expected):
    order = random.Random(1).sample(range(len(PROMPTS)), len(PROMPTS))
    found = made(tiny, [PROMPTS[i] for i in order])
    assert same({(order[prompt], sample): answer for (prompt, sample), answer in found.items()}, expected)


def test_nor_what_else_is_asked_for(tiny, expected):
    keys = random.Random(2).sample(sorted(expected), len(expected))
    half = len(keys) // 2
    first, second = made(tiny, wanted=keys[:half]), made(tiny, wanted=set(keys[half:]))
    assert (set(first), set(second)) == (set(keys[:half]), set(keys[half:]))
    assert same(first | second, expected)
    assert same({key: answer for key, answer in made(tiny, samples=9).items() if key[1] < SAMPLES}, expected)


def test_nor_that_somebody_stops_listening_and_asks_for_the_rest(tiny, expected):
    begun = answers(*tiny, PROMPTS, decoding=SAMPLED, samples=SAMPLES)
    first = {answer[:2]: answer for answer, _ in zip(begun, range(10), strict=False)}
    begun.close()
    assert len(first) == 10
    assert same(first | made(tiny, wanted=set(expected) - set(first)), expected)


def test_nor_another_process_or_a_model_loaded_anew(tiny_model, expected, tmp_path):
    if (child := os.fork()) == 0:
        code = 1
        try:
            again = made((load_model(tiny_model), load_tokenizer(tiny_model)), width=5)
            (tmp_path / "found.json").write_text(json.dumps([[*key, answer.ids] for key, answer in again.items()]))
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    rows = json.loads((tmp_path / "found.json").read_text())
    off = [row for row in rows if tuple(row[2]) != expected[row[0], row[1]].ids]
    assert len(rows) == len(expected)
    assert all(expected[row[0], row[1]].close for row in off)
    assert len(off) <= 2


def test_another_seed_gives_other_answers(tiny, expected):
    other = made(tiny, decoding=Decoding(10, temperature=1.0, seed=4))
    assert not {answer.ids for answer in other.values()} & {answer.ids for answer in expected.values()}


def test_rounding_that_widths_differ_by_changes_answers_first_where_they_are_close(tiny):
    """Logits nearly equal, and off by up to a third of CLOSE: far more than rounding is here, so that it is seen."""
    head, draw = tiny[0].get_output_embeddings(), torch.Generator()

    def with_rounding(size, width):
        def rounding(module, inputs, output):
            return -0.03 * output + size * (2 * torch.rand(output.shape, generator=draw) - 1)

        hook = head.register_forward_hook(rounding)
        try:
            return made(tiny, asking(20), Decoding(16), samples=1, width=width)
        finally:
            hook.remove()

    exact, *found = with_rounding(0, 64), with_rounding(3e-5, 7), with_rounding(3e-5, 64)
    off = [(one[key], exact[key]) for one in found for key in exact if one[key].ids != exact[key].ids]
    assert 0 < len(off) < len(found) * len(exact)
    for one, other in off:
        assert first_difference(one.ids, other.ids) in {*one.close} & {*other.close}


def test_the_first_token_of_an_answer_is_drawn_by_the_models_own_odds(tiny):
    model, tokenizer = tiny
    prompt = PROMPTS[1]
    with torch.no_grad():
        logits = model(torch.tensor([list(encode_prompt(prompt, tokenizer))])).logits[0, -1]
    stop = len(logits)  # an answer that ended at once has no token: one of the ends, whichever
    found = made(tiny, [prompt], Decoding(1, temperature=0.5), samples=3000)
    counts = torch.bincount(torch.tensor([[*answer.ids, stop][0] for answer in found.values()]), minlength=stop + 1)
    law = torch.cat([(logits.double() / 0.5).softmax(-1), torch.zeros(1)])
    ends = stop_tokens(model.generation_config.eos_token_id, tokenizer)
    law[stop] = law[ends].sum()
    law[ends] = 0
    assert unlikeliness(counts.double(), law) > LIMIT


@pytest.mark.parametrize("width", [3, 64])
@pytest.mark.parametrize("how", [Decoding(10), SAMPLED, Decoding(1, temperature=1.0)])
def test_no_row_is_decoded_for_nothing(tiny, width, how):
    """Of every answer the first token comes with its prompt, each other one with a row of its own."""
    counts = Effort()
    found = list(answers(*tiny, PROMPTS, decoding=how, samples=SAMPLES, width=width, counts=counts))
    different = [answer for answer in found if answer.prompt != len(PROMPTS) - 1]  # one prompt was asked twice
    assert counts.prompts == len(PROMPTS) - 1
    assert counts.tokens == sum(answer.tokens + answer.ended for answer in different)
    assert counts.decoded == counts.tokens - len(different)
    longest = max(answer.tokens + answer.ended for answer in found)
    assert max(longest - 1, counts.decoded / width) <= counts.steps <= counts.decoded / min(width, 5) + longest
    assert counts.close == sum(len(answer.close) for answer in different)


def test_a_beginning_that_prompts_share_is_computed_once(tiny):
    counts = Effort()
    prompts = [[SYSTEM, {"role": "user", "content": word}] for word in WORDS]
    made(tiny, prompts, counts=counts)
    lengths = [len(encode_prompt(prompt, tiny[1])) for prompt in prompts]
    assert counts.prompts == len(WORDS)
    assert counts.prompt_tokens < 0.7 * sum(lengths)


def test_little_memory_narrows_the_width_and_changes_no_answer(tiny, expected):
    config = tiny[0].config
    a_token = 2 * 4 * config.num_hidden_layers * config.hidden_size // 2  # fp32 keys and values, half the heads
    most = max(len(encode_prompt(prompt, tiny[1])) for prompt in PROMPTS) + SAMPLED.max_new_tokens
    steps = []
    for rows in (0, 2, 1000):
        counts = Effort()
        assert same(made(tiny, memory=rows * most * a_token, counts=counts), expected)
        assert counts.decoded == counts.tokens - (len(PROMPTS) - 1) * SAMPLES
        steps.append(counts.steps)
    assert steps[0] == counts.decoded  # one at a time: a row is made even where the memory is for none
    assert steps[0] > 1.5 * steps[1] > 3 * steps[2]


def test_an_answer_ends_at_a_stop_token_at_its_limit_or_at_the_end_of_the_context(tmp_path):
    folder = build_saying(tmp_path / "model", "yes", "BoW")
    asked = [[{"role": "user", "content": "?"}]]
    found = [
        made((load_model(folder), load_tokenizer(folder)), asked, Decoding(most), 1)[0, 0] for most in (2, 3, 4, 9)
    ]
    assert [(answer.text, answer.tokens, answer.ended) for answer in found] == [
        *(("ye", 2, False), ("yes", 3, False)),
        *(("yes", 3, True), ("yes", 3, True)),
    ]
    short = build_tiny_model(tmp_path / "short", max_positions=40)
    model, tokenizer = load_model(short), load_tokenizer(short)
    room = 40 - len(encode_prompt(asked[0], tokenizer))
    found = made((model, tokenizer), asked, Decoding(100), 1)[0, 0]
    assert (found.tokens, found.ended) == (room, False)


def test_a_prompt_that_leaves_no_room_is_an_error_before_anything_is_computed_or_told_and_left_out(tmp_path):
    folder = build_tiny_model(tmp_path / "model", max_positions=64)
    tiny = load_model(folder), load_tokenizer(folder)
    prompts = [PROMPTS[1], [{"role": "user", "content": "sea " * 80}], PROMPTS[2]]
    counts = Effort()
    with pytest.raises(InputError, match="64") as caught:
        answers(*tiny, prompts, decoding=SAMPLED, counts=counts)  # not even asked for the first answer
    assert (caught.value.where, counts) == ("prompt 2 of 3", Effort())
    told = []
    found = made(tiny, prompts, samples=2, refuse=lambda number, error: told.append((number, error.where)))
    assert told == [(1, "prompt 2 of 3")]
    assert set(found) == {(0, 0), (0, 1), (2, 0), (2, 1)}


def test_a_model_whose_scores_are_no_numbers_gives_an_error_and_not_an_answer(tiny_model):
    model, tokenizer = load_model(tiny_model), load_tokenizer(tiny_model)
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")
    for how in (Decoding(4), SAMPLED):
        with pytest.raises(InputError, match="NaN or infinite"):
            made((model, tokenizer), decoding=how)


def test_between_two_answers_the_model_is_as_it_was(tiny):
    model, tokenizer = tiny
    ids = torch.tensor([list(encode_prompt(PROMPTS[1], tokenizer))])
    before, attention = model(ids).logits, model.config._attn_implementation
    for answer in answers(model, tokenizer, PROMPTS[:3], decoding=SAMPLED, samples=2):
        assert torch.equal(model(ids).logits, before), answer
        assert model.config._attn_implementation == attention
    assert model.config._attn_implementation == attention


def test_a_model_is_tried_once_as_a_turn_of_a_chat_would_wait_for_it(tiny, monkeypatch):
    assert trial.obstacle(tiny[0]) == ""
    monkeypatch.setattr(trial, "_in_slots", lambda model: pytest.fail("tried again"))
    assert trial.obstacle(tiny[0]) == ""


def test_texts_are_in_the_order_of_their_prompts(tiny):
    found = texts(*tiny, PROMPTS, max_new_tokens=6)
    likeliest = made(tiny, decoding=Decoding(6), samples=1)
    assert found == [likeliest[number, 0].text for number in range(len(PROMPTS))]


def test_nothing_asked_is_nothing_made(tiny):
    assert made(tiny, []) == made(tiny, wanted=()) == {}
