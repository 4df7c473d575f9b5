"""A model folder named by its content, without loading it."""

import functools
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from dpo_core.data.digests import digest_file, digest_json
from dpo_core.model.folder.files import read_json
from dpo_core.model.remote_code import digest_code

# what no tokenizer reads: weights, code (digested by itself), what decides the logits or the decoding, papers
_NO_TOKENIZER = re.compile(
    r"\.(safetensors|py|md|png|jpg|jpeg|svg|pdf|gguf|log)$|(^|\.)index\.json$|^\.|^(config|generation_config|trainer_state|"
    r"all_results|train_results|eval_results|adapter_config)\.json$|^(LICENSE|NOTICE|README|USE_POLICY)",
    re.IGNORECASE,
)
_VOLATILE = ("transformers_version", "_name_or_path", "dtype", "torch_dtype", "use_cache")


def context_length(folder: Path) -> int | None:
    """Tokens up to which the model gives a text the same log-prob whatever lies beside it; None: no limit is named.

    Where rotary frequencies follow the longest text of a forward pass (`longrope`), that is the original context.
    """
    config = read_json(folder / "config.json")
    inner = config.get("text_config")
    config = inner if isinstance(inner, dict) and inner else config
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    parts = [rope, *rope.values()] if isinstance(rope, dict) else []  # one for all layers, or one a type of layer
    limits = [config.get(name) for name in ("max_position_embeddings", "n_positions", "max_seq_len")]
    for part in (part for part in parts if isinstance(part, dict)):
        if part.get("rope_type", part.get("type")) == "longrope":
            limits += [(source.get("original_max_position_embeddings")) for source in (part, config)]
    return min((int(limit) for limit in limits if isinstance(limit, int | float) and limit), default=None)


def digest_weights(folder: Path) -> str:
    """SHA-256 of a model's weights: of the one safetensors file, or of the list of shards with theirs."""
    return digest_of_files({file.name: _digest_once(file) for file in folder.glob("*.safetensors")})


def digest_of_files(digests: Mapping[str, str]) -> str:
    """The digest of weights from those of their files: name -> SHA-256 (hex)."""
    return next(iter(digests.values())) if len(digests) == 1 else digest_json(digests)


def _digest_once(file: Path) -> str:
    """A file's digest, read once in this process for as long as its size and its time of change stay."""
    facts = file.stat()
    return _digest_as_of(file.resolve(), facts.st_size, facts.st_mtime_ns)


@functools.cache
def _digest_as_of(file: Path, size: int, changed_ns: int) -> str:
    return digest_file(file)


def decisive(config: Mapping[str, object]) -> dict[str, object]:
    """Of a configuration what decides what the weights compute."""
    return {key: value for key, value in config.items() if key not in _VOLATILE}


def digest_model(folder: Path) -> str:
    """Weights, and what decides what they compute: the configuration, and code of the model's own if it has some."""
    parts = [digest_weights(folder), decisive(read_json(folder / "config.json"))]
    code = digest_code(folder)
    return digest_json([*parts, code] if code else parts)


def digest_tokenizer(folder: Path) -> str:
    """Whatever decides how text becomes ids and where an answer ends.

    That is every text file but weights, configuration and papers (vocabularies, merges, added and special tokens, chat
    templates, processors), the ends that generation_config.json names, and code of the model's own.
    """
    digests: dict[str, object] = {name: digest_file(folder / name) for name in tokenizer_files(folder)}
    generation = folder / "generation_config.json"
    if generation.is_file() and (ends := read_json(generation).get("eos_token_id")) is not None:
        digests["ends"] = ends
    code = digest_code(folder)
    return digest_json(digests | ({"code": code} if code else {}))


def digest_asked(folder: Path) -> str:
    """Of a model that is asked in text: what it computes, and how text becomes its ids and back."""
    return digest_json([digest_model(folder), digest_tokenizer(folder)])


def tokenizer_files(folder: Path) -> list[str]:
    """The files of a model folder that a tokenizer may read, those in additional_chat_templates too."""
    places = [*folder.iterdir(), *folder.glob("additional_chat_templates/*.jinja")]
    names = sorted(file.relative_to(folder).as_posix() for file in places if file.is_file())
    return [name for name in names if not _NO_TOKENIZER.search(name)]


def numeric_path(*, model_sha256: str, dtype: str, device: str, threads: int) -> dict[str, str | int]:
    """All that can change a log-prob besides the ids; `layout` is raised when the way of computing or storing changes.

    `device` names the arithmetic unit ("cpu AVX512", "NVIDIA H100 80GB HBM3"). CPU threads count on a CPU alone: there
    they decide the order of sums.
    """
    path: dict[str, str | int] = {"model": model_sha256, "dtype": dtype, "device": device, "layout": 2}
    if device.startswith("cpu"):
        path["threads"] = threads
    return {**path, "torch": version("torch").split("+")[0]}
