"""`adapters.mflux.use` in real models of mflux, and `zvae mflux`: their pictures, within a budget."""

from __future__ import annotations

import gc
import json
import shlex
import subprocess
import sys
import weakref
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

from tests.support.running import environment, run
from zvae_tiled import VAE, BudgetError, Sampled, Tiles
from zvae_tiled.adapters.mflux import use
from zvae_tiled.errors import ConfigError, InputError
from zvae_tiled.families import PRESETS

pytestmark = pytest.mark.peers

BUDGET = "100MB"


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def small(bits: int | None = None) -> Any:
    from tests.peers.mflux_models import flux2

    return flux2(bits)


def picture(model: Any) -> np.ndarray:
    from tests.peers import mflux_models

    return np.asarray(mflux_models.picture(model), np.float64)


def latents(side: int = 8) -> mx.array:
    """FLUX.2's latents, as its VAE is given them."""
    return mx.random.normal((1, 32, side, side), key=mx.random.key(2))


def rms(values: Any) -> float:
    return float(np.sqrt(np.mean(np.square(np.asarray(values, np.float64)))))


@pytest.mark.parametrize("bits", [None, 8])
def test_the_pictures_are_those_of_the_model(bits: int | None) -> None:
    """Rounding to bfloat16 moves both from the picture in float32, and this VAE's no further than mflux's own."""
    model = small(bits)
    theirs = picture(model)
    vae = use(model, BUDGET)
    ours = picture(model)
    assert theirs.std() > 20
    assert np.array_equal(ours, picture(model)), "the model makes the same picture again"
    wide = VAE(vae.config, {name: array.astype(mx.float32) for name, array in vae.weights.items()}, mx.float32)
    model.vae.bounded.vae = wide
    judge = picture(model)
    assert rms(ours - judge) <= max(1.05 * rms(theirs - judge), 0.5)
    assert rms(ours - theirs) <= 3 * rms(theirs - judge)


@pytest.mark.parametrize("preset", ["flux1", "z-image", "flux2", "flux2-small", "qwen-image", "ming-image"])
def test_each_class_of_vaes_is_known(preset: str) -> None:
    from tests.data.make_mflux_names import CLASSES
    from zvae_tiled.adapters.mflux import _config

    assert _config(CLASSES[preset][0]()) == PRESETS[preset]


def test_maps_with_an_axis_for_one_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of full width, because mflux's classes have no other; in float32, so that they differ by little."""
    from mflux.callbacks.callback_registry import CallbackRegistry
    from mflux.models.common.config.model_config import ModelConfig

    from tests.data.make_mflux_names import diffusers_shapes, loaded
    from tests.support.models import random_tensors

    monkeypatch.setattr(ModelConfig, "precision", mx.float32)
    shapes = {name: shape for name, shape in diffusers_shapes("z-image").items() if shape}
    theirs = loaded("z-image", {name: mx.array(values) for name, values in random_tensors(shapes).items()})
    theirs.set_dtype(mx.float32)
    z = mx.random.normal((1, 16, 2, 2), key=mx.random.key(0))
    image = mx.random.uniform(-1, 1, (1, 3, 16, 16), key=mx.random.key(1))
    wanted = [theirs.decode(z), theirs.encode(image)]
    mx.eval(wanted)
    use(SimpleNamespace(vae=theirs, callbacks=CallbackRegistry()), keep=None)
    for want, found in zip(wanted, [theirs.decode(z), theirs.encode(image)], strict=True):
        assert found.shape == want.shape
        assert abs(found - want).max() <= 1e-4 * max(want.std().item(), 1)
    assert theirs.decode(z[:, :, None]).shape == wanted[0].shape


def test_a_picture_is_encoded_as_by_the_model() -> None:
    model = small()
    image = mx.random.uniform(-1, 1, (1, 3, 48, 32), key=mx.random.key(1))
    wanted = model.vae.encode(image)
    mx.eval(wanted)
    use(model, BUDGET)
    found = model.vae.encode(image)
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    assert abs(found - wanted).max() <= 0.1 * wanted.std()


def test_quality_and_budget_reach_the_model() -> None:
    model, z, tiles = small(), latents(12), Tiles(48, 0, moments="tile")
    vae = use(model, BUDGET, keep=None)
    exact = model.vae.decode(z)
    use(model, BUDGET, quality=tiles, keep=None)
    found = model.vae.decode(z)
    given = model.vae.bounded._latents(z)
    assert mx.array_equal(found, vae.decode(given, raw=True, layout="NCHW", budget=BUDGET, quality=tiles))
    assert rms(found.astype(mx.float32) - exact.astype(mx.float32)) > 0.05 * rms(exact.astype(mx.float32))
    use(model, "1MB")
    with pytest.raises(BudgetError, match="1 MB"):
        model.vae.encode(mx.zeros((1, 3, 48, 32)))


