"""What one worker does with one order: what it finds written, whose weights it holds, how its errors are sent."""

from __future__ import annotations

import asyncio
import os
import pickle
from contextlib import nullcontext
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.cluster.places import orders
from tests.support.running import save_vae
from zvae_tiled.cluster import decode_many
from zvae_tiled.cluster.likeness import Likeness, own_likeness
from zvae_tiled.cluster.many import carried_out
from zvae_tiled.cluster.ready import Ready, checked, sources_of, with_tiny
from zvae_tiled.cluster.share import Share
from zvae_tiled.cluster.work import Task, _check_tiny, _exclusive, _written, carry_out, fresh, held, portable
from zvae_tiled.errors import BudgetError, ClusterError, OutputError
from zvae_tiled.families.tiny import TinyConfig
from zvae_tiled.jobs.orders import load, written
from zvae_tiled.order import Order, run


def test_a_vae_whose_file_was_replaced_is_loaded_again_and_none_is_kept(place: Path) -> None:
    order = replace(orders("out")[0], target="out/a.npy")
    one = held(order)
    assert held(order) is one
    save_vae(Path("vae"))
    again = held(order)
    assert again is not one
    assert [row.state for row in decode_many([order])] == ["done"]
    assert held(order) is not again


TINY = TinyConfig(latent_channels=4, encoder_block_out_channels=(4,) * 4, decoder_block_out_channels=(4,) * 4)


def test_what_an_earlier_worker_has_written_is_seen_and_not_replaced(place: Path) -> None:
    order = Order("decode", "vae", "batch.npy", "out/batch.png")
    vae = load(order)
    found = checked([order])[0]
    assert isinstance(found, Ready)
    task = Task("run", "seat", found, fresh(found.paths))
    assert not _written(task)
    assert not _exclusive(task).overwrite
    run(_exclusive(task), vae)
    assert _written(task)
    with pytest.raises(OutputError):
        run(replace(_exclusive(task), overwrite=False), vae)
    later = Task("run", "seat", found, fresh(found.paths))
    for path in found.paths:  # they existed before this run, and have another time on the worker's machine
        os.utime(path, ns=(0, 0))
    assert not _written(later)
    assert _exclusive(later).overwrite
    written(order, vae)[0].unlink()
    assert not _written(task)
    assert _exclusive(task).overwrite  # a worker died between two of its files


def test_what_stands_in_the_place_of_a_new_picture_is_replaced_as_without_workers(place: Path) -> None:
    order = Order("decode", "vae", "0.npy", "out/0.dzi")
    for name in ("linked.png", "left.dzi", "killed.dzi"):
        found = checked([replace(order, target=f"out/{name}")])[0]
        assert isinstance(found, Ready)
        before = Task("run", "seat", found, fresh(found.paths))
        if name == "linked.png":
            Path("out/linked.png").symlink_to(place / "linked.png")
        else:  # a process was killed before it gave the second name: in this run, or long ago
            Path(f"out/{name}").with_name(f"{name[:-4]}_files").mkdir()
        task = before if name == "killed.dzi" else Task("run", "seat", found, fresh(found.paths))
        assert not _written(task)
        assert _exclusive(task).overwrite
        if name == "linked.png":
            run(_exclusive(task))
        else:
            found.paths[0].touch()
        assert found.paths[0].exists()
        assert _written(task) == (task is before)


