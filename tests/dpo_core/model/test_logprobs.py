import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dpo_core.model.answers.answers import texts
from dpo_core.model.encode import encode_prompt, load_tokenizer
from dpo_core.model.head import Head, _tiles, pairs_loss
from dpo_core.model.identity import digest_model, digest_weights
from dpo_core.model.layout import first_fit_decreasing, lay_out, row_tokens, sequence_sums
from dpo_core.model.load import load_model
from dpo_core.model.logprobs import Method, Scorer
from dpo_core.model.modes import scoring
from dpo_core.model.reference import pack_index, pack_shard, response_keys, shard_keys, unpack_index, unpack_shard
from dpo_core.model.score import rows_of, score
from tests.tiny import build_tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_tiny_model(tmp_path_factory.mktemp("model"))


SEQUENCES = [((5, 6, 7, 8), (9, 10, 2)), ((5,), (11, 2)), (tuple(range(20, 60)), tuple(range(60, 75)))]


def alone(model, prompt, response):
    """Plain transformers, one sequence at a time, log-softmax over the whole vocabulary."""
    ids = torch.tensor([[*prompt, *response]])
    logps = model(ids).logits.log_softmax(-1)[0]
    return [logps[len(prompt) - 1 + i, token].item() for i, token in enumerate(response)]


def test_batched_log_probs_are_those_of_each_sequence_alone(folder):
    model = load_model(folder)
    found = dict(score(model, SEQUENCES))
    for i, (prompt, response) in enumerate(SEQUENCES):
        assert found[i].tolist() == pytest.approx(alone(model, prompt, response), abs=1e-5)


@pytest.mark.parametrize("mode", ["shared", "packed", "padded"])
@pytest.mark.parametrize("tiled", [True, False])
def test_neither_packing_nor_a_shared_prompt_nor_our_head_changes_anything_in_fp64(folder, mode, tiled):
    if tiled and mode == "padded":
        pytest.skip("the padded path uses the model's own head")
    model = load_model(folder).double()
    sequences = [*SEQUENCES, (SEQUENCES[2][0], (80, 81, 82, 2)), (SEQUENCES[0][0], (2,))]
    layout = lay_out(sequences, share=mode == "shared")
    # 89 prompt tokens, 45 of them again (44 in equal prompts, and two prompts begin with 5), and 20 inputs of responses
    assert (
        layout.input_ids.shape[1] == row_tokens(sequences, share=mode == "shared") == (64 if mode == "shared" else 109)
    )
    values = logps_of(model, layout, Method(mode, head=tiled))
    for i, (prompt, response) in enumerate(sequences):
        assert values[layout.owner == i].tolist() == pytest.approx(alone(model, prompt, response), abs=1e-9)


def logps_of(model, layout, method):
    from contextlib import nullcontext

    from dpo_core.model.attention import segment_attention

    output = model.get_output_embeddings()
    with nullcontext() if method.mode == "padded" else segment_attention(model), torch.no_grad():
        return Scorer(model, method, Head(output.weight) if method.head else None)(layout)[1]


def test_a_layout_counts_a_shared_prompt_once_and_its_last_row_for_each_response():
    layout = lay_out([((5, 6, 7), (8, 9)), ((5, 6, 7), (10, 11, 12)), ((4,), (13,))], share=True)
    # the longer answer rides with its prompt; no answer's last token is an input
    assert layout.input_ids.tolist() == [[4, 5, 6, 7, 10, 11, 8]]
    assert layout.position_ids.tolist() == [[0, 0, 1, 2, 3, 4, 3]]
    assert layout.head_rows.tolist() == [3, 6, 3, 4, 5, 0]
    assert layout.targets.tolist() == [8, 9, 10, 11, 12, 13]
    assert [tuple(segment) for segment in layout.segments] == [(0, 1, ()), (1, 6, ()), (6, 7, ((1, 4),))]


def test_a_system_prompt_that_texts_begin_with_is_there_once():
    system = tuple(range(100, 120))
    texts = [((*system, 5, 6), (8, 9)), ((*system, 7), (10, 11)), ((*system, 5, 6), (12,))]
    layout = lay_out(texts, share=True)
    # 20 tokens of the system prompt once, then the end of each of two prompts with its longest answer's first token;
    # the third answer has one token, which is no input
    assert layout.input_ids.tolist() == [[*system, 5, 6, 8, 7, 10]]
    assert layout.position_ids.tolist() == [[*range(23), 20, 21]]
    assert [tuple(segment) for segment in layout.segments] == [(0, 23, ()), (23, 25, ((0, 20),))]
    assert layout.head_rows.tolist() == [21, 22, 23, 24, 21]
    assert row_tokens(texts, share=True) == 25


