"""A model of Triton's Python backend, without Triton: reads its config and its requests, and checks them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from zvae_tiled.adapters.triton_request import GoneError
from zvae_tiled.checks import shown
from zvae_tiled.errors import ConfigError, InputError, LatentsError
from zvae_tiled.inputs.latents import Latents, read_latents
from zvae_tiled.jobs.decode import Decode
from zvae_tiled.jobs.job import Terms
from zvae_tiled.report.progress import Progress
from zvae_tiled.vae import VAE
from zvae_tiled.wording import listed

OUTPUTS = ("images", "floats", "png")
PARAMETERS = ("vae", "config", "dtype", "budget", "output", "spill_folder")
TRITONS = ("EXECUTION_ENV_PATH", "FORCE_CPU_ONLY_INPUT_TENSORS")
"""Parameters of Triton's Python backend itself, which it passes on to the model."""


@dataclass(frozen=True)
class Service:
    """A loaded VAE, and how a model's config wants it to answer.

    Attributes:
        vae: The VAE.
        budget: The memory that a decode of this instance may use, weights included.
        outputs: The outputs that the config declares. The first is for requests that name none.
        batched: Whether arrays have an axis of pictures in front.
        streams: Whether pictures are sent in parts, as their rows are finished.
        spill_folder: The folder for spilled maps, or None.
    """

    vae: VAE
    budget: str
    outputs: tuple[str, ...]
    batched: bool
    streams: bool
    spill_folder: str | None

    @classmethod
    def load(cls, config: Mapping[str, Any]) -> Service:
        """Load the VAE that a model's config names.

        Raises:
            ConfigError: A parameter or an output is unknown, or there is no budget.
        """
        named = config.get("parameters", {}).items()
        given = {name: value["string_value"] for name, value in named if name not in TRITONS}
        declared = [output["name"] for output in config["output"]]
        default = given.get("output", declared[0])
        for what, names, known in (("parameters", given, PARAMETERS), ("outputs", [*declared, default], OUTPUTS)):
            if set(names) - set(known):
                problem = f"config.pbtxt has unknown {what}: {shown(sorted(set(names) - set(known)))}"
                raise ConfigError(problem, f"It knows {listed(sorted(known), 99)}.")
        if not given.get("budget"):
            raise ConfigError(
                "config.pbtxt must name the parameter budget: two instances would take a share of the same memory",
                'Divide the memory by the number of instances, such as "2GB".',
            )
        name, dtype = given.get("vae", "flux1"), given.get("dtype", "bfloat16")
        vae = VAE.demo(dtype) if name == "demo" else VAE.load(name, dtype, config=given.get("config"))
        streams = config.get("model_transaction_policy", {}).get("decoupled", False)
        outputs = (default, *(each for each in declared if each != default))
        return cls(vae, given["budget"], outputs, config["max_batch_size"] > 0, streams, given.get("spill_folder"))

    def output_of(self, named: Collection[str]) -> str:
        """Return the output that a request names. Triton names all of them for a request that names none."""
        if set(named) == set(self.outputs):
            return self.outputs[0]
        if len(named) != 1:
            raise InputError(f"a request gets one output, this names {shown(sorted(named))}", "Send two requests.")
        return next(iter(named))

    def prepare(self, latents: mx.array, size: tuple[int, int] | None, gone: Callable[[], bool]) -> Decode:
        """Check the latents of a decode. It is planned for the form of its answer.

        Args:
            latents: Packed tokens (N, C) or a map (C, h, w), with an axis of pictures in front if `batched`.
            size: Height and width of the picture in pixels. Packed tokens need it.
            gone: Returns whether the client no longer waits. Then the decode stops with a `GoneError`.

        Raises:
            LatentsError: The latents cannot be decoded as they are.
        """

        def listener(progress: Progress) -> None:
            del progress
            if gone():
                raise GoneError("the client has gone")

        packed = latents.ndim == 2 + self.batched
        if packed and size is None:
            problem = f"packed latents need the picture's size, and latents of shape {latents.shape} came without"
            raise LatentsError(problem, "Send the input size: [height, width] in pixels.")
        height, width = size if packed and size else (None, None)
        given = Latents(latents, height=height, width=width)
        terms = Terms(self.budget, progress=listener, spill_folder=self.spill_folder)
        # VAE.prepare would plan rows, and a whole picture needs more: an error would name a budget that is too small.
        job = Decode(self.vae, read_latents(given, self.vae.config), given.scaled, terms)
        if size and size != job.shape[1:3]:
            raise LatentsError(f"these latents are of a picture of size {job.shape[1:3]}, and size is {size}")
        return job
