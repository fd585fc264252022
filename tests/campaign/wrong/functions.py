"""Every public function with one wrong argument: only errors of this package may come out."""

from __future__ import annotations

import inspect
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zvae_tiled
from tests.campaign.mutations import reasons
from tests.campaign.part import Case
from tests.campaign.wrong import hosts
from tests.campaign.wrong.values import VALUES, EvilError, described
from tests.support.models import random_images, random_latents, random_tensors, torch_shapes
from tests.support.running import CONFIG, save_latents, save_vae
from tests.support.video import SMALL, video_latents, video_vae
from zvae_tiled import VAE, Exact, Latents, Sampled, Stream, Tiles, ZvaeError, cluster, demo, order, write_latent_file
from zvae_tiled.adapters import diffusers, mflux
from zvae_tiled.order import Order

MODULES = (zvae_tiled, demo, order, cluster, diffusers, mflux)

MADE_HERE = (
    "VAE",
    "Decode",
    "LatentDistribution",
    "Plan",
    "Preview",
    "Progress",
    "Report",
    "Overall",
    "Row",
    "VAEConfig",
    "Video",
    "VideoPlan",
    "VideoReport",
)
"""Classes whose objects this package makes: nobody else calls them."""

MOST_MEMORY = 6 << 30
"""Bytes: what a lie about a size must never take."""

Target = tuple[str, str]
"""A function and one of its parameters."""


@cache
def functions() -> dict[str, Callable[..., Any]]:
    """Return all public functions, methods and classes by their names."""
    found: dict[str, Callable[..., Any]] = {}
    for module in MODULES:
        short = module.__name__.rpartition(".")[2]
        prefix = "" if module is zvae_tiled else f"{short}."
        names = getattr(module, "__all__", [name for name in vars(module) if not name.startswith("_")])
        for name in names:
            value = getattr(module, name)
            ours = str(getattr(value, "__module__", "")).startswith(zvae_tiled.__name__)
            own = module is zvae_tiled or f"{getattr(value, '__module__', '')}.".startswith(f"{module.__name__}.")
            if ours and own and callable(value):
                found |= _of_class(prefix, value) if inspect.isclass(value) else {prefix + name: value}
    return {name: each for name, each in found.items() if name not in INTERNAL and hosts.can_be_tried(name)}


def _of_class(prefix: str, value: type) -> dict[str, Callable[..., Any]]:
    if issubclass(value, Exception):
        return {}
    found: dict[str, Callable[..., Any]] = {} if value.__name__ in MADE_HERE else {prefix + value.__name__: value}
    for name in dir(value):
        method = inspect.getattr_static(value, name)
        ours = str(getattr(getattr(method, "__func__", method), "__module__", "")).startswith(zvae_tiled.__name__)
        if not name.startswith("_") and ours and (inspect.isfunction(method) or isinstance(method, classmethod)):
            found[f"{prefix}{value.__name__}.{name}"] = getattr(value, name)
    return {name: each for name, each in found.items() if name not in INTERNAL}


INTERNAL = {
    *(f"{kind}.{name}" for kind in ("Decode", "Preview") for name in ("planned", "notes")),
    *(f"{kind}.check" for kind in ("Exact", "Sampled", "Stream", "Tiles")),
    *("Sampled.kept", "Tiles.latents", "Plan.time_of", "LatentDistribution.from_moments", "VAEConfig.chain"),
    *("VAEConfig.different_from", "VAEConfig.mosaics", "VAEConfig.video", "cluster.Row.to_json"),
}
"""Methods without an underscore that only this package calls."""


@cache
def targets() -> list[Target]:
    """Return each parameter of each function."""
    found = []
    for name, function in functions().items():
        for parameter in inspect.signature(function).parameters.values():
            if parameter.name != "self" and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                found.append((name, parameter.name))
    return found


@cache
def _kept(folder: str) -> Path:
    """Return a folder with what is read, which is copied for each case."""
    kept = Path(folder) / "zvae-functions"
    save_vae(kept / "vae")
    save_latents(kept / "latents.npy", 3, 4)
    return kept


@cache
def _vae() -> VAE:
    return VAE.load("vae", "float32", decoder_only=False)


def right(name: str, parameter: str) -> Any:
    """Return a right value for a parameter without a default. A new parameter needs one here."""
    own: dict[str, Any] = {
        **dict.fromkeys(("Decode.write.path", "Preview.write.path", "VAE.decode_to_file.path"), "a.npy"),
        **dict.fromkeys(("decode_tiled.vae", "set_default_vae.vae", "order.Order.vae", "VAE.load.path"), "vae"),
        **dict.fromkeys(("demo.path.name", "demo.latents.name"), "cat"),
        "Video.write.path": "%05d.png",
        "read_latent_file.path": "latents.npy",
        "write_latent_file.path": "written.npy",
        "cluster.run_striped.order": Order("decode", "vae", "latents.npy", "a.npy", dtype="float32"),
        "order.Order.task": "decode",
        "order.Order.from_json.text": Order("decode", "vae", "latents.npy", "a.npy").to_json(),
    }
    return own[f"{name}.{parameter}"] if f"{name}.{parameter}" in own else COMMON[parameter]()