def test_a_beginning_too_short_to_pay_for_its_attention_is_not_shared():
    # 100 tokens of their own against a common beginning of 2: 100 * 100 > 4096 * 2, but 90 * 90 <= 4096 * 2
    def row(own):
        return row_tokens([((1, 2, *range(10, 10 + own)), (3,)), ((1, 2, *range(200, 200 + own)), (4,))], share=True)

    assert row(100) == 204
    assert row(90) == 182


@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(0, 1), min_size=1, max_size=6), st.lists(st.integers(0, 2), min_size=1, max_size=5)
        ),
        min_size=1,
        max_size=8,
    ),
    st.booleans(),
)
def test_every_response_is_read_after_its_own_prompt_at_its_own_positions(sequences, share):
    """The text that a target follows, put together from what its segment sees, is prompt and response up to it."""
    layout = lay_out([(tuple(p), tuple(r)) for p, r in sequences], share=share)
    ids, positions = layout.input_ids[0].tolist(), layout.position_ids[0].tolist()
    homes = {row: s for s in layout.segments for row in range(s.start, s.stop)}
    assert sorted(homes) == list(range(len(ids)))
    assert len(ids) == row_tokens(sequences, share=share)
    expected = [[*p, *r[:i]] for p, r in sequences for i in range(len(r))]
    for row, text in zip(layout.head_rows.tolist(), expected, strict=True):
        s = homes[row]
        rows = [i for start, stop in s.seen for i in range(start, stop)] + list(range(s.start, row + 1))
        assert [ids[i] for i in rows] == text
        assert [positions[i] for i in rows] == list(range(len(text)))
    assert layout.targets.tolist() == [token for _, r in sequences for token in r]


def test_a_model_that_ignores_the_layout_is_found_out_and_gets_the_padded_path(folder, caplog, monkeypatch):
    model = load_model(folder)
    with scoring(model) as scorer:
        assert scorer.method == Method("shared", head=True)
    plain = model.model.forward

    def forgetful(**inputs):  # as a state-space layer would: it sees the row as one text
        inputs.pop("layout", None)
        model.set_attn_implementation("sdpa")
        return plain(**inputs)

    monkeypatch.setattr(model.model, "forward", forgetful)
    with scoring(model) as scorer:
        assert scorer.method.mode == "padded"
    assert "0 of 2 layers used the attention" in caplog.text
    found = dict(score(model, SEQUENCES))
    assert found[0].tolist() == pytest.approx(alone(load_model(folder), *SEQUENCES[0]), abs=1e-5)


@pytest.mark.parametrize("collide", [False, True])
@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("tile", [1, 7, 10**9], ids=["long pairs in pieces", "a pair a tile", "all at once"])
def test_the_heads_gradients_are_those_of_autograd(softcap, tile, collide, monkeypatch):
    """Ours are made in the forward pass; the oracle is log_softmax under autograd, in fp64."""
    from dpo_core.model import head as module

    monkeypatch.setattr(module, "TILE", tile * 11)
    monkeypatch.setattr(module, "KEPT", tile * 11)
    draw = torch.Generator().manual_seed(0)
    lengths = [3, 1, 2, 5, 4, 4]
    tensors = [torch.randn(*shape, dtype=torch.float64, generator=draw) for shape in ((19, 6), (11, 6), (11,))]
    targets = torch.randint(0, 11, (19,), generator=draw)

    def loss(pairs, logps, collisions=None):
        mine = torch.tensor(lengths[2 * pairs.start : 2 * pairs.stop])
        sums = sequence_sums(logps, torch.repeat_interleave(mine), len(mine))
        values = -torch.nn.functional.logsigmoid(0.3 * (sums[::2] - sums[1::2]) + 0.1 * sums[::2])
        if collisions is not None:  # a factor that no gradient goes through, as WPO's weights are
            values = values * sequence_sums(collisions.detach(), torch.repeat_interleave(mine), len(mine))[::2].exp()
        return values.sum()

    ours = [t.clone().requires_grad_() for t in tensors]
    head = Head(ours[1], ours[2], 0.7, softcap)
    total, logps, *_ = pairs_loss(head, ours[0], targets, lengths, loss, collide=collide)
    (2 * total).backward()
    theirs = [t.clone().requires_grad_() for t in tensors]
    z = 0.7 * (theirs[0] @ theirs[1].T + theirs[2])
    z = z if softcap is None else softcap * torch.tanh(z / softcap)
    expected = z.log_softmax(-1)[torch.arange(19), targets]
    collisions = z.softmax(-1).square().sum(-1).log() if collide else None
    (2 * loss(slice(0, 3), expected, collisions)).backward()
    torch.testing.assert_close(logps, expected.detach(), atol=1e-12, rtol=0)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-12, rtol=1e-12)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=20), st.integers(1, 30))
