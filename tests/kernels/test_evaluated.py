"""What an array was computed from is free when `now` returns."""

from __future__ import annotations

from types import SimpleNamespace

import mlx.core as mx
import pytest

from zvae_tiled.devices.evaluated import evaluate, now


@pytest.mark.parametrize(("kind", "waits"), [(mx.cpu, []), (mx.gpu, ["what led to it is free"])])
def test_a_gpu_frees_what_led_to_an_array_before_the_next_operation(
    kind: mx.DeviceType, waits: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLX's own thread frees it, when `mx.eval` has returned; tests/gpu measures it."""
    x, y = mx.ones(3) + 1, {"y": mx.ones(2)}
    happened: list[str] = []
    monkeypatch.setattr(mx, "default_device", lambda: SimpleNamespace(type=kind))
    monkeypatch.setattr(mx, "eval", lambda *_: happened.append("evaluated"))
    monkeypatch.setattr(mx, "synchronize", lambda: happened.append("what led to it is free"))
    assert now(x) is x
    evaluate(y, [x])
    assert happened == 2 * ["evaluated", *waits]
