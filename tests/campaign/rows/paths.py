"""Paths: pipes, devices, links and folders in the place of files, outputs that are inputs, names that lead away."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.campaign.part import Case, Part
from tests.campaign.places import reading, writing
from tests.campaign.places.tree import refused, tree, unchanged
from zvae_tiled import VAE, read_latent_file
from zvae_tiled.errors import LatentsError, WeightsError, ZvaeError

SECRET = "../../precious/secret.safetensors"

NAMES = (
    SECRET,
    f"./{SECRET}",
    "/etc/passwd",
    "..",
    ".",
    "",
    "vae/../x",
    "a\\b",
    "..\\x",
    "C:x",
    "a\0b",
    "a\nb",
    "~",
    "x/",
)
"""Names of files in an index that lead elsewhere, or are no names."""


def _index_names(name: str) -> None:
    Path("vae/diffusion_pytorch_model.safetensors").unlink()
    Path(reading.INDEX).write_text(json.dumps({"weight_map": {"decoder.conv_in.weight": name}}))
    with pytest.raises(WeightsError):
        VAE.load("vae")


def _member_names(name: str) -> None:
    with zipfile.ZipFile("out/a.npz", "w") as archive:
        archive.writestr(name.replace("\0", "") + ".npy", b"x")
    with pytest.raises(LatentsError):
        read_latent_file("out/a.npz")


def _refused(attempted: Callable[[], ZvaeError | None], told: str) -> None:
    refused(attempted(), told)


def _code(command: str, name: str, kind: Callable[[Path], None]) -> None:
    assert reading.read_by_command(command, name, kind) in (2, 3)


CASES: list[tuple[str, Callable[[], None]]] = [
    *((f"index {name!r}", partial(_index_names, name)) for name in NAMES),
    *((f"npz {name!r}", partial(_member_names, name)) for name in (SECRET, "/etc/passwd", "..")),
    *(
        (f"read {reader}: {kind.__name__}", partial(_refused, partial(reading.refused_reading, reader, kind), reader))
        for reader in reading.READERS
        for kind in reading.KINDS
        if (reader, kind) != ("the VAE of decode_tiled", reading.a_folder)
    ),
    *(
        (f"{command}: {kind.__name__}", partial(_code, command, name, kind))
        for command, name in (
            ("decode latents.npy --vae vae -o out/a.png -q", "latents.npy"),
            ("decode latents.npy --vae vae -o out/a.png -q --config vae/config.json", "vae/config.json"),
            ("encode picture.npy --vae vae -o out/a.npy -q", "picture.npy"),
            ("inspect latents.npy", "latents.npy"),
            ("inspect vae", "vae/diffusion_pytorch_model.safetensors"),
            ("compare picture.npy vae/../picture.npy", "picture.npy"),
        )
        for kind in reading.KINDS
    ),
    *((f"calibration: {kind.__name__}", partial(reading.ignored_calibration, kind)) for kind in reading.KINDS),
    *(
        (
            f"write {writer}: {place.__name__}",
            partial(_refused, partial(writing.refused_writing, writer, place), writer),
        )
        for writer in writing.WRITERS
        for place in (*writing.BAD, *(writing.INPUTS if writer not in writing.READ_NO_WEIGHTS else ()))
        if (writer, place) != ("a picture by zvae", writing.a_folder)  # it is written into the folder
    ),
    ("a full device", partial(_refused, partial(writing.full_device, "a manifest"), "a manifest")),
    ("Deep Zoom over a link", writing.deep_zoom_over_a_link),
    ("a work folder of links", writing.work_folder_of_links),
    ("a work folder that is a link", writing.work_folder_that_is_a_link),
    ("a stem that leads up", writing.a_stem_that_leads_up),
]


def attempt(case: Case) -> None:
    """Try one place."""
    name, tried = CASES[case.number % len(CASES)]
    place = tree(case.folder)
    print(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("ZVAE_CACHE", str(place / "out" / "cache"))
        with unchanged(case.folder, place):
            tried()


PARTS = (
    Part(
        "places",
        "pipes, sockets, devices, folders, loops and broken links in the place of each file that is read or written; "
        "outputs that are inputs by another name; names in files that lead elsewhere",
        aim=len(CASES),
        sample=len(CASES) // 3,
        attempt=attempt,
        patience=300.0,
    ),
)