def test_tiles_hold_whole_pairs_in_order_and_no_more_than_fit(sizes, most):
    lengths = [n for size in sizes for n in (size, 1)]
    tiles = list(_tiles(lengths, most))
    assert [i for pairs, _ in tiles for i in range(pairs.start, pairs.stop)] == list(range(len(sizes)))
    assert [i for _, rows in tiles for i in range(rows.start, rows.stop)] == list(range(sum(lengths)))
    assert all(pairs.stop - pairs.start == 1 or rows.stop - rows.start <= most for pairs, rows in tiles)


def test_sums_are_per_sequence_in_fp64():
    sums = sequence_sums(torch.tensor([1.0, 1e-9, 2.0, 3.0]), torch.tensor([0, 0, 1, 1]), 2)
    assert sums.tolist() == [1.0 + float(torch.tensor(1e-9)), 5.0]


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 50)), min_size=1, max_size=30), st.integers(10, 100))
@settings(max_examples=50)
def test_rows_hold_every_sequence_once_within_the_budget(lengths, budget):
    sequences = [((a,) * a, (0,) * b) for a, b in lengths]
    for share in (True, False):
        rows = list(rows_of(sequences, budget, share=share))
        assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
        for row in rows:
            assert len(row) == 1 or row_tokens([sequences[i] for i in row], share=share) <= budget


@given(st.lists(st.integers(1, 60), max_size=40), st.integers(10, 50))
def test_bins_hold_every_item_once_within_the_budget_and_no_two_could_be_one(sizes, budget):
    bins = first_fit_decreasing(sizes, budget)
    assert sorted(i for members in bins for i in members) == list(range(len(sizes)))
    loads = sorted(sum(sizes[i] for i in members) for members in bins)
    assert all(
        load <= budget or len(members) == 1
        for load, members in zip(loads, sorted(bins, key=lambda m: sum(sizes[i] for i in m)), strict=True)
    )
    assert len(loads) < 2 or loads[0] + loads[1] > budget


def test_a_shard_gives_back_what_it_was_given():
    values = {"0a" * 32: torch.tensor([-1.0, -2.5]), "ff" * 32: torch.tensor([-0.1])}
    found = unpack_shard(pack_shard(values))
    assert shard_keys(pack_shard(values)) == list(values)
    assert {key: tensor.tolist() for key, tensor in found.items()} == {key: t.tolist() for key, t in values.items()}


@settings(max_examples=30)
@given(st.dictionaries(st.text(min_size=1, max_size=5), st.lists(st.binary(min_size=32, max_size=32), max_size=4)))
def test_an_index_gives_back_which_shard_holds_which_key(shards):
    named = {name: [key.hex() for key in keys] for name, keys in shards.items()}
    assert unpack_index(pack_index(named)) == named


@given(st.lists(st.integers(0, 9), min_size=1, max_size=4), st.lists(st.integers(0, 9), min_size=1, max_size=4))
def test_moving_a_token_across_the_boundary_changes_the_key(prompt, response):
    path = {"model": "m", "dtype": "float32", "threads": 2, "torch": "2.13.0"}
    key, moved = response_keys(path, [(prompt, response), (prompt + response[:1], response[1:])])
    assert [key] == response_keys(dict(reversed(path.items())), [(prompt, response)])
    assert key != moved
    for changed in ({**path, "model": "n"}, {**path, "dtype": "bfloat16"}, {**path, "threads": 1}):
        assert [key] != response_keys(changed, [(prompt, response)])


def test_a_model_is_named_by_weights_and_configuration_not_by_its_folder(folder, tmp_path):
    same = build_tiny_model(tmp_path / "same")
    other = build_tiny_model(tmp_path / "other", seed=1)
    assert (digest_model(same), digest_weights(same)) == (digest_model(folder), digest_weights(folder))
    assert digest_weights(other) != digest_weights(folder)


def test_batched_greedy_answers_are_those_of_each_prompt_alone(folder):
    model, tokenizer = load_model(folder).double(), load_tokenizer(folder)
    prompts = [[{"role": "user", "content": text}] for text in ("Hi", "What is your name, and who made you?", "x" * 60)]
    together = texts(model, tokenizer, prompts, max_new_tokens=12, width=3)
    for prompt, answer in zip(prompts, together, strict=True):
        ids = torch.tensor([encode_prompt(prompt, tokenizer)])
        for _ in range(12):
            ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], dim=1)
            if ids[0, -1] == tokenizer.eos_token_id:
                break
        alone_text = tokenizer.decode(ids[0, len(encode_prompt(prompt, tokenizer)) :], skip_special_tokens=True)
        assert answer == alone_text.strip()
