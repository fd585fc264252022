"""Decodes onto a disk that becomes full, that is read-only, or that has a quota."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from tests.campaign.forks import Ended, in_fork
from tests.campaign.mounts import mounted, with_quota
from tests.campaign.part import Case
from tests.campaign.struck.runs import Given
from tests.support.plans import plan_for
from zvae_tiled.engine import checkpoints
from zvae_tiled.errors import ZvaeError
from zvae_tiled.report.progress import Progress
from zvae_tiled.sinks import png

NAMES = ("a.png", "b.tif", "c.npy", "d.safetensors", "e.webp", "f.ptif")
BANDS = 60
"""About so many bands are read in a decode."""


@cache
def given() -> Given:
    return Given.made(Path(tempfile.mkdtemp(prefix="given-")))


def decode(names: list[str], folder: Path, fill: tuple[int, int] | None = None, **options: Any) -> Ended:
    """Decode into a folder, in a fork. At band `fill[0]` another program leaves `fill[1]` bytes of its disk free."""
    return in_fork(lambda: _decode(names, folder, fill, options))


def _decode(names: list[str], folder: Path, fill: tuple[int, int] | None, options: dict[str, Any]) -> Ended:
    checkpoints.SECONDS, png.BLOCK, bands = 0.0, 1 << 10, 0
    warnings.filterwarnings("ignore", ".*after a crash this format is written again")

    def listener(progress: Progress) -> None:
        nonlocal bands
        bands += 1
        if fill is not None and bands == fill[0]:
            left = shutil.disk_usage(folder).free - fill[1]
            (folder / "filler").write_bytes(bytes(max(0, left)))

    vae = given().loaded()
    plan = plan_for(vae, given().latents.shape, Random(1), ("disk",))
    try:
        vae.decode_to_file(given().latents, [folder / name for name in names], plan=plan, progress=listener, **options)
    except ZvaeError as error:
        return {"ended": "refused", "said": f"{type(error).__name__}: {error}", "bands": bands}
    return {"ended": "done", "said": "", "bands": bands}


@cache
def _want(name: str) -> bytes:
    folder = Path(tempfile.mkdtemp(prefix="want-"))
    assert decode([name], folder)["ended"] == "done"
    return (folder / name).read_bytes()


def full(case: Case) -> None:
    """Let a disk become full at a random band."""
    fill = (case.rng.randint(1, BANDS), case.rng.choice([0, case.rng.randrange(1 << 17)]))
    with mounted(case.folder, "-t", "tmpfs", "-o", "size=8m", "tmpfs"):
        _tried(case, f"full at band {fill[0]} but for {fill[1]} bytes", fill)


def quota(case: Case) -> None:
    """Decode where the disk has room, and a quota has not."""
    size = case.rng.randrange(16 << 10, 1 << 20)
    with with_quota(case.folder, size):
        _tried(case, f"a quota of {size} bytes", None)


def _tried(case: Case, told: str, fill: tuple[int, int] | None) -> None:
    rng, folder = case.rng, case.folder
    names, work = rng.sample(NAMES, rng.randint(1, 2)), rng.random() < 0.4
    options: dict[str, Any] = (
        {"work": folder / "work"} if work else {"spill_folder": rng.choice([folder, tempfile.gettempdir()])}
    )
    ended = decode(names, folder, fill, **options)
    told = f"{told}, {names}, {options}: {ended}"
    left = {path.name for path in folder.iterdir()} - {"filler"}
    if ended["ended"] == "done":
        assert left == {*names}, told
    else:
        assert ended["ended"] == "refused", told
        assert left <= ({"work"} if work else set()), f"{left} left: {told}"
        if fill is None:
            return
        (folder / "filler").unlink(missing_ok=True)
        again = decode(names, folder, **options)
        assert again["ended"] == "done", f"{again} when there is room again: {told}"
    assert all((folder / name).read_bytes() == _want(name) for name in names), f"wrong bytes: {told}"


def read_only(case: Case) -> None:
    """Let the folder of the outputs, of the maps or of the work be read-only."""
    rng, place = case.rng, case.folder / "disk"
    place.mkdir()
    names = rng.sample(NAMES, rng.randint(1, 2))
    (place / names[0]).write_bytes(b"what was there before")
    with mounted(place, "--bind", "-o", "ro", place):
        which = rng.choice(["outputs", "maps", "work"])
        options: dict[str, Any] = {"maps": {"spill_folder": place}, "work": {"work": place / "work"}}.get(which, {})
        ended = decode(names, place if which == "outputs" else case.folder, **options)
        told = f"{which} read-only, {names}: {ended}"
        assert ended["ended"] == "refused", told
        assert ended["bands"] == 0, f"begun in vain: {told}"
        assert [path.name for path in place.iterdir()] == [names[0]], told
        assert (place / names[0]).read_bytes() == b"what was there before", told
        assert [path.name for path in case.folder.iterdir()] == ["disk"], told
