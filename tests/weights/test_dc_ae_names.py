"""Files in the names of DC-AE's authors hold the same weights as diffusers'."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from tests.families.test_dc import SMALL
from tests.support.models import random_tensors, random_vae, torch_shapes
from tests.support.plans import bits
from zvae_tiled import VAE

OUTSIDE = {
    "encoder.conv_in.": "encoder.project_in.conv.",
    "encoder.conv_out.": "encoder.project_out.main.op_list.0.conv.",
    "decoder.conv_in.": "decoder.project_in.main.conv.",
    "decoder.conv_norm_out.": "decoder.project_out.op_list.0.",
    "decoder.conv_out.": "decoder.project_out.op_list.2.conv.",
}
INSIDE = {
    "conv.": "main.conv.conv.",
    "conv1.": "main.conv1.conv.",
    "conv2.": "main.conv2.conv.",
    "norm.": "main.conv2.norm.",
    "attn.to_qkv.": "context_module.main.qkv.conv.",
    "attn.to_qkv_multiscale.0.proj_in.": "context_module.main.aggreg.0.0.",
    "attn.to_qkv_multiscale.0.proj_out.": "context_module.main.aggreg.0.1.",
    "attn.to_out.": "context_module.main.proj.conv.",
    "attn.norm_out.": "context_module.main.proj.norm.",
    "conv_out.conv_inverted.": "local_module.main.inverted_conv.conv.",
    "conv_out.conv_depth.": "local_module.main.depth_conv.conv.",
    "conv_out.conv_point.": "local_module.main.point_conv.conv.",
    "conv_out.norm.": "local_module.main.point_conv.norm.",
}
"""Names in diffusers, and in the file of DC-AE's authors."""


def own_name(name: str) -> str:
    path, leaf = f"{name.rpartition('.')[0]}.", name.rpartition(".")[2]
    if path in OUTSIDE:
        return OUTSIDE[path] + leaf
    half, _, level, block, inside = path.split(".", 4)
    return f"{half}.stages.{level}.op_list.{block}.{INSIDE[inside]}{leaf}"


def test_the_authors_names_are_those_of_the_same_weights(tmp_path: Path) -> None:
    named: dict[str, np.ndarray] = {}
    for name, values in (stored := random_tensors(torch_shapes(SMALL))).items():
        if ".to_q." in name:
            parts = [stored[name.replace("to_q", part)] for part in ("to_q", "to_k", "to_v")]
            named[own_name(name.replace("to_q", "to_qkv"))] = np.concatenate(parts)[:, :, None, None]
        elif ".to_k." not in name and ".to_v." not in name:
            named[own_name(name)] = values
    save_file(named, tmp_path / "model.safetensors")
    weights = VAE.load(tmp_path / "model.safetensors", "float32", decoder_only=False, config=SMALL).weights
    want = random_vae(SMALL).weights
    assert weights.keys() == want.keys()
    assert all(bits(weights[name]) == bits(values) for name, values in want.items())
