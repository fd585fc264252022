"""Weights in memory: whatever holds them, they make the VAE that the same file makes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ml_dtypes
import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.support.checkpoints import Array, vae_rows
from tests.support.mflux import Packing, write_with_values
from tests.support.models import FLUX2, narrow, random_latents, random_tensors, torch_shapes
from zvae_tiled import VAE, decode_tiled, plan
from zvae_tiled.errors import ConfigError, InputError, WeightsError
from zvae_tiled.families import PRESETS
from zvae_tiled.weights import recognise
from zvae_tiled.weights.arrays import Arrays
from zvae_tiled.weights.load import load_weights

CONFIG = narrow("sd1")
TENSORS = random_tensors(torch_shapes(CONFIG))
ORIGINAL = {row.name: row.original for row in vae_rows((8, 8, 16, 16))}
"""The original name of each tensor."""


class Foreign:
    """An array of another library: it has DLPack, a shape and a type, as torch's have, and slices of the same kind."""

    def __init__(self, values: Array) -> None:
        self.values = values
        self.shape = values.shape
        self.dtype = f"torch.{values.dtype.name}"

    def reshape(self, *shape: int) -> Foreign:
        return Foreign(self.values.reshape(*shape))

    def __getitem__(self, part: slice) -> Foreign:
        return Foreign(self.values[part])

    def __dlpack__(self, **options: Any) -> Any:
        return self.values.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.values.__dlpack_device__()


def strided(values: Array) -> Array:
    """The same values, the last axis first in memory: as torch's channels_last."""
    return np.asfortranarray(values)


def apart(values: Array) -> Array:
    """An array whose every second value is one of these: that slice of it has them apart in memory."""
    wider = np.repeat(values, 2, axis=-1)
    wider[..., 1::2] = 9
    return wider


HOLDERS: dict[str, Callable[[Array], Any]] = {
    "numpy": np.asarray,
    "strided": strided,
    "float64": lambda values: values.astype(np.float64),
    "big-endian": lambda values: values.astype(">f4"),
    "mlx": mx.array,
    "lazy": lambda values: mx.array(values) * 1,
    "foreign": Foreign,
    "apart": lambda values: apart(values)[..., ::2],
    "of mlx, apart": lambda values: mx.array(apart(values))[..., ::2],
    "foreign, apart": lambda values: Foreign(apart(values)[..., ::2]),
    "backwards": lambda values: np.ascontiguousarray(values[::-1])[::-1],
}


