"""A promise of plans: inside a budget, a row costs the same in a picture of any height."""

from __future__ import annotations

import pytest

from benchmarks.case import Z_IMAGE
from benchmarks.suites.promises import MACHINES, PICTURES, promised
from benchmarks.work import attention_flops, full_flops, memory_floor
from zvae_tiled import plan
from zvae_tiled.devices.mlx_cpu.memory import CPU


@pytest.mark.parametrize("device", ["cpu/mlx", "metal"])
@pytest.mark.parametrize(("width", "budget"), [(1024, "450MB"), (4096, "2GB")])
@pytest.mark.sample(3)
def test_a_pixel_costs_the_same_at_any_height(width: int, budget: str, device: str) -> None:
    costs = []
    for height in (4096, 8192, 16384, 32768, 65536):
        made = plan("z-image", height, width, budget, device=device, task="stream")
        assert made.predicted_peak <= made.budget
        # In the middle block every pixel attends to every other: this part grows with the picture in any exact decode.
        asked = attention_flops(Z_IMAGE, height // 8, width // 8)
        costs.append((made.predicted_flops - asked) / (height * width))
    # A low picture leaves room in the budget to keep more maps, and to drop some rather than spill them. Once every map
    # is spilled, the cost stays the same.
    assert max(costs) <= 1.1 * min(costs), costs
    assert costs[-1] == pytest.approx(costs[-2], rel=1e-3)


def test_a_plain_decode_costs_what_is_known_of_it() -> None:
    side = 128
    flops = full_flops(Z_IMAGE, side, side) - attention_flops(Z_IMAGE, side, side)
    assert flops / (8 * side) ** 2 == pytest.approx(9.4e6, rel=0.02)


def test_no_plan_is_below_the_floor() -> None:
    for pixels in (64, 256, 1024, 4096):
        for dtype in ("bfloat16", "float32"):
            made = plan("z-image", pixels, pixels, "100GB", dtype=dtype, device="cpu/mlx", task="stream")
            assert memory_floor(Z_IMAGE, pixels // 8, dtype) < made.predicted_peak


@pytest.mark.slow
def test_larger_machines_do_no_more_work() -> None:
    for pixels in PICTURES[::2]:
        found = [promised(pixels, gigabytes, CPU) for gigabytes in MACHINES]
        known = [made for made in found if made is not None]
        assert found[len(found) - len(known) :] == known, "what fits a machine fits a larger one"
        seconds = [made.predicted_seconds for made in known]
        assert seconds == sorted(seconds, reverse=True)
