"""Train the demo VAE: `python -m training.train`. Then `python -m training.export` writes the bundled files."""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch.nn import functional

from training.muon import Muon
from training.pictures import HELD_OUT, Crops, as_tensor, picture

ARCHITECTURE = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 16,
    "block_out_channels": (16, 32, 64, 64),
    "layers_per_block": 2,
    "norm_num_groups": 4,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
"""FLUX.1's and Z-Image's VAE, an eighth as wide, with as many channels in each group: 1.3 million weights."""

STAGES = ((0.7, 6, 64), (0.92, 2, 128), (1.0, 1, 192))
"""For each stage: the share of the time at which it ends, the crops in a batch, and their size in pixels.

Small crops learn faster, and large crops learn the norms.
"""

MUON_RATE, ADAM_RATE, WARM_UP, DECAY = 0.02, 2e-3, 0.02, 0.995
EDGE_WEIGHT, TONE_WEIGHT, KL_WEIGHT = 0.5, 1.0, 1e-4


def fresh() -> AutoencoderKL:
    """Return an untrained model whose resnets and attention add nothing to their input. It learns tones first."""
    model = AutoencoderKL(**ARCHITECTURE)
    for name, weight in model.named_parameters():
        if ".conv2." in name or ".to_out." in name:
            torch.nn.init.zeros_(weight)
    return model


def losses(model: AutoencoderKL, batch: torch.Tensor) -> torch.Tensor:
    """Return the loss of a batch: error of pixels, edges and coarse tones, and a little Kullback-Leibler divergence."""
    with torch.autocast("cpu", torch.bfloat16):
        posterior = model.encode(batch).latent_dist
        decoded = model.decode(posterior.sample()).sample
    decoded, mean, logvar = decoded.float(), posterior.mean.float(), posterior.logvar.float()
    pixels = functional.l1_loss(decoded, batch) + 2 * functional.mse_loss(decoded, batch)
    error = decoded - batch
    edges = sum(error.diff(dim=axis).abs().mean() for axis in (2, 3))
    tones = sum(functional.avg_pool2d(error, size).abs().mean() for size in (2, 8))
    divergence = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
    return pixels + EDGE_WEIGHT * edges + TONE_WEIGHT * tones + KL_WEIGHT * divergence


def held_out_psnr(model: AutoencoderKL) -> float:
    """Return the PSNR of `HELD_OUT` after encoder and decoder."""
    image = as_tensor(picture(HELD_OUT))[:, :296, :448].float() / 255
    with torch.no_grad():
        decoded = model.decode(model.encode(image[None] * 2 - 1).latent_dist.mean).sample
    error = ((decoded[0] / 2 + 0.5).clamp(0, 1) - image).square().mean()
    return float(-10 * torch.log10(error))


def train(minutes: float, folder: Path, seed: int) -> None:
    """Train for `minutes`. The averaged weights are saved every two minutes, and at the end."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    crops, model = Crops(seed), fresh()
    averaged = copy.deepcopy(model).requires_grad_(False)
    muon = Muon([weight for weight in model.parameters() if weight.ndim > 1])
    adam = torch.optim.AdamW([weight for weight in model.parameters() if weight.ndim == 1], betas=(0.9, 0.98))
    start = saved = time.monotonic()
    step, history = 0, []
    while (done := (time.monotonic() - start) / 60 / minutes) < 1:
        count, size = next((count, size) for until, count, size in STAGES if done < until)
        rate = min(done / WARM_UP, 0.5 + 0.5 * math.cos(math.pi * done)) + 0.005
        adam.param_groups[0]["lr"] = ADAM_RATE * rate
        loss = losses(model, crops.batch(count, size))
        model.zero_grad(set_to_none=True)
        loss.backward()
        muon.step(MUON_RATE * rate)
        adam.step()
        step += 1
        decay = min(DECAY, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(averaged.parameters()), [value.detach() for value in model.parameters()], 1 - decay)
        if time.monotonic() - saved > 120:
            saved = time.monotonic()
            history.append(save(averaged, folder, step, (saved - start) / 60, loss.item()))
            (folder / "history.json").write_text(json.dumps(history, indent=1))
    history.append(save(averaged, folder, step, (time.monotonic() - start) / 60, loss.item()))
    (folder / "history.json").write_text(json.dumps(history, indent=1))


def save(model: AutoencoderKL, folder: Path, step: int, minutes: float, loss: float) -> dict[str, float]:
    """Save the weights. Return the step, the times, the loss and the PSNR."""
    torch.save(model.state_dict(), folder / "weights.pt.tmp")
    (folder / "weights.pt.tmp").replace(folder / "weights.pt")
    psnr, processor = held_out_psnr(model), round(time.process_time() / 60, 1)
    reached = {"step": step, "minutes": round(minutes, 1), "processor": processor, "loss": round(loss, 4), "psnr": psnr}
    print(reached, flush=True)
    return reached


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--folder", type=Path, default=Path("build/training"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train(arguments.minutes, arguments.folder, arguments.seed)
