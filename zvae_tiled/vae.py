"""`VAE`: load once, then encode and decode."""

from __future__ import annotations

import os
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten, tree_unflatten

from zvae_tiled.arrays import OutputType, check_output_type, from_mlx, to_mlx
from zvae_tiled.config import VAEConfig
from zvae_tiled.errors import ConfigError, ImageError, InputError
from zvae_tiled.latents import Layout, read_latents
from zvae_tiled.model import AutoencoderKL, DecoderOnly, LatentDistribution
from zvae_tiled.model.autoencoder import unscale_latents
from zvae_tiled.weights import find_checkpoint, load_weights

DTYPES = {"float32": mx.float32, "bfloat16": mx.bfloat16, "float16": mx.float16}


class VAE:
    """An AutoencoderKL with its weights.

    Attributes:
        config: The shape of the model.
        dtype: The type of the weights, and of everything computed with them.
        model: The reference model in plain MLX modules.
    """

    def __init__(self, config: VAEConfig, model: DecoderOnly, dtype: mx.Dtype) -> None:
        """Wrap a model that has its weights; most callers want `VAE.load`."""
        self.config = config
        self.model = model
        self.dtype = dtype

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        dtype: str = "bfloat16",
        decoder_only: bool = True,
        config: VAEConfig | str | os.PathLike[str] | None = None,
    ) -> VAE:
        """Load a VAE from safetensors.

        Args:
            path: A diffusers folder (the VAE's, or a pipeline's with a ``vae`` folder in it), a ``.safetensors``
                file, or a shard index.
            dtype: ``bfloat16``, ``float32`` or ``float16``, for every tensor.
            decoder_only: Leave the encoder's bytes unread.
            config: A `VAEConfig`, a preset's name or a ``config.json``. Left out, the ``config.json`` beside the
                weights is read.

        Raises:
            ConfigError: There is no config, or it is not one that can be built.
            WeightsError: The checkpoint is unsafe, incomplete, or of another shape than the config says.
        """
        if dtype not in DTYPES:
            raise InputError(f"dtype must be one of {', '.join(DTYPES)}, it is {dtype!r}")
        checkpoint = find_checkpoint(path)
        chosen = _chosen_config(config, checkpoint.folder_config)
        model = DecoderOnly(chosen) if decoder_only else AutoencoderKL(chosen)
        load_model(model, checkpoint, DTYPES[dtype])
        return cls(chosen, model, DTYPES[dtype])

    def decode(
        self,
        latents: Any,
        layout: Layout | None = None,
        height: int | None = None,
        width: int | None = None,
        output_type: OutputType = "mx",
        raw: bool = False,
    ) -> Any:
        """Decode latents as a pipeline hands them over: scaled and shifted.

        Args:
            latents: (B, C, h, w) or (B, h, w, C), with or without B, or packed FLUX tokens with height and width;
                mx, numpy or anything that speaks DLPack.
            layout: ``NCHW`` or ``NHWC``, if the shape leaves it open.
            height: The picture's height in pixels, for packed tokens.
            width: The picture's width in pixels, for packed tokens.
            output_type: ``mx``, ``np``, ``pil`` or ``torch``.
            raw: Return the decoder's own values, about [-1, 1], neither clipped nor widened.

        Returns:
            Pictures as float32 (B, H, W, 3) in [0, 1]; a list of images for ``pil``.

        Raises:
            LatentsError: The latents cannot be decoded as they are.
        """
        check_output_type(output_type, in_unit_range=not raw)
        ready = unscale_latents(read_latents(latents, self.config, layout, height, width), self.config)
        pictures = self.model.decode(ready.astype(self.dtype))
        if not raw:
            pictures = mx.clip(pictures.astype(mx.float32) * 0.5 + 0.5, 0.0, 1.0)
        mx.eval(pictures)
        return from_mlx(pictures, output_type, in_unit_range=not raw)

    def encode(self, images: Any) -> LatentDistribution:
        """Encode pictures.

        Args:
            images: (B, H, W, 3) or (H, W, 3) floats in [0, 1]; H and W multiples of ``config.scale``.

        Returns:
            The distribution of the latents, shifted and scaled as a pipeline wants them.

        Raises:
            ImageError: The pictures cannot be encoded as they are.
            InputError: The encoder was not loaded.
        """
        if not isinstance(self.model, AutoencoderKL):
            raise InputError(
                "encode needs the encoder; this VAE holds the decoder only",
                "Load it with decoder_only=False.",
            )
        pictures = _read_images(images, self.config)
        moments = self.model.encode((pictures * 2 - 1).astype(self.dtype))
        distribution = LatentDistribution.from_moments(moments, self.config)
        mx.eval(distribution.mean, distribution.logvar)
        return distribution


def load_model(model: nn.Module, checkpoint: Any, dtype: mx.Dtype) -> None:
    """Fill a model tensor by tensor; its own random numbers are never computed."""
    shapes = parameter_shapes(model)
    absent = () if "encoder" in model else ("encoder.", "quant_conv.")
    load_weights(
        checkpoint,
        shapes,
        dtype,
        assign=lambda name, array: model.update(tree_unflatten([(name, array)])),
        ignore=absent,
    )


def parameter_shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the name and the shape of every parameter, without computing one."""
    leaves: list[tuple[str, mx.array]] = tree_flatten(model.parameters())  # type: ignore[assignment]
    return {name: array.shape for name, array in leaves}


def _chosen_config(config: VAEConfig | str | os.PathLike[str] | None, beside: os.PathLike[str] | None) -> VAEConfig:
    if isinstance(config, VAEConfig):
        return config
    if isinstance(config, str) and not config.endswith(".json"):
        return VAEConfig.preset(config)
    if config is not None:
        return VAEConfig.from_file(config)
    if beside is None:
        raise ConfigError(
            "there is no config.json beside the weights, and config= was not given",
            "Say config='z-image', 'flux1', 'sd1', 'sdxl' or 'sd3', or the path of a config.json.",
        )
    return VAEConfig.from_file(beside)


def _read_images(images: Any, config: VAEConfig) -> mx.array:
    pictures = to_mlx(images, "images", ImageError).astype(mx.float32)
    if pictures.ndim == 3:
        pictures = pictures[None]
    if pictures.ndim != 4 or pictures.shape[-1] != config.in_channels or pictures.size == 0:
        raise ImageError(
            f"images must be (B, H, W, {config.in_channels}) or (H, W, {config.in_channels}), not {images.shape}"
        )
    height, width = pictures.shape[1:3]
    if height % config.scale or width % config.scale:
        raise ImageError(
            f"height and width must be multiples of {config.scale}, they are {height} and {width}",
            "Crop or pad the picture first.",
        )
    low, high = (float(bound(pictures).item()) for bound in (mx.min, mx.max))  # type: ignore[arg-type]
    if not (low >= 0 and high <= 1):  # NaN compares false with everything, so it is refused here too
        problem = f"images must lie in [0, 1], these go from {low} to {high}"
        raise ImageError(problem, "Divide 8-bit values by 255.")
    return pictures
