"""Faults of the device, put into one call of a decode or an encode, and what became of the picture.

A fault in the native library is put into `Library.call`, a fault in MLX into a method of the kernels. It is put into
one call, or into that call and every later call of the same kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Literal
from unittest.mock import patch

import mlx.core as mx
import numpy as np

from tests.engine.damage import DAMAGE, LOSSES, damage, results
from tests.support.models import random_images, random_latents, random_vae
from tests.support.plans import bits, plan_for
from zvae_tiled.devices.native_cpu.library import Attend, Conv, Library, Moments, Pack
from zvae_tiled.engine import run as engine_run
from zvae_tiled.engine import sampled as engine_sampled
from zvae_tiled.engine.spill_file import SpillFile
from zvae_tiled.errors import SilentFailureError
from zvae_tiled.families import Task
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.jobs.job import norms
from zvae_tiled.planner.sampled import Sampled
from zvae_tiled.weights.vae import dtype_name

CONFIG = AutoencoderKLConfig(block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=2, latent_channels=3)
ROWS: dict[Task, int] = {"decode": 3, "encode": 8}
"""Rows of a band."""

Outcome = Literal["refused", "mended", "harmless", "silent"]
"""``mended``: the right bits, after computing again. ``harmless``: the right bits at once. ``silent``: wrong bits."""

SIZES = {Conv: "rows", Moments: "rows", Attend: "queries"}
"""The field that holds the amount of work of a call."""

NATIVE: dict[Any, tuple[str, ...]] = {
    Pack: ("does nothing", *DAMAGE),
    Conv: ("does nothing", "does half", *DAMAGE, "another bias"),
    Attend: ("does nothing", "does half", *DAMAGE),
    Moments: ("does nothing", "does half", *DAMAGE, *LOSSES),
}
"""The calls of the native library, and the faults of each."""

MLX: dict[Any, tuple[str, ...]] = {
    **dict.fromkeys(("prepare", "activate", "conv", "keys", "attend"), tuple(DAMAGE)),
    "moments": (*DAMAGE, *LOSSES),
}
"""The kernels' methods that the engine calls, and the faults of each."""

KEPT = "lost while it was kept"
"""A stored map that is zeros when it is read again. Only this fault is put into methods of native kernels too."""


class Strike:
    """A fault in `times` calls of the kind `target`, starting with call `number`."""

    def __init__(self, kernels: Any, target: Any, number: int, fault: str, times: float) -> None:
        self.calls: Counter[Any] = Counter()
        self.struck = 0
        self._kernels, self._target, self._number, self._fault, self._times = kernels, target, number, fault, times

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Put the fault into calls made inside this context."""
        with ExitStack() as stack:
            stack.enter_context(patch.object(Library, "call", self._library_call(Library.call)))
            for method in MLX:
                watched = self._method(method, getattr(self._kernels, method))
                stack.enter_context(patch.object(self._kernels, method, watched))
            yield

    def _hits(self, target: Any) -> bool:
        self.calls[target] += 1
        hit = target == self._target and self.calls[target] > self._number and self.struck < self._times
        self.struck += hit
        return hit

    def _library_call(self, healthy: Callable[..., None]) -> Callable[..., None]:
        def call(library: Library, path: str, operation: Any) -> None:
            if not self._hits(type(operation)):
                healthy(library, path, operation)
            elif self._fault in ("does half", "another bias"):
                with _changed(operation, self._fault):
                    healthy(library, path, operation)
            elif self._fault != "does nothing":
                healthy(library, path, operation)
                damage(self._fault, results(library.built[path], operation))

        return call

    def _method(self, method: str, healthy: Callable[..., Any]) -> Callable[..., Any]:
        def computed(*arguments: Any) -> Any:
            if not self._hits(method):
                return healthy(*arguments)
            if self._fault != KEPT:
                return _damaged(healthy(*arguments), self._fault)
            kept = arguments[1]
            (kept if isinstance(kept, np.ndarray) else np.asarray(kept.view(mx.uint16)))[...] = 0
            return healthy(*arguments)

        return computed


@contextmanager
def _changed(operation: Any, fault: str) -> Iterator[None]:
    """Change one field of a call while this context is open."""
    zeros = np.zeros(1 << 10, np.float32)
    field = SIZES[type(operation)] if fault == "does half" else "bias"
    before = getattr(operation, field)
    setattr(operation, field, before // 2 if fault == "does half" else zeros.ctypes.data)
    yield
    setattr(operation, field, before)


def _damaged(found: Any, fault: str) -> Any:
    """Return MLX's result with the damage of a failing device."""
    if isinstance(found, tuple):  # moments
        arrays = [np.array(array, np.float64) for array in found]
        damage(fault, arrays)
        return tuple(arrays)
    if isinstance(found, list):  # activated pieces
        middle = len(found) // 2
        return [_damaged(piece, fault) if "row" not in fault or i == middle else piece for i, piece in enumerate(found)]
    if isinstance(found, dict):  # weights
        return {name: _damaged(array, fault) if "weight" in name else array for name, array in found.items()}
    whole = np.array(found.astype(mx.float32), order="C")
    rows = whole.shape[1] if len(whole) == 1 else len(whole)  # of a map, or outputs of weights
    damage(fault, [whole.reshape(rows, -1).view(np.uint32)])
    return mx.array(whole).astype(found.dtype)


