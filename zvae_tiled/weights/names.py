"""Translates the tensor names of a checkpoint into the names of diffusers, which are used here.

=====================================  ================================================
original (CompVis, BFL, ComfyUI)       diffusers
=====================================  ================================================
``encoder.down.1.block.0.``            ``encoder.down_blocks.1.resnets.0.``
``encoder.down.1.attn.0.``             ``encoder.down_blocks.1.attentions.0.``
``encoder.down.1.downsample.``         ``encoder.down_blocks.1.downsamplers.0.``
``decoder.up.3.block.0.``              ``decoder.up_blocks.0.resnets.0.`` (of 4 levels)
``decoder.up.3.upsample.``             ``decoder.up_blocks.0.upsamplers.0.``
``*.mid.block_1.``, ``*.mid.attn_1.``  ``*.mid_block.resnets.0.``, ``….attentions.0.``
``*.norm_out.``                        ``*.conv_norm_out.``
``….nin_shortcut.``                    ``….conv_shortcut.``
``….norm.``, in attention              ``….group_norm.``
``….q.``, ``….k.``, ``….v.``           ``….to_q.``, ``….to_k.``, ``….to_v.``
``….proj_out.``                        ``….to_out.0.``
=====================================  ================================================

The original decoder counts its levels from the picture, diffusers from the latents. Old diffusers files have the names
``query``, ``key``, ``value`` and ``proj_attn``. Each name is translated by itself. Two names for the same tensor are
detected afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from zvae_tiled.weights.dc_ae_names import from_dc_ae
from zvae_tiled.weights.mflux_names import from_mflux
from zvae_tiled.weights.remembered import remembered

PREFIXES = ("first_stage_model.", "vae.")
"""Prefixes of a VAE's names in a whole model's checkpoint."""

_PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")

_TRAINING = ("loss.", "model_ema.")
"""Prefixes of tensors left over from training."""

_ATTENTION = {
    "norm": "group_norm",
    "q": "to_q",
    "k": "to_k",
    "v": "to_v",
    "proj_out": "to_out.0",
    "proj": "to_out.0",
    "query": "to_q",
    "key": "to_k",
    "value": "to_v",
    "proj_attn": "to_out.0",
    "to_out": "to_out.0",  # in mflux's snapshots of FLUX.2
}

# At most two digits: no VAE has more levels or blocks, and a number of thousands of digits is never parsed.
_N = r"(0|[1-9][0-9]?)"
_UP = re.compile(rf"decoder\.up\.{_N}\.(block|attn|upsample)\.")
_MID = re.compile(r"(encoder|decoder)\.mid\.(block|attn)_([1-9])\.")
_ATTENTION_LEAF = re.compile(rf"(\.attentions\.{_N}\.)({'|'.join(_ATTENTION)})\.(?=[a-z_]+$)")

_INSIDE = {"block": "resnets.", "attn": "attentions.", "upsample": "upsamplers.0."}

_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(rf"^encoder\.down\.{_N}\.block\."), r"encoder.down_blocks.\1.resnets."),
    (re.compile(rf"^encoder\.down\.{_N}\.attn\."), r"encoder.down_blocks.\1.attentions."),
    (re.compile(rf"^encoder\.down\.{_N}\.downsample\."), r"encoder.down_blocks.\1.downsamplers.0."),
    (re.compile(r"^(encoder|decoder)\.norm_out\."), r"\1.conv_norm_out."),
    (re.compile(rf"(\.resnets\.{_N})\.nin_shortcut\."), r"\1.conv_shortcut."),
    # FLUX.2's original file keeps the 1×1 convolutions inside the two halves.
    (re.compile(r"^encoder\.quant_conv\."), "quant_conv."),
    (re.compile(r"^decoder\.post_quant_conv\."), "post_quant_conv."),
)


def canonical_names(stored: Iterable[str]) -> dict[str, str]:
    """Translate the names of a checkpoint.

    Args:
        stored: Every name in the checkpoint.

    Returns:
        Diffusers name by stored name. Tensors of other models in a whole checkpoint, and those left over from
        training, are absent. A name that no rule matches stays as it is.
    """
    bare = _vae_names(stored)
    if _WAN in bare.values():
        bare = {name: _from_wan(short) for name, short in bare.items()}
    for translate in (from_dc_ae, from_mflux):
        translated = translate(set(bare.values()))
        bare = {name: translated[short] for name, short in bare.items()}
    if any(name.startswith(_HUNYUAN) for name in bare.values()):
        bare = _from_hunyuan(bare)
    levels = 1 + max((int(up[1]) for name in bare.values() if (up := _UP.match(name))), default=-1)
    return {name: _canonical(short, levels) for name, short in bare.items()}


def _vae_names(stored: Iterable[str]) -> dict[str, str]:
    names = list(stored)
    whole_model = any(name.startswith(PREFIXES) for name in names)
    bare = {}
    for name in names:
        prefix = next((prefix for prefix in PREFIXES if name.startswith(prefix)), "")
        short = name.removeprefix(prefix)
        # In a whole model's checkpoint, names without the prefix belong to a text encoder, a transformer or a
        # scheduler. A decoder without the prefix is kept, and then refused as stored twice.
        foreign = whole_model and not prefix and not short.startswith(_PARTS)
        if not foreign and not short.startswith(_TRAINING):
            bare[name] = short
    return bare


_HUNYUAN = "decoder.up.0.upsample."
"""Only HunyuanImage's own file has such a name: elsewhere ``decoder.up.0`` is the level of the picture, not doubled."""