def test_a_picture_of_weights_that_are_no_longer_those_that_were_compared_fails(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    membership = pytest.importorskip("zvae_tiled.cluster.membership", exc_type=ImportError)
    work: Any = import_module("zvae_tiled.cluster.work")
    state = SimpleNamespace(tasks={"key": SimpleNamespace(state="executing")})
    status = SimpleNamespace(name="running")
    worker = SimpleNamespace(address="tcp://a", state=state, status=status, log_event=lambda *_: None)
    keys = SimpleNamespace(thread_state=SimpleNamespace(key="key"))
    monkeypatch.setattr(work, "distributed", lambda: SimpleNamespace(get_worker=lambda: worker, worker=keys))
    monkeypatch.setattr(membership, "get_worker", lambda: worker)
    found = checked([Order("decode", "vae", "0.npy", "out/0.npy")])[0]
    assert isinstance(found, Ready)
    task = Task("run", "seat", found, True)
    weights = Path("vae/diffusion_pytorch_model.safetensors")
    began: list[str] = []

    def decode(*args: Any) -> Any:
        began.append(at)
        if at == "during it":
            os.utime(weights, ns=(1, 1))
        return run(*args)

    monkeypatch.setattr(work, "run", decode)
    for at in ("before it", "during it", "never"):
        member = membership.Member(Share(1, 1 << 30, ""), sources_of([found.model]))
        monkeypatch.setitem(membership.MEMBERS, "run", member)
        if at == "before it":
            os.utime(weights, ns=(0, 0))
        row = carry_out(task)
        assert row.state == ("done" if at == "never" else "failed")
        assert Path("out/0.npy").exists() == (at == "never")
        assert at == "never" or (isinstance(row.error, ClusterError) and "has changed on tcp://a" in str(row.error))
    assert began == ["during it", "never"]


def test_a_worker_that_is_no_longer_a_member_of_any_run_keeps_no_vae(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    membership = pytest.importorskip("zvae_tiled.cluster.membership", exc_type=ImportError)
    worker: Any = type("Worker", (), {"state": SimpleNamespace(total_resources={}), "metrics": {}})()
    member = membership.Member(Share(1, 1 << 30, ""), ())
    monkeypatch.setattr(membership, "MEMBERS", {"first": member, "last": member})
    order = Order("decode", "vae", "0.npy", "out/0.npy")
    kept = held(order)
    for name in ("first", "last"):
        assert held(order) is kept
        asyncio.run(membership.Membership(name, "seat", (), Likeness((), (), ()), {}, (), 0).teardown(worker))
    assert held(order) is not kept


def test_a_preview_names_the_tiny_decoder_that_is_found_here_and_its_weights_are_compared(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed", reason="the extra zvae-tiled[cluster] is not installed")
    monkeypatch.setenv("HF_HUB_CACHE", str(place / "hub"))
    monkeypatch.setattr("zvae_tiled.jobs.preview.tiny_of", lambda _: "taesd")
    decode = Order("decode", "vae", "0.npy", "out/0.png")
    look = replace(decode, target="out/look.png", preview=True)
    wanted = [decode, look, replace(look, target="out/other.png", tiny="vae")]
    ready = [each for each in checked(wanted) if isinstance(each, Ready)]
    assert with_tiny(ready) == ready
    assert [len(each.models) for each in ready] == [1, 1, 2]
    _check_tiny(ready[1].order, load(decode))
    tiny = save_vae(place / "hub/models--madebyollin--taesd/snapshots/f00", TINY)
    named = with_tiny(ready)
    assert [each.order.tiny for each in named] == [None, str(tiny), str(place / "vae")]
    assert [len(each.models) for each in named] == [1, 2, 2]
    monkeypatch.setattr("zvae_tiled.cluster.crew.crew", lambda _, models, *options: nullcontext(models))
    monkeypatch.setattr("zvae_tiled.cluster.run.Run", lambda *given: SimpleNamespace(rows=lambda: given[:2]))
    sent: list[Any] = list(carried_out(ready, object()))
    assert sent == [sorted(named[1].models, key=repr), named]
    assert own_likeness(named[1].models).weights[1].startswith(f"{tiny} ")
    assert {source.path.parent for source in sources_of(named[1].models)} == {tiny, place / "vae"}
    _check_tiny(named[1].order, load(decode))
    with pytest.raises(ClusterError, match="does not have"):
        _check_tiny(ready[1].order, load(decode))  # a worker finds one that was not found here


def test_errors_that_cannot_be_sent_are_sent_as_their_text() -> None:
    class Odd(Exception):
        def __reduce__(self) -> str:
            raise TypeError("not me")

    mine = BudgetError("small", "more", 5)
    assert portable(mine) is mine
    sent = pickle.loads(pickle.dumps(portable(Odd("odd"))))
    assert "Odd: odd" in str(sent)
