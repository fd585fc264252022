"""Settings before any test: float32 without TF32, signals as in a shell, and Hypothesis' profile.

The default run tries the same examples every time. A run that selects slow tests tries fresh and more examples of
every property. They follow from one seed, which the run prints. scripts/sanitize names the profile `many`.
"""

import atexit
import gc
import os
import shutil
import sys
import tempfile

# Before MLX is imported by anything.
os.environ["MLX_ENABLE_TF32"] = "0"
# A calibration of this machine would change plans, and the figures tests compare them with.
os.environ["ZVAE_CACHE"] = os.path.join(tempfile.gettempdir(), f"zvae-no-calibration-{os.getpid()}")

# A hundred processes of tests import the package. Where no bytecode may be kept, each would compile all of it anew.
if sys.dont_write_bytecode:
    bytecode = tempfile.mkdtemp(prefix="zvae-bytecode-")
    atexit.register(shutil.rmtree, bytecode, ignore_errors=True)
    os.environ["PYTHONPYCACHEPREFIX"] = bytecode
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import secrets
from random import Random

import hypothesis
import mlx.core as mx
import pytest

from tests.support.samples import Seeds, mark_samples
from tests.support.signals import default_signals

default_signals()


# No deadline: the machine is shared. No database: the seed alone decides which examples are tried.
hypothesis.settings.register_profile("known", max_examples=10, derandomize=True, deadline=None, database=None)
hypothesis.settings.register_profile("many", hypothesis.settings.get_profile("known"), max_examples=200)
hypothesis.settings.register_profile("fresh", max_examples=1000, deadline=None, database=None, print_blob=True)
hypothesis.settings.load_profile("known")


def explores(config: pytest.Config) -> bool:
    """Return whether this run may select slow tests."""
    return "not slow" not in config.option.markexpr


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Choose the device, the seed before Hypothesis' plugin reads it, and the profile before tests are imported."""
    if "gpu" not in config.option.markexpr.replace(
        "not gpu", ""
    ):  # on a machine with a GPU too, in this process and in its children
        os.environ["ZVAE_DEVICE"] = "cpu"
        mx.set_default_device(mx.cpu)
    if explores(config):
        hypothesis.settings.load_profile("fresh")
        if config.option.hypothesis_seed is None:
            config.option.hypothesis_seed = f"{secrets.randbits(32)}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With a thousand examples every property is slow. In the default run, so are cases that are no sample."""
    for item in items:
        if explores(config) and isinstance(item, pytest.Function) and hypothesis.is_hypothesis_test(item.obj):
            item.add_marker("slow")
    mark_samples(items)
    if (
        mx.cuda.is_available()
    ):  # CudaAllocator::malloc_async: plans for a CPU have a reserve for this, tests of bytes have none
        rounded = pytest.mark.skip(reason="MLX for CUDA rounds small blocks up to a power of two")
        for item in items:
            if item.get_closest_marker("bytes"):
                item.add_marker(rounded)


def pytest_collection_finish() -> None:
    """Tests that count memory collect garbage; let them not look through the tests themselves each time."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Forget the plans of other tests: a test may change what a plan is made from."""
    from zvae_tiled.planner.remembered import forget_plans

    forget_plans()


def repeat(config: pytest.Config) -> str:
    seed = config.option.hypothesis_seed
    return f"the seed of this run is {seed}: to repeat it, add --hypothesis-seed={seed}"


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """Print the seed at the start, for a run may be cut off."""
    return [repeat(config)] if explores(config) else []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the seed below the failures."""
    if explores(config):
        terminalreporter.write_line(repeat(config))


@pytest.fixture
def seeds(request: pytest.FixtureRequest) -> Seeds:
    """Return a function that returns `count` seeds of random cases: 0, 1, 2, …, or in a slow test fresh ones."""
    if not request.node.get_closest_marker("slow"):
        return lambda count: list(range(count))
    rng = Random(f"{request.config.option.hypothesis_seed} {request.node.nodeid}")
    return lambda count: [rng.getrandbits(32) for _ in range(count)]


@pytest.fixture
def installed_bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    """For processes whose memory is measured: compiling modules takes some, so the installed bytecode is read."""
    if sys.dont_write_bytecode:
        monkeypatch.delenv("PYTHONPYCACHEPREFIX")
        monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")


@pytest.fixture
def mlx_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLX's own kernels, for tests that reach into them; a CPU may have faster ones."""
    monkeypatch.setenv("ZVAE_KERNELS", "mlx")


@pytest.fixture
def small_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies of at most 6 latents a side, so that small maps have some."""
    from zvae_tiled.planner import layout

    monkeypatch.setattr(layout, "PROXY", 6)
