"""Reference log-probs in the object store, shared by runs and machines: append-only shards, and an index of them.

    reference/<digest of the numeric path>/<SHA-256>.safetensors         values of up to a few hundred responses
    reference/<digest of the numeric path>/index/<SHA-256>.safetensors   which shard holds which response

Both are named by their bytes and written whole, so that passes side by side cannot spoil each other. The index is
derived: a shard that no index names (its pass was killed) is asked itself, and named the next time one is written.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, TypeVar

from dpo_core.data.digests import digest_json
from dpo_core.data.pairs import EncodedPair
from infra.errors import InfraError
from infra.store.base import Store
from tasks.runtime.by_content import put_by_content, sound_bytes

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger("dpo.score")
Value = TypeVar("Value")
Response = tuple[tuple[int, ...], tuple[int, ...]]  # prompt ids, response ids
READERS = 8  # objects that are read at the same time
MOST_INDEXES = 16  # more are made one


class ReferenceStore:
    """The log-probs of one numeric path."""

    def __init__(self, store: Store, path: Mapping[str, str | int]) -> None:
        self.store, self.path = store, dict(path)
        self.folder = f"reference/{digest_json(self.path)}"

    def keys(self, responses: Sequence[Response]) -> list[str]:
        """The names of responses under this numeric path."""
        from dpo_core.model.reference import response_keys

        return response_keys(self.path, responses)

    def shards(self) -> set[str]:
        """Keys in the store of all shards."""
        return {key for key in self.store.list(f"{self.folder}/") if "/index/" not in key}

    def locate(self, wanted: Collection[str]) -> dict[str, str]:
        """Which shard holds which of the wanted responses; the rest is known to none."""
        wanted = set(wanted)
        found: dict[str, str] = {}
        for shard, keys in self._contents().items():
            found.update((key, shard) for key in keys if key in wanted)
        return found

    def read(
        self, located: Mapping[str, str], unpack: Callable[[bytes], Mapping[str, Value]]
    ) -> Iterator[dict[str, Value]]:
        """What is stored of located responses, shard by shard; a damaged one is removed, with a warning.

        `unpack` makes values (`unpack_shard`) or sums (`shard_sums`) of a shard's bytes.
        """
        for shard, data in self._blobs(sorted(set(located.values()))):
            yield {key: value for key, value in unpack(data).items() if located.get(key) == shard}

    def append(self, values: "Mapping[str, Tensor]") -> str:
        """Store a shard; its key."""
        from dpo_core.model.reference import pack_shard

        return self._put("", pack_shard(values))

    def publish(self) -> None:
        """Write an index of the shards that none names yet, or one of all where there are many."""
        from dpo_core.model.reference import pack_index

        contents, indexes = self._contents(), self._indexes()
        whole = len(indexes) >= MOST_INDEXES
        indexed = set() if whole else {shard for _, shards in self._read_indexes(indexes) for shard in shards}
        if fresh := {PurePosixPath(s).name: k for s, k in contents.items() if PurePosixPath(s).name not in indexed}:
            written = self._put("/index", pack_index(fresh))
            for old in indexes if whole else []:
                if old != written:
                    self.store.delete(old)

    def remove(self, shards: Collection[str]) -> None:
        """Forget shards: their rows are scored again when they are needed."""
        for shard in shards:
            self.store.delete(shard)

    def _contents(self) -> dict[str, list[str]]:
        """Every shard that is there -> the responses it holds."""
        from dpo_core.model.reference import shard_keys

        shards, found = self.shards(), dict[str, list[str]]()
        for _, index in self._read_indexes(self._indexes()):
            found |= {f"{self.folder}/{name}": keys for name, keys in index.items()}
        found = {shard: keys for shard, keys in found.items() if shard in shards}
        found |= {shard: shard_keys(data) for shard, data in self._blobs(sorted(shards - found.keys()))}
        return found

    def _indexes(self) -> list[str]:
        return list(self.store.list(f"{self.folder}/index/"))

    def _read_indexes(self, indexes: Sequence[str]) -> Iterator[tuple[str, dict[str, list[str]]]]:
        from dpo_core.model.reference import unpack_index

        for key, data in self._blobs(indexes):
            yield key, unpack_index(data)

    def _blobs(self, keys: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Objects that are there and are what their names say; a damaged one is removed."""
        todo = iter(keys)
        with ThreadPoolExecutor(READERS) as pool:
            while some := list(islice(todo, 4 * READERS)):  # no more in memory than that
                for key, data in zip(some, pool.map(self._blob, some), strict=True):
                    if data is not None:
                        yield key, data

    def _blob(self, key: str) -> bytes | None:
        data, damaged = sound_bytes(self.store, key)
        if damaged:
            log.warning("reference_damaged key=%s action='removed: what it held is scored again'", key)
        return data

    def _put(self, where: str, data: bytes) -> str:
        return put_by_content(self.store, f"{self.folder}{where}", data, ".safetensors")


def load_reference(store: Store, path: Mapping[str, str | int], responses: Sequence[Response]) -> "dict[str, Tensor]":
    """The stored log-probs of these responses: response key -> per-token values (nats, fp32). Never with a gap."""
    from dpo_core.model.reference import unpack_shard

    reference = ReferenceStore(store, path)
    return _complete(reference, set(reference.keys(responses)), unpack_shard)


def reference_sums(
    store: Store, path: Mapping[str, str | int], pairs: Sequence[EncodedPair]
) -> "tuple[Tensor, Tensor]":
    """Stored log p (nats, fp64) of each pair's chosen and rejected answer. Never with a gap."""
    import torch

    from dpo_core.model.reference import shard_sums

    reference = ReferenceStore(store, path)
    keys = reference.keys([(p.prompt_ids, answer) for p in pairs for answer in (p.chosen_ids, p.rejected_ids)])
    known = _complete(reference, set(keys), shard_sums)
    sums = torch.tensor([known[key] for key in keys], dtype=torch.float64)
    return sums[0::2], sums[1::2]


def public_sums(store: Store, path: Mapping[str, str | int], pairs: Sequence[EncodedPair]) -> "tuple[Tensor, Tensor]":
    """The same of the tokens up to the length of each pair's shorter answer (LD-DPO's public length)."""
    import torch

    responses = [(p.prompt_ids, answer) for p in pairs for answer in (p.chosen_ids, p.rejected_ids)]
    known, keys = load_reference(store, path, responses), ReferenceStore(store, path).keys(responses)
    shorter = [min(len(p.chosen_ids), len(p.rejected_ids)) for p in pairs for _ in range(2)]
    sums = torch.stack([known[key][:size].double().sum() for key, size in zip(keys, shorter, strict=True)])
    return sums[0::2], sums[1::2]


def _complete(
    reference: ReferenceStore, keys: set[str], unpack: Callable[[bytes], Mapping[str, Value]]
) -> dict[str, Value]:
    known: dict[str, Value] = {}
    for values in reference.read(reference.locate(keys), unpack):
        known |= values
    if gap := len(keys) - len(known):
        raise InfraError(
            f"the reference log-probs of {gap} answers are gone",
            where=f"{reference.store.url}/{reference.folder}",
            do="run the same command again: it scores them",
        )
    return known
