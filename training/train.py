"""Train the demo VAE: `python -m training.train`; `python -m training.export` then writes what is bundled."""

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

from training.pictures import HELD_OUT, Crops, as_tensor, picture

ARCHITECTURE = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 16,
    "block_out_channels": (16, 32, 64, 64),
    "layers_per_block": 2,
    "norm_num_groups": 8,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
"""FLUX.1's and Z-Image's VAE, an eighth as wide: 1.3 million weights."""

STAGES = ((0.55, 8, 64), (0.88, 3, 128), (1.0, 1, 256))
"""Until which part of the time how many crops of which size: small ones learn faster, large ones learn the norms."""

RATE, WARM_UP, DECAY = 2e-3, 0.02, 0.998
KL_WEIGHT, EDGE_WEIGHT = 3e-4, 0.5


def losses(model: AutoencoderKL, batch: torch.Tensor) -> torch.Tensor:
    """Return the loss of a batch: difference of pixels and of edges, and a little Kullback-Leibler divergence."""
    with torch.autocast("cpu", torch.bfloat16):
        posterior = model.encode(batch).latent_dist
        decoded = model.decode(posterior.sample()).sample
    decoded, mean, logvar = decoded.float(), posterior.mean.float(), posterior.logvar.float()
    pixels = functional.l1_loss(decoded, batch) + 2 * functional.mse_loss(decoded, batch)
    edges = sum(functional.l1_loss(decoded.diff(dim=axis), batch.diff(dim=axis)) for axis in (2, 3))
    divergence = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
    return pixels + EDGE_WEIGHT * edges + KL_WEIGHT * divergence


def held_out_psnr(model: AutoencoderKL) -> float:
    """Return the PSNR of the picture that is never trained on, through encoder and decoder."""
    image = as_tensor(picture(HELD_OUT))[:, :296, :448].float() / 255
    with torch.no_grad():
        decoded = model.decode(model.encode(image[None] * 2 - 1).latent_dist.mean).sample
    error = ((decoded[0] / 2 + 0.5).clamp(0, 1) - image).square().mean()
    return float(-10 * torch.log10(error))


def train(minutes: float, folder: Path, seed: int) -> None:
    """Train for so many minutes; the averaged weights are saved every four, and at the end."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    crops, model = Crops(seed), AutoencoderKL(**ARCHITECTURE)
    averaged = copy.deepcopy(model).requires_grad_(False)
    optimiser = torch.optim.AdamW(model.parameters(), RATE, betas=(0.9, 0.98), weight_decay=1e-4)
    start = saved = time.monotonic()
    step, history = 0, []
    while (done := (time.monotonic() - start) / 60 / minutes) < 1:
        count, size = next((count, size) for until, count, size in STAGES if done < until)
        rate = min(done / WARM_UP, 0.5 + 0.5 * math.cos(math.pi * done), 1) + 0.005
        for group in optimiser.param_groups:
            group["lr"] = RATE * rate
        loss = losses(model, crops.batch(count, size))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step += 1
        decay = min(DECAY, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(averaged.parameters()), [value.detach() for value in model.parameters()], 1 - decay)
        if time.monotonic() - saved > 240:
            saved = time.monotonic()
            history.append(save(averaged, folder, step, (saved - start) / 60, loss.item()))
            (folder / "history.json").write_text(json.dumps(history, indent=1))
    history.append(save(averaged, folder, step, (time.monotonic() - start) / 60, loss.item()))
    (folder / "history.json").write_text(json.dumps(history, indent=1))


def save(model: AutoencoderKL, folder: Path, step: int, minutes: float, loss: float) -> dict[str, float]:
    """Save the weights and return how good they are."""
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
