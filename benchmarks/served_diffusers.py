"""diffusers' FLUX decoder as a model of Triton, with the interface of serving/triton/vae_decoder: for comparisons."""

from __future__ import annotations

import json
from typing import Any

import torch
from diffusers import AutoencoderKL, FluxPipeline
from torch.utils.dlpack import from_dlpack


class TritonPythonModel:
    """Does what a FluxPipeline does when its sampling ends, and returns levels."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the VAE."""
        import triton_python_backend_utils as pb_utils

        self._pb = pb_utils
        given = {name: each["string_value"] for name, each in json.loads(args["model_config"])["parameters"].items()}
        self._vae: Any = AutoencoderKL.from_pretrained(given["vae"], torch_dtype=getattr(torch, given["dtype"])).eval()
        del self._vae.encoder
        for weight in self._vae.parameters():  # so that oneDNN's convolutions need no reordering
            if weight.ndim == 4:
                weight.data = weight.data.contiguous(memory_format=torch.channels_last)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Decode one request after the other."""
        return [self._response(request) for request in requests]

    def _response(self, request: Any) -> Any:
        tensors = {tensor.name(): from_dlpack(tensor.to_dlpack()) for tensor in request.inputs()}
        height, width = tensors["size"][0].tolist()
        vae, config = self._vae, self._vae.config
        with torch.inference_mode():
            latents = FluxPipeline._unpack_latents(
                tensors["latents"], height, width, 2 ** (len(config.block_out_channels) - 1)
            )
            unscaled = (latents / config.scaling_factor + config.shift_factor).to(
                vae.dtype, memory_format=torch.channels_last
            )
            image = vae.decode(unscaled, return_dict=False)[0].float()
            levels = (image / 2 + 0.5).clamp(0, 1).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
        return self._pb.InferenceResponse([self._pb.Tensor.from_dlpack("images", levels)])
