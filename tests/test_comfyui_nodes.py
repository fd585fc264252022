"""ComfyUI's contract, as it reads it from the classes. `peers/test_comfyui.py` runs them."""

from __future__ import annotations

import importlib.util
import inspect
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.running import ROOT, environment
from zvae_tiled import __version__
from zvae_tiled.adapters.comfyui_words import in_words_of_the_menu
from zvae_tiled.engine import spill
from zvae_tiled.errors import OutputError
from zvae_tiled.planner.quality import QUALITIES

FOLDER = ROOT / "integrations" / "comfyui"


def imported() -> ModuleType:
    """The folder, imported as ComfyUI imports it: by its path."""
    spec = importlib.util.spec_from_file_location("custom_nodes_zvae_tiled", FOLDER / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


NODES: dict[str, Any] = imported().NODE_CLASS_MAPPINGS
WIDGETS = {"STRING", "INT", "FLOAT", "BOOLEAN"}
"""Types with a widget, which need a default. All others are wired."""


def test_every_node_has_the_name_of_the_menu() -> None:
    named = imported().NODE_DISPLAY_NAME_MAPPINGS
    assert sorted(named.values()) == [
        "Plan VAE Decode",
        "Save Huge Image",
        "VAE Decode (bounded)",
        "VAE Encode (bounded)",
    ]
    assert named.keys() == NODES.keys()


@pytest.mark.parametrize("name", NODES)
def test_a_node_is_called_with_its_inputs(name: str) -> None:
    node = NODES[name]
    inputs = node.INPUT_TYPES()
    assert inputs.keys() <= {"required", "optional", "hidden"}
    widgets = {**inputs["required"], **inputs.get("optional", {})}
    called = inspect.signature(getattr(node(), node.FUNCTION))
    assert {*widgets, *inputs.get("hidden", ())} == called.parameters.keys()
    for name in inputs.get("hidden", ()):
        assert called.parameters[name].default is None
    for name, (choices, _) in inputs.get("optional", {}).items():
        assert called.parameters[name].default == choices[0]
    for kind, options in widgets.values():
        assert kind, "a type, or a list of choices"
        assert not isinstance(kind, str) or kind not in WIDGETS or "default" in options
        assert options.keys() <= {"default", "min", "max", "step", "tooltip"}
    assert isinstance(node.RETURN_TYPES, tuple)
    assert node.RETURN_TYPES or node.OUTPUT_NODE
    assert node.CATEGORY
    assert node.DESCRIPTION


@pytest.mark.parametrize("name", NODES)
def test_a_node_offers_every_quality_that_a_plan_may_advise(name: str) -> None:
    inputs = NODES[name].INPUT_TYPES()["required"]
    assert "quality" in inputs or name == "ZvaeEncode"
    for choices, _ in filter(None, [inputs.get("quality")]):
        assert choices[0] == "exact", "the default of the widget"
        assert {*choices} == {*QUALITIES}


def test_the_host_is_not_needed_to_import_them() -> None:
    code = (
        "import sys; import zvae_tiled.adapters.comfyui; assert not {'torch', 'comfy', 'folder_paths'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=environment())


def test_the_registry_is_told_the_version_of_the_package() -> None:
    told = tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["name"]
    assert told["version"] == __version__
    assert told["dependencies"] == [package] == Path(FOLDER / "requirements.txt").read_text().split()


def test_the_line_of_the_guide_installs_the_nodes_and_updates_them(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "guides" / "comfyui.md").read_text()
    copy = next(line for line in guide.splitlines() if line.startswith("cp ")).partition(" && ")[0]
    shutil.copytree(FOLDER, tmp_path / "integrations" / "comfyui", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "ComfyUI" / "custom_nodes").mkdir(parents=True)
    shipped = sorted(path.name for path in (tmp_path / "integrations" / "comfyui").iterdir())
    for _ in ("installed", "updated"):
        environment = {**os.environ, "COMFYUI": str(tmp_path / "ComfyUI")}
        subprocess.run(["sh", "-c", copy], check=True, cwd=tmp_path, env=environment)
        installed = (tmp_path / "ComfyUI" / "custom_nodes" / "zvae_tiled").iterdir()
        assert sorted(path.name for path in installed) == shipped


def test_a_full_disk_is_told_without_arguments_of_python() -> None:
    with pytest.raises(OutputError, match=r"the disk is full\n *Set TMPDIR") as told, in_words_of_the_menu():
        raise OutputError("the disk is full", spill.FileBands.ADVICE)
    assert "=" not in str(told.value)
