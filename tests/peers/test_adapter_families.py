"""What single pipelines and families of VAEs ask of `adapters.diffusers`, beside those whose pictures are compared."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.peers.adapting import BUDGET, MARKS
from zvae_tiled.adapters.diffusers import use
from zvae_tiled.errors import InputError

pytestmark = MARKS


def dc() -> Any:
    import diffusers

    form = {
        "block_types": "ResBlock",
        "block_out_channels": (16, 32, 32),
        "layers_per_block": (1, 1, 1),
        "qkv_multiscales": ((), (), ()),
    }
    both: dict[str, Any] = {f"{half}_{key}": each for half in ("encoder", "decoder") for key, each in form.items()}
    plain = {"upsample_block_type": "interpolate", "downsample_block_type": "Conv"}
    return diffusers.AutoencoderDC(latent_channels=8, attention_head_dim=8, **plain, **both).eval()


def wan() -> Any:
    import diffusers

    four: dict[str, Any] = {"latents_mean": [1.0, 2.0, 3.0, 4.0], "latents_std": [2.0, 3.0, 4.0, 5.0]}
    return diffusers.AutoencoderKLWan(
        base_dim=8, dim_mult=[1, 2], temperal_downsample=[True], num_res_blocks=1, z_dim=4, **four
    ).eval()


@pytest.mark.parametrize("name", ["SanaVideoPipeline", "SanaImageToVideoPipeline"])
def test_a_pipeline_that_asks_for_the_class_of_its_vae_is_refused_and_left_as_it_was(name: str) -> None:
    import diffusers

    parts: dict[str, Any] = dict.fromkeys(("tokenizer", "text_encoder", "transformer", "scheduler"))
    pipe = getattr(diffusers, name)(vae=wan(), **parts)
    theirs = pipe.vae
    with pytest.raises(InputError, match=rf"use\(\) would change the pictures of {name}") as error:
        use(pipe, BUDGET)
    assert "VAE.from_module(pipe.vae, video=True)" in error.value.advice
    assert pipe.vae is theirs
    other = SimpleNamespace(vae=theirs)
    use(other, BUDGET)
    assert other.vae is not theirs, "its VAE alone is none to refuse"


def test_prx_reads_the_size_of_its_pictures_from_the_vae() -> None:
    import diffusers

    factor = diffusers.PRXPipeline.vae_scale_factor.fget
    pipe = SimpleNamespace(vae=dc())
    assert factor(pipe) == 4
    for _ in range(2):  # the second time from ours
        use(pipe, BUDGET)
        assert factor(pipe) == 4
