"""The Chain against a table by hand, a list of diffusers' names and shapes, and the published number of flops."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from random import Random

import pytest

from tests.support.checkpoints import vae_rows
from tests.support.models import PRESETS, to_torch_layout
from tests.support.plans import TASKS, random_config
from zvae_tiled.chain import DOUBLE, HALVE, Chain, Padding, Skip, Spread, Step
from zvae_tiled.devices.mlx_cpu.memory import CPU
from zvae_tiled.families import Task, VAEConfig, config_of
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.families.flux2 import Flux2Config
from zvae_tiled.planner.cost import Costs, Size
from zvae_tiled.planner.stage import shares_skip
from zvae_tiled.weights.vae import shapes_of

Z_IMAGE = config_of("z-image").chain("decode")

TABLE = """\
cut  scale     channels  reads                    step
  0      1    16 -> 512                            3x3 decoder.conv_in
  1      1   512 -> 512   norm, SiLU, opens skip   3x3 decoder.mid_block.resnets.0.conv1
  2      1   512 -> 512   norm, SiLU, + skip       3x3 decoder.mid_block.resnets.0.conv2
  3      1   512 -> 512   norm, opens skip, + skip attention decoder.mid_block.attentions.0
  4      1   512 -> 512   norm, SiLU, opens skip   3x3 decoder.mid_block.resnets.1.conv1
 12      1   512 -> 512   nearest x2               3x3 decoder.up_blocks.0.upsamplers.0.conv
 13      2   512 -> 512   norm, SiLU, opens skip   3x3 decoder.up_blocks.1.resnets.0.conv1
 20      4   512 -> 256   norm, SiLU, opens skip   3x3 decoder.up_blocks.2.resnets.0.conv1
 21      4   256 -> 256   norm, SiLU, + shortcut   3x3 decoder.up_blocks.2.resnets.0.conv2
 26      4   256 -> 256   nearest x2               3x3 decoder.up_blocks.2.upsamplers.0.conv
 28      8   128 -> 128   norm, SiLU, + shortcut   3x3 decoder.up_blocks.3.resnets.0.conv2
 32      8   128 -> 128   norm, SiLU, + skip       3x3 decoder.up_blocks.3.resnets.2.conv2
 33      8   128 -> 3     norm, SiLU               3x3 decoder.conv_out
"""


def configs() -> list[VAEConfig]:
    return [config_of(name) for name in PRESETS] + [random_config(Random(seed)) for seed in range(40)]


def test_the_table_of_z_image() -> None:
    lines = str(Z_IMAGE).splitlines()
    assert len(lines) == 1 + len(Z_IMAGE.steps) == 35
    expected = TABLE.splitlines()
    assert [lines[0], *(lines[int(line.split()[0]) + 1] for line in expected[1:])] == expected


def test_cuts_of_z_image() -> None:
    assert Z_IMAGE.barriers == tuple(cut for cut in range(1, 34) if cut not in (12, 19, 26))  # the upsamplers
    assert Z_IMAGE.factors == (1,) * 13 + (2,) * 7 + (4,) * 7 + (8,) * 8
    assert Z_IMAGE.channels[:5] == (16, 512, 512 + 512, 512, 512)  # inside a resnet the skip is alive too
    assert Z_IMAGE.channels[26:] == (256, 256, 128 + 256, 128, 256, 128, 256, 128, 3)


def test_a_post_quant_convolution_comes_first() -> None:
    first, second = config_of("sd1").chain("decode").steps[:2]
    assert first == Step("post_quant_conv", "conv", 4, 4, kernel=1)
    assert (first.halo, second.halo, second.name) == (0, 1, "decoder.conv_in")
    assert Z_IMAGE.steps[0].name == "decoder.conv_in"


ENCODER = """\
  0      8     3 -> 128                            3x3 encoder.conv_in
  5      8   128 -> 128   every 2nd                3x3 encoder.down_blocks.0.downsamplers.0.conv
  6      4   128 -> 256   norm, SiLU, opens skip   3x3 encoder.down_blocks.1.resnets.0.conv1
  7      4   256 -> 256   norm, SiLU, + shortcut   3x3 encoder.down_blocks.1.resnets.0.conv2
 15      2   512 -> 512   every 2nd                3x3 encoder.down_blocks.2.downsamplers.0.conv
 19      1   512 -> 512   norm, SiLU, + skip       3x3 encoder.down_blocks.3.resnets.1.conv2
 22      1   512 -> 512   norm, opens skip, + skip attention encoder.mid_block.attentions.0
 25      1   512 -> 32    norm, SiLU               3x3 encoder.conv_out
