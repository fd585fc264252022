"""`VAE`: loads the weights once, then encodes and decodes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import mlx.core as mx

from zvae_tiled import demo
from zvae_tiled.checks import path_of, shown, truth
from zvae_tiled.devices.blas import preload
from zvae_tiled.devices.forks import check_threads
from zvae_tiled.devices.here import available, device_kind, this_device
from zvae_tiled.errors import InputError
from zvae_tiled.families import VAEConfig, preset_names, weightless
from zvae_tiled.files.protect import Source
from zvae_tiled.inputs.arrays import OutputType, PixelType
from zvae_tiled.inputs.images import read_images
from zvae_tiled.inputs.latents import check_order, read_latents
from zvae_tiled.inputs.video import read_video
from zvae_tiled.jobs.decode import Decode, scaled_of, texts_of
from zvae_tiled.jobs.encode import Encode
from zvae_tiled.jobs.job import Terms
from zvae_tiled.jobs.preview import Preview, check_tiny, found_tiny
from zvae_tiled.jobs.video import Video
from zvae_tiled.jobs.writers import FileNames, gathered_for
from zvae_tiled.planner.budget import parse_budget
from zvae_tiled.planner.case import PlannedTask, planned_case, rows_and_columns
from zvae_tiled.planner.plan import Plan
from zvae_tiled.planner.quality import Quality, quality_of
from zvae_tiled.planner.remembered import remembered_plan
from zvae_tiled.planner.storage import Storage, disk_limit_of
from zvae_tiled.report.progress import Listener
from zvae_tiled.report.report import Report
from zvae_tiled.shortage import CLOSE, shortages
from zvae_tiled.sinks import Place
from zvae_tiled.weights.arrays import Arrays
from zvae_tiled.weights.find import find_checkpoint
from zvae_tiled.weights.hub import located
from zvae_tiled.weights.modules import module_config, module_tensors
from zvae_tiled.weights.recognise import chosen_config
from zvae_tiled.weights.vae import Origin, dtype_name, dtype_of, read_weights, sources_of, zero_biases
from zvae_tiled.wording import listed, size


class VAE:
    """A VAE with its weights. If it was loaded from files, it can be pickled: the pickle has their path and digest.

    Attributes:
        config: The shape of the model.
        dtype: The type of the weights, and of everything computed with them.
        weights: The weights by their diffusers names, convolutions as (O, H, W, I).
        sources: The files it was loaded from. Its output never replaces one of them.
    """

    def __init__(
        self,
        config: VAEConfig,
        weights: Mapping[str, mx.array] | None = None,
        dtype: mx.Dtype | None = None,
        sources: tuple[Source, ...] = (),
        origin: Origin | None = None,
    ) -> None:
        """Take loaded weights. Most callers should use `VAE.load`.

        Raises:
            InputError: This is no config with weights and a type, such as the path of a VAE.
        """
        if not isinstance(config, VAEConfig) or weights is None or dtype is None:
            place = shown(str(config)) if isinstance(config, str | os.PathLike) else "path"
            advice = "Load one: VAE.demo()." if place == "'demo'" else f"Load one: VAE.load({place})."
            raise InputError("VAE() needs a VAEConfig, weights and their dtype", advice)
        self.config = config
        self.weights = {**weights, **zero_biases(config, weights, dtype)}
        self.dtype = dtype
        self.sources = sources
        self._origin = origin

    @classmethod
    @shortages("loading the VAE", CLOSE)
    def load(
        cls,
        path: str | os.PathLike[str],
        dtype: str = "bfloat16",
        decoder_only: bool = True,
        config: VAEConfig | str | os.PathLike[str] | None = None,
        video: bool = False,
    ) -> VAE:
        """Load a VAE from safetensors.

        Args:
            path: A diffusers folder (the VAE's, or a pipeline's with a ``vae`` folder in it), a ``.safetensors``
                file, or a shard index. Or a model that is in the local Hugging Face cache, by its name
                (``Tongyi-MAI/Z-Image-Turbo``) or by a preset's (``z-image``). Or a preset that has no weights:
                ``pixel-space``.
            dtype: ``bfloat16``, ``float32`` or ``float16``, for every tensor.
            decoder_only: Whether to skip the weights of the encoder.
            config: A `VAEConfig`, a preset's name or a config.json. Default: the ``config.json`` beside the weights,
                else the preset whose names and shapes the weights have.
            video: Whether to load the decoder's kernels between frames too, which `video` needs.

        Raises:
            ConfigError: No VAE can be built from the config; or there is none, and the weights fit no preset, or
                several that differ in their latents.
            WeightsError: The checkpoint is unsafe or incomplete, or does not fit the config.
        """
        check_threads()
        preload()  # an error of ZVAE_BLAS
        device_kind()  # before the first tensor: ZVAE_DEVICE may name the CPU
        kind, place = dtype_of(dtype), located(path_of(path, "path"))
        without = weightless(place)
        if without is not None:
            return cls(without, {}, kind)
        checkpoint = find_checkpoint(place)
        vae_config = chosen_config(config, checkpoint)
        sources = sources_of(checkpoint, config)
        weights = read_weights(checkpoint, vae_config, kind, decoder_only, video)
        origin = Origin(checkpoint.absolute(), vae_config, dtype, decoder_only, video)
        return cls(vae_config, weights, kind, sources, origin)

    @classmethod
    def from_state_dict(
        cls,
        tensors: Mapping[str, Any],
        config: VAEConfig | str | os.PathLike[str] | None = None,
        dtype: str = "bfloat16",
        decoder_only: bool = True,
        video: bool = False,
    ) -> VAE:
        """Copy a VAE from tensors in memory. Beside the copy, no more than one tensor exists twice at a time.

        Args:
            tensors: Names and arrays of torch, mx, numpy or any library with DLPack. Names and layouts are those that
                `load` reads in files.
            config: As in `load`. Default: the preset whose names and shapes the tensors have.
            dtype: As in `load`.
            decoder_only: As in `load`.
            video: As in `load`.

        Raises:
            ConfigError: As in `load`.
            WeightsError: The tensors are incomplete, or do not fit the config.
        """
        return cls._copied(Arrays(tensors), config, dtype, decoder_only, video)

    @classmethod
    def from_module(
        cls,
        module: Any,
        config: VAEConfig | str | os.PathLike[str] | None = None,
        dtype: str = "bfloat16",
        decoder_only: bool = True,
        video: bool = False,
    ) -> VAE:
        """Copy a VAE from a module of torch (diffusers) or MLX (mflux), tensor by tensor.

        Args:
            module: Such as ``pipeline.vae``.
            config: As in `load`. Default: the config that a module of diffusers keeps, else the preset whose names and
                shapes the tensors have.
            dtype: As in `load`.
            decoder_only: As in `load`.
            video: As in `load`.

        Raises:
            ConfigError: As in `load`.
            WeightsError: The tensors are incomplete, or do not fit the config.
        """
        tensors = module_tensors(module)
        own = module_config(module) if config is None else config
        return cls._copied(tensors, own, dtype, decoder_only, video)

    @classmethod
    @shortages("copying the VAE", CLOSE)
    def _copied(
        cls,
        tensors: Arrays,
        config: VAEConfig | str | os.PathLike[str] | None,
        dtype: str,
        decoder_only: bool,
        video: bool,
    ) -> VAE:
        check_threads()
        preload()  # an error of ZVAE_BLAS
        device_kind()  # before the first tensor: ZVAE_DEVICE may name the CPU
        kind, vae_config = dtype_of(dtype), chosen_config(config, tensors)
        return cls(vae_config, read_weights(tensors, vae_config, kind, decoder_only, video), kind)

    @classmethod
    def demo(cls, dtype: str = "bfloat16", decoder_only: bool = True) -> VAE:
        """Load the small trained VAE bundled in this package. `zvae_tiled.demo` has latents for it."""
        return cls.load(demo.FOLDER, dtype, decoder_only)

    def __repr__(self) -> str:
        """Return a line: the class of the VAE, its preset, the type, the bytes, the file."""
        presets = listed(preset_names(self.config), 2)
        known = f" ({presets})" if presets else ""
        place = "" if self._origin is None else f", {self._origin.path}"
        return f"<VAE {self.config.class_name}{known}, {dtype_name(self.dtype)}, {size(self.weight_bytes)}{place}>"

    def __reduce__(self) -> Any:
        """Pickle the path and the digest of the weights, not the weights.

        Raises:
            InputError: The VAE was made in memory.
            WeightsError: A file with its weights has changed since it was loaded.
        """
        if self._origin is None:
            raise InputError(
                "this VAE was made in memory; only a VAE from VAE.load can be pickled",
                "Save its weights as safetensors, and load them.",
            )
        self._origin.check_unchanged(self.sources)
        return _load_again, (self._origin, self._origin.digest, tuple(source.path for source in self.sources))

    @property
    def weight_bytes(self) -> int:
        """Bytes of the loaded weights."""
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
        disk_limit: str | float | None = None,
        work: bool = False,
        output: FileNames | None = None,
        bits: int | None = None,
    ) -> Plan:
        """Plan a decode or an encode on this device, with this VAE's weights.

        Args:
            height: The picture's height in pixels.
            width: The picture's width in pixels.
            budget: "8GB", "500MB", a number of GB, or "60%" of the memory available now. Default: 70 % of it.
            batch: Number of pictures in the batch.
            task: ``decode`` if the finished pictures are held in memory, ``stream`` if their rows are yielded or
                written to a file as they are finished, or ``encode``.
            quality: ``exact``, ``sampled``, ``tiles`` or ``stream``; or `Sampled` with keys and a tolerance; or `Tiles`
                with a tile, an overlap, a ramp, moments.
            disk_limit: As in `decode`. A share is one of the disk of the system's folder for temporary files.
            work: Whether all maps are stored on disk, as in `decode_to_file` with a work folder.
            output: The file that a ``stream`` is written to, or a list of files: the rows that they gather count
                against the budget, as in `decode_to_file`. Names are enough: no file need exist. Default: no file.
            bits: Bits of a channel in these files, as in `decode_to_file`.

        Returns:
            The plan. ``decode(latents, plan=…)`` replays it.

        Raises:
            BudgetError: No plan of this quality fits. The error names the smallest budget that works.
            OutputError: An ending of `output` names no format, or its format cannot hold the picture.
        """
        rows, columns = rows_and_columns(height, width, self.config)
        device, weights = this_device(self.dtype), self.weight_bytes
        case = planned_case(self.config, rows, columns, device.name, dtype_name(self.dtype), batch, task)
        limit = parse_budget(budget, available(weights))
        storage = Storage(disk_limit_of(disk_limit), truth("work", work))
        gathered = gathered_for(output, bits, case)
        return remembered_plan(case, quality_of(quality), limit, device, weights, gathered, storage)

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
        disk_limit: str | float | None = None,
    ) -> Decode:
        """Check and plan a decode without starting it. The arguments are those of `decode`.

        Returns:
            A `Decode`. Its ``.plan`` has the predictions. Its ``.array()``, ``.write(path)`` and ``.rows()`` run it.
            Then its ``.report`` has the measurements.
        """
        job = self._decode(latents, raw, Terms(budget, plan, quality, progress, spill_folder, disk_limit))
        _ = job.plan  # raises here if nothing fits
        return job

    def decode(
        self,
        latents: Any,
        output_type: OutputType = "mx",
        *,
        dtype: PixelType = "float32",
        layout: Literal["NHWC", "NCHW"] = "NHWC",
        raw: bool = False,
        budget: str | float | None = None,
        plan: Plan | None = None,
        quality: str | Quality = "exact",
        progress: bool | Listener = False,
        return_report: bool = False,
        spill_folder: str | os.PathLike[str] | None = None,
        disk_limit: str | float | None = None,
    ) -> Any:
        """Decode a pipeline's latents: scaled and shifted.

        Args:
            latents: (B, C, h, w) or (C, h, w), as an array of mx, numpy or any library with DLPack; or `Latents`, for
                NHWC, packed tokens, or latents that are not scaled.
            output_type: ``mx``, ``np``, ``pil`` or ``torch``.
            dtype: ``float32``; or ``uint8``, the very bytes of an 8-bit PNG, in a quarter of the memory.
            layout: ``NHWC``, or ``NCHW`` for (B, 3, H, W).
            raw: Whether to return the decoder's own values, about [-1, 1]. They are not clipped, and keep the VAE's
                type as ``mx``.
            budget: Memory this VAE and this decode may use: "8GB", "500MB", a number of GB, or "60%" of the memory
                available now. Default: 70 % of it.
            plan: A plan to replay, in place of a budget and a quality.
            quality: ``exact``; ``sampled``, or `Sampled` with keys and a tolerance; ``tiles``, or `Tiles` with a tile,
                an overlap, a ramp, moments; or ``stream``, one sweep with estimated statistics. The result is that of a
                full decode only with ``exact``, or with tiles with global moments and enough overlap.
            progress: True for a line on the terminal, or a function that takes a `Progress`.
            return_report: Whether to return a `Report` of predictions and measurements too.
            spill_folder: The folder for spilled maps. Default: the system's folder for temporary files.
            disk_limit: The most bytes of maps on disk: "200GB", a number of GB, 0, or "50%" of the free space on
                the disk where they are stored. Maps beyond it are computed again. Default: any.

        Returns:
            Pictures as float32 (B, H, W, 3) in [0, 1], or as `dtype` and `layout` say; a list of images for ``pil``.

        Raises:
            LatentsError: The latents cannot be decoded as they are.
            BudgetError: No plan of this quality fits the budget. Nothing was started.
            OutputError: The disk is full, or cannot be written to.
            SilentFailureError: The device computed values that cannot be right, twice.
            OutOfMemoryError: Memory ran out. If the budget is a share of the free memory, a second plan was made for
                what was left, and memory ran out again.
        """
        wanted = truth("return_report", return_report)
        job = self._decode(latents, raw, Terms(budget, plan, quality, progress, spill_folder, disk_limit))
        pictures = job.array(output_type, dtype, layout)
        return (pictures, job.report) if wanted else pictures

    def decode_to_file(
        self,
        latents: Any,
        path: Place | Sequence[Place],
        *,
        format: str | None = None,
        bits: int | None = None,
        overwrite: bool = True,
        budget: str | float | None = None,
        plan: Plan | None = None,
        quality: str | Quality = "exact",
        progress: bool | Listener = False,
        spill_folder: str | os.PathLike[str] | None = None,
        disk_limit: str | float | None = None,
        work: str | os.PathLike[str] | None = None,
    ) -> Report:
        """Decode into a file, row by row. The file appears whole or not at all.

        Args:
            latents: As in `decode`.
            path: A ``.png``, ``.tiff``, ``.ptif``, ``.dzi``, ``.webp``, ``.jpg``, ``.npy`` or ``.safetensors``
                file. Picture 0 of a batch is written to ``name-0.png``, and so on. Or a file object, open as binary,
                for one picture: it is written as rows are finished, from where it stands, and never closed. Or a list
                of them, which one decode writes; its files appear together or not at all.
            format: The format in a file object: ``png``, ``jpeg``, ``webp``, ``npy``, ``safetensors``, or ``tiff``
                where the object can seek. The ending of a path names its own.
            bits: Bits of a channel: 8 or 16 in a PNG; 8, 16 or 32 (float) in a TIFF, .npy or safetensors file; 8 in a
                JPEG or WebP. Default: 8 in pictures, 32 in arrays.
            overwrite: Whether an existing file is replaced, when the new one is complete.
            budget: As in `decode`. It also covers the rows that the file gathers: none in a ``.npy`` or
                ``.safetensors``, what all cores compress in a ``.png``, a row of tiles beside that in a ``.tiff``, the
                whole picture in a ``.jpg`` or ``.webp``. What a file object itself keeps is not counted.
            plan: As in `decode`.
            quality: As in `decode`.
            progress: As in `decode`.
            spill_folder: As in `decode`.
            disk_limit: As in `decode`.
            work: A work folder, so that nothing is lost in a crash: the same call goes on where another process was
                killed, and writes the same bytes. All maps and parts of the files lie in it, with a journal; it is
                removed when the files are complete. Exact decodes only. Default: none, and nothing remains after a
                crash.

        Returns:
            A report of predictions and measurements.

        Raises:
            OutputError: The file cannot be written, or is one of the VAE's files. No part of it is left, and the
                latents are unchanged. Only what was written into a file object cannot be taken back.
        """
        check_order(latents, path)
        job = self._decode(latents, False, Terms(budget, plan, quality, progress, spill_folder, disk_limit, work))
        return job.write(path, bits=bits, overwrite=overwrite, format=format)

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
        disk_limit: str | float | None = None,
    ) -> Iterator[mx.array]:
        """Decode into rows (1, rows, W, 3), top to bottom, one picture of the batch after the other.

        Everything is checked and planned at the call. The arguments are those of `decode`. The budget does not cover
        rows that the caller keeps. Closing the iterator early frees everything.
        """
        return self._decode(latents, raw, Terms(budget, plan, quality, progress, spill_folder, disk_limit)).rows()

    @shortages("reading latents", CLOSE)
    def video(
        self,
        latents: Any,
        *,
        budget: str | float | None = None,
        progress: bool | Listener = False,
        spill_folder: str | os.PathLike[str] | None = None,
    ) -> Video:
        """Plan the decode of a video of Wan 2.1 or Qwen-Image: exact, and frame by frame.

        The memory it takes depends neither on the number of frames, beside their latents, nor on the height, beside one
        frame with ``.frames()``: what is carried from frame to frame is spilled where the budget has no room for it.
        The VAE must be loaded with ``video=True``.

        Args:
            latents: A pipeline's latents of one video, (1, C, frames, h, w), in any form that `decode` takes.
            budget: As in `decode`.
            progress: As in `decode`. A sweep is a frame.
            spill_folder: As in `decode`.

        Returns:
            A `Video`. Its ``.frames()`` and ``.write(pattern)`` run it. Its ``.plan`` has the predictions. All three
            raise a BudgetError if no plan fits the budget: each needs another one.

        Raises:
            ConfigError: This VAE decodes no videos.
            InputError: This VAE holds the weights of one frame.
            LatentsError: The latents are not those of one video.
            OutOfMemoryError: Memory ran out while the latents were read.
        """
        _ = self.config.video()  # raises here if this VAE is one of pictures
        terms = Terms(budget, progress=progress, spill_folder=spill_folder)
        return Video(self, read_video(latents, self.config), scaled_of(latents), terms)

    @shortages("planning a quick look", CLOSE)
    def preview(
        self,
        latents: Any,
        *,
        tiny: VAE | str | os.PathLike[str] | None = None,
        budget: str | float | None = None,
        progress: bool | Listener = False,
        spill_folder: str | os.PathLike[str] | None = None,
    ) -> Preview:
        """Plan a quick look at latents, which takes about a second. It is not the picture of a full decode.

        A tiny decoder of the same latents decodes them, if there is one: TAESD for SD 1 and 2, TAEF1 for FLUX.1 and
        Z-Image, TAEHV for Qwen-Image and Wan, and so on. Else this VAE decodes a smaller map of them. Latents that
        would take longer are shrunk.

        Args:
            latents: As in `decode`.
            tiny: The tiny decoder, or its path. Default: the one of this VAE's preset in the Hugging Face cache, if it
                is there.
            budget: As in `decode`. It includes this VAE.
            progress: As in `decode`.
            spill_folder: As in `decode`.

        Returns:
            A `Preview`. Its ``.array()``, ``.write(path)`` and ``.rows()`` run it. Its ``.made_by`` says what decodes
            which part of the latents.

        Raises:
            LatentsError: The latents cannot be decoded as they are.
            ConfigError: `tiny` is no tiny decoder of these latents.
            BudgetError: The budget is too small.
            OutOfMemoryError: Memory ran out while it was planned.
        """
        given = read_latents(latents, self.config)
        decoder = found_tiny(self) if tiny is None else tiny
        if decoder is not None and not isinstance(decoder, VAE):
            decoder = VAE.load(decoder, dtype_name(self.dtype))
        if decoder is not None:
            check_tiny(self, decoder)
        terms = Terms(budget, progress=progress, spill_folder=spill_folder)
        job = Preview(self, decoder, given, scaled_of(latents), terms, texts_of(latents))
        _ = job.plan  # raises here if nothing fits
        return job

    def encode(
        self,
        images: Any,
        *,
        raw: bool = False,
        scaled: bool = True,
        budget: str | float | None = None,
        plan: Plan | None = None,
        progress: bool | Listener = False,
        return_report: bool = False,
        spill_folder: str | os.PathLike[str] | None = None,
        disk_limit: str | float | None = None,
    ) -> Any:
        """Encode pictures. The result is that of a full encode.

        Args:
            images: (B, H, W, 3) or (H, W, 3), floats in [0, 1] or uint8, as an array of any library; or a PIL image. H
                and W are multiples of ``config.cell``.
            raw: Whether the pictures are floats as the encoder reads them, about [-1, 1]. Values beyond are encoded.
            scaled: Whether the latents are shifted, scaled and packed as in a pipeline. False: the encoder's own.
            budget: As in `decode`. It includes the pictures and the latents.
            plan: A plan to replay, made with ``task="encode"``, in place of a budget.
            progress: As in `decode`.
            return_report: Whether to return a `Report` too.
            spill_folder: As in `decode`.
            disk_limit: As in `decode`.

        Returns:
            The `LatentDistribution`, (B, C, h, w).

        Raises:
            ImageError: The pictures cannot be encoded as they are.
            InputError: The encoder was not loaded.
            BudgetError: No exact plan fits the budget. Nothing was started.
            OutputError: The disk is full, or cannot be written to.
            SilentFailureError: The device computed values that cannot be right, twice.
            OutOfMemoryError: Memory ran out. If the budget is a share of the free memory, a second plan was made for
                what was left, and memory ran out again.
        """
        if not self.config.chain("encode").shapes.keys() <= self.weights.keys():
            raise InputError(
                "encode needs the encoder; this VAE holds the decoder only",
                "Load it with decoder_only=False.",
            )
        raw, scaled, wanted = truth("raw", raw), truth("scaled", scaled), truth("return_report", return_report)
        terms = Terms(budget, plan, "exact", progress, spill_folder, disk_limit)
        job = self._encode(images, raw, scaled, terms)
        del images  # the job has a copy; a caller that keeps none of its own has the memory back
        distribution = job.distribution()
        return (distribution, job.report) if wanted else distribution

    @shortages("reading pictures", CLOSE)
    def _encode(self, images: Any, raw: bool, scaled: bool, terms: Terms) -> Encode:
        return Encode(self, read_images(images, self.config, raw), terms, raw, scaled)

    @shortages("reading latents", CLOSE)
    def _decode(self, latents: Any, raw: bool, terms: Terms) -> Decode:
        raw = truth("raw", raw)
        return Decode(self, read_latents(latents, self.config), scaled_of(latents), terms, raw, texts_of(latents))


def _load_again(origin: Origin, digest: str, sources: tuple[Path, ...]) -> VAE:
    """Load a pickled VAE from its files, if they have not changed."""
    origin.check(digest)
    vae = VAE.load(origin.path, origin.dtype, origin.decoder_only, origin.config, origin.video)
    vae.sources = tuple(map(Source.of, sources))  # includes a config.json in another folder
    return vae
