"""Which BLAS is chosen in environments that cannot be installed for a test; nothing is loaded."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.blas import linux
from zvae_tiled.devices import blas


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setenv("ZVAE_BLAS", "/nowhere/libblas.so")
    status = blas.preload.__wrapped__()
    assert (status.active, status.path) == (False, None)
    assert "Darwin" in status.reason


@linux
class TestWhatAnEnvironmentCanHold:
    """Situations that cannot be installed for a test. Nothing is loaded: only the choice is tested."""

    @pytest.fixture(autouse=True)
    def fresh(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(sys.modules, "mlx.core", raising=False)
        monkeypatch.delenv("ZVAE_BLAS", raising=False)
        monkeypatch.setattr(blas, "_has", lambda *_: False)
        monkeypatch.setattr(blas, "_installed", lambda *_: None)
        monkeypatch.setattr(blas, "_opens", lambda *_: False)

    def test_nothing_installed(self) -> None:
        status = blas.preload.__wrapped__()
        assert not status.active
        assert "no fast BLAS is installed" in status.reason
        assert blas.INSTALL in status.reason

    def test_a_broken_search_does_not_break_the_import(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(blas, "_installed", lambda *_: 1 / 0)
        status = blas.preload.__wrapped__()
        assert not status.active
        assert "ZeroDivisionError" in status.reason

    def test_half_an_mkl_is_not_loaded(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        for part in ("rt", "intel_lp64", "def"):
            (tmp_path / f"libmkl_{part}.so.3").touch()
        rt = tmp_path / "libmkl_rt.so.3"
        monkeypatch.setattr(blas, "_installed", lambda name, _: rt if name == "mkl" else None)
        status = blas.preload.__wrapped__()
        assert not status.active
        assert "libmkl_core.so.3 missing" in status.reason

    @pytest.mark.parametrize(
        ("machine", "torch", "taken"),
        [
            ("x86_64", "absent", True),
            ("x86_64", "installed", False),
            ("x86_64", "imported", True),
            ("aarch64", "installed", True),
        ],
    )
    def test_openblas_only_where_torch_cannot_bind_to_it(
        self, monkeypatch: pytest.MonkeyPatch, machine: str, torch: str, taken: bool
    ) -> None:
        monkeypatch.setattr(blas, "_opens", lambda name, *_: name == "libopenblas.so.0")
        monkeypatch.setattr(blas, "_load", lambda _: "")
        monkeypatch.setattr(platform, "machine", lambda: machine)
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: None if torch == "absent" else object())
        monkeypatch.delitem(sys.modules, "torch", raising=False)
        if torch == "imported":
            monkeypatch.setitem(sys.modules, "torch", pytest)
        status = blas.preload.__wrapped__()
        assert (status.name, status.active) == (("openblas", True) if taken else ("builtin", False))
        assert taken or "import torch before zvae_tiled" in status.reason

    @pytest.mark.parametrize(
        ("asked", "opens", "layer"),
        [
            ("", {"libgomp.so.1", "libiomp5.so"}, "GNU"),
            ("", {"libiomp5.so"}, "INTEL"),
            ("", set(), "SEQUENTIAL"),
            ("intel", {"libgomp.so.1", "libiomp5.so"}, "INTEL"),
            ("tbb", {"libgomp.so.1"}, "GNU"),
            ("TBB", {"libgomp.so.1", "libtbb.so.12"}, "TBB"),
            ("SEQUENTIAL", {"libgomp.so.1"}, "SEQUENTIAL"),
            ("nonsense", {"libgomp.so.1"}, "GNU"),
        ],
    )
    def test_mkl_gets_a_threading_layer_that_opens(
        self, monkeypatch: pytest.MonkeyPatch, asked: str, opens: set[str], layer: str
    ) -> None:
        monkeypatch.setenv("MKL_THREADING_LAYER", asked)
        monkeypatch.delenv("MKL_CBWR", raising=False)
        monkeypatch.setattr(blas, "_opens", lambda name, *_: name in opens)
        mkl = FakeMKL(branches=set())
        assert blas._configure_mkl(mkl, Path("/")) == f", {layer} threads"
        assert mkl.calls[:2] == [("interface", 0), ("threads", blas.MKL_LAYERS[layer])]
        assert os.environ["MKL_THREADING_LAYER"] == asked

    @pytest.mark.parametrize(("opens", "layer"), [({"libgomp.so.1"}, "GNU"), (set(), "SEQUENTIAL")])
    def test_never_intel_threads_after_another_openmp(
        self, monkeypatch: pytest.MonkeyPatch, opens: set[str], layer: str
    ) -> None:
        monkeypatch.setenv("MKL_THREADING_LAYER", "INTEL")
        monkeypatch.delenv("MKL_CBWR", raising=False)
        monkeypatch.setattr(blas, "_has", lambda _, symbol: symbol == "GOMP_parallel")
        monkeypatch.setattr(blas, "_opens", lambda name, *_: name in {*opens, "libiomp5.so"})
        assert blas._configure_mkl(FakeMKL(branches=set()), Path("/")) == f", {layer} threads"

    @pytest.mark.parametrize(
        ("branches", "said"),
        [({12, 10}, ", AVX512,STRICT"), ({10}, ", AVX2,STRICT"), (set(), "")],
    )
    def test_strict_bits_where_mkl_offers_them(
        self, monkeypatch: pytest.MonkeyPatch, branches: set[int], said: str
    ) -> None:
        monkeypatch.delenv("MKL_CBWR", raising=False)
        assert blas._configure_mkl(FakeMKL(branches), Path("/")) == f", SEQUENTIAL threads{said}"
        assert "MKL_CBWR" not in os.environ

    def test_the_user_s_mkl_cbwr_is_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
        mkl = FakeMKL({12, 10})
        assert "MKL_CBWR=COMPATIBLE" in blas._configure_mkl(mkl, Path("/"))
        assert [name for name, _ in mkl.calls] == ["interface", "threads"]


class FakeMKL(ctypes.CDLL):
    """Three functions of MKL. `branches` are the code branches that this processor pretends to have."""

    def __init__(self, branches: set[int]) -> None:
        self.calls: list[tuple[str, int]] = []
        self.branches = branches

    def _note(self, name: str) -> Callable[[int], int]:
        def call(value: int) -> int:
            self.calls.append((name, value))
            strict = value & 0x10000 and value & 0xFFFF in self.branches
            return 0 if name != "cbwr" or strict else -3

        return call

    def __getattr__(self, name: str) -> Any:
        short = {"MKL_Set_Interface_Layer": "interface", "MKL_Set_Threading_Layer": "threads"}
        return self._note(short.get(name, "cbwr"))
