"""Imports go one way through the layers, as read from the source. A plan is made without importing MLX."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import zvae_tiled

ROOT = Path(zvae_tiled.__file__).parent
PAGE = ROOT.parent / "docs" / "architecture.md"

LAYERS: dict[str, tuple[str, ...]] = {
    "words": ("_version.py", "errors.py", "system.py", "wording.py", "checks.py", "shortage.py"),
    "chain": ("chain/__init__.py", "chain/chain.py", "chain/spread.py", "chain/step.py", "chain/video.py"),
    "families": ("families/*.py",),
    "files": ("files/*.py",),
    "memory": (
        "devices/__init__.py",
        "devices/base.py",
        "devices/blas.py",
        "devices/cgroup.py",
        "devices/forks.py",
        "devices/heap.py",
        "devices/installed.py",
        "devices/speeds.py",
        "devices/table.py",
        "devices/workspace.py",
        "devices/*/__init__.py",
        "devices/*/memory.py",
        "devices/native_cpu/squares.py",
    ),
    "planner": ("planner/*.py",),
    "weights": ("weights/*.py", "inputs/__init__.py", "inputs/arrays.py", "devices/evaluated.py"),
    "reference": ("chain/whole.py", "inputs/latent_space.py"),
    "devices": ("devices/*.py", "devices/*/*.py"),
    "engine": ("engine/*.py",),
    "sinks": ("sinks/*.py",),
    "inputs": ("inputs/*.py", "inputs/*/*.py"),
    "report": ("report/__init__.py", "report/[!f]*.py"),
    "doors": (
        "__init__.py",
        "api.py",
        "jobs/*.py",
        "order.py",
        "order_fields.py",
        "vae.py",
        "demo/*.py",
    ),
    "cluster": ("cluster/*.py", "cluster/*/*.py"),
    "figures": ("report/figures.py",),
    "adapters": ("adapters/*.py",),
    "cli": ("__main__.py", "cli/*.py"),
}
"""The layers from the ground up, each with its files; a file belongs to the first layer that lists it."""

WITHOUT_MLX = ("words", "chain", "families", "files", "memory", "planner")


def layer_of(file: str) -> str:
    """The layer of a file, by its path in the package."""
    for layer, patterns in LAYERS.items():
        if any(Path(file).match(pattern) and file.count("/") == pattern.count("/") for pattern in patterns):
            return layer
    raise AssertionError(f"{file} is in no layer")


FILES = sorted(str(path.relative_to(ROOT)) for path in ROOT.rglob("*.py"))


def drawn() -> str:
    """The layers as docs/architecture.md draws them, from the top down."""
    width = max(map(len, LAYERS))
    lines = [f"{layer:<{width}}  {'  '.join(LAYERS[layer])}" for layer in reversed(LAYERS)]
    return "\n".join(["```text", *lines, "```"])


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


@cache
def imports_of(file: str) -> set[str]:
    """Every module a file of the package imports."""
    return imports((ROOT / file).read_text())


@cache
def file_of(module: str) -> str | None:
    """The file of the package that a dotted name comes from; None for other packages."""
    parts = module.split(".")
    if parts[0] != "zvae_tiled":
        return None
    for count in range(len(parts), 0, -1):
        place = "/".join(parts[1:count])
        for file in (f"{place}.py", f"{place}/__init__.py".lstrip("/")):
            if (ROOT / file).is_file():
                return file
    return None


@pytest.mark.parametrize("file", FILES)
def test_a_file_imports_from_its_own_layer_or_from_lower_ones(file: str) -> None:
    order = list(LAYERS)
    here = order.index(layer_of(file))
    found = {name: file_of(name) for name in imports_of(file)}
    above = {name for name, other in found.items() if other and order.index(layer_of(other)) > here}
    assert not above, f"{file} is of layer {order[here]!r}, and imports from higher ones: {above}"


@pytest.mark.parametrize("file", [file for file in FILES if layer_of(file) in WITHOUT_MLX])
def test_the_lower_layers_need_no_mlx(file: str) -> None:
    assert not {name for name in imports((ROOT / file).read_text()) if name.split(".")[0] == "mlx"}


def test_every_layer_has_files() -> None:
    assert {layer_of(file) for file in FILES} == set(LAYERS)


def test_the_architecture_page_draws_these_layers() -> None:
    assert drawn() in PAGE.read_text(), f"docs/architecture.md should hold:\n\n{drawn()}"


def test_the_reader_of_imports_finds_them() -> None:
    source = (
        "import mlx.core as mx\nif True:\n    from zvae_tiled.engine.run import Run\ndef f():\n    import zvae_tiled"
    )
    assert imports(source) == {"mlx.core", "zvae_tiled.engine.run.Run", "zvae_tiled"}
    assert [file_of(name) for name in ("zvae_tiled.engine.run.Run", "zvae_tiled", "mlx.core")] == [
        "engine/run.py",
        "__init__.py",
        None,
    ]


def test_planning_imports_no_mlx() -> None:
    code = (
        "import sys; from zvae_tiled import config_of, plan, read_plan; from zvae_tiled.order import Order; "
        "made = plan('z-image', 1024, 1024, '1GB', device='cpu'); order = Order('decode', 'vae', 'a.npy', 'a.png'); "
        "assert Order.from_json(order.to_json()) == order; "
        "print(read_plan(made.to_json()) == made, str(made) != '', config_of('sdxl').scale); "
        "print([name for name in sys.modules if name == 'mlx' or name.startswith('mlx.')])"
    )
    child = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert child.stdout.splitlines() == ["True True 8", "[]"], child.stderr
