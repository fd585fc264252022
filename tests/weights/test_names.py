"""Both naming schemes, their prefixes and their dialects end in the names of diffusers."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.checkpoints import Row, vae_rows
from zvae_tiled.weights.names import canonical_names
from zvae_tiled.weights.remembered import LETTERS, remembered

ROWS = vae_rows()


def mapped(rows: list[Row], column: str, prefix: str = "") -> dict[str, str]:
    return canonical_names(prefix + getattr(row, column) for row in rows)


@pytest.mark.parametrize("prefix", ["", "first_stage_model.", "vae."])
@pytest.mark.parametrize("column", ["name", "original", "old"])
def test_every_scheme_behind_every_prefix(column: str, prefix: str) -> None:
    assert mapped(ROWS, column, prefix) == {prefix + getattr(row, column): row.name for row in ROWS}


@given(st.integers(1, 8), st.integers(1, 4))
def test_any_number_of_levels_and_layers(levels: int, layers: int) -> None:
    rows = vae_rows(widths=(8,) * levels, layers=layers)
    assert mapped(rows, "original") == {row.original: row.name for row in rows}


@pytest.mark.parametrize(
    ("original", "diffusers"),
    [
        ("decoder.up.3.block.0.conv1.weight", "decoder.up_blocks.0.resnets.0.conv1.weight"),
        ("decoder.up.1.upsample.conv.bias", "decoder.up_blocks.2.upsamplers.0.conv.bias"),
        ("decoder.up.0.block.0.nin_shortcut.weight", "decoder.up_blocks.3.resnets.0.conv_shortcut.weight"),
        ("encoder.down.1.block.0.nin_shortcut.bias", "encoder.down_blocks.1.resnets.0.conv_shortcut.bias"),
        ("encoder.down.2.downsample.conv.weight", "encoder.down_blocks.2.downsamplers.0.conv.weight"),
        ("decoder.up.3.attn.1.q.weight", "decoder.up_blocks.0.attentions.1.to_q.weight"),
        ("encoder.down.3.attn.0.norm.bias", "encoder.down_blocks.3.attentions.0.group_norm.bias"),
        ("decoder.mid.block_2.norm1.weight", "decoder.mid_block.resnets.1.norm1.weight"),
        ("decoder.mid.attn_1.proj_out.bias", "decoder.mid_block.attentions.0.to_out.0.bias"),
        ("decoder.mid.attn_1.q.scales", "decoder.mid_block.attentions.0.to_q.scales"),
        ("decoder.norm_out.weight", "decoder.conv_norm_out.weight"),
        ("encoder.quant_conv.weight", "quant_conv.weight"),
        ("decoder.post_quant_conv.bias", "post_quant_conv.bias"),
        ("decoder.conv_in.conv2d.weight", "decoder.conv_in.weight"),
        ("decoder.conv_norm_out.norm.weight", "decoder.conv_norm_out.weight"),
    ],
)
def test_spelled_out(original: str, diffusers: str) -> None:
    names = canonical_names([original, "decoder.up.3.block.0.norm1.bias"])
    assert names[original] == diffusers


def test_a_diffusers_name_is_its_own_translation() -> None:
    names = set(mapped(ROWS, "name").values())
    assert canonical_names(names) == {name: name for name in names}


def test_the_rest_of_a_whole_model_is_dropped() -> None:
    others = [
        "model.diffusion_model.input_blocks.0.0.weight",
        "cond_stage_model.transformer.text_model.embeddings.position_ids",
        "text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q.weight",
        "alphas_cumprod",
        "model_ema.decay",
    ]
    inside = "first_stage_model.decoder.conv_in.weight"
    assert canonical_names([*others, inside]) == {inside: "decoder.conv_in.weight"}


def test_what_training_left_is_dropped_with_and_without_prefix() -> None:
    left = ["loss.discriminator.main.0.weight", "first_stage_model.loss.logvar"]
    assert canonical_names(left) == {}
    assert canonical_names(left[:1]) == {}


def test_without_a_prefix_nothing_unknown_is_dropped() -> None:
    names = ["model.diffusion_model.out.weight", "decoder.conv_in.weight"]
    assert canonical_names(names) == {name: name for name in names}


def test_a_second_decoder_without_the_prefix_is_kept_to_be_refused() -> None:
    names = canonical_names(["vae.decoder.conv_in.weight", "decoder.conv_in.weight"])
    assert list(names.values()) == ["decoder.conv_in.weight"] * 2


@pytest.mark.parametrize(
    "name",
    [
        "decoder.up." + "9" * 5000 + ".block.0.conv1.weight",
        "decoder.up.٣.block.0.conv1.weight",
        "decoder.up.01.block.0.conv1.weight",
        "decoder.mid.block_0.conv1.weight",
        "xdecoder.up.0.block.0.conv1.weight",
        "decoder.extra.key.weight",
    ],
)
def test_what_no_rule_knows_stays_as_it_is(name: str) -> None:
    assert canonical_names([name]) == {name: name}


def test_one_name_can_never_break_the_translation_of_the_others() -> None:
    @given(st.lists(st.text("encoder.upmidblockattn_0129vq", max_size=40), max_size=5))
    def check(names: list[str]) -> None:
        fixed = "encoder.mid.attn_1.q.weight"
        assert canonical_names([*names, fixed])[fixed] == "encoder.mid_block.attentions.0.to_q.weight"

    check()


@pytest.mark.peers
def test_diffusers_agrees() -> None:
    diffusers = pytest.importorskip("diffusers")
    model = diffusers.AutoencoderKL(
        block_out_channels=(8, 16, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        norm_num_groups=8,
        latent_channels=4,
    )
    theirs = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert {row.name: row.shape for row in ROWS} == theirs


def test_names_of_megabytes_are_translated_but_not_kept() -> None:
    """Each answer is kept while the process runs: of a server, that is the memory of all hostile files it was sent."""
    asked = []

    @remembered
    def upper(name: str, more: int) -> str:
        asked.append(len(name))
        return name.upper() * more

    for name in ("a" * LETTERS, "a" * (LETTERS + 1)) * 2:
        assert upper(name, 2) == 2 * name.upper()
    assert asked == [LETTERS, LETTERS + 1, LETTERS + 1]
    huge = f"decoder.up.0.block.0.conv1.{'x' * 5_000_000}"
    tracemalloc.start()
    assert len(canonical_names([huge])[huge]) > len(huge)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept < 1_000_000