def same(ours: VAE, theirs: VAE) -> None:
    assert (ours.config, ours.dtype, ours.weights.keys()) == (theirs.config, theirs.dtype, theirs.weights.keys())
    for name, values in theirs.weights.items():
        assert ours.weights[name].dtype == values.dtype
        assert mx.array_equal(ours.weights[name], values).item(), name


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights in files, one for each stored type."""
    folder = tmp_path_factory.mktemp("vae")
    for kind in (np.float32, np.float16, ml_dtypes.bfloat16):
        save_file({name: each.astype(kind) for name, each in TENSORS.items()}, folder / f"{np.dtype(kind)}.safetensors")
    return folder


@pytest.mark.parametrize(
    "naming", [str, *(pytest.param(each, marks=pytest.mark.slow) for each in (ORIGINAL.__getitem__, "vae.{}".format))]
)
def test_arrays_of_any_library_make_the_vae_of_the_file(files: Path, naming: Callable[[str], str]) -> None:
    holders = list(HOLDERS.values())
    tensors = {naming(name): holders[i % len(holders)](values) for i, (name, values) in enumerate(TENSORS.items())}
    for dtype in ("float32", "bfloat16"):
        want = VAE.load(files / "float32.safetensors", dtype, False, CONFIG)
        same(VAE.from_state_dict(tensors, CONFIG, dtype, decoder_only=False), want)


@pytest.mark.parametrize("holder", HOLDERS)
def test_an_array_of_any_library_holds_its_values(holder: str) -> None:
    for shape in ((7,), (3, 2, 3, 3), (5, 1)):
        values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        arrays, found = Arrays({"before": values, "a": HOLDERS[holder](values)}), bytearray(values.nbytes)
        for skip in (0, 12):
            arrays.read_tensor(arrays.tensors["a"], skip, memoryview(found)[skip : 12 if skip == 0 else None])
        assert bytes(found) == values.tobytes()


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_every_stored_type_is_read(files: Path, kind: str) -> None:
    want = VAE.load(files / f"{kind}.safetensors", config=CONFIG)
    halves = {
        name: each.astype(np.float16 if kind == "float16" else ml_dtypes.bfloat16) for name, each in TENSORS.items()
    }
    loaded: Any = mx.load(str(files / f"{kind}.safetensors"))
    for tensors in (halves, loaded):
        same(VAE.from_state_dict(tensors, CONFIG), want)


def test_fused_and_quantised_tensors_of_snapshots_are_read(tmp_path: Path) -> None:
    config = narrow("z-image", (8, 16, 32, 32))
    write_with_values(tmp_path, "z-image", random_tensors(torch_shapes(config)), Packing(4, 32))
    tensors: Any = mx.load(str(tmp_path / "vae" / "0.safetensors"))
    assert mx.uint32 in {each.dtype for each in tensors.values()}
    same(VAE.from_state_dict(tensors, config), VAE.load(tmp_path, config=config))
    attention = "decoder.mid_block.attentions.0"
    fused = {name: each for name, each in TENSORS.items() if ".to_q." not in name and ".to_k." not in name}
    for leaf in ("weight", "bias"):
        parts = [TENSORS[f"{attention}.{part}.{leaf}"] for part in ("to_q", "to_k", "to_v")]
        fused[f"{attention}.to_qkv.{leaf}"] = np.concatenate(parts)
        del fused[f"{attention}.to_v.{leaf}"]
    same(VAE.from_state_dict(fused, CONFIG), VAE.from_state_dict(TENSORS, CONFIG))


def test_the_config_is_recognised_by_names_and_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognise, "PRESETS", {"sd3": narrow("sd3"), "flux2": FLUX2})
    assert VAE.from_state_dict(random_tensors(torch_shapes(FLUX2))).config == FLUX2
    with pytest.raises(ConfigError, match="no config was passed, and no preset has their names and shapes"):
        VAE.from_state_dict(TENSORS)


def test_a_published_vae_is_recognised_and_nothing_is_copied() -> None:
    shapes = torch_shapes(PRESETS["cogview4"])
    zeros = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    assert recognise.fitting_presets(Arrays(zeros)) == ["cogview4"]


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("holder", ["contiguous", "strided", "mlx"])
@pytest.mark.sample(5)
def test_no_more_than_one_tensor_is_copied_beside_its_own(holder: str, dtype: str) -> None:
    width, count = 512, 4
    size = width * width * 9 * (2 if dtype == "bfloat16" else 4)
    shape = (width, width, 3, 3)
    values = np.zeros(shape, ml_dtypes.bfloat16 if dtype == "bfloat16" else np.float32)
    order = strided(values) if holder == "strided" else values
    each: Any = mx.zeros(shape, mx.bfloat16 if dtype == "bfloat16" else mx.float32) if holder == "mlx" else order
    mx.eval(each)
    expected = {f"decoder.{i}.weight": (width, 3, 3, width) for i in range(count)}
    loaded: dict[str, mx.array] = {}
    mx.clear_cache()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    tracemalloc.start()
    kind = mx.bfloat16 if dtype == "bfloat16" else mx.float32
    load_weights(Arrays(dict.fromkeys(expected, each)), expected, kind, loaded.__setitem__)
    _, host = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert mx.get_active_memory() - before == pytest.approx(count * size, rel=0.001)
    assert mx.get_peak_memory() - before <= (count + 1) * size + 4e6
    # The host holds the converted tensor, and the copy of one that does not lie in order.
    assert host <= (2 if holder == "strided" else 1) * size + 8e6


class Torch:
    """What a module of torch shows: a config, as diffusers keeps it, and a state dict."""

    def __init__(self, tensors: Mapping[str, Any], config: Mapping[str, Any] | None) -> None:
        self.tensors = tensors
        if config is not None:
            self.config = config

    def state_dict(self) -> Mapping[str, Any]:
        return self.tensors


class AutoencoderKL(Torch):
    def __repr__(self) -> str:
        return "AutoencoderKL(\n" + "  a layer\n" * 1000 + ")"


FOREIGN = {name: Foreign(values) for name, values in TENSORS.items()}
KEPT = {**asdict(CONFIG), "_use_default_values": ["act_fn"], "_diffusers_version": "0.42.1"}
"""A config as diffusers keeps it in a module that was not loaded from a file: without a class."""


@pytest.mark.slow
def test_a_module_of_diffusers_has_its_config_with_it() -> None:
    want = VAE.from_state_dict(TENSORS, CONFIG, decoder_only=False)
    same(VAE.from_module(AutoencoderKL(FOREIGN, KEPT), decoder_only=False), want)
    compiled = Torch({}, None)
    compiled._orig_mod = AutoencoderKL(FOREIGN, KEPT)  # type: ignore[attr-defined]
    same(VAE.from_module(compiled, decoder_only=False), want)
    same(VAE.from_module(Torch(FOREIGN, None), CONFIG, decoder_only=False), want)


def test_a_module_of_mlx_is_read_by_its_parameters() -> None:
    model = nn.Module()
    for name, values in random_tensors(torch_shapes(CONFIG)).items():
        *path, leaf = name.split(".")
        place: Any = model
        for part, following in zip(path, [*path[1:], leaf], strict=True):
            if isinstance(place, list):
                place.extend({} for _ in range(int(part) + 1 - len(place)))
                place[int(part)] = place[int(part)] or ([] if following.isdigit() else nn.Module())
                place = place[int(part)]
                continue
            if part not in place:
                place[part] = [] if following.isdigit() else nn.Module()
            place = place[part]
        place[leaf] = mx.array(values.transpose(0, 2, 3, 1) if values.ndim == 4 else values)
    same(VAE.from_module(model, CONFIG), VAE.from_state_dict(TENSORS, CONFIG))


def test_a_vae_in_memory_decodes() -> None:
    vae, latents = VAE.from_state_dict(TENSORS, CONFIG), random_latents(CONFIG, 2, 3)
    assert vae.decode(latents).shape == (1, 16, 24, 3)
    with pytest.raises(InputError, match="made in memory"):
        vae.__reduce__()


BAD = TENSORS | {"decoder.conv_in.bias": np.full_like(TENSORS["decoder.conv_in.bias"], np.nan)}
WHOLE = AutoencoderKL({}, KEPT)
ANY: Any = WHOLE


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: VAE.from_state_dict(ANY), WeightsError, "not an AutoencoderKL"),
        (lambda: VAE.from_state_dict({ANY: np.zeros(1)}), WeightsError, "an AutoencoderKL: a"),
        (lambda: VAE.from_state_dict({"a": [1.0], "b": "c"}), WeightsError, "a: a list"),
        (lambda: VAE.from_state_dict({"a": {"b": np.zeros(1)}}), WeightsError, "a: a dict"),
        (lambda: VAE.from_state_dict({}, CONFIG), WeightsError, "missing"),
        (lambda: VAE.from_state_dict(TENSORS | {"x": np.zeros(2)}, CONFIG), WeightsError, "x"),
        (lambda: VAE.from_state_dict({**TENSORS, "quant_conv.bias": np.zeros(8, int)}, CONFIG, decoder_only=False),
         WeightsError, "quant_conv.bias: int64"),
        (lambda: VAE.from_state_dict(BAD, CONFIG), WeightsError, "16 values are NaN or Inf"),
        (lambda: VAE.from_state_dict(TENSORS, CONFIG, "int8"), InputError, "dtype must be one of"),
        (lambda: VAE.from_module(AutoencoderKL({}, {"latent_channels": 4, "odd": 1})), ConfigError, "'odd'"),
        (lambda: VAE.from_module(Torch({}, {"a": 1})), ConfigError, "it is 'Torch'"),
        (lambda: VAE.from_module("vae"), InputError, "module must be"),
        (lambda: VAE.from_module(object()), InputError, "module must be"),
    ],
)  # fmt: skip
def test_what_holds_no_vae_is_refused(call: Callable[[], Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert said in str(caught.value)


def test_an_array_that_its_library_cannot_read_is_named() -> None:
    """A sparse tensor of torch, an array of JAX that was deleted."""

    class Deleted(np.ndarray):
        def reshape(self, *_: Any) -> Any:  # type: ignore[override]
            raise RuntimeError("Array has been deleted.")

    bias = TENSORS["decoder.conv_in.bias"]
    with pytest.raises(WeightsError, match=r"decoder\.conv_in\.bias: .*Array has been deleted"):
        VAE.from_state_dict(TENSORS | {"decoder.conv_in.bias": bias.view(Deleted)}, CONFIG)


WRONG = (WHOLE, 3, None, ["vae"], {"a": 1}, np.zeros((300, 300)), object())


@pytest.mark.parametrize("value", WRONG, ids=lambda value: type(value).__name__)
def test_a_wrong_type_answers_in_a_line(value: Any) -> None:
    vae = VAE.from_state_dict(TENSORS, CONFIG)
    instead: Any = 1 if value is None else value  # None is a default
    calls: list[Callable[[], Any]] = [
        lambda: VAE.load(value),
        lambda: VAE.load("vae", dtype=value),
        lambda: VAE.from_state_dict(TENSORS, config=instead),
        lambda: decode_tiled(np.zeros((1, 4, 1, 1)), vae=instead),
        lambda: plan(value, 64, 64),
        lambda: plan("sd1", 64, 64, [value]),  # type: ignore[arg-type]
        lambda: vae.decode(value),
        lambda: vae.decode(np.zeros((1, 4, 1, 1)), output_type=value),
    ]
    for call in calls:
        with pytest.raises(InputError) as caught:
            call()
        lines = str(caught.value).splitlines()
        assert len(lines) <= 3
        assert all(len(line) <= 320 for line in lines), lines
