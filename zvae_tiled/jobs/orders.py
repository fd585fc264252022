"""Carries out an `Order`: what it reads and writes, its VAE, and the decode, the encode or the quick look itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zvae_tiled.checks import shown
from zvae_tiled.errors import (
    BudgetError,
    ImageError,
    InputError,
    LatentsError,
    OutOfMemoryError,
    PlanError,
    SilentFailureError,
    ToleranceError,
)
from zvae_tiled.files.atomic import check_place
from zvae_tiled.files.protect import Source, check_outputs
from zvae_tiled.order import Layout, Order
from zvae_tiled.planner.storage import in_bytes

if TYPE_CHECKING:
    import mlx.core as mx
    import numpy as np

    from zvae_tiled.families import VAEConfig
    from zvae_tiled.inputs.latent_space import LatentDistribution
    from zvae_tiled.inputs.latents import Latents
    from zvae_tiled.report.progress import Listener
    from zvae_tiled.report.report import Report
    from zvae_tiled.vae import VAE


def load(order: Order) -> VAE:
    """Load the VAE of an order, as `zvae_tiled.order.load`."""
    from zvae_tiled.vae import VAE

    _check(order)
    return VAE.load(order.vae, order.dtype, decoder_only=order.task == "decode", config=order.config)


def _check(order: Order) -> None:
    if not isinstance(order, Order):
        raise InputError(f"order must be an Order, it is {shown(order)}", "Read one with Order.from_json(text).")
    order.check()


_ABOUT_A_FILE = (
    LatentsError,
    ImageError,
    PlanError,
    BudgetError,
    SilentFailureError,
    ToleranceError,
    OutOfMemoryError,
)


@contextmanager
def about(path: str) -> Iterator[None]:
    """Let an error about what is in this file name it. Other errors name their own files.

    Raises:
        ZvaeError: An error of the same type that names it.
    """
    try:
        yield
    except _ABOUT_A_FILE as error:
        if path in error.problem:
            raise
        raise error.about(path) from error


def latents_of(order: Order) -> Latents:
    """Read the latents of a decode. The order's layout, height and width replace those in the file.

    Raises:
        LatentsError: The file has no latents, or cannot be read.
    """
    from zvae_tiled.inputs.latent_files import read_latent_file

    latents = read_latent_file(order.source, order.tensor, order.texts)
    if order.height is not None or order.width is not None:
        latents = replace(latents, height=order.height, width=order.width, layout=None)
    return latents if order.layout is None else replace(latents, layout=order.layout)


def outline(order: Order) -> VAE:
    """Return the VAE of an order without its weights: its config and its files, all that `shape_of` and `written` need.

    Raises:
        ConfigError: No VAE can be built from the config.
        WeightsError: There are no weights at its path.
    """
    from zvae_tiled.families import weightless
    from zvae_tiled.vae import VAE
    from zvae_tiled.weights.find import find_checkpoint
    from zvae_tiled.weights.hub import located
    from zvae_tiled.weights.recognise import chosen_config
    from zvae_tiled.weights.vae import dtype_of, sources_of

    kind, place = dtype_of(order.dtype), located(Path(order.vae))
    without = weightless(place)
    if without is not None:
        return VAE(without, {}, kind)
    checkpoint = find_checkpoint(place)
    return VAE(chosen_config(order.config, checkpoint), {}, kind, sources_of(checkpoint, order.config))


def shape_of(order: Order, vae: VAE) -> tuple[int, int, int, int]:
    """Return (B, H, W, C) of the pictures that an order decodes, or of the picture that it encodes.

    Raises:
        LatentsError: There are no latents to decode.
        ImageError: There is no picture to encode, or it has sides, channels or bits that cannot be encoded.
    """
    from zvae_tiled.inputs.images import check_sides
    from zvae_tiled.inputs.latents import picture_shape, read_latents
    from zvae_tiled.inputs.pictures import picture_sides

    with about(order.source):
        if order.task == "decode":
            return picture_shape(vae.config, read_latents(latents_of(replace(order, texts=False)), vae.config))
        height, width = _encoded_sides(order, vae.config, *picture_sides(order.source, vae.config.image_channels))
        check_sides(height, width, vae.config)
        return (1, height, width, vae.config.in_channels)


def _encoded_sides(order: Order, config: VAEConfig, height: int, width: int) -> tuple[int, int]:
    """Return the sides that are encoded of a picture. One that is too small to be encoded is not cropped."""
    if not order.crop or min(height, width) < config.cell:
        return height, width
    return height - height % config.cell, width - width % config.cell


def written(order: Order, vae: VAE, shape: tuple[int, int, int, int] | None = None) -> tuple[Path, ...]:
    """Return the files that an order will write.

    Args:
        order: The order.
        vae: Its VAE. The weights are not used.
        shape: The order's `shape_of`, if the caller has it.

    Raises:
        OutputError: A file cannot be written, or exists and `overwrite` is False.
        LatentsError: There are no latents to decode.
    """
    from zvae_tiled.inputs.latent_files.write import latent_target
    from zvae_tiled.sinks import targets_of

    if order.task == "encode":
        target = latent_target(order.target)
        check_place(target, order.overwrite)
        return (target,)
    shape = shape_of(order, vae) if shape is None else shape
    if order.preview:  # it is small enough for any format
        shape = (shape[0], vae.config.cell, vae.config.cell, shape[3])
    work = None if order.work is None else Path(order.work)
    return targets_of(order.targets, shape, order.bits, order.overwrite, work=work).paths


def run(order: Order, vae: VAE | None = None, progress: bool | Listener = False) -> Report:
    """Run an order. Arguments, result and errors are those of `zvae_tiled.order.run`."""
    from zvae_tiled.vae import VAE

    _check(order)
    loaded = load(order) if vae is None else vae
    if not isinstance(loaded, VAE):
        raise InputError(f"vae must be a VAE, it is {shown(vae)}", "Load it first: VAE.load(path).")
    check_outputs(written(order, loaded), (Source.of(Path(order.source)), *loaded.sources))
    with about(order.source):
        if order.preview:
            return _preview(order, loaded, progress)
        return _decode(order, loaded, progress) if order.task == "decode" else _encode(order, loaded, progress)


def _preview(order: Order, vae: VAE, progress: bool | Listener) -> Report:
    job = vae.preview(
        latents_of(order), tiny=order.tiny, budget=order.budget, progress=progress, spill_folder=order.spill_folder
    )
    return job.write(order.targets, bits=order.bits, overwrite=order.overwrite)


def _decode(order: Order, vae: VAE, progress: bool | Listener) -> Report:
    from zvae_tiled.api import read_plan

    return vae.decode_to_file(
        latents_of(order),
        order.targets,
        bits=order.bits,
        overwrite=order.overwrite,
        budget=order.budget,
        plan=None if order.plan is None else read_plan(order.plan),
        quality=order.quality,
        progress=progress,
        spill_folder=order.spill_folder,
        disk_limit=order.disk_limit,
        work=order.work,
    )


def _encode(order: Order, vae: VAE, progress: bool | Listener) -> Report:
    from zvae_tiled.api import read_plan
    from zvae_tiled.devices.here import this_device
    from zvae_tiled.planner.case import Case
    from zvae_tiled.planner.replay import replayed
    from zvae_tiled.weights.vae import dtype_name

    plan = None if order.plan is None else read_plan(order.plan)
    limit = in_bytes(order.disk_limit, None if order.spill_folder is None else Path(order.spill_folder))

    def check(height: int, width: int) -> None:
        if plan is None:
            vae.plan(height, width, order.budget, task="encode", disk_limit=limit)
        else:
            device, scale, dtype = this_device(vae.dtype), vae.config.scale, dtype_name(vae.dtype)
            case = Case(vae.config, height // scale, width // scale, device.name, dtype, task="encode")
            replayed(plan, case, device, vae.weight_bytes)

    distribution, report = vae.encode(
        picture_of(order, vae, check),
        budget=order.budget,
        plan=plan,
        progress=progress,
        return_report=True,
        spill_folder=order.spill_folder,
        disk_limit=limit,
    )
    write_latents(order, distribution)
    measured: Report = report
    return measured


def picture_of(order: Order, vae: VAE, check: Callable[[int, int], object]) -> mx.array | np.ndarray:
    """Read the picture of an encode, and crop it if the order says so. On a CPU, floats are read into MLX's memory.

    Args:
        order: The encode.
        vae: Its VAE.
        check: Called with the height and the width to encode. It may refuse them before any pixel is read.

    Raises:
        ImageError: The picture cannot be read, or has sides that cannot be encoded.
        OutputError: The disk has no room for the latents.
    """
    import mlx.core as mx
    import numpy as np

    from zvae_tiled.devices.here import device_kind
    from zvae_tiled.inputs.images import check_sides
    from zvae_tiled.inputs.latent_files.write import check_latents_fit
    from zvae_tiled.inputs.pictures import read_picture

    config = vae.config

    def check_picture(height: int, width: int) -> None:
        rows, columns = sides = _encoded_sides(order, config, height, width)
        check_sides(*sides, config)
        values = config.latent_channels * (rows // config.scale) * (columns // config.scale)
        check_latents_fit(Path(order.target), values * vae.dtype.size)
        check(*sides)

    held: list[mx.array] = []

    def room(shape: tuple[int, ...]) -> np.ndarray:
        own = np.empty(shape, np.float32)  # a MemoryError if the system refuses so many bytes: MLX would crash
        if device_kind() != "cpu":  # NumPy may see a copy of MLX's there
            return own
        del own
        held.append(mx.zeros(shape))
        mx.eval(held[0])
        return np.array(held[0], copy=False)

    picture = read_picture(order.source, check_picture, config.image_channels == 4, config.image_channels, room)
    height, width = _encoded_sides(order, config, *picture.shape[:2])
    if picture.shape[:2] != (height, width):
        return picture[:height, :width].copy()
    return held[0] if held else picture


def write_latents(order: Order, distribution: LatentDistribution) -> None:
    """Write the latents of an encode: the most likely ones, or drawn ones if the order has a seed.

    Raises:
        OutputError: The file cannot be written.
    """
    import mlx.core as mx

    from zvae_tiled.inputs.latent_files import write_latent_file
    from zvae_tiled.inputs.latents import Latents

    values: Any = distribution.mode() if order.sample is None else distribution.sample(mx.random.key(order.sample))
    layout: Layout | None = (
        None if Path(order.target).suffix.lower() == ".npy" else "NCHW"
    )  # a .npy has no place for a layout
    write_latent_file(order.target, Latents(values, layout), overwrite=order.overwrite)
