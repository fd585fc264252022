"""The rules of a header, against a table of attacks and against the reference reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.numpy import save

from tests.support.checkpoints import Shape, with_header
from zvae_tiled.errors import WeightsError
from zvae_tiled.weights.header import (
    DTYPE_BITS,
    MAX_HEADER_BYTES,
    PREFIX_BYTES,
    HeaderError,
    TensorInfo,
    header_length,
    parse_header,
)
from zvae_tiled.weights.safetensors_file import SafetensorsFile


def ours(content: bytes) -> dict[str, TensorInfo]:
    length = header_length(content, len(content))
    end = PREFIX_BYTES + length
    return parse_header(content[PREFIX_BYTES:end], len(content) - end)


def read_by_us(content: bytes) -> dict[str, tuple[str, Shape]]:
    return {name: (info.dtype, info.shape) for name, info in ours(content).items()}


def reference(content: bytes) -> dict[str, tuple[str, Shape]] | None:
    try:
        entries: list[tuple[str, dict[str, Any]]] = safetensors.deserialize(content)
    except safetensors.SafetensorError:
        return None
    return {name: (entry["dtype"], tuple(entry["shape"])) for name, entry in entries}


def reference_accepts(content: bytes) -> bool:
    return reference(content) is not None


def tensor(dtype: Any = "F32", shape: Any = (1,), offsets: Any = (0, 4), **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


def file_of(header: Any, data: bytes = b"") -> bytes:
    return with_header(header if isinstance(header, bytes) else json.dumps(header).encode(), data)


FOUR = bytes(4)
A = json.dumps(tensor()).encode()
EMPTY = b'"dtype":"F32","shape":[0],"data_offsets":[0,0]'

# Attacks by name: the file's bytes, and the reason for which they are refused.
ATTACKS: dict[str, tuple[bytes, str]] = {
    "no length": (b"1234567", "it has 7 bytes"),
    "length beyond the file": (file_of({"a": tensor()})[:20], "claims .* truncated"),
    "length of 2^64-1": (b"\xff" * 8 + b"{}", "the limit is"),
    "length of 2^63": (bytes(7) + b"\x80{}", "the limit is"),
    "no header": (file_of(b""), "not JSON"),
    "not UTF-8": (file_of(b'{"\xff": 1}'), "not UTF-8"),
    "overlong UTF-8": (file_of(b'{"\xc0\xaf": 1}'), "not UTF-8"),
    "byte order mark": (file_of(b"\xef\xbb\xbf{}"), "not JSON"),
    "not JSON": (file_of(b"{'a': 1}"), "not JSON"),
    "two values": (file_of(b"{}{}"), "not JSON"),
    "zeros after the JSON": (file_of(b"{}\0\0"), "not JSON"),
    "half a surrogate pair": (file_of(b'{"\\ud800":{' + EMPTY + b"}}"), "not Unicode"),
    "half a surrogate pair in the metadata": (file_of(b'{"__metadata__":{"a":"\\udc00"}}'), "not Unicode"),
    "nested for ever": (file_of(b'{"a":' * 100_000), "nested too deeply|not JSON"),
    "a list": (file_of([]), "not a JSON object"),
    "NaN": (file_of(b'{"a":{' + EMPTY + b',"z":NaN}}'), "only whole numbers"),
    "a number of a million digits": (
        file_of(b'{"a":{"dtype":"F32","shape":[' + b"9" * 10**6 + b"]}}"),
        "2\\^64",
    ),
    "minus zero": (file_of(b'{"a":{"dtype":"F32","shape":[-0],"data_offsets":[0,0]}}'), "2\\^64"),
    "a dimension of 2^64": (file_of({"a": tensor(shape=[2**64, 0], offsets=[0, 0])}), "2\\^64"),
    "metadata of numbers": (file_of({"__metadata__": {"a": 1}}), "text to text"),
    "metadata that is a list": (file_of({"__metadata__": []}), "text to text"),
    "metadata twice": (file_of(b'{"__metadata__":{},"__metadata__":{}}'), "more than once"),
    "a tensor that is a number": (file_of({"a": 7}), "exactly dtype, shape and data_offsets"),
    "a tensor without a shape": (
        file_of({"a": {"dtype": "F32", "data_offsets": [0, 4]}}, FOUR),
        "exactly dtype, shape and data_offsets",
    ),
    "an unknown dtype": (file_of({"a": tensor("F31")}, FOUR), "unknown dtype 'F31'"),
    "a dtype that is a list": (file_of({"a": tensor(["F32"])}, FOUR), "unknown dtype"),
    "a shape of floats": (file_of({"a": tensor(shape=[1.0])}, FOUR), "only whole numbers"),
    "a shape of truths": (file_of({"a": tensor(shape=[True])}, FOUR), "shape that is not"),
    "a shape of text": (file_of({"a": tensor(shape="1")}, FOUR), "shape that is not"),
    "a negative dimension": (file_of({"a": tensor(shape=[-1])}, FOUR), "only whole numbers"),
    "two negative dimensions": (file_of({"a": tensor(shape=[-1, -1])}, FOUR), "only whole numbers"),
    "a size that wraps to 4 at 2^64": (file_of({"a": tensor(shape=[2**62 + 1])}, FOUR), "fit in 64 bits"),
    "a product that wraps to 0 at 2^64": (
        file_of({"a": tensor(shape=[2**32, 2**32], offsets=[0, 0])}),
        "fit in 64 bits",
    ),
    "a product that wraps, then zero": (
        file_of({"a": tensor(shape=[2**40, 2**40, 0], offsets=[0, 0])}),
        "fit in 64 bits",
    ),
    "half a byte": (file_of({"a": tensor("F4", [3], [0, 2])}, bytes(2)), "whole byte"),
    "one offset": (file_of({"a": tensor(offsets=[0])}, FOUR), "two whole numbers"),
    "three offsets": (file_of({"a": tensor(offsets=[0, 4, 4])}, FOUR), "two whole numbers"),
    "a negative offset": (file_of({"a": tensor(offsets=[-4, 0])}, FOUR), "only whole numbers"),
    "offsets the wrong way round": (file_of({"a": tensor(offsets=[4, 0])}, FOUR), "ends before it begins"),
    "too few bytes for the shape": (file_of({"a": tensor(shape=[2])}, FOUR), "needs 8 bytes"),
    "too many bytes for the shape": (file_of({"a": tensor(offsets=[0, 8])}, bytes(8)), "needs 4 bytes"),
    "a hole before the first tensor": (file_of({"a": tensor(offsets=[4, 8])}, bytes(8)), "leaves a hole"),
    "a hole between tensors": (
        file_of({"a": tensor(), "b": tensor(offsets=[8, 12])}, bytes(12)),
        "leaves a hole",
    ),
    "an overlap": (
        file_of({"a": tensor(shape=[2], offsets=[0, 8]), "b": tensor(offsets=[4, 8])}, bytes(8)),
        "overlaps",
    ),
    "the same bytes twice": (file_of({"a": tensor(), "b": tensor()}, FOUR), "overlaps"),
    "bytes cut off": (file_of({"a": tensor()}, FOUR[:3]), "holds 3: truncated"),
    "bytes beyond the last tensor": (file_of({"a": tensor()}, bytes(5)), "1 bytes after the last tensor"),
}

# The reference takes these, and this package does not.
STRICTER: dict[str, tuple[bytes, str]] = {
    "a tensor twice": (file_of(b'{"a":' + A + b',"a":' + A + b"}", FOUR), "'a' appears more than once"),
    "metadata with a key twice": (file_of(b'{"__metadata__":{"k":"1","k":"2"}}'), "'k' appears more than once"),
    "an unknown field": (file_of({"a": tensor(z=1)}, FOUR), "exactly dtype, shape and data_offsets"),
    "a tensor as a list": (
        file_of({"a": ["F32", [1], [0, 4]]}, FOUR),
        "exactly dtype, shape and data_offsets",
    ),
    "a header of 16 MiB and a byte": (file_of(b"{}".ljust(MAX_HEADER_BYTES + 1)), "the limit is"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack(attack: str, tmp_path: Path) -> None:
    content, reason = ATTACKS[attack]
    with pytest.raises(HeaderError, match=reason):
        ours(content)
    assert not reference_accepts(content)
    file = tmp_path / "attack.safetensors"
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=r"attack\.safetensors (is not a valid|must be a) safetensors file"):
        SafetensorsFile(file)


@pytest.mark.parametrize("attack", STRICTER)
def test_attack_that_the_reference_takes(attack: str) -> None:
    content, reason = STRICTER[attack]
    with pytest.raises(HeaderError, match=reason):
        ours(content)
    assert reference_accepts(content)


@pytest.mark.parametrize(
    "content",
    [
        file_of({}),
        file_of(b"  {}  \n"),
        file_of({"__metadata__": None}),
        file_of({"__metadata__": {"format": "pt", "é": "😀"}}),
        file_of({"": tensor(shape=[], offsets=[0, 4])}, FOUR),
        file_of({"b": tensor(offsets=[4, 8]), "a": tensor()}, bytes(8)),
        file_of({"a": tensor(shape=[0], offsets=[0, 0]), "b": tensor(shape=[3, 0], offsets=[0, 0])}),
        file_of({"a": tensor(shape=[0, 2**62], offsets=[0, 0])}),
        file_of(b'{"\\ud83d\\ude00":{' + EMPTY + b"}}"),
        file_of({"a": tensor("F4", [4], [0, 2])}, bytes(2)),
    ],
)
def test_what_is_odd_and_sound(content: bytes) -> None:
    assert reference_accepts(content)
    assert read_by_us(content) == reference(content)


@pytest.mark.parametrize("dtype", DTYPE_BITS)
def test_every_dtype_has_the_size_the_reference_gives_it(dtype: str) -> None:
    size = DTYPE_BITS[dtype]
    content = file_of({"a": tensor(dtype, [8], [0, size])}, bytes(size))
    assert reference_accepts(content)
    assert ours(content)["a"] == TensorInfo(dtype, (8,), 0, size)


DTYPES = st.sampled_from([np.dtype(code) for code in ("<f8", "<f4", "<f2", "<u4", "<i8", "u1", "?")])
ARRAYS = st.builds(
    lambda dtype, shape: np.zeros(shape, dtype), DTYPES, st.lists(st.integers(0, 3), max_size=4).map(tuple)
)
FILES = st.builds(
    save,
    st.dictionaries(st.text(max_size=6).filter(lambda name: name != "__metadata__"), ARRAYS, max_size=4),
    # An empty table of metadata makes the reference write a file that it cannot read itself.
    st.none() | st.dictionaries(st.text(max_size=3), st.text(max_size=3), min_size=1, max_size=2),
)


@given(FILES)
def test_whatever_the_reference_writes_is_read_alike(content: bytes) -> None:
    assert read_by_us(content) == reference(content)


def check_judgement(content: bytes) -> None:
    refusal = ""
    try:
        ours(content)
    except HeaderError as error:
        refusal = str(error)
    if reference_accepts(content):
        stricter = ("more than once", "exactly dtype", "whole numbers are allowed", "the limit is")
        assert not refusal or any(words in refusal for words in stricter)
    else:
        assert refusal


TOKENS = st.sampled_from(
    [b"0", b"-0", b"-1", b"1.0", b"1e2", b"18446744073709551616", b"4611686018427387905", b"NaN", b"null",
     b"true", b'"F32"', b'"U4"', b'"\\ud800"', b'""', b"[]", b"{}", b"[", b"]", b"{", b"}", b",", b":", b" ",
     b"\0", b"\xff", b'"shape"', b'"dtype"', b'"data_offsets"', b'"__metadata__"', b"[0,4]", b"[1]", b'"a"']
)  # fmt: skip


@given(FILES, st.lists(st.tuples(st.integers(0, 300), st.integers(0, 4), TOKENS), min_size=1, max_size=4))
@example(file_of({"a": tensor()}, FOUR), [(26, 3, b"8")])
def test_mutated_files_are_judged_as_the_reference_does(content: bytes, edits: list[tuple[int, int, bytes]]) -> None:
    length = header_length(content, len(content))
    header, data = content[PREFIX_BYTES:][:length], content[PREFIX_BYTES + length :]
    for position, removed, token in edits:
        position %= len(header) + 1
        header = header[:position] + token + header[position + removed :]
    check_judgement(with_header(header, data))


@given(FILES, st.data())
def test_flipped_and_cut_bytes_are_judged_as_the_reference_does(content: bytes, data: st.DataObject) -> None:
    mutated = bytearray(content)
    for _ in range(data.draw(st.integers(0, 3))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(mutated)) | st.just(len(mutated)))
    check_judgement(bytes(mutated[:cut]) + data.draw(st.binary(max_size=2)))


NUMBERS = st.sampled_from([0, 1, 2, 3, 4, 8, 12, 16, 2**32, 2**62, 2**63, 2**64 - 1, 2**64, -1, 1.0, True, None])
SIZES = st.lists(NUMBERS, max_size=3)
ENTRIES = st.builds(
    tensor,
    st.sampled_from(["F32", "BF16", "U8", "F4", "I4", None]),
    SIZES | st.none(),
    SIZES | st.tuples(NUMBERS, NUMBERS),
)


@given(st.dictionaries(st.sampled_from(["a", "b", "c", "__metadata__"]), ENTRIES, max_size=3), st.integers(0, 24))
def test_invented_headers_are_judged_as_the_reference_does(header: dict[str, Any], data_bytes: int) -> None:
    check_judgement(file_of(header, bytes(data_bytes)))
