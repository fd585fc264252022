"""`adapters.diffusers.use` in real pipelines of diffusers: their pictures, whatever they ask of their VAE."""

from __future__ import annotations

import gc
import shlex
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.peers.adapting import BUDGET, MARKS, NAMES, far, picture, pipeline
from tests.support.running import environment, run
from zvae_tiled import BudgetError, Tiles
from zvae_tiled.adapters.diffusers import use
from zvae_tiled.errors import InputError
from zvae_tiled.inputs.latents import Latents

pytestmark = MARKS


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


@pytest.mark.parametrize("name", ["Z-Image", "FLUX.2"])
def test_a_budget_that_is_too_small_is_named_and_the_latents_are_kept(name: str, tmp_path: Path) -> None:
    pipe, given = pipeline(name)
    pipe.vae.save_pretrained(tmp_path / "vae")
    pipe.vae.register_to_config(_name_or_path=tmp_path / "vae")  # as it was passed to from_pretrained
    wanted = picture(pipe, given, "np")
    use(pipe, "1MB", keep=tmp_path)
    with pytest.raises(BudgetError, match="1 MB") as refused:
        picture(pipe, given, "np")
    (kept,) = tmp_path.glob("*.safetensors")
    program, *words = shlex.split(refused.value.__notes__[0].splitlines()[1])
    assert (program, words[:2]) == ("zvae", ["decode", str(kept)])
    run(*words)
    with Image.open(kept.with_suffix(".png")) as image:
        assert abs(np.asarray(image) / 255 - wanted[0]).max() <= 1 / 255
    use(pipe, "1MB", keep=None)
    with pytest.raises(BudgetError):
        picture(pipe, given, "np")
    use(pipe, BUDGET, keep=tmp_path)
    picture(pipe, given, "np")
    assert list(tmp_path.glob("*.safetensors")) == [kept]


@pytest.mark.parametrize("name", ["Z-Image", "SANA"])
def test_a_picture_in_tiles_is_the_one_of_a_decode_in_tiles(name: str) -> None:
    import torch

    pipe, _ = pipeline(name)
    vae = use(pipe, BUDGET)
    tiles = Tiles(2 * vae.config.scale, 0, moments="tile")
    z = torch.randn((1, vae.config.latent_channels, 5, 3), generator=torch.Generator().manual_seed(1))
    exact = pipe.vae.decode(z).sample
    assert use(pipe, BUDGET, quality=tiles) is vae
    found = pipe.vae.decode(z).sample
    given = Latents(z, scaled=False)
    assert torch.equal(found, vae.decode(given, "torch", raw=True, layout="NCHW", budget=BUDGET, quality=tiles))
    assert far(found, exact) > 1e-2


@pytest.mark.parametrize("name", ["Z-Image", "SANA"])
def test_an_encode_beyond_the_budget_is_refused(name: str) -> None:
    import torch

    pipe, _ = pipeline(name)
    images = torch.zeros(1, 3, 64, 64)
    use(pipe, "1MB")
    with pytest.raises(BudgetError, match="1 MB"):
        pipe.vae.encode(images)
    use(pipe, BUDGET)
    pipe.vae.encode(images)


@pytest.mark.parametrize("pipe", [None, "Tongyi-MAI/Z-Image", object()])
def test_what_is_no_pipeline_is_refused(pipe: object) -> None:
    with pytest.raises(InputError, match=r"use\(\) needs a pipeline of diffusers with a VAE, and got"):
        use(pipe)


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"budget": "much"}, "a budget must be an amount"),
        ({"quality": "best"}, "quality must be one of"),
        ({"free": 3}, "free must be a function"),
    ],
)
def test_wrong_arguments_are_refused_before_a_step_is_sampled(wrong: dict[str, Any], problem: str) -> None:
    pipe, _ = pipeline("Z-Image")
    theirs = pipe.vae
    with pytest.raises(InputError, match=problem):
        use(pipe, **wrong)
    assert pipe.vae is theirs


def test_neither_torch_nor_diffusers_is_imported_before_it_is_used() -> None:
    code = "import sys; from zvae_tiled.adapters import diffusers; assert not {'torch', 'diffusers'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True, env=environment())
