"""Set before MLX is imported by anything: float32 must mean float32."""

import os
import tempfile

os.environ["MLX_ENABLE_TF32"] = "0"
# A calibration of this machine would change plans, and the figures tests compare them with.
os.environ["ZVAE_CACHE"] = os.path.join(tempfile.gettempdir(), f"zvae-no-calibration-{os.getpid()}")

import hypothesis
import pytest

# No deadline: the machine is shared, and nothing here asserts a time. In CI the same examples every time.
hypothesis.settings.register_profile("zvae", deadline=None, print_blob=True, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("zvae")


@pytest.fixture
def mlx_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLX's own kernels, for tests that reach into them; a CPU may have faster ones."""
    monkeypatch.setenv("ZVAE_KERNELS", "mlx")
