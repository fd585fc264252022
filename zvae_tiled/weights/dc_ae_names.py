"""Translates the tensor names of DC-AE's own files into those that diffusers gives AutoencoderDC.

=============================================  =============================================
own                                            diffusers
=============================================  =============================================
``encoder.project_in.conv.``                   ``encoder.conv_in.``
``encoder.project_out.main.op_list.0.conv.``   ``encoder.conv_out.``
``decoder.project_in.main.conv.``              ``decoder.conv_in.``
``decoder.project_out.op_list.0.``             ``decoder.norm_out.``
``decoder.project_out.op_list.2.conv.``        ``decoder.conv_out.``
``decoder.stages.3.op_list.1.``                ``decoder.up_blocks.3.1.``, ``encoder.down_blocks``
``….main.conv.conv.``, ``….main.conv1.conv.``  ``….conv.``, ``….conv1.``
``….main.conv2.norm.``                         ``….norm.``
``….context_module.main.qkv.conv.``            ``….attn.to_qkv.``: queries, keys and values
``….context_module.main.aggreg.0.0.``          ``….attn.to_qkv_multiscale.0.proj_in.``
``….context_module.main.aggreg.0.1.``          ``….attn.to_qkv_multiscale.0.proj_out.``
``….context_module.main.proj.conv.``           ``….attn.to_out.``
``….context_module.main.proj.norm.``           ``….attn.norm_out.``
``….local_module.main.depth_conv.conv.``       ``….conv_out.conv_depth.``, and so each
``….local_module.main.point_conv.norm.``       ``….conv_out.norm.``
=============================================  =============================================

Both count levels from the picture.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_OWN = "decoder.project_in.main.conv.weight"
"""A name that only DC-AE's own files have."""

# At most two digits, as in `names`.
_N = r"(0|[1-9][0-9]?)"

_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"^(encoder|decoder)\.project_in\.(main\.)?conv\."), r"\1.conv_in."),
    (re.compile(r"^encoder\.project_out\.main\.op_list\.0\.conv\."), "encoder.conv_out."),
    (re.compile(r"^decoder\.project_out\.op_list\.0\."), "decoder.norm_out."),
    (re.compile(r"^decoder\.project_out\.op_list\.2\.conv\."), "decoder.conv_out."),
    (re.compile(rf"^encoder\.stages\.{_N}\.op_list\.{_N}\."), r"encoder.down_blocks.\1.\2."),
    (re.compile(rf"^decoder\.stages\.{_N}\.op_list\.{_N}\."), r"decoder.up_blocks.\1.\2."),
    (re.compile(r"\.context_module\.main\."), ".attn."),
    (re.compile(r"\.local_module\.main\."), ".conv_out."),
    (re.compile(r"\.main\.(conv[12]?)\.conv\."), r".\1."),
    (re.compile(r"\.(main\.conv2|point_conv)\.norm\."), ".norm."),
    (re.compile(r"\.(inverted|depth|point)_conv\.conv\."), r".conv_\1."),
    (re.compile(r"\.attn\.qkv\.conv\."), ".attn.to_qkv."),
    (re.compile(rf"\.attn\.aggreg\.{_N}\.0\."), r".attn.to_qkv_multiscale.\1.proj_in."),
    (re.compile(rf"\.attn\.aggreg\.{_N}\.1\."), r".attn.to_qkv_multiscale.\1.proj_out."),
    (re.compile(r"\.attn\.proj\.conv\."), ".attn.to_out."),
    (re.compile(r"\.attn\.proj\.norm\."), ".attn.norm_out."),
)


def from_dc_ae(names: Collection[str]) -> dict[str, str]:
    """Return diffusers' name for each name. A name that no rule matches stays as it is."""
    return {name: _translated(name) if _OWN in names else name for name in names}


def _translated(name: str) -> str:
    for pattern, replacement in _RULES:
        name = pattern.sub(replacement, name)
    return name
