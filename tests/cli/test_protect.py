"""No command replaces a file that it reads: the VAE, latents, pictures, plans, configs, calibrations."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.support.running import COMMAND, environment, run
from tests.support.speeds import speeds
from zvae_tiled import VAE, demo
from zvae_tiled.planner import calibration
from zvae_tiled.report import figures as selfbench

WEIGHTS = "diffusion_pytorch_model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
SHARDS = ("part-1.safetensors", "part-2.safetensors")


@pytest.fixture
def full(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with everything that commands read."""
    (place / "sub").mkdir()
    shutil.copytree(place / "vae", place / "sharded")
    tensors = load_file(place / "vae" / WEIGHTS)
    (place / "sharded" / WEIGHTS).unlink()
    where = {name: SHARDS[i % 2] for i, name in enumerate(sorted(tensors))}
    for shard in SHARDS:
        save_file({name: tensors[name] for name in tensors if where[name] == shard}, place / "sharded" / shard)
    (place / "sharded" / INDEX).write_text(json.dumps({"weight_map": where}))
    blobs = place / "hub" / "models--Tongyi-MAI--Z-Image-Turbo" / "blobs"
    snapshot = blobs.parent / "snapshots" / "1234" / "vae"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, name in enumerate(("config.json", WEIGHTS)):
        shutil.copy(place / "vae" / name, blobs / f"{number}")
        (snapshot / name).symlink_to(f"../../../blobs/{number}")
    shutil.copy(place / "vae" / "config.json", place / "other.json")
    (place / "plan.json").write_text(run("plan", "20x12", "--vae", "vae", "--json").stdout)
    np.save(place / "picture.npy", np.random.default_rng(0).random((12, 20, 3), np.float32))
    monkeypatch.setenv(calibration.CACHE_VARIABLE, str(place / "cache"))
    calibration.store(calibration.Calibration("cpu", "a device", "0", 1.0, speeds(), speeds(), 1e9))
    shutil.copytree(demo.FOLDER, place / "demo")
    monkeypatch.setattr(demo, "FOLDER", place / "demo")
    return place


DECODE = "decode a.npy -q -o"
KEEP = "decode a.npy -q -o fine.png --save-plan"
CACHED = "hub/models--Tongyi-MAI--Z-Image-Turbo"
STORED = "cache/calibration-cpu-a-device-mlx-0.json"

CASES = [
    *((f"{command} {{}} --vae vae", f"vae/{name}") for command in (DECODE, KEEP) for name in (WEIGHTS, "config.json")),
    *((f"{command} {{}} --vae vae/{WEIGHTS}", "vae/config.json") for command in (DECODE, KEEP)),
    *((f"{KEEP} {{}} --vae vae --config other.json", f"{name}.json") for name in ("vae/config", "other")),
    *((f"{KEEP} {{}} --vae sharded", f"sharded/{name}") for name in (*SHARDS, INDEX, "config.json")),
    (f"{DECODE} {{}} --vae sharded/{INDEX}", f"sharded/{SHARDS[1]}"),
    *((f"{DECODE} {{}} --vae z-image", f"{CACHED}/{name}") for name in (f"snapshots/1234/vae/{WEIGHTS}", "blobs/1")),
    (f"{DECODE} {{}}", f"vae/{WEIGHTS}"),
    (f"{KEEP} {{}} --plan plan.json", "plan.json"),
    (f"{KEEP} {{}}", "a.npy"),
    (f"{KEEP} {{}}", STORED),
    (f"{DECODE} {{}} --vae demo".replace("a.npy", "demo/latents/cat.safetensors"), f"demo/{WEIGHTS}"),
    *((f"encode picture.npy -q -o {{}} --vae {vae}", f"{vae}/{WEIGHTS}") for vae in ("vae", "demo")),
    ("encode picture.npy -q -o {} --vae vae --config other.json", "other.json"),
    ("encode picture.npy -q -o {} --vae sharded", f"sharded/{INDEX}"),
    ("encode picture.npy -q -o {}", "picture.npy"),
    *(("compare a.npy --reference full -q --heat-map {} --vae vae", name) for name in (f"vae/{WEIGHTS}", "a.npy")),
    *(("compare picture.npy fine.npy --heat-map {}", name) for name in ("picture.npy", "fine.npy")),
    *(("plan 64 --vae vae --plot {}", f"vae/{name}") for name in (WEIGHTS, "config.json")),
    ("plan 64 --config other.json --plot {}", "other.json"),
    ("plan 64 --vae other.json --plot {}", "other.json"),
    ("plan 64 --plot {}", STORED),
    ("benchmark -q --submit-file {}", STORED),
    *(("demo -q --size 64 -o {}", f"demo/{name}") for name in (WEIGHTS, "config.json", "latents/album.safetensors")),
]

ENDINGS = {"encode": ".safetensors", "plan": ".svg"}


def itself(path: Path, ending: str) -> Path:
    return path


def around(path: Path, ending: str) -> Path:
    return Path("sub/..") / "." / path


