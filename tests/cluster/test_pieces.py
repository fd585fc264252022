"""What needs no Dask: orders that were checked, shares of a machine, and addresses."""

from __future__ import annotations

import json
import logging
import os
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.cluster.places import SIZES, orders, pictures
from zvae_tiled.cluster import Overall, decode_many
from zvae_tiled.cluster.extra import hushed
from zvae_tiled.cluster.local import connected
from zvae_tiled.cluster.ready import Ready, checked, in_turn, ready
from zvae_tiled.cluster.share import Share
from zvae_tiled.errors import BudgetError, ClusterError, InputError, LatentsError, OutputError
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


@pytest.mark.parametrize("error", [ZeroDivisionError("of the caller"), MemoryError("of the caller")])
def test_an_error_of_the_callers_own_function_ends_the_run(error: Exception, place: Path) -> None:
    """As with workers. No picture failed, so none may be told as one that did."""

    def listen(overall: Overall) -> None:
        if overall.finished:
            raise error

    with pytest.raises(type(error)) as raised:
        decode_many(orders("out"), manifest="m.jsonl", progress=listen)
    assert raised.value is error
    lines = [json.loads(line) for line in Path("m.jsonl").read_text().splitlines()]
    assert [line["state"] for line in lines] == ["failed", "done"]
    assert lines[0]["source"].endswith("bad.npy")


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
