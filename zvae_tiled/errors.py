"""Every error this package raises on purpose.

The tree::

    ZvaeError
    ├── InputError              an argument or a file cannot be used, and nothing was started
    │   ├── ConfigError         a VAE configuration or preset
    │   ├── WeightsError        a checkpoint: its place, format, names or shapes
    │   ├── LatentsError        latents: rank, channels, type, non-finite values
    │   ├── ImageError          images for the encoder
    │   └── PlanError           a plan cannot be made, or does not fit these latents, this VAE or this version
    ├── BudgetError             the decode does not fit the budget; needed is the smallest that works
    ├── ToleranceError          sampled attention is off by more than its tolerance; needed are the keys to take
    ├── OutputError             rows could not be written: disk full, folder not writable
    │   └── MissingFolderError  the folder of the file does not exist
    ├── SilentFailureError      the device computed zeros, a flat map or NaN by mistake, twice
    ├── OutOfMemoryError        memory ran out, though the plan was made for what was free
    ├── ClusterError            workers cannot be reached, are not alike, or were lost
    ├── ForkError               MLX was used before this process was forked, and cannot compute here
    ├── BlasError               the BLAS library in ZVAE_BLAS cannot be loaded
    ├── MissingExtraError       an optional package is needed; the message names the extra
    └── SystemNotSupportedError  the package was imported on Windows

A message says what is needed, what the value is, and what to do next::

    [config] norm_num_groups must divide every width in block_out_channels: 32 does not divide 48.
             Check config.json, or pass a preset by name (z-image, flux1, flux2, sd1, sdxl, sd3).
"""

from __future__ import annotations

from copy import copy
from typing import Self


class ZvaeError(Exception):
    """The root: catching it catches everything this package raises on purpose."""

    area = "zvae"

    def __init__(self, problem: str, advice: str = "") -> None:
        """Compose the message.

        Args:
            problem: What is needed and what the value is, in one sentence or several lines.
            advice: What to do next, shown on a line of its own.
        """
        self.problem = problem
        self.advice = advice
        self._compose()

    def __reduce__(self) -> tuple[type[Self], tuple[str, str], dict[str, object]]:
        """Let pickle and copy build the error from its two parts. By default they pass on the composed message."""
        return type(self), (self.problem, self.advice), self.__dict__

    def about(self, path: str) -> Self:
        """Return the same error with the name of the file that it is about."""
        named = copy(self)
        named.problem = f"{path}: {self.problem}"
        named._compose()
        return named

    def advising(self, advice: str) -> Self:
        """Return the same error with other advice, for users who do not write Python."""
        changed = copy(self)
        changed.advice = advice
        changed._compose()
        return changed

    def _compose(self) -> None:
        tag = f"[{self.area}] "
        lines = [*self.problem.splitlines(), *self.advice.splitlines()]
        super().__init__(tag + ("\n" + " " * len(tag)).join(lines))


class InputError(ZvaeError, ValueError):
    """An argument or a file cannot be used. Nothing was started."""

    area = "input"


class ConfigError(InputError):
    """This package cannot build a VAE with this configuration."""

    area = "config"


class WeightsError(InputError):
    """A checkpoint cannot be used: its place, its format, its names or its shapes."""

    area = "weights"


class LatentsError(InputError):
    """Latents cannot be decoded as they are."""

    area = "latents"


class ImageError(InputError):
    """Images cannot be encoded as they are."""

    area = "images"


class BudgetError(ZvaeError):
    """The decode does not fit the budget. Nothing was started.

    Attributes:
        needed: The smallest budget in bytes that works; 0 if none does, or if it is a disk limit that is too small.
    """

    area = "plan"

    def __init__(self, problem: str, advice: str = "", needed: int = 0) -> None:
        """Compose the message, and store `needed`."""
        super().__init__(problem, advice)
        self.needed = needed


class ToleranceError(ZvaeError):
    """Sampled attention is off by more than its tolerance. The decode stopped before the picture's first row.

    Attributes:
        needed: The number of keys to take.
        exact: Whether that is all keys, so that ``quality="exact"`` is the way on.
        tolerance: The tolerance.
    """

    area = "quality"

    def __init__(
        self, problem: str, advice: str = "", needed: int = 0, exact: bool = False, tolerance: float = 0.0
    ) -> None:
        """Compose the message, and store the other arguments."""
        super().__init__(problem, advice)
        self.needed = needed
        self.exact = exact
        self.tolerance = tolerance


class PlanError(InputError):
    """A plan cannot be made, or does not fit these latents, this VAE or this version."""

    area = "plan"


class OutputError(ZvaeError):
    """Rows could not be written."""

    area = "output"


class MissingFolderError(OutputError):
    """The folder of a file to be written does not exist.

    Attributes:
        folder: The folder.
    """

    def __init__(self, problem: str, advice: str = "", folder: str = "") -> None:
        """Compose the message, and store `folder`."""
        super().__init__(problem, advice)
        self.folder = folder


class SilentFailureError(ZvaeError):
    """The device computed zeros, a flat map or NaN by mistake, or memory lost a result, and trying again failed too."""

    area = "device"


class OutOfMemoryError(ZvaeError, MemoryError):
    """Memory ran out. Other programs took what was free when the plan was made, or a limit is below what was free."""

    area = "memory"


class ClusterError(ZvaeError):
    """Workers cannot be reached, compute other bits, or were lost."""

    area = "cluster"


class ForkError(ZvaeError):
    """MLX was used before this process was forked, and cannot compute here."""

    area = "process"


class BlasError(ZvaeError):
    """The BLAS library in ``ZVAE_BLAS`` cannot be loaded."""

    area = "blas"


class MissingExtraError(ZvaeError, ImportError):
    """An optional package is needed. The message names the extra that installs it."""

    area = "install"


class SystemNotSupportedError(ZvaeError, ImportError):
    """The package was imported on a system that it cannot run on."""

    area = "system"
