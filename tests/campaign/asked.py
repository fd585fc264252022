"""Clients that ask a Triton server at once, for pictures of several sizes and kinds, and what they must get."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from tests.serving.client import TYPES, Client
from tests.serving.models import FLUX
from tests.support.models import pack, random_latents, random_vae
from zvae_tiled import VAE

DOORS = ("http", "grpc", "rows") * 2
"""How each client asks: by HTTP, by gRPC, or by a stream of gRPC for rows as they are finished."""

EACH_CLIENT = 4
"""Pictures for which a client asks in a round."""

AXES = {"images": 1, "floats": 2, "png": 1}
"""Outputs, and the axis along which their parts are joined."""


class Request(NamedTuple):
    """What a client asks for: latents of a size and a type, packed or as a map, and an output."""

    size: tuple[int, int]
    type: str
    packed: bool
    output: str


REQUESTS = [Request(*each) for each in product(((4, 6), (8, 12), (16, 10), (24, 16)), TYPES, (True, False), AXES)]


class Clients:
    """One a door. Each has a thread of its own, which is the only one that may use it."""

    def __init__(self, server: Any) -> None:
        """Connect to a server by its ports, `http` and `grpc`."""
        warnings.simplefilter("ignore", DeprecationWarning)  # of what tritonclient imports
        self._threads = [ThreadPoolExecutor(1) for _ in DOORS]
        self._clients = [
            thread.submit(Client, server, "grpc" if door == "rows" else door).result()
            for thread, door in zip(self._threads, DOORS, strict=True)
        ]

    def ask(self, requests: Sequence[Request]) -> list[tuple[Request, bytes]]:
        """Let all ask at once, and be refused once. Return what was asked for, each with its answer."""
        shares = [requests[number :: len(DOORS)] for number in range(len(DOORS))]
        asking = [
            thread.submit(_ask, client, door, share)
            for thread, client, door, share in zip(self._threads, self._clients, DOORS, shares, strict=True)
        ]
        return [answer for each in asking for answer in each.result()]


def _ask(client: Client, door: str, requests: Sequence[Request]) -> list[tuple[Request, bytes]]:
    if door != "rows":
        code, _ = client.refusal("whole", map=np.full((1, 16, 2, 2), np.nan))
        assert code in ("400", "StatusCode.INVALID_ARGUMENT"), code
    return [(request, _answer(client, door, request)) for request in requests]


def _answer(client: Client, door: str, request: Request) -> bytes:
    latents = latents_of(request.size, request.type)
    arrays = {f"map{request.type}": latents}
    if request.packed:
        arrays = {f"latents{request.type}": pack(latents), "size": 8 * np.array([request.size])}
    if door == "rows":
        return np.concatenate(client.parts("rows", request.output, **arrays), AXES[request.output]).tobytes()
    return client.ask("whole", request.output, **arrays).tobytes()


@cache
def latents_of(size: tuple[int, int], type: str) -> np.ndarray:
    """Return latents of a size, rounded to a type."""
    rounded: np.ndarray = random_latents(FLUX, *size).astype(TYPES[type][1])
    return rounded


@cache
def expected(request: Request) -> bytes:
    """Return the bytes of an answer: those of a decode in this process."""
    latents = latents_of(request.size, request.type)
    if request.output == "png":
        file = io.BytesIO()
        _vae().decode_to_file(latents, file, format="png", budget="1GB")
        return file.getvalue()
    kind: dict[str, Any] = {"dtype": "uint8"} if request.output == "images" else {"layout": "NCHW"}
    return np.array(_vae().decode(latents, budget="1GB", **kind)).tobytes()


@cache
def _vae() -> VAE:
    return random_vae(FLUX)
