# /// script
# requires-python = ">=3.11"
# dependencies = ["zvae-tiled"]
#
# [tool.uv.sources]
# zvae-tiled = { path = "../../../.." }
# ///
"""A VAE's decoder for Triton's Python backend: docs/guides/triton.md. Run as a program, it decodes without a server."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import mlx.core as mx

from zvae_tiled import VAE, demo
from zvae_tiled.adapters.triton import OUTPUTS, Service
from zvae_tiled.adapters.triton_answer import answer
from zvae_tiled.adapters.triton_end import end_with
from zvae_tiled.adapters.triton_request import code_of, one_size, seldom, text_of
from zvae_tiled.errors import LatentsError
from zvae_tiled.report.report import Report


class TritonPythonModel:
    """Decodes, one request at a time. No error of a request leaves `execute`: Triton restarts no process that dies."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the VAE. An error ends the server, with the library's message."""
        import triton_python_backend_utils as pb_utils  # the server has it

        self._pb = pb_utils
        end_with(os.getppid())
        self._service = Service.load(json.loads(args["model_config"]))
        self._metrics = Metrics(pb_utils, {"model": args["model_name"], "instance": args["model_instance_name"]})

    def execute(self, requests: list[Any]) -> list[Any] | None:
        """Decode requests, those of one size after each other. Return their responses; None if they are streamed."""
        order = sorted(range(len(requests)), key=lambda number: _latents_and_size(requests[number]))
        responses = {number: self._answer(requests[number]) for number in order}
        return None if self._service.streams else [responses[number] for number in range(len(requests))]

    def _answer(self, request: Any) -> Any:
        """Return the response to a request, or stream it."""
        sent: list[Any] = []
        send = request.get_response_sender().send if self._service.streams else None
        try:
            self._decode(request, send or sent.append)
        except Exception as error:
            code = code_of(error)
            self._metrics.refusals(code).increment(1)
            refusal = self._pb.TritonError(text_of(error), getattr(self._pb.TritonError, code))
            sent = [self._pb.InferenceResponse(error=refusal)]
            if send is not None:
                send(sent[0])
        if send is not None:
            send(flags=self._pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        return sent[0] if sent else None

    def _decode(self, request: Any, send: Any) -> None:
        start, service = time.perf_counter(), self._service
        tensors = {tensor.name(): tensor for tensor in request.inputs()}
        sizes: Any = mx.array(tensors.pop("size")).tolist() if "size" in tensors else []
        if len(tensors) != 1:
            raise LatentsError(f"a request has one input of latents, this has {len(tensors)}: {sorted(tensors)}")
        output = service.output_of(request.requested_output_names())
        gone = seldom(request.is_cancelled)
        job = service.prepare(mx.array(tensors.popitem()[1]), one_size(sizes), gone)

        def send_array(pictures: mx.array) -> None:
            array = mx.contiguous(pictures if service.batched else pictures[0])
            mx.eval(array)  # Triton copies the memory of an array, which a lazy one does not have
            send(self._pb.InferenceResponse([self._pb.Tensor.from_dlpack(output, array)]))

        report = answer(job, output, service.streams, send_array)
        self._metrics.decoded(report, time.perf_counter() - start)


def _latents_and_size(request: Any) -> list[Any]:
    """Return names, shapes and the size of a request's inputs: equal for pictures that are planned alike."""
    tensors = sorted(request.inputs(), key=lambda tensor: str(tensor.name()))
    sizes = [mx.array(tensor).tolist() for tensor in tensors if tensor.name() == "size"]
    return [[[tensor.name(), *tensor.shape()] for tensor in tensors], sizes]


class Metrics:
    """What Triton's endpoint of metrics shows beside its own."""

    def __init__(self, pb_utils: Any, labels: dict[str, str]) -> None:
        """Declare the metrics, with the labels of this instance."""

        def family(kind: str, name: str, description: str) -> Any:
            return pb_utils.MetricFamily(f"zvae_{name}", description, getattr(pb_utils.MetricFamily, kind))

        self._labels = labels
        self._families = {
            name: family(kind, name, description)
            for kind, name, description in (
                ("COUNTER", "decodes", "Requests that were decoded"),
                ("COUNTER", "decode_seconds", "Seconds of these requests, without their time in the queue"),
                ("GAUGE", "predicted_peak_bytes", "Predicted peak of the last decode, weights included"),
                ("GAUGE", "measured_peak_bytes", "Measured peak of the last decode, weights included"),
                ("COUNTER", "refusals", "Requests that got an error, by Triton's code"),
            )
        }
        self._own = {name: each.Metric(labels=labels) for name, each in self._families.items() if name != "refusals"}
        self._refusals: dict[str, Any] = {}

    def refusals(self, code: str) -> Any:
        """Return the counter of refusals with this code."""
        if code not in self._refusals:
            self._refusals[code] = self._families["refusals"].Metric(labels={**self._labels, "code": code})
        return self._refusals[code]

    def decoded(self, report: Report, seconds: float) -> None:
        """Record a decode."""
        self._own["decodes"].increment(1)
        self._own["decode_seconds"].increment(seconds)
        self._own["predicted_peak_bytes"].set(report.predicted_peak)
        self._own["measured_peak_bytes"].set(report.measured_peak)


def main() -> None:
    """Decode bundled latents in this process, as a request for each output is decoded."""
    service = Service(VAE.demo(), "1GB", OUTPUTS, batched=True, streams=False, spill_folder=None)
    for output in OUTPUTS:
        job = service.prepare(mx.array(demo.latents("cat")), None, lambda: False)
        sent: list[mx.array] = []
        report = answer(job, output, service.streams, sent.append)
        print(f"{output}: {sent[0].dtype} {sent[0].shape}; {report.memory_line()}")


if __name__ == "__main__":
    main()
