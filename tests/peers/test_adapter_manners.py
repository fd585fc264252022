"""What programs ask of the VAE in a pipeline: answered as by diffusers, or refused with what to do."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.peers.adapting import BUDGET, MARKS, far, picture, pipeline
from zvae_tiled import ZvaeError
from zvae_tiled.adapters.diffusers import use
from zvae_tiled.errors import InputError

pytestmark = MARKS


def test_what_a_pipeline_may_ask_of_its_vae_is_done_or_answered() -> None:
    import torch

    pipe, given = pipeline("Z-Image")
    config = pipe.vae.config
    use(pipe, BUDGET)
    assert pipe.vae.config is config
    assert pipe.vae.to(torch.bfloat16).dtype == torch.bfloat16
    assert pipe.vae.device == torch.device("cpu")
    assert pipe.vae.decode(torch.zeros(1, 16, 2, 2)).sample.dtype == torch.bfloat16
    pipe.vae.to(torch.float32)
    with pytest.warns(UserWarning, match="tiling has no effect"):
        pipe.vae.enable_tiling()
    pipe.vae.enable_slicing()
    pipe.vae.disable_slicing()
    pipe.vae.disable_tiling()
    with pytest.raises(InputError, match="one frame"):
        pipe.vae.encode(torch.zeros(1, 3, 2, 16, 16))
    with pytest.raises(InputError, match="before use"):
        pipe.vae.save_pretrained("folder")
    assert picture(pipe, given, "np").shape == (1, 64, 64, 3)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("save_pretrained", ["folder"]),
        ("load_state_dict", [{}]),
        ("train", []),
        ("set_attn_processor", [None]),
        ("fuse_qkv_projections", []),
        ("enable_xformers_memory_efficient_attention", []),
        ("enable_layerwise_casting", []),
        ("enable_gradient_checkpointing", []),
        ("set_attention_backend", ["native"]),
        ("tiled_decode", [None]),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_line_with_what_to_do(name: str, given: list[Any]) -> None:
    pipe, _ = pipeline("Z-Image")
    assert callable(getattr(pipe.vae, name)), "the VAE of diffusers does it"
    use(pipe, BUDGET)
    with pytest.raises(ZvaeError) as caught:
        getattr(pipe.vae, name)(*given)
    assert isinstance(caught.value, InputError)
    assert "a bounded VAE" in caught.value.problem
    assert "before use()" in caught.value.advice


def test_programs_that_ask_first_learn_that_it_is_missing() -> None:
    pipe, _ = pipeline("Z-Image")
    use(pipe, BUDGET)
    assert not hasattr(pipe.vae, "fuse_qkv_projections")
    assert hasattr(pipe.vae, "enable_tiling")
    pipe.enable_attention_slicing()
    with pytest.raises(AttributeError, match="'BoundedVAE' object has no attribute 'enable_tilting'"):
        pipe.vae.enable_tilting()
    with pytest.warns(FutureWarning, match="vae.config.scaling_factor"):
        assert pipe.vae.scaling_factor == pipe.vae.config.scaling_factor


def test_what_changes_no_picture() -> None:
    import torch

    pipe, given = pipeline("SDXL")
    wanted = picture(pipe, given, "np")
    use(pipe, BUDGET)
    assert pipe.vae.eval() is pipe.vae
    assert pipe.vae.requires_grad_(False) is pipe.vae
    pipe.vae.to(memory_format=torch.channels_last)
    pipe.to("cpu")
    pipe.vae.register_to_config(force_upcast=False)
    assert pipe.vae.config.force_upcast is False
    assert pipe.vae.config.scaling_factor == 0.13025
    assert far(picture(pipe, given, "np"), wanted) <= 1e-5


def test_torch_compile_leaves_it_alone() -> None:
    import torch

    pipe, given = pipeline("Z-Image")
    wanted = picture(pipe, given, "np")
    use(pipe, BUDGET)
    pipe.vae.decode = torch.compile(pipe.vae.decode)
    assert far(picture(pipe, given, "np"), wanted) <= 1e-5


def test_a_gradient_is_refused_and_not_lost() -> None:
    import torch

    pipe, _ = pipeline("Z-Image")
    use(pipe, BUDGET)
    for method, shape in ((pipe.vae.decode, (1, 16, 2, 2)), (pipe.vae.encode, (1, 3, 16, 16))):
        given = torch.zeros(shape, requires_grad=True)
        with pytest.raises(InputError, match=r"no gradients.*\n.*torch\.no_grad"):
            method(given)
        with torch.no_grad():
            method(given)


def test_a_second_use_changes_the_budget_and_copies_nothing() -> None:
    pipe, given = pipeline("FLUX.2")
    wanted = picture(pipe, given, "np")
    vae = use(pipe, "1MB")
    assert use(pipe, BUDGET) is vae
    assert far(picture(pipe, given, "np"), wanted) <= 1e-5


def test_forward_is_encode_and_decode() -> None:
    import torch

    pipe, _ = pipeline("SDXL")
    theirs, images = copy.deepcopy(pipe.vae), torch.rand(2, 3, 32, 48) * 2 - 1
    use(pipe, BUDGET)
    for options in ({}, {"sample_posterior": True}):
        seeds = [torch.Generator().manual_seed(3) for _ in "ab"]
        with torch.no_grad():
            wanted = theirs(images, generator=seeds[0], **options).sample
            assert far(pipe.vae(images, generator=seeds[1], **options).sample, wanted) <= 1e-4
            assert far(pipe.vae(images, return_dict=False)[0], theirs(images, return_dict=False)[0]) <= 1e-4


def test_a_compiled_vae_is_bounded_and_its_budget_changed() -> None:
    import torch

    pipe, given = pipeline("Z-Image")
    wanted = picture(pipe, given, "np")
    pipe.vae = torch.compile(pipe.vae)
    vae = use(pipe, "1MB")
    pipe.vae = torch.compile(pipe.vae)
    assert use(pipe, BUDGET) is vae
    assert far(picture(pipe, given, "np"), wanted) <= 1e-5


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("FLUX.2", (1, 4, 3, 4)),
        ("FLUX.2", (1, 8, 4, 4)),
        ("FLUX.2", (1, 4, 2, 4, 4)),
        ("FLUX.2", (4, 4, 4)),
        ("Z-Image", (1, 16, 2, 4, 4)),
        ("Z-Image", (16, 4)),
        ("Z-Image", None),
    ],
)
def test_what_is_no_map_of_latents_is_refused_before_memory_is_freed(name: str, shape: tuple[int, ...] | None) -> None:
    import torch

    pipe, _ = pipeline(name)
    use(pipe, BUDGET, free=lambda: pytest.fail("freed"))
    with pytest.raises(InputError):
        pipe.vae.decode(None if shape is None else torch.zeros(shape))
    with pytest.raises(InputError):
        pipe.vae.encode(None if shape is None else torch.zeros(shape))


@pytest.mark.parametrize(
    ("name", "kind"), [("FLUX.2", "bfloat16"), ("Qwen-Image", "float16"), ("Qwen-Image", "bfloat16")]
)
def test_a_batch_in_a_narrow_type(name: str, kind: str) -> None:
    """Rounding moves both from the result in float32, and a bounded VAE's no further than the module's own."""
    import torch

    pipe, _ = pipeline(name)
    pipe.vae.to(getattr(torch, kind))
    one = (1,) if name == "Qwen-Image" else ()
    images = torch.rand(2, 3, *one, 32, 48, generator=torch.Generator().manual_seed(0)).to(pipe.vae.dtype) * 2 - 1

    def both(vae: Any, latents: Any, images: Any) -> list[Any]:
        with torch.no_grad():
            return [vae.encode(images).latent_dist.mean, vae.decode(latents).sample]

    latents = pipe.vae.encode(images).latent_dist.mean.detach()
    theirs, judge = both(pipe.vae, latents, images), both(pipe.vae.float(), latents.float(), images.float())
    pipe.vae.to(getattr(torch, kind))
    use(pipe, BUDGET)
    for found, their, exact in zip(both(pipe.vae, latents, images), theirs, judge, strict=True):
        assert (found.dtype, found.shape) == (their.dtype, their.shape)
        errors = [float((each.float() - exact).square().mean().sqrt()) for each in (found, their)]
        assert errors[0] <= 1.2 * errors[1]
