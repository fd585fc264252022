"""`Step`: one convolution, or the attention, and what rides on it; each part is a value. No MLX."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Literal, NamedTuple

Shape = tuple[int, ...]

Activation = Literal["none", "silu", "relu"]

Gathered = Literal["moments", "keys"]
"""What a barrier waits for: the statistics of a norm, or the keys and values of an attention."""

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
"""The linear maps of an attention."""


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
    """

    channels: int
    shortcut: str | None = None
    relu: bool = False


@dataclass(frozen=True)
class Step:
    """One convolution, or the attention, and what rides on it.

    In this order: the skip is opened, then norm, activation, upsampling, padding, convolution, and the skip is added.
    The attention opens and closes a skip of its own.

    Attributes:
        name: The path of its parameters, as diffusers names them.
        kind: ``conv`` or ``attention``.
        inputs: Channels read.
        outputs: Channels written.
        kernel: Height and width of the convolution: 3 or 1.
        norm: The norm before the convolution, if any.
        activation: What is applied to the normalised map. Only a Step with a norm may have ``silu``.
        resample: `SAME`, `DOUBLE` or `HALVE`.
        padding: Zeros around the map. Default: half a kernel on every side.
        opens: Whether its input is kept as a skip.
        closes: The skip that is added to its output, if any.
        bias: Whether the convolution has a bias. Without one it is zeros.
    """

    name: str
    kind: Literal["conv", "attention"]
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

    def __post_init__(self) -> None:
        """Refuse what no kernel computes.

        Raises:
            ValueError: SiLU has no norm before it; or ReLU is applied to a skip behind a shortcut.
        """
        if self.activation == "silu" and self.norm is None:
            raise ValueError(f"{self.name}: activation 'silu' needs a norm before it")
        if self.closes is not None and self.closes.relu and self.closes.shortcut is not None:
            raise ValueError(f"{self.name}: a skip with a shortcut is added without ReLU")

    @property
    def gathers(self) -> tuple[Gathered, ...]:
        """What must be gathered over the whole input map before this Step can begin, in order."""
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
        """Channels of the skip it adds, if an earlier Step opened that skip; else 0."""
        return 0 if self.closes is None or self.opens else self.closes.channels

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
