"""`Order`: one decode or encode of files as plain data, built by the command line, or sent through a queue."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from zvae_tiled import order_fields
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
from zvae_tiled.planner.quality import Exact, Quality

if TYPE_CHECKING:
    import numpy as np

    from zvae_tiled.families import VAEConfig
    from zvae_tiled.inputs.latent_space import LatentDistribution
    from zvae_tiled.inputs.latents import Latents
    from zvae_tiled.report.progress import Listener
    from zvae_tiled.report.report import Report
    from zvae_tiled.vae import VAE

Layout = Literal["NCHW", "NHWC"]

MAX_CHARACTERS = 1 << 19
"""The most characters of an order as JSON. It may hold a plan."""


@dataclass(frozen=True)
class Order:
    """One decode of a file of latents into pictures, or one encode of a picture into a file of latents.

    Attributes:
        task: ``decode`` or ``encode``.
        vae: The VAE's path, as in `VAE.load`.
        source: The file that is read.
        target: The file that is written. The pictures of a batch are written to ``name-0.png`` and so on.
        config: A preset's name or a config.json. Default: the one beside the weights.
        dtype: The VAE's type.
        budget: Memory it may use. Default: a safe share of the memory available when it runs.
        plan: A plan to replay, as JSON, in place of a budget and a quality.
        quality: The quality of a decode.
        tensor: The name of the latents' tensor. It is needed only if several tensors could be latents.
        layout: ``NCHW`` or ``NHWC``, in place of the layout in the file.
        height: The picture's height in pixels, for packed tokens.
        width: The picture's width in pixels, for packed tokens.
        bits: Bits of a channel in a decoded picture.
        preview: Whether a quick look is decoded, as by `VAE.preview`, not the picture.
        tiny: The path of the tiny decoder of a preview. Default: one in the Hugging Face cache, or none.
        overwrite: Whether an existing file is replaced.
        spill_folder: The folder for spilled maps. Default: the system's folder for temporary files.
        disk_limit: The most bytes of maps on disk. Default: any.
        work: The work folder of a decode, so that the same order goes on after a crash. Default: none.
        crop: Whether a picture is cropped to a multiple of the VAE's ``config.cell`` before it is encoded.
        sample: The seed for drawing latents. Default: the most likely latents, not drawn.
        texts: Whether texts in the file of latents (prompt, workflow) are written into the pictures.
        also: Further files that the same decode writes, with the same pictures.
    """

    task: Literal["decode", "encode"]
    vae: str
    source: str
    target: str
    config: str | None = None
    dtype: str = "bfloat16"
    budget: str | None = None
    plan: str | None = None
    quality: Quality = field(default_factory=Exact)
    tensor: str | None = None
    layout: Layout | None = None
    height: int | None = None
    width: int | None = None
    bits: int | None = None
    preview: bool = False
    tiny: str | None = None
    overwrite: bool = True
    spill_folder: str | None = None
    disk_limit: str | None = None
    work: str | None = None
    crop: bool = False
    sample: int | None = None
    texts: bool = True
    also: tuple[str, ...] = ()

    @property
    def targets(self) -> list[str]:
        """All files that are written, as they are named here."""
        return [self.target, *self.also]

    def to_json(self) -> str:
        """Return the order as JSON."""
        return json.dumps({**asdict(self), "quality": {"name": self.quality.name, **asdict(self.quality)}})

    @classmethod
    def from_json(cls, text: str) -> Order:
        """Read an order from the text of its `to_json`.

        Raises:
            InputError: `text` is not an order.
        """
        advice = "Write it with Order(...).to_json()."
        if not isinstance(text, str):
            raise InputError(f"an order must be text, it is {type(text).__name__}", advice)
        if len(text) > MAX_CHARACTERS:
            problem = f"an order has at most {MAX_CHARACTERS:,} characters, this one has {len(text):,}"
            raise InputError(problem, advice)
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"this is not an order: it is no JSON: {error!s:.200}", advice) from error
        if not isinstance(values, dict):
            raise InputError("this is not an order: it is no JSON object", advice)
        order_fields.check_names(values, [each.name for each in fields(cls)], "an order")
        missing = [name for name in ("task", "vae", "source", "target") if name not in values]
        if missing:
            raise InputError(f"this is not an order: it has no {', '.join(missing)}", advice)
        quality = order_fields.read_quality(values.pop("quality", {"name": Exact.name}))
        also = values.pop("also", [])
        order = cls(**values, quality=quality, also=tuple(also) if isinstance(also, list) else also)
        order.check()
        return order

    def check(self) -> None:
        """Refuse values that mean nothing, and fields of the other task. No file is looked for.

        Raises:
            InputError: A field is refused. The error names it.
        """
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        order_fields.check_kinds(values)
        if not isinstance(self.also, tuple) or not all(isinstance(each, str) for each in self.also):
            raise InputError(f"an order's also must be a list of paths, in Python a tuple; it is {shown(self.also)}")
        if self.task not in ("decode", "encode"):
            raise InputError(f'an order\'s task must be "decode" or "encode", it is {shown(self.task)}')
        if not isinstance(self.quality, Quality):
            raise InputError(f"an order's quality must be Exact, Sampled, Tiles or Stream, it is {shown(self.quality)}")
        idle = ENCODES if self.task == "decode" else DECODES
        for each in fields(self):
            if each.name in idle and getattr(self, each.name) != idle[each.name]:
                problem = f'an order\'s {each.name} has no effect with task="{self.task}"'
                raise InputError(problem, "Leave it out.")
        if self.preview and (self.quality != Exact() or self.plan is not None):
            problem = "an order's quality and plan have no effect on a preview"
            raise InputError(problem, "Leave them out, or leave out preview.")
        for name in ("work", "disk_limit") if self.preview else ():
            if getattr(self, name) is not None:
                raise InputError(f"an order's {name} has no effect on a preview", "Leave it out, or leave out preview.")
        if self.tiny is not None and not self.preview:
            raise InputError("an order's tiny has an effect on a preview only", "Set preview, or leave out tiny.")
        order_fields.check_values(values)


DECODES: dict[str, object] = {
    "quality": Exact(),
    "preview": False,
    "also": (),
    "texts": True,
    **dict.fromkeys(("tensor", "layout", "height", "width", "bits", "tiny", "work")),
}
ENCODES: dict[str, object] = {"crop": False, "sample": None}
"""Fields that only a decode (`DECODES`) or only an encode (`ENCODES`) has, with their defaults."""


def load(order: Order) -> VAE:
    """Load the VAE of an order."""
    from zvae_tiled.vae import VAE

    return VAE.load(order.vae, order.dtype, decoder_only=order.task == "decode", config=order.config)


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
        ImageError: There is no picture to encode, or it has sides that cannot be encoded.
    """
    from zvae_tiled.inputs.images import check_sides
    from zvae_tiled.inputs.latents import picture_shape, read_latents
    from zvae_tiled.inputs.pictures import picture_sides

    with about(order.source):
        if order.task == "decode":
            return picture_shape(vae.config, read_latents(latents_of(replace(order, texts=False)), vae.config))
        height, width = _encoded_sides(order, vae.config, *picture_sides(order.source))
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
    return targets_of(order.targets, shape, order.bits, order.overwrite).paths


