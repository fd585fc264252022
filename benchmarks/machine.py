"""Describes where figures come from, in one line: machine, versions, date."""

from __future__ import annotations

from zvae_tiled.devices.here import device_kind, device_name
from zvae_tiled.report.environment import environment


def describe() -> str:
    """Return one line with this machine, the versions, and the day."""
    kind = device_kind()
    here, card = environment(kind), "" if kind == "cpu" else f"{device_name()}, "
    versions = ", ".join(f"{name} {here['versions'][name]}" for name in ("python", "mlx", "numpy"))
    return (
        f"{here['day']}: {card}{here['processor']}, {here['cores']} cores, {here['system']}; {versions}, "
        f"BLAS {here['blas']}, kernels {here['kernels']}"
    )
