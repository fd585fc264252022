"""A real server that ends in the middle of a decode, by SIGTERM or SIGKILL: no process and no memory stays."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

from tests.serving.client import Client
from tests.serving.models import FLUX
from tests.serving.server import DECOUPLED, Server, add_model
from tests.support.models import random_latents
from tests.support.running import save_vae
from tests.support.waiting import lives, wait

pytestmark = [pytest.mark.serving, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
HUGE = random_latents(FLUX, 256, 256)
TALL = random_latents(FLUX, 4096, 8)
"""Of many short steps."""


def regions() -> set[Path]:
    """Return the memory that servers share with their stubs."""
    return set(Path("/dev/shm").glob("triton*"))


@pytest.mark.parametrize("more", ["", DECOUPLED], ids=["whole", "rows"])
def test_a_server_that_is_killed_leaves_no_process_behind(tmp_path: Path, more: str) -> None:
    repository = tmp_path / "models"
    add_model(repository, "flux", more, vae=save_vae(tmp_path / "flux", FLUX), budget="50MB")
    model = repository / "flux" / "1" / "model.py"
    model.write_text(model.read_text().replace("request.is_cancelled)", "request.is_cancelled, every=0)"))
    shared = regions()
    with Server(repository, tmp_path / "log") as server:
        client = Client(server, "grpc")
        errors: list[object] = []
        client.client.start_stream(lambda result, error: errors.append(error))
        client.client.async_stream_infer("flux", client.inputs(map=TALL))
        models = server.processes()[1:]
        wait(lambda: sum(process.cpu_times().user for process in models) > 3)
        server.process.kill()
    wait(lambda: not any(map(lives, models)))
    wait(lambda: not regions() - shared)
    client.client.stop_stream()


def test_sigterm_in_the_middle_of_a_decode(tmp_path: Path) -> None:
    repository, spills = tmp_path / "models", tmp_path / "spills"
    spills.mkdir()
    shared = regions()
    add_model(repository, "flux", vae=save_vae(tmp_path / "flux", FLUX), budget="40MB", spill_folder=spills)
    with Server(repository, tmp_path / "log") as server:
        assert regions() - shared, "what must be gone afterwards"
        outcome: list[object] = []

        def ask() -> None:
            try:
                outcome.append(Client(server, "http").ask("flux", map=HUGE))
            except Exception as error:
                outcome.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        models = server.processes()
        wait(lambda: sum(process.cpu_times().user for process in models) > 5)
        assert server.stop() != -signal.SIGKILL, "it ends by itself"
        thread.join()
    assert len(outcome) == 1, "the client is told"
    wait(lambda: not any(map(lives, models)))
    assert not list(spills.iterdir())
    wait(lambda: not regions() - shared)
