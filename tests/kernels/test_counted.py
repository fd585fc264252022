"""Counted memory: it is counted while any view of it lives, and kept for later use only below a ceiling."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from random import Random
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.ceilings import Asked, held
from tests.support.running import environment
from tests.support.samples import examples
from zvae_tiled import VAE
from zvae_tiled.devices import counted, heap
from zvae_tiled.devices.counted import LARGE, active_memory, peak_memory, reset_peak, room, spare
from zvae_tiled.devices.heap import Ceiling, under

BLOCK = 3 << 21
"""Bytes of a block that lies in a slab."""

sizes = st.sampled_from([0, 1, 4096, 1 << 16, (1 << 16) + 1, 1 << 20, LARGE - 1, LARGE, BLOCK + 12])


@given(st.lists(st.tuples(sizes, st.booleans(), st.booleans()), max_size=12), st.randoms(use_true_random=False))
@examples(100)
def test_what_is_alive_is_counted_and_the_most_of_it_remembered(
    asked: list[tuple[int, bool, bool]], rng: Random
) -> None:
    before = active_memory()
    reset_peak()
    held: list[np.ndarray] = []
    live = most = 0
    for size, viewed, scratch in asked:
        if rng.random() < 0.4:
            held.clear()
            live = 0
        block = spare(size) if scratch else room(size)
        held.append(block[size // 2 :] if viewed else block)  # a view keeps the whole block
        del block
        live += size
        most = max(most, live)
        assert active_memory() - before == live
    assert peak_memory() - before == most
    held.clear()
    assert active_memory() == before


def test_mlx_counts_too() -> None:
    before = active_memory()
    reset_peak()
    block = room(1 << 20)
    array = mx.zeros(1 << 18)
    mx.eval(array)
    assert active_memory() - before == 2 << 20
    assert peak_memory() - before == 2 << 20
    del block
    block = room(1 << 16)
    assert peak_memory() - before == 2 << 20
    del array, block
    reset_peak()
    assert peak_memory() == active_memory() == before


@pytest.mark.parametrize("kind", [np.float32, np.uint16, np.float16])
def test_memory_has_the_shape_and_the_type_that_are_asked_for(kind: type) -> None:
    for shape in [(1, 3, 5, 7), (1, 900, 300, 20)]:
        block = room(shape, kind)
        assert (block.shape, block.dtype.type) == (shape, kind)
        block[...] = 1
        assert block.flags.c_contiguous
    assert not room((2, 3), kind).any(), "small memory is filled"


HOARDS = pytest.mark.skipif(heap._trim is None, reason="freed pages are kept only where a ceiling can ask for them")


@HOARDS
def test_pages_are_used_again_below_a_ceiling_and_given_back_after_it() -> None:
    active_memory()  # what was freed before is no longer waiting to be counted
    with under(asked := Asked()):
        first = room(BLOCK)
        first[...] = 7
        del first
        again = room(BLOCK - 4096)
        assert again.all(), "these pages are there"
        assert asked.sizes == [BLOCK]
        del again
        other = room(2 * BLOCK)
        assert asked.sizes == [BLOCK, BLOCK], "the first half is there"
        del other
    block = room(2 * BLOCK)
    assert not block.any(), "they were given back"
    block[...] = 7
    del block
    assert not room(BLOCK).any(), "without a ceiling nothing would ask for them"


@HOARDS
def test_pages_are_given_back_before_a_process_outgrows_its_prediction() -> None:
    start = held()
    with under(Ceiling(10 * LARGE)):
        first, pin = room(8 * LARGE), room(LARGE)
        first[::4096] = pin[::4096] = 1
        del first
        second = room(9 * LARGE)  # does not fit between the slab's start and `pin`
        second[::4096] = 1
        assert held() <= start + 11 * LARGE


def test_threads_may_free_what_others_made() -> None:
    before = active_memory()

    def work(seed: int) -> None:
        rng = Random(seed)
        held: list[np.ndarray] = []
        for _ in range(300):
            held.append(room(rng.choice([100, 1 << 17, LARGE])))
            if len(held) > 3:
                held.pop(rng.randrange(4))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert active_memory() == before


def test_what_is_freed_without_a_ceiling_is_given_back_at_once() -> None:
    before = held()
    block = room(8 * LARGE)
    block[::4096] = 1
    assert held() >= before + 7 * LARGE
    del block
    assert not counted._ledger._freed
    assert held() <= before + LARGE


@pytest.mark.slow
def test_a_stream_that_is_left_early_leaves_nothing_to_be_given_back() -> None:
    vae = VAE.demo()
    latents = np.random.default_rng(0).standard_normal((1, vae.config.latents.channels, 40, 40)).astype(np.float32)
    rows: Any = vae.stream(latents, budget="1GB")
    next(rows)
    rows.close()
    assert not counted._ledger._freed
    del rows
    assert not counted._ledger._slabs._slabs


def test_garbage_that_is_collected_while_a_block_is_made_waits() -> None:
    block = room(LARGE)
    with counted._ledger._lock:
        del block
        heap._release()
        assert len(counted._ledger._freed) == 1
    active_memory()
    assert not counted._ledger._freed


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_has_a_lock_of_its_own() -> None:
    code = """if True:
        import os
        from zvae_tiled.devices import counted
        counted._ledger._lock.acquire()
        child = os.fork()
        if not child:
            os._exit(counted.active_memory() != 0)
        assert os.waitpid(child, 0)[1] == 0
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environment(PYTHONWARNINGS="default"))


@pytest.mark.slow
def test_a_process_ends_in_silence() -> None:
    code = "from zvae_tiled.devices.counted import room; kept = [room(5 << 20), room(100)]; kept.append(kept)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment())
    assert done.stderr == ""
