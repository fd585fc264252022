"""FLUX.2's kin have one config.json: the pipeline around the folder says whose latents they are."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tests.support.models import FLUX2, narrow, save_random
from zvae_tiled import VAE, VAEConfig, config_of
from zvae_tiled.cli.sources import named_config
from zvae_tiled.errors import ConfigError
from zvae_tiled.weights.find import find_checkpoint


def pipeline_folder(folder: Path, pipeline: str | None, config: VAEConfig = FLUX2) -> Path:
    """A pipeline's folder as diffusers writes it; without a pipeline's class it is the VAE's parent."""
    (folder / "vae").mkdir(parents=True)
    values = {name: value for name, value in asdict(config).items() if name != "pipeline"}
    (folder / "vae" / "config.json").write_text(json.dumps({"_class_name": config.class_name, **values}))
    save_random(config, folder / "vae" / "diffusion_pytorch_model.safetensors")
    if pipeline is not None:
        (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline}))
    return folder


@pytest.mark.parametrize(
    ("pipeline", "preset"),
    [
        (None, "flux2"),
        ("Flux2KleinPipeline", "flux2"),
        ("Ideogram4Pipeline", "ideogram4"),
        ("ErnieImagePipeline", "ernie-image"),
        ("BriaFibo2Pipeline", "fibo2"),
    ],
)
def test_a_pipeline_says_whose_latents_they_are(pipeline: str | None, preset: str, tmp_path: Path) -> None:
    published = replace(FLUX2, batch_norm_eps=1e-4)
    folder = pipeline_folder(tmp_path / "model", pipeline, published)
    for path in (folder, folder / "vae", folder / "vae" / "diffusion_pytorch_model.safetensors"):
        found = VAE.load(path).config
        assert found == named_config(str(path), None)
        assert found.latents.channels == 4 * FLUX2.latent_channels
        want = config_of(preset).latents
        assert (found.latents.order, found.latents.spread) == (want.order, want.spread)
        assert found.latents.statistics == want.statistics
    assert VAE.load(folder, config=published).config == published
    assert (folder / "model_index.json" in find_checkpoint(folder).paths) == (pipeline is not None)


def test_a_download_without_the_pipelines_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    published = replace(FLUX2, batch_norm_eps=1e-4)
    kin, own, other = (
        pipeline_folder(tmp_path / f"models--{name}" / "snapshots" / "a1b2", None, config)
        for name, config in (
            ("baidu--ERNIE-Image", published),
            ("black-forest-labs--FLUX.2-dev", published),
            ("a--b", narrow("flux1")),
        )
    )
    for path in ("baidu/ERNIE-Image", kin, kin / "vae"):
        with pytest.raises(ConfigError, match=r"has no model_index\.json.*flux2 or .*ernie-image") as error:
            VAE.load(path)
        assert "hf download baidu/ERNIE-Image vae/ model_index.json" in error.value.advice
    assert VAE.load("baidu/ERNIE-Image", config=published).config == published
    assert VAE.load("flux2").config == VAE.load(own).config == published, "the preset names the model"
    assert VAE.load(other).config == narrow("flux1"), "its config says all"
    (kin / "model_index.json").write_text(json.dumps({"_class_name": "ErnieImagePipeline"}))
    assert VAE.load("baidu/ERNIE-Image").config == replace(published, batch_norm_eps=1e-5)


def test_another_family_does_not_read_it(tmp_path: Path) -> None:
    folder = pipeline_folder(tmp_path / "model", None, narrow("flux1"))
    (folder / "model_index.json").write_text("{")
    assert VAE.load(folder).config == narrow("flux1")


def test_one_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    folder = pipeline_folder(tmp_path / "model", None)
    (folder / "model_index.json").write_text("{")
    with pytest.raises(ConfigError, match=r"model_index\.json is not JSON"):
        VAE.load(folder)
