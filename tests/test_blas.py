"""A faster BLAS is loaded before MLX, or the status says why not; the results stay right either way.

Imports are tested in child processes, because this process has imported mlx.core already.
"""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import pytest

from tests.support.blas import CONV, REPORT, answers, child, linux

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
@pytest.mark.sample(2)
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


@pytest.mark.slow
@linux
def test_off_loads_nothing() -> None:
    status, loaded = answers(
        REPORT + "import ctypes\nprint(json.dumps([hasattr(ctypes.CDLL(None), 'cblas_sgemm')]))",
        ZVAE_BLAS="OFF",
    )
    assert (status["name"], status["active"]) == ("builtin", False)
    assert "ZVAE_BLAS=off" in status["reason"]
    assert loaded == [False]


@pytest.mark.slow
@linux
def test_too_late_is_said() -> None:
    (status,) = answers("import mlx.core\n" + REPORT)
    assert (status["name"], status["active"]) == ("builtin", False)
    assert "too late" in status["reason"]
    assert "import zvae_tiled before mlx" in status["reason"]


@pytest.mark.slow
@linux
def test_the_first_answer_stays() -> None:
    first, second = answers(REPORT + "import mlx.core, os\nos.environ['ZVAE_BLAS'] = 'off'" + REPORT)
    assert first == second
    assert "too late" not in first["reason"]


@pytest.mark.slow
@linux
def test_a_library_by_path() -> None:
    status, worst = answers(REPORT + CONV, ZVAE_BLAS=own_library())
    assert (status["name"], status["path"], status["active"]) == ("custom", own_library(), True)
    assert max(worst.values()) <= 1


@pytest.mark.slow
@linux
def test_a_library_that_was_there_first_is_left_alone() -> None:
    status, worst = answers(REPORT + CONV, LD_PRELOAD=own_library())
    assert (status["name"], status["active"]) == ("external", True)
    assert max(worst.values()) <= 1


@linux
@pytest.mark.parametrize(
    ("setting", "said"),
    [
        pytest.param("/nowhere/libblas.so", "No such file", marks=pytest.mark.slow),
        pytest.param("fast", "cannot open shared object file", marks=pytest.mark.slow),
        pytest.param(str(Path(__file__)), "invalid ELF header", marks=pytest.mark.slow),
        ("libc.so.6", "It can be opened, but exports no cblas_sgemm."),
    ],
)
def test_a_bad_library_is_an_error(setting: str, said: str) -> None:
    done = child("from zvae_tiled import VAE; print('imported'); VAE.demo()", ZVAE_BLAS=setting)
    assert done.stdout == "imported\n", "the command line starts, and says what is wrong"
    assert done.returncode == 1
    assert "zvae_tiled.errors.BlasError: [blas] ZVAE_BLAS must be" in done.stderr
    assert f"but it is {setting!r}" in done.stderr
    assert said in done.stderr
    assert "pip install 'zvae-tiled[blas]'" in done.stderr
