"""Every door leads to the same decode: prepared, at once, row by row, or into a file."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tests.support.leftovers import nothing_left
from tests.support.models import pack, random_images, random_latents, random_vae
from tests.support.plans import bits
from tests.support.running import CONFIG, save_vae
from zvae_tiled import VAE, Decode, Latents, Tiles, decode_tiled, plan, read_latent_file, write_latent_file
from zvae_tiled.errors import BudgetError, InputError, LatentsError, OutputError, PlanError
from zvae_tiled.inputs.latent_space import unscale_latents
from zvae_tiled.planner.ends import PROCESS
from zvae_tiled.planner.quality import QUALITIES as NAMED
from zvae_tiled.planner.quality import Quality

LATENTS = random_latents(CONFIG, 6, 8, batch=2)

MODEL = random_vae(CONFIG)

QUALITIES: tuple[str | Quality, ...] = ("exact", "stream", Tiles(8, 4))


def test_a_prepared_decode_knows_its_plan_and_has_done_nothing(tmp_path: Path) -> None:
    told: list[Any] = []
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    prepared = MODEL.prepare(LATENTS, budget="1GB", progress=told.append, spill_folder=tmp_path)
    assert mx.get_peak_memory() - before < 4 * LATENTS.nbytes
    assert isinstance(prepared, Decode)
    assert prepared.plan == MODEL.plan(12, 16, "1GB", batch=2, task="stream")
    assert prepared.shape == (2, 12, 16, 3)
    assert prepared.report is None
    assert not told
    assert not list(tmp_path.iterdir())
    assert prepared.array().shape == prepared.shape
    assert told
    assert prepared.report is not None
    assert prepared.report.measured_peak - MODEL.weight_bytes > 4 * LATENTS.nbytes, "this would see a decode"


def test_what_does_not_fit_is_refused_when_it_is_prepared() -> None:
    with pytest.raises(BudgetError) as refused:
        MODEL.prepare(LATENTS, budget="1kB")
    prepared = MODEL.prepare(LATENTS, budget=f"{refused.value.needed}B")
    assert prepared.plan.predicted_peak <= refused.value.needed
    assert bits(mx.concatenate(list(prepared.rows()), axis=1)) == bits(
        mx.concatenate(list(MODEL.stream(LATENTS)), axis=1)
    )


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.sample(3)
def test_a_prepared_decode_gives_what_the_other_doors_give(quality: str | Quality, tmp_path: Path) -> None:
    options: dict[str, Any] = {"quality": quality, "budget": "1GB"}
    prepared = MODEL.prepare(LATENTS, **options)
    want = MODEL.decode(LATENTS, **options)
    assert bits(prepared.array()) == bits(want)
    assert np.array_equal(prepared.array("np"), np.asarray(want))
    streams = [list(rows) for rows in (prepared.rows(), MODEL.stream(LATENTS, **options))]
    assert [bits(rows) for rows in streams[0]] == [bits(rows) for rows in streams[1]]
    assert bits(mx.concatenate(streams[0], axis=1).reshape(want.shape)) == bits(want)
    prepared.write(tmp_path / "a.png", bits=16)
    MODEL.decode_to_file(LATENTS, tmp_path / "b.png", bits=16, **options)
    for picture in (0, 1):
        ours, theirs = ((tmp_path / f"{name}-{picture}.png").read_bytes() for name in "ab")
        assert ours == theirs


def test_a_prepared_decode_runs_again_and_reports_each_run(tmp_path: Path) -> None:
    prepared = MODEL.prepare(LATENTS[:1], budget="1GB")
    first = prepared.array()
    report = prepared.report
    assert report is not None
    assert report.plan == MODEL.plan(12, 16, "1GB")
    assert 0 < report.measured_peak <= report.predicted_peak - PROCESS < report.predicted_peak <= report.budget == 10**9
    assert bits(prepared.array()) == bits(first)
    assert prepared.report is not report
    assert prepared.write(tmp_path / "a.npy") is prepared.report
    assert prepared.report is not None
    assert prepared.report.plan == prepared.plan


def test_options_of_a_prepared_decode_are_those_of_decode() -> None:
    assert bits(MODEL.prepare(LATENTS, raw=True).array()) == bits(MODEL.decode(LATENTS, raw=True))
    with pytest.raises(InputError, match="output_type must be one of"):
        MODEL.prepare(LATENTS).array("jpeg")  # type: ignore[arg-type]
    with pytest.raises(LatentsError, match="layout must be"):
        MODEL.prepare(Latents(LATENTS, "CHW"))  # type: ignore[arg-type]


def test_a_prepared_decode_writes_no_file_over_those_it_reads(tmp_path: Path) -> None:
    vae = VAE.load(save_vae(tmp_path / "vae"))
    with nothing_left(tmp_path / "vae"), pytest.raises(OutputError, match="is an input"):
        vae.prepare(LATENTS[:1]).write(tmp_path / "vae" / "diffusion_pytorch_model.safetensors")


DOORS: dict[str, Callable[..., Any]] = {
    "prepare": MODEL.prepare,
    "decode": MODEL.decode,
    "decode_to_file": lambda latents, **options: MODEL.decode_to_file(latents, "never.png", **options),
    "stream": MODEL.stream,
    "decode_tiled": lambda latents, **options: decode_tiled(latents, vae=MODEL, **options),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("beside", [{"budget": "1GB"}, {"quality": "stream"}, {"quality": Tiles(8, 4)}])
def test_a_plan_and_what_it_decides_are_not_both_taken(door: str, beside: dict[str, Any], tmp_path: Path) -> None:
    made = MODEL.plan(12, 16, "1GB", batch=2, task="decode")
    with pytest.raises(PlanError, match=f"{next(iter(beside))}= is set beside plan="):
        DOORS[door](LATENTS, plan=made, **beside)
    assert not Path("never.png").exists()


def test_an_encode_takes_a_plan_or_a_budget() -> None:
    images = random_images(CONFIG, 6, 8)
    made = MODEL.plan(12, 16, "1GB", task="encode")
    assert bits(MODEL.encode(images, plan=made).mode()) == bits(MODEL.encode(images, budget="1GB").mode())
    with pytest.raises(PlanError, match="budget= is set beside plan="):
        MODEL.encode(images, plan=made, budget="1GB")


def forms() -> dict[str, Any]:
    """The same latents in every form."""
    unscaled = unscale_latents(mx.array(LATENTS).transpose(0, 2, 3, 1), CONFIG.latents, MODEL.weights)
    return {
        "NCHW": Latents(LATENTS),
        "NCHW, said": Latents(LATENTS, "NCHW"),
        "NHWC": Latents(LATENTS.transpose(0, 2, 3, 1), "NHWC"),
        "packed": Latents(pack(LATENTS), height=12, width=16),
        "of MLX": mx.array(LATENTS),
        "not scaled": Latents(unscaled, "NHWC", scaled=False),
        "not scaled, NCHW": Latents(unscaled.transpose(0, 3, 1, 2), scaled=False),
    }


@pytest.mark.slow
@pytest.mark.parametrize("form", forms())
def test_latents_of_every_form_go_through_every_door(form: str, tmp_path: Path) -> None:
    latents, want = forms()[form], MODEL.decode(LATENTS)
    assert bits(MODEL.decode(latents)) == bits(want)
    assert bits(decode_tiled(latents, vae=MODEL)) == bits(want)
    assert bits(MODEL.prepare(latents).array()) == bits(want)
    assert bits(mx.concatenate(list(MODEL.stream(latents)), axis=1).reshape(want.shape)) == bits(want)
    MODEL.decode_to_file(latents, tmp_path / "a.npy")
    for picture in (0, 1):
        assert np.load(tmp_path / f"a-{picture}.npy").tobytes() == bits(want[picture])
    write_latent_file(tmp_path / "l.npz", latents)
    assert bits(MODEL.decode(read_latent_file(tmp_path / "l.npz"))) == bits(want)


def test_what_is_encoded_can_be_decoded_as_it_is() -> None:
    """It has the layout that a decode expects, and the pipeline's scale."""
    latents = MODEL.encode(random_images(CONFIG, 6, 8)).mode()
    assert latents.shape == (1, CONFIG.latent_channels, 6, 8)
    assert MODEL.decode(latents).shape == (1, 12, 16, 3)


