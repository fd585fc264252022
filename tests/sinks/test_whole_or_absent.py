"""Files appear whole or not at all: after any failure nothing is left behind, and an old file stays."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from tests.sinks.cases import NOTES, Picture
from tests.support.leftovers import file_size_limit, nothing_left, refusal
from tests.support.samples import examples

ENDINGS = (".png", ".tiff", ".ptif", ".jpg", ".webp", ".npy", ".safetensors")
SETTINGS = examples(8, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("ending", ENDINGS)
@SETTINGS
@given(seed=st.integers(0, 1 << 30), share=st.floats(0, 1))
def test_a_sink_that_is_stopped_leaves_nothing(ending: str, seed: int, share: float, tmp_path: Path) -> None:
    picture = Picture.drawn(Random(seed), (ending,))
    (tmp_path / f"picture{ending}").write_bytes(b"what was there before")
    with nothing_left(tmp_path):
        sink, top = picture.target(tmp_path).sink(NOTES), 0
        for rows in picture.bands[: round(share * len(picture.bands))]:  # share 1: whole, but without its name
            sink.write(0, mx.array(picture.values[None, top : top + rows]))
            top += rows
        sink.abort()
        sink.abort()
        del sink


@pytest.mark.parametrize("ending", ENDINGS)
@SETTINGS
@given(seed=st.integers(0, 1 << 30), share=st.floats(0, 0.99))
def test_a_disk_that_is_full_is_an_error_and_leaves_nothing(
    ending: str, seed: int, share: float, tmp_path: Path
) -> None:
    picture = Picture.drawn(Random(seed), (ending,))
    size = picture.write(tmp_path).stat().st_size
    (tmp_path / f"picture{ending}").write_bytes(b"what was there before")

    def write() -> None:
        sink = picture.target(tmp_path).sink(NOTES)
        try:
            sink.write(0, mx.array(picture.values[None]))
            sink.close()
        except BaseException:
            sink.abort()
            raise

    with nothing_left(tmp_path), file_size_limit(int(size * share)):
        assert f"picture{ending} cannot be written" in refusal(write)


@pytest.mark.parametrize("ending", [".jpg", ".webp"])
def test_an_encoder_that_gives_up(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    def save(self: Any, *args: Any, **options: Any) -> None:
        raise ValueError("encoding error 1")

    monkeypatch.setattr(Image.Image, "save", save)
    picture = Picture(np.zeros((4, 4, 3), np.float32), [4], ending, 8)
    with nothing_left(tmp_path):
        sink = picture.target(tmp_path).sink(NOTES)
        assert "encoder failed: encoding error 1" in refusal(sink.write, 0, mx.array(picture.values[None]))
        sink.abort()
