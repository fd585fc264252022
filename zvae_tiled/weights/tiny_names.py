"""Translates the names of TAESD's own files, and of ComfyUI's, into those that diffusers gives AutoencoderTiny.

==================================  ==============================================
own, one file for each half         diffusers
==================================  ==============================================
``0.weight``, in an encoder         ``encoder.layers.0.weight``
``1.weight``, in a decoder          ``decoder.layers.0.weight``
==================================  ==============================================

In its own files, layer 0 of a decoder clamps the latents. It has no weights, and diffusers does not count it. ComfyUI
joins both halves as ``taesd_encoder.`` and ``taesd_decoder.``, with two scalars for latents whose scale is undone.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_LAYER = re.compile(r"(taesd_(?:encoder|decoder)\.)?(0|[1-9][0-9]?)\.(?=[a-z])")

_SCALARS = ("vae_scale", "vae_shift")


def diffusers_names(names: Collection[str]) -> dict[str, str]:
    """Return diffusers' names of the tensors in one file by their own names.

    A file with any other name is none of TAESD's: all of its names stay as they are. ComfyUI's scalars are left out.
    """
    layers = {name: _LAYER.match(name) for name in names if name not in _SCALARS}
    if not layers or not all(layers.values()):
        return {name: name for name in names}
    # Layer 0 of TAEQI 2.1's encoder packs pixels, and has no weights either. Its layer 4 is a convolution, not a block.
    bare = "encoder" if "4.weight" in names or any(name.startswith("0.") for name in names) else "decoder"
    return {name: _diffusers(name, layer, bare) for name, layer in layers.items() if layer is not None}


def _diffusers(name: str, layer: re.Match[str], bare: str) -> str:
    half = layer[1].removeprefix("taesd_").rstrip(".") if layer[1] else bare
    return f"{half}.layers.{int(layer[2]) - (half == 'decoder')}.{name[layer.end() :]}"
