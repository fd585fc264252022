"""What is known of installed packages from their metadata."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.packages import plant
from zvae_tiled.devices.installed import installed, replaced

LIBRARY = "mlx/lib/libmlx.so"


def test_a_file_that_another_package_has_written_over_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = plant(tmp_path, monkeypatch, "mlx-cuda-13", LIBRARY, b"for CUDA")
    assert installed("mlx-cuda-13")
    assert not replaced("mlx-cuda-13", LIBRARY)
    library.write_bytes(b"for a CPU")
    assert replaced("mlx-cuda-13", LIBRARY)
    library.unlink()
    assert not replaced("mlx-cuda-13", LIBRARY), "nothing has taken its place"


def test_what_is_not_known_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not replaced("no-such-package", LIBRARY)
    plant(tmp_path, monkeypatch, "mlx-cuda-13", LIBRARY, b"for CUDA")
    assert not replaced("mlx-cuda-13", "mlx/lib/another.so")
    assert not replaced("mlx-cuda-13", "mlx_cuda_13-0.32.4.dist-info/RECORD"), "the list has no size of itself"
