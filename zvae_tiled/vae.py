"""`VAE`: load once, then encode and decode."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx

from zvae_tiled import demo
from zvae_tiled.checks import path_of
from zvae_tiled.devices.forks import check_threads
from zvae_tiled.devices.here import available, this_device
from zvae_tiled.errors import InputError
from zvae_tiled.families import VAEConfig
from zvae_tiled.files.protect import Source
from zvae_tiled.inputs.arrays import OutputType
from zvae_tiled.inputs.images import read_images
from zvae_tiled.inputs.latents import read_latents
from zvae_tiled.jobs.decode import Decode, scaled_of
from zvae_tiled.jobs.encode import Encode
from zvae_tiled.jobs.job import Terms
from zvae_tiled.planner.budget import parse_budget
from zvae_tiled.planner.case import PlannedTask, planned_case, rows_and_columns
from zvae_tiled.planner.make import make_plan
from zvae_tiled.planner.plan import Plan
from zvae_tiled.planner.quality import Quality, quality_of
from zvae_tiled.report.progress import Listener
from zvae_tiled.report.report import Report
from zvae_tiled.weights.find import find_checkpoint
from zvae_tiled.weights.vae import DTYPES, Origin, chosen_config, dtype_name, read_weights, sources_of


class VAE:
    """A VAE with its weights. One that was loaded from files can be pickled: by their path, digest and type.

    Attributes:
        config: The shape of the model.
        dtype: The type of the weights, and of everything computed with them.
        weights: The weights by the names that diffusers gives them, convolutions as (O, H, W, I).
        sources: The files it was loaded from; none is ever replaced by what it decodes.
    """

    def __init__(
        self,
        config: VAEConfig,
        weights: Mapping[str, mx.array],
        dtype: mx.Dtype,
        sources: tuple[Source, ...] = (),
        origin: Origin | None = None,
    ) -> None:
        """Take weights that are loaded already; most callers want `VAE.load`."""
        self.config = config
        self.weights = weights
        self.dtype = dtype
        self.sources = sources
        self._origin = origin

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        dtype: str = "bfloat16",
        decoder_only: bool = True,
        config: VAEConfig | str | os.PathLike[str] | None = None,
    ) -> VAE:
        """Load a VAE from safetensors.

        Args:
            path: A diffusers folder (the VAE's, or a pipeline's with a ``vae`` folder in it), a ``.safetensors``
                file, or a shard index.
            dtype: ``bfloat16``, ``float32`` or ``float16``, for every tensor.
            decoder_only: Leave the encoder's bytes unread.
            config: A `VAEConfig`, a preset's name or a config.json. Default: the ``config.json`` beside the weights.

        Raises:
            ConfigError: There is no config, or it is not one that can be built.
            WeightsError: The checkpoint is unsafe, incomplete, or of another shape than the config says.
        """
        check_threads()
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise InputError(f"dtype must be one of {', '.join(DTYPES)}, it is {dtype!r}")
        checkpoint = find_checkpoint(path_of(path, "path"))
        chosen = chosen_config(config, checkpoint)
        sources = sources_of(checkpoint, config)
        weights = read_weights(checkpoint, chosen, DTYPES[dtype], decoder_only)
        return cls(chosen, weights, DTYPES[dtype], sources, Origin(checkpoint.absolute(), chosen, dtype, decoder_only))

    @classmethod
    def demo(cls, dtype: str = "bfloat16", decoder_only: bool = True) -> VAE:
        """Load the small trained VAE that comes with the package; `zvae_tiled.demo` has latents for it."""
        return cls.load(demo.FOLDER, dtype, decoder_only)

    def __reduce__(self) -> Any:
        """Pickle the place of the weights and their digest, not the weights.

        Raises:
            InputError: It was made in memory.
            WeightsError: A file that it was loaded from has changed since.
        """
        if self._origin is None:
            raise InputError(
                "this VAE was made in memory; only one that VAE.load read can be pickled",
                "Save its weights as safetensors, and load them.",
            )
        self._origin.check_unchanged(self.sources)
        return _load_again, (self._origin, self._origin.digest, tuple(source.path for source in self.sources))

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights that were loaded."""
        return sum(array.nbytes for array in self.weights.values())

    def plan(
        self,
        height: int,
        width: int,
        budget: str | float | None = None,
        batch: int = 1,
        task: PlannedTask = "decode",
        *,
        quality: str | Quality = "exact",
    ) -> Plan:
        """Plan a decode, or an encode, on this device, with this VAE's weights.

        Args:
            height: The picture's height in pixels.
            width: The picture's width in pixels.
            budget: "8GB", "500MB", a number of GB, "60%" of what is available now, or None for a safe share of it.
            batch: Pictures in the batch.
            task: ``decode`` if the finished pictures are held in memory; ``stream`` if their rows are handed on, or
                written to a file; ``encode``.
            quality: ``exact``, ``tiles`` or ``stream``, or `Tiles` with a tile, an overlap, a ramp, moments.

        Returns:
            The plan, which ``decode(latents, plan=…)`` replays.

        Raises:
            BudgetError: Nothing of this quality fits; it names the smallest budget that works.
        """
        rows, columns = rows_and_columns(height, width, self.config)
        device, weights = this_device(self.dtype), self.weight_bytes
        case = planned_case(self.config, rows, columns, device.name, dtype_name(self.dtype), batch, task)
        return make_plan(case, quality_of(quality), parse_budget(budget, available(weights)), device, weights)

    def prepare(
        self,
        latents: Any,
        *,
        raw: bool = False,
        budget: str | float | None = None,
        plan: Plan | None = None,
        quality: str | Quality = "exact",
        progress: bool | Listener = False,
        spill_folder: str | os.PathLike[str] | None = None,
    ) -> Decode:
        """Check and plan a decode, and start nothing; the arguments are those of `decode`.

        Returns:
            A `Decode`: ``.plan`` says what it will cost, ``.array()``, ``.write(path)`` and ``.rows()`` run it, and
            ``.report`` says what it took.
        """
        prepared = self._decode(latents, raw, Terms(budget, plan, quality, progress, spill_folder))
        _ = prepared.plan  # what does not fit is said here
        return prepared

    def decode(
        self,
        latents: Any,
        output_type: OutputType = "mx",
        *,
        raw: bool = False,
        budget: str | float | None = None,
        plan: Plan | None = None,
        quality: str | Quality = "exact",
        progress: bool | Listener = False,
        return_report: bool = False,
        spill_folder: str | os.PathLike[str] | None = None,
    ) -> Any:
        """Decode latents as a pipeline hands them over: scaled and shifted.

        Args:
            latents: (B, C, h, w) or (C, h, w), of mx, numpy or anything that speaks DLPack; or `Latents`, which say
                what a plain array cannot: that it is NHWC, or packed tokens, or not scaled.
            output_type: ``mx``, ``np``, ``pil`` or ``torch``.
            raw: Return the decoder's own values, about [-1, 1], neither clipped nor widened.
            budget: Memory this VAE and this decode may use: "8GB", "500MB", a number of GB, "60%" of what is
                available now, or None for a safe share of it.
            plan: A plan to replay, in place of a budget and a quality.
            quality: ``exact``; ``tiles``, or `Tiles` with a tile, an overlap, a ramp, moments; ``stream``: one sweep
                with estimated statistics. Only ``exact``, and tiles with global moments and enough overlap, give what
                a full decode gives.
            progress: True for a line on the terminal, or a function that takes a `Progress`.
            return_report: Return the pictures and a `Report` of what was predicted and what was measured.
            spill_folder: Where maps go that do not fit. Default: the system's folder for temporary files.

        Returns:
            Pictures as float32 (B, H, W, 3) in [0, 1]; a list of images for ``pil``.

        Raises:
            LatentsError: The latents cannot be decoded as they are.
            BudgetError: Nothing of the quality asked for fits the budget; nothing was started.
            OutputError: The disk is full, or cannot be written to.
            SilentFailureError: The device computed what cannot be right, twice.
        """
        job = self._decode(latents, raw, Terms(budget, plan, quality, progress, spill_folder))
        pictures = job.array(output_type)
        return (pictures, job.report) if return_report else pictures

    def decode_to_file(
        self,
        latents: Any,
        path: str | os.PathLike[str],
        *,
        bits: int | None = None,
        overwrite: bool = True,
        budget: str | float | None = None,
        plan: Plan | None = None,
        quality: str | Quality = "exact",
        progress: bool | Listener = False,
        spill_folder: str | os.PathLike[str] | None = None,
    ) -> Report:
        """Decode straight into a file, row by row; the file appears whole or not at all.

        Args:
            latents: As `decode` takes them.
            path: A ``.png``, ``.tiff``, ``.webp``, ``.jpg``, ``.npy`` or ``.safetensors`` (docs/files.md). Of a batch,
                picture 0 goes to ``name-0.png``, and so on.
            bits: Of a channel: 8 or 16 in a PNG; 8, 16 or 32 (float) in a TIFF, .npy or safetensors file; 8 in a JPEG
                or WebP. Default: 8 in pictures, 32 in arrays.
            overwrite: Whether a file that is there is replaced, once the new one is whole.
            budget: As in `decode`; a ``.png``, ``.npy`` or ``.safetensors`` takes none of it, a ``.tiff`` a row of
                tiles, a ``.jpg`` or ``.webp`` the whole picture.
            plan: As in `decode`.
            quality: As in `decode`.
            progress: As in `decode`.
            spill_folder: As in `decode`.

        Returns:
            What was predicted, and what was measured.

        Raises:
            OutputError: The file cannot be written, or is one of the VAE's own; nothing is left of it, and the latents
                are untouched.
        """
        job = self._decode(latents, False, Terms(budget, plan, quality, progress, spill_folder))
        return job.write(path, bits, overwrite)

    def stream(
        self,
        latents: Any,
        *,
        raw: bool = False,
        budget: str | float | None = None,
        plan: Plan | None = None,
        quality: str | Quality = "exact",
        progress: bool | Listener = False,
        spill_folder: str | os.PathLike[str] | None = None,
    ) -> Iterator[mx.array]:
        """Decode into rows (1, rows, W, 3), top to bottom, one picture of the batch after the other.

        Everything is checked and planned at the call; the arguments are those of `decode`. The budget does not
        cover rows that the caller keeps. Closing the iterator early frees everything.
        """
        return self._decode(latents, raw, Terms(budget, plan, quality, progress, spill_folder)).rows()

    def encode(
        self,
        images: Any,
        *,
        budget: str | float | None = None,
        plan: Plan | None = None,
        progress: bool | Listener = False,
        return_report: bool = False,
        spill_folder: str | os.PathLike[str] | None = None,
    ) -> Any:
        """Encode pictures, to what a full encode gives.

        Args:
            images: (B, H, W, 3) or (H, W, 3), floats in [0, 1] or uint8, of any library; or a PIL image. H and W are
                multiples of ``config.cell``.
            budget: As in `decode`; pictures and latents are part of it.
            plan: A plan to replay, made with ``task="encode"``, in place of a budget.
            progress: As in `decode`.
            return_report: Return the distribution and a `Report`.
            spill_folder: As in `decode`.

        Returns:
            The `LatentDistribution`, (B, C, h, w), shifted and scaled as a pipeline wants it.

        Raises:
            ImageError: The pictures cannot be encoded as they are.
            InputError: The encoder was not loaded.
            BudgetError: No exact plan fits the budget; nothing was started.
            OutputError: The disk is full, or cannot be written to.
            SilentFailureError: The device computed what cannot be right, twice.
        """
        if not self.config.chain("encode").shapes.keys() <= self.weights.keys():
            raise InputError(
                "encode needs the encoder; this VAE holds the decoder only",
                "Load it with decoder_only=False.",
            )
        job = Encode(self, read_images(images, self.config), Terms(budget, plan, "exact", progress, spill_folder))
        found = job.distribution()
        return (found, job.report) if return_report else found

    def _decode(self, latents: Any, raw: bool, terms: Terms) -> Decode:
        return Decode(self, read_latents(latents, self.config), scaled_of(latents), terms, raw)


def _load_again(origin: Origin, digest: str, sources: tuple[Path, ...]) -> VAE:
    """Load a VAE that was pickled, if its files are still those."""
    origin.check(digest)
    vae = VAE.load(origin.path, origin.dtype, origin.decoder_only, origin.config)
    vae.sources = tuple(map(Source.of, sources))  # a config.json elsewhere is one of them
    return vae
