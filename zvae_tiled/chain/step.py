"""`Step`: one convolution, or the attention, and what rides on it; each part is a value. No MLX."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Literal, NamedTuple

from zvae_tiled.chain.spread import Spread

Shape = tuple[int, ...]

Kind = Literal["conv", "attention", "shuffle", "rms", "gated", "scales", "linear"]
"""What a Step computes (`Step.kind`)."""

Activation = Literal["none", "silu", "relu"]

Order = Literal["cyx", "yxc", "cxy"]
"""The order of a shuffle's channels: ``cyx`` is by channel, then by row, then by column of the 2×2 pixels."""

Gathered = Literal["moments", "keys"]
"""What a barrier waits for: the statistics of a norm or the sums of a linear attention; or keys and values."""

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
"""The linear maps of an attention."""

RMS_EPS = 1e-5
"""Added to the mean square of a pixel's channels by an ``rms`` Step."""

LINEAR_EPS = 1e-15
"""Added to the weight that a linear attention divides by."""


@dataclass(frozen=True)
class Norm:
    """A GroupNorm, whose statistics are gathered over the whole map; or an RMS norm, of each pixel by itself.

    Attributes:
        name: The path of its parameters.
        groups: Groups of channels that are normalised together; an RMS norm has 1.
        eps: Added to the variance. Of an RMS norm: the smallest length that a pixel's channels are divided by.
        kind: ``group`` or ``rms``.
    """

    name: str
    groups: int
    eps: float = 1e-6
    kind: Literal["group", "rms"] = "group"

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of its parameters."""
        return ("gamma",) if self.kind == "rms" else ("weight", "bias")


class Resample(NamedTuple):
    """How a Step changes height and width.

    Attributes:
        up: Each pixel is repeated `up` times in both directions before the convolution.
        down: The stride of the convolution.
    """

    up: int = 1
    down: int = 1


SAME = Resample()
DOUBLE = Resample(up=2)
HALVE = Resample(down=2)


class Padding(NamedTuple):
    """Rows and columns of zeros around the map that is convolved.

    Attributes:
        before: Rows above, and columns on the left.
        after: Rows below, and columns on the right.
    """

    before: int
    after: int


@dataclass(frozen=True)
class Skip:
    """A skip that a Step adds to its output.

    Attributes:
        channels: Channels of the skip.
        shortcut: The path of a 1×1 convolution of the skip, where its channels are not the output's.
        relu: Whether ReLU is applied to the skip before it is added: the Step that opened it reads its input so too.
        spread: How it gets the output's shape without weights, if its channels or its rows are not the output's.
        stays: Whether it stays open behind the Step, for a later one to close.
    """

    channels: int
    shortcut: str | None = None
    relu: bool = False
    spread: Spread | None = None
    stays: bool = False


@dataclass(frozen=True)
class Step:
    """One convolution, or the attention, and what rides on it; or a shuffle of pixels; or a `local` Step.

    In this order: the skip is opened, then norm, activation, upsampling, padding, convolution, and the skip is added.
    The attention opens and closes a skip of its own. A shuffle that doubles makes the channels of each pixel 2×2
    pixels; one that halves does the reverse.

    Four kinds are `local`: they multiply no map by a whole matrix. ``rms`` is an RMS norm with a bias, of what a
    convolution gave. ``gated`` is a depthwise convolution, half of whose channels are multiplied by SiLU of the others.
    ``scales`` writes its input, and behind it the same through a depthwise convolution and a 1×1 convolution of every
    `head` channels. ``linear`` is a linear attention: of its input, every `head` channels in turn are queries,
    keys and values. It divides the sum of all values, each weighted by the product of query and key behind ReLU, by the
    sum of the weights. So all keys and values are one matrix for each head, which is gathered over the map.

    Attributes:
        name: The path of its parameters, as diffusers names them.
        kind: ``conv``, ``attention``, ``shuffle``, or one of the `local` kinds.
        inputs: Channels read.
        outputs: Channels written.
        kernel: Height and width of the convolution: 3 or 1; of a depthwise one any odd number.
        norm: The norm before the convolution, if any.
        activation: What is applied to the normalised map.
        resample: `SAME`, `DOUBLE` or `HALVE`.
        padding: Zeros around the map. Default: half a kernel on every side.
        opens: Whether its input is kept as a skip. A skip that is open already stays open around it.
        closes: The skip that is added to its output, if any: the one that was opened last.
        bias: Whether the convolution has a bias. Without one it is zeros.
        joins: Whether its input is added to the skip that is open, as a second skip that ends where that one does.
        order: The order of the channels that a shuffle makes pixels, or makes of pixels.
        parts: Paths of the linear maps whose outputs, one after the other, are those of a 1×1 convolution; empty if it
            has one weight of its own.
        head: Channels of a head of ``scales`` and ``linear``.
        frames: Frames of a video that the convolution reads: 1, or 3, its own and the two before it. Where there is one
            frame, the others are zeros.
    """

    name: str
    kind: Kind
    inputs: int
    outputs: int
    kernel: int = 3
    norm: Norm | None = None
    activation: Activation = "none"
    resample: Resample = SAME
    padding: Padding | None = None
    opens: bool = False
    closes: Skip | None = None
    bias: bool = True
    joins: bool = False
    order: Order = "cyx"
    parts: tuple[str, ...] = ()
    head: int = 0
    frames: int = 1

    def __post_init__(self) -> None:
        """Refuse what no kernel computes.

        Raises:
            ValueError: ReLU is applied to a skip behind a shortcut; something rides on a shuffle, or its channels do
                not fit; or several frames are read by what is no plain convolution.
        """
        if self.closes is not None and self.closes.relu and self.closes.shortcut is not None:
            raise ValueError(f"{self.name}: a skip with a shortcut is added without ReLU")
        if self.closes is not None and self.closes.spread is not None and (self.closes.relu or self.closes.shortcut):
            raise ValueError(f"{self.name}: a skip that is spread is added without ReLU and without a shortcut")
        if self.frames > 1 and (self.kind != "conv" or self.resample != SAME or not self.bias):
            raise ValueError(
                f"{self.name}: only a convolution with a bias, of a map as it is, reads {self.frames} frames"
            )
        if self.kind == "shuffle":
            if self.norm or self.activation != "none" or self.opens or self.closes or self.kernel != 1:
                raise ValueError(f"{self.name}: nothing rides on a shuffle, and its kernel is 1")
            if self.inputs * self.stride**2 != self.outputs * self.factor**2 or self.resample == SAME:
                raise ValueError(f"{self.name}: {self.inputs} channels cannot be shuffled to {self.outputs}")

    @property
    def local(self) -> bool:
        """Whether it multiplies no map by a whole matrix (`devices/local.py`)."""
        return self.kind in ("rms", "gated", "scales", "linear")

    @property
    def heads(self) -> int:
        """The heads of a linear attention."""
        return self.inputs // (3 * self.head)

    @property
    def state(self) -> tuple[int, int, int]:
        """The shape of what a linear attention gathers: for each head a row for each channel of values, and weights."""
        return (self.heads, self.head + 1, self.head)

    @property
    def gathers(self) -> tuple[Gathered, ...]:
        """What must be gathered over the whole input map before this Step can begin, in order."""
        if self.kind == "linear":
            return ("moments",)
        # The attention's own map is stored where moments are gathered, also if its norm has none.
        gathered = self.norm is not None and (self.norm.kind == "group" or self.kind == "attention")
        moments: tuple[Gathered, ...] = ("moments",) if gathered else ()
        keys: tuple[Gathered, ...] = ("keys",) if self.kind == "attention" else ()
        return moments + keys

    @property
    def barrier(self) -> bool:
        """Whether anything must be gathered before this Step can begin."""
        return bool(self.gathers)

    @property
    def rms(self) -> float | None:
        """The smallest length that the RMS norm divides by; None without an RMS norm."""
        return self.norm.eps if self.norm is not None and self.norm.kind == "rms" else None

    @property
    def halo(self) -> int:
        """Rows read beyond each edge of a band."""
        return self.kernel // 2

    @property
    def zeros(self) -> Padding:
        """The padding, its default filled in."""
        return self.padding or Padding(self.halo, self.halo)

    @property
    def factor(self) -> int:
        """How many rows the convolution reads for each input row: 2 if the Step upsamples."""
        return self.resample.up

    @property
    def upsample(self) -> bool:
        """Whether height and width are doubled before the convolution."""
        return self.resample.up == 2

    @property
    def stride(self) -> int:
        """Rows, and columns, from one window of the convolution to the next."""
        return self.resample.down

    @property
    def skip(self) -> int:
        """Channels of the skip that a convolution adds; 0 if it adds none."""
        return 0 if self.closes is None or self.kind == "attention" else self.closes.channels

    @property
    def spread(self) -> Spread | None:
        """How the skip it adds gets the output's shape, if it has another one."""
        return None if self.closes is None else self.closes.spread

    @property
    def shortcut(self) -> str | None:
        """The path of the 1×1 convolution of the skip, if there is one."""
        return None if self.closes is None else self.closes.shortcut

    def reads(self, count: int) -> int:
        """Return how many padded input rows (or columns) the convolution reads to write `count` output rows."""
        return (count - 1) * self.stride + self.kernel

    def gives(self, count: int) -> int:
        """Return how many output rows (or columns) the convolution writes from `count` padded input rows."""
        return (count - self.kernel) // self.stride + 1

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """The shape of each of its weights by name: convolutions (O, H, W, I), linear maps (O, I)."""
        layers: dict[str, Shape] = {}
        if self.kind in ("shuffle", "linear"):
            return {}
        if self.kind == "rms":
            return {f"{self.name}.{part}": (self.inputs,) for part in ("weight", "bias")}
        if self.kind == "gated":
            return {
                f"{self.name}.weight": (self.inputs, self.kernel, self.kernel, 1),
                f"{self.name}.bias": (self.inputs,),
            }
        if self.kind == "scales":
            taps, mixed = (self.inputs, self.kernel, self.kernel, 1), (self.inputs, 1, 1, self.head)
            return {f"{self.name}.proj_in.weight": taps, f"{self.name}.proj_out.weight": mixed}
        if self.parts:
            return {f"{part}.weight": (self.outputs // len(self.parts), self.inputs) for part in self.parts}
        if self.kind == "attention":
            layers = {f"{self.name}.{each}": (self.outputs, self.inputs) for each in ATTENTION}
        else:
            layers[self.name] = (self.outputs, self.kernel, self.kernel, self.inputs)
        if self.shortcut is not None:
            layers[self.shortcut] = (self.outputs, 1, 1, self.skip)
        parts = {
            f"{name}.{part}": shape
            for name, weight in layers.items()
            for part, shape in (("weight", weight), ("bias", weight[:1]))
        }
        if not self.bias:
            del parts[f"{self.name}.bias"]
        norm = {} if self.norm is None else {f"{self.norm.name}.{part}": (self.inputs,) for part in self.norm.parts}
        return parts | norm

    @property
    def parameters(self) -> int:
        """Numbers in its weights, norm and shortcut included, and the zeros of a missing bias."""
        return sum(prod(shape) for shape in self.shapes.values()) + (0 if self.bias else self.outputs)