def test_frames_are_refused_and_not_left_out() -> None:
    model = small()
    use(model, BUDGET)
    with pytest.raises(InputError, match="one frame"):
        model.vae.decode(mx.zeros((1, 32, 2, 8, 8)))
    with pytest.raises(InputError, match="one frame"):
        model.vae.encode(mx.zeros((1, 3, 2, 32, 32)))


def test_the_peak_is_below_that_of_its_strips() -> None:
    model, z = small(), latents(24)
    assert model.vae.decode_mode == "low_memory", "strips"
    mx.eval(z)
    mx.reset_peak_memory()
    mx.eval(model.vae.decode(z))
    strips = mx.get_peak_memory()
    vae = use(model, keep=None)
    gc.collect()
    given = model.vae.bounded._latents(z)
    _, report = vae.decode(given, raw=True, layout="NCHW", budget=BUDGET, return_report=True)
    assert report.measured_peak <= report.predicted_peak
    assert report.measured_peak < strips / 2


@pytest.mark.parametrize("release", [False, True])
def test_the_transformer_is_released_before_the_decode(release: bool) -> None:
    model = small()
    transformer, seen = weakref.ref(model.transformer), list[bool]()
    vae = use(model, BUDGET, release=release)
    decode = vae.decode

    def watched(*given: Any, **options: Any) -> Any:
        seen.append(transformer() is None)
        return decode(*given, **options)

    vae.decode = watched  # type: ignore[method-assign]
    picture(model)
    assert seen == [release]
    assert (model.text_encoder is None) == release


def test_latents_of_a_decode_that_failed_stay(tmp_path: Path) -> None:
    model = small()
    vae = use(model, BUDGET, keep=tmp_path, source=str(saved(tmp_path / "vae", model)))
    decode, kept = vae.decode, list[Path]()

    def broken(*given: Any, **options: Any) -> Any:
        kept.extend(tmp_path.glob("*.safetensors"))
        raise RuntimeError("[metal::malloc] out of memory")

    vae.decode = broken  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="malloc") as caught:
        picture(model)
    assert len(kept) == 1
    assert kept == list(tmp_path.glob("*.safetensors"))
    (note,) = caught.value.__notes__
    assert str(kept[0]) in note
    program, *words = shlex.split(note.splitlines()[1])
    assert program == "zvae"
    run(*words, code=0)
    vae.decode = decode  # type: ignore[method-assign]
    wanted = picture(model)
    assert set(kept) < set(tmp_path.glob("*.safetensors"))
    model.vae.bounded.rescue.forget()
    assert list(tmp_path.glob("*.safetensors")) == kept
    with Image.open(kept[0].with_suffix(".png")) as image:
        assert abs(np.asarray(image, np.float64) - wanted).max() <= 1
        assert image.text["prompt"] == "a lighthouse"  # type: ignore[attr-defined]


def saved(folder: Path, model: Any) -> Path:
    """Save a model's VAE as diffusers does."""
    from zvae_tiled.adapters.mflux import _config

    vae = VAE.from_module(model.vae, _config(model.vae))
    folder.mkdir()
    mx.save_safetensors(str(folder / "diffusion_pytorch_model.safetensors"), vae.weights)
    config = {key: value for key, value in asdict(vae.config).items() if key not in ("pipeline",) and value is not None}
    (folder / "config.json").write_text(json.dumps({**config, "_class_name": vae.config.class_name}))
    return folder


