"""Parses a safetensors header by all rules of the format, or says which rule it breaks.

Everything that the reference reader (the ``safetensors`` package) refuses is refused here. This reader also refuses
duplicate names, unknown fields of a tensor, a tensor as a list, and headers above 16.8 MB. No writer makes these, and
they could deceive a reader.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from zvae_tiled.checks import TwiceError, once

PREFIX_BYTES = 8
MAX_HEADER_BYTES = 16 << 20
"""The reference allows 100 MB, which takes gigabytes when parsed. The header of a whole SDXL checkpoint is 0.4 MB."""

MAX_USIZE = (1 << 64) - 1

DTYPE_BITS = {
    "BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8,
    "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip
"""Every type of the format (0.8). `values.SOURCES` has those that can be weights."""


class HeaderError(ValueError):
    """Says why bytes are not a safetensors file. Callers turn it into an error that names the file."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """The header's entry for one tensor.

    Attributes:
        dtype: The format's name of the type, such as ``BF16``.
        shape: The dimensions, in stored order.
        start: Offset of its first byte from the end of the header.
        stop: Offset of the byte after its last.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def header_length(prefix: bytes, file_size: int) -> int:
    """Return the header's length from the first eight bytes of a file, after checking it against `file_size`."""
    if len(prefix) < PREFIX_BYTES or file_size < PREFIX_BYTES:
        raise HeaderError(f"it has {file_size} bytes, and the header's length alone takes {PREFIX_BYTES}")
    length = int.from_bytes(prefix[:PREFIX_BYTES], "little")
    if length > MAX_HEADER_BYTES:
        raise HeaderError(f"its header claims {length:,} bytes; the limit is {MAX_HEADER_BYTES:,}")
    if length > file_size - PREFIX_BYTES:
        raise HeaderError(f"its header claims {length:,} bytes, the whole file has {file_size:,}: truncated")
    return length


def parse_header(raw: bytes, data_bytes: int) -> dict[str, TensorInfo]:
    """Check a header, and compare its tensors with the number of bytes that follow it.

    Args:
        raw: The header's JSON, without the length before it.
        data_bytes: Number of bytes after the header in the file.

    Returns:
        Every tensor by name, in the order of their bytes.

    Raises:
        HeaderError: The header breaks a rule of the format. The message says which.
    """
    table = _parse_json(raw)
    if not isinstance(table, dict):
        raise HeaderError("its header is not a JSON object")
    _check_metadata(table.pop("__metadata__", None))
    tensors = {name: _parse_entry(name, entry) for name, entry in table.items()}
    tensors = dict(sorted(tensors.items(), key=lambda item: (item[1].start, item[1].stop)))
    _check_coverage(tensors, data_bytes)
    return tensors


def _parse_json(raw: bytes) -> Any:
    try:
        return json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_checked,
            parse_int=_parse_int,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
    except TwiceError as error:
        raise HeaderError(f"in its header {error}") from None
    except UnicodeDecodeError as error:
        raise HeaderError(f"its header is not UTF-8: {error.reason} at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise HeaderError(f"its header is not JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise HeaderError("its header is nested too deeply") from None


def _checked(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = once(pairs)
    for key in table:
        _check_text(key)
    return table


def _check_text(text: str) -> None:
    # Python's JSON accepts half a surrogate pair, which is not a character. The reference refuses it.
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise HeaderError(f"its header has text that is not Unicode: {text!r:.80}")


def _parse_int(digits: str) -> int:
    # The reference reads "-0" as a float. Every 64-bit number has at most twenty digits.
    if digits.startswith("-") or len(digits) > 20 or int(digits) > MAX_USIZE:
        raise HeaderError(f"its header has {digits:.40}, where only whole numbers from 0 to 2^64 - 1 are allowed")
    return int(digits)


def _refuse_number(text: str) -> Any:
    raise HeaderError(f"its header has {text:.40}, where only whole numbers are allowed")


def _check_metadata(metadata: Any) -> None:
    if metadata is None:
        return
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise HeaderError("its __metadata__ is not a table of text to text")
    for value in metadata.values():
        _check_text(value)


def _parse_entry(name: str, entry: Any) -> TensorInfo:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise HeaderError(f"tensor {name!r:.120} does not have exactly dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise HeaderError(f"tensor {name!r:.120} has the unknown dtype {dtype!r:.40}")
    if not _is_counts(shape):
        raise HeaderError(f"tensor {name!r:.120} has a shape that is not a list of whole numbers")
    if not _is_counts(offsets) or len(offsets) != 2:
        raise HeaderError(f"tensor {name!r:.120} has data_offsets that are not two whole numbers")
    start, stop = offsets
    if stop < start:
        raise HeaderError(f"tensor {name!r:.120} ends before it begins: {start} to {stop}")
    needed = _byte_count(name, dtype, shape)
    if stop - start != needed:
        raise HeaderError(f"tensor {name!r:.120} needs {needed:,} bytes, its offsets hold {stop - start:,}")
    return TensorInfo(dtype, tuple(shape), start, stop)


def _is_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int for item in value)


def _byte_count(name: str, dtype: str, shape: list[int]) -> int:
    # Overflow is checked factor by factor, as in the reference: a later zero does not undo it.
    product = 1
    for factor in (*shape, DTYPE_BITS[dtype]):
        product *= factor
        if product > MAX_USIZE:
            raise HeaderError(f"tensor {name!r:.120} has a size that does not fit in 64 bits")
    if product % 8:
        raise HeaderError(f"tensor {name!r:.120} does not end on a whole byte")
    return product // 8


def _check_coverage(tensors: dict[str, TensorInfo], data_bytes: int) -> None:
    end = 0
    for name, info in tensors.items():
        if info.start != end:
            fault = "leaves a hole" if info.start > end else "overlaps another tensor"
            raise HeaderError(f"tensor {name!r:.120} {fault}: it begins at byte {info.start}, expected {end}")
        end = info.stop
    if end > data_bytes:
        raise HeaderError(f"its tensors need {end:,} bytes, the file holds {data_bytes:,}: truncated")
    if end < data_bytes:
        raise HeaderError(f"it has {data_bytes - end:,} bytes after the last tensor that belong to no tensor")
