"""The plugin of a run is read by any worker: one without this package takes no orders, and starts."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from zvae_tiled.cluster.likeness import Likeness
from zvae_tiled.cluster.share import Share

pytest.importorskip("distributed", reason="the extra zvae-tiled[cluster] is not installed")

WITHOUT = """
import asyncio, pickle, sys
from types import SimpleNamespace

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("zvae_tiled", "mlx"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
plugin = pickle.loads(open(sys.argv[1], "rb").read())
from distributed import WorkerPlugin
assert isinstance(plugin, WorkerPlugin)

async def set_resources(**seats):
    print(seats)

asyncio.run(plugin.setup(SimpleNamespace(address="tcp://a:1", set_resources=set_resources)))
plugin.teardown(None)
"""


def _membership() -> Any:
    from zvae_tiled.cluster.membership import Membership

    models = [("vae", None, "float32")]
    return Membership("run", "seat", models, Likeness(("1",), (), ()), {"a": Share(1, 2, "")}, ["kernels"], 5)


def test_a_worker_with_this_package_reads_the_membership_as_it_was() -> None:
    sent = _membership()
    again = pickle.loads(pickle.dumps(sent))
    assert type(again) is type(sent)
    assert vars(again) == vars(sent)


@pytest.mark.slow
def test_a_process_without_this_package_reads_it_too(tmp_path: Path) -> None:
    from distributed.protocol.pickle import dumps

    (tmp_path / "plugin").write_bytes(dumps(_membership()))
    words = [sys.executable, "-c", WITHOUT, str(tmp_path / "plugin")]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "{'seat': 0}\n"
    assert "takes no orders: ModuleNotFoundError: No module named 'zvae_tiled" in done.stderr


@pytest.mark.parametrize("lacks", ["the package", "an argument"])
def test_a_worker_without_this_package_or_with_another_version_is_left_alone(
    lacks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zvae_tiled.cluster.membership import Membership

    packed = pickle.dumps(_membership())

    def other(self: Any, name: str) -> None:
        """Of another version, with other arguments."""

    if lacks == "the package":
        monkeypatch.setitem(sys.modules, "zvae_tiled.cluster.membership", None)
    else:
        monkeypatch.setattr(Membership, "__init__", other)
    read = pickle.loads(packed)
    seats: list[Any] = []

    class Worker:
        address = "tcp://a:1"

        async def set_resources(self, **each: float) -> None:
            seats.append(each)

    asyncio.run(read.setup(Worker()))
    assert seats == [{"seat": 0}]
