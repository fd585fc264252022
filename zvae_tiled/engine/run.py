"""Runs a stage, sweep by sweep, from the latents or a stored cut to finished rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Generic

import numpy as np

from zvae_tiled.chain import ATTENTION, Chain
from zvae_tiled.devices.kernels import Affine, Kernels, T
from zvae_tiled.devices.workspace import block_rows
from zvae_tiled.engine.bands import Band, Bands, RamBands, Store
from zvae_tiled.engine.checked import moments as checked_moments
from zvae_tiled.engine.checked import prepared
from zvae_tiled.engine.guard import Guard
from zvae_tiled.engine.moments import Moments
from zvae_tiled.engine.spill import DiskBands
from zvae_tiled.engine.transducers import attend, convolve, tap, watch
from zvae_tiled.planner.stage import Stage, Sweep


class Run(Generic[T]):
    """Runs a stage for one picture or one tile.

    The same code runs on arrays and, to check a plan, on shapes alone.
    """

    def __init__(
        self,
        chain: Chain,
        stage: Stage,
        kernels: Kernels[T],
        weights: Mapping[str, T],
        norms: Mapping[str, np.ndarray],
        folder: Path,
        on_read: Callable[[int, int], object] | None = None,
        affines: dict[int, Affine] | None = None,
    ) -> None:
        """Keep the arguments. `rows`, `rows_from`, `moments_from` and `stored` run the stage.

        Args:
            chain: The Chain to run.
            stage: The stage to run.
            kernels: The device.
            weights: Parameters of the model, by path.
            norms: Weights and biases of the model's norms, as NumPy arrays.
            folder: Folder for spilled maps.
            on_read: Called with the sweep's index, and the rows read so far from the sweep's start cut.
            affines: Norms folded by other runs, by cut. This run adds those that it folds. Default: none.
        """
        self._chain = chain
        self._stage = stage
        self._kernels = kernels
        self._weights = weights
        self._norms = norms
        self._folder = folder
        self._on_read = on_read
        self._affines = {} if affines is None else affines
        self._keys: Bands[T]  # of the attention, until a cut behind it is stored

    def rows(self, latents: T) -> Iterator[T]:
        """Decode latents (1, h, w, channels), ready for the first Step, into finished rows.

        Closing the iterator early frees all memory and all disk space.
        """
        with ExitStack() as stack:
            store = self._store(0, "ram", stack)
            store.append(Band(latents))
            del latents
            yield from self._sweeps(store, stack, owned=True)

    def rows_from(self, store: Store[T]) -> Iterator[T]:
        """Run the stage from a stored cut to finished rows. The stored cut is not changed."""
        with ExitStack() as stack:
            yield from self._sweeps(store, stack, owned=False)

    def moments_from(self, store: Store[T]) -> None:
        """Run the stage from a stored cut, only to fold its norms."""
        for _ in self.rows_from(store):
            raise AssertionError("a stage that ends before the picture returned rows")

    def stored(self, latents: T, stack: ExitStack) -> Store[T]:
        """Run the stage from the latents, and return the cut stored at its end. `stack` frees it."""
        store = self._store(0, "ram", stack)
        store.append(Band(latents))
        del latents
        for _ in self._sweeps(store, stack, owned=True):
            raise AssertionError("a stage that ends before the picture returned rows")
        return self._last

    def _sweeps(self, store: Store[T], stack: ExitStack, owned: bool) -> Iterator[T]:
        attention = self._chain.attention
        for index, sweep in enumerate(self._stage.sweeps):
            target = None
            if sweep.ends == "keys":
                self._keys = self._bands(sweep.stop, sweep.medium, 2 * self._chain.steps[sweep.stop].inputs, stack)
            elif sweep.store is not None:
                target = self._store(sweep.store, sweep.medium, stack)
            release = owned and (target is not None or sweep.ends == "pixels")
            bands = self._bands_of(index, sweep, store.read(sweep.rows, release), target)
            if sweep.ends == "pixels":
                yield from (band.take() for band in bands)
            else:
                self._finish(sweep, bands)
            if target is not None:
                if owned:
                    store.close()
                store, owned = target, True
                if attention is not None and sweep.store is not None and sweep.start <= attention < sweep.store:
                    self._keys.close()
        self._last = store

    def _bands_of(
        self, index: int, sweep: Sweep, bands: Iterator[Band[T]], target: Store[T] | None
    ) -> Iterator[Band[T]]:
        if (on_read := self._on_read) is not None:
            bands = watch(self._kernels, bands, lambda rows: on_read(index, rows))
        for cut in range(sweep.start, sweep.stop):
            if target is not None and cut == sweep.store:
                bands = tap(target, bands)
            bands = self._transducer(cut, sweep, bands)
        return tap(target, bands) if target is not None and sweep.store == sweep.stop else bands

    def _transducer(self, cut: int, sweep: Sweep, bands: Iterator[Band[T]]) -> Iterator[Band[T]]:
        step = self._chain.steps[cut]
        weights = partial(self._prepared, cut)
        if not sweep.anew or step.kind == "attention":
            weights = partial(_same, weights())
        if step.kind == "attention":
            block = block_rows(self._stage.width)
            return attend(self._kernels, step, weights, self._affine(cut), self._keys, block, bands)
        # If upsampling is not folded, the upsampled map is convolved.
        factor = self._chain.factors[cut] * (1 if self._kernels.folds else step.factor)
        return convolve(
            self._kernels,
            step,
            weights,
            self._affine(cut) if step.norm is not None else None,
            width=self._stage.width * factor,
            height=self._stage.height * factor,
            limit=-(-sweep.rows * factor // (self._chain.factors[sweep.start] * step.stride)),
            bands=bands,
        )

    def _finish(self, sweep: Sweep, bands: Iterator[Band[T]]) -> None:
        cut = sweep.stop
        step = self._chain.steps[cut]
        if sweep.ends == "keys":
            guard = Guard(self._kernels, step, partial(_same, self._prepared(cut)))
            for band in bands:
                self._keys.append(guard.keys(band.take(), self._affine(cut)))
            return
        if step.norm is None or step.rms is not None:  # the map is stored, and nothing is gathered
            for band in bands:
                band.take_skip()
                band.take()
            return
        moments = Moments(step.norm.groups)
        width = self._stage.width * self._chain.factors[cut]
        for band in bands:
            band.take_skip()
            moments.add(*checked_moments(self._kernels, step, band.take()), width)
        weight, bias = (self._norms[f"{step.norm.name}.{part}"] for part in ("weight", "bias"))
        self._affines[cut] = self._kernels.affine(*moments.affine(weight, bias, step.norm.eps))

    def _affine(self, cut: int) -> Affine:
        """Return the folded norm of a Step: of a GroupNorm once its moments are known, of an RMS norm at any time."""
        norm = self._chain.steps[cut].norm
        if norm is not None and norm.kind == "rms" and cut not in self._affines:
            scale = self._norms[f"{norm.name}.gamma"] * self._chain.steps[cut].inputs ** 0.5
            self._affines[cut] = self._kernels.affine(scale, np.zeros_like(scale))
        return self._affines[cut]

    def _prepared(self, cut: int) -> object:
        step = self._chain.steps[cut]
        layers = {"": step.name, "shortcut.": step.shortcut}
        if step.kind == "attention":
            layers = {f"{layer}.": f"{step.name}.{layer}" for layer in ATTENTION}
        weights = {
            f"{short}{part}": self._weights[f"{layer}.{part}"]
            for short, layer in layers.items()
            if layer
            for part in ("weight", "bias")
        }
        return prepared(self._kernels, step, weights)

    def _store(self, cut: int, medium: str | None, stack: ExitStack) -> Store[T]:
        aside = self._chain.aside[cut]
        value = self._bands(cut, medium, self._chain.channels[cut] - aside, stack)
        return Store(self._kernels, value, self._bands(cut, medium, aside, stack) if aside else None)

    def _bands(self, cut: int, medium: str | None, channels: int, stack: ExitStack) -> Bands[T]:
        width = self._stage.width * self._chain.factors[cut]
        bands: Bands[T] = (
            DiskBands(self._kernels, self._folder, width, channels) if medium == "disk" else RamBands(self._kernels)
        )
        stack.callback(bands.close)
        return bands


def _same(weights: object) -> object:
    return weights
