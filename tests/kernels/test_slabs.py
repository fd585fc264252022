"""Slabs: blocks never overlap, pages are used again, and released ones are new."""

from __future__ import annotations

import mmap
import sys
from collections.abc import Iterator
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.samples import examples
from zvae_tiled.devices import slabs
from zvae_tiled.devices.slabs import PAGE, Place, Slabs


@pytest.fixture(autouse=True, scope="module")
def _small_slabs() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slabs, "SLAB", 40 * PAGE)
        yield


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each block has a slab of its own")


@given(st.integers(0, 1 << 32))
@examples(100)
def test_blocks_keep_what_is_written_and_new_bytes_are_those_that_were_never_written(seed: int) -> None:
    rng, kept = Random(seed), Slabs()
    held: dict[int, tuple[np.ndarray, Place]] = {}
    for number in range(1, 60):
        act = rng.random()
        if act < 0.55:
            size = rng.randint(1, 12 * PAGE)
            block, place, new = kept.take(size)
            assert len(block) == size <= place.stop - place.start < size + PAGE
            assert 0 <= new <= place.stop - place.start
            whole = np.frombuffer(place.slab.pages, np.uint8)[place.start : place.stop]
            pages = whole.reshape(-1, PAGE).any(axis=1)
            assert pages.sum() * PAGE == place.stop - place.start - new, "written pages are the others"
            whole[...] = number
            held[number] = block, place
        elif act < 0.9 and held:
            name = rng.choice(list(held))
            block, place = held.pop(name)
            assert (block == name).all()
            kept.give(place)
        else:
            kept.release()
    for name, (block, place) in held.items():
        assert (block == name).all()
        kept.give(place)
    kept.release()
    assert not kept._slabs


def test_neighbours_that_are_freed_make_one_block() -> None:
    kept = Slabs()
    places = [kept.take(10 * PAGE)[1] for _ in range(4)]
    for place in (places[1], places[3], places[2]):
        kept.give(place)
    block, place, new = kept.take(30 * PAGE)
    assert (place.start, new, len(block)) == (10 * PAGE, 0, 30 * PAGE)
    assert kept.take(PAGE)[1].slab is not place.slab, "the first slab is full"


def test_a_block_may_be_larger_than_a_slab() -> None:
    block, place, new = Slabs().take(100 * PAGE + 1)
    assert len(block) == 100 * PAGE + 1
    assert new == place.stop == 101 * PAGE


def test_where_little_address_space_is_left_a_slab_is_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    make, asked = mmap.mmap, list[int]()

    def scarce(handle: int, size: int, **more: int) -> object:
        asked.append(size)
        if size > 5 * PAGE:
            raise OSError(12, "Cannot allocate memory")
        return make(handle, size, **more)

    monkeypatch.setattr(mmap, "mmap", scarce)
    assert len(Slabs().take(3 * PAGE)[0]) == 3 * PAGE
    assert asked == [40 * PAGE, 3 * PAGE]
    with pytest.raises(MemoryError, match="24,576 bytes for a map cannot be had: Cannot allocate memory"):
        Slabs().take(6 * PAGE)


def test_a_kernel_without_huge_pages_gives_others(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pages(mmap.mmap):
        def madvise(self, option: int, *place: int) -> None:
            if option == mmap.MADV_HUGEPAGE:
                raise OSError(22, "Invalid argument")
            super().madvise(option, *place)

    monkeypatch.setattr(mmap, "mmap", Pages)
    kept = Slabs()
    block, place, _ = kept.take(PAGE)
    block[...] = 1
    kept.take(PAGE)
    kept.give(place)
    kept.release()
    assert not kept.take(PAGE)[0].any()


def test_an_interrupt_gives_no_page_to_two_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Slabs()
    places = [kept.take(PAGE)[1] for _ in range(3)]
    with monkeypatch.context() as patch:
        patch.setattr(slabs, "_Run", interrupted)
        for place in places[:2]:
            with pytest.raises(KeyboardInterrupt):
                kept.give(place)
    taken = [kept.take(PAGE)[1] for _ in range(4)]
    starts = [place.start for place in (places[2], *taken)]
    assert len({*starts}) == len(starts)


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt
