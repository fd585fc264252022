"""What needs no Dask: manifests, shares of a machine, comparisons of workers, and orders that were checked."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pickle
import sys
import warnings
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from importlib import import_module
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.cluster.places import SIZES, orders, pictures
from tests.support.running import save_vae
from zvae_tiled.cli.batch import Batch
from zvae_tiled.cli.machines import manifest_path
from zvae_tiled.cluster import Overall, Row, decode_many
from zvae_tiled.cluster.extra import hushed
from zvae_tiled.cluster.likeness import Likeness, check_alike, likeness, own_likeness, versions
from zvae_tiled.cluster.local import connected
from zvae_tiled.cluster.manifest import manifest
from zvae_tiled.cluster.many import carried_out
from zvae_tiled.cluster.ready import Ready, checked, in_turn, ready, sources_of, with_tiny
from zvae_tiled.cluster.share import Share
from zvae_tiled.cluster.work import Task, _check_tiny, _exclusive, _written, carry_out, fresh, held, portable
from zvae_tiled.errors import BudgetError, ClusterError, InputError, LatentsError, OutputError
from zvae_tiled.families.tiny import TinyConfig
from zvae_tiled.jobs.orders import load, written
from zvae_tiled.order import Order, run
from zvae_tiled.planner.budget import Available, parse_budget
from zvae_tiled.wording import size


def test_without_workers_the_orders_are_carried_out_here_one_after_another(place: Path) -> None:
    told: list[Overall] = []
    rows = decode_many(orders("out"), manifest="m.jsonl", progress=told.append)
    assert [row.state for row in rows] == ["done", "done", "failed", "done", "done", "done", "done"]
    assert isinstance(rows[2].error, LatentsError)
    done = pictures("out")
    Path("one").mkdir()
    for order in orders("one"):
        if order.source != "bad.npy":
            run(order)
    assert done == pictures("one")
    assert told[-1] == replace(told[-1], done=1.0, finished=6, count=6, workers=1)
    assert sorted(each.done for each in told) == [each.done for each in told]
    lines = [json.loads(line) for line in Path("m.jsonl").read_text().splitlines()]
    assert sorted(line["state"] for line in lines) == ["done"] * 6 + ["failed"]
    assert {Path(line["source"]).name for line in lines} == {order.source for order in orders("out")}
    assert all(line["report"]["plan"] for line in lines if line["state"] == "done")


def test_orders_that_clash_are_refused_before_any_work(place: Path) -> None:
    one = orders("out")[0]
    read, other = replace(one, source="1.npy"), replace(one, source="1.npy", target="0.npy")
    for clashing in (read, other, replace(one, target="vae/diffusion_pytorch_model.safetensors")):
        with pytest.raises(OutputError):
            decode_many([one, clashing])
    with pytest.raises(OutputError, match="work folder of 2 orders"):
        decode_many([replace(each, work=work) for each, work in zip(orders("out")[:2], ("w", "./w"), strict=True)])
    with pytest.raises(InputError, match="number 1 is 'no order'"):
        decode_many([one, "no order"])  # type: ignore[list-item]
    assert not pictures("out")


@pytest.mark.parametrize("name", ["0.npy", "out/0.png", "vae/diffusion_pytorch_model.safetensors"])
def test_a_manifest_that_would_be_added_to_a_file_of_an_order_is_refused(name: str, place: Path) -> None:
    before = Path(name).read_bytes() if Path(name).exists() else None
    with pytest.raises(OutputError):
        decode_many(orders("out")[:1], manifest=name)
    assert (Path(name).read_bytes() if Path(name).exists() else None) == before


def test_a_vae_whose_file_was_replaced_is_loaded_again_and_none_is_kept(place: Path) -> None:
    order = replace(orders("out")[0], target="out/a.npy")
    one = held(order)
    assert held(order) is one
    save_vae(Path("vae"))
    again = held(order)
    assert again is not one
    assert [row.state for row in decode_many([order])] == ["done"]
    assert held(order) is not again


def test_orders_of_a_vae_and_of_a_size_follow_one_another_and_large_ones_come_first(place: Path) -> None:
    found = [each for each in checked(orders("out")) if isinstance(each, Ready)]
    turn = in_turn(found)
    assert sorted(turn, key=lambda each: each.number) == found
    kinds = [(each.model, each.order.task) for each in turn]
    assert all(kinds.index(kind) + kinds.count(kind) > at for at, kind in enumerate(kinds))
    of_one = [each for each in turn if kinds[turn.index(each)] == (found[0].model, "decode")]
    assert [each.pixels for each in of_one] == sorted((4 * height * width for height, width in SIZES), reverse=True)
    assert all(Path(each.order.source).is_absolute() and Path(each.order.vae).is_absolute() for each in turn)


@pytest.mark.parametrize(("config", "moved"), [("z-image", False), ("config.json", True)])
def test_a_presets_name_is_no_path_where_a_folder_has_it(
    config: str, moved: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / config).mkdir()
    monkeypatch.chdir(tmp_path)
    placed = ready(0, Order("decode", "vae", "a.npy", "a.png", config=config), (1, 8, 8, 3), []).order.config
    assert placed == (os.path.abspath(config) if moved else config)


def test_a_manifest_goes_on_behind_a_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"state": "done"}\n{"sta')
    with manifest(path) as lines:
        lines.add(Row("a", ("b",), "failed", BudgetError("too small", "more", 7), "here", 0.5))
    first, cut, last, end = path.read_text().split("\n")
    assert (json.loads(first), cut, end) == ({"state": "done"}, '{"sta', "")
    assert json.loads(last)["error"] == {"type": "BudgetError", "problem": "too small"}
    with pytest.raises(OutputError), manifest(tmp_path):
        pass


@pytest.mark.parametrize(
    ("first", "second", "folder"),
    [("/data/png/{}.png", "/scratch/npy/{}.npy", "/data/png"), ("/data/{}/a.png", "/data/{}/b.png", "/data")],
)
def test_the_manifest_is_beside_the_first_files_of_each_input(first: str, second: str, folder: str) -> None:
    paths: dict[str, tuple[Path, ...]] = {name: (Path(first.format(name)), Path(second.format(name))) for name in "ab"}
    found = {name: ((1, 8, 8, 3), both) for name, both in paths.items()}
    batch = Batch({}, list(chain(*paths.values())), found, {}, True)
    assert manifest_path(batch) == Path(folder, "zvae-manifest.jsonl")


def test_two_commands_may_begin_one_manifest_and_one_of_them_end_with_nothing_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with ExitStack() as idle:
        idle.enter_context(manifest(Path("m.jsonl")))
        with manifest(Path("m.jsonl")) as lines, manifest(Path("m.jsonl")) as others:
            idle.close()
            lines.add(Row("a", ("b",), "done"))
            monkeypatch.chdir("/")
            others.add(Row("c", ("d",), "done"))
            lines.add(Row("e", ("f",), "done"))
    rows = [json.loads(line)["source"] for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert rows == ["a", "c", "e"]


def test_a_manifest_on_a_full_disk_is_said_in_our_words() -> None:
    with pytest.raises(OutputError, match="No space left"), manifest(Path("/dev/full")) as lines:
        lines.add(Row("a", ("b",), "done", None, "here", 0.5))


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_of_a_machine_share_its_memory_and_its_cores(workers: int) -> None:
    share = Share(workers, 3_000_000_000, "")
    order = Order("decode", "vae", "a.npy", "a.png")
    for budget, whole in ((None, int(3e9 * 0.7)), ("60%", 1_800_000_000), ("1.5GB", 1_500_000_000)):
        assert share.limited(replace(order, budget=budget)).budget == f"{whole // workers}B"
    assert share.limited(replace(order, plan="{}")).budget is None
    assert [share.threads(cores) for cores in (1, 2, 8)] == ([1, 2, 8] if workers == 1 else [1, 1, 2])
    part = parse_budget(f"{share.limited(replace(order, budget='15MB')).budget}", Available(0))
    told = share.told(
        BudgetError(f"it needs 20 MB, the budget is {size(part.size)} ({part.source})", "more", 1_000_000)
    )
    assert told.needed == workers * 1_000_000
    if workers > 1:
        assert told.problem.startswith("it needs 20 MB, a worker's part of the budget is 5 MB\n3 workers")
    of_disk = BudgetError("it needs 20 MB on disk, the limit is 5 MB", "Raise disk_limit=.")
    assert share.told(of_disk) is of_disk  # workers share no disk limit


TINY = TinyConfig(latent_channels=4, encoder_block_out_channels=(4,) * 4, decoder_block_out_channels=(4,) * 4)

LIKE = Likeness(("zvae_tiled 1", "mlx 2"), ("cpu/avx2", "sha256 1"), ("vae 5",))
OWN = Likeness(("zvae_tiled 1", "mlx 3"), (), ("vae 5",))


@pytest.mark.parametrize(
    ("other", "name", "advice"),
    [
        ({"versions": ("zvae_tiled 1", "mlx 1")}, "versions", "allow versions (allow=)"),
        ({"kernels": ("cpu/avx512", "sha256 1")}, "kernels", "ZVAE_KERNELS"),
        ({"kernels": ("cpu/avx2", "sha256 2")}, "kernels", "allow kernels (allow=)"),
        ({"weights": ("vae 6",)}, "weights", "same files"),
    ],
)
def test_workers_that_differ_are_refused_or_allowed_by_name(
    other: dict[str, tuple[str, ...]], name: str, advice: str
) -> None:
    workers = {"tcp://a": LIKE, "tcp://b": replace(LIKE, **other)}
    with pytest.raises(ClusterError, match=name) as refused:
        check_alike(OWN, workers, [each for each in ("versions", "kernels") if each != name])
    assert "tcp://b" in refused.value.problem
    assert advice in refused.value.advice
    if name == "weights":
        with pytest.raises(ClusterError):
            check_alike(OWN, workers, ["versions", "kernels"])
    else:
        assert check_alike(OWN, workers, [name]) == LIKE


def test_a_client_of_another_version_or_with_other_weights_is_refused() -> None:
    for own in (replace(OWN, versions=("zvae_tiled 2", "mlx 2")), replace(OWN, weights=("vae 6",))):
        with pytest.raises(ClusterError, match="here"):
            check_alike(own, {"tcp://a": LIKE}, ["versions", "kernels"])


def test_versions_are_those_of_all_that_decides_the_bytes_of_files(monkeypatch: pytest.MonkeyPatch) -> None:
    before = versions()
    assert before[0].startswith("zvae_tiled ")
    assert [each.split()[0] for each in before[1:3]] == ["mlx", "numpy"]
    monkeypatch.setattr("PIL.__version__", "99")
    monkeypatch.setattr("PIL.features.version", "99 of {}".format)
    monkeypatch.setattr("zlib.ZLIB_RUNTIME_VERSION", "99")
    others = ["zlib 99", "Pillow 99", *(f"{name} 99 of {name}" for name in ("jpg", "libjpeg_turbo", "webp"))]
    assert sorted(set(versions()) - set(before)) == sorted(others)
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert versions()[3:] == ("zlib 99", "Pillow none")


@pytest.mark.slow
def test_the_likeness_of_a_process_knows_its_weights_and_its_kernels(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zvae_tiled.cluster import likeness as module

    models = [("vae", None, "float32")]
    one = likeness(models)
    assert likeness(models) == one
    module._kernels.cache_clear()
    monkeypatch.setenv("ZVAE_KERNELS", "mlx")  # every machine has it
    assert likeness(models).kernels[0] != one.kernels[0]
    module._kernels.cache_clear()
    weights = Path("vae/diffusion_pytorch_model.safetensors")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert likeness(models).weights != one.weights


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
    worker: Any = type("Worker", (), {"state": SimpleNamespace(total_resources={})})()
    member = membership.Member(Share(1, 1 << 30, ""), ())
    monkeypatch.setattr(membership, "MEMBERS", {"first": member, "last": member})
    order = Order("decode", "vae", "0.npy", "out/0.npy")
    kept = held(order)
    for name in ("first", "last"):
        assert held(order) is kept
        asyncio.run(membership.Membership(name, "seat", (), LIKE, {}, ()).teardown(worker))
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
    monkeypatch.setattr("zvae_tiled.cluster.crew.crew", lambda _, models, allow: nullcontext(models))
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


def test_a_picture_to_encode_is_refused_before_any_work(place: Path) -> None:
    np.save("wide.npy", np.zeros((12, 21, 3), np.float32))
    wide = Order("encode", "vae", "wide.npy", "out/wide.npz")
    refused, cropped = checked([wide, replace(wide, crop=True, target="out/c.npz")])
    assert isinstance(refused, Exception)
    assert isinstance(cropped, Ready)
    assert cropped.shape == (1, 12, 20, 3)


@pytest.mark.parametrize("address", ["localhost", "tcp://localhost", "missing.json"])
def test_what_is_no_address_is_refused_before_dask_is_asked(address: str) -> None:
    with pytest.raises(ClusterError, match=f"{address} is no address of a scheduler"), connected(address):
        pass


def test_dask_speaks_again_when_the_last_of_several_blocks_has_ended() -> None:
    pytest.importorskip("distributed", reason="the extra zvae-tiled[cluster] is not installed")
    logger, (first, second) = logging.getLogger("distributed.worker"), (hushed(), hushed())
    assert not logger.disabled
    first.__enter__()
    second.__enter__()
    with warnings.catch_warnings(record=True) as told:
        warnings.resetwarnings()  # as a test does, or a caller
        with hushed():
            warnings.warn_explicit("of Dask's", UserWarning, "client.py", 1, "distributed")
    assert not told
    first.__exit__(None, None, None)
    assert logger.disabled
    second.__exit__(None, None, None)
    assert not logger.disabled
