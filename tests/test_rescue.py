"""Latents that an adapter keeps until their picture is safe. `peers/test_mflux_adapter.py` keeps those of a model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import pytest

from tests.support.running import environment
from zvae_tiled import read_latent_file
from zvae_tiled.adapters.rescue import Rescue
from zvae_tiled.errors import BudgetError, OutOfMemoryError
from zvae_tiled.inputs.latents import Latents

OPTIONS = {"--vae": "z-image", "--budget": "1MB"}


def latents(value: float) -> Latents:
    return Latents(mx.full((1, 16, 2, 2), value))


def values(folder: Path) -> list[float]:
    """One value of each file of latents in a folder."""
    return sorted(read_latent_file(path).array[0, 0, 0, 0].item() for path in folder.iterdir())


def test_latents_are_kept_until_the_next_decode_or_the_end(tmp_path: Path) -> None:
    rescue = Rescue()
    for value in (1.0, 2.0):
        rescue.keep(latents(value), tmp_path, OPTIONS)
        assert values(tmp_path) == [value]
    rescue.forget()
    assert not list(tmp_path.iterdir())
    rescue.forget()


def test_latents_that_an_error_names_stay(tmp_path: Path) -> None:
    rescue, error = Rescue(), BudgetError("it needs more", "Name more.", needed=5_000_000)
    rescue.keep(latents(1.0), tmp_path, OPTIONS)
    for _ in "ab":
        rescue.tell(error)
    (note,) = error.__notes__
    (path,) = tmp_path.iterdir()
    assert f"zvae decode {path} -o {path.with_suffix('.png')} --vae z-image --budget 5MB" in note
    rescue.keep(latents(2.0), tmp_path, OPTIONS)
    rescue.forget()
    assert values(tmp_path) == [1.0]


def test_memory_that_ran_out_is_not_tried_with_the_same_budget(tmp_path: Path) -> None:
    rescue, error = Rescue(), OutOfMemoryError("memory ran out")
    rescue.keep(latents(1.0), tmp_path, {**OPTIONS, "--budget": "8GB"})
    rescue.tell(error)
    assert error.__notes__[0].endswith("--budget 25%")


def test_an_error_never_names_the_latents_of_another_decode(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rescue, error = Rescue(), RuntimeError("out of memory")
    rescue.keep(latents(1.0), tmp_path, OPTIONS)
    rescue.keep(latents(2.0), tmp_path / "missing", OPTIONS)
    assert "the latents are not kept" in caplog.text
    rescue.tell(error)
    assert not hasattr(error, "__notes__")


@pytest.mark.parametrize(
    ("end", "kept"),
    [
        pytest.param("", False, marks=pytest.mark.slow),
        pytest.param("raise OSError('disk full')", True, marks=pytest.mark.slow),
        ("raise KeyboardInterrupt", True),
    ],
)
def test_a_program_that_ends_by_an_error_leaves_its_latents(end: str, kept: bool, tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from tests.test_rescue import OPTIONS, latents
from zvae_tiled.adapters.rescue import Rescue
rescue = Rescue()
rescue.keep(latents(1.0), Path({str(tmp_path)!r}), OPTIONS)
{end}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False)
    assert (done.returncode != 0) == kept
    assert ("The latents are kept: zvae decode" in done.stderr) == kept
    assert bool(list(tmp_path.iterdir())) == kept
