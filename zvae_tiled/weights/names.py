"""What a checkpoint calls its tensors, and what they are called here: the names of diffusers.

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

The original decoder counts its levels from the picture, diffusers from the latents. Old diffusers files say
``query``, ``key``, ``value`` and ``proj_attn``. Every name is translated by itself, whatever the others are;
that two names mean the same tensor is found afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

PREFIXES = ("first_stage_model.", "vae.")
"""What a VAE's names begin with inside a whole model's checkpoint."""

_PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")

_TRAINING = ("loss.", "model_ema.")
"""What training a VAE leaves in its checkpoint."""

_ATTENTION = {
    "norm": "group_norm",
    "q": "to_q",
    "k": "to_k",
    "v": "to_v",
    "proj_out": "to_out.0",
    "query": "to_q",
    "key": "to_k",
    "value": "to_v",
    "proj_attn": "to_out.0",
}

# Two digits are more levels and blocks than any VAE has, and a number of thousands of digits is never parsed.
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
    # mflux wraps three layers; otherwise its snapshots have diffusers' names.
    (re.compile(r"^(encoder|decoder)\.(conv_in|conv_out)\.conv2d\."), r"\1.\2."),
    (re.compile(r"^(encoder|decoder)\.conv_norm_out\.norm\."), r"\1.conv_norm_out."),
)


def canonical_names(stored: Iterable[str]) -> dict[str, str]:
    """Translate the names of a checkpoint.

    Args:
        stored: Every name in the checkpoint.

    Returns:
        Stored name to diffusers name. What belongs to another model of a whole checkpoint, or is left over
        from training, is absent. A name that no rule knows stays as it is.
    """
    bare = _vae_names(stored)
    levels = 1 + max((int(found[1]) for name in bare.values() if (found := _UP.match(name))), default=-1)
    return {name: _canonical(short, levels) for name, short in bare.items()}


def _vae_names(stored: Iterable[str]) -> dict[str, str]:
    names = list(stored)
    whole_model = any(name.startswith(PREFIXES) for name in names)
    bare = {}
    for name in names:
        prefix = next((prefix for prefix in PREFIXES if name.startswith(prefix)), "")
        short = name.removeprefix(prefix)
        # In a whole model's checkpoint all else is a text encoder, a transformer or a scheduler's tables. A
        # decoder without the prefix is kept, to be refused as stored twice, rather than guessed about.
        foreign = whole_model and not prefix and not short.startswith(_PARTS)
        if not foreign and not short.startswith(_TRAINING):
            bare[name] = short
    return bare


def _canonical(name: str, levels: int) -> str:
    if found := _UP.match(name):
        level = levels - 1 - int(found[1])
        name = f"decoder.up_blocks.{level}.{_INSIDE[found[2]]}{name[found.end() :]}"
    elif found := _MID.match(name):
        name = f"{found[1]}.mid_block.{_INSIDE[found[2]]}{int(found[3]) - 1}.{name[found.end() :]}"
    for pattern, replacement in _RULES:
        name = pattern.sub(replacement, name)
    return _ATTENTION_LEAF.sub(lambda leaf: f"{leaf[1]}{_ATTENTION[leaf[3]]}.", name)