class Victim:
    """A decode or an encode of a small random VAE by bands, into whose calls faults are put."""

    def __init__(
        self,
        kernels: Any,
        task: Task,
        zeros: str | None = None,
        flat: float | None = None,
        config: AutoencoderKLConfig = CONFIG,
        size: tuple[int, int] = (5, 6),
        seed: int = 0,
        keys: int | None = None,
    ) -> None:
        """Compute the healthy picture.

        Args:
            kernels: The device.
            task: Decode or encode.
            zeros: Weights with this in their name are zeros.
            flat: Latents or images are this value everywhere; default: random.
            config: The VAE's config.
            size: Rows and columns of the latents.
            seed: The seed of weights, and of latents or images.
            keys: The keys that a decode samples; default: all are asked.
        """
        self._kernels = kernels
        vae = random_vae(config, dtype_name(kernels.dtype), seed)
        given = (random_latents if task == "decode" else random_images)(config, *size, seed=seed)
        if flat is not None:
            given[...] = flat
        quality = None if keys is None else Sampled(keys)
        plan = plan_for(vae, given.shape, Random(3), ("ram",), task, quality)
        sweeps = tuple(replace(sweep, rows=ROWS[task]) for sweep in plan.sweeps)
        self._chain, self._stage = plan.case.chain, replace(plan.pixels, sweeps=sweeps)
        self._weights = {
            name: mx.zeros_like(array) if zeros is not None and zeros in name else array
            for name, array in vae.weights.items()
        }
        self._given = given.transpose(0, 2, 3, 1) if task == "decode" else given
        watch = Strike(kernels, None, 0, "", 0)
        with watch():
            self._want = self._computed()
        self.calls = watch.calls

    def outcome(self, target: Any, number: int, fault: str, times: float) -> Outcome:
        """Put the fault into one call, and return what became of the picture."""
        strike = Strike(self._kernels, target, number, fault, times)
        try:
            with strike():
                got = self._computed()
        except SilentFailureError:
            return "refused"
        assert strike.struck, "there is no such call"
        if got != self._want:
            return "silent"
        return "mended" if strike.calls.total() > self.calls.total() else "harmless"

    def outcomes(self, target: Any, fault: str, times: float, most: int) -> Counter[Outcome]:
        """Put the fault into every call of a kind in turn, or into `most` of them, evenly spread."""
        count = self.calls[target]
        numbers = sorted({i * count // min(most, count) for i in range(min(most, count))})
        return Counter(self.outcome(target, number, fault, times) for number in numbers)

    def _computed(self) -> bytes:
        with ExitStack() as stack:
            folder = stack.enter_context(TemporaryDirectory())
            for module in (engine_run, engine_sampled):  # so that a small map has several blocks
                stack.enter_context(patch.object(module, "block_rows", lambda width: 2))
            folded, errors, spilled = norms(self._chain, self._weights), list[object](), SpillFile(Path(folder))
            run = engine_run.Run(
                self._chain, self._stage, self._kernels, self._weights, folded, spilled, on_sampled=errors.append
            )
            rows = b"".join(map(bits, run.rows(mx.array(self._given).astype(self._kernels.dtype))))
            return rows + repr(errors).encode()  # the error of sampled keys is a result, too
