"""What can be measured: a module a tool, each with ``measure(case, files) -> Sample``."""

TORCH = ("product_torch", "diffusers_full", "diffusers_tiled", "comfy_like", "a1111_like")
"""Tools that compute in torch: its own libraries, untouched by ours, are its fastest."""
