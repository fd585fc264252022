"""`Plan.digest` depends on all that is executed, and on nothing else: neither on the budget nor on predictions."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from tests.support.plans import with_sweeps
from tests.support.speeds import speeds
from zvae_tiled import Plan, plan
from zvae_tiled.devices.mlx_cpu.memory import CPU
from zvae_tiled.planner.quality import Quality, Tiles
from zvae_tiled.planner.replay import costed

SIZE = 256


def made(
    budget: str = "1GB",
    quality: str | Quality = "exact",
    vae: str = "z-image",
    size: tuple[int, int] = (SIZE, SIZE),
    batch: int = 1,
    dtype: str = "bfloat16",
    device: str = "cpu/mlx",
    task: str = "decode",
) -> Plan:
    return plan(vae, *size, budget, quality=quality, batch=batch, dtype=dtype, device=device, task=task)  # type: ignore[arg-type]


QUALITIES: list[str | Quality] = ["exact", "stream", "tiles", Tiles(128, 64), Tiles(128, 64, moments="tile")]


@pytest.mark.parametrize("quality", QUALITIES, ids=str)
@pytest.mark.sample(3)
def test_budgets_that_choose_the_same_sweeps_have_one_digest(quality: str | Quality) -> None:
    plans = [made(f"{megabytes}MB", quality) for megabytes in (340, 341, 350, 400, 1000, 2000)]
    equal = 0
    for one, other in pairwise(plans):
        same = [sweep.executed for sweep in one.sweeps] == [sweep.executed for sweep in other.sweeps]
        assert (one.digest == other.digest) == (same and one.grid == other.grid)
        assert one != other
        equal += same
    assert equal
    assert plans[-1].digest == plans[-2].digest


def test_a_tighter_budget_that_changes_the_sweeps_changes_the_digest() -> None:
    tight, roomy = (made(budget, size=(1024, 1024)) for budget in ("400MB", "4GB"))
    assert [sweep.executed for sweep in tight.sweeps] != [sweep.executed for sweep in roomy.sweeps]
    assert tight.digest != roomy.digest


def test_predictions_are_no_part_of_it() -> None:
    """Neither another device's speeds, nor the bytes of a VAE's weights or of a file's gathered rows."""
    one, streamed = made(), made(task="stream")
    faster = replace(CPU, speeds=speeds(1e15, 1e12), disk=1e12, band_rows=32)
    for other in (costed(one, faster), costed(one, CPU, weights=7), costed(streamed, CPU, gathered=1 << 30)):
        assert other.predicted_peak not in (one.predicted_peak, streamed.predicted_peak)
        assert other.digest == one.digest
    assert costed(one, faster).predicted_seconds < one.predicted_seconds
    # The task changes who holds the finished picture, and nothing that is executed.
    assert streamed.digest == one.digest


def test_everything_that_is_executed_is_part_of_it() -> None:
    one = made("200MB")
    first, *rest = one.sweeps
    stored = next(
        number for number, sweep in enumerate(one.sweeps) if sweep.medium == "ram" and sweep.ends == "moments"
    )

    def swapped(number: int, **change: object) -> Plan:
        sweeps = list(one.sweeps)
        sweeps[number] = replace(sweeps[number], **change)  # type: ignore[arg-type]
        return with_sweeps(one, sweeps)

    others = [
        one,
        with_sweeps(one, (replace(first, rows=first.rows + 1), *rest)),
        swapped(stored, medium="disk"),
        swapped(stored, store=None, medium=None),
        made("200MB", size=(SIZE, SIZE + 8)),
        made("200MB", size=(SIZE + 8, SIZE)),
        made("200MB", batch=2),
        made("400MB", dtype="float16"),
        made("400MB", dtype="float32"),
        made("400MB", device="metal"),
        made("400MB", device="cuda"),
        made("400MB", task="encode"),
        made("400MB", vae="sd1"),
        made("400MB", vae="sd3"),
        *(made("400MB", quality) for quality in QUALITIES[1:]),
        made("400MB", Tiles(128, 72)),
        made("400MB", Tiles(136, 64)),
        made("400MB", Tiles(128, 64, ramp="linear")),
        made("400MB", Tiles(128, 64, moments="proxy")),
    ]
    assert len({each.digest for each in others}) == len(others)


def test_kernels_are_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each path of the native kernels gives different bits."""
    here = made(device="cpu")
    monkeypatch.setenv("ZVAE_KERNELS", "mlx")
    alone = made(device="cpu")
    assert (here.digest == alone.digest) == (here.case.device == alone.case.device == "cpu/mlx")
