"""One safetensors file, opened once: the header that is checked belongs to the bytes that are read."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

from zvae_tiled.errors import WeightsError
from zvae_tiled.files.opening import open_regular, unreadable
from zvae_tiled.weights.content import SNIFF_BYTES, recognise
from zvae_tiled.weights.header import PREFIX_BYTES, HeaderError, TensorInfo, header_length, parse_header


class SafetensorsFile:
    """An open, checked safetensors file.

    Nothing is mapped into memory: a mapped file that is cut short kills the process with SIGBUS, a read that
    comes up short is an error. Use it as a context manager.

    Attributes:
        path: Where the file was when it was opened.
        tensors: What the header says, by name, in the order of the bytes.
    """

    def __init__(self, path: Path) -> None:
        """Open the file and check its header.

        Raises:
            WeightsError: It cannot be read, or is not a safetensors file; then the message says what it is.
        """
        self.path = path
        self._file, self._opened = open_regular(path)
        try:
            self._data_start, self.tensors = self._read_header()
        except BaseException:
            self.close()
            raise

    def _read_header(self) -> tuple[int, dict[str, TensorInfo]]:
        size = self._opened.st_size
        start = bytearray(min(size, SNIFF_BYTES))
        self.read_at(0, memoryview(start))
        try:
            length = header_length(bytes(start), size)
            raw = bytearray(length)
            self.read_at(PREFIX_BYTES, memoryview(raw))
            data_start = PREFIX_BYTES + length
            return data_start, parse_header(bytes(raw), size - data_start)
        except HeaderError as error:
            problem, advice = f"{self.path} is not a sound safetensors file: {error}.", "Download it again."
            known = recognise(bytes(start))
            if known is not None:
                problem, advice = f"{self.path} must be a safetensors file, it is {known[0]}.", known[1]
            raise WeightsError(problem, advice) from error

    def read_tensor(self, info: TensorInfo, skip: int, into: memoryview) -> None:
        """Fill ``into`` with a tensor's bytes, from ``skip`` bytes after its first one on."""
        if info.start + skip + len(into) > info.stop:
            raise ValueError("more bytes were asked for than the tensor has")
        self.read_at(self._data_start + info.start + skip, into)

    def read_at(self, offset: int, into: memoryview) -> None:
        """Fill ``into`` with the bytes at ``offset``; every byte that is read of a checkpoint passes here."""
        try:
            self._file.seek(offset)
            while into:
                # One call may return less: Linux stops at 2^31 bytes.
                count = self._file.readinto(into)
                if not count:
                    raise self._changed("it was cut short while it was being read")
                into = into[count:]
        except OSError as error:
            raise unreadable(self.path, error) from error

    def check_unchanged(self) -> None:
        """Raise if the file was written to since it was opened: what was read may be half old, half new."""
        before, now = self._opened, os.fstat(self._file.fileno())
        if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise self._changed("it was written to while it was being read")

    def _changed(self, how: str) -> WeightsError:
        return WeightsError(f"{self.path} changed: {how}.", "Load it again once nothing writes to it.")

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        self._file.close()

    def __enter__(self) -> SafetensorsFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
