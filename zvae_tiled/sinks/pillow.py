"""Writes JPEG and WebP with Pillow, which needs the whole picture in memory."""

from __future__ import annotations

import json
from typing import Any, BinaryIO, ClassVar

from zvae_tiled.inputs.arrays import imported
from zvae_tiled.sinks.texts import MOST_BYTES
from zvae_tiled.sinks.writer import Samples, Shape, Writer

_SOFTWARE, _DESCRIPTION = 0x0131, 0x010E
"""Numbers of EXIF tags."""

_CODE = 4 << 20
"""Bytes of Pillow's and the encoders' code and tables (`python -m benchmarks run --suite process`)."""

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class _Pillow(Writer):
    """Gathers the picture in Pillow's own memory."""

    bits = (8,)
    options: ClassVar[dict[str, Any]]

    def __init__(self, file: BinaryIO, shape: Shape, bits: int, notes: dict[str, str]) -> None:
        super().__init__(file, shape, bits, notes)
        self._module = imported("PIL.Image", "pip install 'zvae-tiled[pil]'")
        self._image = self._module.new(_MODES[shape[2]], (shape[1], shape[0]))
        self._top = 0
        self._exif = self._module.Exif()
        self._exif[_SOFTWARE] = notes.get("Software", "")
        self._exif[_DESCRIPTION] = json.dumps(notes)

    def write(self, rows: Samples) -> None:
        part = self._module.fromarray(rows[..., 0] if rows.shape[-1] == 1 else rows)
        self._image.paste(part, (0, self._top))
        self._top += len(rows)

    def finish(self) -> None:
        try:
            self._image.save(_OnlyWrite(self.file), format=self.pillow, exif=self._exif, **self.options)
        except ValueError as error:  # from Pillow's encoders
            raise OSError(None, f"Pillow's {self.pillow} encoder failed: {error}") from error


class _OnlyWrite:
    """A file without `fileno`: with it, Pillow's C code would not notice a partial write on a full disk."""

    def __init__(self, file: BinaryIO) -> None:
        self.write = file.write


class Jpeg(_Pillow):
    """Writes JPEG of quality 95, with colours at full resolution."""

    channels = (1, 3)
    side = 65500  # libjpeg's JPEG_MAX_DIMENSION, below the format's own 65535
    pillow = "JPEG"
    text_room = 60_000  # EXIF is one segment of at most 65,533 bytes
    options: ClassVar[dict[str, Any]] = {"quality": 95, "subsampling": 0}

    @staticmethod
    def gathered(shape: Shape, bits: int) -> int:
        """Return the bytes of the picture in Pillow, which keeps RGB in four bytes. The encoder works row by row."""
        del bits  # always 8
        return shape[0] * shape[1] * (1 if shape[2] == 1 else 4) + _CODE


class WebP(_Pillow):
    """Writes WebP of quality 95. For lossless files use PNG or TIFF, which need a fraction of the memory."""

    channels = (3, 4)
    side = 16383  # 14 bits
    pillow = "WEBP"
    text_room = MOST_BYTES
    options: ClassVar[dict[str, Any]] = {"quality": 95}

    @staticmethod
    def gathered(shape: Shape, bits: int) -> int:
        """Return the bytes of the picture and of libwebp, as measured with noise (docs/files.md)."""
        del bits  # always 8
        return shape[0] * shape[1] * (36 if shape[2] == 3 else 46) + _CODE
