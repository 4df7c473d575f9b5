"""Reference log-probs as stored: keyed by content, one shard a batch of responses.

A response's key is the digest of the numeric path (model, arithmetic, threads) and of its ids; its value is the
per-token log-prob in fp32, so that every loss and length limit can be derived from one pass.
"""

import hashlib
import json
from array import array
from collections.abc import Mapping

import torch
from safetensors.torch import load, save
from torch import Tensor

from dpo_core.data.digests import digest_json
from dpo_core.model.layout import Ids


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
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    keys: list[str] = json.loads(header["__metadata__"]["keys"])
    tensors = load(data)
    parts = tensors["logprobs"].split(tensors["lengths"].tolist())
    return dict(zip(keys, parts, strict=True))
