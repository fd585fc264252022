"""Every error this package raises on purpose.

The tree::

    ZvaeError
    ├── InputError              what was handed in cannot be used; nothing was started
    │   ├── ConfigError         a VAE configuration or preset
    │   ├── WeightsError        a checkpoint: its place, format, names or shapes
    │   ├── LatentsError        latents: rank, channels, type, non-finite values
    │   ├── ImageError          images for the encoder
    │   └── PlanError           a plan that is not for these latents, this VAE or this version
    ├── BudgetError             the decode does not fit the budget; ``needed`` is the smallest that works
    ├── OutputError             rows could not be written: disk full, folder not writable
    ├── SilentFailureError      the device gave zeros, a flat map or NaN where it should not have, twice
    ├── ForkError               MLX was used before this process was forked, and cannot compute here
    ├── BlasError               a BLAS library that was asked for by name cannot be loaded
    └── MissingExtraError       an optional package is needed; the message names the extra

A message says what was needed, what was given, and what to do next::

    [config] norm_num_groups must divide every width in block_out_channels: 32 does not divide 48.
             Check config.json, or pass a preset by name (z-image, flux1, flux2, sd1, sdxl, sd3).
"""

from __future__ import annotations


class ZvaeError(Exception):
    """The root: catching it catches everything this package raises on purpose."""

    area = "zvae"

    def __init__(self, problem: str, advice: str = "") -> None:
        """Compose the message.

        Args:
            problem: What was needed and what was given, in one sentence or a list of lines.
            advice: What to do next; shown on a line of its own.
        """
        self.problem = problem
        self.advice = advice
        tag = f"[{self.area}] "
        lines = [*problem.splitlines(), *advice.splitlines()]
        super().__init__(tag + ("\n" + " " * len(tag)).join(lines))


class InputError(ZvaeError, ValueError):
    """What was handed in cannot be used; nothing was started."""

    area = "input"


class ConfigError(InputError):
    """A VAE configuration is not one this package can build."""

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
    """The decode does not fit the budget; nothing was started.

    Attributes:
        needed: The smallest budget in bytes that works.
    """

    area = "plan"

    def __init__(self, problem: str, advice: str = "", needed: int = 0) -> None:
        """Compose the message, and keep the number."""
        super().__init__(problem, advice)
        self.needed = needed


class PlanError(InputError):
    """A plan is not one for these latents, this VAE or this version."""

    area = "plan"


class OutputError(ZvaeError):
    """Rows could not be written."""

    area = "output"


class SilentFailureError(ZvaeError):
    """The device computed zeros, a flat map or NaN by mistake, or memory lost a result; also the second time."""

    area = "device"


class ForkError(ZvaeError):
    """MLX was used before this process was forked, and cannot compute here."""

    area = "process"


class BlasError(ZvaeError):
    """A BLAS library that was asked for by name cannot be loaded."""

    area = "blas"


class MissingExtraError(ZvaeError, ImportError):
    """An optional package is needed; the message names the extra that installs it."""

    area = "install"