SIGNATURES = [
    *(getattr(VAE, name) for name in vars(VAE) if callable(getattr(VAE, name)) and not name.startswith("__")),
    VAE.__init__,
    *(getattr(Decode, name) for name in ("array", "write", "rows")),
    plan,
    decode_tiled,
    read_latent_file,
    write_latent_file,
]


@pytest.mark.parametrize("door", SIGNATURES, ids=lambda door: door.__qualname__)
def test_no_door_has_more_than_twelve_parameters(door: Callable[..., Any]) -> None:
    names = [name for name in inspect.signature(door).parameters if name != "self"]
    assert len(names) <= 12, names


def test_the_doors_are_looked_at() -> None:
    names = {door.__name__ for door in SIGNATURES}
    assert names >= {"load", "plan", "prepare", "decode", "decode_to_file", "stream", "encode", "decode_tiled"}


@pytest.mark.parametrize("name", ["prepare", "decode_to_file", "stream"])
def test_doors_that_do_the_same_have_the_same_options(name: str) -> None:
    of_decode = inspect.signature(VAE.decode).parameters
    for option, parameter in inspect.signature(getattr(VAE, name)).parameters.items():
        if option not in ("path", "format", "bits", "overwrite", "work"):
            assert parameter == of_decode[option]


def test_the_options_and_the_qualities_of_a_decode_are_documented() -> None:
    for option in inspect.signature(VAE.decode).parameters.keys() - {"self"}:
        assert f"{option}:" in f"{VAE.decode.__doc__}"
        assert any(f"{mark}{option}{end}" in f"{decode_tiled.__doc__}" for mark, end in (("``", "``"), ("", ":")))
    for name in NAMED:
        assert f"``{name}``" in f"{VAE.decode.__doc__}"
