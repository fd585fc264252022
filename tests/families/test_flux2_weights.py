"""FLUX.2's weights: statistics stay float32, and both naming schemes load."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tests.families.flux2 import MEAN, SMALL, VARIANCE
from tests.support.checkpoints import Blob, write
from tests.support.models import (
    random_latents,
    random_tensors,
    random_vae,
    save_random,
    torch_shapes,
)
from tests.support.plans import bits
from tests.support.running import save_vae
from zvae_tiled import VAE
from zvae_tiled.chain import ATTENTION
from zvae_tiled.errors import WeightsError


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_statistics_stay_float32_whatever_the_type_is(dtype: str, tmp_path: Path) -> None:
    vae = VAE.load(save_vae(tmp_path / "vae", SMALL), dtype, decoder_only=False)
    kinds = {name: array.dtype for name, array in vae.weights.items()}
    assert {name for name, kind in kinds.items() if kind == mx.float32} == {MEAN, VARIANCE}
    assert set(kinds.values()) == {mx.float32, getattr(mx, dtype)}
    stored = random_tensors(torch_shapes(SMALL))
    for name in (MEAN, VARIANCE):
        assert np.array_equal(np.asarray(vae.weights[name]), stored[name])
    latents = random_latents(SMALL, 4, 4)
    assert bits(vae.decode(latents)) == bits(random_vae(SMALL, dtype).decode(latents))


def test_the_counter_of_the_batch_norm_is_ignored(tmp_path: Path) -> None:
    tensors: dict[str, Any] = dict(random_tensors(torch_shapes(SMALL)))
    tensors["bn.num_batches_tracked"] = Blob("I64", np.array(7))
    vae = VAE.load(write(tmp_path / "a.safetensors", tensors), "float32", decoder_only=False, config=SMALL)
    assert "bn.num_batches_tracked" not in vae.weights
    assert vae.weights.keys() == torch_shapes(SMALL).keys()


@pytest.mark.parametrize("gone", [MEAN, VARIANCE])
def test_without_its_statistics_it_is_refused(gone: str, tmp_path: Path) -> None:
    tensors = random_tensors(torch_shapes(SMALL))
    del tensors[gone]
    with pytest.raises(WeightsError, match=rf"(?s)missing \(1\):.*{re.escape(gone)}"):
        VAE.load(write(tmp_path / "a.safetensors", tensors), config=SMALL)


def test_variances_that_are_none_are_refused(tmp_path: Path) -> None:
    """Their roots were NaN, and so were the latents of an encode."""
    tensors = random_tensors(torch_shapes(SMALL))
    tensors[VARIANCE][3] = -1.0
    with pytest.raises(WeightsError, match=rf"{re.escape(VARIANCE)} must be variances, above .*; one is -1"):
        VAE.load(write(tmp_path / "a.safetensors", tensors), config=SMALL)


def test_a_vae_of_another_family_is_not_taken_for_it(tmp_path: Path) -> None:
    network = SMALL._network("decode")
    save_random(network, tmp_path / "kl.safetensors")
    with pytest.raises(WeightsError, match=r"bn\.running_mean"):
        VAE.load(tmp_path / "kl.safetensors", config=SMALL)
    save_random(SMALL, tmp_path / "flux2.safetensors")
    with pytest.raises(WeightsError, match=r"(?s)not part of this VAE \(2\):.*bn\.running_mean"):
        VAE.load(tmp_path / "flux2.safetensors", config=network)


def bfl_name(name: str, levels: int) -> str:
    """Return Black Forest Labs' name of a tensor, from their model's source."""
    name = re.sub(r"^(quant_conv\.)", r"encoder.\1", name)
    name = re.sub(r"^(post_quant_conv\.)", r"decoder.\1", name)
    name = re.sub(r"encoder\.down_blocks\.(\d)\.resnets\.", r"encoder.down.\1.block.", name)
    name = re.sub(r"encoder\.down_blocks\.(\d)\.downsamplers\.0\.", r"encoder.down.\1.downsample.", name)

    def level(found: re.Match[str]) -> str:
        inside = {"resnets": "block", "upsamplers.0": "upsample"}[found[2]]
        return f"decoder.up.{levels - 1 - int(found[1])}.{inside}."

    name = re.sub(r"decoder\.up_blocks\.(\d)\.(resnets|upsamplers\.0)\.", level, name)
    name = re.sub(r"mid_block\.resnets\.(\d)\.", lambda found: f"mid.block_{int(found[1]) + 1}.", name)
    name = name.replace("mid_block.attentions.0.", "mid.attn_1.").replace("conv_shortcut", "nin_shortcut")
    name = name.replace("attn_1.group_norm", "attn_1.norm").replace("conv_norm_out", "norm_out")
    for ours, theirs in zip(ATTENTION, ("q", "k", "v", "proj_out"), strict=True):
        name = name.replace(f"attn_1.{ours}.", f"attn_1.{theirs}.")
    return name


@pytest.mark.parametrize("decoder_only", [True, False])
def test_the_original_names_load(decoder_only: bool, tmp_path: Path) -> None:
    tensors: dict[str, Any] = {}
    names = set()
    for name, values in random_tensors(torch_shapes(SMALL)).items():
        theirs = bfl_name(name, len(SMALL.block_out_channels))
        attention = re.search(r"attn_1\.(q|k|v|proj_out)\.weight", theirs)
        tensors[theirs] = values[:, :, None, None] if attention else values  # 1x1 convolutions there
        names.add(theirs)
    assert {"encoder.quant_conv.weight", "decoder.post_quant_conv.bias", "bn.running_mean"} <= names
    assert {"decoder.up.1.block.0.conv1.weight", "encoder.mid.attn_1.q.weight", "encoder.norm_out.bias"} <= names
    tensors["bn.num_batches_tracked"] = Blob("I64", np.array(7))
    vae = VAE.load(write(tmp_path / "ae.safetensors", tensors), "float32", decoder_only, config=SMALL)
    want = random_vae(SMALL)
    assert decoder_only != any(name.startswith("encoder.") for name in vae.weights)
    assert all(mx.array_equal(array, want.weights[name]) for name, array in vae.weights.items())
    latents = random_latents(SMALL, 3, 4)
    assert bits(vae.decode(latents)) == bits(want.decode(latents))
