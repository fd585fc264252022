"""One server for all tests: FLUX's decoder in several configs, and a model of every family."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.client import Client
from tests.serving.models import FAMILIES, FLUX
from tests.serving.server import DECOUPLED, TWICE, Server, add_model, warm_up
from tests.support.running import save_vae


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with all models."""
    folder = tmp_path_factory.mktemp("triton")
    flux, repository = save_vae(folder / "flux", FLUX), folder / "models"
    add_model(repository, "flux", vae=flux, budget="1GB")
    add_model(repository, "pngs", vae=flux, budget="1GB", output="png")
    add_model(repository, "rows", DECOUPLED, vae=flux, budget="20MB")
    for name, more in (("warm", ""), ("warm_rows", DECOUPLED)):
        add_model(repository, name, more + warm_up(), vae=flux, budget="1GB")
    add_model(repository, "tight", vae=flux, budget="2MB")
    add_model(repository, "two", TWICE, vae=flux, budget="1GB")
    add_model(repository, "demo", vae="demo", budget="1GB", spill_folder=spills(folder))
    for name, config in FAMILIES.items():
        add_model(repository, name, vae=save_vae(folder / name, config), budget="1GB")
    with Server(repository, folder / "log") as running:
        yield running
    assert "Traceback" not in running.log.read_text()


def spills(folder: Path) -> Path:
    """Return a folder for spilled maps."""
    path = folder / "spills"
    path.mkdir()
    return path


@pytest.fixture(params=["http", "grpc"])
def client(server: Server, request: pytest.FixtureRequest) -> Client:
    """A client of each protocol."""
    return Client(server, request.param)
