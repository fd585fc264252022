"""Requests to a Triton server, by HTTP and gRPC."""

from __future__ import annotations

from collections.abc import Iterable
from queue import Queue
from typing import Any

import ml_dtypes
import numpy as np

from tests.serving.server import Server

TYPES = {"": ("FP32", np.float32), "_fp16": ("FP16", np.float16), "_bf16": ("BF16", ml_dtypes.bfloat16)}
"""Types of latents, by the end of an input's name."""


class Client:
    """Requests by one protocol: ``http`` or ``grpc``."""

    def __init__(self, server: Server, protocol: str) -> None:
        import tritonclient.grpc
        import tritonclient.http

        self.library: Any = getattr(tritonclient, protocol)
        options = {"network_timeout": 600.0} if protocol == "http" else {}
        self.client = self.library.InferenceServerClient(f"127.0.0.1:{getattr(server, protocol)}", **options)

    def inputs(self, **arrays: np.ndarray) -> list[Any]:
        """Return inputs of a request, by their names."""
        found = []
        for name, array in arrays.items():
            kind, dtype = TYPES["_" + name.partition("_")[2] if "_" in name else ""]
            kind, dtype = ("INT32", np.int32) if name == "size" else (kind, dtype)
            tensor = self.library.InferInput(name, array.shape, kind)
            tensor.set_data_from_numpy(np.ascontiguousarray(array.astype(dtype)))
            found.append(tensor)
        return found

    def outputs(self, *names: str) -> list[Any] | None:
        """Return outputs of a request, or None for no names."""
        return [self.library.InferRequestedOutput(name) for name in names] or None

    def ask(self, model: str, output: str = "images", **arrays: np.ndarray) -> np.ndarray:
        """Ask for one output."""
        answer = self.client.infer(model, self.inputs(**arrays), outputs=self.outputs(output))
        array: np.ndarray = answer.as_numpy(output)
        return array

    def parts(self, model: str, output: str, **arrays: np.ndarray) -> list[np.ndarray]:
        """Ask a decoupled model for one output, by a stream of gRPC. Return its parts."""
        found = Queue[Any]()
        self.client.start_stream(lambda result, error: found.put(error or result))
        self.client.async_stream_infer(
            model, self.inputs(**arrays), outputs=self.outputs(output), enable_empty_final_response=True
        )
        parts: list[np.ndarray] = []
        try:
            while True:
                result = found.get(timeout=60)
                assert not isinstance(result, Exception), result
                if result.as_numpy(output) is None:
                    return parts
                parts.append(result.as_numpy(output))
        finally:
            self.client.stop_stream()  # a server waits for open streams when it ends

    def refusal(self, model: str, outputs: Iterable[str] = (), **arrays: np.ndarray) -> tuple[str, str]:
        """Return status and message of a request that is refused."""
        from tritonclient.utils import InferenceServerException

        try:
            self.client.infer(model, self.inputs(**arrays), outputs=self.outputs(*outputs))
        except InferenceServerException as error:
            return str(error.status()), str(error.message())
        raise AssertionError("this should have been refused")
