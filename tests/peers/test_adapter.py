"""`adapters.diffusers.use` in real pipelines of diffusers: their pictures, whatever they ask of their VAE."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from typing import Any

import numpy as np
import pytest

from tests.support.running import environment
from zvae_tiled import BudgetError
from zvae_tiled.adapters.diffusers import use
from zvae_tiled.errors import InputError

pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # diffusers' Euler scheduler
]
NAMES = ("FLUX", "FLUX.2", "Z-Image", "SD 3", "SDXL", "Qwen-Image")
BUDGET = "1GB"


def pipeline(name: str) -> tuple[Any, dict[str, Any]]:
    import torch

    from tests.peers.pipelines import PIPELINES

    torch.manual_seed(0)
    return PIPELINES[name]()


def picture(*arguments: Any, **more: Any) -> Any:
    from tests.peers import pipelines

    return pipelines.picture(*arguments, **more)


@pytest.mark.parametrize("name", NAMES)
def test_the_pictures_are_those_of_the_pipeline(name: str) -> None:
    pipe, given = pipeline(name)
    kinds = ("latent", "pt", "np", "pil")
    wanted = {kind: picture(pipe, given, kind) for kind in kinds}
    use(pipe, BUDGET)
    found = {kind: picture(pipe, given, kind) for kind in kinds}
    assert np.array_equal(wanted["latent"], found["latent"])
    assert wanted["np"].std() > 0.05
    for kind in ("pt", "np"):
        assert type(found[kind]) is type(wanted[kind])
        assert abs(np.asarray(found[kind]) - np.asarray(wanted[kind])).max() <= 1e-5
    levels = [np.asarray(each["pil"][0], np.int16) for each in (wanted, found)]
    assert abs(levels[0] - levels[1]).max() <= 1, "a number between two levels"


@pytest.mark.filterwarnings("ignore:`upcast_vae` is deprecated:FutureWarning")  # what the pipeline calls itself
@pytest.mark.parametrize("upcast", [True, False])
def test_sdxl_in_float16(upcast: bool) -> None:
    import torch

    pipe, given = pipeline("SDXL")
    given = {key: each.half() if isinstance(each, torch.Tensor) else each for key, each in given.items()}
    pipe.to(dtype=torch.float16)
    pipe.vae.register_to_config(force_upcast=upcast)
    wanted = picture(pipe, given, "np")
    use(pipe, BUDGET)
    assert pipe.vae.dtype == torch.float16
    assert abs(picture(pipe, given, "np") - wanted).max() <= (2e-3 if upcast else 2e-2)
    assert pipe.vae.dtype == torch.float16, "the pipeline has set it back"


@pytest.mark.parametrize("kind", ["FluxImg2ImgPipeline", "StableDiffusionXLImg2ImgPipeline"])
def test_image_to_image(kind: str) -> None:
    import torch

    from tests.peers import pipelines

    torch.manual_seed(0)
    pipe, given = pipelines.flux(kind) if kind.startswith("Flux") else pipelines.sdxl(kind)
    given |= {"image": torch.rand(1, 3, pipelines.SIDE, pipelines.SIDE), "strength": 0.6, "num_inference_steps": 4}
    if kind.startswith("Flux"):
        given |= {"height": pipelines.SIDE, "width": pipelines.SIDE}
    wanted = picture(pipe, given, "np")
    use(pipe, BUDGET)
    assert abs(picture(pipe, given, "np") - wanted).max() <= 1e-4


@pytest.mark.parametrize("name", NAMES)
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


def test_memory_is_freed_before_a_decode_and_the_first_module_is_gone() -> None:
    pipe, given = pipeline("Z-Image")
    module, told = weakref.ref(pipe.vae), list[str]()
    use(pipe, BUDGET, free=lambda: told.append("freed"))
    gc.collect()
    assert module() is None
    picture(pipe, given, "latent")
    assert not told
    picture(pipe, given, "np")
    assert told == ["freed"]


def test_a_budget_that_is_too_small_is_named_by_the_pipeline() -> None:
    pipe, given = pipeline("Z-Image")
    use(pipe, "1MB")
    with pytest.raises(BudgetError, match="1 MB"):
        picture(pipe, given, "np")


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
    with pytest.raises(InputError, match="one frame, and got 2"):
        pipe.vae.encode(torch.zeros(1, 3, 2, 16, 16))
    with pytest.raises(InputError, match="before use"):
        pipe.vae.save_pretrained("folder")
    assert picture(pipe, given, "np").shape == (1, 64, 64, 3)


@pytest.mark.parametrize("pipe", [None, "Tongyi-MAI/Z-Image", object()])
def test_what_is_no_pipeline_is_refused(pipe: object) -> None:
    with pytest.raises(InputError, match=r"use\(\) needs a pipeline of diffusers with a VAE, and got"):
        use(pipe)


def test_neither_torch_nor_diffusers_is_imported_before_it_is_used() -> None:
    code = "import sys; from zvae_tiled.adapters import diffusers; assert not {'torch', 'diffusers'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True, env=environment())
