"""Latents are read back to the bit, with their layout, size and scale. Files of other libraries are read too."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import ml_dtypes
import mlx.core as mx
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from tests.support.leftovers import file_size_limit, nothing_left, refusal
from tests.support.samples import examples
from zvae_tiled import Latents, read_latent_file, write_latent_file
from zvae_tiled.errors import LatentsError

TYPES = [mx.float32, mx.float16, mx.bfloat16]
SETTINGS = examples(40, suppress_health_check=[HealthCheck.function_scoped_fixture])

shapes = st.lists(st.integers(1, 5), min_size=2, max_size=4).map(tuple)


def numbers(shape: tuple[int, ...], dtype: mx.Dtype, seed: int = 0) -> mx.array:
    return mx.array(np.random.default_rng(seed).standard_normal(shape).astype(np.float32)).astype(dtype)


def same(one: mx.array, other: mx.array) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and bool(mx.array_equal(one, other))


@st.composite
def facts(draw: st.DrawFn) -> dict[str, Any]:
    """Fields of `Latents`: packed tokens have the picture's size, others may have a layout."""
    said: dict[str, Any] = {"scaled": draw(st.booleans())}
    if draw(st.booleans()):
        return said | {"height": draw(st.integers(1, 1 << 20)), "width": draw(st.integers(1, 1 << 20))}
    return said | {"layout": draw(st.sampled_from([None, "NCHW", "NHWC"]))}


@pytest.mark.parametrize("kind", ["safetensors", "npz"])
@SETTINGS
@given(shapes, st.sampled_from(TYPES), facts(), st.booleans())
def test_everything_comes_back(
    kind: str, tmp_path: Path, shape: tuple[int, ...], dtype: mx.Dtype, said: dict[str, Any], stream: bool
) -> None:
    latents, path = numbers(shape[:3] if "height" in said else shape, dtype), tmp_path / f"latents.{kind}"
    write_latent_file(path, Latents(latents, **said))
    found = read_latent_file(io.BytesIO(path.read_bytes()) if stream else path)
    assert same(found.array, latents)
    assert found == Latents(found.array, **said, source=f"{'the stream' if stream else path}: latents")
    assert len(list(tmp_path.iterdir())) == 1


@SETTINGS
@given(shapes, st.sampled_from(TYPES))
def test_an_npy_comes_back(tmp_path: Path, shape: tuple[int, ...], dtype: mx.Dtype) -> None:
    latents = numbers(shape, dtype)
    write_latent_file(tmp_path / "latents.npy", latents)
    found = read_latent_file(tmp_path / "latents.npy")
    assert same(found.array, latents)
    assert found == Latents(found.array, source=str(tmp_path / "latents.npy"))


@pytest.mark.parametrize("dtype", TYPES)
def test_mlx_writes_what_is_read_and_reads_what_is_written(dtype: mx.Dtype, tmp_path: Path) -> None:
    latents = numbers((1, 4, 3, 5), dtype)
    mx.save_safetensors(str(tmp_path / "a.safetensors"), {"x": latents}, {"scaled": "false"})
    mx.save(str(tmp_path / "a.npy"), latents)
    mx.savez(str(tmp_path / "a.npz"), x=latents)
    for name in ("a.safetensors", "a.npy", "a.npz"):
        assert same(read_latent_file(tmp_path / name).array, latents)
    assert not read_latent_file(tmp_path / "a.safetensors").scaled
    for kind in ("safetensors", "npy", "npz"):
        write_latent_file(tmp_path / f"b.{kind}", latents, overwrite=False)
    loaded: Any = mx.load(str(tmp_path / "b.safetensors"), return_metadata=True)
    stored, notes = loaded
    assert same(stored["latents"], latents)
    assert notes == {"scaled": "true"}
    assert same(mx.load(str(tmp_path / "b.npy")), latents)  # type: ignore[arg-type]


def test_the_reference_readers_read_what_is_written(tmp_path: Path) -> None:
    latents = np.random.default_rng(0).standard_normal((2, 4, 3)).astype(np.float16)
    for kind in ("safetensors", "npy", "npz"):
        write_latent_file(tmp_path / f"a.{kind}", latents)
    assert np.array_equal(safetensors.numpy.load_file(tmp_path / "a.safetensors")["latents"], latents)
    assert np.array_equal(np.load(tmp_path / "a.npy", allow_pickle=False), latents)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        assert np.array_equal(archive["latents"], latents)
        assert archive["scaled"] == "true"


