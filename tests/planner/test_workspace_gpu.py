"""The GPUs' memory models: one example worked out by hand, and what must hold for any shape."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from zvae_tiled.chain import Step
from zvae_tiled.devices.base import Device
from zvae_tiled.devices.mlx_gpu import memory as workspace_gpu
from zvae_tiled.devices.mlx_gpu.memory import (
    CUDA,
    METAL,
    SCORES_AT_ONCE,
    TILE,
    CudaWorkspace,
    Im2colWorkspace,
    MetalWorkspace,
    conv_part,
    moments_rows,
    queries_at_once,
)
from zvae_tiled.devices.workspace import MAX_ELEMENTS, Workspace, block_rows
from zvae_tiled.families import config_of

SPACES: tuple[Workspace, ...] = (
    Im2colWorkspace(),
    MetalWorkspace(),
    MetalWorkspace(winograd=False),
    CudaWorkspace(),
)
rows_, widths, itemsizes = st.integers(1, 200), st.integers(1, 3000), st.sampled_from([2, 4])
steps = st.sampled_from(config_of("z-image").chain("decode").steps)
convs = st.sampled_from([step for step in config_of("sd1").chain("decode").steps if step.kind == "conv"])
spaces = st.sampled_from(SPACES)


def test_winograd_bytes_worked_out_by_hand() -> None:
    """24×256 pixels, 512 to 512 channels, in bfloat16: 4×43 tiles of 6×6 pixels, each transformed to 8×8.

    The buffers are those of winograd_conv_2D_gpu (mlx/backend/metal/conv.cpp of MLX 0.32).
    """
    in_padded = 26 * 260 * 512 * 2
    inp_wg, out_wg = (64 * 4 * 43 * 512 * 2 for _ in "io")
    filt_wg = 64 * 512 * 512 * 2
    rounding = 4 * 3 * 16384  # of four buffers, to pages
    joined = 2 * 256 * 512 * 2  # the bottom edge: one row more, and its join
    extents = 8 * 24  # the smallest and the largest sum of each row
    expected = in_padded + inp_wg + out_wg + filt_wg + rounding + joined + extents
    assert MetalWorkspace().conv(Step("conv", "conv", 512, 512), 24, 256, 2) == expected == 63_742_144


@given(convs, rows_, widths, itemsizes)
def test_winograd_never_takes_less_than_what_needs_no_transform(
    step: Step, rows: int, width: int, itemsize: int
) -> None:
    plain, winograd = (MetalWorkspace(winograd=chosen).conv(step, rows, width, itemsize) for chosen in (False, True))
    assert winograd >= plain


def test_winograd_is_taken_for_large_maps_of_many_channels_only() -> None:
    def more(inputs: int, outputs: int, rows: int, width: int) -> int:
        step = Step("conv", "conv", inputs, outputs)
        return MetalWorkspace().conv(step, rows, width, 2) - MetalWorkspace(winograd=False).conv(step, rows, width, 2)

    large = (512, 512, 24, 256)
    assert more(*large) > 2 * 64 * 512 * 512, "the transformed weights alone take that"
    for small in ((512, 512, 12, 256), (16, 512, 96, 512), (128, 96, 96, 512), (128, 3, 96, 512)):
        assert more(*small) == 0


@given(convs, rows_, widths, itemsizes)
@example(Step("conv_in", "conv", 4, 512), 200, 3000, 2)
def test_cuda_has_room_for_the_unfolded_map_and_for_a_copy_of_map_and_result(
    step: Step, rows: int, width: int, itemsize: int
) -> None:
    """MLX falls back to im2col (gemm_conv_nd). Engines of cuDNN without NHWC copy map and result."""
    assume(step.halo)
    tall, wide = conv_part(step, rows, width)
    taken = CudaWorkspace().conv(step, rows, width, itemsize)
    assert taken >= itemsize * tall * wide * 9 * step.inputs
    assert taken >= itemsize * tall * wide * (step.inputs + step.outputs)


def test_scores_stay_within_256_mib() -> None:
    step = config_of("z-image").chain("decode").steps[3]
    assert step.kind == "attention"
    for width in (1, 128, 2048, 5000):
        keys = block_rows(width) * width
        assert 8 * queries_at_once(keys) * keys <= 256 << 20
    once, twice = (MetalWorkspace().attend(step, rows, 2048, 2) for rows in (16, 32))
    assert twice - once < 3 * 16 * 2048 * 512 * 4, "queries and sums, and no scores: those of a row are 4 times as much"
    assert queries_at_once(2 * SCORES_AT_ONCE) == 1


@given(spaces, steps, rows_, widths, itemsizes, st.integers(1, 40), st.integers(1, 200))
def test_more_rows_or_columns_never_take_less(
    space: Workspace, step: Step, rows: int, width: int, itemsize: int, down: int, across: int
) -> None:
    def taken(rows: int, width: int) -> tuple[int, ...]:
        if step.kind == "attention":
            return space.keys(step, rows, width, itemsize), space.attend(step, rows, width, itemsize)
        return (
            space.activate(step, rows, width, itemsize),
            space.conv(step, rows, width, itemsize),
            space.moments(step.inputs, min(rows, 8), width, itemsize),
        )

    # Split convolutions have parts that only fit whole tiles.
    assume(conv_part(step, rows + down, width) == (rows + down, width))
    assume(conv_part(step, rows, width + across) == (rows, width + across))
    base = taken(rows, width)
    assert all(more >= less for more, less in zip(taken(rows + down, width), base, strict=True))
    # Wider maps have fewer rows of keys in a block, and fewer rows of moments at once.
    wider = taken(rows, width + across)
    if step.kind == "attention":
        wider, base = wider[:1], base[:1]
    elif 8 * (width + across) > workspace_gpu.MOMENTS_AT_ONCE // step.inputs:
        wider, base = wider[:2], base[:2]
    assert all(more >= less for more, less in zip(wider, base, strict=True))


@given(spaces, rows_, widths, itemsizes, st.integers(0, 15), st.integers(0, 15))
def test_more_channels_never_take_less(
    space: Workspace, rows: int, width: int, itemsize: int, inputs: int, outputs: int
) -> None:
    step = Step("conv", "conv", 32 * (inputs + 1), 32 * (outputs + 1))
    assume(conv_part(replace(step, inputs=step.inputs + 32), rows, width) == (rows, width))
    base = space.conv(step, rows, width, itemsize)
    assert space.conv(replace(step, inputs=step.inputs + 32), rows, width, itemsize) >= base
    assert space.conv(replace(step, outputs=step.outputs + 32), rows, width, itemsize) >= base


@given(convs, rows_, widths, itemsizes)
def test_im2col_is_above_what_needs_no_transform(step: Step, rows: int, width: int, itemsize: int) -> None:
    assume(step.halo)
    step = replace(step, closes=None)
    tall, wide = conv_part(step, rows, width)
    bound = Im2colWorkspace().conv(step, rows, width, itemsize)
    assert bound >= MetalWorkspace(winograd=False).conv(step, rows, width, itemsize)
    assert bound >= 4 * tall * wide * 9 * step.inputs


@given(spaces, convs, rows_, widths, itemsizes)
def test_results_that_lie_beside_the_result_are_counted(
    space: Workspace, step: Step, rows: int, width: int, itemsize: int
) -> None:
    tall, wide = conv_part(step, rows, width)
    result = tall * wide * step.outputs * itemsize
    if step.shortcut:
        assert space.conv(step, rows, width, itemsize) >= result
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workspace_gpu, "MAX_ELEMENTS", 9 * step.inputs)  # one pixel at a time
        if rows * width > 1 and step.halo:
            assert space.conv(step, rows, width, itemsize) >= (step.outputs + step.inputs) * itemsize


@given(steps, st.integers(1, 4000), st.integers(1, 1_000_000))
@example(Step("conv", "conv", 512, 512), 768, 300_000)
def test_no_convolution_is_above_2_30_elements(step: Step, rows: int, width: int) -> None:
    tall, wide = conv_part(step, rows, width)
    taps = step.kernel**2 * step.inputs
    assert 1 <= tall <= rows
    assert 1 <= wide <= width
    assert tall * wide * taps <= MAX_ELEMENTS
    if (tall, wide) != (rows, width):  # and as many rows or columns as fit
        assert tall % 6 == 0 or tall < 6
        assert (tall + 6) * wide * taps > MAX_ELEMENTS if wide == width else tall == 1
        assert wide == width or (wide + 1) * taps > MAX_ELEMENTS


def test_moments_take_512_mib_at_most() -> None:
    for channels in (128, 512):
        for width in (1, 1024, 16_384):
            assert 8 * moments_rows(width, channels) * width * channels <= 512 << 20
    assert moments_rows(1 << 20, 512) == 1


@pytest.mark.parametrize("device", [METAL, CUDA], ids=lambda device: device.name)
def test_a_band_and_its_halves_cost_less_the_lower_they_are(device: Device) -> None:
    """Otherwise the planner would gain nothing by a lower band."""
    step = Step("conv", "conv", 512, 512)
    heights = [device.band_rows >> halved for halved in range(4)]
    sizes = [device.workspace.conv(step, rows, 1024, 2) for rows in heights]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0] / 2


def test_bands_on_metal_are_whole_winograd_tiles() -> None:
    """At every halving: otherwise MLX would pad the last tile of each band."""
    rows = METAL.band_rows
    while rows > TILE:
        assert rows % TILE == 0
        rows //= 2
