"""The functions that most callers need: `decode_tiled`, its default VAE, `plan` and `read_plan`."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, cast

from zvae_tiled.checks import shown
from zvae_tiled.devices.forks import check_threads
from zvae_tiled.devices.named import device_of
from zvae_tiled.errors import ConfigError, InputError
from zvae_tiled.families import VAEConfig, config_of
from zvae_tiled.jobs.shapes import config_named, plan_from_shapes
from zvae_tiled.jobs.writers import FileNames
from zvae_tiled.planner import files
from zvae_tiled.planner.case import PlannedTask
from zvae_tiled.planner.plan import Plan
from zvae_tiled.planner.quality import Quality
from zvae_tiled.planner.replay import costed
from zvae_tiled.weights.hub import default_path

if TYPE_CHECKING:
    from zvae_tiled.vae import VAE

_lock = threading.Lock()
_chosen: VAE | str | os.PathLike[str] | None = None
_loaded: VAE | None = None
_last: tuple[str, VAE] | None = None
"""The VAE that `decode_tiled` loaded last, with its path."""


def set_default_vae(vae: VAE | str | os.PathLike[str] | None) -> None:
    """Set the VAE that `decode_tiled` uses by default.

    Args:
        vae: A VAE, or a path to load it from at its first use. None to search for one again.

    Raises:
        InputError: It is neither.
    """
    global _chosen, _loaded
    if vae is not None:
        _named(vae)  # refuses what is neither
    with _lock:
        _chosen, _loaded = vae, None


def default_vae() -> VAE:
    """Return the default VAE of this process, loaded once.

    Raises:
        ConfigError: There is no default VAE, or it has no config.
    """
    global _loaded
    from zvae_tiled.vae import VAE

    check_threads()  # before the lock, which a thread that was lost in a fork may hold
    with _lock:
        if isinstance(_chosen, VAE):
            return _chosen
        if _loaded is None:
            path = default_path() if _chosen is None else _chosen
            try:
                _loaded = VAE.load(path)
            except ConfigError as error:
                advice = "Use a folder that holds a config.json too, or call set_default_vae(VAE.load(path, config=…))."
                raise ConfigError(f"the default VAE {path} cannot be loaded: {error.problem}", advice) from error
        return _loaded


def decode_tiled(
    latents: Any,
    budget_gb: float | None = None,
    *,
    vae: VAE | str | os.PathLike[str] | None = None,
    budget: str | float | None = None,
    **options: Any,
) -> Any:
    """Decode latents of any size within a budget. By default the result is that of a full decode.

    Args:
        latents: A pipeline's latents, NCHW, as an mx, numpy or torch array; or `Latents`, for NHWC or packed tokens.
        budget_gb: The budget as a number of GB.
        vae: The VAE, or a path or name as in `VAE.load`. Default: the one set with `set_default_vae`, else the one at
            the path ``$ZVAE_VAE``, else that of a Z-Image or FLUX.1 model in the local Hugging Face cache.
        budget: The budget in any form: "6GB", "60%", … In place of ``budget_gb``.
        options: As in `VAE.decode`: ``output_type``, ``dtype``, ``layout``, ``raw``, ``plan``, ``quality``,
            ``progress``, ``return_report``, ``spill_folder``, ``disk_limit``.

    Returns:
        Pictures as float32 (B, H, W, 3) in [0, 1], or in the form that ``output_type``, ``dtype`` and ``layout`` name.

    Raises:
        BudgetError: No plan of this quality fits the budget. Nothing was started.
    """
    if budget_gb is not None and budget is not None:
        raise InputError("budget_gb= and budget= are both set", "Leave one of them out.")
    if isinstance(budget_gb, str):
        raise InputError(
            f"budget_gb must be a number of GB, it is {shown(budget_gb)}", f"Write budget={shown(budget_gb)}."
        )
    chosen = default_vae() if vae is None else _vae_of(vae)
    return chosen.decode(latents, budget=budget if budget_gb is None else budget_gb, **options)


def _named(vae: VAE | str | os.PathLike[str]) -> str | None:
    """Return the path that names a VAE; None for a VAE itself. MLX is not imported for a path.

    Raises:
        InputError: It is neither.
    """
    if isinstance(vae, str | os.PathLike) and os.fspath(vae):
        return os.fspath(vae)
    from zvae_tiled.vae import VAE

    if not isinstance(vae, VAE):
        raise InputError(f"vae must be a VAE or a path, it is {shown(vae)}", "Load it first: VAE.load(path).")
    return None


def _vae_of(vae: VAE | str | os.PathLike[str]) -> VAE:
    """Return a VAE as it is, or loaded from a path. The last one is kept, until one of its files changes."""
    global _last
    path = _named(vae)
    if path is None:
        return cast("VAE", vae)
    from zvae_tiled.vae import VAE

    check_threads()
    with _lock:
        if _last is None or _last[0] != path or any(each.changed for each in _last[1].sources):
            _last = None  # two VAEs never exist at the same time
            _last = path, VAE.load(path)
        return _last[1]


def plan(
    vae: VAEConfig | str | os.PathLike[str],
    height: int,
    width: int,
    budget: str | float | None = None,
    *,
    batch: int = 1,
    dtype: str = "bfloat16",
    device: str | None = None,
    task: PlannedTask = "decode",
    quality: str | Quality = "exact",
    disk_limit: str | float | None = None,
    work: bool = False,
    output: FileNames | None = None,
) -> Plan:
    """Plan a decode or an encode from shapes alone, without weights, GPU or MLX.

    Args:
        vae: A preset's name, a ``config.json``, a `VAEConfig`, or where `VAE.load` finds a VAE, whose weights are not
            read.
        height: The picture's height in pixels.
        width: The picture's width in pixels.
        budget: "8GB", "500MB", a number of GB, or "60%" of the memory available now. Default: 70 % of it.
        batch: Number of pictures in the batch.
        dtype: ``bfloat16``, ``float32`` or ``float16``.
        device: ``cpu`` for this CPU with its kernels, ``cpu/mlx`` for a CPU with MLX alone, ``metal`` or ``cuda``.
            Default: the device that MLX uses here, with its newest calibration.
        task: ``decode`` if the finished pictures are held in memory, ``stream`` if their rows are yielded or written to
            a file as they are finished, or ``encode``.
        quality: ``exact``, ``sampled``, ``tiles`` or ``stream``; or `Sampled` with keys and a tolerance; or `Tiles`
            with a tile, an overlap, a ramp, moments.
        disk_limit: The most bytes on disk: "200GB", a number of GB, 0. Maps beyond it are computed again. Default: any.
        work: Whether all maps are stored on disk, as in `VAE.decode_to_file` with a work folder.
        output: As in `VAE.plan`: the files that a ``stream`` is written to. They need MLX.

    Returns:
        The plan. ``vae.decode(latents, plan=…)`` replays it.

    Raises:
        BudgetError: No plan of this quality fits. The error names the smallest budget that works.
        ConfigError: The VAE's config is unknown.
        OutputError: An ending of `output` names no format, or its format cannot hold the picture.
        WeightsError: There is no such VAE.
    """
    return plan_from_shapes(
        config_named(vae) if isinstance(vae, str | os.PathLike) else config_of(vae),
        height,
        width,
        budget,
        batch=batch,
        dtype=dtype,
        device=device,
        task=task,
        quality=quality,
        disk_limit=disk_limit,
        work=work,
        output=output,
    )


def read_plan(text: str) -> Plan:
    """Read a plan from the text of its ``to_json``. Its costs are predicted again, for this machine.

    Raises:
        PlanError: The text is not a plan of this version.
    """
    read = files.parse(text)
    return costed(read, device_of(read.case))
