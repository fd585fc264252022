"""The nodes, by ComfyUI's contract: what each takes and returns. `zvae_tiled.adapters.comfyui` computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from zvae_tiled.adapters import comfyui as bounded
from zvae_tiled.adapters.comfyui_words import in_words_of_the_menu

CATEGORY = "latent/bounded"

VAE = ("VAE", {"tooltip": "The loaded VAE. Its weights are copied at the first use."})
SAMPLES = ("LATENT", {"tooltip": "The latents to decode."})
BUDGET = (
    "STRING",
    {
        "default": "",
        "tooltip": "Memory that the VAE and this node may use: 4GB, 500MB, 60%. Empty: 70% of what is free.",
    },
)
QUALITY = (
    ["exact", "sampled", "tiles", "stream"],
    {"tooltip": "exact: the pixels of a full decode. The others are quicker for huge pictures, and approximate."},
)
OUTPUT = (
    ["image", "png", "tiff"],
    {"tooltip": "image: of VAE Decode (bounded). png and tiff: of Save Huge Image, which takes less memory."},
)
SIDE = {"default": 4096, "min": 16, "max": 131072, "step": 16}


class VAEDecodeBounded:
    """Decodes latents into an IMAGE."""

    DESCRIPTION = "Decodes latents within a memory budget, without tiles: the pixels of VAE Decode."
    CATEGORY = CATEGORY
    FUNCTION = "decode"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Return the inputs, as ComfyUI asks for them."""
        return {"required": {"samples": SAMPLES, "vae": VAE, "budget": BUDGET, "quality": QUALITY}}

    @in_words_of_the_menu()
    def decode(self, samples: dict[str, Any], vae: Any, budget: str, quality: str) -> tuple[Any]:
        """Return pictures, (B, H, W, C), on the CPU."""
        return (bounded.prepared(vae, samples["samples"], "image", budget.strip(), quality).array("torch"),)


class VAEEncodeBounded:
    """Encodes an IMAGE into latents."""

    DESCRIPTION = "Encodes pictures within a memory budget, without tiles: the latents of VAE Encode."
    CATEGORY = CATEGORY
    FUNCTION = "encode"
    RETURN_TYPES = ("LATENT",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Return the inputs, as ComfyUI asks for them."""
        pixels = ("IMAGE", {"tooltip": "The pictures to encode."})
        return {"required": {"pixels": pixels, "vae": VAE, "budget": BUDGET}}

    @in_words_of_the_menu()
    def encode(self, pixels: Any, vae: Any, budget: str) -> tuple[dict[str, Any]]:
        """Return latents, as from VAE Encode."""
        return ({"samples": bounded.encode(vae, pixels, budget.strip())},)


class PlanVAEDecode:
    """Says what a decode will take, before there are latents."""

    DESCRIPTION = "Predicts memory, disk and time of a decode. Nothing is decoded."
    CATEGORY = CATEGORY
    FUNCTION = "plan"
    RETURN_TYPES = ("STRING",)
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Return the inputs, as ComfyUI asks for them."""
        count = ("INT", {"default": 1, "min": 1, "max": 4096})
        sides = {"width": ("INT", SIDE), "height": ("INT", SIDE), "batch_size": count}
        asked = {"vae": VAE, **sides, "budget": BUDGET, "quality": QUALITY}
        return {"required": asked, "optional": {"output": OUTPUT}}  # optional: workflows of older versions have none

    @in_words_of_the_menu()
    def plan(
        self, vae: Any, width: int, height: int, batch_size: int, budget: str, quality: str, output: str = "image"
    ) -> dict[str, Any]:
        """Return the plan in ten lines, and show them."""
        found = bounded.planned(vae, height, width, batch_size, budget.strip(), quality, output)
        return {"ui": {"text": [str(found)]}, "result": (str(found),)}


class SaveHugeImage:
    """Decodes latents straight into files: the pictures are never whole in memory."""

    DESCRIPTION = "Decodes latents within a memory budget, and writes each row to the file as it is finished."
    CATEGORY = CATEGORY
    FUNCTION = "save"
    RETURN_TYPES = ()
    OUTPUT_NODE = True
    HIDDEN: ClassVar = {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Return the inputs, as ComfyUI asks for them."""
        prefix = ("STRING", {"default": "ComfyUI", "tooltip": "As in Save Image."})
        file = {"filename_prefix": prefix, "format": (["png", "tiff"], {"tooltip": "TIFF: tiled, for huge pictures."})}
        return {
            "required": {"samples": SAMPLES, "vae": VAE, **file, "budget": BUDGET, "quality": QUALITY},
            "hidden": cls.HIDDEN,
        }

    @in_words_of_the_menu()
    def save(
        self,
        samples: dict[str, Any],
        vae: Any,
        filename_prefix: str,
        format: str,
        budget: str,
        quality: str,
        prompt: Any = None,
        extra_pnginfo: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Write the pictures into the output folder, with prompt and workflow, and name them."""
        import folder_paths
        from comfy.cli_args import args

        known = {**({} if prompt is None else {"prompt": prompt}), **(extra_pnginfo or {})}
        texts = {} if args.disable_metadata else {name: json.dumps(value) for name, value in known.items()}
        job = bounded.prepared(vae, samples["samples"], format, budget.strip(), quality, texts)
        batch, height, width, _ = job.shape
        folder, stem, counter, subfolder, _ = folder_paths.get_save_image_path(
            filename_prefix, folder_paths.get_output_directory(), width, height
        )
        path = Path(folder) / f"{stem}_{counter:05}_.{format}"
        job.write(path, overwrite=False)
        names = [path.name] if batch == 1 else [f"{path.stem}-{number}{path.suffix}" for number in range(batch)]
        return {"ui": {"images": [{"filename": name, "subfolder": subfolder, "type": "output"} for name in names]}}


NODE_CLASS_MAPPINGS = {
    "ZvaeDecode": VAEDecodeBounded,
    "ZvaeEncode": VAEEncodeBounded,
    "ZvaePlan": PlanVAEDecode,
    "ZvaeSave": SaveHugeImage,
}

NODE_DISPLAY_NAME_MAPPINGS = {
    "ZvaeDecode": "VAE Decode (bounded)",
    "ZvaeEncode": "VAE Encode (bounded)",
    "ZvaePlan": "Plan VAE Decode",
    "ZvaeSave": "Save Huge Image",
}
