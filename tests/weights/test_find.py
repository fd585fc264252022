"""Every rule by which a path becomes files, and every way it can fail."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from zvae_tiled.errors import WeightsError
from zvae_tiled.weights import index as index_module
from zvae_tiled.weights.find import Checkpoint, find_checkpoint

STEM = "diffusion_pytorch_model"


def touch(*paths: Path) -> Path:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return paths[0]


def write_index(path: Path, weight_map: object) -> Path:
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return path


def test_a_file_and_the_config_beside_it(tmp_path: Path) -> None:
    file, config = touch(tmp_path / "any.safetensors"), touch(tmp_path / "config.json")
    assert find_checkpoint(file) == Checkpoint(config, (file,))
    assert find_checkpoint(str(file)) == Checkpoint(config, (file,))


def test_a_file_without_a_config(tmp_path: Path) -> None:
    file = touch(tmp_path / "any.safetensors")
    assert find_checkpoint(file) == Checkpoint(None, (file,))


def test_the_other_half_beside_a_file(tmp_path: Path) -> None:
    halves = tuple(tmp_path / f"taef2_{half}.safetensors" for half in ("decoder", "encoder"))
    touch(*halves)
    assert [find_checkpoint(path).files for path in (*halves, tmp_path)] == [halves] * 3
    alone, _ = touch(tmp_path / "taef1_decoder.safetensors"), touch(tmp_path / "taesd_encoder.safetensors")
    assert find_checkpoint(alone).files == (alone,)
    with pytest.raises(WeightsError, match="holds several checkpoints"):
        find_checkpoint(tmp_path)


def test_a_file_whose_name_says_nothing_is_left_to_its_content(tmp_path: Path) -> None:
    blob = touch(tmp_path / "3f2a9c")
    assert find_checkpoint(blob).files == (blob,)


@pytest.mark.parametrize(
    ("present", "chosen"),
    [
        ([f"{STEM}.safetensors"], f"{STEM}.safetensors"),
        ([f"{STEM}.fp16.safetensors"], f"{STEM}.fp16.safetensors"),
        ([f"{STEM}.safetensors", f"{STEM}.fp16.safetensors", f"{STEM}.bin"], f"{STEM}.safetensors"),
        (["ae.safetensors", "model.safetensors"], "ae.safetensors"),
        ([f"vae/{STEM}.safetensors", "ae.safetensors"], f"vae/{STEM}.safetensors"),
        ([f"vae/{STEM}.safetensors", f"{STEM}.safetensors"], f"vae/{STEM}.safetensors"),
        (["vae/config.json", "ae.safetensors"], "ae.safetensors"),
        (["sdxl_vae.safetensors", "readme.md"], "sdxl_vae.safetensors"),
    ],
)
def test_a_folder(tmp_path: Path, present: list[str], chosen: str) -> None:
    touch(*(tmp_path / name for name in present))
    assert find_checkpoint(tmp_path).files == (tmp_path / chosen,)


def test_the_config_comes_from_the_subfolder_too(tmp_path: Path) -> None:
    touch(tmp_path / f"vae/{STEM}.safetensors", tmp_path / "vae/config.json", tmp_path / "config.json")
    assert find_checkpoint(tmp_path).folder_config == tmp_path / "vae/config.json"


@pytest.mark.parametrize(
    "present",
    [
        [f"{STEM}.safetensors", "ae.safetensors"],
        [f"{STEM}.safetensors", f"{STEM}.safetensors.index.json"],
        ["one.safetensors", "two.safetensors"],
        ["one.safetensors.index.json", "two.safetensors.index.json"],
    ],
)
def test_several_without_a_rule_are_listed(tmp_path: Path, present: list[str]) -> None:
    touch(*(tmp_path / name for name in present))
    with pytest.raises(WeightsError, match="several checkpoints") as caught:
        find_checkpoint(tmp_path)
    assert all(name in str(caught.value) for name in present)


@pytest.mark.parametrize("name", [f"{STEM}.bin", "vae/model.ckpt", "vae.pt", "x.pth"])
def test_only_pickles_says_so_and_how_to_convert(tmp_path: Path, name: str) -> None:
    touch(tmp_path / name)
    with pytest.raises(WeightsError, match="only pickles") as caught:
        find_checkpoint(tmp_path)
    assert str(tmp_path / name) in str(caught.value)
    assert "save_file" in str(caught.value)


def test_a_picture_in_a_folder_is_not_taken_for_weights(tmp_path: Path) -> None:
    save_file({"image": np.zeros((4, 4, 3), np.float32)}, tmp_path / "picture.safetensors")
    with pytest.raises(WeightsError, match=r"holds no weights: none in \S*picture\.safetensors, which may be latents"):
        find_checkpoint(tmp_path)
    save_file({"decoder.conv_in.weight": np.zeros((1, 3, 3, 1), np.float32)}, tmp_path / "mine.safetensors")
    assert find_checkpoint(tmp_path).files == (tmp_path / "mine.safetensors",)


def test_nothing_found_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"holds no weights.*diffusion_pytorch_model.*ae\.safetensors"):
        find_checkpoint(tmp_path)


@pytest.mark.parametrize("path", ["no/such/file.safetensors", "OWNER/MODEL"])
def test_a_path_that_is_not_there(path: str) -> None:
    with pytest.raises(WeightsError, match=r"No such file.*\n.*This package downloads nothing"):
        find_checkpoint(path)


def test_an_empty_path_is_not_the_working_directory() -> None:
    with pytest.raises(WeightsError, match="empty"):
        find_checkpoint("")


def test_a_nul_in_the_path() -> None:
    with pytest.raises(WeightsError, match="cannot be a path"):
        find_checkpoint("a\0b")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o000)
    with pytest.raises(WeightsError, match="Check the permissions"):
        find_checkpoint(folder)


# The shard index.


def test_an_index_with_its_shards(tmp_path: Path) -> None:
    one, two = touch(tmp_path / "m-1.safetensors"), touch(tmp_path / "m-2.safetensors")
    index = write_index(tmp_path / f"{STEM}.safetensors.index.json", {"b": two.name, "a": one.name, "c": one.name})
    expected = Checkpoint(None, (one, two), {"a": one, "b": two, "c": one}, index)
    assert expected.paths == (one, two, index)
    assert find_checkpoint(index) == expected
    assert find_checkpoint(tmp_path) == expected


def test_an_index_of_any_name_wins_over_its_shards(tmp_path: Path) -> None:
    shard = touch(tmp_path / "0.safetensors")
    write_index(tmp_path / "model.safetensors.index.json", {"a": shard.name})
    assert find_checkpoint(tmp_path).weight_map == {"a": shard}


def test_links_of_the_hugging_face_cache_are_followed(tmp_path: Path) -> None:
    blob = touch(tmp_path / "blobs/3f2a9c")
    folder = tmp_path / "snapshots/main"
    folder.mkdir(parents=True)
    (folder / "m-1.safetensors").symlink_to("../../blobs/3f2a9c")
    index = write_index(tmp_path / "blobs/index", {"a": "m-1.safetensors"})
    (folder / "m.safetensors.index.json").symlink_to(index)
    (found,) = find_checkpoint(folder / "m.safetensors.index.json").files
    assert found.resolve() == blob.resolve()


@pytest.mark.parametrize(
    "name",
    [
        "../m.safetensors",
        "/etc/passwd",
        "sub/m.safetensors",
        "./m.safetensors",
        "..",
        ".",
        "",
        "..\\m.safetensors",
        "sub\\m.safetensors",
        "C:\\m.safetensors",
        "C:m.safetensors",
        "\\\\host\\share\\m.safetensors",
        "m.safetensors\0",
        "m.safetensors/",
        "m\n.safetensors",
        7,
        None,
        ["m.safetensors"],
    ],
)
def test_an_index_only_names_files_beside_it(tmp_path: Path, name: object) -> None:
    touch(tmp_path / "m.safetensors", tmp_path.parent / "m.safetensors", tmp_path / "sub/m.safetensors")
    index = write_index(tmp_path / "m.safetensors.index.json", {"a": name})
    with pytest.raises(WeightsError, match="must name files beside it"):
        find_checkpoint(index)


def test_an_index_that_names_a_file_that_is_not_there(tmp_path: Path) -> None:
    touch(tmp_path / "here.safetensors")
    index = write_index(tmp_path / "x.json", {"a": "here.safetensors", "b": "gone-2", "c": "gone-1", "d": "gone-1"})
    with pytest.raises(WeightsError, match=r"not beside it: gone-1, gone-2\."):
        find_checkpoint(index)


def test_an_index_that_names_a_file_longer_than_any_name(tmp_path: Path) -> None:
    index = write_index(tmp_path / "x.json", {"a": "x" * 300})
    with pytest.raises(WeightsError, match=r"not beside it: x+…\."):
        find_checkpoint(index)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[]", "must have a weight_map"),
        (b"{}", "must have a weight_map"),
        (b'{"weight_map": {}}', "must have a weight_map"),
        (b'{"weight_map": ["a"]}', "must have a weight_map"),
        (b'{"weight_map": {"a": "x", "a": "y"}}', "'a' appears more than once"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git-LFS pointer"),
        (b"<!DOCTYPE html><html>", "a web page"),
    ],
)
def test_an_index_that_is_none(tmp_path: Path, content: bytes, reason: str) -> None:
    index = tmp_path / "m.safetensors.index.json"
    index.write_bytes(content)
    with pytest.raises(WeightsError, match=reason):
        find_checkpoint(index)


def test_an_index_of_any_size_is_not_read(tmp_path: Path) -> None:
    index = tmp_path / "m.safetensors.index.json"
    index.touch()
    os.truncate(index, index_module.MAX_INDEX_BYTES + 1)
    with pytest.raises(WeightsError, match="a shard index has at most"):
        find_checkpoint(index)


def test_an_index_that_is_a_pipe_does_not_hang(tmp_path: Path) -> None:
    pipe = tmp_path / "m.safetensors.index.json"
    os.mkfifo(pipe)
    with pytest.raises(WeightsError, match="it is a named pipe"):
        find_checkpoint(pipe)
