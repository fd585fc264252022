"""`zvae doctor`: shows what this machine offers a decode, and how to improve it."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from itertools import starmap

import click

from zvae_tiled.cli.command import Command
from zvae_tiled.cli.variables import without_wrong_variables
from zvae_tiled.wording import duration


@dataclass(frozen=True)
class Finding:
    """One line of output.

    Attributes:
        name: The subject.
        value: Its state.
        advice: How to improve it, with the command. Default: nothing to improve.
    """

    name: str
    value: str
    advice: str = ""


@click.command(cls=Command, short_help="Check this machine, and show what to improve.")
def doctor() -> None:
    """Check device, MLX, BLAS, memory, limits and files, and show what to improve and how."""
    with without_wrong_variables() as wrong:
        findings = [*starmap(Finding, wrong), *_device(), *_memory(), *_files()]
    for each in findings:
        click.echo(f"{each.name:<12} {each.value}")
    advice = [each for each in findings if each.advice]
    click.echo("\nTo improve:" if advice else "\nNothing to improve.")
    for each in advice:
        click.echo(f"  {each.name}: {each.advice}")


def _device() -> list[Finding]:
    from zvae_tiled._version import __version__
    from zvae_tiled.devices.blas import INSTALL, preload
    from zvae_tiled.devices.here import device_kind, device_name, mlx_version, stored_calibration, this_device
    from zvae_tiled.devices.native_cpu.choice import MLX, native_status

    kind, blas, device, native = device_kind(), preload(), this_device(), native_status()
    calibration, why = stored_calibration()
    compute, attention = device.speeds.convolutions / 1e9, device.speeds.attention / 1e9
    speeds = f"{compute:,.0f} GFLOP/s ({attention:,.0f} in attention), disk {device.disk / 1e9:,.1f} GB/s"
    slow = kind == "cpu" and native.path == MLX and blas.name == "builtin" and "system's own" not in blas.reason
    idle = kind == "cpu" and native.path != MLX
    why_blas = f"not needed, for the {native.path} kernels compute" if idle else blas.reason
    faster = "; ".join(filter(None, (native.advice, *map(str, calibration.proposals if calibration else ()))))
    return [
        Finding("zvae_tiled", __version__),
        Finding("device", f"{device_name()} ({kind})", _lost_cuda() if kind == "cpu" else ""),
        Finding("MLX", mlx_version()),
        Finding("BLAS", f"{blas.name}: {why_blas}", f"{INSTALL}  (some 30 times faster)" if slow else ""),
        *([Finding("kernels", f"{native.path}: {native.reason}", faster)] if kind == "cpu" else []),
        Finding("speed", f"{speeds}, {'measured' if calibration else 'assumed'}"),
        Finding("calibration", why, "" if calibration else "zvae calibrate  (some 40 seconds, once)"),
        *([Finding("calibrated", f"{_age()} ago")] if calibration else []),
    ]


def _lost_cuda() -> str:
    """Return how to get MLX's library for CUDA back, where that for a CPU was installed over it; else nothing."""
    from zvae_tiled.devices.installed import installed, replaced

    for name in ("mlx-cuda-13", "mlx-cuda-12"):
        if installed("mlx-cpu") and replaced(name, "mlx/lib/libmlx.so"):
            command = f"pip install --force-reinstall --no-deps {name}=={metadata.version(name)}"
            return f"{command}  (mlx-cpu was installed over its library, so MLX has no GPU)"
    return ""


def _age() -> str:
    """Return the time since this device was calibrated."""
    from zvae_tiled.devices.here import device_kind, device_name, mlx_version
    from zvae_tiled.planner.calibration import calibration_file

    file = calibration_file(device_kind(), device_name(), mlx_version())
    return duration(max(0.0, time.time() - file.stat().st_mtime))


def _memory() -> list[Finding]:
    import mlx.core as mx

    from zvae_tiled.devices.here import available, device_kind, this_device, working_set_limit
    from zvae_tiled.planner.budget import SAFE_SHARE, available_memory

    usable, limit, largest = available(0), working_set_limit(), this_device().max_buffer
    findings = [
        Finding("memory", str(available_memory())),
        Finding("budget", f"default: {SAFE_SHARE:.0%} of {usable}"),
    ]
    if limit is not None:
        advice = "sudo sysctl iogpu.wired_limit_mb=MEGABYTES raises it until the next restart"
        suffix = f"; {advice}" if device_kind() == "metal" else ""
        findings.append(Finding("GPU limit", f"{limit / 1e9:,.1f} GB{suffix}"))
    if largest < 1 << 60:
        findings.append(Finding("buffer limit", f"{largest / 1e9:,.1f} GB"))
    others = mx.get_active_memory()
    return [*findings, Finding("in use", f"{others / 1e9:,.1f} GB of MLX arrays")] if others else findings


def _vae() -> Finding:
    from zvae_tiled.errors import ConfigError, WeightsError
    from zvae_tiled.families import weightless
    from zvae_tiled.weights.find import find_checkpoint
    from zvae_tiled.weights.hub import default_path

    other = "export ZVAE_VAE=FOLDER, or --vae FOLDER, or --vae demo to try"
    named = os.environ.get("ZVAE_VAE")
    try:
        path = default_path()
        if not weightless(path):
            find_checkpoint(path)
    except (ConfigError, WeightsError) as error:
        if not named and isinstance(error, ConfigError):
            return Finding("VAE", "none set in $ZVAE_VAE, none in the Hugging Face cache", other)
        advice = " ".join(f"{error.problem.removesuffix('.')}. Check it, or {other}".split())
        return Finding("VAE", f"{named or 'that of the Hugging Face cache'}, which cannot be used", advice)
    return Finding("VAE", str(path))


def _files() -> list[Finding]:
    from zvae_tiled.files.temporary import temporary_folder

    folder = temporary_folder()
    pillow = ("installed", "") if find_spec("PIL") is not None else ("not installed", "pip install 'zvae-tiled[pil]'")
    return [
        _vae(),
        Finding("spill folder", f"{folder}, {shutil.disk_usage(folder).free / 1e9:,.1f} GB free"),
        Finding("Pillow", *pillow),
    ]
