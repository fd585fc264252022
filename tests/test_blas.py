"""A faster BLAS is loaded before MLX, or the status says why not; the results stay right either way.

What happens at import is tested in child processes: in this one, mlx.core is long since imported.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from zvae_tiled.devices import blas

ROOT = Path(__file__).parent.parent
KEPT_OUT = ("ZVAE_BLAS", "LD_PRELOAD", "MKL_THREADING_LAYER", "MKL_CBWR", "MKL_VERBOSE")

linux = pytest.mark.skipif(platform.system() != "Linux", reason="only Linux loads a BLAS")

REPORT = """
import dataclasses, json
from zvae_tiled.devices import blas
print(json.dumps(dataclasses.asdict(blas.preload())))
"""

CONV = """
import json, numpy as np, mlx.core as mx
mx.set_default_device(mx.cpu)
random = np.random.default_rng(0)
worst = {}
for name, eps in (("float32", 2.0**-23), ("bfloat16", 2.0**-8)):
    for rows, width, channels, outs in ((1, 33, 64, 3), (1, 64, 129, 128), (5, 40, 48, 64)):
        shapes = (1, rows + 2, width + 2, channels), (outs, 3, 3, channels)
        x, w = (mx.array(random.standard_normal(s, np.float32)).astype(getattr(mx, name)) for s in shapes)
        got = np.array(mx.conv2d(x, w).astype(mx.float32))[0]
        x64, w64 = (np.array(a.astype(mx.float32)).astype(np.float64) for a in (x, w))
        windows = np.lib.stride_tricks.sliding_window_view(x64[0], (3, 3), axis=(0, 1))
        exact = np.einsum("hwcij,oijc->hwo", windows, w64)
        # 9*channels products, summed in float32 in any order; then the result is rounded once.
        size = np.einsum("hwcij,oijc->hwo", abs(windows), abs(w64))
        bound = 9 * channels * 2.0**-23 * size + eps * abs(exact)
        worst[f"{name} {rows}x{width}x{channels}->{outs}"] = float((abs(got - exact) / bound).max())
print(json.dumps(worst))
"""

ONE_ROW = """
import json, numpy as np, mlx.core as mx
mx.set_default_device(mx.cpu)
random = np.random.default_rng(0)
differ = []
for width, channels, outs in ((8, 16, 16), (17, 16, 3), (64, 128, 3), (129, 129, 3), (100, 128, 128)):
    tall = mx.array(random.standard_normal((1, 12, width + 2, channels), np.float32))
    w = mx.array(random.standard_normal((outs, 3, 3, channels), np.float32))
    for row in (0, 1, 4, 9):
        inside = np.array(mx.conv2d(tall[:, row : row + 3], w))
        for shift in (0, 1, 7):
            flat = mx.concatenate([mx.zeros(shift), tall[:, row : row + 3].reshape(-1), mx.zeros(3)])
            alone = flat[shift : flat.size - 3].reshape(1, 3, width + 2, channels)
            if np.array(mx.conv2d(alone, w)).tobytes() != inside.tobytes():
                differ.append([width, channels, outs, row, shift])
print(json.dumps(differ))
"""


def child(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in KEPT_OUT}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )


def answers(code: str, **environment: str) -> list[Any]:
    """Run code; return each line of JSON it printed (MKL_VERBOSE prints other lines between)."""
    done = child(code, **environment)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith(("{", "["))]


def has(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def own_library() -> str:
    """The reference BLAS that MLX's Linux wheel carries: a library with cblas_sgemm that is always there."""
    distribution = metadata.distribution("mlx-cpu")
    files = [file for file in distribution.files or [] if file.name.startswith("libblas")]
    return str(Path(str(files[0].locate())).resolve())


@linux
def test_auto_uses_what_is_installed_or_says_how_to_install_it() -> None:
    (status,) = answers(REPORT)
    if has("mkl"):
        assert (status["name"], status["active"]) == ("mkl", True)
        assert Path(status["path"]).is_file()
        assert "threads" in status["reason"]
    elif status["active"]:
        assert status["name"] in {"nvpl", "openblas"}
        assert status["path"]
    else:
        assert (status["name"], status["path"]) == ("builtin", None)
        assert "pip install 'zvae-tiled[blas]'" in status["reason"]


@linux
@pytest.mark.parametrize("mode", ["auto", "off"])
def test_convolutions_stay_right(mode: str) -> None:
    status, worst = answers(REPORT + CONV, ZVAE_BLAS=mode)
    assert len(worst) == 6
    assert max(worst.values()) <= 1, (status, worst)


@linux
@pytest.mark.parametrize("mode", ["auto", "off"])
def test_a_row_has_the_same_bits_wherever_it_lies(mode: str) -> None:
    status, differ = answers(REPORT + ONE_ROW, ZVAE_BLAS=mode)
    assert differ == [], status


