"""What single pipelines and families of VAEs ask of `adapters.diffusers`, beside those whose pictures are compared."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import pytest

from tests.peers.adapting import BUDGET, MARKS, far, pipeline
from tests.peers.test_qwen_image import WAN_2_2
from zvae_tiled.adapters.diffusers import use
from zvae_tiled.errors import InputError
from zvae_tiled.families import PRESETS

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


@pytest.mark.parametrize("name", ["WanVideoToVideoPipeline", "WanAnimatePipeline", "ChronoEditPipeline"])
def test_a_pipeline_that_gives_its_vae_several_frames_is_refused_and_left_as_it_was(name: str) -> None:
    import diffusers

    pipe = type(name, (SimpleNamespace,), {"__call__": getattr(diffusers, name).__call__})(vae=wan())
    theirs = pipe.vae
    with pytest.raises(InputError, match=f"{name} gives its VAE several frames") as error:
        use(pipe, BUDGET)
    assert error.value.advice == "Leave the pipeline its VAE."
    assert pipe.vae is theirs


def test_a_modular_pipeline_of_videos_is_told_and_a_vae_whose_videos_are_not_decoded_here() -> None:
    import diffusers

    kind = type("WanModularPipeline", (SimpleNamespace,), {"__call__": lambda self: None})
    pipe = kind(vae=wan(), blocks=diffusers.modular_pipelines.WanBlocks())
    with pytest.warns(UserWarning, match=r"WanModularPipeline makes videos.*video=True"):
        use(pipe, BUDGET)
    levels: dict[str, Any] = {"dim_mult": [1, 2, 2], "temperal_downsample": [False, True]}
    residual = diffusers.AutoencoderKLWan(base_dim=4, **levels, **WAN_2_2).eval()
    pipe.vae = residual
    with pytest.warns(UserWarning, match="those of this one are not decoded here"):
        use(pipe, BUDGET)


def test_a_pipeline_whose_vae_decodes_each_frame_as_a_picture_is_told_nothing() -> None:
    import diffusers

    pipe, _ = pipeline("SDXL")
    pipe.__class__ = type("AnimateDiffPipeline", (type(pipe),), {"__call__": diffusers.AnimateDiffPipeline.__call__})
    use(pipe, BUDGET)  # warnings are errors


def test_a_pipeline_that_widens_layers_of_its_vae_finds_nothing_to_widen() -> None:
    import torch

    pipe, _ = pipeline("SDXL")
    pipe.vae = pipe.vae.to(torch.float16)
    pipe.vae.register_to_config(force_upcast=True)
    pipe.__class__ = type("AnimateDiffSDXLPipeline", (type(pipe),), {})
    assert use(pipe, BUDGET).dtype == mx.float32
    assert not pipe.vae.config.force_upcast


@pytest.mark.parametrize(("name", "videos"), [("WanPipeline", True), ("BriaFiboPipeline", False)])
def test_a_pipeline_of_videos_is_told_before_it_samples_that_one_frame_is_decoded(name: str, videos: bool) -> None:
    import diffusers
    import torch

    parts: dict[str, Any] = dict.fromkeys(("tokenizer", "text_encoder", "transformer", "scheduler"))
    pipe = getattr(diffusers, name)(vae=wan(), **parts)
    told = (
        pytest.warns(UserWarning, match=r"makes videos.*set num_frames to 1.*video=True") if videos else nullcontext()
    )
    with told:
        use(pipe, BUDGET)
    with pytest.raises(InputError, match="or with one frame") as error:
        pipe.vae.decode(torch.zeros(1, 4, 2, 3, 4))
    assert "A video is decoded whole" in error.value.advice


def test_prx_reads_the_size_of_its_pictures_from_the_vae() -> None:
    import diffusers

    factor = diffusers.PRXPipeline.vae_scale_factor.fget
    pipe = SimpleNamespace(vae=dc())
    assert factor(pipe) == 4
    for _ in range(2):  # the second time from ours
        use(pipe, BUDGET)
        assert factor(pipe) == 4


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("Flux2Pipeline", "flux2"),
        ("ErnieImagePipeline", "ernie-image"),
        ("ErnieImageModularPipeline", "ernie-image"),
        ("Ideogram4Pipeline", "ideogram4"),
        ("BriaFibo2Pipeline", "fibo2"),
    ],
)
def test_the_vae_that_is_returned_reads_the_latents_of_its_pipeline(name: str, preset: str) -> None:
    import diffusers
    import torch

    assert hasattr(diffusers, name)
    theirs = pipeline("FLUX.2")[0].vae
    theirs.register_to_config(batch_norm_eps=1e-4)  # as published
    pipe = type("Mine", (type(name, (SimpleNamespace,), {}),), {})(vae=theirs)
    vae, published = use(pipe, BUDGET), PRESETS[preset].latents
    assert replace(vae.config.latents, channels=published.channels) == published
    noise = torch.Generator().manual_seed(0)
    latents, images = torch.randn(2, 4, 4, 6, generator=noise), torch.rand(1, 3, 32, 48, generator=noise) * 2 - 1
    with torch.no_grad():  # the pipeline itself has undone the order, and asks as before
        assert far(pipe.vae.decode(latents).sample, theirs.decode(latents).sample) <= 1e-4
        assert far(pipe.vae.encode(images).latent_dist.mean, theirs.encode(images).latent_dist.mean) <= 1e-4


def test_a_vae_whose_latents_are_not_drawn_is_called_as_that_of_diffusers() -> None:
    import torch

    from tests.data.make_golden_tiny import random_tiny

    images = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    theirs, tiny = dc(), random_tiny()
    ours, pipe = SimpleNamespace(vae=theirs), SimpleNamespace(vae=tiny)
    use(ours, BUDGET)
    use(pipe, BUDGET)
    latents = images[:, :1, :4, :6].repeat(1, 4, 1, 1)
    with torch.no_grad():
        assert far(ours.vae(images).sample, theirs(images).sample) <= 1e-4
        assert far(ours.vae(images, False)[0], theirs(images, False)[0]) <= 1e-4
        for given in (lambda vae: vae.decode(x=latents).sample, lambda vae: vae.decode(latents, None, True).sample):
            assert far(given(pipe.vae), given(tiny)) <= 1e-4
        with pytest.raises(InputError, match="does not round latents to bytes"):
            pipe.vae(images)