_HUNYUAN_BLOCK = re.compile(rf"(encoder\.down|decoder\.up)\.{_N}\.(?:block\.{_N}|downsample|upsample)\.")


def _from_hunyuan(bare: dict[str, str]) -> dict[str, str]:
    """Return diffusers' names, which number the blocks of all levels, from the latents' level in the decoder too."""
    found = {name: _HUNYUAN_BLOCK.match(short) for name, short in bare.items()}
    count = {
        half: 1 + max((int(part[3]) for part in found.values() if part and part[1] == half and part[3]), default=0)
        for half in ("encoder.down", "decoder.up")
    }
    names = dict(bare)
    for name, part in found.items():
        if part is not None:
            half, resnets = part[1], count[part[1]]
            number = int(part[2]) * (resnets + 1) + (int(part[3]) if part[3] else resnets)
            names[name] = f"{half}_blocks.{number}.{bare[name][part.end() :]}"
    return names


_WAN = "decoder.middle.0.residual.0.gamma"
"""A name that only Wan's own files have."""

_WAN_BLOCK = re.compile(
    rf"(?:encoder|decoder)\.(down|up)samples\.{_N}\.(?:down|up)samples\.{_N}\.(?=(resample|time_conv)?)"
)
"""The beginning of a name inside a block of Wan 2.2's own file."""

_WAN_UP = re.compile(rf"decoder\.upsamples\.{_N}\.")
_WAN_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"^conv1\."), "quant_conv."),
    (re.compile(r"^conv2\."), "post_quant_conv."),
    (re.compile(r"^(encoder|decoder)\.conv1\."), r"\1.conv_in."),
    (re.compile(r"^(encoder|decoder)\.head\.0\."), r"\1.norm_out."),
    (re.compile(r"^(encoder|decoder)\.head\.2\."), r"\1.conv_out."),
    (re.compile(r"^(encoder|decoder)\.middle\.0\."), r"\1.mid_block.resnets.0."),
    (re.compile(r"^(encoder|decoder)\.middle\.1\."), r"\1.mid_block.attentions.0."),
    (re.compile(r"^(encoder|decoder)\.middle\.2\."), r"\1.mid_block.resnets.1."),
    (re.compile(rf"^encoder\.downsamples\.{_N}\."), r"encoder.down_blocks.\1."),
    (re.compile(r"\.residual\.0\.gamma$"), ".norm1.gamma"),
    (re.compile(r"\.residual\.2\."), ".conv1."),
    (re.compile(r"\.residual\.3\.gamma$"), ".norm2.gamma"),
    (re.compile(r"\.residual\.6\."), ".conv2."),
    (re.compile(r"\.shortcut\."), ".conv_shortcut."),
)


def _from_wan(name: str) -> str:
    """Return diffusers' name of a tensor in Wan's own file. A level of Wan 2.1's decoder has three resnets."""
    if part := _WAN_BLOCK.match(name):
        inside = f"{part[1]}sampler" if part[4] else f"resnets.{part[3]}"
        name = f"{name[:2]}coder.{part[1]}_blocks.{part[2]}.{inside}.{name[part.end() :]}"
    elif up := _WAN_UP.match(name):
        level, block = divmod(int(up[1]), 4)
        inside = "upsamplers.0" if block == 3 else f"resnets.{block}"
        name = f"decoder.up_blocks.{level}.{inside}.{name[up.end() :]}"
    for pattern, replacement in _WAN_RULES:
        name = pattern.sub(replacement, name)
    return name


@remembered
def _canonical(name: str, levels: int) -> str:
    if up := _UP.match(name):
        level = levels - 1 - int(up[1])
        name = f"decoder.up_blocks.{level}.{_INSIDE[up[2]]}{name[up.end() :]}"
    elif mid := _MID.match(name):
        name = f"{mid[1]}.mid_block.{_INSIDE[mid[2]]}{int(mid[3]) - 1}.{name[mid.end() :]}"
    for pattern, replacement in _RULES:
        name = pattern.sub(replacement, name)
    return _ATTENTION_LEAF.sub(lambda leaf: f"{leaf[1]}{_ATTENTION[leaf[3]]}.", name)
