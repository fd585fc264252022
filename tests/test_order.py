"""Orders carried out: one decode or encode of files does what API and command line do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from tests.support.leftovers import nothing_left
from tests.support.models import pack, random_latents
from tests.support.orders import DECODE, ENCODE
from tests.support.running import CONFIG, run, save_latents, save_vae
from zvae_tiled import VAE, Latents, Progress, Stream, Tiles, read_latent_file, write_latent_file
from zvae_tiled.errors import BudgetError, ImageError, InputError, LatentsError, OutputError, PlanError, WeightsError
from zvae_tiled.jobs.orders import load, written
from zvae_tiled.order import Order
from zvae_tiled.order import run as carry_out
from zvae_tiled.planner import storage
from zvae_tiled.planner.ends import PROCESS


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a VAE, latents and a picture."""
    save_vae(tmp_path / "vae")
    save_latents(tmp_path / "a.npy")
    save_latents(tmp_path / "batch.npy", batch=2)
    levels = np.random.default_rng(0).integers(0, 256, (13, 20, 3), np.uint8)
    Image.fromarray(levels).save(tmp_path / "picture.png")
    Image.fromarray(levels[:12]).save(tmp_path / "whole.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


DECODES: list[dict[str, Any]] = [
    {},
    {"budget": "10.1MB", "bits": 16},
    {"quality": Tiles(12, 4), "dtype": "float32"},
    {"quality": Stream()},
]


@pytest.mark.parametrize(
    ("asked", "source"),
    [*((asked, "a.npy") for asked in DECODES), *((asked, "batch.npy") for asked in DECODES)],
)
@pytest.mark.sample(3)
def test_a_decode_is_that_of_the_api_and_of_the_command_line(place: Path, asked: dict[str, Any], source: str) -> None:
    order = replace(DECODE, source=source, target="o.png", **asked)
    told: list[Progress] = []
    report = carry_out(Order.from_json(order.to_json()), progress=told.append)
    assert told
    vae = VAE.load("vae", order.dtype)
    api = vae.decode_to_file(np.load(source), "p.png", bits=order.bits, budget=order.budget, quality=order.quality)
    words = ["--dtype", order.dtype, "--quality", order.quality.name]
    words += ["--budget", order.budget] if order.budget else []
    words += ["--bits", str(order.bits)] if order.bits else []
    words += ["--tile", "12", "--overlap", "4"] if order.quality.name == "tiles" else []
    run("decode", source, "-o", "q.png", "--vae", "vae", *words)
    assert report.plan.digest == api.plan.digest
    names = [""] if source == "a.npy" else ["-0", "-1"]
    for name in names:
        one, two, three = (Path(f"{stem}{name}.png").read_bytes() for stem in "opq")
        assert one == two == three
    assert written(order, vae) == tuple(Path(f"o{name}.png") for name in names)


def test_an_order_writes_further_files_by_the_same_decode(place: Path) -> None:
    order = replace(DECODE, also=("b.npy", "c.tif"))
    vae, told = VAE.load("vae"), list[Progress]()
    assert written(order, vae) == (Path("a.png"), Path("b.npy"), Path("c.tif"))
    carry_out(Order.from_json(order.to_json()), progress=told.append)
    assert [each.done for each in told].count(1) == 1
    run("decode", "a.npy", "-o", "x.png", "-o", "x.npy", "-o", "x.tif", "--vae", "vae")
    for ours, theirs in (("a.png", "x.png"), ("b.npy", "x.npy"), ("c.tif", "x.tif")):
        assert Path(ours).read_bytes() == Path(theirs).read_bytes()
    with pytest.raises(InputError, match='also has no effect with task="encode"'):
        carry_out(replace(ENCODE, also=("b.npz",)))


ENCODES: list[dict[str, Any]] = [{}, {"sample": 7}, {"budget": "12MB"}]


@pytest.mark.parametrize(
    ("asked", "kind"), [(asked, kind) for asked in ENCODES for kind in ("npy", "npz", "safetensors")]
)
@pytest.mark.sample(8)
def test_an_encode_is_that_of_the_api_and_of_the_command_line(place: Path, asked: dict[str, Any], kind: str) -> None:
    order = replace(ENCODE, source="whole.png", target=f"o.{kind}", **asked)
    report = carry_out(Order.from_json(order.to_json()))
    assert 0 < report.measured_peak <= report.predicted_peak - PROCESS < report.predicted_peak <= report.budget
    with Image.open("whole.png") as picture:
        found = VAE.load("vae", decoder_only=False).encode(picture)
    want = found.mode() if order.sample is None else found.sample(mx.random.key(order.sample))
    write_latent_file(f"p.{kind}", Latents(want, None if kind == "npy" else "NCHW"))
    words = ["--sample", str(order.sample)] if order.sample is not None else []
    words += ["--budget", order.budget] if order.budget else []
    run("encode", "whole.png", "-o", f"q.{kind}", "--vae", "vae", *words)
    one, two, three = (read_latent_file(f"{stem}.{kind}").array for stem in "opq")
    assert mx.array_equal(one, two)
    assert mx.array_equal(one, three)
    if kind != "npz":  # a .npz holds the time of day
        assert Path(f"o.{kind}").read_bytes() == Path(f"p.{kind}").read_bytes() == Path(f"q.{kind}").read_bytes()


def test_a_picture_that_needs_the_disk_is_refused_before_its_pixels_are_read(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = 4 * 64
    Image.fromarray(np.zeros((side, side, 3), np.uint8)).save("cut.png", compress_level=0)
    Path("cut.png").write_bytes(Path("cut.png").read_bytes()[: side * side])
    with pytest.raises(BudgetError) as small:
        VAE.load("vae", decoder_only=False).plan(side, side, "1B", task="encode")
    order = replace(ENCODE, source="cut.png", budget=f"{small.value.needed}B")
    with pytest.raises(ImageError):
        carry_out(order)
    with pytest.raises(BudgetError):
        carry_out(replace(order, disk_limit="0"))
    (place / "maps").mkdir()
    monkeypatch.setattr(storage, "free_space", lambda folder: 1 << 40 if folder == place / "maps" else 0)
    with pytest.raises(ImageError):
        carry_out(replace(order, disk_limit="50%", spill_folder="maps"))
    with pytest.raises(BudgetError):
        carry_out(replace(order, disk_limit="50%", spill_folder="vae"))
    other = VAE.load("vae", decoder_only=False).plan(12, 20, task="encode").to_json()
    with pytest.raises(PlanError, match="a height in pixels of 12, this encode has 256"):
        carry_out(replace(order, budget=None, plan=other))


def test_what_an_encode_gives_is_decoded_as_it_is(place: Path) -> None:
    carry_out(replace(ENCODE, source="whole.png", target="l.npy"))
    carry_out(replace(DECODE, source="l.npy", target="back.png"))
    with Image.open("back.png") as back, Image.open("whole.png") as whole:
        assert back.size == whole.size


def test_a_picture_is_cropped_if_that_is_ordered(place: Path) -> None:
    order = replace(ENCODE, source="picture.png", target="l.safetensors")
    with pytest.raises(InputError, match="13"):
        carry_out(order)
    carry_out(replace(order, crop=True))
    carry_out(replace(order, source="whole.png", target="w.safetensors"))
    assert Path("l.safetensors").read_bytes() == Path("w.safetensors").read_bytes()


def test_what_an_order_says_of_latents_comes_before_what_the_file_says(place: Path) -> None:
    latents = np.load("a.npy")
    save_file(
        {"tokens": pack(latents), "last": np.ascontiguousarray(latents.transpose(0, 2, 3, 1))}, "many.safetensors"
    )
    carry_out(replace(DECODE, target="want.npy"))
    said: list[dict[str, Any]] = [
        {"tensor": "tokens", "height": 12, "width": 20},
        {"tensor": "last", "layout": "NHWC"},
    ]
    for each in said:
        carry_out(replace(DECODE, source="many.safetensors", target="got.npy", **each))
        assert np.array_equal(np.load("got.npy"), np.load("want.npy"))
    with pytest.raises(LatentsError, match="several tensors"):
        carry_out(replace(DECODE, source="many.safetensors"))
    with pytest.raises(InputError, match="an order's layout must be NCHW or NHWC, it is 'CHW'"):
        carry_out(replace(DECODE, layout="CHW"))  # type: ignore[arg-type]


def test_a_plan_in_an_order_is_replayed(place: Path) -> None:
    vae = VAE.load("vae", decoder_only=False)
    made = vae.plan(12, 20, "10.1MB", task="stream")
    assert carry_out(replace(DECODE, plan=made.to_json()), vae).plan.digest == made.digest
    with pytest.raises(PlanError, match="budget= is set beside plan="):
        carry_out(replace(DECODE, plan=made.to_json(), budget="1GB"), vae)
    encode = vae.plan(12, 20, "12MB", task="encode")
    order = replace(ENCODE, source="whole.png", plan=encode.to_json())
    assert carry_out(order, vae).plan.digest == encode.digest
    with pytest.raises(PlanError):
        carry_out(replace(order, plan="{}"), vae)


def test_a_vae_that_is_loaded_is_not_loaded_again(place: Path) -> None:
    vae = load(DECODE)
    assert not any(name.startswith("encoder.") for name in vae.weights)
    assert any(name.startswith("encoder.") for name in load(ENCODE).weights)
    carry_out(replace(DECODE, vae="nowhere"), vae)
    with pytest.raises(WeightsError, match="nowhere"):
        carry_out(replace(DECODE, vae="nowhere"))
    (place / "vae" / "config.json").rename(place / "config.json")
    assert load(replace(DECODE, config="config.json")).config == CONFIG


@pytest.mark.parametrize(
    ("order", "target"),
    [
        (DECODE, "vae/diffusion_pytorch_model.safetensors"),
        (DECODE, "a.npy"),
        (DECODE, "link.npy"),
        (replace(ENCODE, source="whole.png"), "vae/diffusion_pytorch_model.safetensors"),
        (replace(ENCODE, source="values.npy"), "values.npy"),
    ],
)
def test_what_an_order_reads_is_never_replaced(place: Path, order: Order, target: str) -> None:
    (place / "link.npy").symlink_to("a.npy")
    np.save("values.npy", np.random.default_rng(0).random((12, 20, 3), np.float32))
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    with pytest.raises(OutputError, match="is an input"):
        carry_out(replace(order, target=target))
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("order", [DECODE, replace(ENCODE, source="whole.png")])
@pytest.mark.parametrize("target", ["out.xyz", "none/out.npy"])
def test_what_cannot_be_written_is_refused_before_the_work(
    place: Path, order: Order, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*args: Any, **options: Any) -> Any:
        raise AssertionError("it was begun")

    monkeypatch.setattr(VAE, "encode", work)
    monkeypatch.setattr(VAE, "decode_to_file", work)
    there = replace(order, target="there.npy", overwrite=False)
    (place / "there.npy").touch()
    for each in (replace(order, target=target), there):
        with pytest.raises(OutputError):
            carry_out(each)
    assert (place / "there.npy").read_bytes() == b""


def test_an_order_that_fails_leaves_nothing(place: Path) -> None:
    vae = load(DECODE)
    (place / "out").mkdir()
    with nothing_left(place / "out"):
        try:
            carry_out(replace(DECODE, target="out/a.png", budget="1kB"), vae)
        except BudgetError as refused:
            assert refused.needed > 1000
        else:
            pytest.fail("this should have been refused")


def test_latents_of_another_vae_are_refused(place: Path) -> None:
    np.save("other.npy", random_latents(CONFIG, 2, 2)[:, :3])
    with pytest.raises(LatentsError, match="4 channels"):
        carry_out(replace(DECODE, source="other.npy"))
