"""Recognises a file that is not safetensors by its first bytes, and says what to do about it."""

from __future__ import annotations

SNIFF_BYTES = 256

_TRUST = (
    "A pickle can run code when it is read, so it is never opened. Convert it once, where you trust it:\n"
    "  import torch; from safetensors.torch import save_file\n"
)

CONVERT = (
    f'{_TRUST}  state = torch.load("FILE", map_location="cpu", weights_only=True)\n'
    '  save_file(state.get("state_dict", state), "FILE.safetensors")'
)
"""The advice for a pickle of weights."""

CONVERT_LATENTS = (
    f'{_TRUST}  latents = torch.load("FILE", map_location="cpu", weights_only=True)\n'
    '  save_file({"latents": latents.contiguous()}, "FILE.safetensors")'
)
"""The advice for a pickle of latents."""

_PICKLE = "a PyTorch pickle (.bin, .pt, .ckpt)"
_PAGE = "a web page, not the file that it should be"
_AGAIN = "Download the file itself; the address may need a login or end in /resolve/ instead of /blob/."

NO_PICTURE = "Pass a safetensors file."

_PICTURES = (
    (b"\x89PNG\r\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "BigTIFF"),
    (b"MM\0+", "BigTIFF"),
    (b"GIF8", "GIF"),
)

_STARTS: tuple[tuple[bytes, str, str], ...] = (
    (b"PK\x03\x04", _PICKLE, CONVERT),
    (b"\x80\x02", _PICKLE, CONVERT),
    (b"\x80\x03", _PICKLE, CONVERT),
    (b"\x80\x04", _PICKLE, CONVERT),
    (b"\x80\x05", _PICKLE, CONVERT),
    (
        b"version https://git-lfs",
        "a git-LFS pointer: 130 bytes in place of the real file",
        "Fetch the real file with `git lfs pull`, or download it again.",
    ),
    (b"GGUF", "a GGUF file", "Pass the safetensors file that the GGUF was made from."),
    (b"\x93NUMPY", "a NumPy array", "Pass a safetensors file."),
    (b"\x1f\x8b", "a gzip archive", "Unpack it first."),
    (b"<!doctype html", _PAGE, _AGAIN),
    (b"<html", _PAGE, _AGAIN),
    (b"<?xml", _PAGE, _AGAIN),
    *((magic, f"a picture ({kind})", NO_PICTURE) for magic, kind in _PICTURES),
    (b"{", "JSON text", "Pass the weights themselves; a shard index must be named *.json."),
)


def recognise(start: bytes) -> tuple[str, str] | None:
    """Return the kind of a file that begins with these bytes. Call it after the safetensors rules have failed.

    Returns:
        The kind and advice, or None if the bytes are not recognised.
    """
    if not start:
        return "empty", "Download it again."
    if looks_like_safetensors(start):
        return None
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "a picture (WebP)", NO_PICTURE
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for magic, what, advice in _STARTS:
        if start.startswith(magic) or text.startswith(magic):
            return what, advice
    if not start.strip(b"\0"):
        return "a file of zeros", "The download was cut short; download it again."
    return None


def looks_like_safetensors(start: bytes) -> bool:
    """Return whether a file that begins with these bytes may be a safetensors."""
    # A header of 640 bytes begins with the same two bytes as a pickle, and one of 123 bytes begins with a brace. So
    # the bytes after the length decide.
    return not any(start[3:8]) and start[8:9] in (b"{", b" ", b"\t", b"\r", b"\n")
