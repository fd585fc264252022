"""One safetensors file, opened once, so that the checked header belongs to the bytes that are read."""

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

    The file is read, not mapped into memory. If it is cut short meanwhile, a read raises an error, but a mapping would
    kill the process with SIGBUS. Use it as a context manager.

    Attributes:
        path: The path the file was opened at.
        tensors: The header's entries by name, in the order of their bytes.
    """

    def __init__(self, path: Path) -> None:
        """Open the file and check its header.

        Raises:
            WeightsError: It cannot be read, or is not a safetensors file. The message says what it is if that is known.
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
            problem, advice = f"{self.path} is not a valid safetensors file: {error}.", "Download it again."
            other = recognise(bytes(start))
            if other is not None:
                problem, advice = f"{self.path} must be a safetensors file, it is {other[0]}.", other[1]
            raise WeightsError(problem, advice) from error

    def read_tensor(self, info: TensorInfo, skip: int, into: memoryview) -> None:
        """Fill ``into`` with a tensor's bytes, after skipping the first ``skip`` of them."""
        if info.start + skip + len(into) > info.stop:
            raise ValueError("the read goes past the end of the tensor")
        self.read_at(self._data_start + info.start + skip, into)

    def read_at(self, offset: int, into: memoryview) -> None:
        """Fill ``into`` with the bytes at ``offset``. All bytes of a checkpoint are read here."""
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
        """Raise if the file was written to since it was opened: the data may be part old and part new."""
        before, now = self._opened, os.fstat(self._file.fileno())
        if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise self._changed("it was written to while it was being read")

    def _changed(self, how: str) -> WeightsError:
        return WeightsError(f"{self.path} changed: {how}.", "Load it again when no program writes to it.")

    def close(self) -> None:
        """Close the file. A second call does nothing."""
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
