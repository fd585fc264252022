"""The nodes in `integrations/comfyui`, beside a stand-in of ComfyUI: pictures, latents, weights, memory, the bar."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.peers.comfyui_calls import ANY, BUDGET, node, samples
from zvae_tiled import VAE
from zvae_tiled.adapters import comfyui
from zvae_tiled.devices import here
from zvae_tiled.errors import BudgetError, ConfigError, InputError
from zvae_tiled.families import PRESETS
from zvae_tiled.inputs.latents import Latents
from zvae_tiled.planner.budget import Available

pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning"),
]
FAMILIES = ("z_image", "flux2", "taesd", "taef2", "qwen_image")


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_pictures_are_those_of_its_own_decode(family: str, batch: int, host: Any, loaded: Any) -> None:
    import torch

    vae = loaded(family)
    latent = samples(vae, batch=batch)
    wanted = vae.decode(latent["samples"])
    (found,) = node("ZvaeDecode").decode(latent, vae, **ANY)
    assert (found.dtype, found.device, found.shape) == (torch.float32, torch.device("cpu"), wanted.shape)
    assert wanted.std() > 0.05
    assert abs(found - wanted).max() <= 1e-5


@pytest.mark.parametrize("family", ["z_image", "flux2"])
@pytest.mark.usefixtures("small_proxies")
def test_a_picture_of_another_quality_is_the_one_of_a_decode_of_it(
    family: str, host: Any, loaded: Any, tmp_path: Path
) -> None:
    import torch

    vae = loaded(family)
    stream: dict[str, Any] = {**BUDGET, "quality": "stream"}
    bounded, latent = comfyui.copied(vae), samples(vae, 16, 12)
    (exact,) = node("ZvaeDecode").decode(latent, vae, **ANY)
    (found,) = node("ZvaeDecode").decode(latent, vae, **stream)
    given = Latents(latent["samples"], scaled=family == "flux2")
    assert torch.equal(found, bounded.decode(given, "torch", **stream))
    assert abs(found - exact).max() > 1e-3
    node("ZvaeSave").save(latent, vae, filename_prefix="a", format="png", **stream)
    bounded.decode_to_file(given, tmp_path / "b.png", **stream)
    (saved,) = (tmp_path / "output").iterdir()
    assert saved.read_bytes() == (tmp_path / "b.png").read_bytes()
    told = [node("ZvaePlan").plan(vae, 512, 384, 1, "1GB", "stream", kind)["result"][0] for kind in ("image", "png")]
    outputs: tuple[dict[str, Any], ...] = {}, {"task": "stream", "output": "a.png"}
    assert told == [str(bounded.plan(384, 512, quality="stream", budget="1GB", **output)) for output in outputs]


@pytest.mark.parametrize("family", ["z_image", "qwen_image"])
def test_a_picture_beside_a_sound_is_the_picture_alone(family: str, host: Any, loaded: Any) -> None:
    import torch

    from tests.peers.comfyui_stand_in import NestedTensor

    vae = loaded(family)
    latent = samples(vae)
    both = {"samples": NestedTensor([latent["samples"], torch.zeros(1, 8, 20, 16)])}
    (wanted,), (found,) = (node("ZvaeDecode").decode(each, vae, **ANY) for each in (latent, both))
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_picture_with_alpha_is_encoded_without_it(family: str, host: Any, loaded: Any) -> None:
    import torch

    vae = loaded(family)
    pixels = torch.rand((1, 33, 50, 4), generator=torch.Generator().manual_seed(0))
    (wanted,), (found,) = (node("ZvaeEncode").encode(each, vae, **BUDGET) for each in (pixels[..., :3], pixels))
    assert torch.equal(found["samples"], wanted["samples"])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_latents_are_those_of_its_own_encode(family: str, host: Any, loaded: Any) -> None:
    import torch

    vae = loaded(family)
    pixels = torch.rand((1 if family == "qwen_image" else 2, 53, 70, 3), generator=torch.Generator().manual_seed(0))
    wanted = vae.encode(pixels)
    (found,) = node("ZvaeEncode").encode(pixels, vae, **BUDGET)
    assert found["samples"].shape == wanted.shape
    assert not found["samples"].requires_grad
    assert abs(found["samples"] - wanted).max() <= 1e-4 * wanted.std()


def test_a_picture_beyond_its_range_is_encoded_as_by_its_own_encode(host: Any, loaded: Any) -> None:
    import torch

    vae = loaded("z_image")
    pixels = torch.randn((1, 24, 40, 3), generator=torch.Generator().manual_seed(0))
    (found,) = node("ZvaeEncode").encode(pixels, vae, **BUDGET)
    wanted = vae.encode(pixels)
    assert abs(found["samples"] - wanted).max() <= 1e-4 * wanted.std()


def test_a_tiny_decoder_that_does_not_say_its_scale_is_refused(host: Any, loaded: Any) -> None:
    """ComfyUI undoes the scale of latents, and TAEHV's module, unlike TAESD's, does not hold it."""
    vae = loaded("taesd")
    del vae.first_stage_model.vae_scale
    with pytest.raises(ConfigError, match="does not say how latents are scaled"):
        node("ZvaeDecode").decode(samples(vae), vae, **ANY)


def test_an_encode_keeps_to_its_budget(host: Any, loaded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    vae, pixels, encode = loaded("z_image"), torch.zeros(1, 256, 256, 3), VAE.encode
    bounded, budgets = comfyui.copied(vae, encoder=True), list[Any]()
    with pytest.raises(BudgetError, match="1 MB") as refused:
        node("ZvaeEncode").encode(pixels, vae, "1MB")
    least = f"{refused.value.needed}B"

    def watched(self: VAE, *given: Any, **options: Any) -> Any:
        budgets.append(options.get("budget"))
        return encode(self, *given, **options)

    monkeypatch.setattr(VAE, "encode", watched)
    peaks = []
    for budget in (least, "1GB"):
        node("ZvaeEncode").encode(pixels, vae, budget)
        peaks.append(bounded.plan(256, 256, budget, task="encode").predicted_peak)
    assert peaks[0] < peaks[1]
    assert [asked for asked, _ in host.asked] == [peak - bounded.weight_bytes for peak in peaks]
    assert budgets == [least, "1GB"]


def test_several_pictures_are_no_frames(host: Any, loaded: Any) -> None:
    import torch

    with pytest.raises(InputError, match="one picture at a time, and got 2"):
        node("ZvaeEncode").encode(torch.zeros(2, 16, 16, 3), loaded("qwen_image"), **BUDGET)


def test_presets_of_the_same_shapes_are_the_same_here(host: Any, loaded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    vae = loaded("z_image")
    monkeypatch.setitem(PRESETS, "another", replace(PRESETS["narrow"], scaling_factor=9.0))  # type: ignore[call-arg]
    wanted = vae.decode(samples(vae)["samples"])
    (found,) = node("ZvaeDecode").decode(samples(vae), vae, **ANY)
    assert abs(found - wanted).max() <= 1e-5


def test_weights_are_copied_once_and_go_with_the_module(
    host: Any, loaded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    vae = loaded("z_image")
    kept = comfyui.copied(vae)
    assert comfyui.copied(vae) is kept
    decoder, copy = weakref.ref(kept), VAE.from_state_dict
    del kept

    def watched(*given: Any) -> Any:
        assert decoder() is None, "it is freed before both halves are copied"
        return copy(*given)

    monkeypatch.setattr(VAE, "from_state_dict", watched)
    both = comfyui.copied(vae, encoder=True)
    assert comfyui.copied(vae) is both
    whole = weakref.ref(both)
    del both, vae
    gc.collect()
    assert whole() is None


def test_comfyui_is_asked_for_the_memory_that_a_decode_takes_beside_its_weights(host: Any, loaded: Any) -> None:
    import torch

    vae = loaded("z_image")
    bounded = comfyui.copied(vae, encoder=True)
    for budget in ("", "1GB"):
        node("ZvaeDecode").decode(samples(vae), vae, budget, "exact")
        node("ZvaeEncode").encode(torch.zeros(1, 24, 40, 3), vae, budget)
    tasks = ("decode", "encode") * 2
    peaks = [bounded.plan(24, 40, "1GB", task=task).predicted_peak for task in tasks]  # type: ignore[arg-type]
    assert host.asked == [(peak - bounded.weight_bytes, torch.device("cpu")) for peak in peaks]


def test_the_bar_reaches_its_end_and_never_goes_back(host: Any, loaded: Any) -> None:
    vae = loaded("z_image")
    node("ZvaeDecode").decode(samples(vae, 12, 12), vae, **ANY)
    assert len(host.steps) > 3
    assert host.steps == sorted(set(host.steps))
    assert host.steps[-1] == 1000


def test_a_plan_says_what_a_decode_takes_and_decodes_nothing(host: Any, loaded: Any) -> None:
    vae = loaded("z_image")
    told = node("ZvaePlan").plan(vae, 4096, 2048, 1, "2GB", "exact")
    (text,) = told["result"]
    assert told["ui"]["text"] == [text]
    assert text == str(comfyui.copied(vae).plan(2048, 4096, "2GB"))
    assert not host.asked
    assert not host.steps


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_a_plan_for_files_takes_the_budget_that_saving_them_takes(
    kind: str, batch: int, host: Any, loaded: Any
) -> None:
    vae, size = loaded("z_image"), (512, 384, batch)
    with pytest.raises(BudgetError) as refused:
        node("ZvaePlan").plan(vae, *size, "1MB", "exact", kind)
    budget = f"{-(-refused.value.needed // 10**6)}MB"
    node("ZvaePlan").plan(vae, *size, budget, "exact", kind)
    latent, named = samples(vae, 48, 64, batch), {"filename_prefix": "a", "format": kind}
    node("ZvaeSave").save(latent, vae, **named, budget=budget, quality="exact")
    less = f"{int(budget[:-2]) - 1}MB"
    with pytest.raises(BudgetError):
        node("ZvaeSave").save(latent, vae, **named, budget=less, quality="exact")


def test_a_plan_that_files_would_fit_names_the_node_that_writes_them(host: Any, loaded: Any) -> None:
    vae = loaded("z_image")
    with pytest.raises(BudgetError, match="or use Save Huge Image, with little more than ") as refused:
        node("ZvaePlan").plan(vae, 4096, 4096, 1, "100MB", "exact")
    assert refused.value.needed > 100e6
    node("ZvaePlan").plan(vae, 4096, 4096, 1, "100MB", "exact", "png")


@pytest.mark.parametrize("budget", ["60%", ""])
def test_a_share_of_the_free_memory_is_one_of_what_comfyui_has_freed(
    budget: str, host: Any, loaded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    vae = loaded("z_image")
    node("ZvaeDecode").decode(samples(vae, 12, 12), vae, **{**ANY, "budget": "1GB"})
    host.asked.clear()
    monkeypatch.setattr(here, "available_memory", lambda: Available(1 << 35 if host.asked else 1 << 20))
    node("ZvaeDecode").decode(samples(vae, 12, 12), vae, **{**ANY, "budget": budget})
    assert host.asked
    pixels = torch.zeros(1, 64, 64, 3)
    node("ZvaeEncode").encode(pixels, vae, "1GB")
    host.asked.clear()
    node("ZvaeEncode").encode(pixels, vae, budget)
    assert host.asked


def test_the_weights_keep_the_type_that_comfyui_computes_in(host: Any, loaded: Any) -> None:
    import torch

    vae = loaded("z_image")
    vae.vae_dtype = torch.bfloat16
    bounded = comfyui.copied(vae)
    wanted = VAE.from_state_dict(vae.first_stage_model.state_dict(), PRESETS["narrow"], "bfloat16")
    assert bounded.dtype == wanted.dtype