COMMON: dict[str, Callable[[], Any]] = {
    **dict.fromkeys(("latents", "array"), lambda: random_latents(CONFIG, 3, 4)),
    "vae": lambda: CONFIG,
    "value": lambda: "z-image",
    "height": lambda: 6,
    "width": lambda: 8,
    "images": lambda: random_images(CONFIG, 3, 4),
    "tensors": lambda: random_tensors(torch_shapes(CONFIG)),
    "module": lambda: AutoencoderKL(),
    "text": lambda: zvae_tiled.plan(CONFIG, 6, 8, "1GB", device="cpu").to_json(),
    "source": lambda: "latents.npy",
    "target": lambda: "a.npy",
    "order": lambda: Order("decode", "vae", "latents.npy", "a.npy"),
    "client": hosts.client,
    "pipe": hosts.pipeline,
    "orders": lambda: [Order("decode", "vae", "latents.npy", "a.npy")],
}
"""Right values by the names of parameters."""


class AutoencoderKL:
    """A module of a VAE, as far as one is asked for."""

    config = asdict(CONFIG)

    def state_dict(self) -> dict[str, np.ndarray]:
        return random_tensors(torch_shapes(CONFIG))


def _object(name: str) -> Any:
    """Return the object whose method is called."""
    kind = name.split(".")[-2]
    if kind == "Video":
        return video_vae(SMALL).video(video_latents(SMALL, 1, 2, 2))
    latents = random_latents(CONFIG, 3, 4)
    if kind == "VAE":
        return _vae()
    if kind == "Decode":
        return _vae().prepare(latents, budget="1GB")
    if kind == "Preview":
        return _vae().preview(latents, budget="1GB")
    if kind in ("Plan", "Report"):
        _, report = _vae().decode(latents, budget="1GB", return_report=True)
        return report if kind == "Report" else _vae().plan(6, 8, "1GB")
    if kind == "LatentDistribution":
        return _vae().encode(random_images(CONFIG, 3, 4))
    if kind == "Order":
        return Order("decode", "vae", "latents.npy", "a.npy")
    raise AssertionError(f"no object for {name}: add it, with the right values of its parameters")


def right_call(name: str, patch: pytest.MonkeyPatch) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return a function, bound if it is a method, and right arguments for it, which hold as long as `patch` does."""
    function = functions()[name]
    signature = inspect.signature(function)
    if name == "mflux.use":
        return function, {"model": hosts.model(patch)}
    if name == "VAE.video":
        return video_vae(SMALL).video, {"latents": video_latents(SMALL, 1, 2, 2)}
    if "self" in signature.parameters:
        function = getattr(_object(name), name.split(".")[-1])
    needed = [each.name for each in signature.parameters.values() if each.default is each.empty and each.name != "self"]
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    more: dict[str, dict[str, Any]] = {"VAE.from_state_dict": {"config": CONFIG}, "decode_tiled": {"vae": "vae"}}
    given = {each: right(name, each) for each in needed if signature.parameters[each].kind not in variable}
    return function, {**more.get(name, {}), **given}


def attempt(case: Case) -> None:
    """Call one function with one wrong value."""
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    (name, parameter), made = case.pair(targets(), VALUES)
    value = made()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(case.folder)
        patch.setenv("HF_HUB_CACHE", str(case.folder / "hub"))
        patch.setattr("zvae_tiled.jobs.limits.measure", lambda *_: None)  # it takes 40 seconds
        shutil.copytree(_kept(os.environ.get("TMPDIR", "/tmp")), ".", dirs_exist_ok=True)
        function, arguments = right_call(name, patch)
        told = f"{name}({parameter}={described(value)})"
        try:
            _finish(function(**{**arguments, parameter: value}))
        except ZvaeError as error:
            reasons(error)
        except EvilError:
            pass
        except Exception as error:
            if parameter == "progress" and callable(value):  # the caller's own function raised it
                return
            raise AssertionError(f"{told} raises {type(error).__name__}") from error
        finally:
            zvae_tiled.set_default_vae(None)
        assert os.getcwd() == str(case.folder), told


def _finish(result: Any) -> None:
    """Take what a call promises for later, and use what is checked when it is used."""
    if isinstance(result, Latents):
        _vae().decode_to_file(result, "used.png", budget="1GB")
        write_latent_file("used.safetensors", result)
    if isinstance(result, Order):
        order.run(result)
    if isinstance(result, Exact | Sampled | Stream | Tiles):
        zvae_tiled.plan(CONFIG, 6, 8, "1GB", quality=result)
    if isinstance(result, Iterator):
        for _ in result:
            break
