"""What kernels answer to scattered queries, with gains, and whose shares they find: against float64."""

from __future__ import annotations

from itertools import count
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels.cases import NORM, PIXELS, normal64, random, random_affine, weights_of, wide
from tests.kernels.native import CASES, ROUNDED, kernels_of
from tests.support.samples import examples
from zvae_tiled.chain import Skip, Step
from zvae_tiled.devices.kernels import Kernels
from zvae_tiled.devices.mlx_cpu.kernels import RowKernels
from zvae_tiled.devices.mlx_gpu.kernels import StripKernels
from zvae_tiled.devices.native_cpu.library import Attend, Library
from zvae_tiled.devices.probes import Probes
from zvae_tiled.engine.guard import Guard
from zvae_tiled.errors import SilentFailureError

MLX = [(name, dtype) for name in ("row", "strip") for dtype in (mx.float32, mx.bfloat16)]


def kernels_named(name: str, dtype: mx.Dtype) -> Kernels[Any]:
    if name in ("row", "strip"):
        return RowKernels(dtype) if name == "row" else StripKernels(dtype)
    return kernels_of(name, dtype)


@given(
    st.sampled_from([*MLX, *CASES]),
    st.integers(1, 4),
    st.sampled_from([1, 5, 40]),
    st.sampled_from([8, 33, 64]),
    st.integers(0, 1 << 32),
)
@examples(50)
def test_answers_sums_and_shares_are_those_of_float64(
    case: tuple[str, mx.Dtype], height: int, width: int, count: int, seed: int
) -> None:
    name, dtype = case
    rng, norm = np.random.default_rng(seed), PIXELS if seed % 2 else NORM
    step = Step("attention", "attention", count, count, kernel=1, norm=norm, opens=True, closes=Skip(count))
    kernels, weights = kernels_named(name, dtype), weights_of(step, dtype, rng)
    weights = {key: (array * count**-0.5).astype(dtype) for key, array in weights.items()}
    x, affine = random((1, height, width, count), dtype, rng), random_affine(step, kernels, rng)
    assert affine is not None
    prepared = kernels.prepare(step, weights)
    keys = kernels.keys(step, prepared, x, affine)
    blocks, gains = [keys[:, row : row + 1] for row in range(height)], rng.uniform(0, 5, height).tolist()
    asked = kernels.asked(step, prepared, x, affine, iter(blocks), iter(gains))
    w = {key: wide(array) for key, array in weights.items()}
    k, v = np.split(wide(keys).reshape(-1, 2 * count), 2, axis=1)
    query = (normal64(step, wide(x), affine).reshape(-1, count) @ w["to_q.weight"].T + w["to_q.bias"]) * count**-0.5
    s = query @ k.T + np.repeat(gains, width)
    top = s.max(axis=1, keepdims=True)
    p = np.exp(s - top)
    total = p.sum(axis=1, keepdims=True)
    exact = p @ v / total @ w["to_out.0.weight"].T + w["to_out.0.bias"]
    rough = name in ROUNDED or (name == "strip" and dtype == mx.bfloat16)
    unit = 2.0**-8 if rough else 2.0**-18
    slack = unit * (1 + abs(s).max()) * (4 + abs(v).max()) * (4 + count**0.5)
    assert abs(asked.answers - exact).max() <= slack
    assert abs(asked.logs - (top + np.log(total))[:, 0]).max() <= unit * 4 * (1 + abs(s).max())
    assert abs(asked.queries - query).max() <= unit * 8 * (1 + abs(query).max())
    plain = kernels.asked(step, prepared, x, affine, iter(blocks))
    chosen = np.arange(height * width) % 2 == 0
    weigh = kernels.weigher(Probes.among(plain, chosen))
    shares = np.concatenate([weigh(block) for block in blocks])
    scores = query @ k.T
    weight = np.exp(scores - scores.max(axis=1, keepdims=True))
    exact_shares = (weight / weight.sum(axis=1, keepdims=True))[chosen].max(axis=0)
    assert abs(np.log(shares) - np.log(exact_shares)).max() <= unit * 8 * (1 + abs(s).max())


