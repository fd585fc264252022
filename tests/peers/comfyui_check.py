"""Runs a checkout of ComfyUI with the nodes in it, and holds their pictures and latents to those of its own nodes.

``python -m tests.peers.comfyui_check CHECKOUT``, by a Python that has what ComfyUI requires beside this package. All
files are made in a temporary folder, the VAE's with random weights. Nothing is written into the checkout.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

from tests.peers.comfyui_program import Program, furnish, running


def link(node: str, output: int = 0) -> list[Any]:
    return [node, output]


BOUNDED = {"vae": link("vae"), "budget": "2GB"}
DECODED = {"samples": link("latent"), **BOUNDED, "quality": "exact"}
WORKFLOW: dict[str, dict[str, Any]] = {
    "latent": {"class_type": "LoadLatent", "inputs": {"latent": "a.latent"}},
    "vae": {"class_type": "VAELoader", "inputs": {"vae_name": "random.safetensors"}},
    "their decode": {"class_type": "VAEDecode", "inputs": {"samples": link("latent"), "vae": link("vae")}},
    "our decode": {"class_type": "ZvaeDecode", "inputs": DECODED},
    "plan": {
        "class_type": "ZvaePlan",
        "inputs": {**BOUNDED, "quality": "exact", "width": 8192, "height": 8192, "batch_size": 1},
    },
    "their encode": {"class_type": "VAEEncode", "inputs": {"pixels": link("their decode"), "vae": link("vae")}},
    "our encode": {"class_type": "ZvaeEncode", "inputs": {"pixels": link("their decode"), **BOUNDED}},
}
for whose in ("their", "our"):
    picture = {"images": link(f"{whose} decode"), "filename_prefix": whose}
    WORKFLOW[f"{whose} picture"] = {"class_type": "SaveImage", "inputs": picture}
    latents = {"samples": link(f"{whose} encode"), "filename_prefix": f"latents/{whose}"}
    WORKFLOW[f"{whose} latents"] = {"class_type": "SaveLatent", "inputs": latents}
for kind in ("png", "tiff"):
    huge = {**DECODED, "filename_prefix": f"huge/{kind}", "format": kind}
    WORKFLOW[f"huge {kind}"] = {"class_type": "ZvaeSave", "inputs": huge}


def changed(*nodes: str, **inputs: Any) -> dict[str, Any]:
    """A workflow of some of the nodes, the last of them with other inputs."""
    found = {name: WORKFLOW[name] for name in nodes}
    found[nodes[-1]] = {**found[nodes[-1]], "inputs": {**found[nodes[-1]]["inputs"], **inputs}}
    return found


def message(history: Any, kind: str) -> Any:
    """What the program says of how a prompt ended."""
    (found,) = [content for name, content in history["status"]["messages"] if name == kind]
    return found


def levels(path: Path) -> Any:
    with Image.open(path) as picture:
        return np.asarray(picture, np.int16)


def check_results(program: Program, output: Path) -> None:
    """Our pictures, files and latents are theirs, and the files carry the workflow."""
    history = program.run(WORKFLOW)
    assert history["status"]["status_str"] == "success", history["status"]
    shown = history["outputs"]
    assert shown["plan"]["text"][0].startswith("decodes    1 x 8192x8192, float32")
    for number in (0, 1):
        theirs, ours = (levels(output / f"{whose}_{number + 1:05}_.png") for whose in ("their", "our"))
        assert theirs.std() > 5
        print(f"picture {number}: levels apart: {abs(ours - theirs).max()}")
        assert abs(ours - theirs).max() <= 1
        for kind in ("png", "tiff"):
            named = shown[f"huge {kind}"]["images"][number]
            huge = output / named["subfolder"] / named["filename"]
            assert abs(levels(huge) - ours).max() <= 1
        texts = [
            Image.open(path).info for path in (output / "our_00001_.png", output / f"huge/png_00001_-{number}.png")
        ]
        assert json.loads(texts[1]["workflow"]) == {"nodes": sorted(WORKFLOW)}
        assert {name: texts[1][name] for name in texts[0]} == texts[0], "as from Save Image"
    theirs, ours = (
        load_file(output / "latents" / f"{whose}_00001_.latent")["latent_tensor"] for whose in ("their", "our")
    )
    assert theirs.shape == ours.shape
    print(f"latents: {abs(ours - theirs).max():.1e} apart, of a deviation of {theirs.std():.2f}")
    assert abs(ours - theirs).max() <= 1e-4 * theirs.std()


def check_ends(program: Program, output: Path) -> None:
    """A decode that is refused, and one that is cancelled, end as their own do, and leave nothing."""
    before = sorted(output.rglob("*"))
    refused = message(program.run(changed("latent", "vae", "huge png", budget="1MB")), "execution_error")
    print(refused["exception_message"].strip())
    assert refused["exception_type"].endswith("BudgetError")
    assert "1 MB" in refused["exception_message"]

    workflow = changed("latent", "vae", "huge png", filename_prefix="cancelled")
    workflow["latent"] = {"class_type": "LoadLatent", "inputs": {"latent": "larger.latent"}}
    prompt = program.start(workflow)
    time.sleep(3)
    program.ask("/interrupt", {})
    ended = message(program.end(prompt), "execution_interrupted")
    assert ended["node_type"] == "ZvaeSave"
    assert sorted(output.rglob("*")) == before
    assert program.run(changed("latent", "vae", "huge png", filename_prefix="after"))["status"]["completed"]


def main() -> None:
    """Run all checks on the checkout that is named."""
    checkout = Path(sys.argv[1]).resolve()
    names: dict[str, Any] = {}
    exec((checkout / "comfyui_version.py").read_text(), names)
    print(f"ComfyUI {names['__version__']}")
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        furnish(base)
        with running(checkout, base) as program:
            check_results(program, base / "output")
            check_ends(program, base / "output")
    print("all as in ComfyUI")


if __name__ == "__main__":
    main()