def test_a_folder_that_is_gone_does_not_stop_a_decode(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model, folder = small(), tmp_path / "gone"
    folder.mkdir()
    use(model, BUDGET, keep=folder)
    folder.rmdir()
    picture(model)
    assert "the latents are not kept" in caplog.text


def test_another_quality_is_named_in_the_command(tmp_path: Path) -> None:
    model = small()
    use(model, BUDGET, quality="tiles", source="flux2")
    assert model.vae.bounded._options()["--quality"] == "tiles"
    use(model, BUDGET, quality=Tiles((512, 1024), moments="tile"), source="flux2")
    options = model.vae.bounded._options()
    assert (options["--tile"], options["--moments"]) == ("1024x512", "tile")
    use(model, BUDGET, quality=Sampled(1000, tolerance=0.5), source="flux2")
    options = model.vae.bounded._options()
    assert (options["--keys"], options["--tolerance"]) == ("1000", "0.5")


def test_a_small_decoder_is_named_in_the_command_whatever_the_model_was_loaded_from() -> None:
    model = small()
    model.small_decoder = True
    use(model, BUDGET, source="z-image")
    assert model.vae.bounded._options()["--vae"] == "flux2-small"


def test_full_precision_is_float32() -> None:
    model = small()
    assert use(model, BUDGET).dtype == mx.bfloat16
    model = small()
    model.vae.decode_mode = "full_precision"
    assert use(model, BUDGET).dtype == mx.float32


def test_a_picture_that_another_decoder_makes_needs_no_budget() -> None:
    model = small()
    use(model, "1MB")
    model.vae.bounded.decodes = False
    model.vae.bounded.call_before_loop("a cat", SimpleNamespace(height=64, width=64))
    model.vae.bounded.decodes = True
    with pytest.raises(BudgetError):
        model.vae.bounded.call_before_loop("a cat", SimpleNamespace(height=64, width=64))


def test_a_budget_that_is_too_small_is_refused_before_the_first_step() -> None:
    model = small()
    use(model, "1MB")
    model.transformer = None  # would fail, if it were called
    with pytest.raises(BudgetError, match="1 MB"):
        picture(model)


def test_models_that_share_a_vae_are_both_told_of_a_budget_that_is_too_small() -> None:
    first, second = small(), small()
    second.vae = first.vae
    assert use(first, BUDGET) is use(second, "1MB")
    second.transformer = None
    with pytest.raises(BudgetError, match="1 MB"):
        picture(second)
    assert use(first, BUDGET) is use(second, BUDGET)
    assert len(first.callbacks.before_loop) == len(second.callbacks.before_loop) == 1


def test_the_budget_is_changed_by_another_call() -> None:
    model = small()
    vae = use(model, "1MB")
    assert use(model, BUDGET) is vae
    picture(model)


def test_what_cannot_be_used_is_refused() -> None:
    from mflux.models.fibo.model.fibo_vae.wan_2_2_vae import Wan2_2_VAE

    model = small()
    with pytest.raises(InputError, match=r"use\(\) needs a model of mflux with a VAE, and got a str"):
        use("black-forest-labs/FLUX.2-klein-4B")
    with pytest.raises(InputError, match="a budget must be an amount of memory"):
        use(model, "much")
    with pytest.raises(InputError, match="keep must be a folder that exists"):
        use(model, keep="missing")
    model.vae = Wan2_2_VAE.__new__(Wan2_2_VAE)
    with pytest.raises(ConfigError, match=r"Wan2_2_VAE\n.*mflux's VAEs of flux1, flux2, ming-image, qwen-image"):
        use(model)
    model = small()
    use(model)
    with pytest.raises(InputError, match="before use"):
        model.save_model("folder")


def test_mflux_is_not_imported_before_it_is_used() -> None:
    code = "import sys; from zvae_tiled.adapters import mflux; assert not [n for n in sys.modules if n[:5] == 'mflux']"
    subprocess.run([sys.executable, "-c", code], check=True, env=environment())


def command(*words: str, code: int = 0, module: str = "tests.peers.mflux_models") -> str:
    """Run `zvae mflux` in a process of its own, and return what it prints."""
    root = str(Path(__file__).parents[2])
    more = {"PYTHONPATH": root, "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "default"}  # mflux warns about its options
    given = [sys.executable, "-m", module, "mflux", *words]
    done = subprocess.run(given, capture_output=True, text=True, env=environment(**more), check=False)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


FLUX2 = ("mflux-generate-flux2", "--prompt", "a lighthouse", "--height", "64", "--width", "64")
STEPS = ("--seed", "1", "--steps", "2", "--output", "p.png")


def test_the_command_makes_the_picture_of_mflux(tmp_path: Path) -> None:
    told = command(*FLUX2, "--budget", BUDGET, *STEPS, "--vae-tiling")
    assert "latents are kept until their picture is saved: zvae decode" in told
    assert "of 100 MB" in told
    assert "there are no tiles" in told
    assert not list(tmp_path.glob("*.safetensors"))
    with Image.open(tmp_path / "p.png") as image:
        assert rms(np.asarray(image, np.float64) - picture(small())) < 3


def test_a_picture_that_cannot_be_saved_is_not_lost(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told = command(*FLUX2, "--budget", BUDGET, *STEPS[:-1], "file/p.png", code=6)
    (kept,) = tmp_path.glob("latents-*.safetensors")
    assert f"The latents are kept. This decodes them:\nzvae decode {kept}" in told


def test_the_command_names_a_budget_that_works(tmp_path: Path) -> None:
    told = command(*FLUX2, "--budget", "1MB", *STEPS, code=4)
    assert "Try this next:\n\n    zvae mflux mflux-generate-flux2 --prompt 'a lighthouse'" in told
    assert "it/s" not in told, "no step was sampled"
    assert not (tmp_path / "p.png").exists()


def test_commands_that_cannot_be_bounded_are_refused_before_a_model_is_loaded() -> None:
    assert "no VAE that is known" in command("mflux-generate-fibo", "--prompt", "x", code=3, module="zvae")
    assert "--image-strength" in command("mflux-generate-flux2", "--help")
    assert "mflux-generate-z-image" in command("mflux-generate-nothing", code=3)
