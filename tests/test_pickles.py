"""A VAE goes to other processes: pickled without its weights, which are read again, and refused if they changed."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import re
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import mlx.core as mx
import pytest
from safetensors.numpy import load_file, save_file

from tests.support.models import random_latents, random_vae
from tests.support.plans import bits
from tests.support.running import CONFIG, save_vae
from zvae_tiled import VAE
from zvae_tiled.errors import InputError, OutputError, WeightsError

LATENTS = random_latents(CONFIG, 6, 8, batch=2)


@pytest.fixture
def loaded(tmp_path: Path) -> VAE:
    return VAE.load(save_vae(tmp_path / "vae"), "float32", decoder_only=False)


def test_a_vae_that_was_loaded_pickles_without_its_weights(loaded: VAE, tmp_path: Path) -> None:
    pickled = pickle.dumps(loaded)
    assert len(pickled) < 4_000 < loaded.weight_bytes
    assert re.fullmatch(
        rf"<VAE {loaded.config.class_name}.*, float32, .+B, {tmp_path}/vae/.+\.safetensors>", repr(loaded)
    )
    again = pickle.loads(pickled)
    assert again.config == loaded.config
    assert again.dtype == loaded.dtype
    assert {source.path for source in again.sources} == {source.path for source in loaded.sources}
    assert again.weights.keys() == loaded.weights.keys()
    assert bits(again.decode(LATENTS)) == bits(loaded.decode(LATENTS))
    assert len(pickle.dumps(again)) < 4_000


def test_a_pickle_keeps_the_type_the_half_and_the_config(tmp_path: Path) -> None:
    folder = save_vae(tmp_path / "vae")
    config = (folder / "config.json").rename(tmp_path / "elsewhere.json")
    vae = VAE.load(folder / "diffusion_pytorch_model.safetensors", "bfloat16", config=config)
    again = pickle.loads(pickle.dumps(vae))
    assert again.dtype == mx.bfloat16
    assert not any(name.startswith("encoder.") for name in again.weights)
    with pytest.raises(OutputError, match="is an input"):
        again.decode_to_file(LATENTS[:1], config.rename(tmp_path / "elsewhere.npy"))


def test_a_pickle_means_the_same_file_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_vae(tmp_path / "vae")
    monkeypatch.chdir(tmp_path)
    vae = VAE.load("vae")
    monkeypatch.chdir("/")
    assert bits(pickle.loads(pickle.dumps(vae)).decode(LATENTS)) == bits(vae.decode(LATENTS))


def test_a_vae_of_several_files_pickles_too(tmp_path: Path) -> None:
    folder = save_vae(tmp_path / "vae")
    whole = folder / "diffusion_pytorch_model.safetensors"
    tensors = load_file(whole)
    whole.unlink()
    names, files = sorted(tensors), ("one.safetensors", "two.safetensors")
    weight_map = {name: files[i % 2] for i, name in enumerate(names)}
    for file in files:
        save_file({name: tensors[name] for name in names if weight_map[name] == file}, folder / file)
    index = folder / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    vae = VAE.load(folder)
    pickled = pickle.dumps(vae)
    assert bits(pickle.loads(pickled).decode(LATENTS)) == bits(vae.decode(LATENTS))
    change(folder / weight_map["decoder.conv_out.bias"])
    with pytest.raises(WeightsError, match="has changed since the VAE was pickled"):
        pickle.loads(pickled)


def change(file: Path) -> None:
    """Change a weight in a file without changing the file's size."""
    tensors = load_file(file)
    tensors["decoder.conv_out.bias"] = tensors["decoder.conv_out.bias"] + 1
    save_file(tensors, file)


def test_a_file_that_has_changed_since_is_refused(loaded: VAE, tmp_path: Path) -> None:
    file, pickled = tmp_path / "vae" / "diffusion_pytorch_model.safetensors", pickle.dumps(loaded)
    change(file)
    with pytest.raises(WeightsError, match="has changed since the VAE was pickled: its SHA-256 was"):
        pickle.loads(pickled)
    with pytest.raises(WeightsError, match="has changed since this VAE was loaded"):
        pickle.dumps(loaded)
    file.unlink()
    with pytest.raises(WeightsError, match=r"diffusion_pytorch_model\.safetensors"):
        pickle.loads(pickled)
    with pytest.raises(WeightsError, match="has changed since this VAE was loaded"):
        pickle.dumps(loaded)


def test_a_file_that_was_only_touched_is_read_again(loaded: VAE, tmp_path: Path) -> None:
    pickled = pickle.dumps(loaded)
    os.utime(tmp_path / "vae" / "diffusion_pytorch_model.safetensors", (1, 1))
    assert bits(pickle.loads(pickled).decode(LATENTS)) == bits(loaded.decode(LATENTS))


def test_a_vae_made_in_memory_is_not_pickled() -> None:
    with pytest.raises(InputError, match=r"made in memory; only a VAE from VAE\.load can be pickled"):
        pickle.dumps(random_vae(CONFIG))


@pytest.mark.slow
def test_a_vae_goes_to_a_process_that_is_spawned(loaded: VAE) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = pool.submit(loaded.decode, LATENTS, "np").result()
    assert found.tobytes() == loaded.decode(LATENTS, "np").tobytes()
