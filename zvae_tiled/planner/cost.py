"""What a sweep costs: bytes alive at once, flops, and time. Shapes only.

The formulas follow `engine/transducers.py` line by line; tests/engine/test_dry.py holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from zvae_tiled.chain import Chain, Step
from zvae_tiled.devices.base import Device
from zvae_tiled.devices.workspace import block_rows, sums_bytes

EXPONENTIAL = 42
"""A score's exponential, with its maximum and its sum, takes as long as so many operations of the products: on a Zen 3
core the attention of 64 channels reaches 81 GFLOP/s, and its products alone 97."""


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

    def __init__(self, chain: Chain, size: Size, device: Device, sampled: int | None = None) -> None:
        """Cost `chain` for latents of `size` on `device`, if its attention keeps `sampled` keys (None: all)."""
        self.chain = chain
        self.size = size
        self.device = device
        self.sampled = sampled
        self._keys = size.height * size.width if sampled is None else sampled
        self._workspace = device.workspace
        self._compute = self._workspace.compute_size(size.itemsize)
        self.step = cache(self._step)
        self.seconds = cache(self._seconds)
        self._speeds = device.speeds
        self.grain = cache(self._grain)
        self.row_bytes = cache(self._row_bytes)
        self.flops = cache(self._flops)
        self.cut_bytes = cache(self._cut_bytes)
        self.preparing = cache(self._preparing)
        # A search asks for these thousands of times, always for the same Steps.
        self._grain_at = cache(lambda cut: self._workspace.grain(chain.steps[cut]))
        self._prepared_at = cache(lambda cut: self._workspace.prepared(chain.steps[cut], size.itemsize))

    def _cut_bytes(self, cut: int) -> int:
        """Return the bytes of the map at a cut, and of a skip that is open there, as they are stored."""
        return self.size.height * self.chain.factors[cut] * self.row_bytes(cut)

    def aside_bytes(self, cut: int) -> int:
        """Return the bytes of a skip that is open at a cut, of those of `cut_bytes`."""
        return self.cut_bytes(cut) * self.chain.aside[cut] // self.chain.channels[cut]

    def _row_bytes(self, cut: int) -> int:
        """Return the bytes of one row of `cut_bytes`."""
        return self.size.width * self.chain.factors[cut] * self.chain.channels[cut] * self.size.itemsize

    def key_bytes(self, cut: int) -> int:
        """Return the bytes of the attention's keys and values that are kept."""
        return self._keys * 2 * self.chain.steps[cut].inputs * self.size.itemsize

    def map_rows(self, cut: int) -> int:
        """Return the height of the map at a cut."""
        return self.size.height * self.chain.factors[cut]

    def _grain(self, start: int, stop: int) -> int:
        """Return how many rows at cut `start` fill a grain of every Step up to cut `stop`; 1 if no Step has grains."""
        most = 1
        for cut in range(start, stop):
            step = self.chain.steps[cut]
            if step.kind == "conv" and (grain := self._grain_at(cut)) > 1:
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
        if step.kind == "shuffle":
            return self._shuffle(step, given, width)
        held, preparing = self._prepared_at(cut)
        read = given * width * step.inputs * itemsize
        if step.kind == "attention":
            block = block_rows(width) * width * 2 * step.inputs * itemsize
            spike = self._workspace.attend(step, given, width, itemsize)
            working = 2 * read + block + spike
            return StepCost(0, working, held, preparing, given, working)
        grown = 1 if self._workspace.folds else step.factor
        grain = self._grain_at(cut)
        whole, wanted = (-(-each * grown // step.stride) for each in (self.map_rows(cut), rows))
        down, across = min(-(-wanted // grain) * grain, whole), width * grown // step.stride
        # Rows that wait for the rest of their grain, and rows that the Step got and hands over in portions.
        kept, late = step.reads(grain) - 1, max(given * grown - down * step.stride, 0)
        line = width * grown * step.inputs * self._compute
        pieces = (given * grown + kept) * line
        own = step.inputs if step.opens else 0
        aside = self.chain.aside[cut] + own
        skip = given * width * aside * itemsize
        # A doubled or strided convolution's skip waits as its input does, at the skip's own resolution.
        waits = step.halo + grain - 1 + late if step.stride == grown == 1 else -(-(kept + late) // grown)
        lag = waits * width * aside * itemsize
        written = down * across * (step.factor // grown) ** 2 * step.outputs * itemsize
        spike = self._workspace.activate(step, given, width, itemsize)
        # The input is freed once it is activated, unless it is the skip. A skip waits, joined with the rows before it.
        activating = (0 if step.opens else read) + skip + lag + pieces + spike
        activating += self._workspace.added(read) if step.joins else 0
        joining = 2 * skip + 2 * lag + pieces
        extra = self._workspace.conv(step, down, across, itemsize)
        if step.spread:
            extra += self._workspace.spread(step.spread, down * across // grown**2, itemsize)
        beside = skip + lag
        if self._workspace.shares:  # the pieces are the input itself, and also the skip that this Step opens
            opened = (given + waits) * width * own * itemsize
            activating -= read
            # The skip is not joined: its strips stay, and only rows that wait are copied.
            joining = skip + 2 * lag + pieces - given * width * own * itemsize
            beside = skip + 2 * lag - opened
            if (
                self.chain.aside[cut + 1] or not step.closes
            ):  # a skip that is passed on may be stored, and joined for it
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

    def _shuffle(self, step: Step, given: int, width: int) -> StepCost:
        """Return the cost of a shuffle, which hands over all rows but the first of a pair."""
        waits = step.stride - 1
        rows, line = given + waits, width * step.inputs * self.size.itemsize
        passed = rows // step.stride * step.factor
        # The rows that wait are joined with the new ones. The result has as many numbers.
        working = (2 if waits else 1) * rows * line + rows * line
        return StepCost(waits * line, working, 0, 0, passed, working)

    def _flops(self, cut: int) -> int:
        """Return multiplications and additions of the Step at a cut, for the whole map."""
        pixels = self.map_rows(cut) * self.size.width * self.chain.factors[cut]
        step = self.chain.steps[cut]
        return step_flops(step, pixels, self._workspace.taps(step), self._keys)

    def key_flops(self, cut: int) -> int:
        """Return multiplications and additions of the attention's keys and values."""
        return 4 * self.size.height * self.size.width * self.chain.steps[cut].inputs ** 2

    def _seconds(self, cut: int, rows: int) -> float:
        """Return the seconds of the Step at `cut`, for bands of `rows` input rows."""
        step = self.chain.steps[cut]
        pixels = self.map_rows(cut) * self.size.width * self.chain.factors[cut]
        moved = moved_bytes(step, pixels, self.size.itemsize)
        bands = -(-self.map_rows(cut) // rows)
        if step.local:
            return moved / self._speeds.maps + bands * self.device.call
        computed = self.flops(cut) / self._speeds.convolutions
        if step.kind == "attention":
            computed = (self.flops(cut) + EXPONENTIAL * pixels * self._keys) / self._speeds.attention
        return computed + moved / self._speeds.maps + bands * self.device.call

    def _preparing(self, cut: int) -> float:
        """Return the seconds in which the weights of the Step at `cut` are prepared once."""
        return self._prepared_at(cut)[0] / self._speeds.weights

    def gathering(self, cut: int) -> float:
        """Return the seconds in which the moments of the map at `cut` are gathered."""
        return self.cut_bytes(cut) / self._speeds.moments

    def writing(self, cut: int) -> float:
        """Return the seconds in which the pixels at `cut` are converted and written."""
        return self.cut_bytes(cut) / self._speeds.maps

    def keying(self, flops: int) -> float:
        """Return the seconds in which keys and values are computed, and sampled."""
        return flops / self._speeds.attention

    def finish(self, cut: int, rows: int) -> int:
        """Return bytes while moments of a band are gathered, the band included."""
        step, width = self.chain.steps[cut], self.size.width * self.chain.factors[cut]
        rows = min(rows, self.map_rows(cut))
        if step.kind == "linear":
            return rows * self.row_bytes(cut) + sums_bytes(step, rows, width)
        return rows * self.row_bytes(cut) + self._workspace.moments(step.inputs, rows, width, self.size.itemsize)

    def gather_keys(self, cut: int, rows: int) -> int:
        """Return bytes while keys of a band are computed, band and keys included."""
        step = self.chain.steps[cut]
        rows = min(rows, self.map_rows(cut))
        spike = self._workspace.keys(step, rows, self.size.width, self.size.itemsize)
        return 3 * rows * self.row_bytes(cut) + spike


def step_flops(step: Step, pixels: int, taps: float, keys: int | None = None) -> int:
    """Return multiplications and additions of a Step that reads a map of `pixels` pixels.

    Args:
        step: The Step.
        pixels: Pixels of its input map.
        taps: What each pixel that is read costs (`Workspace.taps`).
        keys: Keys of an attention. Default: one for each pixel.
    """
    if step.kind in ("shuffle", "rms"):
        return 0
    if step.local:  # its taps, and the matrices of its heads
        depthwise = step.kernel**2 * step.inputs if step.kernel > 1 else 0
        return 2 * pixels * (depthwise + {"scales": step.inputs, "linear": step.outputs}.get(step.kind, 0) * step.head)
    if step.kind == "attention":  # query and output projections, scores, weighted sums
        return pixels * step.inputs * (4 * step.inputs + 4 * (pixels if keys is None else keys))
    written = pixels // step.stride**2
    return int(2 * written * step.outputs * (step.inputs * taps + (step.skip if step.shortcut else 0)))


def moved_bytes(step: Step, pixels: int, itemsize: int) -> int:
    """Return the bytes that a Step moves beside its products.

    A convolution passes twice over what it reads and twice over its result, and a norm with its activation twice more.
    A local Step passes thrice over what it reads, in float32, for each tap of its kernel.
    """
    if step.local:
        return pixels * (12 * step.inputs * step.kernel**2 + 2 * step.outputs * itemsize)
    written = pixels * step.factor**2 // step.stride**2
    return (pixels * step.inputs * (4 if step.norm else 2) + written * step.outputs * 2) * itemsize
