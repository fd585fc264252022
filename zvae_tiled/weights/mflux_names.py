"""Translates the tensor names of mflux's snapshots, whose VAE classes wrap or rename a few layers.

====================================  ===================================================
mflux                                 diffusers
====================================  ===================================================
``*.conv_in.conv2d.``, ``.conv.``     ``*.conv_in.``, and so ``*.conv_out.``
``*.conv_norm_out.norm.``             ``*.conv_norm_out.``
Qwen-Image: ``….conv3d.``             ``….``
``decoder.up_block0.``                ``decoder.up_blocks.0.``
``….skip_conv.``                      ``….conv_shortcut.``
``….upsamplers.0.resample_conv.``     ``….upsamplers.0.resample.1.``
``….norm1.weight``                    ``….norm1.gamma``, and so each norm
``encoder.down_blocks.2.resnets.1.``  ``encoder.down_blocks.7.`` (three a level)
====================================  ===================================================
"""

from __future__ import annotations

import re
from collections.abc import Collection

from zvae_tiled.weights.remembered import remembered

# At most two digits, as in `names`.
_N = r"(0|[1-9][0-9]?)"

_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"^(encoder|decoder)\.(conv_in|conv_out)\.conv(2d)?\."), r"\1.\2."),
    (re.compile(r"^(encoder|decoder)\.conv_norm_out\.norm\."), r"\1.conv_norm_out."),
)

_QWEN = "decoder.conv_in.conv3d.weight"
"""A name that only mflux's snapshots of Qwen-Image have."""

_QWEN_DOWN = re.compile(rf"^encoder\.down_blocks\.{_N}\.(resnets|downsamplers)\.{_N}\.")
_QWEN_RESNETS = 2
"""Resnets in a level of the encoder. Diffusers counts them and the downsampler through all levels."""

_QWEN_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\.conv3d\."), "."),
    (re.compile(rf"^decoder\.up_block{_N}\."), r"decoder.up_blocks.\1."),
    (re.compile(r"\.skip_conv\."), ".conv_shortcut."),
    (re.compile(r"\.resample_conv\."), ".resample.1."),
    (re.compile(r"\.(norm|norm1|norm2|norm_out)\.weight$"), r".\1.gamma"),
)


def from_mflux(names: Collection[str]) -> dict[str, str]:
    """Return diffusers' name for each name. A name that no rule matches stays as it is."""
    translate = _qwen if _QWEN in names else _unwrapped
    return {name: translate(name) for name in names}


@remembered
def _unwrapped(name: str) -> str:
    for pattern, replacement in _RULES:
        name = pattern.sub(replacement, name)
    return name


def _qwen(name: str) -> str:
    if down := _QWEN_DOWN.match(name):
        place = int(down[3]) if down[2] == "resnets" else _QWEN_RESNETS
        name = f"encoder.down_blocks.{int(down[1]) * (_QWEN_RESNETS + 1) + place}.{name[down.end() :]}"
    for pattern, replacement in _QWEN_RULES:
        name = pattern.sub(replacement, name)
    return name
