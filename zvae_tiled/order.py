"""`Order`: one decode or encode of files as plain data, built by the command line, or sent through a queue."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Literal

from zvae_tiled import order_fields
from zvae_tiled.checks import TwiceError, once, shown
from zvae_tiled.errors import InputError
from zvae_tiled.planner.quality import Exact, Quality

if TYPE_CHECKING:
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
        budget: Memory it may use. Default: 70 % of the memory available when it runs.
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
            values = json.loads(text, object_pairs_hook=once)
        except TwiceError as error:
            raise InputError(f"this is not an order: {error}", advice) from error
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
    """Load the VAE of an order.

    Raises:
        InputError: The order is invalid.
        WeightsError: There are no weights at its path, or they are incomplete.
        ConfigError: No VAE can be built from the config.
    """
    from zvae_tiled.jobs import orders

    return orders.load(order)


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
    from zvae_tiled.jobs import orders

    return orders.run(order, vae, progress)
