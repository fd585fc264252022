"""Every block of Python and shell in README and docs runs, page by page, from top to bottom.

They run in a folder with a small VAE and latents under the names that the docs use. A block that is not run says why.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from docs import architecture_table
from tests.support.docs_blocks import Block, blocks
from tests.support.models import narrow, random_latents
from tests.support.running import ROOT, environment, save_vae
from tests.support.running import run as run_here
from zvae_tiled import VAE, set_default_vae

CONFIG = narrow("z-image", (4, 4, 8, 8), 2)
PAGES = [*sorted(ROOT.glob("*.md")), ROOT / "tests" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = {page: blocks(page) for page in PAGES if blocks(page)}

DEAR = (
    *("benchmarks.md", "big-pictures.md", "cli.md", "comfyui.md", "diffusers.md", "environment.md", "mflux.md"),
    *("own-program.md", "recipes.md", "resume.md", "services.md", "triton.md", "troubleshooting.md"),
)
"""Pages whose commands take seconds: they run with the slow tests, and in .ci/run."""

NAMES_THE_VAE = "export ZVAE_VAE=path/to/Z-Image-Turbo"
"""What a page says whose commands name no VAE."""

SIDE = 4
"""Latents a side, in place of every size in the docs."""


class AutoencoderKL:
    """A stand-in for the VAE of a diffusers pipeline."""

    config = asdict(CONFIG)

    def state_dict(self) -> dict[str, np.ndarray]:
        return load_file("path/to/Z-Image-Turbo/vae/diffusion_pytorch_model.safetensors")


@dataclass
class Pipeline:
    """A stand-in for a diffusers pipeline that returns latents."""

    latents: Callable[[int, int], np.ndarray]
    vae: AutoencoderKL = field(default_factory=AutoencoderKL)

    def __call__(self, prompt: str, height: int, width: int, output_type: str) -> Any:
        assert prompt
        assert output_type == "latent"
        return SimpleNamespace(images=self.latents(height, width))


def z_image_pipeline() -> dict[str, Any]:
    return {"pipe": Pipeline(lambda height, width: unpacked_latents()["latents"])}


def flux_pipeline() -> dict[str, Any]:
    """Packed tokens, one for 16x16 pixels."""

    def packed(height: int, width: int) -> np.ndarray:
        tokens = (height // 16) * (width // 16)
        return random_latents(CONFIG, tokens, 4).reshape(1, tokens, 64)

    return {"pipe": Pipeline(packed), "height": 48, "width": 32}


def unpacked_latents() -> dict[str, Any]:
    return {"latents": random_latents(CONFIG, SIDE, SIDE)}


KINDS = (z_image_pipeline, flux_pipeline, unpacked_latents)
STAND_INS = {each.__name__: each for each in KINDS}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with all files that the docs name."""
    folder = save_vae(tmp_path / "path" / "to" / "Z-Image-Turbo" / "vae", CONFIG)
    (tmp_path / "path" / "to" / "ae.safetensors").hardlink_to(folder / "diffusion_pytorch_model.safetensors")
    (tmp_path / "runs").mkdir()
    for name in ("latents.npy", "runs/1.npy", "runs/2.npy"):
        np.save(tmp_path / name, random_latents(CONFIG, SIDE, SIDE))
    save_file({"latents": random_latents(CONFIG, SIDE, SIDE)}, tmp_path / "latents.safetensors")
    comfyui = {"latent_tensor": random_latents(CONFIG, SIDE, SIDE), "latent_format_version_0": np.zeros(0, np.float32)}
    save_file(comfyui, tmp_path / "ComfyUI_00001_.latent")
    scripts = tmp_path / "bin"
    scripts.mkdir()
    for name, words in (("zvae", "-m zvae_tiled.cli"), ("python", "")):
        script = scripts / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        script.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ZVAE_VAE", raising=False)
    monkeypatch.setenv("PATH", f"{scripts}{os.pathsep}{os.environ['PATH']}")
    set_default_vae(None)
    yield tmp_path
    set_default_vae(None)


def plain_commands(code: str) -> list[list[str]]:
    """The words of each line, if all are calls of zvae that a shell has nothing to do for; else an empty list."""
    lines = [shlex.split(line, comments=True) for line in code.splitlines()]
    plain = not re.search(r"[|<>&;$`\\]", code) and all(words[:1] == ["zvae"] for words in lines)
    return [words[1:] for words in lines] if plain else []


