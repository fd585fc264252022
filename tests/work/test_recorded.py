"""What a work folder was begun with: one changed value, and each field alone, is another decode, which is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tests.support.models import random_latents, with_weights
from tests.support.plans import plan_for
from tests.work.stopping import CONFIG, MODEL
from zvae_tiled import VAE, Latents
from zvae_tiled.devices.blas import BlasStatus
from zvae_tiled.errors import OutputError
from zvae_tiled.jobs.work import ROWS, digest_of
from zvae_tiled.report.progress import Progress

TALL = random_latents(CONFIG, 2 * ROWS + 3, 2)
TEXTS = {"prompt": "a cat"}
PLANS = [plan_for(MODEL, TALL.shape, Random(seed), ("disk",)) for seed in range(2)]
BEGUN: dict[str, Any] = {"vae": MODEL, "latents": Latents(TALL, texts=TEXTS), "plan": PLANS[0]}


def decode(folder: Path, vae: VAE, latents: Any, **options: Any) -> None:
    vae.decode_to_file(latents, folder / options.pop("name", "a.png"), work=folder / "work", **options)


def begin(folder: Path, **options: Any) -> None:
    def listener(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode(folder, **options, progress=listener)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decode that was begun. All others are refused, so it stays as it is."""
    folder = tmp_path_factory.mktemp("begun")
    begin(folder, **BEGUN)
    return folder


def refused(folder: Path, reason: str, **other: Any) -> None:
    before = {path.name: path.read_bytes() for path in (folder / "work").iterdir()}
    with pytest.raises(OutputError, match=f"was begun with {reason}"):
        decode(folder, **{**BEGUN, **other})
    assert {path.name: path.read_bytes() for path in (folder / "work").iterdir()} == before


def with_one_changed(array: np.ndarray, rng: Random, last: bool) -> np.ndarray:
    """The array with the smallest change of one value: of the last, or of any."""
    changed = array.copy()
    place = changed.size - 1 if last else rng.randrange(changed.size)
    changed.flat[place] = np.nextafter(changed.flat[place], np.float32(9))
    return changed


def test_one_other_value_of_the_latents_is_refused(begun: Path) -> None:
    rng = Random(0)
    for number in range(12):
        changed = with_one_changed(TALL, rng, last=not number)
        refused(begun, "other latents", latents=Latents(changed, texts=TEXTS))


def test_one_other_value_of_the_weights_is_refused(begun: Path) -> None:
    rng = Random(0)
    for number in range(12):
        name = rng.choice(sorted(MODEL.weights))
        changed = with_one_changed(np.asarray(MODEL.weights[name]), rng, last=number % 2 == 0)
        refused(begun, "other weights", vae=with_weights(MODEL, {name: mx.array(changed)}))


@pytest.mark.parametrize("seed", range(4))
def test_a_digest_is_of_names_shapes_types_and_every_value(seed: int) -> None:
    """Of tall arrays and long ones, of any number of axes."""
    rng = Random(seed)
    for axes in range(1, 6):
        shape = [rng.randint(1, 3) for _ in range(axes)]
        shape[rng.randrange(axes)] = rng.choice([ROWS, ROWS + 1, 3 * ROWS])
        values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
        found = {digest(values), digest(values, "b"), digest(values.reshape(-1, 1, 1)), digest(values, dtype=mx.int32)}
        found |= {digest(with_one_changed(values, rng, last)) for last in (True, False)}
        assert digest(values.copy()) == digest(values)
        assert len(found) == 5 + (values.size > 1)


def digest(values: np.ndarray, name: str = "a", dtype: mx.Dtype = mx.float32) -> str:
    return digest_of({name: mx.array(values).view(dtype)})


CASES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "scaled": ("other latents", {"latents": Latents(TALL, scaled=False, texts=TEXTS)}),
    "config": ("another config", {"vae": VAE(replace(CONFIG, scaling_factor=1.0), MODEL.weights, MODEL.dtype)}),
    "disk_limit": ("other options", {"disk_limit": "2GB"}),
    "plan": ("other options", {"plan": PLANS[1]}),
    "no plan": ("other options", {"plan": None}),
    "bits": ("other outputs", {"bits": 16}),
    "format": ("other outputs", {"name": "a.tif"}),
    "outputs": ("other outputs", {"name": "a.npy"}),
    "text": ("other outputs", {"latents": Latents(TALL, texts={"prompt": "a dog"})}),
    "no text": ("other outputs", {"latents": TALL}),
}
"""One field each: the reason, and what is other."""


@pytest.mark.parametrize("field", CASES)
def test_a_folder_of_another_decode_is_refused(field: str, begun: Path) -> None:
    reason, other = CASES[field]
    refused(begun, reason, **other)


def test_another_budget_is_refused(tmp_path: Path) -> None:
    begin(tmp_path, **{**BEGUN, "plan": None, "budget": "1GB"})
    for budget in ("2GB", "50%", None):
        refused(tmp_path, "other options: budget=1GB, here ", plan=None, budget=budget)


BLAS = BlasStatus("custom", "/lib/libfast.so.1", True, "")

OTHER_PROGRAM: Mapping[str, tuple[str, Callable[[Path], Any]]] = {
    "work.mlx_version": ("another program.*here mlx 0", lambda _: lambda: "0.0.1"),
    "work.np.__version__": ("another program.*here numpy 0", lambda _: "0.0.1"),
    "work.zlib.ZLIB_RUNTIME_VERSION": ("another program.*here zlib 0", lambda _: "0.0.1"),
    "work.__version__": ("another program.*here zvae_tiled 0", lambda _: "0.0.0"),
    "work.preload": ("another program.*BLAS libfast.so.1", lambda _: lambda: BLAS),
    "work.library_file": ("another program.*here native kernels", lambda file: lambda: file),
    "decode.FORMAT": ("another version", lambda _: -1),
}
"""Places in `zvae_tiled.jobs`: the reason, and what is there in another program."""


@pytest.mark.parametrize("place", OTHER_PROGRAM)
def test_another_program_is_refused(place: str, begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reason, value = OTHER_PROGRAM[place]
    (tmp_path / "library.so").write_bytes(b"other kernels")
    monkeypatch.setattr(f"zvae_tiled.jobs.{place}", value(tmp_path / "library.so"))
    refused(begun, reason)
