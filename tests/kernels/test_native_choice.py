"""Which kernels compute: chosen by the CPU or forced by name, and refused with a reason if they cannot run."""

from __future__ import annotations

import _ctypes
import ctypes
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import mlx.core as mx
import numpy as np
import pytest

import zvae_tiled
from tests.kernels.native import LIBRARY, PATHS, ROUNDED, types_of
from tests.support.float64 import decode64, ready_latents, widened
from tests.support.models import random_latents, random_vae, whole_decode
from tests.support.plans import bits, plan_for
from zvae_tiled.devices.here import device_name, kernels_for, this_device
from zvae_tiled.devices.mlx_cpu.kernels import RowKernels
from zvae_tiled.devices.native_cpu import choice as module
from zvae_tiled.devices.native_cpu import library as native_library
from zvae_tiled.devices.native_cpu.choice import FASTEST_FIRST, native_status
from zvae_tiled.devices.native_cpu.kernels import NativeKernels
from zvae_tiled.devices.native_cpu.library import Library
from zvae_tiled.errors import InputError
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig

CPU_ONLY = pytest.mark.skipif(mx.default_device().type != mx.cpu, reason="the default device is no CPU")
BUILT = pytest.mark.skipif(not PATHS, reason="built without the native kernels")
CONFIG = AutoencoderKLConfig(block_out_channels=(8, 24, 40), norm_num_groups=4, latent_channels=4)
DTYPES = {mx.float32: "float32", mx.bfloat16: "bfloat16", mx.float16: "float16"}


