"""`VAE`: load once, then encode and decode."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten, tree_unflatten

from zvae_tiled.arrays import OutputType, check_output_type, path_of, to_mlx
from zvae_tiled.budget import parse_budget
from zvae_tiled.config import VAEConfig
from zvae_tiled.decoding import available, decoded_rows, finished, limits, parameters, picture_shape
from zvae_tiled.errors import ConfigError, ImageError, InputError, PlanError
from zvae_tiled.kernels.device import kernels_for, this_device
from zvae_tiled.latents import Layout, read_latents
from zvae_tiled.model import AutoencoderKL, DecoderOnly, LatentDistribution
from zvae_tiled.model.autoencoder import unscale_latents
from zvae_tiled.plan.make import check_pixels, make_plan
from zvae_tiled.plan.plan import WHOLE, Output, Plan
from zvae_tiled.plan.quality import QualityPlan, Request, plan_quality, request_of
from zvae_tiled.progress import Listener, listener_of
from zvae_tiled.report import Meter, Report
from zvae_tiled.sinks import ArraySink, Sink, file_sink
from zvae_tiled.weights import find_checkpoint, load_weights

DTYPES = {"float32": mx.float32, "bfloat16": mx.bfloat16, "float16": mx.float16}


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
            config: A `VAEConfig`, a preset's name or a ``config.json``. Left out, the ``config.json`` beside the
                weights is read.

        Raises:
            ConfigError: There is no config, or it is not one that can be built.
            WeightsError: The checkpoint is unsafe, incomplete, or of another shape than the config says.
        """
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise InputError(f"dtype must be one of {', '.join(DTYPES)}, it is {dtype!r}")
        checkpoint = find_checkpoint(path_of(path, "path"))
        chosen = _chosen_config(config, checkpoint.folder_config)
        model = DecoderOnly(chosen) if decoder_only else AutoencoderKL(chosen)
        load_model(model, checkpoint, DTYPES[dtype])
        return cls(chosen, model, DTYPES[dtype])

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
        output: Output = "array",
    ) -> Plan:
        """Plan a decode on this device, with this VAE's weights.

        Args:
            height: The picture's height in pixels.
            width: The picture's width in pixels.
            budget: "8GB", "512MiB", a number of GB, "60%" of what is available now, or None for a safe share of it.
            batch: Pictures in the batch.
            output: ``array`` if the finished pictures are held in memory, ``rows`` if they are handed on.

        Raises:
            BudgetError: No exact plan fits; it names the smallest budget that works.
        """
        scale = self.config.scale
        check_pixels(height, width, scale)
        chosen = self._plan((batch, height // scale, width // scale), budget, None, output, None)
        assert isinstance(chosen, Plan)
        return chosen

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
        quality: str = "exact",
        tile: int | tuple[int, int] | None = None,
        overlap: int | tuple[int, int] | None = None,
        ramp: str | None = None,
        moments: str | None = None,
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
            plan: A plan to replay, in place of a budget.
            progress: True for a line on the terminal, or a function that takes a `Progress`.
            return_report: Return the pictures and a `Report` of what was predicted and what was measured.
            spill_folder: Where maps go that do not fit; left out, the system's folder for temporary files.
            quality: ``exact``; ``tiles``: overlapping tiles; ``stream``: one sweep with estimated statistics. Only
                ``exact``, and tiles with global moments and enough overlap, give what a full decode gives.
            tile: Tile in pixels, one number or height and width; left out, the largest that fits the budget.
            overlap: What neighbouring tiles share, in pixels, likewise; left out, as much as makes tiles exact (64 with
                moments of each tile).
            ramp: ``linear``, ``cosine`` or ``smootherstep`` (default): how weights grow across an overlap.
            moments: Of the norms: ``global`` (default: a pass over the whole picture), ``proxy`` or ``tile``.

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
        request = request_of(quality, tile, overlap, ramp, moments)
        chosen = self._plan(checked.shape[:3], budget, plan, "array", request)
        shape = picture_shape(self.config, checked)
        sink = ArraySink(shape, self.dtype if raw else mx.float32, output_type)
        report = self._run(checked, chosen, sink, raw, progress, spill_folder)
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
        quality: str = "exact",
        tile: int | tuple[int, int] | None = None,
        overlap: int | tuple[int, int] | None = None,
        ramp: str | None = None,
        moments: str | None = None,
    ) -> Report:
        """Decode straight into a file, row by row; the file appears whole or not at all.

        Args:
            latents: As `decode` takes them.
            path: A ``.png`` (8 bits) or ``.npy`` (float32). Of a batch, picture 0 goes to ``name-0.png``, and so on.
            layout: As in `decode`.
            height: As in `decode`.
            width: As in `decode`.
            budget: As in `decode`; the finished picture takes none of it.
            plan: As in `decode`.
            progress: As in `decode`.
            spill_folder: As in `decode`.
            quality: As in `decode`.
            tile: As in `decode`.
            overlap: As in `decode`.
            ramp: As in `decode`.
            moments: As in `decode`.

        Returns:
            What was predicted, and what was measured.

        Raises:
            OutputError: The file cannot be written; nothing is left of it, and the latents are untouched.
        """
        checked = read_latents(latents, self.config, layout, height, width)
        shape = picture_shape(self.config, checked)
        sink = file_sink(path, shape[0], shape[1:])
        request = request_of(quality, tile, overlap, ramp, moments)
        chosen = self._plan(checked.shape[:3], budget, plan, "rows", request)
        return self._run(checked, chosen, sink, False, progress, spill_folder)

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
        quality: str = "exact",
        tile: int | tuple[int, int] | None = None,
        overlap: int | tuple[int, int] | None = None,
        ramp: str | None = None,
        moments: str | None = None,
    ) -> Iterator[mx.array]:
        """Decode into rows (1, rows, W, 3), top to bottom, one picture of the batch after the other.

        Everything is checked and planned at the call; the arguments are those of `decode`. The budget does not
        cover rows that the caller keeps. Closing the iterator early frees everything.
        """
        checked = read_latents(latents, self.config, layout, height, width)
        request = request_of(quality, tile, overlap, ramp, moments)
        chosen = self._plan(checked.shape[:3], budget, plan, "rows", request)
        rows = self._rows(checked, chosen, raw, progress, spill_folder)
        return _pulled(rows, chosen)

    def _run(
        self,
        latents: mx.array,
        plan: Plan | QualityPlan,
        sink: Sink,
        raw: bool,
        progress: bool | Listener,
        spill_folder: str | os.PathLike[str] | None,
    ) -> Report:
        try:
            with limits(plan):
                meter = Meter(self.weight_bytes + latents.nbytes)
                for picture, rows in self._rows(latents, plan, raw, progress, spill_folder):
                    if not sink.host_bytes:
                        meter.first_rows()
                    sink.write(picture, rows)
                    del rows
                report = meter.report(plan, sink.host_bytes)
            sink.close()
            return report
        except BaseException:  # Ctrl-C too
            sink.abort()
            raise

    def _rows(
        self,
        latents: mx.array,
        plan: Plan | QualityPlan,
        raw: bool,
        progress: bool | Listener,
        spill_folder: str | os.PathLike[str] | None,
    ) -> Iterator[tuple[int, mx.array]]:
        folder = None if spill_folder is None else path_of(spill_folder, "spill_folder")
        kernels = kernels_for(this_device(), self.dtype)

        def ready(picture: int) -> mx.array:
            one = unscale_latents(latents[picture : picture + 1], self.config).astype(self.dtype)
            mx.eval(one)
            return one

        for picture, rows in decoded_rows(self.model, kernels, ready, plan, folder, listener_of(progress)):
            done = [finished(rows, raw)]
            del rows
            yield picture, done.pop()

    def _plan(
        self,
        shape: Sequence[int],
        budget: str | float | None,
        plan: Plan | None,
        output: Output,
        request: Request | None,
    ) -> Plan | QualityPlan:
        batch, height, width = shape
        name = dtype_name(self.dtype)
        if plan is None:
            device = this_device()
            limit = parse_budget(budget, available(self.weight_bytes))
            if request is not None:
                return plan_quality(
                    self.config, height, width, limit, device, name, batch, output, self.weight_bytes, request
                )
            return make_plan(
                self.config, height, width, limit, device, name, batch, output=output, weights=self.weight_bytes
            )
        if budget is not None:
            raise PlanError("a plan has its own budget; budget= was given beside plan=", "Leave one of them out.")
        if not isinstance(plan, Plan) or plan.stage != WHOLE:
            raise PlanError(
                f"plan must be the Plan of an exact decode, it is {type(plan).__name__}",
                "Read one with Plan.from_json.",
            )
        if request is not None:
            raise PlanError("a plan replays an exact decode; another quality was asked for beside plan=")
        plan.check()
        made_for = (plan.config, plan.batch, plan.height, plan.width, plan.dtype, plan.device)
        here = (self.config, batch, height, width, name, this_device().name)
        names = ("config", "batch", "height", "width", "dtype", "device")
        for what, theirs, ours in zip(names, made_for, here, strict=True):
            if theirs != ours:
                if isinstance(theirs, VAEConfig) and isinstance(ours, VAEConfig):
                    theirs, ours = theirs.different_from(ours), "other values"
                raise PlanError(f"the plan was made for {what} {theirs}, this decode has {ours}", "Make a plan for it.")
        if plan.output == "rows" and output == "array":
            raise PlanError("the plan has no room for finished pictures in memory", 'Make it with output="array".')
        # plan() without a VAE counts the decoder's weights alone.
        surplus = max(0, self.weight_bytes - plan.weights)
        if surplus and plan.predicted_peak + surplus > plan.budget:
            raise PlanError(
                f"the plan does not count {surplus:,} bytes of the weights that are loaded, "
                "and its budget has no room for them",
                "Load the VAE with decoder_only=True, or make the plan with vae.plan().",
            )
        return replace(
            plan,
            base=plan.base + surplus,
            predicted_peak=plan.predicted_peak + surplus,
            weights=plan.weights + surplus,
        )

    def encode(self, images: Any) -> LatentDistribution:
        """Encode pictures.

        Args:
            images: (B, H, W, 3) or (H, W, 3) floats in [0, 1]; H and W multiples of ``config.scale``.

        Returns:
            The distribution of the latents, shifted and scaled as a pipeline wants them.

        Raises:
            ImageError: The pictures cannot be encoded as they are.
            InputError: The encoder was not loaded.
        """
        if not isinstance(self.model, AutoencoderKL):
            raise InputError(
                "encode needs the encoder; this VAE holds the decoder only",
                "Load it with decoder_only=False.",
            )
        pictures = _read_images(images, self.config)
        moments = self.model.encode((pictures * 2 - 1).astype(self.dtype))
        distribution = LatentDistribution.from_moments(moments, self.config)
        mx.eval(distribution.mean, distribution.logvar)
        return distribution


