"""Runs a stage, sweep by sweep, from the latents or a stored cut to finished rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Generic

import numpy as np

from zvae_tiled.chain import ATTENTION, Chain, Step
from zvae_tiled.devices.kernels import Affine, Kernels, T
from zvae_tiled.devices.workspace import block_rows
from zvae_tiled.engine.bands import Band, Bands, RamBands, Store
from zvae_tiled.engine.carried import Carried
from zvae_tiled.engine.causal import CausalGuard
from zvae_tiled.engine.checked import moments as checked_moments
from zvae_tiled.engine.checked import prepared, summed
from zvae_tiled.engine.guard import Guard
from zvae_tiled.engine.keys import AllKeys, Keys
from zvae_tiled.engine.moments import Merged, Moments
from zvae_tiled.engine.region import cropped
from zvae_tiled.engine.sample_error import SampleError
from zvae_tiled.engine.sampled import Sampler
from zvae_tiled.engine.spill import DiskBands
from zvae_tiled.engine.spill_file import SpillFile
from zvae_tiled.engine.sums import RowSums, Sums
from zvae_tiled.engine.transducers import attend, convolve, shuffle, tap, watch
from zvae_tiled.planner.region import Asked, Rows, region
from zvae_tiled.planner.stage import Stage, Sweep, shares_skip


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
        spilled: SpillFile,
        on_read: Callable[[int, int], object] | None = None,
        affines: dict[int, Affine] | None = None,
        on_sampled: Callable[[SampleError], object] | None = None,
        carried: Mapping[str, Carried[T]] | None = None,
    ) -> None:
        """Keep the arguments. `rows`, `rows_from`, `moments_from` and `stored` run the stage.

        Args:
            chain: The Chain to run.
            stage: The stage to run.
            kernels: The device.
            weights: Parameters of the model, by path.
            norms: Weights and biases of the model's norms, as NumPy arrays.
            spilled: The file for maps on disk.
            on_read: Called with the sweep's index, and the rows read so far from the sweep's start cut.
            affines: Norms folded by other runs, by cut. This run adds those that it folds. Default: none.
            on_sampled: Called with the error of sampled keys, before any pixel asks them.
            carried: What causal convolutions carry from frame to frame, by the Step. Default: there is one frame.
        """
        self._chain = chain
        self._stage = stage
        self._kernels = kernels
        self._weights = weights
        self._norms = norms
        self._spilled = spilled
        self._on_read = on_read
        self._affines = {} if affines is None else affines
        self._on_sampled = on_sampled
        self._carried = carried
        self._keys: Keys[T]  # of the attention, until a cut behind it is stored
        self._sampler: Sampler[T]
        self._make_kept: Callable[[], Bands[T]]

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
        before = None
        for index, sweep in enumerate(self._stage.sweeps):
            target, shared = None, False
            if sweep.ends == "keys":
                self._begin_keys(sweep, stack)
            elif sweep.store is not None:
                shared = owned and shares_skip(self._chain, sweep.start, sweep.store, before, sweep.medium)
                target = self._store(sweep.store, sweep.medium, stack, store.values() if shared else None)
            release = owned and not shared and (target is not None or sweep.ends == "pixels")
            yield from self._sweep(index, store, target, release)
            if target is not None:
                if owned and not shared:
                    store.close()
                store, owned, before = target, True, sweep.medium
                if sweep.store is not None and self._chain.attends(sweep.start, sweep.store):
                    self._keys.close()
        self._last = store

    def _sweep(self, index: int, store: Store[T], target: Store[T] | None, release: bool) -> Iterator[T]:
        """Run a sweep over all rows. Yield the picture's, if it ends there."""
        sweep = self._stage.sweeps[index]
        moments = self._moments(sweep)
        yield from self._part(index, store, target, release, moments, self._all(sweep))
        if moments is not None:
            self._fold(sweep.stop, moments)

    def _part(
        self,
        index: int,
        store: Store[T],
        target: Store[T] | None,
        release: bool,
        moments: Moments | Sums | RowSums | None,
        asked: Asked,
    ) -> Iterator[T]:
        """Run a sweep for the rows asked for. Add them to the target, the moments and the keys; or yield them."""
        sweep = self._stage.sweeps[index]
        part = region(self._kernels, self._chain, self._stage.height, sweep, asked)
        bands = store.read(sweep.rows, release, *part.reads)
        if (on_read := self._on_read) is not None:
            bands = watch(self._kernels, bands, lambda rows: on_read(index, part.reads.first + rows))
        for cut, given, computes in zip(range(sweep.start, sweep.stop), part.given, part.computes, strict=False):
            if target is not None and asked.stored is not None and cut == sweep.store:
                bands = tap(self._kernels, target, bands, given.first, asked.stored)
            bands = self._transducer(cut, sweep, bands, given, computes)
        if target is not None and asked.stored is not None and sweep.store == sweep.stop:
            bands = tap(self._kernels, target, bands, part.given[-1].first, asked.stored)
        bands = cropped(self._kernels, bands, part.given[-1], asked.ended)
        if sweep.ends == "pixels":
            yield from (band.take() for band in bands)
        else:
            self._gather(sweep, bands, moments)

    def _all(self, sweep: Sweep) -> Asked:
        ended, stored = (
            None if cut is None else Rows(0, self._stage.height * self._chain.factors[cut])
            for cut in (sweep.stop, sweep.store)
        )
        assert ended is not None
        return Asked(ended, stored)

    def _transducer(
        self, cut: int, sweep: Sweep, bands: Iterator[Band[T]], given: Rows, computes: Rows
    ) -> Iterator[Band[T]]:
        step = self._chain.steps[cut]
        if step.kind == "shuffle":
            return shuffle(self._kernels, step, bands, given.first, computes)
        if step.kind == "attention":
            weights = self._held(cut, anew=False, step=step)
            return attend(self._kernels, step, weights, self._affine(cut), self._keys, bands)
        # If upsampling is not folded, the upsampled map is convolved.
        grown = 1 if self._kernels.folds else step.factor
        factor = self._chain.factors[cut] * grown
        return convolve(
            self._kernels,
            step,
            self._guard(cut, sweep.anew),
            self._affine(cut) if step.norm is not None or step.activation == "silu" else None,
            width=self._stage.width * factor,
            height=self._stage.height * factor,
            limit=-(-sweep.rows * factor // (self._chain.factors[sweep.start] * step.stride)),
            bands=bands,
            start=given.first * grown,
            computes=computes,
        )

    def _gather(self, sweep: Sweep, bands: Iterator[Band[T]], moments: Moments | Sums | RowSums | None) -> None:
        """Add bands to the keys or to the moments where a sweep ends."""
        cut = sweep.stop
        step = self._chain.steps[cut]
        if sweep.ends != "moments":
            guard = Guard(self._kernels, step, self._held(cut, anew=False, step=step))
            self._gather_keys(sweep, bands, guard)
            return
        width = self._stage.width * self._chain.factors[cut]
        for band in bands:
            band.take_skips()
            if moments is None:  # the map is stored, and nothing is gathered
                band.take()
            elif isinstance(moments, Sums | RowSums):
                moments.add(summed(self._kernels, step, band.take()))
            else:
                moments.add(*checked_moments(self._kernels, step, band.take()), width)

    def _moments(self, sweep: Sweep, merged: Merged | None = None) -> Moments | Sums | None:
        """Return what gathers the moments where a sweep ends, before its first row; None if nothing does.

        Args:
            sweep: The sweep.
            merged: What its first rows gave. Default: there were none.
        """
        return self._gathering(sweep.stop, merged) if sweep.ends == "moments" else None

    def _gathering(self, cut: int, merged: Merged | None = None) -> Moments | Sums | None:
        step = self._chain.steps[cut]
        if step.kind == "linear":
            return Sums(step.state, merged)
        return None if step.norm is None or step.norm.kind == "rms" else Moments(step.norm.groups, merged)

    def _fold(self, cut: int, moments: Moments | Sums) -> None:
        if isinstance(moments, Sums):
            self._affines[cut] = (moments.state, None, None)
            return
        norm = self._chain.steps[cut].norm
        assert norm is not None
        weight, bias = (self._norms[f"{norm.name}.{part}"] for part in ("weight", "bias"))
        self._affines[cut] = self._kernels.affine(*moments.affine(weight, bias, norm.eps))

    def _begin_keys(self, sweep: Sweep, stack: ExitStack) -> None:
        """Make the place for the attention's keys. Sampled keys are stored as maps of one column."""
        channels = 2 * self._chain.steps[sweep.stop].inputs
        if self._stage.sampled is None:
            self._keys = AllKeys(self._bands(sweep.stop, sweep.medium, channels, stack), block_rows(self._stage.width))
        else:
            self._make_kept = lambda: self._map(1, sweep.medium, channels, stack)

    def _gather_keys(self, sweep: Sweep, bands: Iterator[Band[T]], guard: Guard[T]) -> None:
        """Gather the attention's keys, or run a sweep that samples them."""
        affine = self._affine(sweep.stop)
        if self._stage.sampled is None:
            assert isinstance(self._keys, AllKeys)
            for band in bands:
                self._keys.bands.append(guard.keys(band.take(), affine))
        elif sweep.ends == "queries":
            self._sampler = Sampler(self._kernels, self._stage)
            self._sampler.gather(bands)
        elif sweep.ends == "sums":
            self._sampler.answer(bands, guard, affine)
        elif sweep.ends == "shares":
            self._sampler.weigh(bands, guard, affine)
        else:
            self._keys, error = self._sampler.keep(bands, guard, affine, self._make_kept)
            del self._sampler
            if self._on_sampled is not None:
                self._on_sampled(error)

    def _affine(self, cut: int) -> Affine:
        """Return the folded norm of a Step: of a GroupNorm once its moments are known, of an RMS norm at any time.

        SiLU without a norm gets one that changes nothing.
        """
        norm = self._chain.steps[cut].norm
        if norm is None and cut not in self._affines:
            ones = np.ones(self._chain.steps[cut].inputs)
            self._affines[cut] = self._kernels.affine(ones, np.zeros_like(ones))
        if norm is not None and norm.kind == "rms" and cut not in self._affines:
            scale = self._norms[f"{norm.name}.gamma"] * self._chain.steps[cut].inputs ** 0.5
            self._affines[cut] = self._kernels.affine(scale, np.zeros_like(scale))
        return self._affines[cut]

    def _guard(self, cut: int, anew: bool) -> Guard[T]:
        """Return what runs a Step's kernels, before the first row of the map."""
        step = self._chain.steps[cut]
        weights = partial(self._held, cut, anew and step.kind == "conv")
        if self._carried is None or step.frames == 1:
            return Guard(self._kernels, step, weights(step))
        return CausalGuard(self._kernels, step, weights, self._carried[step.name])

    def _held(self, cut: int, anew: bool, step: Step) -> Callable[[], object]:
        """Return a function that returns prepared weights: the same ones, or ones that are prepared anew.

        Args:
            cut: The cut before the Step.
            anew: Whether they are prepared anew.
            step: The Step, or a part of it.
        """
        return partial(self._prepared, cut, step) if anew else partial(_same, self._prepared(cut, step))

    def _prepared(self, cut: int, step: Step) -> object:
        if step.kind == "linear":
            return prepared(self._kernels, step, {"state": self._affines[cut][0]})
        if step.local:
            return prepared(
                self._kernels, step, {name.removeprefix(f"{step.name}."): self._weights[name] for name in step.shapes}
            )
        layers = {"": step.name, "shortcut.": step.shortcut}
        if step.kind == "attention":
            layers = {f"{layer}.": f"{step.name}.{layer}" for layer in ATTENTION}
        weights = {
            f"{short}{part}": self._weights[f"{layer}.{part}"]
            for short, layer in layers.items()
            if layer
            for part in ("weight", "bias")
            if not step.parts or part == "bias"
        }
        if step.parts:
            weights["weight"] = self._kernels.stacked([self._weights[f"{part}.weight"] for part in step.parts])
        return prepared(self._kernels, step, weights)

    def _store(self, cut: int, medium: str | None, stack: ExitStack, skip: Bands[T] | None = None) -> Store[T]:
        """Return a place for what is stored at a cut. `skip` is the one skip, if it is stored already."""
        value = self._bands(cut, medium, self._chain.channels[cut] - self._chain.aside[cut], stack)
        skips = [self._bands(cut, medium, channels, stack) for channels in self._chain.open[cut] if skip is None]
        return Store(self._kernels, value, skips if skip is None else [skip], skip is not None)

    def _bands(self, cut: int, medium: str | None, channels: int, stack: ExitStack) -> Bands[T]:
        return self._map(self._stage.width * self._chain.factors[cut], medium, channels, stack)

    def _map(self, width: int, medium: str | None, channels: int, stack: ExitStack) -> Bands[T]:
        bands: Bands[T] = RamBands(self._kernels)
        if medium == "disk":
            stack.callback(self._spilled.close)  # after the bands have given their bytes back
            bands = DiskBands(self._kernels, self._spilled, width, channels)
        stack.callback(bands.close)
        return bands


def _same(weights: object) -> object:
    return weights