def run(block: Block, names: dict[str, Any]) -> None:
    if block.language == "sh":
        if commands := plain_commands(block.code):  # here, because starting a process takes longer than most of them
            for words in commands:
                run_here(*words)
            return
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.code], capture_output=True, env=environment(), check=False
        )
        assert done.returncode == 0, f"{block.page.name}:{block.line}\n{done.stderr.decode()}"
        return
    if block.kind == "with":
        names.update(STAND_INS[f"{block.note}"]())
    # Lines of the page, so that a failure points at it.
    code = compile("\n" * (block.line - 1) + block.code, block.page, "exec")
    exec(code, names)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.slow] * (page.name in DEAR), id=page.name)
        for page in BLOCKS
        if page.name != "extending.md"
    ],
)
def test_every_block_runs(page: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if NAMES_THE_VAE in page.read_text():
        monkeypatch.setenv("ZVAE_VAE", "path/to/Z-Image-Turbo")
    vae = VAE.load("path/to/Z-Image-Turbo")
    names = {"vae": vae, "height": 8 * SIDE, "width": 8 * SIDE, **unpacked_latents()}
    for block in BLOCKS[page]:
        if block.kind not in ("not run", "command"):
            run(block, names)


def test_every_page_with_code_is_looked_at() -> None:
    assert {page.name for page in BLOCKS} >= {"README.md", "cli.md", "recipes.md"}
    for page in PAGES:
        assert page.read_text().count("```python") == sum(block.language == "python" for block in BLOCKS.get(page, []))
        assert page.read_text().count("```sh\n") == sum(block.language == "sh" for block in BLOCKS.get(page, []))


def test_comments_in_front_of_blocks_are_known_and_what_is_not_run_here_runs_in_ci() -> None:
    ci = (ROOT / ".ci" / "run").read_text()
    for block in [block for found in BLOCKS.values() for block in found]:
        followed = ("file", "edit", "try") if block.page.name == "extending.md" else ()  # by test_extending.py
        assert block.kind in (None, "with", "not run", "command", *followed), f"{block.page.name}:{block.line}"
        if block.kind == "with":
            assert block.note in STAND_INS
        if block.kind == "command":
            assert f"\nreadme_command {block.note}\n" in ci


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.relative_to(ROOT)}")
def test_links_lead_to_pages_and_headings_that_are_there(page: Path) -> None:
    for target, heading in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text()):
        found = page.parent / target if target else page
        assert found.exists(), f"{page.name} links to {target}"
        if heading:
            assert heading in headings(found), f"{page.name} links to {target}#{heading}"


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.name)
def test_sizes_are_decimal(page: Path) -> None:
    assert not re.findall(r"\d ?[KMGT]iB", page.read_text())


def headings(page: Path) -> list[str]:
    """The headings of a page as links name them: lower case, hyphens for spaces, other marks removed."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]


@pytest.mark.parametrize(
    "page",
    [
        "CONTRIBUTING.md",
        "SECURITY.md",
        "docs/architecture.md",
        "docs/extending.md",
        "docs/reliability.md",
        "tests/README.md",
    ],
)
def test_files_that_a_page_names_are_there(page: str) -> None:
    folders = ("benchmarks", "docs", "integrations", "scripts", "tests", "training", "zvae_tiled")
    there = {f"/{path.relative_to(ROOT)}" for folder in folders for path in (ROOT / folder).rglob("*")}
    there |= {f"/{path.name}" for path in ROOT.iterdir()}
    named = re.findall(r"`((?:\w+/)+\w[\w-]*(?:\.\w+)?|\w+\.py)`", (ROOT / page).read_text())
    assert len(named) > 2
    assert not [name for name in named if not any(path.endswith(f"/{name}") for path in there)]


def test_the_table_of_modules_is_that_of_the_package() -> None:
    table = architecture_table.table()
    text = architecture_table.PAGE.read_text()
    assert text.count(f"{architecture_table.BEGIN}{table}{architecture_table.END}") == 1, (
        "run python -m docs.architecture_table"
    )
    for module in (ROOT / "zvae_tiled").rglob("*.py"):
        assert module.name == "__init__.py" or f"| `{module.relative_to(ROOT / 'zvae_tiled')}` |" in table