def run(order: Order, vae: VAE | None = None, progress: bool | Listener = False) -> Report:
    """Run an order.

    Args:
        order: The order.
        vae: The order's VAE, if the caller has loaded it. Default: it is loaded.
        progress: True for a line on the terminal, or a function that takes a `Progress`.

    Returns:
        A report of predictions and measurements.

    Raises:
        InputError: The order is invalid.
        OutputError: The target cannot be written, or is a file that is read.
    """
    if not isinstance(order, Order):
        raise InputError(f"order must be an Order, it is {shown(order)}", "Read one with Order.from_json(text).")
    order.check()
    loaded = load(order) if vae is None else vae
    if not hasattr(loaded, "decode_to_file"):
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
    return job.write(order.targets, order.bits, order.overwrite)


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

    plan = None if order.plan is None else read_plan(order.plan)

    def check(height: int, width: int) -> None:
        if plan is None:
            vae.plan(height, width, order.budget, task="encode", disk_limit=order.disk_limit)

    distribution, report = vae.encode(
        picture_of(order, vae.config, check),
        budget=order.budget,
        plan=plan,
        progress=progress,
        return_report=True,
        spill_folder=order.spill_folder,
        disk_limit=order.disk_limit,
    )
    write_latents(order, distribution)
    measured: Report = report
    return measured


def picture_of(order: Order, config: VAEConfig, check: Callable[[int, int], object]) -> np.ndarray:
    """Read the picture of an encode, and crop it if the order says so.

    Args:
        order: The encode.
        config: The config of its VAE.
        check: Called with the height and the width to encode. It may refuse them before any pixel is read.

    Raises:
        ImageError: The picture cannot be read, or has sides that cannot be encoded.
    """
    from zvae_tiled.inputs.images import check_sides
    from zvae_tiled.inputs.pictures import read_picture

    def check_picture(height: int, width: int) -> None:
        sides = _encoded_sides(order, config, height, width)
        check_sides(*sides, config)
        check(*sides)

    picture = read_picture(order.source, check_picture, alpha=config.image_channels == 4)
    if not order.crop:
        return picture
    height, width = _encoded_sides(order, config, *picture.shape[:2])
    return picture[:height, :width]


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
