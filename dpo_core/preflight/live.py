"""How many bytes a piece of work keeps alive, found by doing it on tensors without numbers.

torch's FakeTensorMode runs every operation on shapes alone and chooses the kernels that the device would; `Live` counts
the storages that exist at a time. So what is counted is what the code that trains really keeps, not a formula of it.
"""

import contextlib
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

LARGE = 32 << 20  # bytes: glibc's DEFAULT_MMAP_THRESHOLD_MAX, which its threshold reaches with the first blocks freed
READ = torch.ops.aten._local_scalar_dense.default  # a number out of a tensor: here there is none


class Live(TorchDispatchMode):
    """Bytes of the storages made inside that are alive `now`, and the `most` at one time.

    `held`: what a process has of the system at most. glibc takes blocks below LARGE from a heap, which grows and hardly
    ever shrinks, for what lives longest lies between what is free; larger ones it maps and gives back. So the most of
    both kinds counts, though it is not reached at one time.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = 0
        self._of_kind, self._most_of_kind = [0, 0], [0, 0]  # of the heap, mapped
        self._known: Any = WeakIdKeyDictionary()

    def __torch_dispatch__(
        self,
        function: Callable[..., object],
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        if function is READ:
            return 1.0  # what a number is taken for: a gradient of 1, a norm within its bound
        found = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(found):
            if isinstance(leaf, Tensor):
                self._add(leaf.untyped_storage())
        return found

    def _add(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        self._known[storage] = size = storage.nbytes()
        weakref.finalize(storage, self._change, -size, size >= LARGE).atexit = False
        self._change(size, size >= LARGE)

    def _change(self, size: int, large: bool) -> None:
        self.now += size
        self.most = max(self.most, self.now)
        self._of_kind[large] += size
        self._most_of_kind[large] = max(self._most_of_kind[large], self._of_kind[large])

    @property
    def held(self) -> int:
        """See Live."""
        return sum(self._most_of_kind)


@contextlib.contextmanager
def counting() -> Iterator[Live]:
    """Inside, tensors have no numbers, and what they would take is counted."""
    with FakeTensorMode(), Live() as live:
        yield live


def give_bytes(model: torch.nn.Module, device: str) -> None:
    """Inside `counting`: make the parameters and buffers of a model on the meta device count, as on `device`."""
    made: dict[int, Tensor] = {}  # a tied weight once

    def counted(tensor: Tensor) -> Tensor:
        if id(tensor) not in made:
            fresh = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
            trained = isinstance(tensor, torch.nn.Parameter)
            made[id(tensor)] = torch.nn.Parameter(fresh, tensor.requires_grad) if trained else fresh
        return made[id(tensor)]

    for module in list(model.modules()):
        tables: list[dict[str, Any]] = [module._parameters, module._buffers]
        for table in tables:
            for name, tensor in table.items():
                if tensor is not None:
                    table[name] = counted(tensor)
