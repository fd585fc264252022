"""`zvae plan -o`: the writers of the files are counted, so that `zvae decode` takes every budget that it shows."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.cli.decoding import files
from tests.support.running import CONFIG, run
from zvae_tiled import plan
from zvae_tiled.cli.writers import Files
from zvae_tiled.jobs.decode import Decode
from zvae_tiled.sinks import file_target
from zvae_tiled.wording import size

SIZE = "20x12"
"""The picture of the latents in a.npy."""


@pytest.fixture
def unrun(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where decodes are planned, and then nothing is computed."""
    monkeypatch.setattr(Decode, "_run", lambda _, plan, *others: SimpleNamespace(plan=plan))
    return place


def decoded(*words: str, code: int = 0) -> str:
    """The plan of a decode, as JSON; empty if the decode is refused."""
    run("decode", "a.npy", "-q", "--save-plan", "kept.json", *words, code=code)
    return "" if code else Path("kept.json").read_text()


def planned(*words: str) -> str:
    return run("plan", SIZE, "--vae", "vae", *words).stdout


def test_a_decode_takes_the_smallest_budget_that_is_shown_for_its_file(
    unrun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zvae_tiled.cli.plan.BUDGETS", 2)
    out, before = ("-o", "x.ptif", "-o", "x.jpg"), files(unrun)
    number, unit = planned("--sweep-budgets", *out).splitlines()[2].split()[:2]
    assert unit == "MB"
    least = round(float(number) * 10**6)
    assert files(unrun) == before
    for budget, code in ((least - 10**6, 4), (least, 0)):
        decoded(*out, "--budget", f"{budget}B", code=code)


@pytest.mark.parametrize(
    "words",
    [
        ["-o", "x.tif", "--bits", "16"],
        ["-o", "x.tif", "-o", "{stem}.ptif", "-o", "out/", "--quality", "tiles", "--tile", "16"],
        ["-o", "x.dzi", "-o", "x.webp", "--disk-limit", "10MB"],
    ],
)
def test_it_is_the_plan_of_the_decode_that_writes_these_files(unrun: Path, words: list[str]) -> None:
    want = decoded(*words, "--budget", "40MB").strip()
    assert planned(*words, "--budget", "40MB", "--json").strip() == want
    assert json.loads(want)["predicted"]["gathered"] > 0


def test_what_a_decode_refuses_of_its_files_is_refused(unrun: Path) -> None:
    before = files(unrun)
    for words, code, said in (
        (["x.gif"], 5, "not as '.gif'"),
        (["x.webp", "--bits", "16"], 5, "x.webp: --bits must be 8"),
        (["x.png", "-o", "x.png"], 2, "Several files would be written to x.png"),
        (["x.dzi", "--work", "w"], 2, "--work: x.dzi cannot be kept in a work folder"),
    ):
        assert said in run("decode", "a.npy", "-o", *words, code=code).stderr
        same = [word for word in words if word != "w"]
        assert said in run("plan", SIZE, "--vae", "vae", "-o", *same, code=code).stderr
    for words, code, said in (
        (["x"], 5, "Add one of these endings, or a slash if it is a folder"),
        (["-", "-o", "x.png"], 2, "Standard output (-) takes one picture"),
        (["-", "--batch", "2"], 2, "A batch of 2 does not fit on standard output"),
        (["vae/diffusion_pytorch_model.safetensors"], 2, "is an input"),
        (["x{y}.png"], 2, "the only pattern is {stem}"),
        (["x.png", "--workers", "2"], 2, "remove --output"),
    ):
        assert said in run("plan", SIZE, "--vae", "vae", "-o", *words, code=code).stderr
    assert "holds at most 16,383 pixels a side" in run("plan", "16384x16", "-o", "x.webp", code=5).stderr
    assert "name one with -o" in run("plan", SIZE, "--bits", "8", code=2).stderr
    assert files(unrun) == before


def test_nothing_of_the_files_need_exist(place: Path) -> None:
    def gathered(out: str) -> int:
        told = run("plan", "600", "--vae", "vae", "--budget", "1GB", "--json", "-o", out).stdout
        return int(json.loads(told)["predicted"]["gathered"])

    assert gathered("none/none/x.png") == gathered("none/") == gathered("-") > 10**6
    assert gathered("x.npy") == 0
    run("plan", SIZE, "--vae", "vae", "-o", "none/x.png", "-o", "none/X.png")


def test_the_files_are_named_with_what_their_writers_take(place: Path) -> None:
    told = planned("--budget", "1GB", "-o", "x.ptif", "-o", "x.npy")
    taken = size(file_target("x.ptif", (1, 12, 20, 3)).gathered)
    assert told.endswith(f"writers    x.ptif, x.npy: {taken} while rows are written\n")
    alone = Files(("x.npy",), None).line(plan(CONFIG, 12, 20, task="stream"))
    assert alone == "writer     x.npy: no memory while rows are written"
