"""Write the bundled files and their figures. Run `python -m training.export` after `python -m training.train`."""

from __future__ import annotations

import argparse
import copy
import datetime
import json
import os
import platform
from importlib import metadata
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from PIL import Image
from safetensors.torch import save_file

from training.pictures import HELD_OUT, TRAINED, as_tensor, held_out_part, picture, training_part
from training.train import ARCHITECTURE

DEMO = Path(__file__).parents[1] / "zvae_tiled" / "demo"
FIGURES = Path(__file__).with_name("figures.md")
SCALE = 8

ALBUM = (
    ("astronaut.png", (0, 0, 512, 512), (0, 0, 1024, 1024)),
    ("retina.jpg", (193, 193, 1217, 1217), (0, 1024, 1024, 2048)),
    ("coffee.png", (0, 0, 600, 400), (1024, 0, 2048, 683)),
    ("chelsea.png", (0, 0, 450, 300), (1024, 683, 2048, 1366)),
    ("rocket.jpg", (0, 0, 640, 426), (1024, 1366, 2048, 2048)),
)
"""For each picture in the album of 2048x2048 pixels: its file, the box to cut out, and the box in the album."""


def album() -> Image.Image:
    """Return a large picture, composed of the small ones in `ALBUM`."""
    page = Image.new("RGB", (2048, 2048))
    for name, part, (left, top, right, bottom) in ALBUM:
        page.paste(picture(name).resize((right - left, bottom - top), Image.Resampling.LANCZOS, part), (left, top))
    return page


def whole(image: Image.Image) -> Image.Image:
    """Crop a picture to a whole number of latents."""
    return image.crop((0, 0, image.width // SCALE * SCALE, image.height // SCALE * SCALE))


def encode(model: AutoencoderKL, image: Image.Image) -> torch.Tensor:
    """Return the mean of the latents, before scale and shift."""
    with torch.no_grad():
        return model.encode(as_tensor(image)[None].float() / 127.5 - 1).latent_dist.mean


def decode(model: AutoencoderKL, latents: torch.Tensor) -> torch.Tensor:
    """Return the decoded picture as (3, H, W) in [0, 1]."""
    with torch.no_grad():
        return (model.decode(latents).sample[0] / 2 + 0.5).clamp(0, 1)


def psnr(decoded: torch.Tensor, image: Image.Image) -> float:
    """Return the peak signal-to-noise ratio in dB."""
    error = (decoded - as_tensor(image).float() / 255).square().mean()
    return float(-10 * torch.log10(error))


def rounded(folder: Path) -> AutoencoderKL:
    """Return the trained model with weights rounded to bfloat16, and scale and shift that standardise the latents."""
    model = AutoencoderKL(**ARCHITECTURE)
    model.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    model.to(torch.bfloat16).to(torch.float32)
    parts = [whole(training_part(picture(name))) for name in TRAINED]
    weights = torch.tensor(list(TRAINED.values()))
    values = [encode(model, part) for part in parts]
    mean = float(torch.stack([value.mean() for value in values]) @ weights / weights.sum())
    square = float(torch.stack([(value - mean).square().mean() for value in values]) @ weights / weights.sum())
    model.register_to_config(
        scaling_factor=round(square**-0.5, 4), shift_factor=round(mean, 4), sample_size=256, force_upcast=True
    )
    return model


def write_latents(model: AutoencoderKL, name: str, image: Image.Image) -> float:
    """Write the latents of a picture, scaled as a pipeline returns them. Return the PSNR of their decode."""
    scaling, shift = model.config.scaling_factor, model.config.shift_factor
    latents = ((encode(model, image) - shift) * scaling).half().contiguous()
    about = {"height": str(image.height), "width": str(image.width), "packed": "false", "scaled": "true"}
    save_file({"latents": latents}, DEMO / "latents" / f"{name}.safetensors", about)
    return psnr(decode(model, latents.float() / scaling + shift), image)


def export(folder: Path) -> None:
    """Write weights, config, latents, the reference picture, and the figures."""
    (DEMO / "latents").mkdir(parents=True, exist_ok=True)
    model = rounded(folder)
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(DEMO)
    held_out = {f"{name}, rightmost quarter": whole(held_out_part(picture(name))) for name in TRAINED}
    held_out = {f"{HELD_OUT}, all of it": whole(picture(HELD_OUT))} | held_out
    bundled = {"cat": whole(picture(HELD_OUT)), "coffee": whole(picture("coffee.png")), "album": album()}
    bundled["cat"].save(DEMO / "cat.png", optimize=True)
    write_figures(
        model,
        json.loads((folder / "history.json").read_text()),
        {what: psnr(decode(model, encode(model, image)), image) for what, image in held_out.items()},
        {f"`{name}`": write_latents(model, name, image) for name, image in bundled.items()},
    )
    for file in DEMO.rglob("*.safetensors"):
        file.chmod(0o644)  # safetensors makes files that only the owner may read


def write_figures(
    model: AutoencoderKL, history: list[dict[str, float]], held_out: dict[str, float], bundled: dict[str, float]
) -> None:
    """Write `figures.md`."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "diffusers", "scikit-image"))
    size = (DEMO / "diffusion_pytorch_model.safetensors").stat().st_size
    last = history[-1]
    lines = [
        "# Figures of the demo VAE",
        "",
        "Written by `python -m training.export`; not to be edited.",
        "",
        f"{datetime.datetime.now(datetime.UTC).date().isoformat()}: {os.cpu_count()} CPU cores, {platform.machine()}, "
        f"Python {platform.python_version()}, {versions}.",
        "",
        f"Trained for {last['minutes']:.0f} minutes, {last['processor']:.0f} of them on a processor: "
        f"{last['step']:,} steps. "
        f"{model.num_parameters():,} weights, {size:,} bytes in bfloat16.",
        f"`scaling_factor` {model.config.scaling_factor}, `shift_factor` {model.config.shift_factor}: "
        "latents of the training pictures have mean 0 and standard deviation 1.",
        "",
        "PSNR of held-out pictures through encoder and decoder, with the weights as stored:",
        "",
        "| held out | PSNR |",
        "|---|---|",
        *(f"| {what} | {value:.1f} dB |" for what, value in held_out.items()),
        "",
        "The bundled latents (`coffee` and most of `album` are of pictures that were trained on):",
        "",
        "| latents | PSNR |",
        "|---|---|",
        *(f"| {what} | {value:.1f} dB |" for what, value in bundled.items()),
        "",
        f"{HELD_OUT} during training:",
        "",
        "| minutes | steps | PSNR |",
        "|---|---|---|",
        *(f"| {row['minutes']:.0f} | {row['step']:,} | {row['psnr']:.1f} dB |" for row in history),
    ]
    FIGURES.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/training"), help="where the training left weights")
    export(parser.parse_args().folder)
