"""The public names: each documented, each there when asked for; and the tree of errors."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys

import pytest

import zvae_tiled
from zvae_tiled import errors

PUBLIC = sorted(zvae_tiled.__all__)

ERRORS = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, Exception)]


def test_no_other_name_of_the_package_looks_public() -> None:
    of_package = {name: getattr(value, "__module__", None) for name, value in vars(zvae_tiled).items()}
    own = {name for name, module in of_package.items() if f"{module}.".startswith("zvae_tiled.")}
    assert len(PUBLIC) == len(set(PUBLIC))
    assert {name for name in own if not name.startswith("_")} - {"preload"} <= set(PUBLIC)


def test_type_checkers_see_the_names_that_are_imported_later() -> None:
    blocks = [node for node in ast.parse(inspect.getsource(zvae_tiled)).body if isinstance(node, ast.If)]
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    assert {name.name: node.module for node in imports for name in node.names} == zvae_tiled._LATER
    assert zvae_tiled._LATER.keys() <= set(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(zvae_tiled, name)
    if name == "__version__":
        assert re.fullmatch(r"\d+\.\d+\.\d+\S*", value)
    else:
        assert callable(value)
        assert value.__doc__
        assert value.__module__.startswith("zvae_tiled.")


def test_everything_can_be_imported_at_once_in_a_fresh_process() -> None:
    code = f"from zvae_tiled import *; print([name for name in {PUBLIC!r} if name not in globals()])"
    child = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert child.stdout.split() == ["[]"], child.stderr


def test_dir_shows_every_public_name_and_imports_no_mlx() -> None:
    code = "import sys, zvae_tiled; print(*dir(zvae_tiled)); print('mlx.core' in sys.modules)"
    child = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    names, mlx = child.stdout.splitlines()
    assert [name for name in names.split() if not name.startswith("__")] == [
        name for name in PUBLIC if name[:2] != "__"
    ]
    assert "__version__" in names
    assert mlx == "False"


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'zvae_tiled' has no attribute 'decode_titled'"):
        zvae_tiled.decode_titled  # noqa: B018
    with pytest.raises(ImportError, match="decode_titled"):
        from zvae_tiled import decode_titled  # noqa: F401


def test_every_error_is_a_zvae_error_and_stands_in_the_tree() -> None:
    assert len(ERRORS) >= 12
    for error in ERRORS:
        assert issubclass(error, errors.ZvaeError)
        assert f" {error.__name__} " in f"{errors.__doc__}".replace("\n", " "), "the docstring draws the whole tree"


@pytest.mark.parametrize("error", ERRORS)
def test_a_message_has_its_area_and_its_advice_on_a_line_of_its_own(error: type[errors.ZvaeError]) -> None:
    raised = error("this was given", "Do that.")
    tag = f"[{raised.area}] "
    assert str(raised) == f"{tag}this was given\n{' ' * len(tag)}Do that."
    assert (raised.problem, raised.advice) == ("this was given", "Do that.")


def test_errors_can_be_caught_by_what_python_calls_them() -> None:
    assert issubclass(errors.InputError, ValueError)
    assert issubclass(errors.MissingExtraError, ImportError)
    assert issubclass(errors.PlanError, errors.InputError)
    assert not issubclass(errors.BudgetError, errors.InputError)
    assert errors.BudgetError("too small", needed=7).needed == 7
