"""`Ready`: an order that was checked before any work, with absolute paths, for a worker in another folder."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from zvae_tiled.checks import shown
from zvae_tiled.errors import InputError, OutputError
from zvae_tiled.families import PRESETS
from zvae_tiled.files.protect import Source, check_outputs
from zvae_tiled.jobs.orders import outline, shape_of, written
from zvae_tiled.jobs.preview import found_tiny
from zvae_tiled.order import Order
from zvae_tiled.vae import VAE

Shape = tuple[int, int, int, int]

Model = tuple[str, str | None, str]
"""What names a VAE in an order: its path, its config and its type."""


@dataclass(frozen=True)
class Ready:
    """An order that was checked.

    Attributes:
        number: Its place among all orders.
        order: The order, with absolute paths.
        paths: All files that it writes.
        shape: (B, H, W, C) of its pictures.
    """

    number: int
    order: Order
    paths: tuple[Path, ...]
    shape: Shape

    @property
    def model(self) -> Model:
        """The VAE that it needs."""
        return model_of(self.order)

    @property
    def models(self) -> tuple[Model, ...]:
        """All VAEs that it needs: its own, and the tiny decoder that it names."""
        tiny = self.order.tiny
        return (self.model,) if tiny is None else (self.model, (tiny, None, self.order.dtype))

    @property
    def pixels(self) -> int:
        """Pixels of all its pictures."""
        return math.prod(self.shape[:3])


def model_of(order: Order) -> Model:
    """Return what names the VAE of an order."""
    return order.vae, order.config, order.dtype


def sources_of(models: Sequence[Model]) -> tuple[Source, ...]:
    """Return the files of these VAEs as they are now.

    Raises:
        WeightsError: A VAE is not there.
    """
    orders = (Order("decode", path, "", "", config=config, dtype=dtype) for path, config, dtype in models)
    return tuple(source for order in orders for source in outline(order).sources)


def ready(number: int, order: Order, shape: Shape, paths: Sequence[Path]) -> Ready:
    """Return a checked order with absolute paths.

    Args:
        number: Its place among all orders.
        order: The order.
        shape: Its `shape_of`.
        paths: The files that it writes.
    """
    moved = replace(
        order,
        source=os.path.abspath(order.source),
        target=os.path.abspath(order.target),
        also=tuple(map(os.path.abspath, order.also)),
        spill_folder=None if order.spill_folder is None else os.path.abspath(order.spill_folder),
        work=None if order.work is None else os.path.abspath(order.work),
        vae=_placed(order.vae),
        config=order.config if order.config is None or order.config in PRESETS else _placed(order.config),
        tiny=None if order.tiny is None else _placed(order.tiny),
    )
    return Ready(number, moved, tuple(path.absolute() for path in paths), shape)


def with_tiny(orders: Sequence[Ready]) -> list[Ready]:
    """Let previews name the tiny decoder that is found here, where one is: all workers read that one."""
    vaes = {each.model: each.order for each in orders if each.order.preview and each.order.tiny is None}
    paths = {model: found_tiny(outline(order)) for model, order in vaes.items()}
    found = {model: os.path.abspath(path) for model, path in paths.items() if path is not None}
    return [
        replace(each, order=replace(each.order, tiny=found[each.model]))
        if each.order.preview and each.order.tiny is None and each.model in found
        else each
        for each in orders
    ]


def checked(orders: Sequence[Order], beside: Sequence[Path] = ()) -> list[Ready | Exception]:
    """Check all orders before any work. An order that cannot be carried out does not stop the others.

    Args:
        orders: The orders.
        beside: Other files that are written.

    Returns:
        For each order what is ready, or the error.

    Raises:
        InputError: What was passed are not orders.
        OutputError: Two orders write the same file or have the same work folder, a file cannot be written, or is read
            by one of them.
    """
    if not isinstance(orders, Sequence):
        raise InputError(f"orders must be a list of Orders, it is {shown(orders)}")
    outlines: dict[Model, VAE] = {}
    found: list[Ready | Exception] = []
    for number, order in enumerate(orders):
        if not isinstance(order, Order):
            raise InputError(f"orders must be Orders, number {number} is {shown(order)}")
        order.check()
        if model_of(order) not in outlines:
            outlines[model_of(order)] = outline(order)
        vae = outlines[model_of(order)]
        try:
            shape = shape_of(order, vae)
            found.append(ready(number, order, shape, written(order, vae, shape)))
        except InputError as error:
            found.append(error)
    _check_folders(found)
    files = [*beside, *(path for each in found if isinstance(each, Ready) for path in each.paths)]
    read = [Source.of(Path(order.source)) for order in orders]
    check_outputs(files, [*read, *(source for vae in outlines.values() for source in vae.sources)])
    return found


def _check_folders(found: Sequence[Ready | Exception]) -> None:
    """Refuse one work folder of two orders: workers would want it at the same time."""
    folders = Counter(each.order.work for each in found if isinstance(each, Ready) and each.order.work is not None)
    for folder, count in folders.items():
        if count > 1:
            raise OutputError(f"{folder} is the work folder of {count} orders", "Give each one of its own.")


def in_turn(waiting: Sequence[Ready]) -> list[Ready]:
    """Return orders as they are carried out: those of one VAE together, those of one size together, large ones first.

    A worker then loads each VAE once and plans each size once, and the last orders to end are short.
    """
    return sorted(waiting, key=lambda each: (repr(each.model), each.order.task, -each.pixels, each.shape, each.number))


def _placed(path: str) -> str:
    """Return a path as absolute, and a name of which there is no path as it is."""
    return os.path.abspath(path) if os.path.exists(path) else path
