"""The tables of the native kernels: every Step at every size, shares that add up, and marks on the page."""

from __future__ import annotations

import shutil
import sys
from typing import Any

import mlx.core as mx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import kernels as command
from benchmarks import profile as module
from benchmarks import thread_time
from benchmarks.peer import started
from benchmarks.steps import HEAD, Place, line, parts, places
from tests.kernels.native import PATHS, kernels_of
from tests.support.models import narrow, random_latents, random_vae
from zvae_tiled.chain import Norm, Step
from zvae_tiled.devices.native_cpu.kernels import NativeKernels
from zvae_tiled.devices.native_cpu.library import Conv, Library
from zvae_tiled.families import config_of
from zvae_tiled.report.figures import AMPLE

CONFIG = narrow("z-image", (16, 32, 64, 64), 8)


def test_every_step_is_measured_at_every_size() -> None:
    chain = config_of("z-image").chain("decode")
    found = places(chain)
    assert len(set(found)) == len(found) < len(chain.steps)
    assert sum(place.times for place in found) == len(chain.steps)
    shapes = {
        (place.step.kind, place.step.inputs, place.step.outputs, place.step.upsample, place.width) for place in found
    }
    assert shapes == {
        (step.kind, step.inputs, step.outputs, step.upsample, 128 * factor)
        for step, factor in zip(chain.steps, chain.factors, strict=False)
    }


@given(*(st.floats(0, 1) for _ in range(3)))
def test_the_parts_of_a_step_are_found_from_halves(inputs: float, both: float, outputs: float) -> None:
    whole = inputs + both + outputs + 1e-3
    shares = parts(whole, inputs / 2 + both / 2 + outputs + 5e-4, inputs + both / 2 + outputs / 2 + 5e-4)
    assert shares == pytest.approx((inputs / whole, 1 - (inputs + outputs) / whole, outputs / whole), abs=2e-3)
    assert parts(whole, None, None) == (None, None, None)


@pytest.mark.parametrize("upsample", [False, True])
@pytest.mark.parametrize("squares", [False, True])
def test_products_are_counted_as_they_are_computed(upsample: bool, squares: bool) -> None:
    operation = Conv(rows=8, width=12, inputs=32, outputs=64, kernel=3, upsample=upsample, squares=squares)
    each = {(False, False): 9, (False, True): 36 / 16, (True, False): 16, (True, True): 25 / 4}
    assert module.flops_of(operation) == 2 * 8 * 12 * 64 * 32 * each[upsample, squares]
    operation.skip_inputs = 16
    assert module.flops_of(operation) == 2 * 8 * 12 * 64 * (32 * each[upsample, squares] + 16 * (1 + 3 * upsample))


@pytest.mark.skipif(mx.default_device().type != mx.cpu or not PATHS, reason="there are no native kernels")
def test_a_decode_s_time_is_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each second counts once, and each product that the plan predicts counts for its kind."""
    monkeypatch.setenv("ZVAE_KERNELS", "portable")
    vae, latents = random_vae(CONFIG, "float32"), random_latents(CONFIG, 4, 6)
    before = Library.call, NativeKernels.join
    with module.profiled() as profile:
        _, report = vae.decode(latents, budget=f"{AMPLE}B", return_report=True)
    assert (Library.call, NativeKernels.join) == before
    assert set(profile.seconds) == set(module.KINDS)
    assert min(profile.seconds.values()) > 0
    assert profile.total >= report.seconds > 0
    assert set(profile.flops) - {kind for kind, flops in profile.flops.items() if not flops} == {
        module.SQUARES,
        module.OTHERS,
        module.ATTENTION,
    }
    keys = 4 * 4 * 6 * 64 * 64  # the plan does not count the projections of keys and values
    assert sum(profile.flops.values()) == pytest.approx(report.plan.predicted_flops + keys, rel=0.02)


def a_second(order: dict[str, Any]) -> float:
    """A stand-in for torch."""
    assert order["rows"] == order["width"] == 32
    return 1.0


@pytest.mark.skipif(not PATHS, reason="there are no native kernels")
@pytest.mark.parametrize("channels", [48, 64])
def test_a_step_becomes_a_line(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_time, "ROUNDS", 1)
    step = Step("conv", "conv", channels, channels, norm=Norm("norm", 16), activation="silu")
    cells = dict(zip(HEAD, line(Place(step, 32, 5), kernels_of("portable", mx.float32), 1e9, a_second), strict=True))
    assert (cells["Step"], cells["map"], cells["times"]) == (f"3×3 {channels} → {channels}", "32²", "5")
    assert (cells["torch s"], cells["ratio"]) == ("1.00", f"{float(cells['s']):.2f}×")
    assert (cells["products"] == "–") == (channels == 48), "half of 48 channels is no square's"
    alone = line(Place(step, 32, 5), kernels_of("portable", mx.float32), 1e9, None)
    assert alone[-2:] == ["–", "–"]


@pytest.mark.peers
def test_torch_computes_what_it_is_ordered() -> None:
    pytest.importorskip("torch")
    orders = [
        {"kind": "conv", "inputs": 8, "outputs": 4, "kernel": 3, "shortcut": 0},
        {"kind": "conv", "inputs": 4, "outputs": 4, "kernel": 3, "shortcut": 8},
        {"kind": "attention", "inputs": 8, "outputs": 8, "kernel": 3, "shortcut": 0},
    ]
    with started(sys.executable) as peer:
        assert peer.version
        for dtype in ("float32", "bfloat16"):
            assert all(peer.seconds({**order, "rows": 8, "width": 8, "dtype": dtype}) > 0 for order in orders)


def test_an_interpreter_without_torch_is_said() -> None:
    with pytest.raises(SystemExit, match="torch's process ended"), started(shutil.which("true") or ""):
        pytest.fail("it has started")


def test_only_what_is_between_the_marks_changes() -> None:
    begin, end = command.MARKS
    page = f"before\n{begin}| old |\n{end}\nafter\n"
    assert command.filled(page, "| new |") == f"before\n{begin}\n| new |\n\n{end}\nafter\n"
    assert command.PAGE.read_text().count(begin) == command.PAGE.read_text().count(end) == 1
