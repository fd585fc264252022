"""Bytes of many maps in one file: each map reads what it wrote, and the file holds no more than all had at once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from tests.support.samples import examples
from zvae_tiled.engine.spill_file import SpilledBytes, SpillFile

MAPS = 3
CALLS = st.tuples(
    st.integers(0, MAPS - 1), st.sampled_from(["append", "append", "drop", "fill", "close"]), st.integers(1, 50)
)


@examples(60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=st.lists(CALLS, min_size=20, max_size=60))
def test_maps_of_one_file(calls: list[tuple[int, str, int]], tmp_path: Path) -> None:
    file, most = SpillFile(tmp_path), 0
    maps, wrote, dropped = [SpilledBytes(file) for _ in range(MAPS)], [b""] * MAPS, Counter[int]()
    for number, (each, call, count) in enumerate(calls):
        place = maps[each]
        if call == "append":
            data = bytes((number + i) % 251 for i in range(count))
            place.append(memoryview(data))
            wrote[each] += data
        elif call == "drop":
            dropped[each] = min(dropped[each] + count, len(wrote[each]))
            place.drop(dropped[each])
        elif call == "fill":
            into = bytearray(max(min(count, len(wrote[each]) - dropped[each]), 0))
            place.fill(memoryview(into), dropped[each])
            assert into == wrote[each][dropped[each] :][: len(into)]
        else:
            place.close()
            maps[each], wrote[each], dropped[each] = SpilledBytes(file), b"", 0
        most = max(most, sum(map(len, wrote)) - dropped.total())
        assert file.file.seek(0, 2) <= most
    for each, place in enumerate(maps):
        into = bytearray(len(wrote[each]) - dropped[each])
        place.fill(memoryview(into), dropped[each])
        assert into == wrote[each][dropped[each] :]
        file.close()  # which does nothing while a map lies in it
        place.close()
    file.close()
    assert file._file is None


def test_rows_that_were_released_are_not_read(tmp_path: Path) -> None:
    file = SpillFile(tmp_path)
    place = SpilledBytes(file)
    place.append(memoryview(b"12345"))
    place.drop(2)
    with pytest.raises(AssertionError, match="released"):
        place.fill(memoryview(bytearray(2)), 1)
    file.close()
    assert file.file.read() == b"12345"
    file.discard()


@pytest.mark.parametrize("again", [b"abc", b"abcdefghi", b"abcdefghijk"])
def test_rows_are_replaced_from_the_top_on(again: bytes, tmp_path: Path) -> None:
    file = SpillFile(tmp_path)
    place, other = SpilledBytes(file), SpilledBytes(file)
    for part in (b"123", b"456", b"789"):
        place.append(memoryview(part))
        other.append(memoryview(b"other"))
    place.rewind()
    place.append(memoryview(again))
    into = bytearray(max(9, len(again)))
    place.fill(memoryview(into), 0)
    assert into == again + b"123456789"[len(again) :]
    other.close()
    place.close()
    file.close()