@linux
def test_mlx_calls_the_library_that_the_status_names() -> None:
    done = child(REPORT + CONV, MKL_VERBOSE="1")
    assert done.returncode == 0, done.stderr
    status = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    assert ("MKL_VERBOSE SGEMM" in done.stdout) == (status["name"] == "mkl")


@linux
def test_off_loads_nothing() -> None:
    status, loaded = answers(
        REPORT + "import ctypes\nprint(json.dumps([hasattr(ctypes.CDLL(None), 'cblas_sgemm')]))",
        ZVAE_BLAS="OFF",
    )
    assert (status["name"], status["active"]) == ("builtin", False)
    assert "ZVAE_BLAS=off" in status["reason"]
    assert loaded == [False]


@linux
def test_too_late_is_said() -> None:
    (status,) = answers("import mlx.core\n" + REPORT)
    assert (status["name"], status["active"]) == ("builtin", False)
    assert "too late" in status["reason"]
    assert "import zvae_tiled before mlx" in status["reason"]


@linux
def test_the_first_answer_stays() -> None:
    first, second = answers(REPORT + "import mlx.core, os\nos.environ['ZVAE_BLAS'] = 'off'" + REPORT)
    assert first == second
    assert "too late" not in first["reason"]


@linux
def test_a_library_by_path() -> None:
    status, worst = answers(REPORT + CONV, ZVAE_BLAS=own_library())
    assert (status["name"], status["path"], status["active"]) == ("custom", own_library(), True)
    assert max(worst.values()) <= 1


@linux
def test_a_library_that_was_there_first_is_left_alone() -> None:
    status, worst = answers(REPORT + CONV, LD_PRELOAD=own_library())
    assert (status["name"], status["active"]) == ("external", True)
    assert max(worst.values()) <= 1


@linux
@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("/nowhere/libblas.so", "No such file"),
        ("fast", "cannot open shared object file"),
        (str(Path(__file__)), "invalid ELF header"),
        ("libc.so.6", "It can be opened, but exports no cblas_sgemm."),
    ],
)
def test_a_bad_library_is_an_error(setting: str, said: str) -> None:
    done = child("import zvae_tiled", ZVAE_BLAS=setting)
    assert done.returncode == 1
    assert "zvae_tiled.errors.BlasError: [blas] ZVAE_BLAS must be" in done.stderr
    assert f"but it is {setting!r}" in done.stderr
    assert said in done.stderr
    assert "pip install 'zvae-tiled[blas]'" in done.stderr


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setenv("ZVAE_BLAS", "/nowhere/libblas.so")
    status = blas.preload.__wrapped__()
    assert (status.active, status.path) == (False, None)
    assert "Darwin" in status.reason


@linux
class TestWhatAnEnvironmentCanHold:
    """Situations that cannot be installed for a test; nothing is loaded, the choice alone is looked at."""

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
    """Three functions of MKL; `branches` are those this processor is said to have."""

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


TORCH = """
import json
import torch
import torch.nn.functional as F
torch.manual_seed(0)
x, w = torch.randn(1, 64, 20, 33), torch.randn(48, 64, 3, 3)
far = {"conv": F.conv2d(x, w) - F.conv2d(x.double(), w.double())}
for kind in (torch.complex64, torch.complex128, torch.float32):
    a, b = torch.randn(500, dtype=kind), torch.randn(500, dtype=kind)
    m = torch.randn(40, 40, dtype=kind)
    u, s, v = torch.linalg.svd(m)
    far[f"vdot {kind}"] = torch.vdot(a, b) - (a.conj() * b).sum()
    far[f"product {kind}"] = m @ m - (m[:, :, None] * m[None]).sum(1)
    far[f"svd {kind}"] = (u * s.to(kind)) @ v - m
    far[f"fft {kind}"] = torch.fft.ifft(torch.fft.fft(m)) - m
print(json.dumps({name: float(difference.abs().max()) for name, difference in far.items()}))
"""


@linux
@pytest.mark.peers
@pytest.mark.parametrize("order", ["mlx first", "torch first"])
@pytest.mark.parametrize("asked", ["", "INTEL"])
def test_torch_in_the_same_process_stays_right(order: str, asked: str) -> None:
    parts = [REPORT + CONV, TORCH] if order == "mlx first" else [TORCH, REPORT + CONV]
    printed = answers("\n".join([*parts, TORCH, CONV]), **{"MKL_THREADING_LAYER": asked} if asked else {})
    for measured in printed:
        if "reason" not in measured:
            assert max(measured.values()) <= 1, (order, printed)
            assert all(far < 1e-3 for name, far in measured.items() if "->" not in name), (order, printed)
