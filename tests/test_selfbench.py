"""The file that a user sends: figures of a machine, and nothing about its owner."""

from __future__ import annotations

import getpass
import json
import platform
from pathlib import Path

import pytest

from benchmarks.store import row_from
from zvae_tiled.errors import OutputError
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.planner.ends import PROCESS
from zvae_tiled.report import figures as selfbench
from zvae_tiled.report.environment import environment


@pytest.fixture(scope="module")
def found() -> dict[str, object]:
    with pytest.MonkeyPatch.context() as patch:
        narrow = AutoencoderKLConfig(latent_channels=16, block_out_channels=(8, 8, 16, 16), norm_num_groups=4)
        patch.setattr(selfbench, "config_of", lambda _: narrow)
        patch.setattr(selfbench, "SIZES", (32, 64))
        patch.setattr(selfbench, "PRODUCT", 64)
        patch.setattr(selfbench.product_flops, "__defaults__", (64, 0.01))
        told: list[str] = []
        result = selfbench.self_benchmark(3600, told.append)
    assert told == ["matrix products in float32", "matrix products in bfloat16", "32x32", "64x64"]
    return result


def test_a_file_holds_products_and_decodes(found: dict[str, object], tmp_path: Path) -> None:
    selfbench.write(found, tmp_path / "figures.json")
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]
    read = json.loads((tmp_path / "figures.json").read_text())
    rows = [row_from(values) for values in read["rows"]]
    assert [(row.suite, row.width) for row in rows] == [("limit", 0)] * 2 + [("self", 32)] * 2 + [("self", 64)] * 2
    assert [row.flops for row in rows[:2]] == [2 * 64**3] * 2
    for row in rows[2:]:
        assert row.allocator_peak is not None
        assert row.predicted_peak is not None
        assert 0 < row.allocator_peak <= row.predicted_peak - PROCESS
        assert row.predicted_peak <= (row.budget or row.predicted_peak)
        assert row.seconds is not None
        assert row.predicted_seconds is not None
        assert row.predicted_seconds > 0
        assert row.spread is not None
        assert row.spread[0] <= row.seconds <= row.spread[1]


def test_nothing_names_the_owner(found: dict[str, object]) -> None:
    text = json.dumps(found)
    assert platform.node() not in text
    assert str(Path.home()) not in text
    assert f'"{getpass.getuser()}"' not in text


def test_no_time_left_measures_no_decode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfbench, "PRODUCT", 64)
    monkeypatch.setattr(selfbench.product_flops, "__defaults__", (64, 0.01))
    monkeypatch.setattr(selfbench, "random_vae", lambda *_: None)
    assert [row["suite"] for row in selfbench.self_benchmark(0)["rows"]] == ["limit", "limit"]


def test_a_folder_that_is_not_there_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        selfbench.write({}, tmp_path / "nowhere" / "figures.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("threads", ["", "3", "4,2", " ", "many", "0"])
def test_the_environment_is_json(threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    told = environment("cpu")
    assert told["threads"] == {"3": 3, "4,2": 4}.get(threads, told["cores"])
    assert json.loads(json.dumps(told)) == told
    assert told["cores"] >= 1
    assert told["versions"]["mlx"]
