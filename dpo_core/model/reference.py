"""Reference log-probs as stored: keyed by content, one shard a batch of responses, an index of which shard holds what.

A response's key is the digest of the numeric path (model, arithmetic, device) and of its ids; its value is the
per-token log-prob in fp32, so that every loss and length limit can be derived from one pass.
"""

import hashlib
import json
from array import array
from collections.abc import Mapping, Sequence

import torch
from safetensors.torch import load, save
from torch import Tensor

from dpo_core.data.digests import digest_json
from dpo_core.model.layout import Ids

KEY = 32  # bytes of a key in an index


def response_key(path: Mapping[str, str | int], prompt_ids: Ids, response_ids: Ids) -> str:
    """SHA-256 (hex) that names the log-probs of one response."""
    ids = hashlib.sha256(array("q", [len(prompt_ids), *prompt_ids, *response_ids]).tobytes())
    return digest_json([dict(path), ids.hexdigest()])


def pack_shard(values: Mapping[str, Tensor]) -> bytes:
    """Key -> per-token log-probs, as one safetensors blob with the list of keys in its header."""
    keys = list(values)
    lengths = torch.tensor([len(values[key]) for key in keys])
    flat = torch.cat([values[key] for key in keys]).float()
    return save({"lengths": lengths, "logprobs": flat}, metadata={"keys": json.dumps(keys)})


def unpack_shard(data: bytes) -> dict[str, Tensor]:
    """The inverse of `pack_shard`."""
    tensors = load(data)
    parts = tensors["logprobs"].split(tensors["lengths"].tolist())
    return dict(zip(shard_keys(data), parts, strict=True))


def shard_keys(data: bytes) -> list[str]:
    """The keys of a shard, in its order."""
    keys: list[str] = json.loads(_metadata(data)["keys"])
    return keys


def pack_index(shards: Mapping[str, Sequence[str]]) -> bytes:
    """Shard name -> its keys, as a safetensors blob of KEY bytes a row."""
    rows = b"".join(bytes.fromhex(key) for keys in shards.values() for key in keys)
    sizes = {name: len(keys) for name, keys in shards.items()}
    keys = torch.frombuffer(bytearray(rows), dtype=torch.uint8) if rows else torch.empty(0, dtype=torch.uint8)
    return save({"keys": keys}, metadata={"shards": json.dumps(sizes)})


def unpack_index(data: bytes) -> dict[str, list[str]]:
    """The inverse of `pack_index`."""
    sizes: dict[str, int] = json.loads(_metadata(data)["shards"])
    rows, start, found = load(data)["keys"].numpy().tobytes(), 0, {}
    for name, size in sizes.items():
        end = start + size * KEY
        found[name] = [rows[at : at + KEY].hex() for at in range(start, end, KEY)]
        start = end
    return found


def differing(stored: Mapping[str, Tensor], found: Mapping[str, Tensor], dtype: str) -> str | None:
    """The key of a response whose stored log-prob is not what the model gives, beyond what batching moves."""
    for key, values in found.items():
        before, now = float(stored[key].double().sum()), float(values.double().sum())
        if len(stored[key]) != len(values) or not abs(before - now) <= allowed_difference(now, dtype):
            return key
    return None


def allowed_difference(logp: float, dtype: str) -> float:
    """How far two computations of a sequence's log-prob (nats) may lie apart, measured: docs/decisions.md."""
    return 1.0 + 1e-2 * abs(logp) if dtype == "bfloat16" else 1e-4 + 1e-6 * abs(logp)


def _metadata(data: bytes) -> dict[str, str]:
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    metadata: dict[str, str] = header["__metadata__"]
    return metadata
