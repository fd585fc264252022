"""Where figures come from, in a line: machine, versions, date."""

from __future__ import annotations

from zvae_tiled.devices.here import device_kind
from zvae_tiled.report.environment import environment


def describe() -> str:
    """Return one line on this machine, the versions, and the day."""
    found = environment(device_kind())
    versions = ", ".join(f"{name} {found['versions'][name]}" for name in ("python", "mlx", "numpy"))
    return (
        f"{found['day']}: {found['processor']}, {found['cores']} cores, {found['system']}; {versions}, "
        f"BLAS {found['blas']}, kernels {found['kernels']}"
    )
