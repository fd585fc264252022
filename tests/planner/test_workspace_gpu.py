"""The GPUs' memory models: conditions and bytes by hand, and what must hold for any shape."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from zvae_tiled.chain import Step
from zvae_tiled.devices.mlx_gpu import memory as workspace_gpu
from zvae_tiled.devices.mlx_gpu.memory import (
    CUDA,
    GEMM_SCRATCH,
    METAL,
    ROUNDING,
    SCORES_AT_ONCE,
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


def joined(width: int, channels: int, itemsize: int) -> int:
    """The one row more, and its join, that every 3×3 convolution is charged with."""
    return 2 * width * channels * itemsize


# Padded copy, input and output in Winograd's domain, and the weights in it; see winograd_conv_2D_gpu.
WINOGRAD = [
    # 24 × 256: 4 × 43 tiles; padded to 26 × 260
    ((512, 512, 24, 256, 2), 2 * (26 * 260 * 512 + 64 * 172 * 1024 + 64 * 512 * 512)),
    ((512, 512, 24, 256, 4), 4 * (26 * 260 * 512 + 64 * 172 * 1024 + 64 * 512 * 512)),
    # 25 × 257: one more tile each way
    ((512, 512, 25, 257, 2), 2 * (32 * 260 * 512 + 64 * 5 * 43 * 1024 + 64 * 512 * 512)),
    # 96 × 1024: 16 × 171 tiles; padded to 98 × 1028
    ((256, 128, 96, 1024, 2), 2 * (98 * 1028 * 256 + 64 * 2736 * 384 + 64 * 256 * 128)),
    ((128, 128, 62, 62, 2), 2 * (68 * 68 * 128 + 64 * 121 * 256 + 64 * 128 * 128)),  # 64 × 64 pixels padded
]


@pytest.mark.parametrize(("shape", "expected"), WINOGRAD)
def test_winograd_bytes(shape: tuple[int, int, int, int, int], expected: int) -> None:
    inputs, outputs, rows, width, itemsize = shape
    step = Step("conv", "conv", inputs, outputs)
    found = MetalWorkspace().conv(step, rows, width, itemsize)
    assert found == expected + 4 * ROUNDING + joined(width, inputs, itemsize)


def test_winograd_bytes_in_plain_numbers() -> None:
    step = Step("conv", "conv", 512, 512)
    assert MetalWorkspace().conv(step, 24, 256, 2) == 63_021_056 + 196_608 + 524_288


@pytest.mark.parametrize(
    ("inputs", "outputs", "rows", "width"),
    [
        (512, 512, 12, 256),  # fewer than 4,096 pixels
        (128, 128, 62, 61),
        (16, 512, 96, 512),  # channels in halves of 32
        (512, 48, 96, 512),
        (128, 96, 96, 512),  # fewer than 256 channels in all
        (128, 3, 96, 512),  # conv_out
        (4, 512, 96, 512),  # conv_in of SD
    ],
)
def test_implicit_gemm_takes_nothing(inputs: int, outputs: int, rows: int, width: int) -> None:
    step = Step("conv", "conv", inputs, outputs)
    assert MetalWorkspace().conv(step, rows, width, 2) == joined(width, inputs, 2)


def test_odd_channels_on_metal() -> None:
    few, many = Step("conv", "conv", 20, 40), Step("conv", "conv", 20, 48)
    unfolded = 2 * 10 * 25 * 9 * 20 + 4 * 16 * min(250, 180) * 40 + ROUNDING  # explicit_gemm_conv_ND_gpu, split-K
    assert MetalWorkspace().conv(few, 10, 25, 2) == unfolded + ROUNDING + joined(25, 20, 2)
    padded = 2 * 32 * (102 * 102 + 9 * 48) + 2 * ROUNDING  # pad_in_channels_conv_2D_gpu: 20 channels as 32
    unfolded = 2 * 255 * 9 * 20 + 4 * 16 * 180 * 48 + 2 * ROUNDING
    assert MetalWorkspace().conv(many, 100, 100, 2) == max(padded, unfolded) + joined(100, 20, 2)


def test_winograd_kept_off_costs_a_copy_of_the_weights() -> None:
    step, space = Step("conv", "conv", 512, 256), MetalWorkspace(winograd=False)
    assert space.conv(step, 96, 1024, 2) == joined(1024, 512, 2)
    assert space.prepared(step, 2) == (9 * 512 * 256 * 2, 0)
    assert space.prepared(Step("conv", "conv", 128, 3), 2) == (0, 0)
    assert MetalWorkspace().prepared(step, 2) == (0, 0)


def test_cuda_is_bounded_by_im2col_or_by_copies() -> None:
    space = CudaWorkspace()
    narrow = space.conv(Step("conv", "conv", 16, 512), 10, 100, 2)
    assert narrow == 2 * (12 * 102 * 16 + 1000 * 512 + 9 * 16 * 512) + GEMM_SCRATCH + 3 * ROUNDING + joined(100, 16, 2)
    wide = space.conv(Step("conv", "conv", 512, 512), 100, 100, 2)
    assert wide == 2 * 10_000 * 9 * 512 + GEMM_SCRATCH + 3 * ROUNDING + joined(100, 512, 2)


def test_scores_stay_within_256_mib() -> None:
    step = config_of("z-image").chain("decode").steps[3]
    assert step.kind == "attention"
    for width in (1, 128, 2048, 5000):
        keys = block_rows(width) * width
        assert 8 * queries_at_once(keys) * keys <= 256 << 20
    once, twice = (MetalWorkspace().attend(step, rows, 2048, 2) for rows in (16, 32))
    assert twice - once == 16 * 2048 * 4 * (2 * 512 + 2)  # queries and sums alone
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


@given(steps, st.integers(1, 4000), st.integers(1, 100_000))
def test_no_convolution_is_above_2_30_elements(step: Step, rows: int, width: int) -> None:
    tall, wide = conv_part(step, rows, width)
    taps = step.kernel**2 * step.inputs
    assert 1 <= tall <= rows
    assert 1 <= wide <= width
    assert tall * wide * taps <= MAX_ELEMENTS
    if (tall, wide) != (rows, width):  # and not a row or a column less than need be
        assert tall % 6 == 0 or tall < 6
        assert (tall + 6) * wide * taps > MAX_ELEMENTS if wide == width else tall == 1


def test_rows_are_split_in_whole_tiles_then_columns() -> None:
    step = Step("conv", "conv", 512, 512)  # 4,608 elements a pixel
    assert conv_part(step, 768, 300) == (768, 300)
    assert conv_part(step, 768, 8192) == (24, 8192)  # 28 fit
    assert conv_part(step, 768, 60_000) == (3, 60_000)
    assert conv_part(step, 768, 300_000) == (1, 233_016)
    assert conv_part(Step("conv", "conv", 512, 512, kernel=1), 768, 2000) == (768, 2000)


def test_moments_take_64_mib_at_most() -> None:
    for channels in (128, 512):
        for width in (1, 1024, 16_384):
            assert 8 * moments_rows(width, channels) * width * channels <= 64 << 20
    assert moments_rows(1 << 20, 512) == 1


def test_devices() -> None:
    assert (METAL.name, CUDA.name) == ("metal", "cuda")
    for device in (METAL, CUDA):
        assert device.workspace.piece_rows is None
        assert not device.workspace.folds
        assert [device.workspace.compute_size(size) for size in (2, 4)] == [2, 4]
    assert METAL.band_rows % 6 == 0
