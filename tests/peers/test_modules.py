"""Modules of torch and mflux in memory become the VAE that their files become, and torch is not imported for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from tests.support.models import FLUX2, narrow
from tests.support.running import environment
from zvae_tiled import VAE
from zvae_tiled.families.autoencoder_kl import PRESETS

pytestmark = pytest.mark.peers


def same(ours: VAE, theirs: VAE) -> None:
    assert (ours.config, ours.weights.keys()) == (theirs.config, theirs.weights.keys())
    assert all(mx.array_equal(ours.weights[name], values).item() for name, values in theirs.weights.items())


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning")  # torch.compile's own
@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("order", ["contiguous_format", "channels_last"])
def test_a_module_of_diffusers(kind: str, order: str, tmp_path: Path) -> None:
    import torch

    from tests.peers.diffusers_model import random_diffusers_vae

    theirs = random_diffusers_vae(narrow("z-image")).to(getattr(torch, kind))
    theirs.save_pretrained(tmp_path)
    theirs.to(memory_format=getattr(torch, order))
    assert theirs.decoder.conv_in.weight.requires_grad
    for module in (theirs, torch.compile(theirs)):
        same(VAE.from_module(module, decoder_only=False), VAE.load(tmp_path, decoder_only=False))
    same(VAE.from_state_dict(theirs.state_dict(), narrow("z-image")), VAE.load(tmp_path))


def test_a_module_of_another_family_keeps_its_config() -> None:
    import diffusers

    keys = ("latent_channels", "block_out_channels", "norm_num_groups", "batch_norm_eps")
    options: dict[str, Any] = {key: getattr(FLUX2, key) for key in keys}
    module = diffusers.AutoencoderKLFlux2(
        **options, down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4
    )
    assert VAE.from_module(module).config == FLUX2


GROWTH = """
import psutil, sys
from tests.peers.diffusers_model import random_diffusers_vae
from zvae_tiled import VAE
from zvae_tiled.families.autoencoder_kl import PRESETS

def memory(name):
    line = next(line for line in open("/proc/self/status") if line.startswith(name))
    return int(line.split()[1]) * 1024

module = random_diffusers_vae(PRESETS["z-image"]).to(getattr(__import__("torch"), sys.argv[1]))
open("/proc/self/clear_refs", "w").write("5")
before = memory("VmRSS")
vae = VAE.from_module(module, dtype=sys.argv[1], decoder_only=False)
print(memory("VmHWM") - before, vae.weight_bytes, max(each.nbytes for each in vae.weights.values()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak since a moment")
@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_a_published_module_is_copied_tensor_by_tensor(kind: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, kind], capture_output=True, text=True, env=environment(PYTHONWARNINGS="default")
    )
    assert done.returncode == 0, done.stderr
    grown, weights, largest = map(int, done.stdout.split())
    assert weights <= grown <= weights + largest + 24e6, "beside what the libraries load at their first use"


def test_torch_is_not_imported() -> None:
    code = "import sys; from zvae_tiled import VAE; VAE.demo(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=environment(PYTHONWARNINGS="default")).returncode == 0


def test_a_module_of_mflux(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of full width, because mflux's classes have no other."""
    pytest.importorskip("mflux")
    from tests.data.make_mflux_names import diffusers_shapes, loaded
    from tests.support.models import random_tensors

    shapes = {name: shape for name, shape in diffusers_shapes("flux1").items() if shape}
    stored = {name: mx.array(values) for name, values in random_tensors(shapes).items()}
    for bits in (None, 4):
        vae = VAE.from_module(loaded("flux1", stored, bits), "flux1")
        assert vae.config == PRESETS["flux1"]
        if bits is None:
            same(vae, VAE.from_state_dict(stored, "flux1"))
