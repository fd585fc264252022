"""A file that cannot be written is refused before any work. An existing file is replaced on purpose only."""

from __future__ import annotations

import os
import shutil
import sys
from collections import namedtuple
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.leftovers import nothing_left, refusal
from tests.support.models import random_latents, random_vae
from tests.support.running import save_vae
from zvae_tiled import VAE
from zvae_tiled.devices.here import kernels_for, this_device
from zvae_tiled.errors import MissingExtraError, OutputError
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.sinks import file_target
from zvae_tiled.sinks.kinds import KINDS

CONFIG = AutoencoderKLConfig(block_out_channels=(4, 4), norm_num_groups=2, mid_block_add_attention=False)
MADE, LATENTS = random_vae(CONFIG), random_latents(CONFIG, 8, 6)
KERNELS = type(kernels_for(this_device(MADE.dtype), MADE.dtype))
"""What decodes compute with here."""
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KERNELS, "conv", lambda *args: pytest.fail("work has begun"))


@pytest.mark.parametrize(
    ("name", "shape", "bits", "reason", "advice"),
    [
        ("a.gif", (1, 8, 8, 3), None, "not as '.gif'", "Change the ending"),
        ("a", (1, 8, 8, 3), None, "this name has no ending", "Add one"),
        ("a.png", (1, 8, 8, 5), None, "holds 1, 2, 3 or 4 channels, the VAE's pictures have 5", ".npy"),
        ("a.jpg", (1, 8, 8, 4), None, "holds 1 or 3 channels, the VAE's pictures have 4", ".npy"),
        ("a.webp", (1, 8, 8, 1), None, "holds 3 or 4 channels, the VAE's pictures have 1", ".npy"),
        ("a.png", (1, 8, 8, 3), 32, "must be 8 or 16 in this kind of file, it is 32", ".tiff"),
        ("a.tiff", (1, 8, 8, 3), 12, "must be 8, 16 or 32 in this kind of file, it is 12", ".png"),
        ("a.jpg", (1, 8, 8, 3), 16, "must be 8 in this kind of file, it is 16", ".png"),
        ("a.npy", (1, 8, 8, 3), True, "it is True", ".npy"),
        ("a.npy", (1, 8, 8, 3), "16", "it is '16'", ".npy"),
        ("a.webp", (1, 16384, 8, 3), None, "holds at most 16,383 pixels a side, the picture has 8x16,384", ".png"),
        ("a.jpeg", (1, 8, 65504, 3), None, "holds at most 65,500 pixels a side, the picture has 65,504x8", ".png"),
    ],
)
def test_what_a_kind_of_file_cannot_hold(
    name: str, shape: Any, bits: Any, reason: str, advice: str, tmp_path: Path
) -> None:
    with nothing_left(tmp_path), pytest.raises(OutputError) as error:
        file_target(tmp_path / name, shape, bits)
    assert reason in error.value.problem
    assert name in error.value.problem
    assert advice in error.value.advice


