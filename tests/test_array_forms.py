"""An array in memory is read by its values: how they lie there, and who may write them, changes no bit."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count, product
from pathlib import Path
from random import Random

import ml_dtypes
import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.models import random_images, random_latents, random_vae
from tests.support.plans import bits
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.inputs.images import read_images
from zvae_tiled.inputs.latents import read_latents

CONFIG = AutoencoderKLConfig(block_out_channels=(4, 4), latent_channels=4, norm_num_groups=2)
TYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32, "float64": np.float64}

CASES = [*product(("decode", "encode"), TYPES), ("encode", "uint8")]
READERS: dict[str, Callable[..., mx.array]] = {"decode": read_latents, "encode": read_images}
NUMBERS = count()

Form = Callable[[np.ndarray, Path], np.ndarray]
"""Returns the same values, which lie in another way."""


def mapped(values: np.ndarray, folder: Path) -> np.ndarray:
    """A file's values, which nobody may write."""
    path = folder / f"{next(NUMBERS)}"  # the values may lie in the file before
    values.tofile(path)
    return np.memmap(path, values.dtype, "r", shape=values.shape)


def every_second(values: np.ndarray, folder: Path) -> np.ndarray:
    """Every second row and column of a larger array."""
    wider = np.repeat(np.repeat(values, 2, axis=-1), 2, axis=-2)
    wider[..., 1::2], wider[..., 1::2, :] = 9, 9  # is read by nobody
    return wider[..., ::2, ::2]


FORMS: dict[str, Form] = {
    "read only": lambda values, folder: np.frombuffer(values.tobytes(), values.dtype).reshape(values.shape),
    "memory map": mapped,
    "every second": every_second,
    "backwards": lambda values, folder: np.ascontiguousarray(values[::-1, :, ::-1])[::-1, :, ::-1],
    "columns first": lambda values, folder: np.asfortranarray(values),
    "not aligned": lambda values, folder: np.frombuffer(b"\0" + values.tobytes(), values.dtype, offset=1).reshape(
        values.shape
    ),
    "of a subclass": lambda values, folder: values.view(np.memmap),
    "big-endian": lambda values, folder: (
        values if values.dtype == ml_dtypes.bfloat16 else values.astype(values.dtype.newbyteorder(">"))  # it has none
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("maps")


def values_of(task: str, kind: str) -> np.ndarray:
    """A batch for this task: floats of this type, or bytes."""
    values = (random_latents if task == "decode" else random_images)(CONFIG, 3, 2, batch=2)
    return (255 * values).astype(np.uint8) if kind == "uint8" else values.astype(TYPES[kind])


def formed(values: np.ndarray, names: list[str], folder: Path) -> np.ndarray:
    """The values, brought into one form after the other."""
    for name in names:
        given = FORMS[name](values, folder)
        assert np.array_equal(given, values), name
        values = given
    return values


@settings(max_examples=100)
@given(case=st.sampled_from(CASES), names=st.lists(st.sampled_from(sorted(FORMS)), min_size=1, max_size=3))
def test_values_are_read_however_they_lie(case: tuple[str, str], names: list[str], folder: Path) -> None:
    values, read = values_of(*case), READERS[case[0]]
    given = formed(values, names, folder)
    want, found = read(values, CONFIG), read(given, CONFIG)
    assert found.dtype == want.dtype
    assert mx.array_equal(found, want).item()
    assert np.array_equal(given, values), "nothing was written"


@pytest.mark.parametrize(("task", "kind"), CASES)
def test_they_give_the_same_picture_and_the_same_latents(task: str, kind: str, folder: Path) -> None:
    vae, values = random_vae(CONFIG), values_of(task, kind)
    given = formed(values, Random(kind).sample(sorted(FORMS), 2), folder)
    if task == "decode":
        first, second = (vae.decode(each, raw=True) for each in (values, given))
    else:
        found = [vae.encode(each) for each in (values, given)]
        first, second = (mx.concatenate([each.mean, each.logvar]) for each in found)
    assert bits(first) == bits(second)
