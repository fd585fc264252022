"""Planning needs no device: what may import what, read from the source; and a plan made without MLX in the process."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import zvae_tiled

ROOT = Path(zvae_tiled.__file__).parent

LAYERS = {
    "errors": set[str](),
    "config": {"errors"},
    "budget": {"errors"},
    "heap": set[str](),
    "whole": set[str](),
    "chain": {"errors", "config", "chain"},
    "atomic": {"errors"},
    "plan": {"errors", "atomic", "config", "budget", "whole", "chain", "plan"},
    "kernels": {"errors", "config", "budget", "heap", "chain", "plan", "kernels", "blas"},
    "engine": {"errors", "config", "budget", "heap", "chain", "plan", "kernels", "engine"},
}
"""For each layer, the layers it may import from; data goes one way (DESIGN.md, section 9)."""

SHAPES_ONLY = ("errors", "config", "budget", "whole", "atomic", "chain", "plan")
"""Layers without MLX."""


def files(layer: str) -> list[Path]:
    return sorted((ROOT / layer).glob("**/*.py")) or [ROOT / f"{layer}.py"]


def imports(source: str) -> set[str]:
    """Every module a source imports, inside functions and for type checkers too, with the names imported from it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


def layers_of(modules: set[str]) -> set[str]:
    ours = {tuple(name.split(".")) for name in modules if name.split(".")[0] == "zvae_tiled"}
    return {name[1] if len(name) > 1 else "zvae_tiled" for name in ours}


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_go_one_way(layer: str) -> None:
    for file in files(layer):
        outside = layers_of(imports(file.read_text())) - LAYERS[layer]
        assert not outside, f"{file.relative_to(ROOT)} imports {outside}"


@pytest.mark.parametrize("layer", SHAPES_ONLY)
def test_shapes_need_no_mlx(layer: str) -> None:
    for file in files(layer):
        assert not {name for name in imports(file.read_text()) if name.split(".")[0] == "mlx"}, file


def test_the_reader_of_imports_finds_them() -> None:
    source = (
        "import mlx.core as mx\nif True:\n    from zvae_tiled.engine.run import Run\ndef f():\n    import zvae_tiled"
    )
    assert imports(source) == {"mlx.core", "zvae_tiled.engine.run.Run", "zvae_tiled"}
    assert layers_of(imports(source)) == {"engine", "zvae_tiled"}
    assert all(len(files(layer)) > 3 for layer in ("plan", "engine"))


def test_planning_imports_no_mlx() -> None:
    code = (
        "import sys; from zvae_tiled import Plan, VAEConfig, plan; "
        "made = plan('z-image', 1024, 1024, '1GB', device='cpu'); "
        "print(Plan.from_json(made.to_json()) == made, str(made) != '', VAEConfig.preset('sdxl').scale); "
        "print([name for name in sys.modules if name == 'mlx' or name.startswith('mlx.')])"
    )
    child = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert child.stdout.splitlines() == ["True True 8", "[]"], child.stderr
