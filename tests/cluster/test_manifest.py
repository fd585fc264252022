"""The manifest of many orders: where it is, whom it spares, and what happens to a cut line or on a full disk."""

from __future__ import annotations

import json
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

import pytest

from tests.cluster.places import orders
from zvae_tiled.cli.batch import Batch
from zvae_tiled.cli.machines import manifest_path
from zvae_tiled.cluster import Row, decode_many
from zvae_tiled.cluster.manifest import manifest
from zvae_tiled.errors import BudgetError, OutputError


@pytest.mark.parametrize("name", ["0.npy", "out/0.png", "vae/diffusion_pytorch_model.safetensors"])
def test_a_manifest_that_would_be_added_to_a_file_of_an_order_is_refused(name: str, place: Path) -> None:
    before = Path(name).read_bytes() if Path(name).exists() else None
    with pytest.raises(OutputError):
        decode_many(orders("out")[:1], manifest=name)
    assert (Path(name).read_bytes() if Path(name).exists() else None) == before


def test_a_manifest_goes_on_behind_a_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"state": "done"}\n{"sta')
    with manifest(path) as lines:
        lines.add(Row("a", ("b",), "failed", BudgetError("too small", "more", 7), "here", 0.5))
    first, cut, last, end = path.read_text().split("\n")
    assert (json.loads(first), cut, end) == ({"state": "done"}, '{"sta', "")
    assert json.loads(last)["error"] == {"type": "BudgetError", "problem": "too small"}
    with pytest.raises(OutputError), manifest(tmp_path):
        pass


@pytest.mark.parametrize(
    ("first", "second", "folder"),
    [("/data/png/{}.png", "/scratch/npy/{}.npy", "/data/png"), ("/data/{}/a.png", "/data/{}/b.png", "/data")],
)
def test_the_manifest_is_beside_the_first_files_of_each_input(first: str, second: str, folder: str) -> None:
    paths: dict[str, tuple[Path, ...]] = {name: (Path(first.format(name)), Path(second.format(name))) for name in "ab"}
    found = {name: ((1, 8, 8, 3), both) for name, both in paths.items()}
    batch = Batch({}, list(chain(*paths.values())), found, {}, True)
    assert manifest_path(batch) == Path(folder, "zvae-manifest.jsonl")


def test_two_commands_may_begin_one_manifest_and_one_of_them_end_with_nothing_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with ExitStack() as idle:
        idle.enter_context(manifest(Path("m.jsonl")))
        with manifest(Path("m.jsonl")) as lines, manifest(Path("m.jsonl")) as others:
            idle.close()
            lines.add(Row("a", ("b",), "done"))
            monkeypatch.chdir("/")
            others.add(Row("c", ("d",), "done"))
            lines.add(Row("e", ("f",), "done"))
    rows = [json.loads(line)["source"] for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert rows == ["a", "c", "e"]


def test_a_manifest_on_a_full_disk_is_said_in_our_words() -> None:
    with pytest.raises(OutputError, match="No space left"), manifest(Path("/dev/full")) as lines:
        lines.add(Row("a", ("b",), "done", None, "here", 0.5))
