"""The process is as it was before: after success, errors, Ctrl-C at any moment, and streams that are left early."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from itertools import groupby, islice, zip_longest
from pathlib import Path
from random import Random
from threading import Barrier, get_ident
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from tests.support.leftovers import Calls, nothing_left, spilled_files, state
from tests.support.models import random_latents, random_vae
from tests.support.plans import bits, plan_for, with_rows
from tests.support.samples import examples
from zvae_tiled import Plan
from zvae_tiled.devices.heap import Ceiling
from zvae_tiled.devices.here import kernels_for, this_device
from zvae_tiled.devices.mlx_cpu import kernels as mlx_rows
from zvae_tiled.errors import SilentFailureError
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.jobs.limits import CACHE, limits
from zvae_tiled.planner.case import Output
from zvae_tiled.planner.replay import costed
from zvae_tiled.report.progress import Progress

CONFIG = AutoencoderKLConfig(block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=2)
VAE, LATENTS = random_vae(CONFIG), random_latents(CONFIG, 8, 6, batch=2)
PLANS = [plan_for(VAE, LATENTS.shape, Random(seed)) for seed in range(4)]
WANT = bits(VAE.decode(LATENTS, plan=PLANS[0]))
OPERATIONS = ["prepare", "activate", "conv", "join", "write", "read", "keys", "attend", "moments", "affine"]
LIMIT = 123 << 20
KERNELS = type(kernels_for(this_device(VAE.dtype), VAE.dtype))
"""The kernels that compute here."""


def streamed(latents: Any, path: Path, **options: Any) -> None:
    for rows in VAE.stream(latents, **options):
        assert rows.shape[0] == 1


def to_array(latents: Any, path: Path, **options: Any) -> None:
    VAE.decode(latents, **options)


WAYS: list[Callable[..., Any]] = [to_array, streamed, VAE.decode_to_file]


@pytest.fixture(autouse=True)
def own_limit() -> Any:
    """A cache limit that no decode would set."""
    before = mx.set_cache_limit(LIMIT)
    yield
    assert mx.set_cache_limit(before) == LIMIT


def interrupted(way: Callable[..., Any], folder: Path, **options: Any) -> bool:
    """Decode, and return whether Ctrl-C came. The exception's frames, which hold memory, are gone on return."""
    try:
        way(LATENTS, folder / "picture.npy", spill_folder=folder, **options)
    except KeyboardInterrupt:
        return True
    return False


def counting_operations(patch: pytest.MonkeyPatch, calls: Calls) -> None:
    for name in OPERATIONS:
        patch.setattr(KERNELS, name, calls(getattr(KERNELS, name)))


@cache
def operations(plan: Plan) -> int:
    """Return the number of calls of the kernels in a decode."""
    with pytest.MonkeyPatch.context() as patch:
        counting_operations(patch, calls := Calls())
        VAE.decode(LATENTS, plan=plan)
    return calls.count


@pytest.mark.parametrize("way", WAYS)
@examples(12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=st.sampled_from(PLANS), between=st.booleans(), moment=st.floats(0, 0.999))
def test_ctrl_c_at_any_moment_leaves_nothing(
    way: Any, plan: Plan, between: bool, moment: float, tmp_path: Path
) -> None:
    for i in range(2):
        (tmp_path / f"picture-{i}.npy").write_bytes(b"what was there before")
    with nothing_left(tmp_path), pytest.MonkeyPatch.context() as patch:
        if between:  # in the progress callback, which is called after each band
            listener = Calls(int(moment * 80))(lambda progress: None)
            assert interrupted(way, tmp_path, plan=plan, progress=listener)
        else:
            counting_operations(patch, Calls(int(moment * operations(plan))))
            assert interrupted(way, tmp_path, plan=plan)


@pytest.mark.usefixtures("mlx_kernels")
def test_an_error_of_the_device_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    convolved = mlx_rows._convolved
    monkeypatch.setattr(mlx_rows, "_convolved", lambda *args: mx.zeros_like(convolved(*args)))
    for way in WAYS:
        with nothing_left(tmp_path):
            try:
                way(LATENTS, tmp_path / "picture.png", plan=PLANS[0], spill_folder=tmp_path)
                pytest.fail("zeros should have been refused")
            except SilentFailureError:
                pass


