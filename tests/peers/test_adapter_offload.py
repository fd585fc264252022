"""`adapters.diffusers.use` before and after a pipeline is offloaded, by every way that needs no accelerator.

`enable_sequential_cpu_offload` calls accelerate's `cpu_offload` for each model, on a device such as "cuda:0". On
"cpu:0" accelerate 1.15 fails with diffusers' own models, so `sequential` makes these calls itself, on "cpu".
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.peers.adapting import BUDGET, MARKS, NAMES, far, picture, pipeline
from zvae_tiled.adapters.diffusers import use
from zvae_tiled.errors import InputError, WeightsError

pytestmark = [*MARKS, pytest.mark.filterwarnings("ignore:.*:FutureWarning:accelerate")]


def model(pipe: Any) -> None:
    pipe.enable_model_cpu_offload(device="cpu")


def sequential(pipe: Any) -> None:
    import torch
    from accelerate import cpu_offload

    for each in pipe.components.values():
        if isinstance(each, torch.nn.Module):
            cpu_offload(each, "cpu", offload_buffers=len(each._parameters) > 0)


def leaves(pipe: Any) -> None:
    import torch

    pipe.enable_group_offload(onload_device=torch.device("cpu"), offload_type="leaf_level")


def blocks(pipe: Any) -> None:
    import torch

    pipe.enable_group_offload(onload_device=torch.device("cpu"), offload_type="block_level", num_blocks_per_group=1)


WAYS = [model, sequential, leaves, blocks]
"""Every third pair with a pipeline is tried, which leaves out no way and no pipeline: all 28 take minutes."""


@pytest.mark.parametrize(("name", "offload"), list(product(NAMES, WAYS))[::3])
def test_offloading_before_use_and_after_it_changes_no_picture(name: str, offload: Callable[[Any], None]) -> None:
    pipe, given = pipeline(name)
    wanted = picture(pipe, given, "np")
    offload(pipe)
    module = weakref.ref(pipe.vae)
    use(pipe, BUDGET)
    gc.collect()
    assert module() is None, "a hook holds the first module"
    for _ in range(2):  # a pipeline offloads again after each picture
        assert far(picture(pipe, given, "np"), wanted) <= 1e-5

    pipe, given = pipeline(name)
    use(pipe, BUDGET)
    offload(pipe)
    for _ in range(2):
        assert far(picture(pipe, given, "np"), wanted) <= 1e-5


@pytest.mark.parametrize("first", [True, False])
def test_a_decode_asks_for_the_model_before_it_to_be_offloaded(first: bool) -> None:
    import torch

    pipe, _ = pipeline("Z-Image")
    if first:
        model(pipe)
    use(pipe, BUDGET)
    if not first:
        model(pipe)
    hook, told = pipe.vae._hf_hook, list[object]()
    assert hook.prev_module_hook.model is pipe.transformer
    hook.pre_forward = told.append  # what offloads the model before it, if there is an accelerator
    pipe.vae.decode(torch.zeros(1, 16, 2, 2))
    pipe.vae.encode(torch.zeros(1, 3, 16, 16))
    assert told == [pipe.vae, pipe.vae]


@pytest.mark.parametrize("offload", [model, sequential], ids=lambda each: each.__name__)
def test_hooks_are_removed_with_all_others(offload: Callable[[Any], None]) -> None:
    pipe, given = pipeline("FLUX.2")
    wanted = picture(pipe, given, "np")
    offload(pipe)
    use(pipe, BUDGET)
    assert hasattr(pipe.vae, "_hf_hook")
    pipe.remove_all_hooks()
    pipe.maybe_free_model_hooks()
    assert not any(hasattr(each, "_hf_hook") for each in pipe.vae.modules())
    assert pipe.vae.device.type == "cpu"
    assert far(picture(pipe, given, "np"), wanted) <= 1e-5


@pytest.mark.parametrize("offload", [model, sequential], ids=lambda each: each.__name__)
def test_a_vae_that_is_refused_stays_offloaded(offload: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    from zvae_tiled import VAE

    def refused(*given: Any, **options: Any) -> None:
        raise WeightsError("it cannot be copied", "")

    monkeypatch.setattr(VAE, "from_module", refused)
    pipe, given = pipeline("Z-Image")
    wanted, theirs = picture(pipe, given, "np"), pipe.vae
    offload(pipe)
    with pytest.raises(WeightsError):
        use(pipe, BUDGET)
    assert pipe.vae is theirs
    assert any(hasattr(each, "_hf_hook") for each in theirs.modules())
    assert far(picture(pipe, given, "np"), wanted) == 0


def test_weights_that_are_on_disk_are_not_taken_for_what_is_in_their_place(tmp_path: Path) -> None:
    import torch

    options = {"offload_type": "leaf_level", "offload_to_disk_path": str(tmp_path)}
    pipe, _ = pipeline("SDXL")
    pipe.enable_group_offload(onload_device=torch.device("cpu"), **options)
    with pytest.raises(InputError, match=r"moved them to disk\n.*Call use\(\) before the pipeline moves groups"):
        use(pipe, BUDGET)


def test_groups_on_disk_after_use(tmp_path: Path) -> None:
    """FLUX.2's own VAE makes NaN of it: the pipeline reads the statistics that went to disk."""
    import torch

    pipe, given = pipeline("FLUX.2")
    wanted = picture(pipe, given, "np")
    use(pipe, BUDGET)
    options = {"offload_type": "leaf_level", "offload_to_disk_path": str(tmp_path)}
    pipe.enable_group_offload(onload_device=torch.device("cpu"), **options)
    assert far(picture(pipe, given, "np"), wanted) <= 1e-5


def test_weights_stored_as_float8_are_refused() -> None:
    import torch

    pipe, _ = pipeline("Z-Image")
    pipe.vae.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
    with pytest.raises(WeightsError, match="float8_e4m3fn") as caught:
        use(pipe, BUDGET)
    assert "without enable_layerwise_casting()" in caught.value.advice
