"""`VAE`: load once, then encode and decode."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import mlx.core as mx

from zvae_tiled import demo
from zvae_tiled.arrays import OutputType, check_output_type, path_of
from zvae_tiled.budget import parse_budget
from zvae_tiled.chain import Task
from zvae_tiled.config import VAEConfig
from zvae_tiled.decoding import available, finished, parameters, ready_latents, temporary_folder
from zvae_tiled.encoding import DistributionSink, ready_image
from zvae_tiled.errors import InputError, PlanError
from zvae_tiled.images import read_images
from zvae_tiled.job import Job, picture_shape
from zvae_tiled.kernels.device import kernels_for, this_device
from zvae_tiled.latents import Layout, read_latents
from zvae_tiled.loading import DTYPES, chosen_config, dtype_name, load_model
from zvae_tiled.model import AutoencoderKL, DecoderOnly
from zvae_tiled.notes import notes_of
from zvae_tiled.plan.case import Case, Output, rows_and_columns
from zvae_tiled.plan.make import make_plan
from zvae_tiled.plan.plan import Plan
from zvae_tiled.plan.quality import Exact, Quality, quality_of
from zvae_tiled.plan.replay import replayed
from zvae_tiled.progress import Listener, listener_of
from zvae_tiled.report import Report
from zvae_tiled.sinks import ArraySink, file_target
from zvae_tiled.tiled import PlannedTask, planned_case
from zvae_tiled.weights import find_checkpoint


class VAE:
    """An AutoencoderKL with its weights.

    Attributes:
        config: The shape of the model.
        dtype: The type of the weights, and of everything computed with them.
        model: The reference model in plain MLX modules.
    """

    def __init__(self, config: VAEConfig, model: DecoderOnly, dtype: mx.Dtype) -> None:
        """Wrap a model that has its weights; most callers want `VAE.load`."""
        self.config = config
        self.model = model
        self.dtype = dtype

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
            config: A `VAEConfig`, a preset's name or a ``config.json``. Default: the ``config.json`` beside the
                weights.

        Raises:
            ConfigError: There is no config, or it is not one that can be built.
            WeightsError: The checkpoint is unsafe, incomplete, or of another shape than the config says.
        """
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise InputError(f"dtype must be one of {', '.join(DTYPES)}, it is {dtype!r}")
        checkpoint = find_checkpoint(path_of(path, "path"))
        chosen = chosen_config(config, checkpoint.folder_config)
        model = DecoderOnly(chosen) if decoder_only else AutoencoderKL(chosen)
        load_model(model, checkpoint, DTYPES[dtype])
        return cls(chosen, model, DTYPES[dtype])

    @classmethod
    def demo(cls, dtype: str = "bfloat16", decoder_only: bool = True) -> VAE:
        """Load the small trained VAE that comes with the package; `zvae_tiled.demo` has latents for it."""
        return cls.load(demo.FOLDER, dtype, decoder_only)

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights that were loaded."""
        return sum(array.nbytes for array in parameters(self.model).values())

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
            budget: "8GB", "512MiB", a number of GB, "60%" of what is available now, or None for a safe share of it.
            batch: Pictures in the batch.
            task: ``decode`` if the finished pictures are held in memory; ``stream`` if their rows are handed on, or
                written to a file; ``encode``.
            quality: ``exact``, ``tiles`` or ``stream``, or `Tiles` with a tile, an overlap, a ramp, moments.

        Returns:
            The plan, which ``decode(latents, plan=…)`` replays.

        Raises:
            BudgetError: Nothing of this quality fits; it names the smallest budget that works.
        """
        rows, columns = rows_and_columns(height, width, self.config.scale)
        device = this_device(self.dtype)
        case = planned_case(self.config, rows, columns, device.name, dtype_name(self.dtype), batch, task)
        weights = self.weight_bytes
        return make_plan(case, quality_of(quality), parse_budget(budget, available(weights)), device, weights)

    def decode(
        self,
        latents: Any,
        layout: Layout | None = None,
        height: int | None = None,
        width: int | None = None,
        output_type: OutputType = "mx",
        raw: bool = False,
        *,
        budget: str | float | None = None,
        plan: Plan | None = None,
        progress: bool | Listener = False,
        return_report: bool = False,
        spill_folder: str | os.PathLike[str] | None = None,
        quality: str | Quality = "exact",
        scaled: bool = True,
    ) -> Any:
        """Decode latents as a pipeline hands them over: scaled and shifted.

        Args:
            latents: (B, C, h, w) or (B, h, w, C), with or without B, or packed FLUX tokens with height and width;
                mx, numpy or anything that speaks DLPack.
            layout: ``NCHW`` or ``NHWC``, if the shape leaves it open.
            height: The picture's height in pixels, for packed tokens.
            width: The picture's width in pixels, for packed tokens.
            output_type: ``mx``, ``np``, ``pil`` or ``torch``.
            raw: Return the decoder's own values, about [-1, 1], neither clipped nor widened.
            budget: Memory this VAE and this decode may use: "8GB", "512MiB", a number of GB, "60%" of what is
                available now, or None for a safe share of it.
            plan: A plan to replay, in place of a budget and a quality.
            progress: True for a line on the terminal, or a function that takes a `Progress`.
            return_report: Return the pictures and a `Report` of what was predicted and what was measured.
            spill_folder: Where maps go that do not fit. Default: the system's folder for temporary files.
            quality: ``exact``; ``tiles``, or `Tiles` with a tile, an overlap, a ramp, moments; ``stream``: one sweep
                with estimated statistics. Only ``exact``, and tiles with global moments and enough overlap, give what
                a full decode gives.
            scaled: False for latents whose scale and shift are undone already, as ComfyUI saves them.

        Returns:
            Pictures as float32 (B, H, W, 3) in [0, 1]; a list of images for ``pil``.

        Raises:
            LatentsError: The latents cannot be decoded as they are.
            BudgetError: Nothing of the quality asked for fits the budget; nothing was started.
            OutputError: The disk is full, or cannot be written to.
            SilentFailureError: The device computed what cannot be right, twice.
        """
        check_output_type(output_type, in_unit_range=not raw, channels=self.config.out_channels)
        checked = read_latents(latents, self.config, layout, height, width)
        job = self._job(checked, scaled, "array", quality, budget, plan, progress, spill_folder, raw)
        sink = ArraySink(job.shape, self.dtype if raw else mx.float32, output_type)
        report = job.run(sink)
        return (sink.result(), report) if return_report else sink.result()

    def decode_to_file(
        self,
        latents: Any,
        path: str | os.PathLike[str],
        layout: Layout | None = None,
        height: int | None = None,
        width: int | None = None,
        *,
        budget: str | float | None = None,
        plan: Plan | None = None,
        progress: bool | Listener = False,
        spill_folder: str | os.PathLike[str] | None = None,
        quality: str | Quality = "exact",
        scaled: bool = True,
        bits: int | None = None,
        overwrite: bool = True,
    ) -> Report:
        """Decode straight into a file, row by row; the file appears whole or not at all.

        Args:
            latents: As `decode` takes them.
            path: A ``.png``, ``.tiff``, ``.webp``, ``.jpg``, ``.npy`` or ``.safetensors`` (docs/files.md). Of a batch,
                picture 0 goes to ``name-0.png``, and so on.
            layout: As in `decode`.
            height: As in `decode`.
            width: As in `decode`.
            budget: As in `decode`; a ``.png``, ``.npy`` or ``.safetensors`` takes none of it, a ``.tiff`` a row of
                tiles, a ``.jpg`` or ``.webp`` the whole picture.
            plan: As in `decode`.
            progress: As in `decode`.
            spill_folder: As in `decode`.
            quality: As in `decode`.
            scaled: As in `decode`.
            bits: Of a channel: 8 or 16 in a PNG; 8, 16 or 32 (float) in a TIFF, .npy or safetensors file; 8 in a JPEG
                or WebP. Default: 8 in pictures, 32 in arrays.
            overwrite: Whether a file that is there is replaced, once the new one is whole; as `PIL.Image.save` and
                `numpy.save` do, True unless you say otherwise.

        Returns:
            What was predicted, and what was measured.

        Raises:
            OutputError: The file cannot be written; nothing is left of it, and the latents are untouched.
        """
        checked = read_latents(latents, self.config, layout, height, width)
        target = file_target(path, picture_shape(self.config, checked), bits, overwrite)
        job = self._job(checked, scaled, "rows", quality, budget, plan, progress, spill_folder, False, target.gathered)
        target.check_room(job.plan.spilled, job.folder or temporary_folder())
        return job.run(target.sink(notes_of(job.plan)))

    def stream(
        self,
        latents: Any,
        layout: Layout | None = None,
        height: int | None = None,
        width: int | None = None,
        *,
        raw: bool = False,
        budget: str | float | None = None,
        plan: Plan | None = None,
        progress: bool | Listener = False,
        spill_folder: str | os.PathLike[str] | None = None,
        quality: str | Quality = "exact",
        scaled: bool = True,
    ) -> Iterator[mx.array]:
        """Decode into rows (1, rows, W, 3), top to bottom, one picture of the batch after the other.

        Everything is checked and planned at the call; the arguments are those of `decode`. The budget does not
        cover rows that the caller keeps. Closing the iterator early frees everything.
        """
        checked = read_latents(latents, self.config, layout, height, width)
        return self._job(checked, scaled, "rows", quality, budget, plan, progress, spill_folder, raw).stream()

    def _job(
        self,
        latents: mx.array,
        scaled: bool,
        output: Output,
        quality: str | Quality,
        budget: str | float | None,
        plan: Plan | None,
        progress: bool | Listener,
        spill_folder: str | os.PathLike[str] | None,
        raw: bool,
        gathered: int = 0,
    ) -> Job:
        """Plan a decode, or check the plan that was given."""
        chosen = self._chosen(latents.shape[:3], output, quality, budget, plan, gathered)
        ready = partial(ready_latents, config=self.config, dtype=self.dtype, scaled=scaled)
        finish = partial(finished, raw=raw)
        folder = None if spill_folder is None else path_of(spill_folder, "spill_folder")
        kernels = kernels_for(this_device(self.dtype), self.dtype)
        return Job(self.model, kernels, latents, chosen, ready, finish, listener_of(progress), folder)

    def _chosen(
        self,
        shape: Sequence[int],
        output: Output,
        quality: str | Quality,
        budget: str | float | None,
        plan: Plan | None,
        gathered: int = 0,
        task: Task = "decode",
    ) -> Plan:
        device, weights, asked = this_device(self.dtype), self.weight_bytes, quality_of(quality)
        batch, height, width = shape
        case = Case(self.config, height, width, device.name, dtype_name(self.dtype), batch, output, task)
        if plan is None:
            return make_plan(case, asked, parse_budget(budget, available(weights)), device, weights, gathered)
        if budget is not None:
            raise PlanError("a plan has its own budget; budget= was given beside plan=", "Leave one of them out.")
        if asked != Exact():
            raise PlanError("a plan has its own quality; quality= was given beside plan=", "Leave one of them out.")
        return replayed(plan, case, device, weights, gathered)

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
                multiples of ``config.scale``.
            budget: As in `decode`; pictures and latents are part of it.
            plan: A plan to replay, made with ``task="encode"``, in place of a budget.
            progress: As in `decode`.
            return_report: Return the distribution and a `Report`.
            spill_folder: As in `decode`.

        Returns:
            The `LatentDistribution`, shifted and scaled as a pipeline wants it.

        Raises:
            ImageError: The pictures cannot be encoded as they are.
            InputError: The encoder was not loaded.
            BudgetError: No exact plan fits the budget; nothing was started.
            OutputError: The disk is full, or cannot be written to.
            SilentFailureError: The device computed what cannot be right, twice.
        """
        if not isinstance(self.model, AutoencoderKL):
            raise InputError(
                "encode needs the encoder; this VAE holds the decoder only",
                "Load it with decoder_only=False.",
            )
        pictures = read_images(images, self.config)
        batch, height, width = pictures.shape[0], *(side // self.config.scale for side in pictures.shape[1:3])
        chosen = self._chosen((batch, height, width), "array", "exact", budget, plan, task="encode")
        folder = None if spill_folder is None else path_of(spill_folder, "spill_folder")
        ready, as_it_is = partial(ready_image, dtype=self.dtype), lambda rows: rows
        kernels = kernels_for(this_device(self.dtype), self.dtype)
        job = Job(self.model, kernels, pictures, chosen, ready, as_it_is, listener_of(progress), folder)
        sink = DistributionSink(self.config, (batch, height, width), self.dtype)
        report = job.run(sink)
        return (sink.result(), report) if return_report else sink.result()