def dtype_name(dtype: mx.Dtype) -> str:
    """Return what `VAE.load` calls this type."""
    return next(name for name, known in DTYPES.items() if known == dtype)


def _pulled(rows: Iterator[tuple[int, mx.array]], plan: Plan | QualityPlan) -> Iterator[mx.array]:
    """Hand rows on; the allocator is limited while a row is computed, and not while the caller has its turn."""
    while True:
        with limits(plan):
            found = [row for _, row in islice(rows, 1)]
        if not found:
            return
        yield found.pop()


def load_model(model: nn.Module, checkpoint: Any, dtype: mx.Dtype) -> None:
    """Fill a model tensor by tensor; its own random numbers are never computed."""
    shapes = parameter_shapes(model)
    absent = () if "encoder" in model else ("encoder.", "quant_conv.")
    load_weights(
        checkpoint,
        shapes,
        dtype,
        assign=lambda name, array: model.update(tree_unflatten([(name, array)])),
        ignore=absent,
    )


def parameter_shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the name and the shape of every parameter, without computing one."""
    leaves: list[tuple[str, mx.array]] = tree_flatten(model.parameters())  # type: ignore[assignment]
    return {name: array.shape for name, array in leaves}


def _chosen_config(config: VAEConfig | str | os.PathLike[str] | None, beside: os.PathLike[str] | None) -> VAEConfig:
    if config is not None:
        return VAEConfig.of(config)
    if beside is None:
        raise ConfigError(
            "there is no config.json beside the weights, and config= was not given",
            "Say config='z-image', 'flux1', 'sd1', 'sdxl' or 'sd3', or the path of a config.json.",
        )
    return VAEConfig.from_file(beside)


def _read_images(images: Any, config: VAEConfig) -> mx.array:
    pictures = to_mlx(images, "images", ImageError).astype(mx.float32)
    if pictures.ndim == 3:
        pictures = pictures[None]
    if pictures.ndim != 4 or pictures.shape[-1] != config.in_channels or pictures.size == 0:
        raise ImageError(
            f"images must be (B, H, W, {config.in_channels}) or (H, W, {config.in_channels}), not {images.shape}"
        )
    height, width = pictures.shape[1:3]
    if height % config.scale or width % config.scale:
        raise ImageError(
            f"height and width must be multiples of {config.scale}, they are {height} and {width}",
            "Crop or pad the picture first.",
        )
    low, high = (float(bound(pictures).item()) for bound in (mx.min, mx.max))  # type: ignore[arg-type]
    if not (low >= 0 and high <= 1):  # NaN compares false with everything, so it is refused here too
        problem = f"images must lie in [0, 1], these go from {low} to {high}"
        raise ImageError(problem, "Divide 8-bit values by 255.")
    return pictures
