"""Reference log-probs as stored: keyed by content, one shard a batch of responses, an index of which shard holds what.

A response's key is the digest of the numeric path (model, arithmetic, device) and of its ids; its value is the
per-token log-prob in fp32, so that every loss and length limit can be derived from one pass.
"""

import hashlib
import json
import struct
from collections.abc import Iterable, Mapping, Sequence

import torch
from safetensors.torch import load, save
from torch import Tensor

from dpo_core.data.digests import digest_json
from dpo_core.model.layout import Ids, sequence_sums

KEY = 32  # bytes of a key in a shard or an index


def response_keys(path: Mapping[str, str | int], responses: Iterable[tuple[Ids, Ids]]) -> list[str]:
    """SHA-256 (hex) that names the log-probs of each (prompt ids, response ids)."""
    start, keys = hashlib.sha256(digest_json(dict(path)).encode()), []
    for prompt, response in responses:
        key = start.copy()
        key.update(struct.pack(f"{1 + len(prompt) + len(response)}i", len(prompt), *prompt, *response))
        keys.append(key.hexdigest())
    return keys


def pack_shard(values: Mapping[str, Tensor]) -> bytes:
    """Key -> per-token log-probs, as one safetensors blob: 4 bytes a token, 36 a response."""
    lengths = torch.tensor([len(row) for row in values.values()], dtype=torch.int32)
    return save({"keys": _packed(values), "lengths": lengths, "logprobs": torch.cat([*values.values()]).float()})


def unpack_shard(data: bytes) -> dict[str, Tensor]:
    """The inverse of `pack_shard`."""
    tensors = load(data)
    parts = tensors["logprobs"].split(tensors["lengths"].tolist())
    return dict(zip(_unpacked(tensors["keys"]), parts, strict=True))


def shard_sums(data: bytes) -> dict[str, float]:
    """Key -> log p of the whole response (nats), summed in fp64."""
    tensors = load(data)
    owner = torch.repeat_interleave(tensors["lengths"])
    sums = sequence_sums(tensors["logprobs"], owner, len(tensors["lengths"]))
    return dict(zip(_unpacked(tensors["keys"]), sums.tolist(), strict=True))


def shard_keys(data: bytes) -> list[str]:
    """The keys of a shard, in its order."""
    return _unpacked(load(data)["keys"])


def pack_index(shards: Mapping[str, Sequence[str]]) -> bytes:
    """Shard name -> its keys, as a safetensors blob of KEY bytes a row."""
    sizes = {name: len(keys) for name, keys in shards.items()}
    rows = _packed(key for keys in shards.values() for key in keys)
    return save({"keys": rows}, metadata={"shards": json.dumps(sizes)})


def unpack_index(data: bytes) -> dict[str, list[str]]:
    """The inverse of `pack_index`."""
    sizes: dict[str, int] = json.loads(_metadata(data)["shards"])
    keys, start, found = _unpacked(load(data)["keys"]), 0, {}
    for name, size in sizes.items():
        found[name] = keys[start : start + size]
        start += size
    return found


def differing(stored: Mapping[str, float], found: Mapping[str, float], dtype: str) -> str | None:
    """The key of a response whose stored log-prob (nats) is not what the model gives, beyond what batching moves."""
    for key, now in found.items():
        if not abs(stored[key] - now) <= allowed_difference(now, dtype):  # NaN is not near either
            return key
    return None


def allowed_difference(logp: float, dtype: str) -> float:
    """How far two computations of a sequence's log-prob (nats) may lie apart, measured: docs/decisions.md."""
    return 1.0 + 1e-2 * abs(logp) if dtype == "bfloat16" else 1e-4 + 1e-6 * abs(logp)


def _packed(keys: Iterable[str]) -> Tensor:
    rows = bytearray().join(map(bytes.fromhex, keys))
    return torch.frombuffer(rows, dtype=torch.uint8) if rows else torch.empty(0, dtype=torch.uint8)


def _unpacked(rows: Tensor) -> list[str]:
    data = rows.numpy().tobytes().hex()
    return [data[at : at + 2 * KEY] for at in range(0, len(data), 2 * KEY)]


def _metadata(data: bytes) -> dict[str, str]:
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    metadata: dict[str, str] = header["__metadata__"]
    return metadata
