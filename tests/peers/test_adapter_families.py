"""What single pipelines and families of VAEs ask of `adapters.diffusers`, beside those whose pictures are compared."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.peers.adapting import BUDGET, MARKS
from zvae_tiled.adapters.diffusers import use
from zvae_tiled.errors import InputError

pytestmark = MARKS


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
