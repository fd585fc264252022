"""`Likeness`: what workers must have in common to compute the same bits. It is compared before work begins."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from zvae_tiled._version import __version__
from zvae_tiled.cluster.ready import Model
from zvae_tiled.errors import ClusterError

ALLOWED = ("versions", "kernels")
"""Differences that a caller may allow, by name. Other weights are never allowed."""

PROBE = 6
"""Latents a side of the picture that every worker decodes for comparison, with the bundled VAE."""


@dataclass(frozen=True)
class Likeness:
    """What the bits of a picture depend on, beside its latents.

    Attributes:
        versions: Versions of this package, and of what computes, reads and writes pictures.
        kernels: The kernels that compute in each type, and a digest of a small picture that they decoded.
        weights: The SHA-256 of the weights and the config of each VAE.
    """

    versions: tuple[str, ...]
    kernels: tuple[str, ...]
    weights: tuple[str, ...]


def likeness(models: Sequence[Model]) -> Likeness:
    """Return the likeness of this process, for these VAEs.

    Raises:
        WeightsError: A VAE is not there.
    """
    dtypes = sorted({dtype for *_, dtype in models})
    kernels = tuple(part for dtype in dtypes for part in _kernels(dtype))
    return Likeness(versions(), kernels, tuple(_digest(*model[:2]) for model in models))


def own_likeness(models: Sequence[Model]) -> Likeness:
    """Return what the client itself has in common with its workers: not the kernels, for it computes nothing."""
    return Likeness(versions(), (), tuple(_digest(*model[:2]) for model in models))


def versions() -> tuple[str, ...]:
    """Return the versions of what computes, and of what decodes and compresses pictures, which decides files' bytes."""
    computing = (f"{name} {metadata.version(name)}" for name in ("mlx", "numpy"))
    return f"zvae_tiled {__version__}", *computing, f"zlib {zlib.ZLIB_RUNTIME_VERSION}", *_pillow()


def _pillow() -> tuple[str, ...]:
    """Return the versions of Pillow, if it is installed, and of its libraries."""
    try:
        import PIL
        from PIL import features
    except ImportError:
        return ("Pillow none",)
    libraries = (f"{name} {features.version(name)}" for name in ("jpg", "libjpeg_turbo", "webp"))
    return f"Pillow {PIL.__version__}", *libraries


def differences(one: Likeness, other: Likeness, allow: Sequence[str] = ()) -> dict[str, tuple[str, str]]:
    """Return by name what differs between two processes and is not allowed to: what the one has and the other."""
    pairs = {name: (getattr(one, name), getattr(other, name)) for name in ("versions", "kernels", "weights")}
    return {
        name: (", ".join(mine), ", ".join(theirs))
        for name, (mine, theirs) in pairs.items()
        if mine != theirs and name not in allow
    }


def check_alike(own: Likeness, workers: Mapping[str, Likeness], allow: Sequence[str]) -> Likeness:
    """Refuse workers that would compute other bits than each other, or from other weights than the client's.

    Args:
        own: The client's `own_likeness`.
        workers: The likeness of each worker, by its address.
        allow: Names of differences that are allowed.

    Returns:
        The likeness that all have.

    Raises:
        ClusterError: They are not alike. The error says who differs, and in what.
    """
    first, model = next(iter(workers.items()))
    lines, names = [], set[str]()
    for name, (mine, theirs) in differences(Likeness(own.versions[:1], (), own.weights), _of_client(model)).items():
        lines.append(f"{name}: here {mine}, on {first} {theirs}")
        names.add(name)
    for address, each in workers.items():
        for name, (mine, theirs) in differences(model, each, allow).items():
            lines.append(f"{name}: on {first} {mine}, on {address} {theirs}")
            names.add(name)
    if not lines:
        return model
    problem = "the workers would not compute the same bits from the same weights:\n" + "\n".join(lines)
    raise ClusterError(problem, _advice(names))


def _of_client(worker: Likeness) -> Likeness:
    """Return what of a worker's likeness a client must have too: this package's version, and the weights."""
    return Likeness(worker.versions[:1], (), worker.weights)


def _advice(names: set[str]) -> str:
    if "weights" in names:
        return "Put the same files at the same path on every machine."
    fixes = {
        "versions": "Install the same versions everywhere",
        "kernels": "Set ZVAE_KERNELS to a path that all of them have, such as portable",
    }
    return f"{', and '.join(fixes[name] for name in sorted(names))}. Or allow {' and '.join(sorted(names))} (allow=)."


@cache
def _kernels(dtype: str) -> tuple[str, str]:
    """Return the name of this device with its kernels, and a digest of what they compute."""
    import numpy as np

    from zvae_tiled.devices.here import this_device
    from zvae_tiled.vae import VAE

    vae = VAE.demo(dtype)
    shape = (1, vae.config.latent_channels, PROBE, PROBE)
    latents = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    pixels = vae.decode(latents, "np", raw=True).astype(np.float32)
    return this_device(vae.dtype).name, f"sha256 {hashlib.sha256(pixels.tobytes()).hexdigest()[:12]}"


def _digest(path: str, config: str | None) -> str:
    """Return the SHA-256 of the weights and the config of a VAE, with the name of its file."""
    from zvae_tiled.families import weightless
    from zvae_tiled.files.opening import unreadable
    from zvae_tiled.weights.find import find_checkpoint
    from zvae_tiled.weights.hub import located
    from zvae_tiled.weights.recognise import chosen_config
    from zvae_tiled.weights.vae import Origin

    place = located(Path(path))
    if weightless(place) is not None:
        return path
    checkpoint = find_checkpoint(place)
    chosen = chosen_config(config, checkpoint)
    try:
        digest = Origin(checkpoint.absolute(), chosen, "", True).digest
    except OSError as error:
        raise unreadable(place, error) from error
    return f"{place} {hashlib.sha256(f'{digest} {chosen}'.encode()).hexdigest()[:12]}"
