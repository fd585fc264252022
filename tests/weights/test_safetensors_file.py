"""The open file: files of other formats, errors of the system, and changes made to it while it is read."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from tests.support.checkpoints import Blob, encode, open_files, with_header
from zvae_tiled.errors import WeightsError
from zvae_tiled.weights.content import recognise
from zvae_tiled.weights.safetensors_file import SafetensorsFile


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "empty"),
        (b"PK\x03\x04" + bytes(60), "pickle"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "pickle"),
        (b"\x80\x04\x95\x00\x01\x00\x00\x00\x00\x00\x00}", "pickle"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n", "git-LFS pointer"),
        (b"GGUF\x03\x00\x00\x00" + bytes(20), "GGUF"),
        (b"<!DOCTYPE html>\n<html>", "web page"),
        (b"\n\n<HTML lang=en>", "web page"),
        (b"<?xml version='1.0'?><Error>AccessDenied</Error>", "web page"),
        (b'{"error":"Entry not found"}', "JSON"),
        (b"\x1f\x8b\x08" + bytes(20), "gzip"),
        (b"\x93NUMPY\x01\x00v\x00{'descr'", "NumPy"),
        (bytes(4096), "file of zeros"),
    ],
)
def test_foreign_files_are_called_by_their_name(tmp_path: Path, content: bytes, what: str) -> None:
    file = tmp_path / "f.safetensors"
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=f"must be a safetensors file, it is .*{what}"):
        SafetensorsFile(file)


def test_noise_is_called_nothing() -> None:
    assert recognise(b"\x07\x11\x13\x17" * 8) is None


def test_a_pickle_is_not_run_and_the_way_out_is_shown(tmp_path: Path) -> None:
    import pickle

    class Bomb:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "boom"),))

    file = tmp_path / "f.safetensors"
    file.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(WeightsError, match="weights_only=True"):
        SafetensorsFile(file)
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize("length", [0x0280, 0x0480, ord("{"), ord("{") + 0x2200])
def test_a_length_that_looks_like_another_format(tmp_path: Path, length: int) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    content = with_header(header.ljust(length), bytes(4))
    file = tmp_path / "f.safetensors"
    file.write_bytes(content)
    with SafetensorsFile(file) as opened:
        assert opened.tensors.keys() == {"a"}
    file.write_bytes(content[:-1])
    with pytest.raises(WeightsError, match="truncated"):
        SafetensorsFile(file)


# The open file.


@pytest.fixture
def five_seconds() -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(5)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    file = tmp_path / "good.safetensors"
    file.write_bytes(encode({"a": Blob("F32", np.arange(3.0)), "b": Blob("F32", np.arange(3.0, 1003.0))}))
    return file


@pytest.mark.usefixtures("five_seconds")
def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.safetensors"
    os.mkfifo(pipe)
    with pytest.raises(WeightsError, match="must be a regular file, it is a named pipe"):
        SafetensorsFile(pipe)


@pytest.mark.usefixtures("five_seconds")
@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/tty"])
def test_a_device_is_not_read(device: str) -> None:
    with pytest.raises(WeightsError, match="device"):
        SafetensorsFile(Path(device))


def test_a_folder_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="it is a folder"):
        SafetensorsFile(tmp_path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"No such file.*\n.*Check the path"):
        SafetensorsFile(tmp_path / "none.safetensors")


def test_a_link_to_nothing(tmp_path: Path) -> None:
    link = tmp_path / "link.safetensors"
    link.symlink_to("gone")
    with pytest.raises(WeightsError, match="a link to a file that is gone"):
        SafetensorsFile(link)


@pytest.mark.parametrize(("code", "advice"), [(errno.EACCES, "Check the permissions"), (errno.EIO, "Check the disk")])
def test_what_the_system_refuses(good: Path, monkeypatch: pytest.MonkeyPatch, code: int, advice: str) -> None:
    def refuse(*arguments: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(WeightsError, match=f"{os.strerror(code)}.*\n.*{advice}"):
        SafetensorsFile(good)


def test_values_are_read_from_where_the_header_says(good: Path) -> None:
    with SafetensorsFile(good) as file:
        out = np.empty(500, np.float32)
        file.read_tensor(file.tensors["b"], 4 * 7, out.data.cast("B"))
    assert out.tolist() == list(np.arange(10.0, 510.0))


def test_no_tensor_is_read_past_its_end(good: Path) -> None:
    with SafetensorsFile(good) as file, pytest.raises(ValueError, match="past the end of the tensor"):
        file.read_tensor(file.tensors["a"], 8, memoryview(bytearray(5)))


class Trickle(io.FileIO):
    """A file that gives a few bytes at a time, as the system may; or an error."""

    fails = False

    def readinto(self, into: Any) -> int:
        if self.fails:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().readinto(memoryview(into)[:7]) or 0


def test_short_reads_are_continued_and_errors_wrapped(good: Path) -> None:
    with SafetensorsFile(good) as file:
        file._file.close()
        file._file = Trickle(good)
        out = np.empty(1000, np.float32)
        file.read_tensor(file.tensors["b"], 0, out.data.cast("B"))
        assert out.tolist() == list(np.arange(3.0, 1003.0))
        file._file.fails = True
        with pytest.raises(WeightsError, match="cannot be read: Input/output error"):
            file.read_tensor(file.tensors["b"], 0, out.data.cast("B"))


def test_a_file_cut_short_behind_us_is_an_error(good: Path) -> None:
    with SafetensorsFile(good) as file:
        os.truncate(good, good.stat().st_size - 1)
        with pytest.raises(WeightsError, match="cut short while it was being read"):
            file.read_tensor(file.tensors["b"], 0, memoryview(bytearray(4000)))


def test_a_file_written_behind_us_is_noticed(good: Path) -> None:
    with SafetensorsFile(good) as file:
        file.check_unchanged()
        os.utime(good, ns=(0, 1))
        with pytest.raises(WeightsError, match="written to while it was being read"):
            file.check_unchanged()


def test_a_file_grown_behind_us_is_noticed(good: Path) -> None:
    state = good.stat()
    with SafetensorsFile(good) as file:
        with good.open("ab") as appending:
            appending.write(b"x")
        os.utime(good, ns=(state.st_atime_ns, state.st_mtime_ns))
        with pytest.raises(WeightsError, match="written to while it was being read"):
            file.check_unchanged()


def test_a_file_replaced_behind_us_stays_the_one_that_was_opened(good: Path, tmp_path: Path) -> None:
    with SafetensorsFile(good) as file:
        other = tmp_path / "other"
        other.write_bytes(b"x" * good.stat().st_size)
        other.replace(good)
        out = np.empty(3, np.float32)
        file.read_tensor(file.tensors["a"], 0, out.data.cast("B"))
        file.check_unchanged()
    assert out.tolist() == [0, 1, 2]


def test_nothing_stays_open(good: Path, tmp_path: Path) -> None:
    before = open_files()
    with SafetensorsFile(good):
        assert open_files() == before + 1
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"PK\x03\x04")
    for path in (bad, tmp_path, Path("/dev/null")):
        with contextlib.suppress(WeightsError):
            SafetensorsFile(path)
    assert open_files() == before