"""


def test_the_encoder_of_z_image() -> None:
    chain = config_of("z-image").chain("encode")
    lines = str(chain).splitlines()[1:]
    assert len(lines) == len(chain.steps) == 26
    assert [lines[int(line.split()[0])] for line in ENCODER.splitlines()] == ENCODER.splitlines()
    assert chain.factors == (8,) * 6 + (4,) * 5 + (2,) * 5 + (1,) * 11
    assert chain.barriers == tuple(cut for cut in range(1, 26) if cut not in (5, 10, 15))  # the downsamplers
    assert [chain.rows_at(16, rows, 0) for rows in (1, 8, 9)] == [1, 1, 2]
    last = config_of("sd1").chain("encode").steps[-1]
    assert last == Step("quant_conv", "conv", 8, 8, kernel=1)


@pytest.mark.parametrize("count", range(1, 20))
def test_halved_maps_are_padded_after_their_last_row_alone(count: int) -> None:
    for step in (
        Step("", "conv", 1, 1),
        Step("", "conv", 1, 1, kernel=1),
        Step("", "conv", 1, 1, resample=HALVE, padding=Padding(0, 1)),
    ):
        convolved = count * step.stride + sum(step.zeros)
        assert step.gives(convolved) == count
        assert step.reads(count) <= convolved < step.reads(count + 1)


def published(config: VAEConfig, task: Task) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a decoder's weights, or an encoder's, as diffusers stores them: listed without Steps."""
    assert isinstance(config, AutoencoderKLConfig)
    assert config.in_channels == config.out_channels
    rows = vae_rows(
        config.block_out_channels,
        config.latent_channels,
        config.layers_per_block,
        config.use_quant_conv,
        config.out_channels,
        config.mid_block_add_attention,
    )
    decoder = ("decoder.", "post_quant_conv.")
    return {row.name: row.shape for row in rows if row.name.startswith(decoder) == (task == "decode")}


@pytest.mark.parametrize("task", TASKS)
def test_names_and_shapes_are_diffusers_own(task: Task) -> None:
    for config in configs():
        chain, want = config.chain(task), published(config, task)
        assert {name: to_torch_layout(shape) for name, shape in chain.shapes.items()} == want
        assert sum(len(step.shapes) for step in chain.steps) == len(want), "a weight of two Steps"
        for step in chain.steps:
            owners = {step.name, step.norm.name if step.norm else step.name, step.shortcut or step.name}
            mine = [prod(shape) for name, shape in want.items() if name.startswith(tuple(f"{one}." for one in owners))]
            assert sum(mine) == step.parameters, step
        assert chain.parameters == sum(map(prod, want.values()))


def test_flux2_is_that_network_with_other_widths_in_its_decoder() -> None:
    config = Flux2Config(decoder_block_out_channels=(96, 192, 384, 384))
    for task, widths in zip(TASKS, (config.decoder_block_out_channels, config.block_out_channels), strict=True):
        assert widths is not None
        same = AutoencoderKLConfig(
            latent_channels=config.latent_channels,
            block_out_channels=widths,
            layers_per_block=config.layers_per_block,
        )
        chain = config.chain(task)
        assert {name: to_torch_layout(shape) for name, shape in chain.shapes.items()} == published(same, task)
    assert shapes_of(config, []) == {"bn.running_mean": (128,), "bn.running_var": (128,)}


@pytest.mark.parametrize("preset", PRESETS)
def test_parameters_of_the_presets(preset: str) -> None:
    config = config_of(preset)
    total = sum(map(prod, published(config, "decode").values()))
    assert config.chain("decode").parameters == total
    # All others have the decoder of Stable Diffusion.
    assert total / 1e6 == pytest.approx(233.7 if preset == "cogview4" else 49.5, abs=0.1)


@pytest.mark.parametrize("task", TASKS)
def test_a_step_reads_what_the_one_before_wrote(task: Task) -> None:
    for config in configs():
        chain = config.chain(task)
        ends = {
            "decode": (config.latent_channels, 1, config.out_channels, config.scale),
            "encode": (config.in_channels, config.scale, 2 * config.latent_channels, 1),
        }
        assert (chain.steps[0].inputs, chain.factors[0], chain.steps[-1].outputs, chain.factors[-1]) == ends[task]
        opened = None
        for before, step in pairwise(chain.steps):
            assert before.outputs == step.inputs
            opened = before if before.opens and not before.closes else opened
            if step.closes and not step.opens:
                assert opened is not None
                assert step.skip == opened.inputs
                assert bool(step.shortcut) == (step.skip != step.outputs)
                opened = None
        assert opened is None, "a skip that is never added"


