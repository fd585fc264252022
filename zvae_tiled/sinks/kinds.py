"""The formats of pictures by their endings, and what each can hold."""

from __future__ import annotations

from zvae_tiled.checks import shown, whole
from zvae_tiled.errors import MissingExtraError, OutputError
from zvae_tiled.inputs.arrays import imported
from zvae_tiled.sinks.deep_zoom import DeepZoom
from zvae_tiled.sinks.npy import Npy
from zvae_tiled.sinks.pillow import Jpeg, WebP
from zvae_tiled.sinks.png import Png
from zvae_tiled.sinks.safetensors import Safetensors
from zvae_tiled.sinks.tiff import PyramidTiff, Tiff
from zvae_tiled.sinks.writer import Shape, Writer

KINDS: dict[str, type[Writer]] = {
    ".png": Png,
    ".tif": Tiff,
    ".tiff": Tiff,
    ".ptif": PyramidTiff,
    ".dzi": DeepZoom,
    ".webp": WebP,
    ".jpg": Jpeg,
    ".jpeg": Jpeg,
    ".npy": Npy,
    ".safetensors": Safetensors,
}


def check_kind(name: object, kind: type[Writer], shape: Shape, bits: int | None) -> None:
    """Refuse pictures that a format cannot hold.

    Args:
        name: What the error calls the file.
        kind: The writer of the format.
        shape: The shape of a picture.
        bits: Bits of a channel; None for the format's own.

    Raises:
        OutputError: The format cannot hold them.
        MissingExtraError: The format needs Pillow.
    """
    height, width, channels = shape
    if bits is not None and whole(bits) not in kind.bits:
        raise OutputError(
            f"{name}: bits= must be {_either(kind.bits)} in this kind of file, it is {shown(bits)}",
            ".png and .tiff store 16, .tiff, .npy and .safetensors store 32.",
        )
    if kind.channels is not None and channels not in kind.channels:
        raise OutputError(
            f"{name}: this kind of file holds {_either(kind.channels)} channels, the VAE's pictures have {channels}",
            "Write a .npy or a .safetensors.",
        )
    if max(height, width) > kind.side:
        raise OutputError(
            f"{name}: this kind of file holds at most {kind.side:,} pixels a side, the picture has "
            f"{width:,}x{height:,}",
            "Write a .png or a .tiff.",
        )
    if kind.pillow is not None:
        features = imported("PIL.features", "pip install 'zvae-tiled[pil]'")
        if not features.check(_FEATURES[kind.pillow]):
            advice = "pip install --force-reinstall pillow, or write a .png."
            raise MissingExtraError(f"{name}: the installed Pillow was built without {kind.pillow}", advice)


_FEATURES = {"JPEG": "jpg", "WEBP": "webp"}
"""Pillow's name for the library of each format."""


def _either(numbers: tuple[int, ...]) -> str:
    *first, last = map(str, sorted(numbers))
    return f"{', '.join(first)} or {last}" if first else last
