"""Stands in for what the nodes see of ComfyUI 0.3.64: its loaded VAE, and four of its modules, with their signatures.

`comfyui_check` runs the nodes in the program itself; these tests need none. The VAE is one of diffusers inside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from tests.data.make_golden_flux2 import decoded, encoded, random_flux2
from tests.data.make_golden_qwen import random_qwen
from tests.data.make_golden_tiny import random_tiny
from tests.peers.diffusers_model import random_diffusers_vae
from tests.support.checkpoints import vae_rows
from tests.support.models import FLUX2, narrow
from zvae_tiled.weights.modules import module_config


class FirstStage(torch.nn.Module):  # type: ignore[misc]  # torch is not installed where types are checked
    """A module with ComfyUI's names and calls."""

    def __init__(self, model: Any, renamed: Callable[[str], str], decode: Callable[[Any], Any], encode: Any) -> None:
        super().__init__()
        self.model, self._renamed, self.decode, self.encode = model, renamed, decode, encode

    def state_dict(self, *args: Any, **options: Any) -> dict[str, Any]:
        return {self._renamed(name): values for name, values in self.model.state_dict().items()}


class NestedTensor:
    """As `comfy.nested_tensor.NestedTensor`: a video's latents, beside those of its sound."""

    is_nested = True

    def __init__(self, tensors: Any) -> None:
        self.tensors = list(tensors)

    def unbind(self) -> list[Any]:
        return self.tensors


class LoadedVAE:
    """As `comfy.sd.VAE`."""

    vae_dtype, device, downscale = torch.float32, torch.device("cpu"), 8

    def __init__(self, first_stage_model: Any, latent_dim: int = 2) -> None:
        self.first_stage_model, self.latent_dim = first_stage_model, latent_dim
        self.config: Any = None  # unless that of its module lacks something

    def throw_exception_if_invalid(self) -> None:
        if self.first_stage_model is None:
            raise RuntimeError("ERROR: VAE is invalid: None")

    def vae_encode_crop_pixels(self, pixels: Any) -> Any:
        for axis in (1, 2):
            kept = pixels.shape[axis] // self.downscale * self.downscale
            pixels = pixels.narrow(axis, pixels.shape[axis] % self.downscale // 2, kept)
        return pixels

    def decode(self, samples: Any) -> Any:
        with torch.no_grad():
            found = self.first_stage_model.decode(samples)
        found = found[:, :, 0] if found.ndim == 5 else found
        return ((found + 1) / 2).clamp(0, 1).movedim(1, -1)

    def encode(self, pixels: Any) -> Any:
        images = self.vae_encode_crop_pixels(pixels).movedim(-1, 1) * 2 - 1
        with torch.no_grad():
            return self.first_stage_model.encode(images[:, :, None] if self.latent_dim == 3 else images)


def z_image() -> LoadedVAE:
    model = random_diffusers_vae(narrow("z-image"))
    names = {row.name: row.original for row in vae_rows((8, 8, 16, 16), latent=16, quant=False)}
    return LoadedVAE(
        FirstStage(
            model, names.__getitem__, lambda z: model.decode(z).sample, lambda x: model.encode(x).latent_dist.mean
        )
    )


def flux2() -> LoadedVAE:
    model = random_flux2(FLUX2)
    vae = LoadedVAE(FirstStage(model, str, lambda z: decoded(model, z), lambda x: encoded(model, x / 2 + 0.5)))
    vae.downscale = 16
    return vae


def taesd() -> LoadedVAE:
    """ComfyUI joins both halves, and counts a layer of the decoder that has no weights."""
    model, scale, shift = random_tiny(latent_channels=16), 0.3611, 0.1159

    def renamed(name: str) -> str:
        half, _, number, rest = name.split(".", 3)
        return f"taesd_{half}.{int(number) + (half == 'decoder')}.{rest}"

    module = FirstStage(
        model,
        renamed,
        lambda z: model.decode((z - shift) * scale).sample,
        lambda x: model.encode(x).latents / scale + shift,
    )
    module.vae_scale, module.vae_shift = (torch.nn.Parameter(torch.tensor(number)) for number in (scale, shift))
    return LoadedVAE(module)


def taef2() -> LoadedVAE:
    """A TAESD of packed latents, as ComfyUI's EncoderFlux2 packs them. Each channel has a scale, as in TAEQI 2.1."""
    model, fold = random_tiny(latent_channels=4), torch.nn.functional
    scale, shift = (torch.linspace(low, high, 16).reshape(16, 1, 1) for low, high in ((0.5, 1.5), (-0.2, 0.3)))
    module = FirstStage(
        model,
        str,
        lambda z: model.decode(fold.pixel_shuffle((z - shift) * scale, 2)).sample,
        lambda x: fold.pixel_unshuffle(model.encode(x).latents, 2) / scale + shift,
    )
    module.vae_scale, module.vae_shift = torch.nn.Parameter(scale), torch.nn.Parameter(shift)
    vae = LoadedVAE(module)
    config: Any = module_config(model)
    vae.downscale, vae.config = 16, replace(config, patch=2)
    return vae


def qwen_image() -> LoadedVAE:
    model = random_qwen()
    module = FirstStage(model, str, lambda z: model.decode(z).sample, lambda x: model.encode(x).latent_dist.mode())
    return LoadedVAE(module, latent_dim=3)


FAMILIES = {each.__name__: each for each in (z_image, flux2, taesd, taef2, qwen_image)}


class Host:
    """ComfyUI's modules, and what the nodes have asked of them."""

    class InterruptProcessingException(Exception):
        """As in `comfy.model_management`."""

    def __init__(self, output: Path) -> None:
        self.output, self.asked, self.steps = output, list[tuple[int, Any]](), list[int]()
        self.calls_until_cancelled, self.args = -1, SimpleNamespace(disable_metadata=False)
        management = SimpleNamespace(
            free_memory=lambda memory_required, device, keep_loaded=(): self.asked.append((memory_required, device)),
            throw_exception_if_processing_interrupted=self._throw,
            InterruptProcessingException=self.InterruptProcessingException,
        )
        utils, cli = SimpleNamespace(ProgressBar=self._bar), SimpleNamespace(args=self.args)
        paths = SimpleNamespace(get_output_directory=lambda: str(output), get_save_image_path=self._place)
        comfy = SimpleNamespace(model_management=management, utils=utils, cli_args=cli)
        self.modules = {f"comfy.{name}": module for name, module in vars(comfy).items()}
        self.modules |= {"comfy": comfy, "folder_paths": paths}

    def _throw(self) -> None:
        self.calls_until_cancelled -= 1
        if self.calls_until_cancelled == 0:
            raise self.InterruptProcessingException

    def _bar(self, total: int, node_id: Any = None) -> Any:
        bar = SimpleNamespace(current=0)

        def update_absolute(value: int, total: int | None = None, preview: Any = None) -> None:
            bar.current = value
            self.steps.append(value)

        bar.update_absolute = update_absolute
        return bar

    def _place(self, prefix: str, folder: str, width: int = 0, height: int = 0) -> tuple[str, str, int, str, str]:
        subfolder, _, name = prefix.rpartition("/")
        place = Path(folder) / subfolder
        place.mkdir(exist_ok=True)
        return str(place), name, len(list(place.glob(f"{name}_*"))) + 1, subfolder, prefix
