"""The tools to measure, one module each, with ``measure(case, files) -> Sample``."""

TORCH = ("product_torch", "diffusers_full", "diffusers_encode", "diffusers_tiled", "comfy_like", "a1111_like")
"""Tools that compute in torch. They run with ``ZVAE_BLAS=off``, because torch is fastest with its own libraries."""