def flops_of_convolutions(chain: Chain, pixels: int) -> int:
    """Multiplications and additions of all convolutions, each upsampled map convolved whole."""
    return sum(
        2 * factor**2 * pixels * step.outputs * (step.kernel**2 * step.inputs + (step.skip if step.shortcut else 0))
        for step, factor in zip(chain.steps, chain.factors[1:], strict=True)
        if step.kind == "conv"
    )


def test_flops_of_z_image_are_the_published_ones() -> None:
    flops = flops_of_convolutions(Z_IMAGE, 128 * 128)
    assert f"{flops / 1e12:.1f}" == "9.9"
    assert f"{flops / 1024**2 / 1e6:.1f}" == "9.4"


@pytest.mark.parametrize("preset", [preset for preset in PRESETS if preset != "cogview4"])  # it has no attention
def test_folded_upsampling_saves_20_of_its_36_taps_and_attention_adds_2048_flops_a_pair(preset: str) -> None:
    chain = config_of(preset).chain("decode")
    height, width = 40, 24
    pixels = height * width
    costs = Costs(chain, Size(height, width, 2), CPU)
    upsampling = [(step, factor) for step, factor in zip(chain.steps, chain.factors[:-1], strict=True) if step.upsample]
    saved = sum(2 * factor**2 * pixels * 20 * step.inputs * step.outputs for step, factor in upsampling)
    (attention,) = (cut for cut, step in enumerate(chain.steps) if step.kind == "attention")
    convolutions = sum(costs.flops(cut) for cut in range(len(chain.steps)) if cut != attention)
    assert convolutions == flops_of_convolutions(chain, pixels) - saved
    projections = 4 * 2 * 512**2 * pixels
    assert costs.flops(attention) + costs.key_flops(attention) == 2048 * pixels**2 + projections


def test_a_skip_that_no_kernel_adds_is_refused() -> None:
    with pytest.raises(ValueError, match="a skip with a shortcut is added without ReLU"):
        Step("first", "conv", 4, 4, closes=Skip(3, "wider", relu=True))


def test_a_convolution_without_a_bias_has_no_weight_for_it() -> None:
    assert set(Step("first", "conv", 4, 4, bias=False).shapes) == {"first.weight"}


FIRST = Step("first", "conv", 4, 8, opens=True)
SKIPS: list[tuple[str, list[Step]]] = [
    (r"open are \[\]", [Step("last", "conv", 4, 4, closes=Skip(4))]),
    (r"closes a skip of 3 channels, open are \[4\]", [FIRST, Step("last", "conv", 8, 8, closes=Skip(3, "shortcut"))]),
    ("adds 4 channels to 8 without a shortcut", [FIRST, Step("last", "conv", 8, 8, closes=Skip(4))]),
    ("opens a skip while 2 are open", [FIRST, *2 * [Step("last", "conv", 8, 8, opens=True)]]),
    (r"joins 8 channels to a skip, open are \[4\]", [FIRST, Step("last", "conv", 8, 8, joins=True)]),
    ("to another shape", [FIRST, Step("last", "conv", 8, 8, resample=DOUBLE, closes=Skip(4, spread=Spread(4, 8)))]),
    ("changes height and width while", [FIRST, Step("last", "conv", 8, 8, resample=DOUBLE, closes=Skip(4, "wide"))]),
    (
        "while a skip stays open",
        [FIRST, Step("last", "conv", 8, 8, resample=DOUBLE, closes=Skip(4, spread=Spread(4, 8, 2), stays=True))],
    ),
    ("ends while a skip of 4 channels is open", [FIRST, Step("last", "conv", 8, 8)]),
]


@pytest.mark.parametrize(("problem", "steps"), SKIPS)
def test_skips_that_do_not_fit_together_are_refused(problem: str, steps: list[Step]) -> None:
    with pytest.raises(ValueError, match=problem):
        Chain(tuple(steps))


def test_a_skip_stays_open_over_any_number_of_steps() -> None:
    middle, last = Step("middle", "conv", 8, 8), Step("last", "conv", 8, 8, closes=Skip(4, "shortcut"))
    chain = Chain((FIRST, middle, middle, last))
    assert chain.aside == (0, 4, 4, 4, 0)
    assert chain.channels == (4, 12, 12, 12, 8)


def test_a_skip_that_is_added_to_another_is_no_stored_map() -> None:
    """The map where a skip opens is that skip only until something is added to it."""
    steps = (
        Step("in", "conv", 4, 8),
        Step("outer", "conv", 8, 8, opens=True),
        Step("inner", "conv", 8, 8, joins=True),
        Step("last", "conv", 8, 8, closes=Skip(8)),
    )
    assert [shares_skip(Chain(steps), 1, store, "ram", "ram") for store in (2, 3)] == [True, False]
