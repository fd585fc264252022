"""What an error advises in the words of ComfyUI's menu and widgets: its users do not write Python."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from zvae_tiled.errors import ZvaeError
from zvae_tiled.planner.budget import SAFE_SHARE

_THEIR_WORDS = {
    "stream the rows (vae.stream, or a .npy file) with": "use Save Huge Image, with little more than",
    "Stream the rows (vae.stream), write them to a file (vae.decode_to_file)": "Use Save Huge Image",
    f"None for {SAFE_SHARE:.0%} of it": f"leave it empty for {SAFE_SHARE:.0%} of it",
    "Name another folder with spill_folder=,": "Set TMPDIR to a folder with more room before ComfyUI starts,",
    ", or set overwrite=True": "",
    " A video of Wan 2.1 or Qwen-Image is decoded with vae.video.": " ComfyUI's own VAE Decode decodes videos.",
}
"""What Python's users are told, and what is said instead."""


@contextmanager
def in_words_of_the_menu() -> Iterator[None]:
    """Raise errors of this package with advice that ComfyUI's users can follow."""
    try:
        yield
    except ZvaeError as error:
        advice = error.advice
        for words, theirs in _THEIR_WORDS.items():
            advice = advice.replace(words, theirs)
        raise error.advising(advice).with_traceback(error.__traceback__) from error.__cause__
