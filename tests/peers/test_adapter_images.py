"""`adapters.diffusers.use` where a pipeline encodes pictures: image to image, and inpainting."""

from __future__ import annotations

from typing import Any

import pytest

from tests.peers.adapting import BUDGET, MARKS, NAMES, far, picture, pipeline
from zvae_tiled.adapters.diffusers import use

pytestmark = MARKS

KINDS = {
    "FluxImg2ImgPipeline": "FLUX",
    "StableDiffusion3Img2ImgPipeline": "SD 3",
    "StableDiffusionXLImg2ImgPipeline": "SDXL",
    "ZImageImg2ImgPipeline": "Z-Image",
    "QwenImageImg2ImgPipeline": "Qwen-Image",
    "FluxInpaintPipeline": "FLUX",
    "StableDiffusion3InpaintPipeline": "SD 3",
    "StableDiffusionXLInpaintPipeline": "SDXL",
    "ZImageInpaintPipeline": "Z-Image",
    "QwenImageInpaintPipeline": "Qwen-Image",
}


def edit(pipe: Any, given: dict[str, Any]) -> Any:
    """Change a picture: all of it, or what a mask names."""
    import torch

    from tests.peers.pipelines import SIDE

    random = torch.Generator().manual_seed(0)
    more = {"image": torch.rand(1, 3, SIDE, SIDE, generator=random), "strength": 0.6, "num_inference_steps": 4}
    if "Inpaint" in type(pipe).__name__:
        more["mask_image"] = torch.zeros(1, 1, SIDE, SIDE)
        more["mask_image"][:, :, 16:48, 8:56] = 1
    if type(pipe).__name__ != "StableDiffusionXLImg2ImgPipeline":  # the one that takes them from the picture
        more |= {"height": SIDE, "width": SIDE}
    return picture(pipe, given, "np", **more)


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_is_changed_as_by_the_pipeline(kind: str) -> None:
    import diffusers

    pipe, given = pipeline(KINDS[kind])
    pipe = getattr(diffusers, kind).from_pipe(pipe)
    wanted = edit(pipe, given)
    use(pipe, BUDGET)
    assert wanted.std() > 0.05
    assert far(edit(pipe, given), wanted) <= 1e-5


def test_pipelines_that_share_components_share_the_bounded_vae() -> None:
    import diffusers

    pipe, given = pipeline("Z-Image")
    use(pipe, BUDGET)
    other = diffusers.ZImageInpaintPipeline(**pipe.components)
    assert other.vae is pipe.vae
    assert edit(other, given).shape == (1, 64, 64, 3)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "SANA"])  # whose VAE gives latents
def test_the_distribution_is_that_of_the_module(name: str) -> None:
    import torch

    pipe, _ = pipeline(name)
    shape = (2, 3, 1, 64, 48) if name == "Qwen-Image" else (2, 3, 64, 48)
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        wanted = pipe.vae.encode(images).latent_dist
    use(pipe, BUDGET)
    (found,) = pipe.vae.encode(images, return_dict=False)
    for part in ("mean", "logvar"):
        assert getattr(found, part).shape == getattr(wanted, part).shape
        assert abs(getattr(found, part) - getattr(wanted, part)).max() <= 1e-4
    seeds = [torch.Generator().manual_seed(3) for _ in "ab"]
    assert abs(found.sample(seeds[0]) - wanted.sample(seeds[1])).max() <= 1e-4


def test_a_vae_without_variance_draws_nothing() -> None:
    """What the pipeline draws after it is the same."""
    import torch

    from tests.data.make_golden_tiny import random_tiny

    pipe, _ = pipeline("FLUX")
    theirs = pipe.vae = random_tiny(latent_channels=16)
    images = torch.rand(2, 3, 32, 48) * 2 - 1
    use(pipe, BUDGET)
    with torch.no_grad():
        wanted, found = theirs.encode(images), pipe.vae.encode(images)
        assert type(found) is type(wanted)
        assert far(found.latents, wanted.latents) <= 1e-5
        assert far(pipe.vae.encode(images, return_dict=False)[0], wanted.latents) <= 1e-5
        assert far(pipe.vae.decode(wanted.latents).sample, theirs.decode(wanted.latents).sample) <= 1e-5


def test_pictures_beyond_their_range_are_encoded_as_by_the_module() -> None:
    import torch

    pipe, _ = pipeline("Z-Image")
    images = torch.randn(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = pipe.vae.encode(images).latent_dist
    use(pipe, BUDGET)
    assert far(pipe.vae.encode(images).latent_dist.mean, wanted.mean) <= 1e-4