def test_every_place_of_a_batch_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "a-2.png").mkdir()
    (tmp_path / "b.png").mkdir()
    assert "a-2.png is a folder" in refusal(file_target, tmp_path / "a.png", (3, 8, 8, 3))
    file_target(tmp_path / "b.png", (3, 8, 8, 3))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing/a.png", "missing does not exist"),
        ("file/a.png", "file is not a folder"),
        ("folder.png", "is a folder"),
        ("link/a.png", "link is not a folder"),
        ("a" * 300 + ".png", "cannot be written: "),
    ],
)
def test_places_that_are_none(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("none")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    assert said in refusal(file_target, tmp_path / name, (1, 8, 8, 3))


def test_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    assert f"{tmp_path} cannot be written to" in refusal(file_target, tmp_path / "a.png", (1, 8, 8, 3))


@pytest.mark.parametrize("ending", [".jpg", ".jpeg", ".webp"])
def test_without_pillow_the_extra_is_named_before_any_work(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_work: None
) -> None:
    for module in ("PIL", "PIL.Image", "PIL.features"):
        monkeypatch.setitem(sys.modules, module, None)
    with (
        nothing_left(tmp_path),
        pytest.raises(MissingExtraError, match=r"needs Pillow.*\n.*pip install 'zvae-tiled\[pil"),
    ):
        MADE.decode_to_file(LATENTS, tmp_path / f"a{ending}")
    with pytest.raises(MissingExtraError, match=r"pip install 'zvae-tiled\[pil\]'"):
        MADE.decode(LATENTS, output_type="pil")


@pytest.mark.parametrize("ending", [ending for ending, kind in KINDS.items() if kind.pillow is None])
def test_the_other_kinds_do_without_pillow(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("PIL", "PIL.Image", "PIL.features"):
        monkeypatch.setitem(sys.modules, module, None)
    MADE.decode_to_file(LATENTS, tmp_path / f"a{ending}")
    assert (tmp_path / f"a{ending}").stat().st_size > 100


def test_a_pillow_that_lacks_a_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import features

    monkeypatch.setattr(features, "check", lambda name: name != "webp")
    file_target(tmp_path / "a.jpg", (1, 8, 8, 3))
    with pytest.raises(MissingExtraError, match="built without WEBP"):
        file_target(tmp_path / "a.webp", (1, 8, 8, 3))


@pytest.mark.parametrize(("ending", "batch"), [(".png", 1), (".npy", 2), (".tiff", 1), (".webp", 1)])
def test_a_file_is_replaced_unless_that_is_forbidden(ending: str, batch: int, tmp_path: Path) -> None:
    latents = np.concatenate([LATENTS] * batch)
    last = tmp_path / ("a" if batch == 1 else "a-1")
    last = last.with_suffix(ending)
    last.write_bytes(b"what was there before")
    with nothing_left(tmp_path), pytest.MonkeyPatch.context() as patch:
        patch.setattr(KERNELS, "conv", lambda *args: pytest.fail("work has begun"))
        text = refusal(MADE.decode_to_file, latents, tmp_path / f"a{ending}", overwrite=False)
        assert f"{last}: there is a file of that name" in text
    MADE.decode_to_file(latents, tmp_path / f"a{ending}")
    assert last.read_bytes() != b"what was there before"
    assert len(list(tmp_path.iterdir())) == batch


def test_a_file_that_appears_meanwhile_is_not_replaced_either(tmp_path: Path) -> None:
    def appear(progress: object) -> None:
        (tmp_path / "a.png").write_bytes(b"somebody else's")

    text = refusal(MADE.decode_to_file, LATENTS, tmp_path / "a.png", overwrite=False, progress=appear)
    assert "a file of that name has appeared" in text
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"somebody else's"]


@pytest.mark.parametrize("there", ["a file", "a folder"])
def test_what_appears_meanwhile_takes_the_whole_batch_back(there: str, tmp_path: Path) -> None:
    overwrite = there == "a folder"
    if overwrite:
        (tmp_path / "a-0.png").write_bytes(b"what was there before")
    last = tmp_path / "a-2.png"

    def appear(progress: object) -> None:
        if not last.exists():
            last.mkdir() if overwrite else last.write_bytes(b"somebody else's")

    latents = np.concatenate([LATENTS] * 4)
    text = refusal(MADE.decode_to_file, latents, tmp_path / "a.png", overwrite=overwrite, progress=appear)
    assert text.startswith(f"[output] {last} cannot be written: ")
    left = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert left == ({"a-0.png": b"what was there before"} if overwrite else {"a-2.png": b"somebody else's"})


def interrupted(call: Callable[..., Any], left: Iterator[int]) -> Callable[..., Any]:
    """Press Ctrl-C at the end of the system call that finds the counter `left` at 0."""

    def counted(*args: Any, **options: Any) -> Any:
        call(*args, **options)
        if not next(left):
            raise KeyboardInterrupt

    return counted


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.sample(2)
def test_an_interrupt_while_a_batch_gets_its_names_leaves_all_or_nothing(overwrite: bool, tmp_path: Path) -> None:
    latents, stopped, names = np.concatenate([LATENTS] * 3), True, {"a-0.png", "a-1.png", "a-2.png"}
    moments = count()
    while stopped:
        moment = next(moments)
        folder = tmp_path / f"{moment}"
        folder.mkdir()
        if overwrite:
            (folder / "a-1.png").write_bytes(b"what was there before")
        with pytest.MonkeyPatch.context() as patch:
            left = count(moment, -1)
            for name in ("link", "replace", "unlink"):
                patch.setattr(os, name, interrupted(getattr(os, name), left))
            try:
                MADE.decode_to_file(latents, folder / "a.png", overwrite=overwrite)
                stopped = False
            except KeyboardInterrupt:
                pass
        found = {path.name: path.read_bytes() for path in folder.iterdir()}
        whole = set(found) == names and b"what was there before" not in found.values()
        before = {"a-1.png": b"what was there before"} if overwrite else {}
        assert whole or (stopped and found == before)
    assert moment >= 3, "one for each file, at least"


def test_the_files_a_vae_was_loaded_from_are_not_replaced(tmp_path: Path, no_work: None) -> None:
    folder = save_vae(tmp_path / "vae", CONFIG)
    weights = folder / "diffusion_pytorch_model.safetensors"
    shutil.copy(folder / "config.json", tmp_path / "other.json")
    vae = VAE.load(folder, config=tmp_path / "other.json")
    for name, file in {"a": weights, "b": folder / "config.json", "c": tmp_path / "other.json"}.items():
        (tmp_path / f"{name}-1.npy").symlink_to(file)
        with nothing_left(folder):
            text = refusal(vae.decode_to_file, np.concatenate([LATENTS] * 2), tmp_path / f"{name}.npy")
            assert f"{name}-1.npy is an input (it is the same file as {file})" in text
    (tmp_path / "vae").rename(tmp_path / "moved")
    moved = tmp_path / "moved" / weights.name
    assert "is an input" in refusal(vae.decode_to_file, LATENTS, moved)


def test_a_picture_may_replace_what_no_vae_was_loaded_from(tmp_path: Path) -> None:
    vae = VAE.load(save_vae(tmp_path / "vae", CONFIG))
    other = save_vae(tmp_path / "other", CONFIG) / "diffusion_pytorch_model.safetensors"
    vae.decode_to_file(LATENTS, other)
    assert other.stat().st_size < 10_000


@pytest.mark.parametrize(("ending", "batch"), [(".png", 1), (".npy", 2), (".tiff", 1), (".jpg", 1), (".webp", 1)])
def test_a_disk_that_may_become_full_is_refused_before_any_work(
    ending: str, batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    latents, path = np.concatenate([LATENTS] * batch), tmp_path / f"a{ending}"
    target = file_target(path, (batch, 16, 12, 3))
    needed = batch * target.kind.largest(target.shape, target.bits)
    free = needed - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(1 << 50, 0, free))
    with nothing_left(tmp_path), monkeypatch.context() as patch:
        patch.setattr(KERNELS, "conv", lambda *args: pytest.fail("work has begun"))
        text = refusal(MADE.decode_to_file, latents, path)
    assert f"{needed:,} bytes" in text
    assert f"{free:,} free" in text
    free = needed
    MADE.decode_to_file(latents, path)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= needed


def test_maps_spilled_to_the_same_disk_need_their_room_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = file_target(tmp_path / "a.png", (1, 16, 12, 3))
    needed = target.kind.largest(target.shape, target.bits)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(1 << 50, 0, needed + 999))
    target.check_room(999, tmp_path)
    assert "and spilled maps 1,000" in refusal(target.check_room, 1000, tmp_path)
    if sys.platform == "linux":
        target.check_room(1 << 40, Path("/proc"))  # another file system, which is checked when maps are spilled there
    assert "No such file" in refusal(target.check_room, 1, tmp_path / "gone")
