"""Freed memory goes back to the system where it would carry the process past its ceiling, and only there."""

from __future__ import annotations

import pytest

from tests.support.ceilings import held
from zvae_tiled.devices import heap
from zvae_tiled.devices.heap import Ceiling, make_room, under

pytestmark = pytest.mark.skipif(heap._trim is None, reason="the C library gives nothing back")

BLOCK = 60_000
"""Bytes of a block: too few for pages of its own."""

FREED = 300 * BLOCK


def fragments() -> list[bytes]:
    """300 blocks; the 300 between them are freed, so the C library keeps their memory."""
    blocks = [bytes(BLOCK) for _ in range(600)]
    return blocks[::2]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other programs push out of memory is counted all the same."""
    monkeypatch.setattr(heap, "_resident", held)


def test_free_memory_goes_back_where_a_block_would_pass_the_ceiling() -> None:
    with under(Ceiling(2 * FREED + 100 * BLOCK)):
        kept = fragments()
        before = held()
        make_room(2 * BLOCK)
        assert held() > before - FREED / 10, "there was room"
        make_room(300 * BLOCK)
        assert held() < before - FREED / 2
    del kept


def test_what_was_freed_before_is_given_back_first() -> None:
    kept, before = fragments(), held()
    with under(Ceiling(FREED)):
        assert held() < before - FREED / 2
    del kept


def test_nothing_happens_outside_of_a_decode() -> None:
    with under(Ceiling(-FREED)):
        pass
    kept, before = fragments(), held()
    make_room(1 << 40)
    assert held() > before - FREED / 10
    del kept


def test_what_does_not_help_is_not_tried_for_every_block(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(heap, "_trim", calls.append)
    with under(Ceiling(-heap.STEP)):
        calls.clear()  # of the beginning
        for _ in range(10):
            make_room(heap.SMALL)
    assert len(calls) == 1, "all that the process holds is in use"
