"""`zvae decode` refuses impossible requests before any work, with an exit code and with a command that works."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.cli.decoding import files
from tests.support.running import run, save_latents
from zvae_tiled import VAE
from zvae_tiled.errors import OutOfMemoryError


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["x-0.npy", "-o", "x.npy"], 2, "x-0.npy is an input, and would be replaced"),
        (["x.npy", "x-0.npy", "-o", "out/"], 2, "Several files would be written to out/x-0.png"),
        (["x.npy", "-o", "-"], 2, "A batch of 2 does not fit on standard output"),
        (["a.npy", "-o", "a.dzi", "--work", "w"], 2, "--work: a.dzi cannot be kept in a work folder"),
        (["a.npy", "-o", "a.png", "--quality", "tiles", "--tile", "7"], 2, "--tile must be a multiple of 2 pixels"),
        (["b.npy", "a.npy", "-o", "{stem}.png", "--no-overwrite"], 5, "a.png: there is a file of that name"),
    ],
)
def test_all_files_of_all_pictures_are_checked_before_the_first(
    place: Path, words: list[str], code: int, said: str
) -> None:
    save_latents(place / "x.npy", batch=2)
    save_latents(place / "x-0.npy", batch=1 if words[0] == "x.npy" else 2)
    (place / "a.png").write_text("old")
    before = {path.name: path.read_bytes() for path in place.glob("*.*")}
    assert said in run("decode", *words, code=code).stderr
    assert {path.name: path.read_bytes() for path in place.glob("*.*")} == before
    assert not list(place.glob("out/*"))


@pytest.mark.parametrize(
    ("kept", "code", "said"),
    [
        ("none/plan.json", 5, "none/plan.json cannot be written: the folder none does not exist"),
        ("a.npy", 2, "a.npy is an input"),
        ("a.png", 2, "would be written to a.png"),
    ],
)
def test_a_plan_that_cannot_be_kept_is_refused_before_the_decode(place: Path, kept: str, code: int, said: str) -> None:
    before = files(place)
    assert said in run("decode", "a.npy", "-o", "a.png", "--save-plan", kept, code=code).stderr
    assert files(place) == before


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["a.npy"], 2, "--output"),
        (["-o", "a.png"], 2, "LATENTS"),
        (["a.npy", "b.npy", "-o", "a.png"], 2, "2 inputs need a folder or a pattern"),
        (["a.npy", "b.npy", "-o", "-"], 2, "2 pictures do not fit on standard output"),
        (["a.npy", "vae/../a.npy", "-o", "out/"], 2, "Several files would be written to out/a.png"),
        (["a.npy", "-o", "a.npy"], 2, "a.npy is an input, and would be replaced"),
        (["a.npy", "b.npy", "-o", "out/", "--save-plan", "p.json"], 2, "--save-plan writes one plan, not 2"),
        (["-", "-", "-o", "out/"], 2, "can be read once"),
        (["a.npy", "-o", "a.png", "--tile", "many"], 2, "is no size"),
        (["none.npy", "-o", "a.png"], 3, "there is no file none.npy"),
        (["none.npy", "gone.npy", "-o", "out/", "--vae", "nowhere"], 3, "there is no file none.npy, gone.npy"),
        (["a.npy", "-o", "a.png", "--height", "12"], 3, "width is not set\n                 Set both. Leave both out"),
        (["*.none", "-o", "a.png"], 3, "no file matches"),
        (["vae/config.json", "-o", "a.png"], 3, "vae/config.json"),
        (["a.npy", "-o", "a.png", "--tile", "64"], 2, "--tile: only --quality tiles has tiles"),
        (["a.npy", "-o", "a.png", "--budget", "lots"], 2, "'lots' is no amount of memory above 0. Write 8GB (or 8)"),
        (["a.npy", "-o", "a.png", "--budget", "0"], 2, "'0' is no amount of memory above 0"),
        (["a.npy", "-o", "a.png", "--plan", "p.json", "--budget", "1GB"], 2, "Remove --budget, or --plan"),
        (["a.npy", "-o", "a.png", "--plan", "p.json", "--quality", "stream"], 2, "Remove --quality, or --plan"),
        (["a.npy", "-o", "a.png", "--plan", "none.json"], 3, "none.json cannot be read as a plan: No such file"),
        (["a.npy", "-o", "a.png", "--early-look", "--tiny", "none"], 3, "no preset called none"),
        (["a.npy", "-o", "a.png", "--early-look", "--tiny", "a/b.c"], 3, "--tiny: there is no file or folder a/b.c"),
        (["a.npy", "-o", "a"], 5, "Add one of these endings, or a slash if it is a folder"),
        (["a.npy", "-o", "a.png", "--vae", "nowhere"], 3, "nowhere"),
        (["a.npy", "-o", "a.png", "--vae", "sdxl"], 3, "Hugging Face cache"),
        (["a.npy", "-o", "a.png", "--plan", "a.npy"], 3, "a.npy"),
        (["a.npy", "-o", "a.png", "--budget", "1kB"], 4, "needs at least"),
        (["a.npy", "-o", "none/a.png"], 5, "none/a.png"),
        (["a.npy", "-o", "a.gif"], 5, ".gif"),
        (["a.npy", "-o", "none/none/"], 5, "none/none cannot be written: the folder none does not exist"),
    ],
)
def test_what_cannot_be_is_refused_with_its_code(place: Path, words: list[str], code: int, said: str) -> None:
    before = files(place)
    assert said in run("decode", *words, code=code, stdin=b"").stderr
    assert files(place) - before <= {"out"}, "nothing is left but a folder that was asked for"


def test_the_next_command_works(place: Path) -> None:
    said = run("decode", "a.npy", "-o", "a picture.png", "--budget", "1kB", code=4).stderr
    (line,) = [line.strip() for line in said.splitlines() if line.strip().startswith("zvae decode")]
    assert "'a picture.png'" in line
    run(*shlex.split(line)[1:])
    assert (place / "a picture.png").is_file()


def test_of_several_files_those_that_work_are_decoded(place: Path) -> None:
    large = save_latents(place / "large.npy", 200, 400)
    told = run("plan", "20x12", "--vae", "vae", "--json")
    budget = json.loads(told.stdout)["predicted"]["peak"]
    said = run("decode", "a.npy", large, "b.npy", "-o", "out/", "--budget", f"{budget}B", code=4).stderr
    assert files(place / "out") == {"a.png", "b.png"}
    (line,) = [line.strip() for line in said.splitlines() if line.strip().startswith("zvae decode")]
    assert line.startswith(f"zvae decode {large} --output out/")


@pytest.mark.parametrize(
    ("work", "next_one"),
    [
        ([], "zvae decode a.npy --output a.png --budget 25%"),
        (["--work", "w"], "zvae decode a.npy --output a.png --work w\n"),
    ],
)
def test_memory_that_ran_out_names_a_smaller_budget_or_the_work_folder_that_goes_on(
    work: list[str], next_one: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any, **options: Any) -> Any:
        raise OutOfMemoryError("memory ran out while decoding", "Close other programs.")

    monkeypatch.setattr(VAE, "decode_to_file", failing)
    said = run("decode", "a.npy", "-o", "a.png", "-q", *work, code=6).stderr
    assert next_one in said.replace(" --vae vae", "").replace(" --quiet", "")
    assert "[memory] a.npy: memory ran out" in said


def test_an_error_nobody_expected_ends_its_own_picture_only(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = VAE.decode_to_file

    def failing(vae: VAE, latents: Any, paths: list[str], *args: Any, **options: Any) -> Any:
        if Path(paths[0]).stem == "a":
            raise RuntimeError("[malloc] Unable to allocate 99 bytes")
        return decode(vae, latents, paths, *args, **options)

    monkeypatch.setattr(VAE, "decode_to_file", failing)
    said = run("decode", "a.npy", "b.npy", "-o", "out/", "-q", code=6).stderr
    assert files(place / "out") == {"b.png"}
    assert "a.npy: RuntimeError: [malloc] Unable" in said
    assert "zvae decode a.npy --output out/ --budget 25%" in said
