"""File objects as outputs, and several outputs of one decode."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import shutil
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.leftovers import nothing_left
from tests.support.models import random_latents, random_vae
from zvae_tiled.devices.here import kernels_for, this_device
from zvae_tiled.errors import BudgetError, InputError, OutputError
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.planner.ends import PROCESS
from zvae_tiled.sinks import targets_of
from zvae_tiled.sinks.stream import FORMATS

CONFIG = AutoencoderKLConfig(
    latent_channels=4, block_out_channels=(4, 4), norm_num_groups=2, mid_block_add_attention=False
)
VAE, LATENTS = random_vae(CONFIG), random_latents(CONFIG, 16, 12)
KERNELS = type(kernels_for(this_device(VAE.dtype), VAE.dtype))
"""What decodes compute with here."""


class OnlyWrites:
    """The body of a response: it has `write` alone, which takes what it likes."""

    def __init__(self, most: int | None = None, fails_after: int | None = None) -> None:
        self.parts: list[bytes] = []
        self.most = most
        self.fails_after = fails_after

    def write(self, data: bytes) -> int | None:
        if self.fails_after is not None and len(self.content) >= self.fails_after:
            raise RuntimeError("the client has gone")
        self.parts.append(data if self.most is None else data[: self.most])
        return None if self.most is None else len(self.parts[-1])

    @property
    def content(self) -> bytes:
        return b"".join(self.parts)


@pytest.fixture(params=FORMATS)
def as_file(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, bytes]:
    path = tmp_path / f"want.{request.param}"
    VAE.decode_to_file(LATENTS, path)
    return request.param, path.read_bytes()


def test_a_file_object_gets_the_bytes_of_the_file(as_file: tuple[str, bytes]) -> None:
    name, want = as_file
    buffer = io.BytesIO(b"before")
    buffer.seek(6)
    report = VAE.decode_to_file(LATENTS, buffer, format=name)
    assert report.measured_peak <= report.predicted_peak - PROCESS
    buffer.write(b"after")
    assert buffer.getvalue() == b"before" + want + b"after"


def test_a_png_of_several_blocks_needs_write_alone() -> None:
    latents, body, buffer = random_latents(CONFIG, 128, 128), OnlyWrites(), io.BytesIO()
    for file in (body, buffer):
        VAE.decode_to_file(latents, file, format="png")
    assert body.content == buffer.getvalue()
    assert body.content.count(b"IDAT") > 3, "each block is a chunk"


@pytest.mark.parametrize("most", [None, 7])
@pytest.mark.sample(5)
def test_what_cannot_seek_gets_all_but_tiff(as_file: tuple[str, bytes], most: int | None) -> None:
    name, want = as_file
    body = OnlyWrites(most)
    if "tif" in name:
        with pytest.raises(OutputError, match="cannot seek"):
            VAE.decode_to_file(LATENTS, body, format=name)
        assert not body.parts
        return
    VAE.decode_to_file(LATENTS, body, format=name)
    assert body.content == want


def test_a_pipe_a_zip_and_a_gzip_are_written_and_left_open(tmp_path: Path) -> None:
    VAE.decode_to_file(LATENTS, tmp_path / "a.png")
    want = (tmp_path / "a.png").read_bytes()
    reading, writing = os.pipe()
    heard: list[bytes] = []
    with open(reading, "rb") as source, open(writing, "wb", buffering=0) as pipe:
        reader = threading.Thread(target=lambda: heard.append(source.read()))
        reader.start()
        VAE.decode_to_file(LATENTS, pipe, format="png")
        assert not pipe.closed
        pipe.close()
        reader.join()
    assert heard == [want]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, archive.open("a.png", "w") as member:
        VAE.decode_to_file(LATENTS, member, format="png")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.read("a.png") == want
    with gzip.open(tmp_path / "a.png.gz", "wb") as packed:
        VAE.decode_to_file(LATENTS, packed, format="PNG")
    assert gzip.decompress((tmp_path / "a.png.gz").read_bytes()) == want


def refused(tmp_path: Path) -> Iterator[tuple[Any, Any, str]]:
    closed = io.BytesIO()
    closed.close()
    appended = open(tmp_path / "old", "ab")  # noqa: SIM115
    for mode in ("r", "r+", "rb"):
        (tmp_path / "old").write_bytes(b"old")
        yield open(tmp_path / "old", mode), "png", "takes text" if mode != "rb" else "for reading only"  # noqa: SIM115
    yield io.StringIO(), "png", "takes text"
    yield codecs.getwriter("utf-8")(io.BytesIO()), "png", "takes text"
    yield tempfile.TemporaryFile("w"), "png", "takes text"  # noqa: SIM115
    yield closed, "png", "is closed"
    yield appended, "tiff", "cannot seek"
    descriptor = os.open(tmp_path / "old", os.O_WRONLY | os.O_APPEND)  # as `>>` opens it
    yield os.fdopen(descriptor, "wb"), "tiff", "cannot seek"
    yield gzip.open(tmp_path / "packed", "wb"), "tiff", "cannot seek"  # noqa: SIM115
    yield io.BytesIO(), None, 'Name it: format="png"'
    yield io.BytesIO(), "gif", "format must be one of png, "
    yield io.BytesIO(), 3, "format must be one of png, "


def test_what_is_no_place_for_a_picture_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KERNELS, "conv", lambda *args: pytest.fail("work has begun"))
    for file, name, reason in refused(tmp_path):
        with pytest.raises(OutputError) as error:
            VAE.decode_to_file(LATENTS, file, format=name)
        assert reason in str(error.value)
        file.close()
    assert (tmp_path / "old").read_bytes() == b"old"
    batch = random_latents(CONFIG, 4, 4, batch=2)
    with pytest.raises(OutputError, match="holds one picture, these are 2"):
        VAE.decode_to_file(batch, io.BytesIO(), format="png")
    with pytest.raises(OutputError, match=r"the file object: bits= must be 8 in this kind of file, it is 16"):
        VAE.decode_to_file(LATENTS, io.BytesIO(), format="jpeg", bits=16)
    with pytest.raises(InputError, match="no output is a file object"):
        VAE.decode_to_file(LATENTS, tmp_path / "a.png", format="png")
    with pytest.raises(InputError, match="path must be a path, it is 3"):
        VAE.decode_to_file(LATENTS, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["png", "jpeg", "webp", "npy"])
def test_an_object_that_fails_is_named_and_nothing_runs_on(name: str) -> None:
    body = OnlyWrites(fails_after=0)
    with pytest.raises(
        OutputError, match="cannot be written: an OnlyWrites: RuntimeError: the client has gone"
    ) as error:
        VAE.decode_to_file(LATENTS, body, format=name)
    assert "decode again" in error.value.advice
    assert VAE.decode(LATENTS).shape == (1, 32, 24, 3), "the next decode is not held up"


def test_a_full_device_is_an_output_error() -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    with pytest.raises(OutputError, match="No space left"), open("/dev/full", "wb", buffering=0) as full:
        VAE.decode_to_file(LATENTS, full, format="png")


class Response(OnlyWrites):
    """As of a web framework, which names the encoding of its texts."""

    encoding, mode = "utf-8", "wb+"


def test_the_body_of_a_response_may_name_an_encoding(tmp_path: Path) -> None:
    body = Response()
    VAE.decode_to_file(LATENTS, [body, tmp_path / "a.png"], format="png")
    assert body.content == (tmp_path / "a.png").read_bytes()


class WouldBlock(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> None:
        return None


def test_a_raw_file_that_takes_nothing_is_an_output_error() -> None:
    with pytest.raises(OutputError, match="it takes no more bytes now"):
        VAE.decode_to_file(LATENTS, WouldBlock(), format="png")
    with pytest.raises(OutputError, match=r"its write\(\) returned 0 for"):
        VAE.decode_to_file(LATENTS, OnlyWrites(most=0), format="png")


def test_one_decode_writes_several_outputs(tmp_path: Path) -> None:
    latents, runs = random_latents(CONFIG, 16, 12, batch=2), list[object]()
    VAE.decode_to_file(latents, tmp_path / "a.png")
    VAE.decode_to_file(latents, tmp_path / "a.npy")
    VAE.decode_to_file(latents, [tmp_path / "b.png", str(tmp_path / "b.npy")], progress=runs.append)
    assert [getattr(run, "done") for run in runs].count(1.0) == 1  # noqa: B009
    for name in ("-0.png", "-1.png", "-0.npy", "-1.npy"):
        assert (tmp_path / f"b{name}").read_bytes() == (tmp_path / f"a{name}").read_bytes()


def test_a_file_object_beside_files(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    VAE.decode_to_file(LATENTS, (buffer, tmp_path / "a.npy"), format="jpeg")
    buffer.seek(0)
    with Image.open(buffer) as image:
        assert image.size == (24, 32)
    assert np.load(tmp_path / "a.npy").shape == (32, 24, 3)


@pytest.mark.slow
def test_what_all_outputs_gather_is_predicted_and_measured(tmp_path: Path) -> None:
    latents = random_latents(CONFIG, 40, 60, batch=2)

    def least(*endings: str) -> int:
        with pytest.raises(BudgetError) as refused:
            VAE.decode_to_file(latents, [tmp_path / f"a{ending}" for ending in endings], budget="1B")
        assert refused.value.needed is not None
        return refused.value.needed

    gathers = [least(ending) - least(".png") for ending in (".tiff", ".webp")]
    both = least(".tiff", ".webp", ".png")
    assert all(gathers)
    assert both == least(".png") + sum(gathers)
    report = VAE.decode_to_file(
        latents, [tmp_path / f"a{kind}" for kind in (".tiff", ".webp", ".png")], budget=f"{both}B"
    )
    assert report.measured_peak <= report.predicted_peak - PROCESS


def test_of_several_outputs_all_files_appear_or_none(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"old")
    with nothing_left(tmp_path), pytest.raises(OutputError, match="the client has gone"):
        VAE.decode_to_file(LATENTS, [tmp_path / "a.png", tmp_path / "b.npy", OnlyWrites(fails_after=9)], format="png")
    assert (tmp_path / "a.png").read_bytes() == b"old"

    def appear(progress: Any) -> None:
        if progress.done == 1:
            (tmp_path / "c.npy").write_bytes(b"of another program")

    with pytest.raises(OutputError, match=r"c\.npy cannot be written: a file of that name has appeared"):
        VAE.decode_to_file(LATENTS, [tmp_path / "c.png", tmp_path / "c.npy"], overwrite=False, progress=appear)
    assert not (tmp_path / "c.png").exists()
    assert (tmp_path / "c.npy").read_bytes() == b"of another program"


def test_several_outputs_that_are_the_same_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with nothing_left(tmp_path), pytest.raises(OutputError, match="Several files would be written"):
        VAE.decode_to_file(LATENTS, [tmp_path / "a.png", tmp_path / "." / "a.png"])
    with pytest.raises(OutputError, match="the same file object is named twice"):
        VAE.decode_to_file(LATENTS, [buffer, buffer], format="png")
    with pytest.raises(InputError, match="the list is empty"):
        VAE.decode_to_file(LATENTS, [])
    with nothing_left(tmp_path), pytest.raises(OutputError, match="pictures are written as"):
        VAE.decode_to_file(LATENTS, [tmp_path / "a.png", tmp_path / "a.gif"])


def test_the_disk_has_room_for_all_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = targets_of([tmp_path / "a.png", tmp_path / "b.npy"], (1, 32, 24, 3))
    needed = sum(each.needed for each in both.files)
    for free in (needed, needed - 1):
        usage = type("Usage", (), {"free": free})
        monkeypatch.setattr(shutil, "disk_usage", lambda folder, usage=usage: usage)
        if free == needed:
            both.check_room(0, tmp_path)
            continue
        with pytest.raises(OutputError, match=r"b\.npy may need .* and the files beside it"):
            both.check_room(0, tmp_path)
