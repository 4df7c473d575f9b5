"""A random Llama of 28 thousand weights with a byte-level ChatML tokenizer: a real model folder in a second.

Every text encodes (one token a byte, a few merges), so tests never meet an unknown token.
"""

import functools
import itertools
from pathlib import Path
from tempfile import TemporaryDirectory

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CORPUS = ["What is your name? My name is Athene.", "user assistant system", "The answer is that the sea is blue."]


def build_tiny_model(folder: Path, *, seed: int = 0, max_positions: int = 1024) -> Path:
    """Write model and tokenizer to `folder` (safetensors, fp32) and return it. The same seed gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in _files(seed, max_positions).items():
        (folder / name).write_bytes(content)
    return folder


@functools.cache
def _files(seed: int, max_positions: int) -> dict[str, bytes]:
    """What the folder holds, made once a process."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = build_tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=max_positions,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.convert_tokens_to_ids("<|im_start|>"),
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return {file.name: file.read_bytes() for file in Path(folder).iterdir()}


def scored_examples(model: Path, count: int):
    """`count` pairs to train on, prompts of different lengths, with their log-probs under the tiny model."""
    from dpo_core.data.pairs import Example
    from dpo_core.model.load import load_model
    from dpo_core.model.score import score

    ids = [(tuple(range(5, 15 + i)), (40 + i, 41, 2), (60, 61 + i, 62, 63, 2)) for i in range(count)]
    sequences = [(prompt, answer) for prompt, *answers in ids for answer in answers]
    sums = {i: values.double().sum().item() for i, values in score(load_model(model), sequences)}
    return [Example(str(i), *row, sums[2 * i], sums[2 * i + 1]) for i, row in enumerate(ids)]


def build_tiny_tokenizer():
    """A byte-level BPE tokenizer (vocabulary at most 512) with ChatML turns; eos is `<|im_end|>`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(CORPUS, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


OWN_CODE = '''
from transformers import LlamaConfig, LlamaForCausalLM

open({canary!r}, "a").write("run\\n")


class OwnConfig(LlamaConfig):
    model_type = "own"


class OwnModel(LlamaForCausalLM):
    """A Llama whose logits are halved."""

    config_class = OwnConfig

    def forward(self, *args, **options):
        found = super().forward(*args, **options)
        found.logits = found.logits / 2
        return found
'''


def bring_own_code(folder: Path, canary: Path) -> Path:
    """Make a tiny model one with code of its own, which adds a line to `canary` when it is run."""
    import json

    (folder / "modeling_own.py").write_text(OWN_CODE.format(canary=str(canary)))
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "architectures": ["OwnModel"]}
    config["auto_map"] = {"AutoConfig": "modeling_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnModel"}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def build_saying(folder: Path, said: str, after: str = "", *, special: bool = True, **generation) -> Path:
    """A model that says `said`, ends its turn with <|im_end|>, and would go on with `after`; its eos is another token.

    Each token has one that follows it, so no letter may come twice. `special`: whether the tokenizer lists the end of
    turn among its special tokens (Gemma's does, Phi's does not). `generation`: what generation_config.json says.
    """
    import json

    import torch
    from safetensors.torch import load_file, save_file
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    build_tiny_model(folder)
    inner = build_tiny_tokenizer().backend_tokenizer
    others = {"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]} if special else {}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|endoftext|>", **others)
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    asked = tokenizer.apply_chat_template([{"role": "user", "content": "?"}], add_generation_prompt=True)["input_ids"]
    ends = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    letters = [[tokenizer.convert_tokens_to_ids(letter) for letter in text] for text in (said, after)]
    chain = [asked[-1], *letters[0], ends[0], *letters[1], ends[1]]
    assert len({*chain}) == len(chain), "a letter comes twice"
    tensors = load_file(folder / "model.safetensors")
    for name in tensors:
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            tensors[name] = torch.zeros_like(tensors[name])  # what comes next depends on the last token alone
    embedding = torch.nn.functional.normalize(tensors["model.embed_tokens.weight"], dim=1)
    head = torch.zeros_like(embedding)
    for token, follower in itertools.pairwise(chain):
        head[follower] = embedding[token]
    save_file({**tensors, "model.embed_tokens.weight": embedding, "lm_head.weight": head}, folder / "model.safetensors",
              metadata={"format": "pt"})  # fmt: skip
    config = json.loads((folder / "config.json").read_text())
    config |= {"tie_word_embeddings": False, "eos_token_id": ends[1], "pad_token_id": None}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends[1]} | generation))
    return folder


def build_talking_model(folder: Path, *, letters: str = "abcd ", seed: int = 0) -> Path:
    """A tiny model whose answers are random letters, each as likely as the end of the turn: it can learn other odds.

    One coordinate of every state is the same large number, so that a column of the head is a bias of each token.
    """
    import json

    from safetensors.torch import load_file, save_file

    build_tiny_model(folder, seed=seed)
    tokenizer = build_tiny_tokenizer()
    said = [tokenizer.encode(letter, add_special_tokens=False)[0] for letter in letters]
    tensors = load_file(folder / "model.safetensors")
    for name in tensors:
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            tensors[name][0] = 0.0
    tensors["model.embed_tokens.weight"][:, 0] = 1.0
    head = 0.1 * tensors["model.embed_tokens.weight"].clone()
    head[:, 0] = -1.0
    head[[*said, tokenizer.eos_token_id], 0] = 1.0
    save_file({**tensors, "lm_head.weight": head}, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    return folder
