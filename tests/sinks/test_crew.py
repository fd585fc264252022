"""Files are the same bytes for any number of cores and any bands, and threads end whatever happens."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tests.sinks.cases import NOTES, Picture
from tests.sinks.readers import read_png, read_tiff
from tests.support.leftovers import nothing_left, refusal
from zvae_tiled.sinks import crew, png
from zvae_tiled.sinks.crew import Crew
from zvae_tiled.sinks.png_parts import adler_of_both

ENDINGS = (".png", ".tif", ".ptif")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Blocks of a few rows, and a check that all threads end."""
    monkeypatch.setattr(png, "BLOCK", 300)
    monkeypatch.setattr(crew, "usable_cores", lambda: 3)
    yield
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("zvae-compress")]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("seed", range(15))
@pytest.mark.sample(4)
def test_a_file_depends_neither_on_cores_nor_on_bands(
    ending: str, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = Random(seed)
    picture = Picture.drawn(rng, (ending,), most=rng.choice([40, 530]) if ending != ".png" else 60)
    files = set()
    for cores in (1, 2, 7):
        monkeypatch.setattr(crew, "usable_cores", lambda cores=cores: cores)
        files.add(picture.write(tmp_path).read_bytes())
        picture.bands = [1] * len(picture.values)
    assert len(files) == 1
    read: Callable[[Path], tuple[Any, Any]] = read_png if ending == ".png" else read_tiff
    assert np.array_equal(read(tmp_path / f"picture{ending}")[0], picture.stored)


def test_blocks_are_many_and_begin_at_the_same_rows(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((50, 30, 3), np.float32)
    path = Picture(values, [7, 43], ".png", 8).write(tmp_path)
    assert path.read_bytes().count(b"IDAT") == 2 + 50 // 3 + 1  # 91 bytes a row; zlib's header and checksum


@pytest.mark.parametrize("seed", range(20))
def test_checksums_of_parts_are_combined(seed: int) -> None:
    rng = Random(seed)
    first, second = (rng.randbytes(rng.choice([0, 1, 65520, 65521, 65522, rng.randint(0, 200_000)])) for _ in range(2))
    both = adler_of_both(zlib.adler32(first), zlib.adler32(second), len(second))
    assert both == zlib.adler32(first + second)


def test_results_are_taken_in_order_and_never_more_than_a_few_are_at_work() -> None:
    taken: list[int] = []
    lock, at_work, most = threading.Lock(), 0, 0
    go = threading.Event()

    def work(number: int) -> int:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        if number == 0:
            assert go.wait(600), "the third does not begin before the first is done"  # which is the last to be done
        with lock:
            at_work -= 1
            if number == 2:
                go.set()
        return number

    team = Crew[int](3, taken.append)
    for number in range(20):
        team.give(lambda number=number: work(number))  # type: ignore[misc]
    team.finish()
    assert taken == list(range(20))
    assert 2 <= most <= 3


@pytest.mark.parametrize("error", [(zlib.error, "Error -2"), (OSError, 28, "No space left")])
@pytest.mark.parametrize("ending", ENDINGS)
def test_an_error_in_a_thread_is_told_and_leaves_nothing(
    ending: str, error: tuple[Any, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **options: Any) -> Any:
        raise error[0](*error[1:])

    picture = Picture(np.zeros((600, 600, 1), np.float32), [600], ending, 8)
    sink = picture.target(tmp_path).sink(NOTES)
    monkeypatch.setattr(zlib, "compressobj", broken)
    with nothing_left(tmp_path):
        said = refusal(sink.write, 0, mx.array(picture.values[None]))
        sink.abort()
        assert f"picture{ending} cannot be written: " in said
        assert ("No space" if error[0] is OSError else "compression failed") in said


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_memory_that_runs_out_or_ctrl_c_in_a_thread_leaves_nothing(
    ending: str, error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No OSError says that the disk is full: a decode plans once more when memory runs out."""

    def broken(*args: Any, **options: Any) -> Any:
        raise error

    picture = Picture(np.zeros((600, 600, 1), np.float32), [600], ending, 8)
    sink = picture.target(tmp_path).sink(NOTES)
    monkeypatch.setattr(zlib, "compressobj", broken)
    with nothing_left(tmp_path):
        try:
            sink.write(0, mx.array(picture.values[None]))
            pytest.fail("the error of a thread is lost")
        except error:
            sink.abort()


@pytest.mark.parametrize("ending", ENDINGS)
def test_ctrl_c_while_threads_work_leaves_nothing(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Any) -> None:
        raise KeyboardInterrupt

    picture = Picture(np.zeros((600, 1500, 1), np.float32), [600], ending, 8)
    sink = picture.target(tmp_path).sink(NOTES)
    monkeypatch.setattr(Crew, "_take_one", interrupted)
    with nothing_left(tmp_path):
        with pytest.raises(KeyboardInterrupt):
            sink.write(0, mx.array(picture.values[None]))
        sink.abort()