@pytest.mark.parametrize("close", [True, False])
@pytest.mark.parametrize("pulled", [0, 1, 5, pytest.param(40, marks=pytest.mark.slow)])
@pytest.mark.sample(3)
def test_a_stream_that_is_left_early_frees_memory_and_disk(pulled: int, close: bool, tmp_path: Path) -> None:
    plan = with_rows(plan_for(VAE, LATENTS.shape, Random(0), ("disk",)), 1)
    with nothing_left(tmp_path):
        rows = VAE.stream(LATENTS, plan=plan, spill_folder=tmp_path)
        for _ in map(mx.eval, islice(rows, pulled)):  # no variable keeps the rows alive
            assert spilled_files(tmp_path) or sys.platform != "linux"
        if close:
            rows.close()  # type: ignore[attr-defined]
            assert next(rows, None) is None
        del rows


def test_the_cache_limit_is_the_plans_while_it_computes_and_the_callers_else() -> None:
    seen: set[int] = set()
    for _ in VAE.stream(LATENTS, plan=PLANS[0], progress=lambda progress: seen.add(state()[2])):
        assert state()[2] == LIMIT
    assert seen == {0}, "no prediction for a CPU counts a cache"
    VAE.decode(LATENTS, plan=PLANS[0], progress=lambda progress: seen.add(state()[2]))
    assert seen == {0}
    assert state()[2] == LIMIT
    for spare, want in ((1000, 1000), (0, 0), (1 << 40, CACHE)):
        plan = with_room(PLANS[0], "array", spare)
        with limits(replace(plan, case=replace(plan.case, device="metal")), Ceiling(1 << 30)):
            assert state()[2] == want
        assert state()[2] == LIMIT


def with_room(plan: Plan, output: Output, spare: int) -> Plan:
    """The plan with a budget of its predicted peak here plus `spare` bytes."""
    plan = costed(replace(plan, case=replace(plan.case, output=output)), this_device(VAE.dtype), VAE.weight_bytes)
    return replace(plan, budget=plan.predicted_peak + spare)


def test_one_after_the_other() -> None:
    assert [bits(VAE.decode(LATENTS, plan=plan)) for plan in PLANS] == [WANT] * 4


def test_two_threads_at_once() -> None:
    meeting = Barrier(2)

    turns: list[int] = []

    def decoded(plan: Plan) -> list[bytes]:
        meeting.wait()
        pixels = bits(VAE.decode(LATENTS, plan=plan, progress=lambda progress: turns.append(get_ident())))
        return [pixels, bits(mx.concatenate(list(VAE.stream(LATENTS, plan=plan)), axis=1))]

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(decoded, PLANS[:2])) == [[WANT] * 2] * 2
    assert len(list(groupby(turns))) == 2  # one waits for the other: both at once would need both budgets


def test_a_stream_goes_on_in_another_thread() -> None:
    rows = VAE.stream(LATENTS, plan=PLANS[0])
    first = next(rows)
    with ThreadPoolExecutor(1) as thread:
        others = thread.submit(list, rows).result()
    assert bits(mx.concatenate([first, *others], axis=1)) == WANT


def test_a_decode_inside_the_progress_of_another() -> None:
    inner: list[bytes] = []

    def decode_too(progress: Progress) -> None:
        if progress.sweep % 10 == 1 and not inner:
            inner.append(bits(VAE.decode(LATENTS, plan=PLANS[1])))

    assert bits(VAE.decode(LATENTS, plan=PLANS[0], progress=decode_too)) == WANT
    assert inner == [WANT]


def test_a_decode_and_a_second_stream_between_the_rows_of_one() -> None:
    rows, second = VAE.stream(LATENTS, plan=with_rows(PLANS[0], 1)), VAE.stream(LATENTS, plan=PLANS[1])
    found, other = [next(rows)], [next(second)]
    assert bits(VAE.decode(LATENTS, plan=PLANS[2])) == WANT
    for row, its in zip_longest(rows, second):
        found += [row] if row is not None else []
        other += [its] if its is not None else []
    assert bits(mx.concatenate(found, axis=1)) == bits(mx.concatenate(other, axis=1)) == WANT


def test_latents_and_weights_are_not_touched() -> None:
    latents, weights = LATENTS.copy(), {name: bits(array) for name, array in VAE.weights.items()}
    VAE.decode(latents, plan=PLANS[3])
    assert np.array_equal(latents, LATENTS)
    assert {name: bits(array) for name, array in VAE.weights.items()} == weights