@CPU_ONLY
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", list(DTYPES), ids=str)
def test_a_forced_path_computes(path: str, dtype: mx.Dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZVAE_KERNELS", path)
    status = native_status()
    assert (status.path, path in status.reason, path in status.runs) == (path, True, True)
    assert path in device_name()
    kernels = kernels_for(this_device(dtype), dtype)
    assert isinstance(kernels, NativeKernels)
    assert this_device(dtype).name == f"cpu/{kernels.path}"  # plans and files name the kernels
    # Paths that round to bfloat16 compute for bfloat16 alone.
    assert (kernels.path == path) == (dtype in types_of(path))
    assert kernels.path not in ROUNDED or dtype == mx.bfloat16


@CPU_ONLY
@BUILT
def test_plan_and_report_name_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """So does the doctor (tests/cli/test_doctor.py)."""
    monkeypatch.setenv("ZVAE_KERNELS", "portable")
    _, report = random_vae(CONFIG, "bfloat16").decode(random_latents(CONFIG, 2, 3), return_report=True)
    assert "bfloat16 on cpu/portable" in str(report)
    assert "bfloat16 on cpu/portable" in str(report.plan)


@CPU_ONLY
@pytest.mark.skipif(not ROUNDED, reason="every path here computes every type")
def test_a_device_made_for_another_path_gets_no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its scratch is of another size, and native code would write beyond it."""
    monkeypatch.setenv("ZVAE_KERNELS", min(ROUNDED))
    with pytest.raises(AssertionError, match="was made for other kernels"):
        kernels_for(this_device(mx.bfloat16), mx.float32)


@CPU_ONLY
@BUILT
@pytest.mark.parametrize("later", ["portable", "mlx"])
def test_a_decode_that_is_prepared_keeps_its_kernels(later: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZVAE_KERNELS", raising=False)
    vae, latents = random_vae(CONFIG, "float32"), random_latents(CONFIG, 2, 3)
    want, job = vae.decode(latents, "np"), vae.prepare(latents)
    monkeypatch.setenv("ZVAE_KERNELS", later)
    assert np.array_equal(job.array("np"), want)


@CPU_ONLY
def test_mlx_computes_where_it_is_asked_to_or_nothing_was_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZVAE_KERNELS", "mlx")
    assert (native_status().path, type(kernels_for(this_device(), mx.bfloat16))) == ("mlx", RowKernels)
    assert "BLAS" in device_name()
    monkeypatch.delenv("ZVAE_KERNELS")
    monkeypatch.setattr(module, "open_library", lambda: "it was not built")
    status = native_status()
    assert (status.path, status.reason, status.runs) == ("mlx", "it was not built", ())
    assert isinstance(kernels_for(this_device(), mx.bfloat16), RowKernels)


def test_advice_for_a_source_tree_says_how_to_build_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Python that is started in a clone imports it, although an installed copy has kernels."""
    monkeypatch.delenv("ZVAE_KERNELS", raising=False)
    monkeypatch.setattr(module, "open_library", lambda: "it was not built")
    monkeypatch.setattr(
        native_library, "__file__", str(tmp_path / "zvae_tiled" / "devices" / "native_cpu" / "library.py")
    )
    assert str(tmp_path) not in native_status().advice
    (tmp_path / "setup.py").touch()
    advice = native_status().advice
    assert f"the sources in {tmp_path}" in advice
    assert "pip install -e ." in advice
    assert "start Python in another folder" in advice


@BUILT
def test_the_fastest_path_is_chosen_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(LIBRARY, Library)
    monkeypatch.delenv("ZVAE_KERNELS", raising=False)
    fast = [name for name in FASTEST_FIRST if name in LIBRARY.fast]
    assert native_status().path == (fast[0] if fast else "portable")
    assert [name for name in native_status().runs if name in fast] == fast  # one that is slow may run between them


@CPU_ONLY
@BUILT
@pytest.mark.parametrize("dtype", list(DTYPES), ids=str)
def test_portable_is_chosen_where_no_other_path_is_fast(dtype: mx.Dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such are CPUs without AVX2, and those of other architectures, whatever BLAS MLX has."""
    monkeypatch.delenv("ZVAE_KERNELS", raising=False)
    monkeypatch.setattr(LIBRARY, "fast", set())
    status = native_status()
    assert (status.path, status.advice) == ("portable", "")
    assert "this CPU" in status.reason
    kernels = kernels_for(this_device(dtype), dtype)
    assert isinstance(kernels, NativeKernels)
    assert kernels.path == "portable"
    monkeypatch.setenv("ZVAE_KERNELS", "mlx")
    assert native_status().path == "mlx"


def test_a_path_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZVAE_KERNELS", "sse9")
    with pytest.raises(InputError, match=r"ZVAE_KERNELS must be one of auto, amx.*mlx, it is 'sse9'"):
        native_status()
    for path in set(FASTEST_FIRST) - set(PATHS):
        monkeypatch.setenv("ZVAE_KERNELS", path)
        with pytest.raises(InputError, match=f"ZVAE_KERNELS is '{path}': .+"):
            native_status()
    monkeypatch.setenv("ZVAE_KERNELS", "portable")
    monkeypatch.setattr(module, "open_library", lambda: "it was not built")
    with pytest.raises(InputError, match="it was not built"):
        native_status()


@BUILT
def test_what_the_compiler_does_not_know_is_told_from_what_the_cpu_lacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert isinstance(LIBRARY, Library)
    monkeypatch.setenv("ZVAE_KERNELS", "avx2")
    monkeypatch.setattr(LIBRARY, "runs", {})
    for built, reason in ((dict.fromkeys(["avx2"]), "this CPU"), ({}, "compiler")):
        monkeypatch.setattr(LIBRARY, "built", built)
        with pytest.raises(InputError, match=reason):
            native_status()


@BUILT
@pytest.mark.parametrize("change", ["contract", "struct", "none of ours", "no library"])
def test_a_library_of_another_version_is_refused(change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = native_library.open_library.__wrapped__
    assert isinstance(opened(), Library)

    class Longer(native_library.Attend):
        _fields_ = (("more", ctypes.c_int64),)

    if change == "contract":
        monkeypatch.setattr(native_library, "CONTRACT", native_library.CONTRACT + 1)
    elif change == "struct":
        monkeypatch.setattr(native_library, "Attend", Longer)
    else:
        (tmp_path / "text").write_text("no library")
        file = Path(_ctypes.__file__) if change == "none of ours" else tmp_path / "text"
        monkeypatch.setattr(native_library, "library_file", lambda: file)
    reason = "cannot be loaded: " if change == "no library" else "was built for another version: install the package"
    assert reason in str(opened())


@pytest.mark.parametrize("threads", ["0", "-1", "two", "257", "1.5", ""])
def test_threads_must_be_a_number(threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZVAE_THREADS", threads)
    with pytest.raises(InputError, match="ZVAE_THREADS must be a whole number from 1 to 256"):
        native_status()


def test_threads_are_the_cores_or_those_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZVAE_THREADS", raising=False)
    assert 1 <= native_status().threads <= (os.cpu_count() or 1)
    monkeypatch.setenv("ZVAE_THREADS", "7")
    assert native_status().threads == 7


@pytest.mark.slow
@CPU_ONLY
@pytest.mark.parametrize("dtype", list(DTYPES), ids=str)
def test_every_path_is_as_near_to_float64_as_mlx(dtype: mx.Dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    vae, latents = random_vae(CONFIG, DTYPES[dtype]), random_latents(CONFIG, 2, 7)
    want = decode64(vae, latents)
    full = rms(widened(whole_decode(vae, ready_latents(vae, latents))) - want) / rms(want)
    errors = {}
    for path in ("mlx", *PATHS):
        monkeypatch.setenv("ZVAE_KERNELS", path)
        pictures = [vae.decode(latents, plan=plan_for(vae, latents.shape, Random(i)), raw=True) for i in (0, 1)]
        assert bits(pictures[0]) == bits(pictures[1])
        errors[path] = rms(widened(pictures[0]) - want) / rms(want)
    for path in PATHS:
        assert errors[path] <= 1.5 * full
        assert dtype != mx.float32 or errors[path] <= errors["mlx"] + 2 * 2.0**-24


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


@BUILT
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_has_threads_of_its_own() -> None:
    code = """
import os, numpy as np, mlx.core as mx
from tests.kernels.native import PATHS, kernels_of
kernels = kernels_of(PATHS[0], mx.float32, threads=2)
x = mx.ones((1, 8, 100, 40)); mx.eval(x)
want = kernels.moments(x)[0].tobytes()
child = os.fork()
if child == 0:
    os._exit(kernels.moments(x)[0].tobytes() != want)
assert os.waitpid(child, 0)[1] == 0
assert kernels.moments(x)[0].tobytes() == want
"""
    run_alone(code)


@pytest.mark.slow
@BUILT
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts threads' stacks against a limit of addresses")
def test_where_the_system_gives_fewer_threads_those_compute() -> None:
    run_alone("""
import resource, numpy as np, psutil, mlx.core as mx
from tests.kernels.native import PATHS, kernels_of
x = mx.random.normal((1, 512, 20, 40), key=mx.random.key(0)); mx.eval(x)
want = kernels_of(PATHS[0], mx.float32, threads=1).moments(x)[0].tobytes()
kernels, me = kernels_of(PATHS[0], mx.float32, threads=512), psutil.Process()
room = me.memory_info().vms + (256 << 20)
resource.setrlimit(resource.RLIMIT_AS, (room, room))
for _ in range(3):
    assert kernels.moments(x)[0].tobytes() == want
assert me.num_threads() < 512
""")


def run_alone(code: str) -> None:
    """Run code in a process of its own."""
    root = str(Path(zvae_tiled.__file__).parent.parent)
    child = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=600)
    assert child.returncode == 0, child.stderr