@pytest.mark.parametrize(("name", "dtype"), [*MLX, *CASES])
def test_picked_pixels_are_copies_in_the_order_asked_for(name: str, dtype: mx.Dtype) -> None:
    kernels, x = kernels_named(name, dtype), random((1, 3, 5, 7), dtype, np.random.default_rng(0))
    pixels = np.array([14, 0, 3, 3, 9, 1])
    picked = kernels.pick(x, pixels, 2)
    assert (wide(picked) == wide(x).reshape(15, 7)[pixels].reshape(1, 3, 2, 7)).all()


@pytest.mark.parametrize(("name", "dtype"), [*MLX, *CASES])
def test_keys_are_weighed_in_pieces_and_what_is_not_finite_stays_so(name: str, dtype: mx.Dtype) -> None:
    kernels, rng, count, keys = kernels_named(name, dtype), np.random.default_rng(1), 24, 1100
    block = random((1, 2, keys // 2, 2 * count), dtype, rng)
    probes = Probes(rng.standard_normal((70, count), np.float32), rng.standard_normal(70, np.float32))
    logs = np.log(kernels.weigher(probes)(block))
    scores = probes.queries.astype(np.float64) @ wide(block).reshape(keys, 2 * count)[:, :count].T
    exact = (scores - probes.logs[:, None]).max(axis=0)
    unit = 2.0**-8 if name in ROUNDED or (name == "strip" and dtype == mx.bfloat16) else 2.0**-18
    assert abs(logs - exact).max() <= unit * 8 * (1 + abs(scores).max())
    spoiled = kernels.weigher(Probes(probes.queries, np.where(np.arange(70) == 3, np.nan, probes.logs)))(block)
    assert np.isnan(spoiled).all()


@pytest.mark.parametrize("lost", [[True, False], [False, True], [False, False], [True, True]])
def test_what_memory_lost_is_weighed_again_or_refused(lost: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each list tells what is lost at first: the probes as they are prepared, and the scores of a block."""
    kernels, rng = kernels_named("row", mx.float32), np.random.default_rng(2)
    probes, block = (
        Probes(rng.random((5, 8), np.float32), np.zeros(5, np.float32)),
        random((1, 2, 3, 16), mx.float32, rng),
    )
    guard = Guard(kernels, Step("attention", "attention", 8, 8, kernel=1), lambda: None)
    right = kernels.weigher(probes)(block)
    told = [answer for each in lost for answer in ([False, True] if each else [True])]
    monkeypatch.setattr(kernels, "intact", lambda: told.pop(0))
    assert (guard.weigher(probes)(block) == right).all()
    assert not told
    told = [True, False, False]
    weigh = guard.weigher(probes)
    with pytest.raises(SilentFailureError, match="memory did not keep"):
        weigh(block)


@pytest.mark.skipif(not CASES, reason="built without the native kernels")
@pytest.mark.parametrize("lost", range(5))
def test_an_answer_that_memory_lost_is_refused_also_where_keys_are_made_meanwhile(
    lost: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keys of the next block are made between two calls of the attention, and are checked, too."""
    name, dtype = next(case for case in CASES if case[1] == mx.float32)
    step, rng = (
        Step("attention", "attention", 8, 8, kernel=1, norm=NORM, opens=True, closes=Skip(8)),
        np.random.default_rng(3),
    )
    kernels = kernels_of(name, dtype)
    prepared, x = kernels.prepare(step, weights_of(step, dtype, rng)), random((1, 4, 6, 8), dtype, rng)
    guard, affine, calls = Guard(kernels, step, lambda: prepared), random_affine(step, kernels, rng), count()
    assert affine is not None
    blocks = (guard.keys(kernels.join([(x, row, row + 1)]), affine) for row in range(4))
    called = Library.call

    def call(library: Library, path: Any, operation: Any) -> None:
        if not (isinstance(operation, Attend) and next(calls) == lost):
            called(library, path, operation)

    monkeypatch.setattr(Library, "call", call)
    if lost == 4:  # there is no such call
        guard.asked(x, affine, blocks)
        assert next(calls) == 4
        return
    with pytest.raises(SilentFailureError, match="memory did not keep"):
        guard.asked(x, affine, blocks)