def absolute(path: Path, ending: str) -> Path:
    return path.absolute()


def linked_folder(path: Path, ending: str) -> Path:
    Path("linked").symlink_to(path.parent.absolute())
    return Path("linked") / path.name


def soft(path: Path, ending: str) -> Path:
    Path(f"soft{ending}").symlink_to(path)
    return Path(f"soft{ending}")


def hard(path: Path, ending: str) -> Path:
    os.link(path.resolve(), f"hard{ending}")
    return Path(f"hard{ending}")


def named(command: str, read: str) -> Callable[[Path, str], Path]:
    """The file itself if the command writes files of that ending, else another name for it."""
    anything = "--save-plan" in command or "--submit-file" in command
    kinds = () if command.startswith("plan") else (".npy", ".safetensors")
    return itself if anything or Path(read).suffix in kinds else hard


SPELLINGS = (around, absolute, linked_folder, soft, hard)


@pytest.mark.parametrize(
    ("command", "read", "spelling"),
    [
        *((*case, named(*case)) for case in CASES),
        *((f"{KEEP} {{}} --vae vae", f"vae/{WEIGHTS}", spelling) for spelling in SPELLINGS),
        *(("encode picture.npy -q -o {}", f"vae/{WEIGHTS}", spelling) for spelling in SPELLINGS),
    ],
)
@pytest.mark.sample(7)
def test_what_is_read_is_not_replaced(
    full: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    read: str,
    spelling: Callable[[Path, str], Path],
) -> None:
    for work in ("decode", "decode_to_file", "encode"):
        monkeypatch.setattr(VAE, work, lambda *_, **__: pytest.fail("work has begun"))
    monkeypatch.setattr(selfbench, "self_benchmark", lambda *_: pytest.fail("it was measured first"))
    shutil.copy("picture.npy", "fine.npy")
    out = spelling(Path(read), ENDINGS.get(command.split()[0], ".png"))
    before = {path: path.read_bytes() for path in full.rglob("*") if path.is_file()}
    words = [str(out) if word == "{}" else word for word in command.split()]
    assert f"{out} is an input" in run(*words, code=2).stderr
    assert {path: path.read_bytes() for path in full.rglob("*") if path.is_file()} == before
    assert out.is_symlink() is (spelling is soft or "snapshots" in str(out))


def test_two_outputs_that_are_one_file(place: Path) -> None:
    (place / "a.png").write_text("old")
    (place / "b.png").hardlink_to(place / "a.png")
    said = run("decode", "a.npy", "b.npy", "-o", "{stem}.png", code=2).stderr
    assert "Several files would be written to b.png (also called a.png)" in said
    assert (place / "a.png").read_text() == "old"


@pytest.mark.parametrize(
    ("words", "stdin", "stdout"),
    [
        pytest.param(["-", "-o", "a.npy"], "a.npy", None, marks=pytest.mark.slow),
        pytest.param(["a.npy", "-o", "-"], None, "vae/config.json", marks=pytest.mark.slow),
        (["-", "-o", "-"], "a.npy", "a.npy"),
        pytest.param(["-", "-o", "fine.png", "--save-plan", "a.npy"], "a.npy", None, marks=pytest.mark.slow),
        pytest.param(["a.npy", "-o", "-"], None, "a.npy", marks=pytest.mark.slow),
    ],
)
def test_what_a_shell_redirects_is_seen(place: Path, words: list[str], stdin: str | None, stdout: str | None) -> None:
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    with open(stdin or os.devnull, "rb") as source, open(stdout or os.devnull, "r+b") as target:
        command = [*COMMAND, "decode", *words]
        done = subprocess.run(
            command, stdin=source, stdout=target, stderr=subprocess.PIPE, env=environment(), check=False
        )
    assert done.returncode == 2
    assert b"is an input" in done.stderr
    kept = set(place.glob("zvae-latents-*"))
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file() and path not in kept} == before


def test_a_plan_is_kept_over_another_unless_that_is_forbidden(place: Path) -> None:
    (place / "plan.json").write_text("old")
    words = ("decode", "a.npy", "-o", "a.png", "--save-plan", "plan.json", "-q")
    assert "plan.json: there is a file of that name" in run(*words, "--no-overwrite", code=5).stderr
    assert (place / "plan.json").read_text() == "old"
    assert not (place / "a.png").exists()
    run(*words)
    assert (place / "plan.json").read_text() != "old"


def test_a_config_that_is_not_read_may_be_written(place: Path) -> None:
    (place / "other.json").write_text("old")
    run("decode", "a.npy", "-o", "a.png", "--save-plan", "other.json", "-q")
    assert json.loads((place / "other.json").read_text())


def test_weights_in_several_files_are_planned_for_by_their_index(full: Path) -> None:
    found = run("plan", "20x12", "--vae", f"sharded/{INDEX}", "--json").stdout
    assert json.loads(found)["case"] == json.loads((full / "plan.json").read_text())["case"]
