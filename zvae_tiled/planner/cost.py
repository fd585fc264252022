"""What a sweep costs: bytes alive at once, flops, and time. Shapes only.

The formulas follow `engine/transducers.py` line by line; tests/engine/test_dry.py holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from zvae_tiled.chain import Chain, Step
from zvae_tiled.devices.base import Device
from zvae_tiled.devices.workspace import block_rows


@dataclass(frozen=True)
class Size:
    """Height and width of latents, and bytes of a stored number."""

    height: int
    width: int
    itemsize: int


@dataclass(frozen=True)
class StepCost:
    """One Step of a sweep.

    Attributes:
        carried: Bytes it holds while other Steps work.
        working: Bytes alive while it works, its input and its output included.
        prepared: Bytes of its prepared weights, held during the whole sweep.
        preparing: Extra bytes while the weights are prepared.
        passed: The most rows that it hands over at once, counted in its result.
        working_anew: As `working`, with weights that are prepared for each band anew: then none are held.
    """

    carried: int
    working: int
    prepared: int
    preparing: int
    passed: int
    working_anew: int


class Costs:
    """Costs of every Step of a chain, for one size of latents on one device."""

    def __init__(self, chain: Chain, size: Size, device: Device) -> None:
        """Cost `chain` for latents of `size` on `device`."""
        self.chain = chain
        self.size = size
        self.device = device
        self._workspace = device.workspace
        self._compute = self._workspace.compute_size(size.itemsize)
        self.step = cache(self._step)
        self.seconds = cache(self._seconds)
        self.grain = cache(self._grain)
        self.row_bytes = cache(self._row_bytes)
        self.flops = cache(self._flops)

    def cut_bytes(self, cut: int) -> int:
        """Return the bytes of the map at a cut, and of a skip that is open there, as they are stored."""
        return self.size.height * self.chain.factors[cut] * self.row_bytes(cut)

    def _row_bytes(self, cut: int) -> int:
        """Return the bytes of one row of `cut_bytes`."""
        return self.size.width * self.chain.factors[cut] * self.chain.channels[cut] * self.size.itemsize

    def key_bytes(self, cut: int) -> int:
        """Return the bytes of the attention's keys and values."""
        return self.size.height * self.size.width * 2 * self.chain.steps[cut].inputs * self.size.itemsize

    def map_rows(self, cut: int) -> int:
        """Return the height of the map at a cut."""
        return self.size.height * self.chain.factors[cut]

    def _grain(self, start: int, stop: int) -> int:
        """Return how many rows at cut `start` fill a grain of every Step up to cut `stop`; 1 if no Step has grains."""
        most = 1
        for cut in range(start, stop):
            step = self.chain.steps[cut]
            if step.kind == "conv" and (grain := self._workspace.grain(step)) > 1:
                most = max(most, self.chain.rows_at(start, grain * step.stride, cut))
        return most

    def _step(self, cut: int, rows: int, given: int) -> StepCost:
        """Return the cost of the Step at `cut`.

        Args:
            cut: The cut.
            rows: Rows of a band there, by the height of the sweep's bands.
            given: The most rows that the Step gets at once: more than `rows` if the Step before hands over a grain.
        """
        step = self.chain.steps[cut]
        rows, given = min(rows, self.map_rows(cut)), min(given, self.map_rows(cut))
        width, itemsize = self.size.width * self.chain.factors[cut], self.size.itemsize
        held, preparing = self._workspace.prepared(step, itemsize)
        read = given * width * step.inputs * itemsize
        if step.kind == "attention":
            block = block_rows(width) * width * 2 * step.inputs * itemsize
            spike = self._workspace.attend(step, given, width, itemsize)
            working = 2 * read + block + spike
            return StepCost(0, working, held, preparing, given, working)
        grown = 1 if self._workspace.folds else step.factor
        grain = self._workspace.grain(step)
        whole, wanted = (-(-each * grown // step.stride) for each in (self.map_rows(cut), rows))
        down, across = min(-(-wanted // grain) * grain, whole), width * grown // step.stride
        # Rows that wait for the rest of their grain, and rows that the Step got and hands over in portions.
        kept, late = step.reads(grain) - 1, max(given * grown - down * step.stride, 0)
        line = width * grown * step.inputs * self._compute
        pieces = (given * grown + kept) * line
        aside = step.inputs if step.opens else self.chain.aside[cut]
        skip = given * width * aside * itemsize
        lag = (step.halo + grain - 1 + late) * width * aside * itemsize
        written = down * across * (step.factor // grown) ** 2 * step.outputs * itemsize
        spike = self._workspace.activate(step, given, width, itemsize)
        # The input is freed once it is activated, unless it is the skip. A skip waits, joined with the rows before it.
        activating = (0 if step.opens else read) + skip + lag + pieces + spike
        joining = 2 * skip + 2 * lag + pieces
        extra = self._workspace.conv(step, down, across, itemsize)
        beside = skip + lag
        if self._workspace.shares:  # the pieces are the input itself, and also the skip that this Step opens
            activating -= skip if step.opens else read
            # The skip is not joined: its strips stay, and only rows that wait are copied.
            joining = (0 if step.opens else skip) + 2 * lag + pieces
            beside = lag if step.opens else skip + 2 * lag
            if not step.closes:  # a skip that is passed on may be stored, and is joined for that
                joining = max(joining, 2 * skip + 2 * lag + written)
            extra = max(extra, (kept + late) * line)  # rows that are carried over are copied
        computing = pieces + written + extra
        if self._workspace.piece_rows is None:
            computing = max(2 * pieces, computing)  # a band is one piece: it is joined with the rows carried over first
        convolving = beside + computing
        # The last band is one row taller. The extra row waits until the bands before it have been passed on.
        waiting = kept + late + (step.halo if rows < self.map_rows(cut) else 0)
        passed = down * step.factor // grown
        others = max(activating, joining)
        anew = beside + held + max(computing, pieces + preparing)
        return StepCost(waiting * line + lag, max(others, convolving), held, preparing, passed, max(others, anew))

    def _flops(self, cut: int) -> int:
        """Return multiplications and additions of the Step at a cut, for the whole map."""
        pixels = self.map_rows(cut) * self.size.width * self.chain.factors[cut]
        step = self.chain.steps[cut]
        return step_flops(step, pixels, self._workspace.taps(step))

    def key_flops(self, cut: int) -> int:
        """Return multiplications and additions of the attention's keys and values."""
        return 4 * self.size.height * self.size.width * self.chain.steps[cut].inputs ** 2

    def _seconds(self, cut: int, rows: int) -> float:
        """Return the seconds of the Step at `cut`, for bands of `rows` input rows."""
        step = self.chain.steps[cut]
        pixels = self.map_rows(cut) * self.size.width * self.chain.factors[cut]
        written = pixels * step.factor**2 // step.stride**2
        moved = (pixels * step.inputs * 4 + written * step.outputs * 2) * self.size.itemsize
        bands = -(-self.map_rows(cut) // rows)
        return self.flops(cut) / self.device.flops + moved / self.device.bandwidth + bands * self.device.call

    def preparing_anew(self, cut: int, rows: int) -> float:
        """Return the seconds in which the weights of a convolution are prepared for each band of `rows` input rows."""
        bands = -(-self.map_rows(cut) // rows)
        return bands * self._workspace.prepared(self.chain.steps[cut], self.size.itemsize)[0] / self.device.bandwidth

    def finish(self, cut: int, rows: int) -> int:
        """Return bytes while moments of a band are gathered, the band included."""
        step, width = self.chain.steps[cut], self.size.width * self.chain.factors[cut]
        rows = min(rows, self.map_rows(cut))
        return rows * self.row_bytes(cut) + self._workspace.moments(step.inputs, rows, width, self.size.itemsize)

    def gather_keys(self, cut: int, rows: int) -> int:
        """Return bytes while keys of a band are computed, band and keys included."""
        step = self.chain.steps[cut]
        rows = min(rows, self.map_rows(cut))
        spike = self._workspace.keys(step, rows, self.size.width, self.size.itemsize)
        return 3 * rows * self.row_bytes(cut) + spike


def step_flops(step: Step, pixels: int, taps: float) -> int:
    """Return multiplications and additions of a Step that reads a map of `pixels` pixels.

    Args:
        step: The Step.
        pixels: Pixels of its input map.
        taps: What each pixel that is read costs (`Workspace.taps`).
    """
    if step.kind == "attention":  # query and output projections, scores, weighted sums
        return pixels * step.inputs * (4 * step.inputs + 4 * pixels)
    written = pixels // step.stride**2
    return int(2 * written * step.outputs * (step.inputs * taps + (step.skip if step.shortcut else 0)))
