"""New functions, commands and families are in the campaign by themselves, and are called with right arguments first."""

from __future__ import annotations

from pathlib import Path

import pytest

import zvae_tiled
from tests.campaign.part import all_rows, parts_of
from tests.campaign.wrong import functions, hosts, options
from tests.support.running import save_latents, save_vae
from zvae_tiled import adapters, cluster
from zvae_tiled.cli.app import zvae


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("arguments")
    save_vae(folder / "vae")
    save_latents(folder / "latents.npy", 3, 4)
    return folder


SLOW = {"cluster.run_striped": pytest.mark.slow}  # workers start
NAMES = [pytest.param(name, marks=SLOW.get(name, ())) for name in sorted(functions.functions())]


@pytest.mark.parametrize("name", NAMES)
def test_each_public_function_works_with_the_arguments_beside_a_wrong_one(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("HF_HUB_CACHE", str(place / "hub"))
    monkeypatch.setattr("zvae_tiled.jobs.limits.measure", lambda *_: None)
    function, arguments = functions.right_call(name, monkeypatch)
    functions._finish(function(**arguments))
    zvae_tiled.set_default_vae(None)


def test_the_functions_are_those_of_the_package() -> None:
    found = functions.functions().keys()
    assert {"plan", "VAE.load", "VAE.decode", "Latents", "Tiles", "order.run", "cluster.decode_many"} <= found
    assert not {name for name in found if name.endswith("Error")}


def test_no_public_function_is_forgotten() -> None:
    public = {name for name in zvae_tiled.__all__ if callable(getattr(zvae_tiled, name)) and not name.endswith("Error")}
    public |= {f"cluster.{name}" for name in cluster.__all__}
    for door in (Path(adapters.__path__[0])).glob("*.py"):
        public |= {f"{door.stem}.use"} if "\ndef use(" in door.read_text() else set()
    assert {"diffusers.use", "mflux.use", "cluster.run_striped"} <= public
    tried = {*functions.functions(), *(name for name in hosts.NEEDS if not hosts.can_be_tried(name))}
    assert {name for name in public - tried if name.rpartition(".")[2] not in functions.MADE_HERE} == set()


def test_each_command_has_words_beside_a_wrong_one() -> None:
    assert options.BASE.keys() == zvae.commands.keys()


def test_what_is_tried_is_counted_once() -> None:
    parts = [(row, part) for row in all_rows() for part in parts_of(row)]
    names = [f"{row}/{part.name}" for row, part in parts]
    assert len(names) == len(set(names))
    assert all(part.sample >= 0 for _, part in parts)
    assert all(part.sample <= part.aim for _, part in parts if not part.timed)
