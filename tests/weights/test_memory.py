"""Loading takes the loaded weights and one more tensor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import mlx.core as mx
import pytest

import zvae_tiled.weights
from tests.support.checkpoints import Shape
from zvae_tiled.weights.load import load_weights

from .loading import load

WIDTH, COUNT = 1024, 5
TENSOR = WIDTH * WIDTH * 9


def big_file(path: Path, source: str = "F32") -> dict[str, Shape]:
    """Write large convolutions, all zeros and none of them on the disk."""
    size = TENSOR * {"F32": 4, "BF16": 2}[source]
    names = [f"decoder.{i}.weight" for i in range(COUNT)]
    header = json.dumps(
        {
            name: {"dtype": source, "shape": [WIDTH, WIDTH, 3, 3], "data_offsets": [i * size, (i + 1) * size]}
            for i, name in enumerate(names)
        }
    ).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(path, 8 + len(header) + COUNT * size)
    return dict.fromkeys(names, (WIDTH, 3, 3, WIDTH))


@pytest.mark.parametrize(
    ("source", "dtype"), [("F32", mx.bfloat16), pytest.param("BF16", mx.float32, marks=pytest.mark.slow)], ids=str
)
def test_peak_is_the_final_size_and_one_tensor(file: Path, source: str, dtype: mx.Dtype) -> None:
    expected = big_file(file, source)
    one = TENSOR * dtype.size
    mx.clear_cache()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    tracemalloc.start()
    loaded = load(file, expected, dtype)
    _, host = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    final = COUNT * one
    assert mx.get_active_memory() - before == pytest.approx(final, rel=0.001)
    assert mx.get_peak_memory() - before <= final + one + 1e6
    assert mx.get_cache_memory() <= 1e6
    assert host <= one + 8e6  # one tensor, and a few pieces of 128 Ki values
    assert len(loaded) == COUNT


@pytest.mark.slow
def test_what_the_caller_does_not_keep_is_gone_before_the_next_tensor(file: Path) -> None:
    expected = big_file(file)
    mx.clear_cache()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    load_weights(file, expected, mx.bfloat16, lambda name, array: None)
    assert mx.get_peak_memory() - before <= 2 * TENSOR * mx.bfloat16.size + 1e6  # as stored and as laid out


CHILD = """
import sys
import mlx.core as mx, psutil, resource
from zvae_tiled.weights.load import load_weights

def peak():
    try:
        lines = open("/proc/self/status").read().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS

path, dtype, width, count = sys.argv[1], getattr(mx, sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
expected = {f"decoder.{i}.weight": (width, 3, 3, width) for i in range(count)}
loaded = {}
name = next(iter(expected))
load_weights(path, {name: expected[name]}, dtype, lambda name, array: None, ignore=("decoder.",))
before = psutil.Process().memory_info().rss
load_weights(path, expected, dtype, loaded.__setitem__)
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.usefixtures("installed_bytecode")
def test_the_process_grows_by_the_final_size_and_one_tensor(file: Path, dtype: str) -> None:
    big_file(file)
    root = Path(zvae_tiled.weights.__file__).parents[2]
    command = [sys.executable, "-c", CHILD, str(file), dtype, str(WIDTH), str(COUNT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=root)
    assert done.returncode == 0, done.stderr
    one = TENSOR * getattr(mx, dtype).size
    grown = int(done.stdout)
    assert COUNT * one <= grown <= (COUNT + 1) * one + 12e6  # less than a tensor, whichever the type
