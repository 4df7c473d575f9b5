"""What a safetensors file says it holds, read without the library and believed only where the bytes bear it out."""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

from dpo_core.errors import InputError

LONGEST = 100_000_000  # bytes of a header: the format's own limit
FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}  # bytes a number
OTHERS = {"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1}
EIGHT_BITS = {"F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "F8_E4M3FNUZ": 1, "F8_E5M2FNUZ": 1}
SIZES = FLOATS | OTHERS | EIGHT_BITS
NO_WEIGHT = re.compile(r"(^|\.)(inv_freq|original_inv_freq|position_ids|masked_bias|(attn|attention)\.bias)$")


@dataclass(frozen=True)
class TensorHeader:
    """One tensor of a file: its type as the format names it, and its shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


def read_headers(file: Path) -> dict[str, TensorHeader]:
    """Name -> header of every tensor of a safetensors file. Raises InputError where the header is not its bytes'."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if size < 8 or length > min(LONGEST, size - 8):
            raise _malformed(file, f"a header of {length} bytes in a file of {size}")
        text = opened.read(length)
    try:
        entries = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise _malformed(file, f"its header is no JSON object: {error}") from None
    if not isinstance(entries, dict):
        raise _malformed(file, "its header is no JSON object")
    entries.pop("__metadata__", None)
    found, spans = {}, []
    for name, entry in entries.items():
        header, span = _entry(file, name, entry)
        found[name] = header
        spans.append((*span, name))
    end = 0
    for start, stop, name in sorted(spans):
        if start != end:
            raise _malformed(file, f"the bytes of {name} begin at {start}, those before it end at {end}")
        end = stop
    if end != size - 8 - length:
        raise _malformed(file, f"its tensors have {end} bytes, the file has {size - 8 - length} for them")
    return found


def require_floats(file: Path, tensors: dict[str, TensorHeader]) -> None:
    """Raise InputError where weights are stored in fewer than 16 bits or as whole numbers: they are quantised."""
    for name, header in tensors.items():
        if header.dtype not in FLOATS and not NO_WEIGHT.search(name):
            raise quantised(f"{name} is stored as {header.dtype}", file)


def quantised(says: str, where: Path) -> InputError:
    """The error for weights that cannot be trained."""
    do = "name the model in full precision (float32, bfloat16 or float16) that it was made from"
    return InputError(f"the weights are quantised ({says}): they cannot be trained", where=str(where), do=do)


def _entry(file: Path, name: str, entry: object) -> tuple[TensorHeader, tuple[int, int]]:
    try:
        assert isinstance(entry, dict)
        dtype, shape, (start, stop) = str(entry["dtype"]), tuple(entry["shape"]), entry["data_offsets"]
        assert all(type(number) is int and number >= 0 for number in (*shape, start, stop))
    except (AssertionError, KeyError, TypeError, ValueError):
        raise _malformed(file, f"the entry of {name} has no type, shape and place") from None
    header = TensorHeader(dtype, shape)
    if dtype in SIZES and stop - start != header.elements * SIZES[dtype]:
        raise _malformed(file, f"{name} is {dtype} {list(shape)} in {stop - start} bytes")
    return header, (start, stop)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands in it twice")
    return found


def _malformed(file: Path, says: str) -> InputError:
    do = "fetch or save the file again: it is cut off or damaged"
    return InputError(f"{file.name} is no sound safetensors file: {says}", where=str(file), do=do)
