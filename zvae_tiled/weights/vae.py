"""Loads the weights of a VAE from a checkpoint, by the names that diffusers gives them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import mlx.core as mx
import numpy as np

from zvae_tiled.checks import nearest, shown, truth
from zvae_tiled.errors import InputError, WeightsError
from zvae_tiled.families import PRESETS, Task, VAEConfig
from zvae_tiled.files.opening import unreadable
from zvae_tiled.files.protect import Source
from zvae_tiled.weights.arrays import Arrays
from zvae_tiled.weights.find import Checkpoint
from zvae_tiled.weights.load import load_weights
from zvae_tiled.weights.mosaics import shapes_in_file
from zvae_tiled.weights.video import apart, stored_shapes

DTYPES = {"float32": mx.float32, "bfloat16": mx.bfloat16, "float16": mx.float16}


ENCODER = ("encoder.", "quant_conv.")
"""Prefixes of the names of weights that a decode does not need."""


def dtype_of(name: object) -> mx.Dtype:
    """Return the type of this name.

    Raises:
        InputError: There is no such type.
    """
    if not isinstance(name, str) or name not in DTYPES:
        raise InputError(f"dtype must be one of {', '.join(DTYPES)}, it is {shown(name)}", nearest(name, DTYPES))
    return DTYPES[name]


def dtype_name(dtype: mx.Dtype) -> str:
    """Return the name of this type in `VAE.load`."""
    return next(name for name, each in DTYPES.items() if each == dtype)


def sources_of(checkpoint: Checkpoint, config: VAEConfig | str | os.PathLike[str] | None) -> tuple[Source, ...]:
    """Return the files that a VAE is loaded from.

    Args:
        checkpoint: Its weights.
        config: As in `chosen_config`.
    """
    config_files = [] if config is None or isinstance(config, VAEConfig) or config in PRESETS else [Path(config)]
    return tuple(Source.of(path) for path in (*checkpoint.paths, *config_files))


def read_weights(
    source: Checkpoint | Arrays, config: VAEConfig, dtype: mx.Dtype, decoder_only: bool, video: bool = False
) -> dict[str, mx.array]:
    """Read the weights of the decoder, or of both halves, tensor by tensor.

    Args:
        source: The checkpoint.
        config: The VAE's config.
        dtype: The type of the weights.
        decoder_only: Whether the encoder is skipped.
        video: Whether all temporal slices of the decoder's convolutions are read.

    Raises:
        ConfigError: `video` is set, and this VAE decodes no videos.
        WeightsError: The weights are unsafe or incomplete, or do not fit the config.
    """
    tasks: tuple[Task, ...] = ("decode",) if truth("decoder_only", decoder_only) else ("decode", "encode")
    temporal = stored_shapes(config) if truth("video", video) else {}
    weights: dict[str, mx.array] = {}
    ignored = (*config.unused, *(ENCODER if decoder_only else ()))
    load_weights(
        source,
        shapes_of(config, tasks) | temporal,
        dtype,
        assign=lambda name, array: weights.update(apart(name, array)),
        ignore=ignored,
        wide=config.latents.shapes.keys(),
        causal=config.causal,
        mosaics=config.mosaics(),
    )
    _check_statistics(config, weights)
    return weights


def _check_statistics(config: VAEConfig, weights: Mapping[str, mx.array]) -> None:
    """Refuse variances of which no latents can be made.

    Raises:
        WeightsError: One is below 0, so far that its root is no number.
    """
    stored = config.latents.statistics
    if stored is None:
        return
    least = float(np.asarray(weights[stored.variance].astype(mx.float32)).min())
    if least + stored.eps <= 0:
        raise WeightsError(
            f"{stored.variance} must be variances, above {-stored.eps:g}; one is {least:g}",
            "Download the weights again, or export them again.",
        )


def shapes_of(config: VAEConfig, tasks: Iterable[Task] = ("decode", "encode")) -> dict[str, tuple[int, ...]]:
    """Return the shape of every weight that these tasks need."""
    chains = (config.chain(task) for task in tasks)
    used = {name: shape for chain in chains for name, shape in chain.shapes.items()}
    return used | config.latents.shapes | config.marks


def file_shapes(config: VAEConfig, tasks: Iterable[Task] = ("decode", "encode")) -> dict[str, tuple[int, ...]]:
    """Return the shape in which a file has each of these weights."""
    return shapes_in_file(shapes_of(config, tasks), config.mosaics())


def zero_biases(config: VAEConfig, weights: Mapping[str, mx.array], dtype: mx.Dtype) -> dict[str, mx.array]:
    """Return zeros as the biases of convolutions that have none."""
    tasks: tuple[Task, ...] = ("decode", "encode")
    without = [step for task in tasks for step in config.chain(task).steps if not step.bias]
    present = [step for step in without if weights.keys() >= step.shapes.keys()]
    zeros = {f"{step.name}.bias": mx.zeros(step.outputs, dtype=dtype) for step in present}
    mx.eval(zeros)  # what one thread leaves lazy, another cannot evaluate
    return zeros


@dataclass(frozen=True)
class Origin:
    """The files and options a VAE was loaded with: all that is needed to load it again.

    Attributes:
        checkpoint: The files.
        config: The config.
        dtype: The type's name.
        decoder_only: Whether the encoder was skipped.
        video: Whether the kernels between frames were loaded.
    """

    checkpoint: Checkpoint
    config: VAEConfig
    dtype: str
    decoder_only: bool
    video: bool = False

    @property
    def path(self) -> Path:
        """The file to load: the weights, or the index of their shards."""
        return self.checkpoint.index or self.checkpoint.files[0]

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the files with weights."""
        total = hashlib.sha256()
        for path in self.checkpoint.files:
            with open(path, "rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        return total.hexdigest()

    def check_unchanged(self, sources: Iterable[Source]) -> None:
        """Refuse to pickle the digest of files that have changed since they were loaded.

        Args:
            sources: The files as they were when they were read.

        Raises:
            WeightsError: A file with weights has changed, or is gone.
        """
        for source in sources:
            if source.path in self.checkpoint.files and source.changed:
                raise WeightsError(
                    f"{source.path} has changed since this VAE was loaded from it",
                    "Load the VAE again, from the file as it is now, and pickle that VAE.",
                )

    def check(self, digest: str) -> None:
        """Refuse files whose SHA-256 is not `digest`.

        Raises:
            WeightsError: The files have changed, or cannot be read.
        """
        try:
            current = Origin(self.checkpoint, self.config, self.dtype, self.decoder_only).digest
        except OSError as error:
            raise unreadable(self.path, error) from error
        if current != digest:
            raise WeightsError(
                f"{self.path} has changed since the VAE was pickled: its SHA-256 was {digest[:12]}…, it is now "
                f"{current[:12]}…",
                "Load the VAE again, from the file as it is now, and pickle that VAE.",
            )
