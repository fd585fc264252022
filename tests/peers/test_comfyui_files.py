"""The nodes in `integrations/comfyui`, beside a stand-in of ComfyUI: files, cancelling, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tests.peers.comfyui_calls import ANY, node, samples
from tests.support.leftovers import nothing_left
from zvae_tiled import BudgetError
from zvae_tiled.adapters import comfyui
from zvae_tiled.errors import ConfigError, InputError, LatentsError

pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning"),
]


@pytest.mark.parametrize("kind", ["png", "tiff"])
@pytest.mark.parametrize("batch", [1, 2])
def test_a_file_has_the_pictures_and_the_workflow(kind: str, batch: int, host: Any, loaded: Any) -> None:
    from PIL import Image

    vae, prompt, more = loaded("z_image"), {"3": {"inputs": {"text": "Ä"}}}, {"workflow": {"nodes": [1]}}
    latent = samples(vae, batch=batch)
    told = node("ZvaeSave").save(
        latent, vae, filename_prefix="huge/a", format=kind, **ANY, prompt=prompt, extra_pnginfo=more
    )
    (wanted,) = node("ZvaeDecode").decode(latent, vae, **ANY)
    shown = told["ui"]["images"]
    assert len(shown) == batch
    for picture, named in zip(wanted, shown, strict=True):
        assert (named["subfolder"], named["type"]) == ("huge", "output")
        with Image.open(host.output / "huge" / named["filename"]) as image:
            assert abs(np.asarray(image) - 255 * picture.numpy()).max() <= 0.51
            if kind == "png":
                assert {name: json.loads(image.info[name]) for name in ("prompt", "workflow")} == {
                    "prompt": prompt,
                    **more,
                }
    assert len(list(host.output.rglob("*.*"))) == batch
    again = node("ZvaeSave").save(latent, vae, filename_prefix="huge/a", format=kind, **ANY)
    assert again["ui"]["images"][0]["filename"] != shown[0]["filename"]


def test_a_file_says_nothing_if_its_user_wants_so(host: Any, loaded: Any) -> None:
    vae, host.args.disable_metadata = loaded("z_image"), True
    node("ZvaeSave").save(samples(vae), vae, filename_prefix="a", format="png", **ANY, prompt={"secret": 1})
    (path,) = host.output.iterdir()
    assert b"secret" not in path.read_bytes()


def test_a_cancelled_decode_ends_as_comfyui_asks_and_leaves_nothing(host: Any, loaded: Any) -> None:
    vae = loaded("z_image")
    latent, save = samples(vae, 12, 12), node("ZvaeSave")
    comfyui.copied(vae)
    for calls in (1, 5):
        with nothing_left(host.output):
            host.calls_until_cancelled = calls
            with pytest.raises(host.InterruptProcessingException):
                save.save(latent, vae, filename_prefix="a", format="png", **ANY)
    host.calls_until_cancelled = -1
    save.save(latent, vae, filename_prefix="a", format="png", **ANY)
    assert len(list(host.output.iterdir())) == 1


@pytest.mark.parametrize("kind", ["image", "png", "tiff"])
def test_the_budget_that_a_refusal_names_is_enough_and_room_is_made_for_all_of_it(
    kind: str, host: Any, loaded: Any
) -> None:
    import torch

    vae, size = loaded("z_image"), (384, 512)

    def decode(budget: str) -> None:
        if kind == "image":
            node("ZvaeDecode").decode(samples(vae, 48, 64), vae, budget, "exact")
        else:
            node("ZvaeSave").save(samples(vae, 48, 64), vae, "a", kind, budget, "exact")

    with pytest.raises(BudgetError) as refused:
        decode("1MB")
    budget, bounded = f"{refused.value.needed}B", comfyui.copied(vae)
    decode(budget)
    plan, rows = comfyui.planned(vae, *size, 1, budget, "exact", kind), bounded.plan(*size, budget, task="stream")
    assert host.asked == [(plan.predicted_peak - bounded.weight_bytes, torch.device("cpu"))]
    assert plan.predicted_peak != rows.predicted_peak, "it differs from that of rows alone"


def test_what_cannot_be_done_is_refused_in_words_for_its_user(host: Any, loaded: Any) -> None:
    import torch

    from tests.peers.comfyui_stand_in import LoadedVAE

    vae = loaded("z_image")
    for name, call in (("ZvaeDecode", "decode"), ("ZvaeSave", "save")):
        options = {"filename_prefix": "a", "format": "png"} if call == "save" else {}
        with pytest.raises(BudgetError, match="1 MB"):
            getattr(node(name), call)(samples(vae), vae, budget="1MB", quality="exact", **options)
    with pytest.raises(LatentsError, match="channels"):
        node("ZvaeDecode").decode({"samples": torch.zeros(1, 4, 2, 2)}, vae, **ANY)
    with pytest.raises(LatentsError, match="own VAE Decode decodes videos"):
        node("ZvaeDecode").decode({"samples": torch.zeros(1, 16, 3, 2, 2)}, vae, **ANY)
    with pytest.raises(InputError, match="leave it empty for 70% of it"):
        node("ZvaeDecode").decode(samples(vae), vae, "four", "exact")
    with pytest.raises(ConfigError, match="Linear, is of no family"):
        node("ZvaeDecode").decode(samples(vae), LoadedVAE(torch.nn.Linear(2, 2)), **ANY)
    assert not host.asked, "no model is unloaded for what is refused"
    with pytest.raises(RuntimeError, match="VAE is invalid"):
        node("ZvaeDecode").decode(samples(vae), LoadedVAE(None), **ANY)
    assert not list(host.output.iterdir())