@pytest.mark.parametrize("dtype", ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("save", [np.save, np.savez, np.savez_compressed])
def test_numpys_files_of_every_order(dtype: str, order: Any, save: Any, tmp_path: Path) -> None:
    values = np.asarray(np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(dtype), order=order)
    with (tmp_path / "latents").open("wb") as file:
        save(file, values)
    found = read_latent_file(tmp_path / "latents").array
    assert np.array_equal(found, values.astype(np.float32))
    assert found.dtype == (mx.float16 if dtype[1:] == "f2" else mx.float32)


def test_bfloat16_of_ml_dtypes(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(ml_dtypes.bfloat16)
    np.save(tmp_path / "a.npy", values)
    safetensors.numpy.save_file({"x": values}, tmp_path / "a.safetensors")
    for name in ("a.npy", "a.safetensors"):
        found = read_latent_file(tmp_path / name).array
        assert found.dtype == mx.bfloat16
        assert np.array_equal(np.asarray(found.astype(mx.float32)), values.astype(np.float32))


def test_a_npz_may_say_things_as_numbers(tmp_path: Path) -> None:
    said: dict[str, Any] = {"height": 64, "width": np.int16(32), "packed": True, "scale": np.bool_(False), "steps": 7}
    np.savez(tmp_path / "a.npz", tokens=np.zeros((8, 64), np.float32), **said)
    found = read_latent_file(tmp_path / "a.npz")
    assert (found.height, found.width, found.scaled) == (64, 32, False)
    assert found.source.endswith(": tokens")


@pytest.mark.parametrize("marker", [True, False])
def test_comfyuis_latents(marker: bool, tmp_path: Path) -> None:
    tensors: dict[str, Any] = {"latent_tensor": np.ones((1, 4, 2, 3), np.float32)}
    if marker:  # since then they are the VAE's own
        tensors["latent_format_version_0"] = np.zeros(0, np.float32)
    safetensors.numpy.save_file(tensors, tmp_path / "ComfyUI_00001_.latent", {"prompt": "{}"})
    found = read_latent_file(tmp_path / "ComfyUI_00001_.latent")
    assert found.source.endswith(": latent_tensor")
    assert found.scaled is not marker


@pytest.mark.parametrize("kind", ["safetensors", "npz"])
def test_of_several_tensors_one_is_named(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    tensors: dict[str, Any] = {"seed": np.array([7]), "sigma": np.array(0.5), "before": np.ones((4, 2, 3), np.float32)}
    save = safetensors.numpy.save_file if kind == "safetensors" else lambda tensors, path: np.savez(path, **tensors)
    save(tensors, path)
    assert read_latent_file(path).source == f"{path}: before", "nothing else could be latents"
    save(tensors | {"after": np.zeros((4, 2, 3), np.float32)}, path)
    with pytest.raises(LatentsError) as error:
        read_latent_file(path)
    for text in (str(path), "several", "'before'", "'after'", "(4, 2, 3)", "name="):
        assert text in str(error.value)
    assert mx.max(read_latent_file(path, "after").array).item() == 0
    with pytest.raises(LatentsError, match=r"no tensor 'between'; it holds .*'before'"):
        read_latent_file(path, "between")
    with pytest.raises(LatentsError, match="latents are floats"):
        read_latent_file(path, "seed")


@pytest.mark.parametrize("kind", ["safetensors", "npy", "npz"])
@pytest.mark.parametrize("size", [0, 100, 8000])
def test_a_full_disk_leaves_what_was_there(kind: str, size: int, tmp_path: Path) -> None:
    (tmp_path / f"a.{kind}").write_bytes(b"what was there before")
    latents = np.random.default_rng(0).standard_normal((2, 16, 16, 16)).astype(np.float32)
    with nothing_left(tmp_path), file_size_limit(size):
        assert f"a.{kind} cannot be written" in refusal(write_latent_file, tmp_path / f"a.{kind}", latents)


def test_what_is_not_written(tmp_path: Path) -> None:
    latents = np.zeros((1, 4, 2, 2), np.float32)
    (tmp_path / "there.npz").touch()
    with nothing_left(tmp_path):
        assert "not as '.pt'" in refusal(write_latent_file, tmp_path / "a.pt", latents)
        tokens = Latents(latents[:, :, 0], height=16, width=16)
        assert "no place for height, width, packed" in refusal(write_latent_file, tmp_path / "a.npy", tokens)
        unscaled = Latents(latents, scaled=False)
        assert "no place for scaled" in refusal(write_latent_file, tmp_path / "a.npy", unscaled)
        assert "does not exist" in refusal(write_latent_file, tmp_path / "missing/a.npz", latents)
        assert "has appeared" in refusal(write_latent_file, tmp_path / "there.npz", latents, overwrite=False)
        wrong: tuple[dict[str, Any], ...] = (
            {"height": 16},
            {"height": 16.5, "width": 16},
            {"layout": "CHW"},
            {"height": 16, "width": 16, "layout": "NCHW"},
        )
        for said in wrong:
            with pytest.raises(LatentsError):
                write_latent_file(tmp_path / "a.npz", Latents(latents[:, :, 0], **said))
        with pytest.raises(LatentsError, match="2 or 3 axes"):  # which read_latent_file would refuse
            write_latent_file(tmp_path / "a.npz", Latents(latents, height=16, width=16))
        with pytest.raises(LatentsError, match="not int64"):
            write_latent_file(tmp_path / "a.npz", np.zeros((1, 4, 2, 2), np.int64))
