"""`zvae doctor`: it looks at everything, and says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.packages import plant
from tests.support.running import run
from zvae_tiled import demo
from zvae_tiled.cli.sources import order_vae, vae_sources
from zvae_tiled.devices import blas
from zvae_tiled.devices.blas import BlasStatus
from zvae_tiled.devices.native_cpu import choice
from zvae_tiled.devices.native_cpu.choice import NativeStatus


def test_the_doctor_looks_at_everything_and_says_what_to_do(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = run("doctor").stdout
    for name in (
        "device",
        "MLX",
        "BLAS",
        "kernels",
        "speed",
        "calibration",
        "memory",
        "budget",
        "spill folder",
        "Pillow",
    ):
        assert f"\n{name:<12} " in told
    assert f"{'VAE':<12} {place / 'vae'}" in told
    assert "calibration: zvae calibrate" in told
    native, slow = (
        NativeStatus("avx2", "the fastest this CPU has", ("avx2",), 2),
        BlasStatus("builtin", None, False, "is slow"),
    )
    monkeypatch.setattr(blas, "preload", lambda: slow)
    with monkeypatch.context() as here:
        here.setattr(choice, "native_status", lambda: native)
        here.setattr("zvae_tiled.devices.here.device_kind", lambda: "cpu")
        told = run("doctor").stdout
        assert f"\n{'BLAS':<12} builtin: not needed, for the avx2 kernels compute\n" in told
        assert "  BLAS: " not in told
    monkeypatch.setenv("ZVAE_KERNELS", "mlx")
    told = run("doctor").stdout
    assert f"\n{'kernels':<12} mlx: ZVAE_KERNELS is mlx" in told
    assert f"\n{'BLAS':<12} builtin: is slow\n" in told
    assert "  BLAS: pip install" in told
    monkeypatch.setenv("ZVAE_KERNELS", "mlx2")
    monkeypatch.setenv("ZVAE_THREADS", "no")
    told = run("doctor").stdout
    assert told.startswith("ZVAE_THREADS must be a whole number from 1 to 256, it is 'no' (the lines below are")
    assert "\nZVAE_KERNELS must be one of" in told
    assert f"\n{'kernels':<12} " in told
    assert "  ZVAE_THREADS: Unset ZVAE_THREADS.\n" in told
    monkeypatch.delenv("ZVAE_VAE")
    assert "  VAE: export ZVAE_VAE=FOLDER" in run("doctor").stdout


@pytest.mark.parametrize("name", ["mlx-cuda-12", "mlx-cuda-13"])
def test_the_doctor_sees_that_mlx_for_cuda_was_written_over(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("zvae_tiled.devices.here.device_kind", lambda: "cpu")
    library = plant(tmp_path / "packages", monkeypatch, name, "mlx/lib/libmlx.so", b"for CUDA")
    assert "  device: " not in run("doctor").stdout
    library.write_bytes(b"for a CPU")
    assert f"  device: pip install --force-reinstall --no-deps {name}==0.32.4  (mlx-cpu " in run("doctor").stdout


@pytest.mark.parametrize("place_of_vae", ["nowhere", "empty"])
def test_the_doctor_says_that_the_vae_cannot_be_used(
    place: Path, monkeypatch: pytest.MonkeyPatch, place_of_vae: str
) -> None:
    (place / "empty").mkdir()
    monkeypatch.setenv("ZVAE_VAE", str(place / place_of_vae))
    told = run("doctor").stdout
    assert f"{place / place_of_vae}, which cannot be used" in told
    advice = told.partition("To improve:")[2]
    assert "  VAE: " in advice
    assert place_of_vae in advice
    assert "export ZVAE_VAE=FOLDER" in advice


def test_the_variable_may_name_the_demo_or_a_preset(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZVAE_VAE", "demo")
    assert order_vae(None) == str(demo.FOLDER), "so that workers find it"
    assert {source.path for source in vae_sources(None, None)} == {source.path for source in vae_sources("demo", None)}
    told = run("doctor").stdout
    assert f"{'VAE':<12} {demo.FOLDER}\n" in told
    assert "  VAE: " not in told
    monkeypatch.setenv("ZVAE_VAE", "sdxl")
    told = run("doctor").stdout
    assert f"{'VAE':<12} sdxl, which cannot be used" in told
    assert "sdxl needs a model with that VAE" in told
