"""Latents of every layout become one NHWC array. Anything else is refused with a reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import ml_dtypes
import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.models import pack
from zvae_tiled.errors import LatentsError
from zvae_tiled.families.autoencoder_kl import PRESETS
from zvae_tiled.inputs.latents import Latents, Layout, read_latents

FLUX = PRESETS["flux1"]
C = FLUX.latent_channels

sizes = st.integers(1, 9)


def numbered(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@given(sizes, sizes, sizes, st.sampled_from([None, "NCHW"]), st.booleans())
def test_both_layouts_give_the_same_array(
    batch: int, height: int, width: int, said: Layout | None, framed: bool
) -> None:
    nhwc = numbered(batch, height, width, C)
    nchw = nhwc.transpose(0, 3, 1, 2)
    assert np.array_equal(read_latents(Latents(nhwc[:, None] if framed else nhwc, "NHWC"), FLUX), nhwc)
    assert np.array_equal(read_latents(Latents(nchw[:, :, None] if framed else nchw, said), FLUX), nhwc)
    assert np.array_equal(read_latents(Latents(nhwc[0], "NHWC"), FLUX), nhwc[:1])
    assert np.array_equal(read_latents(Latents(nchw[0], said), FLUX), nhwc[:1])


@settings(max_examples=100)
@given(
    st.lists(st.sampled_from([1, 2, 3, 4, 16, 17]), min_size=3, max_size=5),
    st.sampled_from([4, 16]),
    st.sampled_from([None, "NCHW"]),
    st.sampled_from(["float16", "bfloat16", "float32", "float64"]),
    st.booleans(),
)
def test_what_is_not_marked_nhwc_is_never_read_as_nhwc(
    shape: list[int], channels: int, said: Layout | None, dtype: str, of_mlx: bool
) -> None:
    """Such latents are read as NCHW, value by value, or refused."""
    in_front = shape[0] if len(shape) == 3 else shape[1]
    fits = in_front == channels and (len(shape) < 5 or shape[2] == 1)
    values = (
        (np.arange(np.prod(shape)) % 251).reshape(shape).astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    )
    latents = mx.array(values.astype(np.float32)).astype(getattr(mx, dtype)) if of_mlx else values
    config = replace(FLUX, latent_channels=channels)
    if not fits:
        with pytest.raises(LatentsError) as refused:
            read_latents(Latents(latents, said), config)
        last_alone = shape[-1] == channels != in_front
        assert ('layout="NHWC"' in refused.value.advice) is last_alone
        return
    batched = values.reshape(-1, channels, *shape[-2:]).astype(np.float32)
    got = np.asarray(read_latents(Latents(latents, said), config).astype(mx.float32))
    assert np.array_equal(got.transpose(0, 3, 1, 2), batched)


def test_several_frames_are_refused_with_the_reason() -> None:
    for shape, layout in (((1, C, 3, 4, 4), None), ((1, 3, 4, 4, C), "NHWC")):
        with pytest.raises(LatentsError, match="hold 3 frames; an image VAE decodes one picture") as refused:
            read_latents(Latents(np.zeros(shape, np.float32), layout), FLUX)  # type: ignore[arg-type]
        assert "frame by frame" in refused.value.advice


@given(sizes, sizes, sizes)
def test_packed_tokens_unpack(batch: int, rows: int, columns: int) -> None:
    nchw = numbered(batch, C, 2 * rows, 2 * columns)
    for extra in (0, 15):  # a pipeline rounds the picture's size down to whole tokens
        got = read_latents(Latents(pack(nchw), height=16 * rows + extra, width=16 * columns + extra), FLUX)
        assert np.array_equal(got, nchw.transpose(0, 2, 3, 1))
    assert np.array_equal(
        read_latents(Latents(pack(nchw)[0], height=16 * rows, width=16 * columns), FLUX),
        nchw.transpose(0, 2, 3, 1)[:1],
    )


def test_sizes_may_be_any_whole_numbers() -> None:
    tokens = numbered(1, 6, 4 * C)
    want = read_latents(Latents(tokens, height=32, width=48), FLUX)
    kinds: list[Any] = [np.int64, np.uint16, np.array]
    for kind in kinds:
        assert np.array_equal(read_latents(Latents(tokens, height=kind(32), width=kind(48)), FLUX), want)
    wrong: list[Any] = [np.float64(32), np.bool_(True), True, np.array([32]), np.int64(-32), 1 << 31, 10**5000]
    for bad in wrong:
        with pytest.raises(LatentsError, match="in whole pixels, from 1 to 2,147,483,647; height is"):
            read_latents(Latents(tokens, height=bad, width=48), FLUX)


@pytest.mark.parametrize("as_array", [np.asarray, lambda values: mx.array(values, dtype=mx.float64)])
def test_values_past_the_range_of_float32_are_told_from_infinite_ones(as_array: Any) -> None:
    values = np.zeros((C, 2, 3))
    values[3, 1, 2] = -1e300
    with pytest.raises(LatentsError, match=r"1 values beyond the range of float32 .*the first is -1e\+300"):
        read_latents(as_array(values), FLUX)
    values[3, 1, 2] = np.inf
    with pytest.raises(LatentsError, match=r"NaN or infinite; the first is inf at \(3, 1, 2\)"):
        read_latents(as_array(values), FLUX)


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
def test_the_type_is_kept(dtype: mx.Dtype) -> None:
    assert read_latents(mx.zeros((C, 2, 3), dtype=dtype), FLUX).dtype == dtype
    assert read_latents(np.zeros((C, 2, 3), np.float64), FLUX).dtype == mx.float32
    assert read_latents(np.zeros((C, 2, 3), np.float16), FLUX).dtype == mx.float16


def test_anything_with_dlpack_is_read() -> None:
    class Foreign:
        """An array of an unknown library."""

        dtype = "foreign.float32"

        def __init__(self, values: np.ndarray) -> None:
            self.values = values

        def __dlpack__(self, **options: Any) -> Any:
            return self.values.__dlpack__(**options)

        def __dlpack_device__(self) -> Any:
            return self.values.__dlpack_device__()

    values = numbered(C, 2, 3)
    assert np.array_equal(read_latents(Foreign(values), FLUX), values.transpose(1, 2, 0)[None])


def test_where_both_axes_fit_the_layout_decides_and_nchw_is_the_default() -> None:
    both = numbered(1, C, 4, C)
    for said in (None, "NCHW"):
        assert np.array_equal(read_latents(Latents(both, said), FLUX), both.transpose(0, 2, 3, 1))
    assert np.array_equal(read_latents(Latents(both, "NHWC"), FLUX), both)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_latents_that_overflowed_float16_name_the_way_out(value: float) -> None:
    latents = np.zeros((1, C, 2, 3), np.float16)
    latents[0, 3, 1, 2] = value
    with pytest.raises(LatentsError, match="overflowed float16") as refused:
        read_latents(latents, FLUX)
    assert 'dtype="bfloat16"' in refused.value.advice
    with pytest.raises(LatentsError) as refused:
        read_latents(latents.astype(np.float32), FLUX)
    assert "float16" not in refused.value.advice


def test_no_message_prints_a_long_shape() -> None:
    sizes: list[dict[str, Any]] = [{}, {"height": 64, "width": 64}]
    for options in sizes:
        with pytest.raises(LatentsError) as refused:
            read_latents(Latents(mx.zeros([1] * 60), **options), FLUX)
        assert "… 60 axes" in str(refused.value)
        assert str(refused.value).count("1, ") <= 8


class Lent:
    """An array of another library, which hands it over by DLPack."""

    def __init__(self, array: np.ndarray) -> None:
        self._array, self.dtype, self.shape = array, array.dtype, array.shape

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()


@pytest.mark.parametrize(
    ("latents", "options", "reason"),
    [
        (np.zeros((C, 4)), {}, "3, 4 or 5 axes"),
        (np.zeros((1, 1, 1, C, 4, 4)), {}, "3, 4 or 5 axes"),
        (np.zeros((1, 1, C, 4, 4)), {}, "have 1\n.*another family"),
        (np.zeros((1, 4, 16, 16)), {}, "have 4\n.*another family.*The presets for 4 channels are sd1, sdxl"),
        (
            np.zeros((1, 4, 16, 16)),
            {"layout": "NCHW"},
            r'have 4\n.*Latents\(latents, layout="NHWC"\)',
        ),
        (np.zeros((1, 4, 8, 8)), {}, "16 channels"),
        (np.zeros((1, C, 8, 8)), {"layout": "NHWC"}, "16 channels.*\n.*leave out the layout"),
        (np.zeros((1, C, 8, 8)), {"layout": "CHWN"}, "layout must be"),
        (np.zeros((1, C, 8, 8)), {"layout": np.zeros(2)}, "layout must be"),
        (np.broadcast_to(np.float32(0), (1, C, 1 << 17, 1 << 17)), {}, "take 1,099,511,627,776 bytes, .* available"),
        (np.broadcast_to(np.float32(0), (1, C, 1 << 31, 1)), {}, "available"),
        (Lent(np.broadcast_to(np.float32(0), (1, C, 1 << 17, 1 << 17))), {}, "take 1,099,511,627,776 bytes"),
        (np.zeros((1, C, 0, 8)), {}, "empty"),
        (np.zeros((0, C, 8, 8)), {}, "empty"),
        (np.zeros((1, C, 8, 8), np.int32), {}, "not int32"),
        (np.zeros((1, C, 8, 8), np.complex64), {}, "not complex64"),
        (mx.zeros((1, C, 8, 8), dtype=mx.uint8), {}, "not uint8"),
        ([[1.0]], {}, "not list"),
        (None, {}, "not NoneType"),
        ("latents.npy", {}, "not str"),
        (np.zeros((1, 16, 4 * C)), {}, r"pass Latents\(tokens, height=…, width=…\)"),
        (np.zeros((1, 16, 4 * C)), {"height": 64}, "width is not set"),
        (np.zeros((1, 16, 4 * C)), {"height": 64, "width": 0}, "width is 0"),
        (np.zeros((1, 16, 4 * C)), {"height": 64.0, "width": 64}, "height is 64.0"),
        (np.zeros((1, 16, 4 * C)), {"height": 64, "width": 80}, r"\(B, 20, 64\)"),
        (np.zeros((1, 16, 4 * C)), {"height": 64, "width": 64, "layout": "NCHW"}, "no layout"),
        (np.zeros((1, C, 8, 8)), {"height": 64, "width": 64}, r"\(B, 16, 64\)"),
        (np.zeros((1, 16, 4 * C)), {"height": 8, "width": 8}, r"\(B, 0, 64\)"),
    ],
)
def test_what_is_refused_and_why(latents: Any, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(LatentsError, match=reason):
        read_latents(Latents(latents, **options), FLUX)


@given(st.data(), st.sampled_from([np.nan, np.inf, -np.inf]), st.sampled_from([np.float16, np.float32]))
def test_the_first_bad_value_is_named(data: st.DataObject, bad: float, dtype: type) -> None:
    latents: np.ndarray = np.zeros((2, C, 3, 4), dtype)
    at = tuple(data.draw(st.integers(0, n - 1)) for n in latents.shape)
    latents[at] = bad
    latents[-1, -1, -1, -1] = np.nan
    with pytest.raises(LatentsError) as caught:
        read_latents(latents, FLUX)
    assert f"at {at} of {latents.shape}" in str(caught.value)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_masked_values_are_no_values(dtype: str) -> None:
    """What lies behind a mask is what was there before: the array says that it does not count."""
    latents = np.ma.masked_array(numbered(1, C, 2, 3).astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype))
    plain = read_latents(latents.data, FLUX)
    assert np.array_equal(read_latents(latents, FLUX).astype(mx.float32), plain.astype(mx.float32))
    latents[0, 0, 1] = np.ma.masked
    with pytest.raises(LatentsError, match="latents must have a value everywhere; masked are 3 of 96"):
        read_latents(latents, FLUX)


def test_bfloat16_of_numpy_is_read_bit_by_bit() -> None:
    bits = np.arange(C * 6, dtype=np.uint16).reshape(C, 2, 3) + 0x3F80
    got = read_latents(bits.view(ml_dtypes.bfloat16), FLUX)
    assert got.dtype == mx.bfloat16
    assert np.array_equal(np.asarray(got.view(mx.uint16)), bits.transpose(1, 2, 0)[None])
